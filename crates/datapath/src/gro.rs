//! [`Gro`]: frames of one flow to one port, merged into one GSO packet before the write.
//!
//! The network stack behind a TAP runs once for each write, which is most of the cost of a small
//! frame. No frame waits for another: only frames that the same turn writes are merged, and only
//! neighbours on the way to one port, so all frames stay in order.

use umacvlan_core::SubIndex;
use umacvlan_core::offload::Offloads;
use umacvlan_core::stats::SubStats;

use crate::frame_ref::{FrameRef, FrameStores};
use crate::merge_buffer::{MergeBuffer, OpenMerge};
use crate::tx_queues::TX_QUEUE_LEN;

/// What is merged for each sub-interface.
#[derive(Debug)]
pub(crate) struct Gro {
    /// By sub-interface: the position of its last frame in the TX queue of this turn or of an
    /// earlier one. `merge` tells them apart, so the end of a turn has nothing to clear.
    last: Vec<usize>,
    /// By sub-interface: the merged frame that its next one may continue.
    open: Vec<Option<OpenMerge>>,
    /// Sub-interfaces that had an open merge in this turn.
    touched: Vec<SubIndex>,
}

impl Gro {
    pub(crate) fn new() -> Self {
        Self { last: Vec::new(), open: Vec::new(), touched: Vec::with_capacity(TX_QUEUE_LEN) }
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
        (stores, buffer): (&FrameStores<'_>, &mut MergeBuffer),
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
            let open = &mut self.open[to.index()];
            let joined = match open {
                Some(open) => buffer.push(open, stored, stores),
                None => {
                    let accepted = offloads.get(to.index()).copied().flatten();
                    let Some(accepted) = accepted.filter(|offloads| offloads.takes_gso()) else {
                        continue;
                    };
                    let takes = |gso_type, v6| accepted.takes_type(gso_type, v6);
                    *open = buffer.open((before, frames[before].1), stored, stores, takes);
                    if open.is_none() {
                        continue;
                    }
                    self.touched.push(to);
                    true
                }
            };
            if joined {
                // A length of 0 marks a frame that is part of another.
                frames[position].1.len = 0;
                merged = true;
            } else {
                self.close(to, buffer, frames, subs);
            }
        }
        while let Some(to) = self.touched.pop() {
            self.close(to, buffer, frames, subs);
        }
        if merged {
            frames.retain(|(_, stored)| stored.len != 0);
        }
    }

    /// Puts the merged frame of a sub-interface, if it has one, in the place of its first one.
    #[inline]
    fn close(
        &mut self,
        to: SubIndex,
        buffer: &mut MergeBuffer,
        frames: &mut [(SubIndex, FrameRef)],
        subs: &mut [SubStats],
    ) {
        if let Some(open) = self.open[to.index()].take() {
            let (stored, count) = buffer.finish(open);
            let stats = &mut subs[to.index()];
            stats.merged += u64::from(count);
            stats.supers += 1;
            frames[open.position].1 = stored;
        }
    }
}
