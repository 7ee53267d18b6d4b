//! [`FloodQueue`]: floods that need more copies than one turn may make.
//!
//! One broadcast on a parent with a thousand sub-interfaces is a thousand frames. A turn makes a
//! bounded number of copies; the rest of a flood waits here with a cursor, so a broadcast storm
//! costs unicast traffic a slice of each turn and not the turn. The kernel defers to a work queue
//! for the same reason (`drivers/net/macvlan.c`, `bcqueuelen`).

use std::collections::VecDeque;
use std::ops::Range;

use umacvlan_core::ring_alloc::find_gap;
use umacvlan_core::stats::WireStats;
use umacvlan_core::switch::{Flood, FloodRule, Replica};
use umacvlan_core::{DropReason, SubIndex};

use crate::frame_ref::{FrameRef, StorageKind, parse};
use crate::switches::{SwitchId, VlanSwitch};
use crate::tx_queues::TxQueues;

/// Copies of flooded frames that one turn makes.
const COPIES_PER_TURN: usize = 256;

/// The same while there is unicast traffic: a copy takes about a microsecond, and a unicast frame
/// waits for those of a whole turn (`umacvlan bench path --measure storm --subs 256`).
const COPIES_WITH_UNICAST: usize = 16;

/// Turns for which one unicast frame counts as unicast traffic. A turn in a storm takes about
/// 20 microseconds, so these are 5 milliseconds: some hundred frames a second are traffic.
const UNICAST_MEMORY_TURNS: u8 = 255;

/// Local floods of one switch that may wait; `bcqueuelen` limits only those from the wire.
pub(crate) const LOCAL_FLOODS: usize = 1024;

/// Bytes of waiting frames. Only pages with frames are ever touched.
const CAPACITY: usize = 8 << 20;

/// The part of the local floods and of the bytes that those of one sub-interface may have, so that
/// its storm leaves room to others.
const SENDER_FLOODS: usize = LOCAL_FLOODS / 8;
const SENDER_BYTES: usize = CAPACITY / 8;

/// Frames that may wait, whatever `bcqueuelen` says.
const FRAMES_MAX: usize = 65_536;

/// A flood with copies still to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingFlood {
    /// The switch that floods the frame.
    pub(crate) switch_id: SwitchId,
    /// The sub-interface that sent the frame; `None`: it came from the wire.
    sender: Option<SubIndex>,
    rule: FloodRule,
    /// Where the flood goes on.
    cursor: u32,
    start: usize,
    len: usize,
}

/// The queue's share of one switch.
#[derive(Debug)]
pub(crate) struct FloodShare<'s> {
    pub(crate) switch_id: SwitchId,
    /// The sub-interface that sent the frame; `None`: it came from the wire.
    pub(crate) sender: Option<SubIndex>,
    /// Floods of this switch that wait.
    pub(crate) pending: &'s mut usize,
    /// How many may.
    pub(crate) limit: usize,
}

/// Unfinished floods, first in first out, with their frames, and the turn's budget of copies.
#[derive(Debug)]
pub(crate) struct FloodQueue {
    bytes: Box<[u8]>,
    floods: VecDeque<PendingFlood>,
    /// By sub-interface: its floods in the queue, and their bytes.
    senders: Vec<(usize, usize)>,
    /// Floods at the front that are finished, but whose frames this turn has yet to write.
    finished: usize,
    /// Copies that this turn may still make.
    copies_left: usize,
    /// Turns for which the last unicast frame still counts as unicast traffic.
    unicast_turns_left: u8,
}

impl FloodQueue {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; CAPACITY].into_boxed_slice(),
            floods: VecDeque::with_capacity(2048),
            senders: Vec::new(),
            finished: 0,
            copies_left: COPIES_PER_TURN,
            unicast_turns_left: 0,
        }
    }

    /// Makes room for a sub-interface.
    pub(crate) fn reserve(&mut self, id: SubIndex) {
        if self.senders.len() <= id.index() {
            self.senders.resize(id.index() + 1, (0, 0));
        }
    }

    /// Floods that wait.
    pub(crate) fn len(&self) -> usize {
        self.floods.len() - self.finished
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes unicast traffic, beside which a turn makes fewer copies.
    #[inline]
    pub(crate) const fn note_unicast(&mut self) {
        self.unicast_turns_left = UNICAST_MEMORY_TURNS;
    }

    /// Queues as many copies of a frame as the turn's budget allows, and keeps the rest of the flood
    /// for later turns. False, with nothing done, if the rest might find no room.
    #[inline(never)]
    pub(crate) fn start(
        &mut self,
        mut flood: Flood<'_>,
        share: FloodShare<'_>,
        tx: &mut TxQueues,
        wire: &mut WireStats,
        stored: FrameRef,
        bytes: &[u8],
    ) -> bool {
        // Floods stay in order: a new one goes behind those that wait.
        if !self.is_empty() || self.copies_left < tx.subs.len() {
            if *share.pending >= share.limit || !self.has_room(share.sender, bytes.len()) {
                return false;
            }
            if !self.is_empty() {
                return self.push(&flood, share, bytes);
            }
        }
        // The caller has parsed these bytes before.
        let Some((header, frame)) = parse(bytes) else {
            return false;
        };
        while self.copies_left > 0 {
            let Some(replica) = flood.next() else {
                return true;
            };
            self.copies_left -= 1;
            tx.queue_replica(wire, replica, stored, header, frame);
        }
        self.push(&flood, share, bytes)
    }

    /// The flood that has waited longest, while this turn may make copies.
    pub(crate) fn next_pending(&self) -> Option<PendingFlood> {
        self.floods.get(self.finished).copied().filter(|_| self.copies_left > 0)
    }

    /// Goes on with the flood at the front, which is one of this switch.
    pub(crate) fn resume(
        &mut self,
        pending: PendingFlood,
        vlan_switch: &mut VlanSwitch,
        tx: &mut TxQueues,
    ) {
        let VlanSwitch { switch, wire, pending_floods, .. } = vlan_switch;
        let mut flood = switch.flood(pending.rule, pending.cursor);
        let stored = FrameRef::new(StorageKind::Floods, pending.start, pending.len);
        // Every waiting frame was parsed before it was queued.
        if let Some((header, frame)) = parse(&self.bytes[pending.range()]) {
            while self.copies_left > 0
                && let Some(replica) = flood.next()
            {
                self.copies_left -= 1;
                tx.queue_replica(wire, replica, stored, header, frame);
            }
        }
        if self.copies_left == 0 {
            return self.advance(flood.cursor());
        }
        *pending_floods = pending_floods.saturating_sub(1);
        // The frame stays until the end of the turn.
        self.finished += 1;
    }

    /// Ends the floods of a switch that is being replaced: its successor must not get them.
    pub(crate) fn end(&mut self, switch_id: SwitchId) {
        for pending in self.floods.iter_mut().filter(|pending| pending.switch_id == switch_id) {
            pending.cursor = u32::MAX;
        }
    }

    /// The bytes of a waiting frame.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Ends the turn: frees the frames of finished floods and renews the budget of copies.
    pub(crate) fn end_turn(&mut self) {
        for finished in self.floods.drain(..self.finished) {
            if let Some(sender) = finished.sender {
                let (floods, bytes) = &mut self.senders[sender.index()];
                (*floods, *bytes) = (*floods - 1, *bytes - finished.len);
            }
        }
        self.finished = 0;
        self.unicast_turns_left = self.unicast_turns_left.saturating_sub(1);
        self.copies_left = match self.unicast_turns_left {
            0 => COPIES_PER_TURN,
            _ => COPIES_WITH_UNICAST,
        };
    }

    /// Copies a frame into the queue. False, with nothing changed, if there is no room.
    fn push(&mut self, flood: &Flood<'_>, share: FloodShare<'_>, frame: &[u8]) -> bool {
        let Some(start) = self.find_gap(frame.len()) else {
            return false;
        };
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        let (rule, cursor, len) = (flood.rule(), flood.cursor(), frame.len());
        let FloodShare { switch_id, sender, pending, .. } = share;
        self.floods.push_back(PendingFlood { switch_id, sender, rule, cursor, start, len });
        if let Some(sender) = sender {
            let (floods, bytes) = &mut self.senders[sender.index()];
            (*floods, *bytes) = (*floods + 1, *bytes + len);
        }
        *pending += 1;
        true
    }

    fn advance(&mut self, cursor: u32) {
        if let Some(front) = self.floods.get_mut(self.finished) {
            front.cursor = cursor;
        }
    }

    fn has_room(&self, sender: Option<SubIndex>, len: usize) -> bool {
        let (floods, bytes) = sender.map_or((0, 0), |sender| self.senders[sender.index()]);
        let has_share = floods < SENDER_FLOODS && bytes + len <= SENDER_BYTES;
        has_share && self.len() < FRAMES_MAX && self.find_gap(len).is_some()
    }

    fn find_gap(&self, len: usize) -> Option<usize> {
        let oldest = self.floods.front().map(|first| first.start);
        let end = self.floods.back().map(|last| last.start + last.len);
        find_gap(oldest.zip(end), self.bytes.len(), len)
    }
}

impl PendingFlood {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// Counts every copy of a local flood that found no room in the queue.
pub(crate) fn count_lost(flood: Flood<'_>, tx: &mut TxQueues, wire: &mut WireStats) {
    for replica in flood {
        let (Replica::Deliver(to) | Replica::TooLong(to)) = replica;
        wire.replicas += 1;
        tx.count_lost(to, DropReason::BcQueueFull);
    }
}
