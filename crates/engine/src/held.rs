//! [`Held`]: where a frame lies until its turn ends.
//!
//! A frame is decided upon when it is read and written when the turn flushes; in between it stays
//! in the memory into which the kernel put it, and everything that will be done with it refers to
//! it by this small value. A flood to a thousand sub-interfaces is a thousand of them and no copy.

use umacvlan_core::offload::VNET_LEN;

use crate::group::GroupQueue;
use crate::offload::Scratch;
use crate::sys::arena::Arena;
use crate::uplink::Uplink;

/// The memory in which a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A buffer of the arena: read from a port, or from an uplink without memory of its own.
    Arena,
    /// The queue of group frames.
    Group,
    /// What the engine made itself: finished checksums and segments.
    Scratch,
    /// A slot of the uplink's ring.
    Uplink,
}

/// A frame and its vnet header, by place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: Place,
    /// Buffer or slot; 0 where the place is one piece.
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

    /// Bytes of the frame alone.
    pub(crate) fn frame_len(self) -> usize {
        (self.len as usize).saturating_sub(VNET_LEN)
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
    pub(crate) scratch: &'p Scratch,
    pub(crate) uplink: Option<&'p Uplink>,
}

impl<'p> Places<'p> {
    /// Header and frame.
    #[inline]
    pub(crate) fn bytes(self, held: Held) -> &'p [u8] {
        let range = held.range();
        match held.place {
            Place::Arena => self.arena.bytes(held.number, range.start, range.len()),
            Place::Group => self.groups.bytes(range),
            Place::Scratch => self.scratch.bytes(range),
            Place::Uplink => self
                .uplink
                .map_or(&[], |uplink| uplink.bytes(held.number, range.start, range.len())),
        }
    }
}
