//! [`FrameFilter`]: which frames a capture has, in a part of pcap's filter language.
//!
//! Each primitive that is known here means what pcap-filter(7) says, `vlan` included: what follows
//! it looks behind the tag. An expression outside that part is an error that lists what is known,
//! so that no filter means something else here than it does in tcpdump.

mod parse;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Frame, MacAddr};

/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;
const VLAN_STACKED: [u16; 3] = [VLAN, 0x88a8, 0x9100];

/// Protocols above IP.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const IPV6_FRAGMENT: u8 = 44;

/// Bytes of both addresses, and of a VLAN tag.
const ADDRESSES: usize = 12;
const TAG: usize = 4;

/// A filter that was parsed with [`str::parse`]; it is compared with frames without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameFilter(Expr);

/// Why a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Or(Box<Self>, Box<Self>),
    /// A primitive behind so many VLAN tags.
    Test(usize, Test),
}

/// A primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Arp(Side, Ipv4Addr),
    Broadcast,
    Ether(Side, MacAddr),
    EtherType(u16),
    Host(Side, IpAddr),
    Multicast,
    /// A protocol above IPv4, IPv6 or both.
    Protocol(Version, u8),
    /// A port of TCP, UDP or SCTP, or of one of them.
    Port(Side, Option<u8>, u16),
    Tag(Option<u16>),
}

/// Which of two addresses or ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Both,
    Dst,
    Either,
    Src,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Any,
    V4,
    V6,
}

impl FrameFilter {
    /// True for a frame that the filter selects.
    pub fn matches(&self, frame: Frame<'_>) -> bool {
        self.0.matches(frame)
    }
}

impl Expr {
    fn matches(&self, frame: Frame<'_>) -> bool {
        match self {
            Self::And(one, other) => one.matches(frame) && other.matches(frame),
            Self::Not(inner) => !inner.matches(frame),
            Self::Or(one, other) => one.matches(frame) || other.matches(frame),
            Self::Test(tags, test) => test.matches(frame, *tags),
        }
    }
}

impl Side {
    fn holds(self, src: bool, dst: bool) -> bool {
        match self {
            Self::Both => src && dst,
            Self::Dst => dst,
            Self::Either => src || dst,
            Self::Src => src,
        }
    }
}

impl Test {
    fn matches(self, frame: Frame<'_>, tags: usize) -> bool {
        // The EtherType behind the tags, and what follows it.
        let bytes = frame.bytes();
        let Some((ethertype, payload)) = split_type(bytes, ADDRESSES + tags * TAG) else {
            return false;
        };
        match self {
            Self::Arp(side, ip) => {
                let address = |at: usize| payload.get(at..at + 4) == Some(&ip.octets()[..]);
                ethertype == ARP && side.holds(address(14), address(24))
            }
            Self::Broadcast => frame.dst().is_broadcast(),
            Self::Ether(side, mac) => side.holds(frame.src() == mac, frame.dst() == mac),
            Self::EtherType(wanted) => ethertype == wanted,
            Self::Host(side, ip) => addresses(ethertype, payload)
                .is_some_and(|(src, dst)| side.holds(src == ip, dst == ip)),
            Self::Multicast => frame.dst().is_group(),
            Self::Protocol(version, wanted) => is_protocol(ethertype, payload, version, wanted),
            Self::Port(side, wanted, port) => ports(ethertype, payload)
                .filter(|(protocol, ..)| wanted.is_none_or(|wanted| wanted == *protocol))
                .is_some_and(|(_, src, dst)| side.holds(src == port, dst == port)),
            Self::Tag(vid) => {
                VLAN_STACKED.contains(&ethertype)
                    && vid
                        .is_none_or(|vid| u16_at(payload, 0).is_some_and(|tag| tag & 0xfff == vid))
            }
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

fn split_type(bytes: &[u8], at: usize) -> Option<(u16, &[u8])> {
    Some((u16_at(bytes, at)?, bytes.get(at + 2..)?))
}

/// Source and destination of an IP packet.
fn addresses(ethertype: u16, payload: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match ethertype {
        IPV4 => {
            let at = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(<[u8; 4]>::into);
            let (src, dst): (Ipv4Addr, Ipv4Addr) = (at(12)?, at(16)?);
            Some((src.into(), dst.into()))
        }
        IPV6 => {
            let at = |at: usize| payload.get(at..at + 16)?.try_into().ok().map(<[u8; 16]>::into);
            let (src, dst): (Ipv6Addr, Ipv6Addr) = (at(8)?, at(24)?);
            Some((src.into(), dst.into()))
        }
        _ => None,
    }
}

/// As pcap has it: behind a fragment header of IPv6, and behind no other extension header.
fn is_protocol(ethertype: u16, payload: &[u8], version: Version, wanted: u8) -> bool {
    match (ethertype, version) {
        (IPV4, Version::Any | Version::V4) => payload.get(9) == Some(&wanted),
        (IPV6, Version::Any | Version::V6) => match payload.get(6) {
            Some(&IPV6_FRAGMENT) => payload.get(40) == Some(&wanted),
            next => next == Some(&wanted),
        },
        _ => false,
    }
}

/// Protocol and ports of a packet that has them: not of a later fragment.
fn ports(ethertype: u16, payload: &[u8]) -> Option<(u8, u16, u16)> {
    let (protocol, start) = match ethertype {
        IPV4 => {
            let is_first = u16_at(payload, 6)? & 0x1fff == 0;
            let header = usize::from(payload.first()? & 0xf) * 4;
            (*payload.get(9)?, is_first.then_some(header)?)
        }
        IPV6 => (*payload.get(6)?, 40),
        _ => return None,
    };
    let has_ports = [TCP, UDP, SCTP].contains(&protocol);
    Some((has_ports.then_some(protocol)?, u16_at(payload, start)?, u16_at(payload, start + 2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const YOU: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn ether(dst: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
        [&dst[..], &ME, &kind.to_be_bytes(), payload].concat()
    }

    /// 10.0.0.1 port 1000 to 10.0.0.2 port 53.
    fn udp4() -> Vec<u8> {
        let mut packet = vec![0; 28];
        (packet[0], packet[9]) = (0x45, UDP);
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[3, 232, 0, 53]);
        packet
    }

    fn icmp6() -> Vec<u8> {
        let mut packet = vec![0; 48];
        (packet[0], packet[6], packet[23], packet[39]) = (0x60, 58, 1, 2);
        packet
    }

    fn arp() -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[14..18].copy_from_slice(&[10, 0, 0, 1]);
        packet[24..28].copy_from_slice(&[10, 0, 0, 2]);
        packet
    }

    fn matches(filter: &str, bytes: &[u8]) -> bool {
        let filter: FrameFilter =
            filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        filter.matches(Frame::new(bytes).unwrap())
    }

    #[test]
    fn primitives_select_what_pcap_selects() {
        let udp = ether(YOU, IPV4, &udp4());
        let arp = ether([255; 6], ARP, &arp());
        let icmp6 = ether([0x33, 0x33, 0, 0, 0, 1], IPV6, &icmp6());
        let all = [&udp, &arp, &icmp6];
        for (filter, expected) in [
            ("ip", [true, false, false]),
            ("arp", [false, true, false]),
            ("ip6", [false, false, true]),
            ("icmp6", [false, false, true]),
            ("icmp", [false, false, false]),
            ("udp", [true, false, false]),
            ("tcp", [false, false, false]),
            ("ip proto 17", [true, false, false]),
            ("ether proto 0x0806", [false, true, false]),
            ("ether proto \\arp", [false, true, false]),
            ("broadcast", [false, true, false]),
            ("ether multicast", [false, true, true]),
            ("ether src 02:00:00:00:00:01", [true, true, true]),
            ("ether dst host 02:00:00:00:00:02", [true, false, false]),
            ("ether host 02:00:00:00:00:02", [true, false, false]),
            ("host 10.0.0.1", [true, true, false]),
            ("src 10.0.0.2", [false, false, false]),
            ("dst host 10.0.0.2", [true, true, false]),
            ("src and dst host 10.0.0.2", [false, false, false]),
            ("ip host 10.0.0.1", [true, false, false]),
            ("arp host 10.0.0.1", [false, true, false]),
            ("host ::1:0:0:0:0", [false, false, false]),
            ("port 53", [true, false, false]),
            ("udp dst port 53", [true, false, false]),
            ("tcp port 53", [false, false, false]),
            ("src port 53", [false, false, false]),
            ("not arp", [true, false, true]),
            ("! ( arp or ip )", [false, false, true]),
        ] {
            assert_eq!(all.map(|frame| matches(filter, frame)), expected, "{filter}");
        }
    }

    #[test]
    fn and_and_or_bind_equally_from_left_to_right() {
        let udp = ether(YOU, IPV4, &udp4());
        // (ip or arp) and arp; not: ip or (arp and arp).
        assert!(!matches("ip or arp and arp", &udp));
        assert!(matches("ip or (arp and arp)", &udp));
        assert!(matches("not arp and ip", &udp));
        assert!(matches("ip&&udp||arp", &udp));
    }

    #[test]
    fn a_tag_shifts_what_follows_it() {
        let tagged = ether(YOU, VLAN, &[&[0x20, 7, 0x08, 0x00][..], &udp4()].concat());
        let twice = ether(YOU, 0x88a8, &[&[0, 9, 0x81, 0][..], &tagged[14..]].concat());
        for (filter, expected) in [
            ("vlan", [true, true]),
            ("vlan 7", [true, false]),
            ("ip", [false, false]),
            ("vlan and ip", [true, false]),
            ("vlan 9 and vlan 7 and udp port 53", [false, true]),
            ("vlan and vlan and host 10.0.0.1", [false, true]),
        ] {
            assert_eq!([matches(filter, &tagged), matches(filter, &twice)], expected, "{filter}");
        }
    }

    #[test]
    fn short_frames_match_nothing_and_fail_at_nothing() {
        let full = ether(YOU, IPV4, &udp4());
        for len in 14..full.len() {
            for filter in ["port 53", "host 10.0.0.1", "vlan 7", "vlan and ip", "icmp6", "arp"] {
                let expected = len >= 34 && filter.starts_with("host")
                    || len >= 38 && filter.starts_with("port");
                assert_eq!(matches(filter, &full[..len]), expected, "{filter} {len}");
            }
        }
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut packet = udp4();
        packet[7] = 1;
        assert!(!matches("port 53", &ether(YOU, IPV4, &packet)));
        assert!(matches("udp", &ether(YOU, IPV4, &packet)));
    }
}
