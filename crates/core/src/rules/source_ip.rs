//! Which IP addresses a frame says are its sender's: those of IPv4, IPv6, ARP and ND.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::EtherType;
use crate::frame::{HEADER_LEN, TAG_LEN};
use crate::{Destination, Frame};

/// Extension headers of IPv6 that are looked at. Nobody sends more.
const EXTENSIONS: usize = 8;

/// Whether all these addresses are on the list, or mean none: `0.0.0.0` (ARP probes, DHCP), and with
/// an IPv6 address on the list also `::` and, unless it has such addresses itself, those of the link
/// (`fe80::/10`). Only an address that is itself on the list is a router's. Frames of other protocols
/// name no address. What is too short to tell is refused.
pub(super) fn is_allowed(list: &[Destination], frame: Frame<'_>) -> bool {
    let (kind, payload) = behind_tags(frame.bytes());
    let mac = frame.src().octets();
    let decided = match kind {
        EtherType::ARP | EtherType::RARP => arp(list, mac, payload),
        EtherType::IPV4 => ipv4(list, payload),
        EtherType::IPV6 => ipv6(list, mac, payload),
        _ => Some(true),
    };
    decided.unwrap_or(false)
}

/// The type and the payload behind all tags.
fn behind_tags(bytes: &[u8]) -> (EtherType, &[u8]) {
    let mut at = HEADER_LEN;
    loop {
        let kind = match bytes.get(at - 2..at) {
            Some(&[hi, lo]) => u16::from_be_bytes([hi, lo]),
            _ => return (EtherType::IPV6, &[]),
        };
        match kind {
            0x8100 | 0x88a8 | 0x9100 => at += TAG_LEN,
            _ => return (EtherType::new(kind), bytes.get(at..).unwrap_or_default()),
        }
    }
}

fn arp(list: &[Destination], mac: [u8; 6], packet: &[u8]) -> Option<bool> {
    // Ethernet and IPv4, with addresses of 6 and 4 bytes.
    let known = packet.get(..6)? == [0, 1, 8, 0, 6, 4];
    let sender: [u8; 4] = *packet.get(14..)?.first_chunk()?;
    Some(known && packet.get(8..14)? == mac && listed_v4(list, sender))
}

fn ipv4(list: &[Destination], packet: &[u8]) -> Option<bool> {
    let sender: [u8; 4] = *packet.get(12..20)?.first_chunk()?;
    Some(packet.first()? >> 4 == 4 && listed_v4(list, sender))
}

fn ipv6(list: &[Destination], mac: [u8; 6], packet: &[u8]) -> Option<bool> {
    let sender: [u8; 16] = *packet.get(8..40)?.first_chunk()?;
    if packet.first()? >> 4 != 6 || !listed_v6(list, sender) {
        return Some(false);
    }
    let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..)?);
    for _ in 0..EXTENSIONS {
        match next {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                next = *rest.first()?;
                let len = (usize::from(*rest.get(1)?) + 1) * 8;
                rest = rest.get(len..)?;
            }
            58 => return neighbour_discovery(list, mac, sender, rest),
            _ => return Some(true),
        }
    }
    None
}

/// ND (RFC 4861): the link-layer address of the sender is the frame's source, the address that an
/// advertisement is about is on the list, and so is one that is tested for duplicates.
fn neighbour_discovery(
    list: &[Destination],
    mac: [u8; 6],
    sender: [u8; 16],
    message: &[u8],
) -> Option<bool> {
    const SOURCE: u8 = 1;
    const TARGET: u8 = 2;
    let (mut options, own) = match message.first()? {
        // Router solicitation; advertisement and redirect, which tell hosts where to send.
        133 => (message.get(8..)?, SOURCE),
        134 | 137 if !contains(list, Ipv6Addr::from(sender).into()) => return Some(false),
        134 => (message.get(16..)?, SOURCE),
        kind @ (135 | 136) => {
            let about: [u8; 16] = *message.get(8..24)?.first_chunk()?;
            let claims = *kind == 136 || sender == [0; 16];
            if claims && !listed_v6(list, about) {
                return Some(false);
            }
            (message.get(24..)?, if *kind == 136 { TARGET } else { SOURCE })
        }
        _ => return Some(true),
    };
    while let [kind, len, ..] = *options {
        let len = usize::from(len) * 8;
        if len == 0 {
            return None;
        }
        if kind == own && options.get(2..8)? != mac {
            return Some(false);
        }
        options = options.get(len..)?;
    }
    Some(true)
}

fn listed_v4(list: &[Destination], address: [u8; 4]) -> bool {
    let ip = Ipv4Addr::from(address);
    ip.is_unspecified() || contains(list, ip.into())
}

fn listed_v6(list: &[Destination], address: [u8; 16]) -> bool {
    let ip = Ipv6Addr::from(address);
    let listed = || {
        list.iter().filter_map(|other| match other.prefix().ip() {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        })
    };
    let implied = match ip.is_unicast_link_local() {
        true => !listed().any(|other| other.is_unicast_link_local()),
        false => ip.is_unspecified(),
    };
    contains(list, ip.into()) || (implied && listed().next().is_some())
}

fn contains(list: &[Destination], ip: IpAddr) -> bool {
    list.iter().any(|listed| listed.prefix().contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn list(texts: &[&str]) -> Vec<Destination> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn allowed(list: &[Destination], tags: &[u8], kind: u16, payload: &[u8]) -> bool {
        let bytes = [&[0xff; 6], &MAC[..], tags, &kind.to_be_bytes(), payload].concat();
        is_allowed(list, Frame::new(&bytes).unwrap())
    }

    fn arp(sender_mac: [u8; 6], sender: [u8; 4]) -> Vec<u8> {
        [&[0, 1, 8, 0, 6, 4, 0, 2], &sender_mac[..], &sender, &[0; 10]].concat()
    }

    fn v4(source: [u8; 4]) -> Vec<u8> {
        [&[0x45; 12][..], &source, &[10, 0, 0, 9]].concat()
    }

    fn v6(next: u8, source: &str, payload: &[u8]) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&[0x60, 0, 0, 0, 0, 0, next, 255], &source.octets()[..], &[0xff; 16], payload].concat()
    }

    fn neighbour(kind: u8, about: &str, option: u8, mac: [u8; 6]) -> Vec<u8> {
        let about: Ipv6Addr = about.parse().unwrap();
        [&[kind, 0, 0, 0, 0, 0, 0, 0], &about.octets()[..], &[option, 1], &mac[..]].concat()
    }

    #[test]
    fn the_sender_of_arp_and_ipv4_is_listed_or_unspecified() {
        let own = list(&["192.0.2.7", "198.51.100.0/24"]);
        for (source, passes) in [
            ([192, 0, 2, 7], true),
            ([192, 0, 2, 8], false),
            ([198, 51, 100, 200], true),
            ([0, 0, 0, 0], true),
            ([169, 254, 0, 1], false),
        ] {
            assert_eq!(allowed(&own, &[], 0x800, &v4(source)), passes, "{source:?}");
            assert_eq!(allowed(&own, &[], 0x806, &arp(MAC, source)), passes, "{source:?}");
            assert_eq!(allowed(&own, &[], 0x8035, &arp(MAC, source)), passes, "{source:?}");
            let tags = [0x81, 0, 0, 5, 0x88, 0xa8, 0, 6];
            assert_eq!(allowed(&own, &tags, 0x800, &v4(source)), passes, "{source:?} in tags");
        }
        assert!(!allowed(&own, &[], 0x806, &arp([2, 0, 0, 0, 0, 2], [192, 0, 2, 7])));
        assert!(allowed(&own, &[], 0x88b5, &[]), "another protocol");
        assert!(!allowed(&own, &[], 0x86dd, &v6(59, "fe80::1", &[])), "no IPv6 is listed");
        assert!(!allowed(&own, &[], 0x86dd, &v6(59, "::", &[])), "no IPv6 is listed");
    }

    #[test]
    fn the_sender_of_ipv6_is_listed_or_of_the_link() {
        let own = list(&["2001:db8::7"]);
        for (source, passes) in
            [("2001:db8::7", true), ("2001:db8::8", false), ("fe80::1", true), ("::", true)]
        {
            assert_eq!(allowed(&own, &[], 0x86dd, &v6(59, source, &[])), passes, "{source}");
        }
        assert!(!allowed(&own, &[], 0x800, &v4([10, 0, 0, 1])), "no IPv4 is listed");
    }

    #[test]
    fn a_listed_address_of_the_link_is_the_only_one() {
        let own = list(&["2001:db8::7", "fe80::7"]);
        for (source, passes) in [("fe80::7", true), ("fe80::1", false), ("::", true)] {
            assert_eq!(allowed(&own, &[], 0x86dd, &v6(59, source, &[])), passes, "{source}");
        }
        let gateway = neighbour(136, "fe80::1", 2, MAC);
        assert!(!allowed(&own, &[], 0x86dd, &v6(58, "fe80::7", &gateway)));
        assert!(allowed(&list(&["2001:db8::7"]), &[], 0x86dd, &v6(58, "fe80::7", &gateway)));
    }

    #[test]
    fn only_a_listed_address_is_a_router_s() {
        for kind in [134, 137] {
            let message = [&[kind; 1][..], &[0; 39]].concat();
            let of = |texts: &[&str], source| {
                allowed(
                    &list(texts),
                    &[],
                    0x86dd,
                    &v6(58, source, &message[..if kind == 134 { 16 } else { 40 }]),
                )
            };
            assert!(!of(&["2001:db8::7"], "fe80::1"), "{kind}");
            assert!(!of(&["2001:db8::7", "fe80::7"], "fe80::1"), "{kind}");
            assert!(of(&["2001:db8::7", "fe80::1"], "fe80::1"), "{kind}");
            assert!(of(&["fe80::/10"], "fe80::1"), "{kind}");
        }
    }

    #[test]
    fn neighbour_discovery_claims_only_what_is_listed() {
        let own = list(&["2001:db8::7"]);
        let other = [2, 0, 0, 0, 0, 9];
        for (source, kind, about, option, mac, passes) in [
            ("2001:db8::7", 135, "2001:db8::1", 1, MAC, true),
            ("2001:db8::7", 135, "2001:db8::1", 1, other, false),
            ("::", 135, "2001:db8::7", 14, MAC, true),
            ("::", 135, "2001:db8::1", 14, MAC, false),
            ("::", 135, "fe80::1", 14, MAC, true),
            ("fe80::1", 136, "2001:db8::7", 2, MAC, true),
            ("fe80::1", 136, "2001:db8::1", 2, MAC, false),
            ("fe80::1", 136, "2001:db8::7", 2, other, false),
        ] {
            let message = neighbour(kind, about, option, mac);
            let what = format!("{source} {kind} {about} {option} {mac:?}");
            assert_eq!(allowed(&own, &[], 0x86dd, &v6(58, source, &message)), passes, "{what}");
            let extended = [&[58, 0, 0, 0, 0, 0, 0, 0], &message[..]].concat();
            assert_eq!(allowed(&own, &[], 0x86dd, &v6(0, source, &extended)), passes, "{what}");
        }
        let chain = [60_u8, 0, 0, 0, 0, 0, 0, 0].repeat(20);
        assert!(!allowed(&own, &[], 0x86dd, &v6(60, "fe80::1", &chain)), "endless options");
        let endless = [&neighbour(136, "2001:db8::7", 9, MAC)[..24], &[2, 0]].concat();
        assert!(!allowed(&own, &[], 0x86dd, &v6(58, "fe80::1", &endless)), "an empty option");
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let own = list(&["2001:db8::7", "192.0.2.7"]);
        let message = neighbour(136, "2001:db8::7", 2, MAC);
        for (kind, whole) in [
            (0x800, v4([192, 0, 2, 7])),
            (0x806, arp(MAC, [192, 0, 2, 7])[..18].to_vec()),
            (0x86dd, v6(58, "fe80::1", &message)),
        ] {
            assert!(allowed(&own, &[], kind, &whole));
            for len in 0..whole.len() {
                // An advertisement without an option is whole.
                let whole = kind == 0x86dd && len == 40 + 24;
                let cut = v6(58, "fe80::1", &message);
                let cut = if whole { &cut[..len] } else { &cut[..0] };
                assert_eq!(allowed(&own, &[], kind, cut), whole);
            }
        }
        assert!(!allowed(&own, &[0x81, 0], 0x5, &[]), "a tag without a type");
    }
}
