//! [`Packet`]: the addresses that a frame names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use umacvlan_core::MacAddr;
use umacvlan_core::frame::HEADER_LEN;

/// EtherTypes.
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// IP protocol number of ICMPv6.
const ICMPV6: u8 = 58;

/// Extension headers of IPv6 that are looked behind. Nobody sends more.
const EXTENSIONS: usize = 8;

/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;

/// Offsets in a frame with ARP for Ethernet and IPv4 (RFC 826).
pub(crate) const ARP_SENDER_MAC: usize = HEADER_LEN + 8;
const ARP_SENDER: usize = HEADER_LEN + 14;
pub(crate) const ARP_TARGET_MAC: usize = HEADER_LEN + 18;
const ARP_TARGET: usize = HEADER_LEN + 24;

/// A packet that can be translated, by what is in its frame right behind the Ethernet header: inside a
/// VLAN tag there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packet {
    Arp(Arp),
    Ipv4 { source: Ipv4Addr, target: Ipv4Addr },
    Ipv6 { source: Ipv6Addr, target: Ipv6Addr, advertised: Option<Ipv6Addr> },
}

/// The addresses in an ARP packet that are those of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arp {
    pub(crate) sender: Option<IpAddr>,
    pub(crate) target: Option<IpAddr>,
    /// The address that its sender is about to take.
    pub(crate) probed: Option<IpAddr>,
}

impl Packet {
    /// The packet in a frame; `None` if it cannot be translated: another protocol, or cut off.
    #[inline]
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(HEADER_LEN..)?;
        match u16::from_be_bytes([frame[HEADER_LEN - 2], frame[HEADER_LEN - 1]]) {
            IPV4 => {
                let head: &[u8; 20] = packet.first_chunk()?;
                let [.., a, b, c, d, e, f, g, h] = *head;
                let (source, target) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
                (head[0] >> 4 == 4).then_some(Self::Ipv4 { source, target })
            }
            IPV6 => {
                let head: &[u8; IPV6_LEN] = packet.first_chunk()?;
                let [source, target] = [8, 24].map(|at| v6_at(head, at));
                let (source, target) = (source?, target?);
                let advertised = advertised(frame);
                (head[0] >> 4 == 6).then_some(Self::Ipv6 { source, target, advertised })
            }
            ARP => Self::arp(frame),
            _ => None,
        }
    }

    fn arp(frame: &[u8]) -> Option<Self> {
        // Ethernet and IPv4, with addresses of 6 and 4 bytes.
        let known = frame.get(HEADER_LEN..HEADER_LEN + 6)? == [0, 1, 8, 0, 6, 4];
        let [sender, target] = [ARP_SENDER, ARP_TARGET]
            .map(|at| Some(Ipv4Addr::from(*frame.get(at..)?.first_chunk()?)));
        let (sender, target) = (host_v4(sender?), host_v4(target?));
        let arp = Arp { sender, target, probed: target.filter(|_| sender.is_none()) };
        known.then_some(Self::Arp(arp))
    }

    /// The addresses that are those of its sender: of a neighbour advertisement also the one that it is
    /// about.
    #[inline]
    pub(crate) fn senders(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        match *self {
            Self::Arp(Arp { sender, .. }) => (sender, None),
            Self::Ipv4 { source, .. } => (host_v4(source), None),
            Self::Ipv6 { source, advertised, .. } => {
                (host_v6(source), advertised.filter(|&it| it != source).and_then(host_v6))
            }
        }
    }

    /// The address of the host that it is for.
    #[inline]
    pub(crate) fn target(&self) -> Option<IpAddr> {
        match *self {
            Self::Arp(Arp { target, .. }) => target,
            Self::Ipv4 { target, .. } => Some(target.into()),
            Self::Ipv6 { target, .. } => Some(target.into()),
        }
    }
}

/// The address of frames for a group (RFC 1112, RFC 2464); `None` for the address of one host.
#[inline]
pub(crate) fn group_mac(address: IpAddr) -> Option<MacAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            Some(MacAddr::new([0x01, 0, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(address) if address.is_multicast() => {
            let [.., a, b, c, d] = address.octets();
            Some(MacAddr::new([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// Replaces the parent's address as the target of an ARP packet.
pub(crate) fn replace_arp_target(frame: &mut [u8], parent: MacAddr, by: MacAddr) {
    if let Some(target) = frame.get_mut(ARP_TARGET_MAC..ARP_TARGET_MAC + 6)
        && *target == parent.octets()
    {
        target.copy_from_slice(&by.octets());
    }
}

/// The offset of the ICMPv6 message in a frame with IPv6; `None` for another protocol, a fragment, or
/// what is cut off.
pub(crate) fn icmpv6(frame: &[u8]) -> Option<usize> {
    let mut next = *frame.get(HEADER_LEN + 6)?;
    let mut at = HEADER_LEN + IPV6_LEN;
    for _ in 0..EXTENSIONS {
        match next {
            ICMPV6 => return Some(at),
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => {
                next = *frame.get(at)?;
                at += (usize::from(*frame.get(at + 1)?) + 1) * 8;
            }
            _ => return None,
        }
    }
    None
}

/// The address that a neighbour advertisement (RFC 4861) is about.
#[inline]
fn advertised(frame: &[u8]) -> Option<Ipv6Addr> {
    let at = icmpv6(frame)?;
    v6_at(frame.get(at..)?, 8).filter(|_| frame[at] == 136)
}

fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
    Some(Ipv6Addr::from(*octets))
}

/// An address that one host can have.
#[inline]
fn host_v4(address: Ipv4Addr) -> Option<IpAddr> {
    let no_host = address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback();
    (!no_host).then_some(address.into())
}

#[inline]
fn host_v6(address: Ipv6Addr) -> Option<IpAddr> {
    let no_host = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    (!no_host).then_some(address.into())
}
