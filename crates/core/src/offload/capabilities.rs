//! [`Offloads`]: the unfinished work that a receiver takes over.

use super::VnetHeader;
use super::layout::{IPV4, IPV6, network};

/// What a receiver takes unfinished. The names are those of `TUN_F_*`, which a TAP is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Frames with an open checksum. Without it, none of the others is of any use.
    pub csum: bool,
    /// TCP over IPv4 to be segmented.
    pub tso4: bool,
    /// TCP over IPv6 to be segmented.
    pub tso6: bool,
    /// TCP to be segmented that has CWR set.
    pub tso_ecn: bool,
    /// UDP over IPv4 to be segmented.
    pub uso4: bool,
    /// UDP over IPv6 to be segmented.
    pub uso6: bool,
}

impl Offloads {
    /// A receiver that takes every frame as it is, as a TAP on Linux 6.2 or later does.
    pub const ALL: Self =
        Self { csum: true, tso4: true, tso6: true, tso_ecn: true, uso4: true, uso6: true };

    /// A receiver that takes finished frames only, as an AF_XDP socket does.
    pub const NONE: Self =
        Self { csum: false, tso4: false, tso6: false, tso_ecn: false, uso4: false, uso6: false };

    /// True if this receiver takes this frame as it is.
    ///
    /// Otherwise [`segment`](super::segment()) makes one for it of a GSO frame, and
    /// [`complete_checksum`](super::complete_checksum) of any other.
    pub fn accepts(self, header: VnetHeader, frame: &[u8]) -> bool {
        if header.is_plain() {
            return true;
        }
        let ecn = self.tso_ecn || !header.has_ecn();
        match (header.gso_kind(), network(frame)) {
            (VnetHeader::GSO_UDP_L4, Some((IPV4, _))) => self.takes_type(header.gso_kind(), false),
            (VnetHeader::GSO_UDP_L4, Some((IPV6, _))) => self.takes_type(header.gso_kind(), true),
            (VnetHeader::GSO_UDP_L4, _) => false,
            (kind, _) => ecn && self.takes_type(kind, kind == VnetHeader::GSO_TCPV6),
        }
    }

    /// True if this receiver takes GSO frames of that type, and over IPv6 if `v6` is set.
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
    fn everybody_takes_a_plain_frame() {
        assert!(Offloads::NONE.accepts(VnetHeader::PLAIN, &[]));
        assert!(Offloads::NONE.accepts(header(VnetHeader::DATA_VALID, 0), &[]));
    }

    #[test]
    fn an_open_checksum_needs_the_checksum_offload() {
        let open = header(VnetHeader::NEEDS_CSUM, 0);
        assert!(!Offloads::NONE.accepts(open, &[]));
        let csum = Offloads { csum: true, ..Offloads::NONE };
        assert!(csum.accepts(open, &[]));
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
    fn nobody_takes_ufo() {
        assert!(!Offloads::ALL.accepts(header(1, VnetHeader::GSO_UDP), &tagged(IPV4)));
    }
}
