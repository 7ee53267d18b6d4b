//! [`flow_hash`]: which frames may belong to one flow.

use super::layout::{IPV4, IPV6, network};

/// A hash of the addresses, ports and protocol of a unicast frame of TCP or UDP; `None` for every other
/// frame, and for a fragment, which does not tell its ports.
///
/// Frames of one flow have the same hash. Those with the same hash need not be of one flow.
#[inline]
pub fn flow_hash(frame: &[u8]) -> Option<u64> {
    if frame.first()? & 1 != 0 {
        return None;
    }
    let (ethertype, network) = network(frame)?;
    let packet = &frame[network..];
    let (addresses, protocol, transport) = match ethertype {
        IPV4 => {
            let ip: &[u8; 20] = packet.first_chunk()?;
            let whole = u16::from_be_bytes([ip[6], ip[7]]) & 0xbfff == 0;
            (ip[0] == 0x45 && whole).then_some((&packet[12..20], ip[9], &packet[20..]))?
        }
        IPV6 => {
            let ip: &[u8; 40] = packet.first_chunk()?;
            (ip[0] >> 4 == 6).then_some((&packet[8..40], ip[6], &packet[40..]))?
        }
        _ => return None,
    };
    let ports: &[u8; 4] = transport.first_chunk()?;
    if protocol != 6 && protocol != 17 {
        return None;
    }
    let seed = u64::from(u32::from_be_bytes(*ports)) << 8 | u64::from(protocol);
    let hash = addresses.chunks_exact(8).fold(seed, |hash, bytes| {
        let word = bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29)
    });
    Some(hash.wrapping_mul(MULTIPLIER) >> 8)
}

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from that port.
    fn datagram(v6: bool, port: u16) -> Vec<u8> {
        let mut frame = vec![2; 12];
        match v6 {
            false => {
                frame.extend([0x08, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
                frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            }
            true => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
                frame.extend([0xfd; 32]);
            }
        }
        frame.extend(port.to_be_bytes());
        frame.extend([0, 9, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn flows_differ_by_their_ports_and_frames_of_a_flow_do_not() {
        for v6 in [false, true] {
            let hash = |port| flow_hash(&datagram(v6, port)).unwrap();
            assert_eq!(hash(7), hash(7));
            let mut places: Vec<_> = (1..=64).map(|port| hash(port) % 64).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() > 32, "64 flows share {} places", places.len());
        }
        assert_ne!(flow_hash(&datagram(false, 7)), flow_hash(&datagram(true, 7)));
    }

    #[test]
    fn frames_without_ports_have_no_hash() {
        let plain = datagram(false, 7);
        let changed = |at: usize, value| {
            let mut frame = plain.clone();
            frame[at] = value;
            flow_hash(&frame)
        };
        assert_eq!(changed(0, 1), None, "a group");
        assert_eq!(changed(12, 9), None, "another protocol");
        assert_eq!(changed(14, 0x46), None, "IP options");
        assert_eq!(changed(20, 0x20), None, "a fragment");
        assert_eq!(changed(23, 1), None, "ICMP");
        assert!((0..38).all(|len| flow_hash(&plain[..len]).is_none()), "cut");
        assert!(changed(20, 0x40).is_some());
    }
}
