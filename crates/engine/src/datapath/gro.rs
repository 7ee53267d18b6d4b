//! [`Coalescer`]: frames of one flow that a turn would write one by one to a port, made into one.
//!
//! The stack behind a TAP is entered once a write, and that is most of what a small frame costs. No
//! frame waits for another: only those that are to be written at the end of the same turn are
//! merged, and only neighbours on the way to the same port, so the order of all frames stays.

use std::ops::Range;

use umacvlan_core::SubIndex;
use umacvlan_core::offload::{GroBuilder, Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::stats::SubStats;

use crate::datapath::frame_ref::{Held, Places};
use crate::datapath::tx_queues::OUTGOING;

/// Bytes of merged frames in one turn. Pages are touched only when there are any.
const ROOM: usize = 4 << 20;

/// The longest merged frame with its header: an IP packet behind two VLAN tags.
const UNIT: usize = VNET_LEN + 14 + 8 + 65_535;

/// The most frames that are merged into one, and so the most bytes that many of one length need.
const FRAMES: usize = 64;

/// Memory for merged frames, used anew every turn.
#[derive(Debug)]
pub(crate) struct Coalescer {
    room: Box<[u8]>,
    used: usize,
    /// By sub-interface: the place of its last frame in the list of this turn, or of an earlier
    /// one; `merge` tells them apart, so a turn has nothing to forget.
    last: Vec<usize>,
    /// By sub-interface: what its next frame may continue.
    open: Vec<Option<Open>>,
    /// Those that have or had one in this turn.
    touched: Vec<SubIndex>,
}

/// Two or more frames that another may follow.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The place of the first one in the list.
    at: usize,
    first: Held,
    merge: GroBuilder,
    start: usize,
    end: usize,
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self {
            room: vec![0; ROOM].into_boxed_slice(),
            used: 0,
            last: Vec::new(),
            open: Vec::new(),
            touched: Vec::with_capacity(OUTGOING),
        }
    }

    /// Makes room for so many sub-interfaces; a turn has none to make.
    pub(crate) fn reserve(&mut self, subs: usize) {
        if self.open.len() < subs {
            self.last.resize(subs, 0);
            self.open.resize(subs, None);
        }
    }

    /// Merges what can be merged in a turn's list of frames.
    ///
    /// A frame is looked at when a second one goes to the same port, and not before: most turns
    /// have one for each of many.
    pub(crate) fn merge(
        &mut self,
        frames: &mut Vec<(SubIndex, Held)>,
        places: Places<'_>,
        offloads: &[Option<Offloads>],
        subs: &mut [SubStats],
    ) {
        let mut merged = false;
        for at in 0..frames.len() {
            let (to, held) = frames[at];
            let before = std::mem::replace(&mut self.last[to.index()], at);
            // What an earlier turn left there is no place of a frame to this port before this one.
            if before >= at || frames[before].0 != to {
                continue;
            }
            let joined = match self.open[to.index()].is_some() {
                true => self.push(to, held, places),
                false => {
                    let takes = offloads.get(to.index()).copied().flatten();
                    self.open(to, (before, frames[before].1), held, places, takes)
                }
            };
            if joined {
                frames[at].1.len = 0;
                merged = true;
            } else {
                self.close(to, frames, subs);
            }
        }
        while let Some(to) = self.touched.pop() {
            self.close(to, frames, subs);
        }
        if merged {
            frames.retain(|(_, held)| held.len != 0);
        }
    }

    /// The bytes of a merged frame of this turn.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.room[range]
    }

    /// Ends the turn.
    pub(crate) fn release(&mut self) {
        self.used = 0;
    }

    /// Takes a frame in behind those that a sub-interface has open, if it continues them.
    fn push(&mut self, to: SubIndex, held: Held, places: Places<'_>) -> bool {
        let Some(open) = &mut self.open[to.index()] else {
            return false;
        };
        let room = &mut self.room[open.start..open.end];
        match (parts(places.bytes(open.first)), parts(places.bytes(held))) {
            (Some(first), Some((header, frame))) => open.merge.push(room, first, header, frame),
            _ => false,
        }
    }

    /// Begins with two frames to the same port, if the second continues the first, the receiver
    /// takes what they become, and there is room left in this turn.
    fn open(
        &mut self,
        to: SubIndex,
        (at, first): (usize, Held),
        second: Held,
        places: Places<'_>,
        takes: Option<Offloads>,
    ) -> bool {
        let Some(head) = unicast(places.bytes(first)) else {
            return false;
        };
        let Some(mut merge) = GroBuilder::of(head.0, head.1) else {
            return false;
        };
        let Some((header, frame)) = parts(places.bytes(second)) else {
            return false;
        };
        let (start, end) = (self.used, self.used + UNIT.min(VNET_LEN + FRAMES * head.1.len()));
        let takes = takes.is_some_and(|takes| takes.takes_type(merge.gso_type(), merge.is_v6()));
        if !takes || end > ROOM || !merge.push(&mut self.room[start..end], head, header, frame) {
            return false;
        }
        self.open[to.index()] = Some(Open { at, first, merge, start, end });
        self.touched.push(to);
        // What it does not need is given back at its end.
        self.used = end;
        true
    }

    /// Ends what a sub-interface has open, if anything.
    #[inline]
    fn close(&mut self, to: SubIndex, frames: &mut [(SubIndex, Held)], subs: &mut [SubStats]) {
        if let Some(open) = self.open[to.index()].take() {
            self.finish(to, open, frames, subs);
        }
    }

    /// Puts what was merged in the place of its first frame.
    fn finish(
        &mut self,
        to: SubIndex,
        open: Open,
        frames: &mut [(SubIndex, Held)],
        subs: &mut [SubStats],
    ) {
        let Open { at, merge, start, end, .. } = open;
        let len = merge.finish(&mut self.room[start..end]);
        if end == self.used {
            self.used = start + len;
        }
        let stats = &mut subs[to.index()];
        stats.merged += u64::from(merge.frames());
        stats.supers += 1;
        frames[at].1 = Held::merged(start, len, merge.frames(), merge.headers());
    }
}

/// Header and frame of a unit.
#[inline]
fn parts(bytes: &[u8]) -> Option<(VnetHeader, &[u8])> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    Some((VnetHeader::parse(header), frame))
}

/// Header and frame of a unit for one station; `None` for any other. What continues it is for the
/// same one.
#[inline]
fn unicast(bytes: &[u8]) -> Option<(VnetHeader, &[u8])> {
    parts(bytes).filter(|(_, frame)| frame.first().is_some_and(|first| first & 1 == 0))
}
