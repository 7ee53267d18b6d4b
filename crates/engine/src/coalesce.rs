//! [`Coalescer`]: frames of one flow that a turn would write one by one to a port, made into one.
//!
//! The stack behind a TAP is entered once a write, and that is most of what a small frame costs. No
//! frame waits for another: only those that are to be written at the end of the same turn are
//! merged, and only neighbours on the way to the same port, so the order of all frames stays.

use std::ops::Range;

use umacvlan_core::SubId;
use umacvlan_core::offload::{Merge, Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::stats::SubStats;

use crate::dispatch::OUTGOING;
use crate::held::{Held, Places};

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
    /// By sub-interface: what its next frame may continue.
    open: Vec<Option<Open>>,
    /// Those that have one.
    touched: Vec<SubId>,
}

/// A frame that others may follow.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Its place in the list.
    at: usize,
    first: Held,
    merge: Merge,
    start: usize,
    end: usize,
}

impl Coalescer {
    pub(crate) fn new() -> Self {
        Self {
            room: vec![0; ROOM].into_boxed_slice(),
            used: 0,
            open: Vec::new(),
            touched: Vec::with_capacity(OUTGOING),
        }
    }

    /// Makes room for so many sub-interfaces; a turn has none to make.
    pub(crate) fn reserve(&mut self, subs: usize) {
        if self.open.len() < subs {
            self.open.resize(subs, None);
        }
    }

    /// Merges what can be merged in a turn's list of frames.
    pub(crate) fn merge(
        &mut self,
        frames: &mut Vec<(SubId, Held)>,
        places: Places<'_>,
        offloads: &[Option<Offloads>],
        subs: &mut [SubStats],
    ) {
        if frames.len() < 2 {
            return;
        }
        let mut merged = false;
        for at in 0..frames.len() {
            let (to, held) = frames[at];
            let Some((header, frame)) = unicast(places.bytes(held)) else {
                self.close(to, frames, subs);
                continue;
            };
            if self.push(to, places, header, frame) {
                frames[at].1.len = 0;
                merged = true;
                continue;
            }
            self.close(to, frames, subs);
            let takes = offloads.get(to.index()).copied().flatten().unwrap_or(Offloads::NONE);
            self.open(to, at, held, header, frame, takes);
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

    /// Takes a frame in behind the one before it, if it continues that.
    fn push(&mut self, to: SubId, places: Places<'_>, header: VnetHeader, frame: &[u8]) -> bool {
        let Some(open) = &mut self.open[to.index()] else {
            return false;
        };
        let Some(first) = unicast(places.bytes(open.first)) else {
            return false;
        };
        open.merge.push(&mut self.room[open.start..open.end], first, header, frame)
    }

    /// Begins anew with a frame, if its kind can be merged and there is room left in this turn.
    fn open(
        &mut self,
        to: SubId,
        at: usize,
        held: Held,
        header: VnetHeader,
        frame: &[u8],
        takes: Offloads,
    ) {
        let Some(merge) = Merge::of(header, frame) else {
            return;
        };
        let len = UNIT.min(VNET_LEN + FRAMES * frame.len());
        if !takes.takes_type(merge.gso_type(), merge.is_v6()) || self.used + len > ROOM {
            return;
        }
        let start = self.used;
        self.open[to.index()] = Some(Open { at, first: held, merge, start, end: start + len });
        self.touched.push(to);
        // Given back if nothing follows.
        self.used += len;
    }

    /// Ends what a sub-interface has open; a frame that nothing followed stays as it is.
    fn close(&mut self, to: SubId, frames: &mut [(SubId, Held)], subs: &mut [SubStats]) {
        let Some(open) = self.open.get_mut(to.index()).and_then(Option::take) else {
            return;
        };
        let count = open.merge.frames();
        let last = open.end == self.used;
        if count == 1 {
            if last {
                self.used = open.start;
            }
            return;
        }
        let len = open.merge.finish(&mut self.room[open.start..open.end]);
        if last {
            self.used = open.start + len;
        }
        let stats = &mut subs[to.index()];
        stats.merged += u64::from(count);
        stats.supers += 1;
        frames[open.at].1 = Held::merged(open.start, len, count, open.merge.headers());
    }
}

/// Header and frame of a unit for one station; `None` for any other.
#[inline]
fn unicast(bytes: &[u8]) -> Option<(VnetHeader, &[u8])> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    (frame.first()? & 1 == 0).then(|| (VnetHeader::parse(header), frame))
}
