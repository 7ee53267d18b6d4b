//! [`Held`]: where a frame lies until its turn ends.
//!
//! A frame is decided upon when it is read and written when the turn flushes; in between it stays
//! in the memory into which the kernel put it, and everything that will be done with it refers to
//! it by this small value. A flood to a thousand sub-interfaces is a thousand of them and no copy.

use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::arena::Arena;

use crate::datapath::flood_queue::GroupQueue;
use crate::datapath::gro::Coalescer;
use crate::datapath::segment_buffer::Scratch;
use crate::datapath::uplink::Uplink;

/// Bits of a merged frame's number for the length of the headers.
const HEADERS_BITS: u16 = 8;

/// The memory in which a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A buffer of the arena: read from a port, or from an uplink without memory of its own.
    Arena,
    /// The queue of group frames.
    Group,
    /// What was merged from several frames.
    Merged,
    /// What the engine made itself: finished checksums and segments.
    Scratch,
    /// A slot of the socket beside an AF_XDP uplink.
    #[cfg(feature = "af-xdp")]
    Side,
    /// A slot of the uplink's ring, or a chunk of its memory.
    Uplink,
}

/// A frame and its vnet header, by place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: Place,
    /// Buffer or slot; of a merged frame what [`Self::more`] says; 0 where the place is one piece.
    pub(crate) number: u16,
    /// Where the vnet header begins.
    pub(crate) at: u32,
    /// Bytes of header and frame.
    pub(crate) len: u32,
}

impl Held {
    /// A frame of `len` bytes with its header, from `at` on.
    ///
    /// # Panics
    /// Never: every place is far below 4 GiB.
    #[allow(clippy::cast_possible_truncation, reason = "every place is far below 4 GiB")]
    pub(crate) fn new(place: Place, number: u16, at: usize, len: usize) -> Self {
        Self { place, number, at: at as u32, len: len as u32 }
    }

    /// A frame of `len` bytes with its header, from `at` on, that was merged from `frames` with so
    /// many bytes of headers each.
    #[allow(clippy::cast_possible_truncation, reason = "at most 64 frames and 122 bytes")]
    pub(crate) fn merged(at: usize, len: usize, frames: u32, headers: usize) -> Self {
        let number = (frames as u16 - 1) << HEADERS_BITS | headers as u16;
        Self::new(Place::Merged, number, at, len)
    }

    /// The same without so many bytes at its front, which is not more than it has.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "it is a part of the length")]
    pub(crate) fn without(self, bytes: usize) -> Self {
        let bytes = bytes as u32;
        Self { at: self.at + bytes, len: self.len - bytes, ..self }
    }

    /// What a refusal has to know of it later, in 14 bits: 0 for a frame that stands for itself.
    pub(crate) const fn more(self) -> u16 {
        match self.place {
            Place::Merged => self.number,
            _ => 0,
        }
    }

    /// The frame of `len` bytes with its header of which [`Self::more`] said this.
    pub(crate) const fn refused(len: u32, more: u16) -> Self {
        let place = if more == 0 { Place::Arena } else { Place::Merged };
        Self { place, number: more, at: 0, len }
    }

    /// How many frames it stands for.
    pub(crate) fn frames(self) -> u64 {
        1 + u64::from(self.more() >> HEADERS_BITS)
    }

    /// Bytes of the frame alone, or of all that were merged.
    pub(crate) fn frame_len(self) -> usize {
        let headers = usize::from(self.more() & ((1 << HEADERS_BITS) - 1));
        let repeated = usize::from(self.more() >> HEADERS_BITS) * headers;
        (self.len as usize).saturating_sub(VNET_LEN) + repeated
    }

    fn range(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}

/// All the places, to look a [`Held`] up.
#[derive(Clone, Copy)]
pub(crate) struct Places<'p> {
    pub(crate) arena: &'p Arena,
    pub(crate) groups: &'p GroupQueue,
    /// `None` while frames are being merged.
    pub(crate) merged: Option<&'p Coalescer>,
    pub(crate) scratch: &'p Scratch,
    pub(crate) uplink: Option<&'p Uplink>,
}

impl<'p> Places<'p> {
    /// Header and frame.
    #[inline(always)]
    pub(crate) fn bytes(self, held: Held) -> &'p [u8] {
        let range = held.range();
        match held.place {
            Place::Arena => self.arena.bytes(held.number, range.start, range.len()),
            Place::Group => self.groups.bytes(range),
            Place::Merged => self.merged.map_or(&[], |merged| merged.bytes(range)),
            Place::Scratch => self.scratch.bytes(range),
            #[cfg(feature = "af-xdp")]
            Place::Side => self
                .uplink
                .map_or(&[], |uplink| uplink.side_bytes(held.number, range.start, range.len())),
            Place::Uplink => self
                .uplink
                .map_or(&[], |uplink| uplink.bytes(held.number, range.start, range.len())),
        }
    }
}
