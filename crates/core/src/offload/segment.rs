//! Segmentation in software, for receivers that need finished frames.
//!
//! The result is that of Linux: `tests/segment.rs` of the engine compares the two byte by byte. The
//! pseudo-header is not summed again, because the partial checksum holds its sum and only the
//! length in it changes. So packets with a routing header, whose final destination is elsewhere,
//! are right too.

use super::checksum::{Sum, checksum, fill_checksum, nonzero};
use super::layout::{Layout, Transport};
use super::tunnel::Outer;
use super::{VNET_LEN, VnetError, VnetHeader};
use crate::frame::{HEADER_LEN, TAG_LEN};

/// Bytes of the buffer for [`segment`]: a unit with the longest IP packet behind two VLAN tags.
pub const SEGMENT_BUFFER_LEN: usize = VNET_LEN + HEADER_LEN + 2 * TAG_LEN + 65_535;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Segments a GSO packet into finished frames, emits each, and returns their number.
///
/// Each is emitted as a unit: ten zero bytes, which are the header of a finished frame, and the
/// frame. The unit lies in `buffer` and is valid during the call. All checksums are complete;
/// sequence numbers, IP identifications and lengths advance; FIN and PSH are on the last segment
/// only, CWR on the first only, unless the type has [`VnetHeader::GSO_ACCECN`].
///
/// A packet with no more payload than one segment is emitted whole, with its checksum completed. In
/// a tunnel, the headers of the tunnel are right for each segment.
///
/// # Errors
/// Those of [`VnetHeader::validate`], but a packet in a tunnel that is known is none; and [`VnetError::UnknownGsoType`] for a frame that is no GSO
/// packet. Nothing has been emitted then.
pub fn segment(
    header: VnetHeader,
    frame: &[u8],
    buffer: &mut [u8; SEGMENT_BUFFER_LEN],
    mut emit: impl FnMut(&[u8]),
) -> Result<usize, VnetError> {
    let (layout, outer) = match header.layout(frame) {
        Ok(Some(layout)) => (layout, None),
        Ok(None) => return Err(VnetError::UnknownGsoType(header.gso_type)),
        Err(error) => {
            let (layout, outer) = Layout::tunneled(header, frame, error)?;
            (layout, Some(outer))
        }
    };
    buffer[..VNET_LEN].fill(0);
    let (_, payload) = frame.split_at(layout.payload);
    let size = usize::from(header.gso_size);
    if payload.len() <= size && outer.is_none() {
        let end = VNET_LEN + frame.len();
        buffer[VNET_LEN..end].copy_from_slice(frame);
        fill_checksum(header, &mut buffer[VNET_LEN..end]);
        emit(&buffer[..end]);
        return Ok(1);
    }
    let segmenter = Segmenter::new(header, layout, outer, frame);
    // The headers stay in the buffer; each segment overwrites the fields that differ.
    let start = VNET_LEN + layout.payload;
    buffer[VNET_LEN..start].copy_from_slice(&frame[..layout.payload]);
    let count = payload.len().div_ceil(size);
    for (index, piece) in payload.chunks(size).enumerate() {
        let end = start + piece.len();
        buffer[start..end].copy_from_slice(piece);
        let last = index + 1 == count;
        segmenter.finish(&mut buffer[VNET_LEN..end], index, last)?;
        emit(&buffer[..end]);
    }
    Ok(count)
}

/// The number of frames on the wire that this frame stands for: 1 unless it is a GSO packet.
///
/// Meant for counters: the result is right for a header that passed [`VnetHeader::validate`], and
/// some number for any other.
pub fn segment_count(header: VnetHeader, frame: &[u8]) -> usize {
    if !header.is_gso() || header.gso_size == 0 {
        return 1;
    }
    let payload = frame.len().saturating_sub(headers_len(header, frame));
    payload.div_ceil(usize::from(header.gso_size)).max(1)
}

/// The bytes before the payload of a GSO packet, under the conditions of [`segment_count`].
pub(crate) fn headers_len(header: VnetHeader, frame: &[u8]) -> usize {
    let transport = usize::from(header.csum_start);
    let len = if header.gso_kind() == VnetHeader::GSO_UDP_L4 {
        8
    } else {
        let offset = frame.get(transport + 12).copied().unwrap_or(0);
        usize::from(offset >> 4) * 4
    };
    transport + len
}

/// The data that all segments of a GSO packet share.
struct Segmenter {
    layout: Layout,
    /// The headers of the tunnel, if it is in one.
    outer: Option<Outer>,
    /// The sum of the pseudo-header without the length of the transport packet.
    pseudo: Sum,
    /// The IPv4 identification of the first segment.
    id: u16,
    /// The same of the outer packet in a tunnel.
    outer_id: u16,
    /// The TCP sequence number of the first segment.
    sequence: u32,
    /// The TCP flags of the packet.
    flags: u8,
    /// True if each segment keeps CWR.
    accecn: bool,
    /// Payload bytes of each segment but the last.
    size: u32,
}

impl Segmenter {
    fn new(header: VnetHeader, layout: Layout, outer: Option<Outer>, frame: &[u8]) -> Self {
        let ip = &frame[layout.network..];
        let transport = &frame[layout.transport..];
        let at = layout.transport_kind.checksum();
        let pseudo = Sum::default().bytes(&transport[at..at + 2]);
        let (pseudo, sequence, flags) = match layout.transport_kind {
            // The length in the UDP header is also part of the pseudo-header.
            Transport::Udp => {
                (pseudo.without(u16::from_be_bytes([transport[4], transport[5]])), 0, 0)
            }
            Transport::Tcp => (
                without_len(pseudo, transport.len()),
                u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]),
                transport[13],
            ),
        };
        Self {
            layout,
            outer,
            pseudo,
            id: u16::from_be_bytes([ip[4], ip[5]]),
            outer_id: outer.map_or(0, |outer| outer.id(frame)),
            sequence,
            flags,
            accecn: header.gso_type & VnetHeader::GSO_ACCECN != 0,
            size: u32::from(header.gso_size),
        }
    }

    /// Writes the header fields that differ into a segment with its payload in place.
    fn finish(&self, frame: &mut [u8], index: usize, last: bool) -> Result<(), VnetError> {
        let Layout { network, transport, .. } = self.layout;
        // Never fails: the layout proves that a segment fits an IP packet.
        let len =
            |from: usize| u16::try_from(frame.len() - from).map_err(|_| VnetError::SegmentTooLong);
        let ip_len = len(network)?;
        let transport_len = len(transport)?;
        let index = u32::try_from(index).map_err(|_| VnetError::TooManySegments)?;
        self.finish_ip(&mut frame[network..], ip_len, index);
        self.finish_transport(&mut frame[transport..], transport_len, index, last);
        match self.outer {
            Some(outer) => outer.finish(frame, nth(self.outer_id, index)),
            None => Ok(()),
        }
    }

    fn finish_ip(&self, ip: &mut [u8], len: u16, index: u32) {
        if self.layout.v6 {
            put(ip, 4, len - 40);
            return;
        }
        put(ip, 2, len);
        put(ip, 4, nth(self.id, index));
        put(ip, 10, 0);
        let header = self.layout.transport - self.layout.network;
        put(ip, 10, checksum(&ip[..header]));
    }

    fn finish_transport(&self, packet: &mut [u8], len: u16, index: u32, last: bool) {
        let at = self.layout.transport_kind.checksum();
        put(packet, at, 0);
        match self.layout.transport_kind {
            Transport::Udp => {
                put(packet, 4, len);
                let sum = self.pseudo.number(len).bytes(packet);
                put(packet, at, nonzero(sum.checksum()));
            }
            Transport::Tcp => {
                let sequence = self.sequence.wrapping_add(index.wrapping_mul(self.size));
                packet[4..8].copy_from_slice(&sequence.to_be_bytes());
                packet[13] = self.tcp_flags(index == 0, last);
                let sum = self.pseudo.number(len).bytes(packet);
                put(packet, at, sum.checksum());
            }
        }
    }

    fn tcp_flags(&self, first: bool, last: bool) -> u8 {
        let mut flags = self.flags;
        if !last {
            flags &= !(FIN | PSH);
        }
        if !first && !self.accecn {
            flags &= !CWR;
        }
        flags
    }
}

/// The identification of a segment, from that of the first one.
fn nth(id: u16, index: u32) -> u16 {
    let [_, _, high, low] = index.to_be_bytes();
    id.wrapping_add(u16::from_be_bytes([high, low]))
}

/// The sum without a length that may need more than 16 bits.
fn without_len(sum: Sum, len: usize) -> Sum {
    let [.., a, b, c, d] = len.to_be_bytes();
    sum.without(u16::from_be_bytes([a, b])).without(u16::from_be_bytes([c, d]))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
