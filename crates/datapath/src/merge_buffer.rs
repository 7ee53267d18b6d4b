//! [`MergeBuffer`]: the memory in which the frames of a turn are merged into GSO packets.

use std::ops::Range;

use umacvlan_core::offload::{GroBuilder, VNET_LEN, VnetHeader};

use crate::frame_ref::{FrameRef, FrameStores};

/// Bytes of merged frames in one turn. Only pages with frames are ever touched.
const CAPACITY: usize = 4 << 20;

/// The longest merged frame with its vnet header: an IP packet behind two VLAN tags.
const UNIT_MAX: usize = VNET_LEN + 14 + 8 + 65_535;

/// The most frames that are merged into one.
const FRAMES_MAX: usize = 64;

/// Memory for merged frames, reused every turn.
#[derive(Debug)]
pub(crate) struct MergeBuffer {
    bytes: Box<[u8]>,
    used: usize,
}

/// Two or more frames that another may continue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMerge {
    /// The position of the first frame in its TX queue.
    pub(crate) position: usize,
    first: FrameRef,
    builder: GroBuilder,
    /// The range of the buffer that it may fill.
    start: usize,
    end: usize,
}

impl MergeBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; CAPACITY].into_boxed_slice(), used: 0 }
    }

    /// The bytes of a merged frame of this turn.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Ends the turn: forgets its frames.
    pub(crate) fn end_turn(&mut self) {
        self.used = 0;
    }

    /// Merges two frames, if the second continues the first, the receiver takes the result, and this
    /// turn has room left. `takes` says whether it takes GSO packets of a type, over IPv6 or not.
    pub(crate) fn open(
        &mut self,
        (position, first): (usize, FrameRef),
        second: FrameRef,
        stores: &FrameStores<'_>,
        takes: impl FnOnce(u8, bool) -> bool,
    ) -> Option<OpenMerge> {
        let head = split_unicast(stores.bytes(first))?;
        let mut builder = GroBuilder::of(head.0, head.1)?;
        let (header, frame) = split(stores.bytes(second))?;
        let start = self.used;
        let end = start + UNIT_MAX.min(VNET_LEN + FRAMES_MAX * head.1.len());
        if !takes(builder.gso_type(), builder.is_v6())
            || end > CAPACITY
            || !builder.push(&mut self.bytes[start..end], head, header, frame)
        {
            return None;
        }
        // `finish` gives back the room that is not needed.
        self.used = end;
        Some(OpenMerge { position, first, builder, start, end })
    }

    /// Appends a frame to a merge, if it continues it.
    pub(crate) fn push(
        &mut self,
        open: &mut OpenMerge,
        stored: FrameRef,
        stores: &FrameStores<'_>,
    ) -> bool {
        let room = &mut self.bytes[open.start..open.end];
        match (split(stores.bytes(open.first)), split(stores.bytes(stored))) {
            (Some(first), Some((header, frame))) => open.builder.push(room, first, header, frame),
            _ => false,
        }
    }

    /// Completes a merged frame; returns it and the number of frames in it.
    pub(crate) fn finish(&mut self, open: OpenMerge) -> (FrameRef, u32) {
        let OpenMerge { builder, start, end, .. } = open;
        let len = builder.finish(&mut self.bytes[start..end]);
        if end == self.used {
            self.used = start + len;
        }
        let frames = builder.frames();
        (FrameRef::merged(start, len, frames, builder.headers()), frames)
    }
}

/// Splits vnet header and frame.
#[inline]
fn split(bytes: &[u8]) -> Option<(VnetHeader, &[u8])> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    Some((VnetHeader::parse(header), frame))
}

/// Splits vnet header and frame; `None` for a multicast or broadcast frame. A frame that continues
/// a unicast frame has the same destination.
#[inline]
fn split_unicast(bytes: &[u8]) -> Option<(VnetHeader, &[u8])> {
    split(bytes).filter(|(_, frame)| frame.first().is_some_and(|first| first & 1 == 0))
}
