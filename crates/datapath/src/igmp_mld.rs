//! Recognizes the reports by which a sub-interface joins or leaves a multicast group.

use umacvlan_core::Frame;

// EtherTypes, and the protocol and next-header numbers behind them.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const IGMP: u8 = 2;
const HOP_BY_HOP: u8 = 0;

/// True for a frame that may be an IGMP (RFC 3376) or MLD (RFC 3810) report. MLD always follows a
/// hop-by-hop header with a router alert, and hardly anything else does, so the header counts as
/// MLD: a false positive costs one read of the group list.
pub(crate) fn is_membership_report(frame: Frame<'_>) -> bool {
    let bytes = frame.bytes();
    match frame.ethertype() {
        IPV4 => bytes.get(23) == Some(&IGMP),
        IPV6 => bytes.get(20) == Some(&HOP_BY_HOP),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ethertype: u16, at: usize, protocol: u8) -> Vec<u8> {
        let mut bytes = vec![1; 60];
        bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        bytes[at] = protocol;
        bytes
    }

    #[test]
    fn reports_of_both_protocols_are_recognized() {
        assert!(is_membership_report(Frame::new(&frame(IPV4, 23, IGMP)).unwrap()));
        assert!(is_membership_report(Frame::new(&frame(IPV6, 20, HOP_BY_HOP)).unwrap()));
    }

    #[test]
    fn other_multicast_traffic_is_not_a_report() {
        assert!(!is_membership_report(Frame::new(&frame(IPV4, 23, 17)).unwrap()));
        assert!(!is_membership_report(Frame::new(&frame(IPV6, 20, 17)).unwrap()));
        assert!(!is_membership_report(Frame::new(&frame(0x0806, 23, IGMP)).unwrap()));
        assert!(!is_membership_report(Frame::new(&[0; 14]).unwrap()));
    }
}
