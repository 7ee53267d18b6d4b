//! [`partial_checksum()`]: detection of partial checksums that no header announces.

use super::VnetHeader;
use super::checksum::Sum;
use super::layout::{IPV4, IPV6, ipv4, ipv6, network, number};

/// The header for a frame with a partial checksum, or `None` for any other frame. The checksum is
/// partial if its field holds the sum of the pseudo-header.
///
/// A veth interface passes frames of a local sender to an XDP program unchanged, with a partial
/// checksum if the sender left it to the interface (`drivers/net/veth.c`). One in 65 536 finished
/// frames looks alike; completing it again gives the checksum that it has.
pub fn partial_checksum(frame: &[u8]) -> Option<VnetHeader> {
    let (ethertype, network) = network(frame)?;
    let (protocol, transport, addresses, end) = match ethertype {
        IPV4 => {
            let (protocol, transport) = ipv4(frame, network).ok()?;
            let end = network + usize::from(number(frame, network + 2)?);
            (protocol, transport, network + 12..network + 20, end)
        }
        IPV6 => {
            let (protocol, transport) = ipv6(frame, network).ok()?;
            let end = network + 40 + usize::from(number(frame, network + 4)?);
            (protocol, transport, network + 8..network + 40, end)
        }
        _ => return None,
    };
    let csum_offset = match protocol {
        6 => 16,
        17 => 6,
        _ => return None,
    };
    let value = number(frame, transport + usize::from(csum_offset))?;
    let len = u16::try_from(end.checked_sub(transport)?).ok()?;
    let pseudo = Sum::default().bytes(frame.get(addresses)?).number(protocol.into()).number(len);
    let csum_start = u16::try_from(transport).ok()?;
    let flags = VnetHeader::NEEDS_CSUM;
    let partial = VnetHeader { flags, csum_start, csum_offset, ..VnetHeader::PLAIN };
    (value == !pseudo.checksum()).then_some(partial)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::offload::complete_checksum;

    /// A TCP or UDP frame with a complete checksum.
    fn finished(v6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = match v6 {
            true => builder.ipv6([1; 16], [2; 16], 64),
            false => builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
        };
        let mut frame = Vec::new();
        match tcp {
            true => builder.tcp(1, 2, 3, 4).write(&mut frame, payload).unwrap(),
            false => builder.udp(1, 2).write(&mut frame, payload).unwrap(),
        }
        frame
    }

    /// Makes the checksum of a frame partial, and returns its offset.
    fn make_partial(frame: &mut [u8], v6: bool, tcp: bool) -> usize {
        let transport = if v6 { 54 } else { 34 };
        let at = transport + if tcp { 16 } else { 6 };
        let (addresses, protocol) = (if v6 { 22..54 } else { 26..34 }, if tcp { 6 } else { 17 });
        let len = u16::try_from(frame.len() - transport).unwrap();
        let sum = Sum::default().bytes(&frame[addresses]).number(protocol).number(len);
        frame[at..at + 2].copy_from_slice(&(!sum.checksum()).to_be_bytes());
        at
    }

    proptest! {
        #[test]
        fn a_partial_checksum_is_detected_and_completed(
            v6: bool, tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let right = finished(v6, tcp, &payload);
            let mut frame = right.clone();
            make_partial(&mut frame, v6, tcp);
            let mut header = partial_checksum(&frame).unwrap();
            complete_checksum(&mut header, &mut frame).unwrap();
            prop_assert_eq!(frame, right);
        }

        #[test]
        fn a_complete_checksum_is_not_partial(
            v6: bool, tcp: bool, payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let frame = finished(v6, tcp, &payload);
            let mut partial = frame.clone();
            let at = make_partial(&mut partial, v6, tcp);
            // One in 65 536 is the same in both forms.
            prop_assume!(partial[at..at + 2] != frame[at..at + 2]);
            prop_assert_eq!(partial_checksum(&frame), None);
        }

        #[test]
        fn detection_never_panics(frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            partial_checksum(&frame);
        }
    }
}
