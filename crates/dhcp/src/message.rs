//! Messages of DHCP as whole Ethernet frames: [`encode`] for those of a client, [`decode`] for those of a
//! server.
//!
//! Checksums of frames that arrive are not verified: a sender on the same machine leaves them to a NIC
//! that there is none of, and the packet socket shows such a frame as it is.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption,
    DhcpPacket, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use crate::StaticRoute;

/// The value of the magic cookie (RFC 2131, section 3).
const COOKIE: u32 = 0x6382_5363;

/// Codes of options (RFC 2132; 121 is of RFC 3442).
mod option {
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVER: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const MAX_SIZE: u8 = 57;
    pub(super) const RENEW_TIME: u8 = 58;
    pub(super) const REBIND_TIME: u8 = 59;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const CLASSLESS_ROUTES: u8 = 121;
}

/// The options that a client asks for; the classless routes first (RFC 3442).
const WANTED: [u8; 7] = [
    option::CLASSLESS_ROUTES,
    option::SUBNET_MASK,
    option::ROUTER,
    option::NAME_SERVER,
    option::DOMAIN,
    option::RENEW_TIME,
    option::REBIND_TIME,
];

/// The longest message that a client takes, in bytes of its IP packet.
const MAX_SIZE: u16 = 1500;

/// Bytes of a message before its options, the cookie included.
const FIXED: usize = 240;

/// The least bytes of a message (RFC 1542, section 2.1).
const LEAST: usize = 300;

/// The most routes that are read of one message.
const ROUTES_MAX: usize = 32;

/// The longest name of a domain.
const DOMAIN_MAX: usize = 253;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It looks for servers.
    Discover,
    /// It wants an address, or to keep one.
    Request,
    /// It gives its address back.
    Release,
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// What it is.
    pub kind: Kind,
    /// The number of the exchange.
    pub xid: u32,
    /// Seconds since the client has begun.
    pub seconds: u16,
    /// The client's MAC address.
    pub mac: [u8; 6],
    /// The client identifier: a type and its value (RFC 2132, section 9.14).
    pub client_id: &'a [u8],
    /// The client's name.
    pub hostname: Option<&'a str>,
    /// The address that the client has and uses.
    pub own: Option<Ipv4Addr>,
    /// The address that it asks for.
    pub wanted: Option<Ipv4Addr>,
    /// The server that it means.
    pub server: Option<Ipv4Addr>,
    /// Where the frame goes: a server's addresses; everybody if absent.
    pub to: Option<(Ipv4Addr, [u8; 6])>,
}

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It offers an address.
    Offer,
    /// It assigns the address.
    Ack,
    /// The client must not use the address.
    Nak,
}

/// A message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What it is.
    pub kind: Answer,
    /// The number of the exchange.
    pub xid: u32,
    /// The MAC address of the client that it is for.
    pub client: [u8; 6],
    /// The MAC address that sent the frame.
    pub sender: [u8; 6],
    /// The address of the client.
    pub address: Ipv4Addr,
    /// The identifier of the server.
    pub server: Option<Ipv4Addr>,
    /// The length of the prefix.
    pub prefix_len: Option<u8>,
    /// Seconds of the lease, until T1 and until T2.
    pub lease: Option<u32>,
    /// Seconds until the lease is to be renewed.
    pub renew: Option<u32>,
    /// Seconds until it is to be renewed with any server.
    pub rebind: Option<u32>,
    /// Routers.
    pub routers: Vec<Ipv4Addr>,
    /// Classless static routes.
    pub routes: Vec<StaticRoute>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain.
    pub domain: Option<String>,
}

/// The frame of a client's message.
pub fn encode(query: &Query<'_>) -> Vec<u8> {
    let payload = dhcp(query);
    let (to, to_mac) = match query.to {
        Some((to, mac)) => (to, EthernetAddress(mac)),
        None => (Ipv4Addr::BROADCAST, EthernetAddress::BROADCAST),
    };
    let from = query.own.unwrap_or(Ipv4Addr::UNSPECIFIED);
    frame(
        (from, DHCP_CLIENT_PORT, EthernetAddress(query.mac)),
        (to, DHCP_SERVER_PORT, to_mac),
        &payload,
    )
}

/// A UDP datagram in its Ethernet frame.
fn frame(
    (from, from_port, from_mac): (Ipv4Addr, u16, EthernetAddress),
    (to, to_port, to_mac): (Ipv4Addr, u16, EthernetAddress),
    payload: &[u8],
) -> Vec<u8> {
    let udp = UdpRepr { src_port: from_port, dst_port: to_port };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let ethernet =
        EthernetRepr { src_addr: from_mac, dst_addr: to_mac, ethertype: EthernetProtocol::Ipv4 };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let sums = ChecksumCapabilities::default();
    let mut outer = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut outer);
    let mut packet = Ipv4Packet::new_unchecked(outer.payload_mut());
    ip.emit(&mut packet, &sums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let fill = |room: &mut [u8]| room.copy_from_slice(payload);
    udp.emit(&mut datagram, &from.into(), &to.into(), payload.len(), fill, &sums);
    bytes
}

/// The payload of a client's message.
fn dhcp(query: &Query<'_>) -> Vec<u8> {
    let options = options(query);
    let used: usize = options.iter().map(|(_, value)| 2 + value.len()).sum();
    // One more byte is the end of the options.
    let mut bytes = vec![0; (FIXED + used + 1).max(LEAST)];
    let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
    packet.set_opcode(DhcpOpCode::Request);
    packet.set_hardware_type(smoltcp::wire::ArpHardware::Ethernet);
    packet.set_hardware_len(6);
    packet.set_transaction_id(query.xid);
    packet.set_secs(query.seconds);
    packet.set_client_hardware_address(EthernetAddress(query.mac));
    packet.set_client_ip(query.own.unwrap_or(Ipv4Addr::UNSPECIFIED));
    packet.set_magic_number(COOKIE);
    if query.own.is_none() {
        packet.set_flags(DhcpFlags::BROADCAST);
    }
    let mut writer = packet.options_mut();
    for (kind, data) in &options {
        // There is room for all of them, and none is longer than a byte can say.
        let _ = writer.emit(DhcpOption { kind: *kind, data });
    }
    let _ = writer.end();
    bytes
}

/// The options of a client's message.
fn options(query: &Query<'_>) -> Vec<(u8, Vec<u8>)> {
    let short = |bytes: &[u8]| bytes[..bytes.len().min(u8::MAX.into())].to_vec();
    let kind = match query.kind {
        Kind::Discover => DhcpMessageType::Discover,
        Kind::Request => DhcpMessageType::Request,
        Kind::Release => DhcpMessageType::Release,
    };
    let mut all = vec![
        (option::MESSAGE_TYPE, vec![kind.into()]),
        (option::CLIENT_ID, short(query.client_id)),
    ];
    let address = |kind, at: Option<Ipv4Addr>| at.map(|at| (kind, at.octets().to_vec()));
    all.extend(address(option::REQUESTED_ADDRESS, query.wanted));
    all.extend(address(option::SERVER, query.server));
    if query.kind != Kind::Release {
        all.push((option::MAX_SIZE, MAX_SIZE.to_be_bytes().to_vec()));
        all.push((option::PARAMETERS, WANTED.to_vec()));
        all.extend(query.hostname.map(|name| (option::HOST_NAME, short(name.as_bytes()))));
    }
    all
}

/// Reads a frame; `None` if it is not a message of a server. Options that cannot be read are as good as
/// absent.
pub fn decode(frame: &[u8]) -> Option<Reply> {
    let outer = EthernetFrame::new_checked(frame).ok()?;
    if outer.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(outer.payload()).ok()?;
    let is_whole = !ip.more_frags() && ip.frag_offset() == 0;
    if ip.version() != 4 || ip.next_header() != IpProtocol::Udp || !is_whole {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    if (udp.src_port(), udp.dst_port()) != (DHCP_SERVER_PORT, DHCP_CLIENT_PORT) {
        return None;
    }
    let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
    let is_reply = packet.opcode() == DhcpOpCode::Reply
        && packet.hardware_len() == 6
        && packet.magic_number() == COOKIE;
    is_reply.then(|| read(&packet, outer.src_addr().0)).flatten()
}

fn read(packet: &DhcpPacket<&[u8]>, sender: [u8; 6]) -> Option<Reply> {
    // The first of several options of a kind counts.
    let value =
        |kind| packet.options().find(|option| option.kind == kind).map(|option| option.data);
    let kind = match DhcpMessageType::from(*value(option::MESSAGE_TYPE)?.first()?) {
        DhcpMessageType::Offer => Answer::Offer,
        DhcpMessageType::Ack => Answer::Ack,
        DhcpMessageType::Nak => Answer::Nak,
        _ => return None,
    };
    let number = |kind| value(kind)?.try_into().ok().map(u32::from_be_bytes);
    let address = |kind| number(kind).map(Ipv4Addr::from_bits);
    let addresses = |kind| {
        let fours = value(kind).unwrap_or_default().chunks_exact(4);
        fours.map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3])).collect()
    };
    Some(Reply {
        kind,
        xid: packet.transaction_id(),
        client: packet.client_hardware_address().0,
        sender,
        address: packet.your_ip(),
        server: address(option::SERVER),
        prefix_len: number(option::SUBNET_MASK).and_then(prefix_len),
        lease: number(option::LEASE_TIME),
        renew: number(option::RENEW_TIME),
        rebind: number(option::REBIND_TIME),
        routers: addresses(option::ROUTER),
        routes: value(option::CLASSLESS_ROUTES).and_then(routes).unwrap_or_default(),
        dns: addresses(option::NAME_SERVER),
        domain: value(option::DOMAIN).and_then(domain),
    })
}

/// The length of the prefix of a mask; `None` if it is no mask of a network.
fn prefix_len(mask: u32) -> Option<u8> {
    let ones = mask.leading_ones();
    let is_mask = mask.trailing_zeros() == 32 - ones && ones > 0;
    u8::try_from(ones).ok().filter(|_| is_mask)
}

/// Classless static routes; `None` if they cannot be read.
fn routes(mut bytes: &[u8]) -> Option<Vec<StaticRoute>> {
    let mut routes = Vec::new();
    while let [prefix_len, rest @ ..] = bytes {
        let significant = usize::from(prefix_len.div_ceil(8));
        if *prefix_len > 32 || routes.len() == ROUTES_MAX {
            return None;
        }
        let (net, rest) = rest.split_at_checked(significant)?;
        let (via, rest) = rest.split_first_chunk::<4>()?;
        let mut to = [0; 4];
        to[..significant].copy_from_slice(net);
        routes.push(StaticRoute {
            to: to.into(),
            prefix_len: *prefix_len,
            via: Ipv4Addr::from(*via),
        });
        bytes = rest;
    }
    Some(routes)
}

/// The name of a domain, which goes into files of others: nothing but what names have.
fn domain(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= DOMAIN_MAX && name.bytes().all(is_plain);
    is_name.then(|| name.to_owned())
}
