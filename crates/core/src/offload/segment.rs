//! Segmentation in software, for receivers that take finished frames only.
//!
//! It does what the segmentation of Linux does, so that a frame looks the same whichever of the
//! two has cut it: `tests/segment.rs` of the engine compares them byte by byte. The pseudo-header
//! is not summed again, because the open checksum holds its sum and only the length in it changes;
//! so packets with a routing header, whose final destination is elsewhere, come out right, too.

use super::checksum::{Sum, checksum, fill_checksum, nonzero};
use super::layout::{Layout, Transport};
use super::{VNET_LEN, VnetError, VnetHeader};
use crate::frame::{HEADER_LEN, TAG_LEN};

/// Bytes that [`segment`] works in: a unit with the longest IP packet behind two VLAN tags.
pub const SEGMENT_BUFFER_LEN: usize = VNET_LEN + HEADER_LEN + 2 * TAG_LEN + 65_535;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Cuts a GSO frame into finished frames, emits each, and returns how many there were.
///
/// What is emitted is a unit: ten zero bytes, the header of a finished frame, and the frame behind
/// them. It lies in `scratch` and is gone after the call. All checksums are in place; sequence
/// numbers, IP identifications and lengths count on; FIN and PSH are on the last segment only, CWR
/// on the first only, unless the type says [`VnetHeader::GSO_ACCECN`].
///
/// A frame with no more payload than one segment comes out as it is with its checksum complete.
///
/// # Errors
/// Those of [`VnetHeader::validate`], and [`VnetError::UnknownGsoType`] for a frame that is not
/// GSO. Nothing has been emitted then.
pub fn segment(
    header: VnetHeader,
    frame: &[u8],
    scratch: &mut [u8; SEGMENT_BUFFER_LEN],
    mut emit: impl FnMut(&[u8]),
) -> Result<usize, VnetError> {
    let Some(layout) = header.layout(frame)? else {
        return Err(VnetError::UnknownGsoType(header.gso_type));
    };
    scratch[..VNET_LEN].fill(0);
    let (_, payload) = frame.split_at(layout.payload);
    let size = usize::from(header.gso_size);
    if payload.len() <= size {
        let end = VNET_LEN + frame.len();
        scratch[VNET_LEN..end].copy_from_slice(frame);
        fill_checksum(header, &mut scratch[VNET_LEN..end]);
        emit(&scratch[..end]);
        return Ok(1);
    }
    let segmenter = Segmenter::new(header, layout, frame);
    // The headers stay in place from segment to segment, only what differs is written anew.
    let start = VNET_LEN + layout.payload;
    scratch[VNET_LEN..start].copy_from_slice(&frame[..layout.payload]);
    let count = payload.len().div_ceil(size);
    for (index, piece) in payload.chunks(size).enumerate() {
        let end = start + piece.len();
        scratch[start..end].copy_from_slice(piece);
        let last = index + 1 == count;
        segmenter.finish(&mut scratch[VNET_LEN..end], index, last)?;
        emit(&scratch[..end]);
    }
    Ok(count)
}

/// How many frames this one stands for on the wire: 1 if it is not GSO.
///
/// Meant for counters: it believes a header that [`VnetHeader::validate`] has seen, and returns
/// some number for any other.
pub fn segment_count(header: VnetHeader, frame: &[u8]) -> usize {
    if !header.is_gso() || header.gso_size == 0 {
        return 1;
    }
    let transport = usize::from(header.csum_start);
    let len = if header.gso_kind() == VnetHeader::GSO_UDP_L4 {
        8
    } else {
        let offset = frame.get(transport + 12).copied().unwrap_or(0);
        usize::from(offset >> 4) * 4
    };
    let payload = frame.len().saturating_sub(transport + len);
    payload.div_ceil(usize::from(header.gso_size)).max(1)
}

/// What all segments of a frame have in common.
struct Segmenter {
    layout: Layout,
    /// The sum of the pseudo-header without the length of the transport packet.
    pseudo: Sum,
    /// The IPv4 identification of the first segment.
    id: u16,
    /// The TCP sequence number of the first segment.
    sequence: u32,
    /// The TCP flags of the whole.
    flags: u8,
    /// True if CWR goes to each segment.
    accecn: bool,
    /// Payload bytes of each segment but the last.
    size: u32,
}

impl Segmenter {
    fn new(header: VnetHeader, layout: Layout, frame: &[u8]) -> Self {
        let ip = &frame[layout.network..];
        let transport = &frame[layout.transport..];
        let at = layout.transport_kind.checksum();
        let pseudo = Sum::default().bytes(&transport[at..at + 2]);
        let (pseudo, sequence, flags) = match layout.transport_kind {
            // UDP takes its own word for its length, as it is part of the pseudo-header.
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
            pseudo,
            id: u16::from_be_bytes([ip[4], ip[5]]),
            sequence,
            flags,
            accecn: header.gso_type & VnetHeader::GSO_ACCECN != 0,
            size: u32::from(header.gso_size),
        }
    }

    /// Writes into a segment with its payload in place whatever its headers differ in.
    fn finish(&self, frame: &mut [u8], index: usize, last: bool) -> Result<(), VnetError> {
        let Layout { network, transport, .. } = self.layout;
        // Never happens: the layout is the proof that a segment fits an IP packet.
        let len =
            |from: usize| u16::try_from(frame.len() - from).map_err(|_| VnetError::SegmentTooLong);
        let ip_len = len(network)?;
        let transport_len = len(transport)?;
        let index = u32::try_from(index).map_err(|_| VnetError::TooManySegments)?;
        self.finish_ip(&mut frame[network..], ip_len, index);
        self.finish_transport(&mut frame[transport..], transport_len, index, last);
        Ok(())
    }

    fn finish_ip(&self, ip: &mut [u8], len: u16, index: u32) {
        if self.layout.v6 {
            put(ip, 4, len - 40);
            return;
        }
        let [_, _, high, low] = index.to_be_bytes();
        put(ip, 2, len);
        put(ip, 4, self.id.wrapping_add(u16::from_be_bytes([high, low])));
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

/// The sum without a length that may need more than 16 bits.
fn without_len(sum: Sum, len: usize) -> Sum {
    let [.., a, b, c, d] = len.to_be_bytes();
    sum.without(u16::from_be_bytes([a, b])).without(u16::from_be_bytes([c, d]))
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
