//! [`FrameRef`]: where a frame is stored until its turn ends.
//!
//! The worker decides about a frame when it reads it, and writes it when the turn flushes. Between
//! the two, the frame stays in the memory into which the kernel wrote it, and the TX queues hold
//! this small value. A flood to a thousand sub-interfaces is a thousand references and no copy.

use std::ops::Range;

use umacvlan_core::Frame;
use umacvlan_core::offload::{VNET_LEN, VnetHeader};
use umacvlan_core::stats::Counters;
use umacvlan_sys::buffer_pool::BufferPool;

use crate::flood_queue::FloodQueue;
use crate::merge_buffer::MergeBuffer;
use crate::segment_buffer::SegmentBuffer;
use crate::uplink::Uplink;

/// Bits of a completion cookie for the length of the headers.
const HEADERS_BITS: u16 = 8;

/// The memory in which a frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// The queue of unfinished floods.
    Floods,
    /// The GRO buffer: one frame that stands for `frames` frames with `headers` bytes of headers
    /// each.
    Merged { frames: u8, headers: u8 },
    /// A buffer of the pool: read from a port, or from an uplink without memory of its own.
    Pool { buffer: u16 },
    /// The segment buffer: completed checksums and segments.
    Segments,
    /// A slot of the packet socket beside an AF_XDP uplink.
    #[cfg(feature = "af-xdp")]
    Side { slot: u16 },
    /// A slot of the uplink's ring, or a chunk of its UMEM.
    Uplink { slot: u16 },
}

/// The place of a frame with its vnet header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameRef {
    pub(crate) storage: StorageKind,
    /// Offset of the vnet header in the buffer, slot or memory.
    pub(crate) start: u32,
    /// Bytes of header and frame.
    pub(crate) len: u32,
}

impl FrameRef {
    /// A frame of `len` bytes, vnet header included, that begins at `start`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "every storage is far below 4 GiB")]
    pub(crate) const fn new(storage: StorageKind, start: usize, len: usize) -> Self {
        Self { storage, start: start as u32, len: len as u32 }
    }

    /// A frame merged from `frames` frames with `headers` bytes of headers each.
    #[allow(clippy::cast_possible_truncation, reason = "at most 64 frames and 122 bytes")]
    pub(crate) const fn merged(start: usize, len: usize, frames: u32, headers: usize) -> Self {
        let storage = StorageKind::Merged { frames: frames as u8, headers: headers as u8 };
        Self::new(storage, start, len)
    }

    /// The same frame without its first `bytes` bytes. It has at least that many.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "`bytes` is a part of the length")]
    pub(crate) const fn without_prefix(self, bytes: usize) -> Self {
        let bytes = bytes as u32;
        Self { start: self.start + bytes, len: self.len - bytes, ..self }
    }

    /// Bytes of the frame without its vnet header.
    #[inline]
    pub(crate) const fn frame_len(self) -> usize {
        (self.len as usize).saturating_sub(VNET_LEN)
    }

    /// The frames that this one stands for, and the bytes they had before they were merged.
    #[inline]
    pub(crate) const fn counters(self) -> Counters {
        Self::counters_of(self.len, self.completion_cookie())
    }

    /// What a failed write needs to know to undo the counters, in 14 bits: 0 for a frame that was
    /// not merged.
    #[inline]
    pub(crate) const fn completion_cookie(self) -> u16 {
        match self.storage {
            StorageKind::Merged { frames, headers } => {
                (frames as u16 - 1) << HEADERS_BITS | headers as u16
            }
            _ => 0,
        }
    }

    /// The [`counters`](Self::counters) of the frame of `len` bytes that had this cookie.
    pub(crate) const fn counters_of(len: u32, cookie: u16) -> Counters {
        let more = (cookie >> HEADERS_BITS) as u64;
        let headers = (cookie & ((1 << HEADERS_BITS) - 1)) as u64;
        let bytes = (len as u64).saturating_sub(VNET_LEN as u64) + more * headers;
        Counters { frames: 1 + more, bytes }
    }

    #[inline]
    pub(crate) const fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

/// Splits and parses vnet header and frame; `None` for a runt.
#[inline]
pub(crate) fn parse(bytes: &[u8]) -> Option<(VnetHeader, Frame<'_>)> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    Some((VnetHeader::parse(header), Frame::new(frame)?))
}

/// Every memory in which a frame can be stored, to resolve a [`FrameRef`].
#[derive(Clone, Copy)]
pub(crate) struct FrameStores<'s> {
    pub(crate) pool: &'s BufferPool,
    pub(crate) floods: &'s FloodQueue,
    /// `None` while frames are being merged.
    pub(crate) merged: Option<&'s MergeBuffer>,
    pub(crate) segments: &'s SegmentBuffer,
    pub(crate) uplink: Option<&'s Uplink>,
}

impl<'s> FrameStores<'s> {
    /// Header and frame.
    #[inline(always)]
    pub(crate) fn bytes(&self, stored: FrameRef) -> &'s [u8] {
        let range = stored.range();
        match stored.storage {
            StorageKind::Floods => self.floods.bytes(range),
            StorageKind::Merged { .. } => self.merged.map_or(&[], |merged| merged.bytes(range)),
            StorageKind::Pool { buffer } => self.pool.bytes(buffer, range.start, range.len()),
            StorageKind::Segments => self.segments.bytes(range),
            #[cfg(feature = "af-xdp")]
            StorageKind::Side { slot } => {
                self.uplink.map_or(&[], |uplink| uplink.side_bytes(slot, range.start, range.len()))
            }
            StorageKind::Uplink { slot } => {
                self.uplink.map_or(&[], |uplink| uplink.bytes(slot, range.start, range.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_restores_the_counters_of_a_merged_frame() {
        let merged = FrameRef::merged(0, VNET_LEN + 54 + 64 * 100, 64, 54);
        let counters = FrameRef::counters_of(merged.len, merged.completion_cookie());
        assert_eq!(counters, Counters { frames: 64, bytes: 64 * 154 });
        assert!(merged.completion_cookie() < 1 << 14);
    }

    #[test]
    fn a_frame_that_was_not_merged_counts_once_without_its_header() {
        let single = FrameRef::new(StorageKind::Pool { buffer: 7 }, 4, VNET_LEN + 60);
        assert_eq!(single.completion_cookie(), 0);
        assert_eq!(single.counters(), Counters { frames: 1, bytes: 60 });
    }

    #[test]
    fn a_reference_stays_small() {
        assert_eq!(size_of::<FrameRef>(), 12);
    }
}
