//! Frames of sub-interfaces with limits: those that pass, those that wait, and those that are dropped.
//!
//! What a sub-interface sends waits before the switch sees it, as if it had not been read yet. What it
//! receives waits behind the switch, and counts as delivered meanwhile.

use std::sync::Arc;
use std::time::Instant;

use umacvlan_core::limit::{Direction, Limiter, wire_load};
use umacvlan_core::offload::{Offloads, VnetHeader};
use umacvlan_core::stats::{Counters, WireStats};
use umacvlan_core::{DropReason, Frame, SubIndex};

use crate::forwarder::Forwarder;
use crate::frame_ref::{FrameRef, parse};
use crate::limit_queues::{Offer, WaitQueue};
use crate::port::Refusal;
use crate::tx_queues::TxQueues;

/// Frames and bytes that a turn releases from one queue.
const RELEASED_FRAMES: usize = 64;
const RELEASED_BYTES: usize = 256 * 1024;

impl Forwarder {
    /// Sets the limits of a sub-interface. Frames that wait for the former ones pass in this turn.
    pub(crate) fn limit(&mut self, id: SubIndex, limiter: Option<Arc<Limiter>>) {
        for (direction, mut queue) in self.tx.limits.take_all(id) {
            while self.release_first(id, direction, &queue) {
                queue.pop();
            }
            self.tx.abandon_waiting(id, direction, queue, DropReason::Rate);
        }
        self.switches.set_limited(id, limiter.as_ref().is_some_and(|it| it.limits_tx()));
        self.tx.limit(id, limiter);
    }

    /// Begins a turn with limits: forwards the frames that may pass by now. Returns how many.
    #[cold]
    #[inline(never)]
    pub(crate) fn release_limited(&mut self, now: Instant) -> usize {
        self.tx.limits.begin_turn(now);
        let mut released = 0;
        for number in 0..self.tx.limits.waiting() {
            let Some((id, direction, mut queue)) = self.tx.limits.take(number) else {
                continue;
            };
            let (mut frames, mut bytes) = (0, 0);
            while frames < RELEASED_FRAMES
                && bytes < RELEASED_BYTES
                && self.tx.segments.has_room()
                && self.tx.limits.admits(id, direction, &queue)
            {
                bytes += queue.first().map_or(0, <[u8]>::len);
                self.release_first(id, direction, &queue);
                queue.pop();
                frames += 1;
            }
            released += frames;
            self.tx.limits.give_back(id, direction, queue);
        }
        self.tx.limits.forget_empty();
        released
    }

    /// Forwards the first frame of a queue. False, with nothing done, if there is none or this turn has
    /// no room for it.
    fn release_first(&mut self, id: SubIndex, direction: Direction, queue: &WaitQueue) -> bool {
        let Some(unit) = queue.first() else {
            return false;
        };
        let switch = self.switches.switch_of(id);
        if direction == Direction::Rx {
            return self.tx.release_to_port(&mut self.switches.get_mut(switch).wire, id, unit);
        }
        let Some(stored) = self.tx.segments.store(unit) else {
            return false;
        };
        self.egress_passed(switch, id, stored, unit);
        true
    }

    /// Forwards a frame from a sub-interface with a limit on what it sends, lets it wait or drops it.
    #[inline(never)]
    pub(crate) fn egress_limited(&mut self, from: SubIndex, stored: FrameRef, bytes: &[u8]) {
        let id = self.switches.switch_of(from);
        let Some((header, frame)) = parse(bytes) else {
            return self.egress_passed(id, from, stored, bytes);
        };
        if !header.is_plain() && header.validate(frame.bytes()).is_err() {
            // Segments of a packet in a tunnel come here again.
            return self.egress_passed(id, from, stored, bytes);
        }
        let load = wire_load(header, frame.bytes());
        if frame.dst().is_group() && !self.tx.limits.admits_group(from, load.frames) {
            return self.drop_over_limit(from, frame);
        }
        if header.is_gso() && self.tx.is_too_long(from, Direction::Tx, load.bytes) {
            return self.egress_segments(from, header, frame);
        }
        match self.tx.limits.offer((from, Direction::Tx), load, header, frame.bytes()) {
            Offer::Pass => self.egress_passed(id, from, stored, bytes),
            Offer::Waits => {}
            Offer::Full => self.drop_over_limit(from, frame),
        }
    }

    /// Forwards the segments of a GSO packet that is too long for the limit of its sender.
    fn egress_segments(&mut self, from: SubIndex, header: VnetHeader, frame: Frame<'_>) {
        if self.tx.segments.complete(header, frame.bytes()).is_none() {
            return self.drop_over_limit(from, frame);
        }
        let id = self.switches.switch_of(from);
        let taken = self.tx.segments.take();
        for &stored in &taken.1 {
            let unit = &taken.0[stored.range()];
            let Some((header, frame)) = parse(unit) else {
                continue;
            };
            let load = wire_load(header, frame.bytes());
            match self.tx.limits.offer((from, Direction::Tx), load, header, frame.bytes()) {
                Offer::Pass => self.egress_passed(id, from, stored, unit),
                Offer::Waits => {}
                Offer::Full => self.drop_over_limit(from, frame),
            }
        }
        self.tx.segments.give_back(taken);
    }

    fn drop_over_limit(&mut self, from: SubIndex, frame: Frame<'_>) {
        let stats = &mut self.tx.subs[from.index()];
        stats.received.count(frame.bytes().len());
        stats.dropped.count(DropReason::Rate);
    }
}

impl TxQueues {
    fn limit(&mut self, id: SubIndex, limiter: Option<Arc<Limiter>>) {
        let limits_rx = limiter.as_ref().is_some_and(|limiter| limiter.limits_rx());
        self.unlimited[id.index()] = self.offloads[id.index()].filter(|_| !limits_rx);
        self.limits.set(id, limiter);
    }

    /// True for a GSO packet of so many bytes that the limit would have no frame pass for too long.
    fn is_too_long(&self, id: SubIndex, direction: Direction, bytes: u64) -> bool {
        let gate = self.limits.limiter(id).and_then(|limiter| limiter.gate(direction));
        gate.is_some_and(|gate| bytes > gate.longest())
    }

    /// Queues a frame, which was counted as offered, for a sub-interface with a limit on what it receives
    /// or without a port.
    #[inline(never)]
    pub(crate) fn queue_limited(
        &mut self,
        wire: &mut WireStats,
        to: SubIndex,
        stored: FrameRef,
        header: VnetHeader,
        frame: Frame<'_>,
        group: bool,
    ) {
        let Some(offloads) = self.offloads[to.index()] else {
            self.subs[to.index()].lost.count(DropReason::Down);
            return self.losses.note_sub(to, Counters::default(), DropReason::Down);
        };
        let load = wire_load(header, frame.bytes());
        let is_long = header.is_gso() && self.is_too_long(to, Direction::Rx, load.bytes);
        if is_long || !header.is_plain() && !offloads.accepts(header, frame.bytes()) {
            return self.queue_completed(wire, to, header, frame, group);
        }
        match self.limits.offer((to, Direction::Rx), load, header, frame.bytes()) {
            Offer::Pass => self.to_ports.push((to, stored)),
            Offer::Waits => {}
            Offer::Full => {
                self.subs[to.index()].lost.count(DropReason::Rate);
                return self.losses.note_sub(to, Counters::default(), DropReason::Rate);
            }
        }
        let stats = &mut self.subs[to.index()];
        stats.groups += u64::from(group);
        stats.delivered.count(frame.bytes().len());
    }

    /// As [`Self::queue_limited`], for the frames that were just completed, which were not counted yet.
    pub(crate) fn queue_segments_limited(&mut self, to: SubIndex, group: bool) {
        let Self { segments, limits, subs, to_ports, losses, .. } = self;
        let stats = &mut subs[to.index()];
        let (memory, completed) = segments.completed();
        for &stored in completed {
            let Some((header, frame)) = parse(&memory[stored.range()]) else {
                continue;
            };
            stats.offered += 1;
            let load = wire_load(header, frame.bytes());
            match limits.offer((to, Direction::Rx), load, header, frame.bytes()) {
                Offer::Pass => to_ports.push((to, stored)),
                Offer::Waits => {}
                Offer::Full => {
                    stats.lost.count(DropReason::Rate);
                    losses.note_sub(to, Counters::default(), DropReason::Rate);
                    continue;
                }
            }
            stats.groups += u64::from(group);
            stats.delivered.count(stored.frame_len());
        }
    }

    /// Queues a frame that has waited for a limit, and counts as delivered since. Its receiver may take
    /// less than it did then, because another program has connected. False, with nothing done, if this
    /// turn has no room for it.
    fn release_to_port(&mut self, wire: &mut WireStats, to: SubIndex, unit: &[u8]) -> bool {
        let Some((header, frame)) = parse(unit) else {
            return true;
        };
        let takes = self.offloads[to.index()].unwrap_or(Offloads::NONE);
        if header.is_plain() || takes.accepts(header, frame.bytes()) {
            let stored = self.segments.store(unit);
            self.to_ports.extend(stored.map(|stored| (to, stored)));
            return stored.is_some();
        }
        let (whole, group) = (frame.bytes().len() as u64, frame.dst().is_group());
        let Some(completed) = self.segments.complete(header, frame.bytes()) else {
            let lost = Counters { frames: 1, bytes: whole };
            let tunneled = header.is_tunneled(frame.bytes());
            let reason = if tunneled { DropReason::TunnelGso } else { DropReason::Unsupported };
            self.undo_delivered(Refusal { to, lost, group, reason });
            return true;
        };
        // It was one frame so far.
        let more = (completed.len() as u64).saturating_sub(1);
        let stats = &mut self.subs[to.index()];
        stats.offered += more;
        stats.groups += if group { more } else { 0 };
        stats.delivered.frames += more;
        stats.delivered.bytes = stats.delivered.bytes.saturating_sub(whole);
        wire.replicas += more;
        for &stored in completed {
            stats.delivered.bytes += stored.frame_len() as u64;
            self.to_ports.push((to, stored));
        }
        true
    }

    /// Drops the frames of a sub-interface that wait for its limit, and removes the limit.
    pub(crate) fn abandon_limited(&mut self, id: SubIndex, reason: DropReason) {
        for (direction, queue) in self.limits.take_all(id) {
            self.abandon_waiting(id, direction, queue, reason);
        }
    }

    fn abandon_waiting(
        &mut self,
        id: SubIndex,
        direction: Direction,
        mut queue: WaitQueue,
        reason: DropReason,
    ) {
        while let Some((_, frame)) = queue.first().and_then(parse) {
            let len = frame.bytes().len();
            let group = frame.dst().is_group();
            match direction {
                Direction::Rx => {
                    let lost = Counters { frames: 1, bytes: len as u64 };
                    self.undo_delivered(Refusal { to: id, lost, group, reason });
                }
                Direction::Tx => {
                    let stats = &mut self.subs[id.index()];
                    stats.received.count(len);
                    stats.dropped.count(reason);
                }
            }
            queue.pop();
        }
    }
}
