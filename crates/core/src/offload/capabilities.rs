//! [`Offloads`]: the deferred work that a receiver can do.

use super::VnetHeader;
use super::layout::{IPV4, IPV6, network};
use super::tunnel::is_tunneled;

/// The offloads of a receiver. The names are those of `TUN_F_*`, which a TAP is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Frames with a partial checksum. All others need this one.
    pub csum: bool,
    /// GSO packets of TCP over IPv4.
    pub tso4: bool,
    /// GSO packets of TCP over IPv6.
    pub tso6: bool,
    /// GSO packets of TCP with CWR set.
    pub tso_ecn: bool,
    /// GSO packets of UDP over IPv4.
    pub uso4: bool,
    /// GSO packets of UDP over IPv6.
    pub uso6: bool,
}

impl Offloads {
    /// All offloads, as of a TAP on Linux 6.2 or later.
    pub const ALL: Self =
        Self { csum: true, tso4: true, tso6: true, tso_ecn: true, uso4: true, uso6: true };

    /// No offload, as of an AF_XDP socket.
    pub const NONE: Self =
        Self { csum: false, tso4: false, tso6: false, tso_ecn: false, uso4: false, uso6: false };

    /// True if this receiver can get the frame unchanged. No receiver takes a GSO packet in a tunnel.
    ///
    /// Otherwise a GSO packet needs [`segment`](super::segment()), and any other frame
    /// [`complete_checksum`](super::complete_checksum).
    pub fn accepts(self, header: VnetHeader, frame: &[u8]) -> bool {
        if header.is_plain() {
            return true;
        }
        let ecn = self.tso_ecn || !header.has_ecn();
        let takes = match (header.gso_kind(), network(frame)) {
            (VnetHeader::GSO_UDP_L4, Some((IPV4, _))) => self.takes_type(header.gso_kind(), false),
            (VnetHeader::GSO_UDP_L4, Some((IPV6, _))) => self.takes_type(header.gso_kind(), true),
            (VnetHeader::GSO_UDP_L4, _) => false,
            (kind, _) => ecn && self.takes_type(kind, kind == VnetHeader::GSO_TCPV6),
        };
        takes && !(header.is_gso() && is_tunneled(header, frame))
    }

    /// True if the receiver takes GSO packets of any kind.
    #[inline]
    pub const fn takes_gso(self) -> bool {
        let Self { tso4, tso6, uso4, uso6, .. } = self;
        tso4 || tso6 || uso4 || uso6
    }

    /// True if this receiver can get GSO packets of this type, over IPv6 if `v6` is set.
    pub const fn takes_type(self, gso_type: u8, v6: bool) -> bool {
        self.csum
            && match (gso_type, v6) {
                (VnetHeader::GSO_NONE, _) => true,
                (VnetHeader::GSO_TCPV4, false) => self.tso4,
                (VnetHeader::GSO_TCPV6, true) => self.tso6,
                (VnetHeader::GSO_UDP_L4, false) => self.uso4,
                (VnetHeader::GSO_UDP_L4, true) => self.uso6,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso_type: u8) -> VnetHeader {
        VnetHeader { flags, gso_type, ..VnetHeader::PLAIN }
    }

    fn tagged(ethertype: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for number in [0x88a8, 5, 0x8100, 6, ethertype] {
            frame.extend_from_slice(&u16::to_be_bytes(number));
        }
        frame
    }

    #[test]
    fn every_receiver_accepts_a_plain_frame() {
        assert!(Offloads::NONE.accepts(VnetHeader::PLAIN, &[]));
        assert!(Offloads::NONE.accepts(header(VnetHeader::DATA_VALID, 0), &[]));
    }

    #[test]
    fn a_partial_checksum_needs_the_checksum_offload() {
        let partial = header(VnetHeader::NEEDS_CSUM, 0);
        assert!(!Offloads::NONE.accepts(partial, &[]));
        let csum = Offloads { csum: true, ..Offloads::NONE };
        assert!(csum.accepts(partial, &[]));
        assert!(!csum.accepts(header(1, VnetHeader::GSO_TCPV4), &tagged(IPV4)));
    }

    #[test]
    fn each_kind_of_segmentation_needs_its_own_offload() {
        let v4 = tagged(IPV4);
        let v6 = tagged(IPV6);
        let off = |change: fn(&mut Offloads)| {
            let mut offloads = Offloads::ALL;
            change(&mut offloads);
            offloads
        };
        let cases = [
            (off(|o| o.tso4 = false), 1, &v4),
            (off(|o| o.tso_ecn = false), 0x81, &v4),
            (off(|o| o.tso_ecn = false), 0x11, &v4),
            (off(|o| o.tso_ecn = false), 0x84, &v6),
            (off(|o| o.tso6 = false), 4, &v6),
            (off(|o| o.uso4 = false), 5, &v4),
            (off(|o| o.uso6 = false), 5, &v6),
            (off(|o| o.csum = false), 5, &v6),
        ];
        for (lacking, gso_type, frame) in cases {
            let header = header(1, gso_type);
            assert!(Offloads::ALL.accepts(header, frame), "type {gso_type:#x}");
            assert!(!lacking.accepts(header, frame), "type {gso_type:#x}");
        }
        let no_uso4 = off(|o| o.uso4 = false);
        assert!(no_uso4.accepts(header(1, 5), &v6));
    }

    #[test]
    fn no_receiver_accepts_ufo() {
        assert!(!Offloads::ALL.accepts(header(1, VnetHeader::GSO_UDP), &tagged(IPV4)));
    }
}
