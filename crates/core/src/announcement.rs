//! Frames by which a host tells its neighbours and switches where its addresses are.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::MacAddr;
use crate::offload::checksum;

/// A broadcast ARP request for the sender's own address, as Linux announces one (RFC 5227 section 3).
pub fn gratuitous_arp(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(MacAddr::BROADCAST, mac, 0x0806);
    // Ethernet and IPv4 with addresses of 6 and 4 bytes; a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 section 7.2.6). `router` says whether the
/// sender forwards packets: neighbours stop using a router whose advertisement does not say so.
pub fn neighbour_advertisement(mac: MacAddr, ip: Ipv6Addr, router: bool) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const LENGTH: u8 = 32;
    const ICMPV6: u8 = 58;
    let flags = if router { 0xa0 } else { 0x20 };
    let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
    message.extend(ip.octets());
    // The target's link-layer address, in units of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac.octets());
    let mut summed = [ip.octets(), ALL_NODES.octets()].concat();
    summed.extend([0, 0, 0, LENGTH, 0, 0, 0, ICMPV6]);
    summed.extend(&message);
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());

    let mut frame = ethernet(MacAddr::new([0x33, 0x33, 0, 0, 0, 1]), mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, LENGTH, ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.octets());
    frame.extend(from.octets());
    frame.extend(ethertype.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!((&frame[..6], &frame[6..12]), (&[0xff; 6][..], &MAC.octets()[..]));
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!((&frame[22..28], &frame[28..32]), (&MAC.octets()[..], &[10, 0, 0, 7][..]));
        assert_eq!((&frame[32..38], &frame[38..]), (&[0; 6][..], &[10, 0, 0, 7][..]));
    }

    #[test]
    fn an_ipv6_address_is_advertised_with_a_right_checksum() {
        for (router, flags) in [(false, 0x20), (true, 0xa0)] {
            let address = "fd00::7".parse().unwrap();
            let frame = neighbour_advertisement(MAC, address, router);
            assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
            let (ip, message) = frame[14..].split_at(40);
            assert_eq!((ip[6], ip[7], message[0], message[4]), (58, 255, 136, flags));
            let target: [u8; 16] = message[8..24].try_into().unwrap();
            assert_eq!(Ipv6Addr::from(target), address);
            assert_eq!(message[26..], MAC.octets());
            let pseudo = [&ip[8..], &[0, 0, 0, 32, 0, 0, 0, 58], message].concat();
            assert_eq!(checksum(&pseudo), 0);
        }
    }
}
