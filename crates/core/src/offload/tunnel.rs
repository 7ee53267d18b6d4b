//! [`Outer`]: the headers of a tunnel in front of a GSO packet.
//!
//! A sender whose NIC segments what is inside a tunnel hands the NIC one large packet with the
//! headers of the tunnel in front. Linux describes it to a packet socket by the header of the inner
//! packet: the GSO type is that of the inner protocol, and `csum_start` is the inner TCP or UDP
//! header. No receiver that takes `csum_start` for the outer one can segment that, so the engine
//! does. The inner headers advance as those of any GSO packet, and of the outer ones those change
//! that depend on a length: length, identification and checksum of IP, length and checksum of UDP,
//! and the checksum of GRE. Everything between, a VXLAN header for example, is repeated.

use super::checksum::{Sum, checksum, nonzero};
use super::layout::{IPV4, IPV6, ipv4, ipv6, network, number};
use super::{VnetError, VnetHeader};

// IP protocol numbers.
const IP_IN_IP: u8 = 4;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

/// EtherType of Ethernet frames in GRE and Geneve (transparent Ethernet bridging, RFC 1701).
const ETHERNET: u16 = 0x6558;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
const GENEVE_HEADER: usize = 8;

/// The outer headers of a GSO packet in a tunnel. The frame is longer than any of the offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outer {
    /// True for IPv6, false for IPv4.
    v6: bool,
    /// The offset of the outer IP header.
    pub(super) network: usize,
    /// The offset of the header behind it.
    transport: usize,
    /// The header behind it, if it has a field that depends on the length.
    kind: Kind,
}

/// The header behind the outer IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Without a field that depends on the length: GRE without a checksum, or none (IP in IP).
    Bare,
    /// GRE with a checksum.
    GreChecksum,
    /// UDP with a checksum.
    Udp,
    /// UDP without a checksum.
    UdpWithoutChecksum,
}

/// True for a GSO packet in a tunnel: the outer IP header has a protocol that carries others, and
/// `csum_start` is further inside than the header behind it.
#[inline(never)]
pub(super) fn is_tunneled(header: VnetHeader, frame: &[u8]) -> bool {
    if !header.is_gso() || !header.needs_csum() {
        return false;
    }
    let start = usize::from(header.csum_start);
    match network(frame) {
        Some((IPV4, at)) if start != at + IPV4_HEADER => {
            ipv4(frame, at).is_ok_and(|outer| is_further(start, outer))
        }
        Some((IPV6, at)) if start != at + IPV6_HEADER => {
            ipv6(frame, at).is_ok_and(|outer| is_further(start, outer))
        }
        _ => false,
    }
}

const fn is_further(start: usize, (protocol, transport): (u8, usize)) -> bool {
    matches!(protocol, IP_IN_IP | IPV6_IN_IP | GRE | UDP) && start > transport
}

impl Outer {
    /// The outer headers of a frame with a checksum that starts behind them, the version of the
    /// inner IP packet, and its offset. The inner IP header ends where the checksum starts.
    ///
    /// # Errors
    /// [`VnetError::Tunnel`] for a tunnel that is none of those known here, and the rule for IP
    /// headers that the outer one breaks.
    pub(super) fn of(header: VnetHeader, frame: &[u8]) -> Result<(Self, bool, usize), VnetError> {
        let unknown = VnetError::Tunnel;
        let (ethertype, network) = network(frame).ok_or(unknown)?;
        let v6 = ethertype == IPV6;
        let (protocol, transport) = match ethertype {
            IPV4 => ipv4(frame, network)?,
            IPV6 => ipv6(frame, network)?,
            _ => return Err(unknown),
        };
        let inner = inner(header, frame).filter(|&(_, at)| at >= transport).ok_or(unknown)?;
        let between = &frame[transport..inner.1];
        let kind = kind(protocol, between, inner.0).ok_or(unknown)?;
        // The pseudo-header has the final destination, which a routing header hides.
        if kind == Kind::Udp && v6 && transport != network + IPV6_HEADER {
            return Err(unknown);
        }
        Ok((Self { v6, network, transport, kind }, inner.0, inner.1))
    }

    /// The identification of the outer packet, if it is IPv4.
    pub(super) fn id(self, frame: &[u8]) -> u16 {
        number(frame, self.network + 4).unwrap_or(0)
    }

    /// Writes the outer fields of a segment that is finished otherwise. `id` is its identification.
    pub(super) fn finish(self, frame: &mut [u8], id: u16) -> Result<(), VnetError> {
        let Self { v6, network, transport, kind } = self;
        let too_long = |_| VnetError::SegmentTooLong;
        let ip_len = u16::try_from(frame.len() - network).map_err(too_long)?;
        let len = u16::try_from(frame.len() - transport).map_err(too_long)?;
        let (head, packet) = frame.split_at_mut(transport);
        let ip = &mut head[network..];
        if v6 {
            put(ip, 4, ip_len.saturating_sub(40));
        } else {
            put(ip, 2, ip_len);
            put(ip, 4, id);
            put(ip, 10, 0);
            put(ip, 10, checksum(ip));
        }
        match kind {
            Kind::Bare => {}
            Kind::GreChecksum => {
                put(packet, 4, 0);
                put(packet, 4, checksum(packet));
            }
            Kind::Udp => {
                put(packet, 4, len);
                put(packet, 6, 0);
                let addresses = if v6 { &ip[8..40] } else { &ip[12..20] };
                let sum =
                    Sum::default().bytes(addresses).number(UDP.into()).number(len).bytes(packet);
                put(packet, 6, nonzero(sum.checksum()));
            }
            Kind::UdpWithoutChecksum => put(packet, 4, len),
        }
        Ok(())
    }
}

/// The version and the offset of the IP header that ends where the checksum starts. The lengths in
/// it have to be those of the frame, so that nothing else is taken for one.
fn inner(header: VnetHeader, frame: &[u8]) -> Option<(bool, usize)> {
    let start = usize::from(header.csum_start);
    let is_v4 = |at: usize| {
        let words = frame.get(at).map(|first| usize::from(*first));
        let total = number(frame, at + 2).map(usize::from);
        words == Some(0x40 | ((start - at) / 4)) && total == Some(frame.len() - at)
    };
    let is_v6 = |at: usize| {
        let version = frame.get(at).map(|first| first >> 4);
        let len = number(frame, at + 4).map(usize::from);
        version == Some(6) && len == Some(frame.len().saturating_sub(at + IPV6_HEADER))
    };
    let v4 = (5..=15).filter_map(|words| start.checked_sub(4 * words)).find(|&at| is_v4(at));
    let v6 = start.checked_sub(IPV6_HEADER).filter(|&at| is_v6(at));
    v4.map(|at| (false, at)).or_else(|| v6.map(|at| (true, at)))
}

/// The kind of a tunnel with these bytes between the outer and the inner IP header; `None` for one
/// that may have more fields that depend on the length.
fn kind(protocol: u8, between: &[u8], v6: bool) -> Option<Kind> {
    let ethertype = if v6 { IPV6 } else { IPV4 };
    match protocol {
        IP_IN_IP if between.is_empty() && !v6 => Some(Kind::Bare),
        IPV6_IN_IP if between.is_empty() && v6 => Some(Kind::Bare),
        GRE => gre(between, ethertype),
        UDP => {
            let inside = between.get(UDP_HEADER..)?;
            let known = vxlan(inside, ethertype) || geneve(inside, ethertype);
            let kind = match number(between, 6)? {
                0 => Kind::UdpWithoutChecksum,
                _ => Kind::Udp,
            };
            known.then_some(kind)
        }
        _ => None,
    }
}

/// GRE of version 0 with checksum, key and sequence number, or without (RFC 2784, RFC 2890).
fn gre(bytes: &[u8], ethertype: u16) -> Option<Kind> {
    let (flags, protocol) = (number(bytes, 0)?, number(bytes, 2)?);
    let fields = [0x8000, 0x2000, 0x1000].iter().filter(|flag| flags & **flag != 0).count();
    // Others are routing, a recursion count, and the versions of PPTP.
    let known = flags & !0xb000 == 0;
    let inside = bytes.get(4 + 4 * fields..)?;
    if !known || !carries(protocol, inside, ethertype) {
        return None;
    }
    Some(if flags & 0x8000 != 0 { Kind::GreChecksum } else { Kind::Bare })
}

/// VXLAN (RFC 7348), also with a group policy: the flag of the network identifier, and a frame.
fn vxlan(bytes: &[u8], ethertype: u16) -> bool {
    let plain = bytes.first().is_some_and(|flags| flags & 0x7f == 0x08);
    plain && bytes.get(VXLAN_HEADER..).is_some_and(|frame| carries(ETHERNET, frame, ethertype))
}

/// Geneve of version 0 (RFC 8926).
fn geneve(bytes: &[u8], ethertype: u16) -> bool {
    let (Some(first), Some(protocol)) = (bytes.first(), number(bytes, 2)) else {
        return false;
    };
    let header = GENEVE_HEADER + 4 * usize::from(first & 0x3f);
    let inside = bytes.get(header..);
    first >> 6 == 0 && inside.is_some_and(|inside| carries(protocol, inside, ethertype))
}

/// True if these bytes are all that a protocol has in front of an IP packet of this EtherType.
fn carries(protocol: u16, bytes: &[u8], ethertype: u16) -> bool {
    match protocol {
        ETHERNET => network(bytes) == Some((ethertype, bytes.len())),
        _ => protocol == ethertype && bytes.is_empty(),
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
