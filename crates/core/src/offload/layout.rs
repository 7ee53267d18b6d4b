//! [`Layout`]: the offsets of the headers in a frame, as far as offloads need them.

use super::tunnel::{Outer, is_tunneled};
use super::{VnetError, VnetHeader};
use crate::frame::{HEADER_LEN, TAG_LEN};

/// EtherType of IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const IPV6: u16 = 0x86dd;

/// VLAN tags that are skipped: one of the customer and one of the provider.
const TAGS: usize = 2;

/// The limit for the headers of a GSO packet, in bytes. Linux sends less than 400 (two tags, an
/// IPv6 segment routing header, TCP options). Without a limit, 30 KB of extension headers before as
/// much payload would be segmented into a hundred megabytes.
const HEADERS: usize = 512;

/// The least payload of a TCP segment in Linux (`TCP_MIN_GSO_SIZE`).
const TCP_SIZE: u16 = 8;
/// `GSO_BY_FRAGS`, which has a special meaning inside Linux.
const RESERVED_SIZE: u16 = 0xffff;
/// The most datagrams that Linux puts into one USO packet (`UDP_MAX_SEGMENTS`, 64 before 6.9).
const UDP_SEGMENTS: usize = 128;

/// The EtherType behind the VLAN tags, and the offset of the network header.
///
/// `None` for a frame that ends before it, or that has more than two tags.
pub(super) fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let mut end = HEADER_LEN;
    for _ in 0..=TAGS {
        let ethertype = number(frame, end - 2)?;
        if ethertype != 0x8100 && ethertype != 0x88a8 {
            return Some((ethertype, end));
        }
        end += TAG_LEN;
    }
    None
}

/// The big-endian number at this offset.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*pair))
}

/// The transport protocol of a GSO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Its IP protocol number.
    const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The offset of the checksum in its header.
    pub(super) const fn checksum(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The header offsets of a GSO packet.
///
/// A value of this type proves that virtio_net header and frame agree: the checksum is partial, the
/// offsets lie in the frame in the order `network < transport < payload <= frame.len()`, the fixed
/// headers at them are complete, and a segment fits into an IP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// True for IPv6, false for IPv4.
    pub(super) v6: bool,
    /// The protocol of the transport header.
    pub(super) transport_kind: Transport,
    /// The offset of the IP header.
    pub(super) network: usize,
    /// The offset of the TCP or UDP header.
    pub(super) transport: usize,
    /// The offset of the payload.
    pub(super) payload: usize,
}

impl Layout {
    /// The layout of this frame, which passed [`VnetHeader::check_checksum`].
    ///
    /// # Errors
    /// The first rule for GSO packets that header or frame break.
    pub(super) fn of(header: VnetHeader, frame: &[u8]) -> Result<Self, VnetError> {
        let transport_kind = transport_of(header)?;
        if !header.needs_csum() {
            return Err(VnetError::GsoWithoutChecksum);
        }
        let (ethertype, network) = network(frame).ok_or(VnetError::EthertypeMismatch)?;
        let (protocol, transport) = match (ethertype, header.gso_kind()) {
            (IPV4, VnetHeader::GSO_TCPV4 | VnetHeader::GSO_UDP_L4) => ipv4(frame, network)?,
            (IPV6, VnetHeader::GSO_TCPV6 | VnetHeader::GSO_UDP_L4) => ipv6(frame, network)?,
            _ => return Err(VnetError::EthertypeMismatch),
        };
        if protocol != transport_kind.protocol() {
            return Err(VnetError::ProtocolMismatch);
        }
        if usize::from(header.csum_start) != transport
            || usize::from(header.csum_offset) != transport_kind.checksum()
        {
            return Err(VnetError::ChecksumMisplaced);
        }
        let payload = transport + transport_len(transport_kind, frame, transport)?;
        let layout = Self { v6: ethertype == IPV6, transport_kind, network, transport, payload };
        layout.check_sizes(network, usize::from(header.gso_size), frame.len())?;
        Ok(layout)
    }

    /// The layout of the packet in a tunnel, and the headers of the tunnel, for a frame that has no
    /// layout because of `error`.
    ///
    /// # Errors
    /// `error` for a frame that is in no tunnel; [`VnetError::Tunnel`] for a tunnel that is not known;
    /// the first rule for GSO packets that the inner packet breaks.
    #[cold]
    #[inline(never)]
    pub(super) fn tunneled(
        header: VnetHeader,
        frame: &[u8],
        error: VnetError,
    ) -> Result<(Self, Outer), VnetError> {
        let differs = matches!(
            error,
            VnetError::ChecksumMisplaced
                | VnetError::EthertypeMismatch
                | VnetError::ProtocolMismatch
        );
        if !differs || !is_tunneled(header, frame) {
            return Err(error);
        }
        Self::inside(header, frame).map_err(|other| match error {
            // UDP with a wrong offset may look like a tunnel that is not known.
            VnetError::ChecksumMisplaced => error,
            _ => other,
        })
    }

    fn inside(header: VnetHeader, frame: &[u8]) -> Result<(Self, Outer), VnetError> {
        let transport_kind = transport_of(header)?;
        let (outer, v6, network) = Outer::of(header, frame)?;
        let (protocol, transport) = if v6 { ipv6(frame, network)? } else { ipv4(frame, network)? };
        let kind = header.gso_kind();
        let named = kind == VnetHeader::GSO_UDP_L4 || v6 == (kind == VnetHeader::GSO_TCPV6);
        if protocol != transport_kind.protocol() || !named {
            return Err(VnetError::ProtocolMismatch);
        }
        if usize::from(header.csum_start) != transport
            || usize::from(header.csum_offset) != transport_kind.checksum()
        {
            return Err(VnetError::ChecksumMisplaced);
        }
        let payload = transport + transport_len(transport_kind, frame, transport)?;
        let layout = Self { v6, transport_kind, network, transport, payload };
        layout.check_sizes(outer.network, usize::from(header.gso_size), frame.len())?;
        // Linux makes none, and the fields of the tunnel are those of segments with data.
        if payload == frame.len() {
            return Err(VnetError::Tunnel);
        }
        Ok((layout, outer))
    }

    /// `network` is the offset of the outermost IP header.
    fn check_sizes(self, network: usize, size: usize, len: usize) -> Result<(), VnetError> {
        if self.payload > HEADERS {
            return Err(VnetError::HeadersTooLong);
        }
        let payload = len - self.payload;
        if self.transport_kind == Transport::Udp && payload > size * UDP_SEGMENTS {
            return Err(VnetError::TooManySegments);
        }
        if self.payload - network + size.min(payload) > usize::from(u16::MAX) {
            return Err(VnetError::SegmentTooLong);
        }
        Ok(())
    }
}

/// The protocol that a GSO type names, if type and size are valid.
fn transport_of(header: VnetHeader) -> Result<Transport, VnetError> {
    let (transport, least) = match header.gso_kind() {
        VnetHeader::GSO_TCPV4 | VnetHeader::GSO_TCPV6 => (Transport::Tcp, TCP_SIZE),
        VnetHeader::GSO_UDP_L4 if !header.has_ecn() => (Transport::Udp, 1),
        VnetHeader::GSO_UDP => return Err(VnetError::Ufo),
        _ => return Err(VnetError::UnknownGsoType(header.gso_type)),
    };
    if header.gso_size < least || header.gso_size == RESERVED_SIZE {
        return Err(VnetError::SegmentSize(header.gso_size));
    }
    Ok(transport)
}

/// The protocol in an IPv4 packet, and the offset of its header.
pub(super) fn ipv4(frame: &[u8], at: usize) -> Result<(u8, usize), VnetError> {
    let head: &[u8; 20] = frame[at..].first_chunk().ok_or(VnetError::IpHeader)?;
    let len = usize::from(head[0] & 0x0f) * 4;
    if head[0] >> 4 != 4 || len < head.len() {
        return Err(VnetError::IpHeader);
    }
    // "More fragments", or an offset; "reserved" and "don't fragment" are ignored.
    if u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0 {
        return Err(VnetError::Fragment);
    }
    Ok((head[9], at + len))
}

/// The protocol in an IPv6 packet behind its extension headers, and the offset of its header.
pub(super) fn ipv6(frame: &[u8], at: usize) -> Result<(u8, usize), VnetError> {
    let head: &[u8; 40] = frame[at..].first_chunk().ok_or(VnetError::IpHeader)?;
    if head[0] >> 4 != 6 {
        return Err(VnetError::IpHeader);
    }
    let mut protocol = head[6];
    let mut end = at + head.len();
    // Each extension has 8 bytes or more, so HEADERS bounds the loop.
    while is_extension(protocol) {
        let option: &[u8; 8] =
            frame.get(end..).and_then(<[u8]>::first_chunk).ok_or(VnetError::IpHeader)?;
        protocol = option[0];
        end += 8 + usize::from(option[1]) * 8;
        if end > HEADERS {
            return Err(VnetError::HeadersTooLong);
        }
    }
    if protocol == 44 {
        return Err(VnetError::Fragment);
    }
    Ok((protocol, end))
}

/// True for the extension headers that Linux segments: hop-by-hop, routing, destination.
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 60)
}

/// Bytes of the transport header.
fn transport_len(kind: Transport, frame: &[u8], at: usize) -> Result<usize, VnetError> {
    let rest = frame.get(at..).ok_or(VnetError::TransportHeader)?;
    let (len, least) = match kind {
        Transport::Udp => (8, 8),
        Transport::Tcp => {
            let offset = rest.get(12).ok_or(VnetError::TransportHeader)?;
            (usize::from(offset >> 4) * 4, 20)
        }
    };
    if len < least || len > rest.len() {
        return Err(VnetError::TransportHeader);
    }
    Ok(len)
}
