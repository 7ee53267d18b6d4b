//! [`Gro`]: frames of one flow to one port, merged into one GSO packet before the write.
//!
//! The network stack behind a TAP runs once for each write, which is most of the cost of a small
//! frame. No frame waits for another: only frames that the same turn writes are merged, and only
//! neighbours on the way to one port, so all frames stay in order.

use std::ops::Range;

use umacvlan_core::SubIndex;
use umacvlan_core::offload::{GroBuilder, Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::stats::SubStats;

use crate::datapath::frame_ref::{FrameRef, FrameStores};
use crate::datapath::tx_queues::TX_QUEUE_LEN;

/// Bytes of merged frames in one turn. Only pages with frames are ever touched.
const CAPACITY: usize = 4 << 20;

/// The longest merged frame with its vnet header: an IP packet behind two VLAN tags.
const UNIT_MAX: usize = VNET_LEN + 14 + 8 + 65_535;

/// The most frames that are merged into one.
const FRAMES_MAX: usize = 64;

/// Memory for merged frames, reused every turn.
#[derive(Debug)]
pub(crate) struct Gro {
    buffer: Box<[u8]>,
    used: usize,
    /// By sub-interface: the position of its last frame in the TX queue of this turn or of an
    /// earlier one. `merge` tells them apart, so the end of a turn has nothing to clear.
    last: Vec<usize>,
    /// By sub-interface: the merged frame that its next one may continue.
    open: Vec<Option<OpenMerge>>,
    /// Sub-interfaces that had an open merge in this turn.
    touched: Vec<SubIndex>,
}

/// Two or more frames that another may continue.
#[derive(Clone, Copy, Debug)]
struct OpenMerge {
    /// The position of the first frame in the TX queue.
    position: usize,
    first: FrameRef,
    builder: GroBuilder,
    /// The range of the buffer that it may fill.
    start: usize,
    end: usize,
}

impl Gro {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; CAPACITY].into_boxed_slice(),
            used: 0,
            last: Vec::new(),
            open: Vec::new(),
            touched: Vec::with_capacity(TX_QUEUE_LEN),
        }
    }

    /// Makes room for this many sub-interfaces, so that no turn has to.
    pub(crate) fn reserve(&mut self, subs: usize) {
        if self.open.len() < subs {
            self.last.resize(subs, 0);
            self.open.resize(subs, None);
        }
    }

    /// Merges the frames of a turn that can be merged.
    ///
    /// A frame is parsed when a second one goes to the same port, and not before: in most turns
    /// each port gets one frame.
    pub(crate) fn merge(
        &mut self,
        frames: &mut Vec<(SubIndex, FrameRef)>,
        stores: &FrameStores<'_>,
        offloads: &[Option<Offloads>],
        subs: &mut [SubStats],
    ) {
        let mut merged = false;
        for position in 0..frames.len() {
            let (to, stored) = frames[position];
            let before = std::mem::replace(&mut self.last[to.index()], position);
            // A position that an earlier turn left is not that of an earlier frame to this port.
            if before >= position || frames[before].0 != to {
                continue;
            }
            let joined = match self.open[to.index()].is_some() {
                true => self.push(to, stored, stores),
                false => {
                    let accepted = offloads.get(to.index()).copied().flatten();
                    self.open(to, (before, frames[before].1), stored, stores, accepted)
                }
            };
            if joined {
                // A length of 0 marks a frame that is part of another.
                frames[position].1.len = 0;
                merged = true;
            } else {
                self.close(to, frames, subs);
            }
        }
        while let Some(to) = self.touched.pop() {
            self.close(to, frames, subs);
        }
        if merged {
            frames.retain(|(_, stored)| stored.len != 0);
        }
    }

    /// The bytes of a merged frame of this turn.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Ends the turn: forgets its frames.
    pub(crate) fn end_turn(&mut self) {
        self.used = 0;
    }

    /// Appends a frame to the open merge of a sub-interface, if it continues it.
    fn push(&mut self, to: SubIndex, stored: FrameRef, stores: &FrameStores<'_>) -> bool {
        let Some(open) = &mut self.open[to.index()] else {
            return false;
        };
        let room = &mut self.buffer[open.start..open.end];
        match (split(stores.bytes(open.first)), split(stores.bytes(stored))) {
            (Some(first), Some((header, frame))) => open.builder.push(room, first, header, frame),
            _ => false,
        }
    }

    /// Opens a merge with two frames to the same port, if the second continues the first, the
    /// receiver accepts the result, and this turn has room left.
    fn open(
        &mut self,
        to: SubIndex,
        (position, first): (usize, FrameRef),
        second: FrameRef,
        stores: &FrameStores<'_>,
        accepted: Option<Offloads>,
    ) -> bool {
        let Some(head) = split_unicast(stores.bytes(first)) else {
            return false;
        };
        let Some(mut builder) = GroBuilder::of(head.0, head.1) else {
            return false;
        };
        let Some((header, frame)) = split(stores.bytes(second)) else {
            return false;
        };
        let start = self.used;
        let end = start + UNIT_MAX.min(VNET_LEN + FRAMES_MAX * head.1.len());
        let accepted = accepted
            .is_some_and(|offloads| offloads.takes_type(builder.gso_type(), builder.is_v6()));
        if !accepted
            || end > CAPACITY
            || !builder.push(&mut self.buffer[start..end], head, header, frame)
        {
            return false;
        }
        self.open[to.index()] = Some(OpenMerge { position, first, builder, start, end });
        self.touched.push(to);
        // `finish` gives back the room that is not needed.
        self.used = end;
        true
    }

    /// Finishes the open merge of a sub-interface, if it has one.
    #[inline]
    fn close(&mut self, to: SubIndex, frames: &mut [(SubIndex, FrameRef)], subs: &mut [SubStats]) {
        if let Some(open) = self.open[to.index()].take() {
            self.finish(to, open, frames, subs);
        }
    }

    /// Puts the merged frame in the place of its first one.
    fn finish(
        &mut self,
        to: SubIndex,
        open: OpenMerge,
        frames: &mut [(SubIndex, FrameRef)],
        subs: &mut [SubStats],
    ) {
        let OpenMerge { position, builder, start, end, .. } = open;
        let len = builder.finish(&mut self.buffer[start..end]);
        if end == self.used {
            self.used = start + len;
        }
        let stats = &mut subs[to.index()];
        stats.merged += u64::from(builder.frames());
        stats.supers += 1;
        frames[position].1 = FrameRef::merged(start, len, builder.frames(), builder.headers());
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
