//! A frame in one line: addresses, protocols and ports, much as tcpdump begins its lines.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{ArpOperation, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use umacvlan_core::{Frame, MacAddr};

/// What is in these bytes, which may be a part of a frame.
pub(super) fn of(bytes: &[u8]) -> String {
    let Some(frame) = Frame::new(bytes) else {
        return "a part of a frame".to_owned();
    };
    let mut text = format!("{} > {}", frame.src(), shown(frame.dst()));
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        let _ = write!(text, ", ethertype 0x{:04x}", frame.ethertype());
        return text;
    };
    for tag in packet.vlan_ids() {
        let _ = write!(text, ", vlan {}", tag.value());
    }
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    let ips: Option<(IpAddr, IpAddr)> = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        Some(LaxNetSlice::Arp(arp)) => {
            let _ = write!(text, ", {}", arp_text(arp));
            return text;
        }
        None => None,
    };
    match (ips, ports) {
        (Some((src, dst)), Some((from, to))) => {
            let _ = write!(text, ", {} > {}", socket(src, from), socket(dst, to));
        }
        (Some((src, dst)), None) => {
            let _ = write!(text, ", {src} > {dst}");
        }
        (None, _) => {
            let _ = write!(text, ", ethertype 0x{:04x}", frame.ethertype());
        }
    }
    let protocol = match &packet.transport {
        Some(TransportSlice::Icmpv4(_)) => " icmp",
        Some(TransportSlice::Icmpv6(_)) => " icmp6",
        Some(TransportSlice::Igmp(_)) => " igmp",
        Some(TransportSlice::Tcp(_)) => " tcp",
        Some(TransportSlice::Udp(_)) => " udp",
        None => "",
    };
    text + protocol
}

fn shown(mac: MacAddr) -> String {
    if mac.is_broadcast() { "broadcast".to_owned() } else { mac.to_string() }
}

fn socket(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

fn arp_text(arp: &etherparse::ArpPacketSlice<'_>) -> String {
    let ip = |bytes: &[u8]| {
        let four: Option<[u8; 4]> = bytes.try_into().ok();
        four.map_or_else(|| "?".to_owned(), |four| Ipv4Addr::from(four).to_string())
    };
    let (sender, target) = (ip(arp.sender_protocol_addr()), ip(arp.target_protocol_addr()));
    match arp.operation() {
        ArpOperation::REQUEST => format!("arp who has {target}, asks {sender}"),
        ArpOperation::REPLY => format!("arp {sender} is here, to {target}"),
        _ => "arp".to_owned(),
    }
}
