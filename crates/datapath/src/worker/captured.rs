//! The turns of a worker with a capture: as [`Worker::turn_at`], and each frame is offered to the
//! captures with its outcome.
//!
//! The switch is not asked a second time, and the forwarding code does not know of captures: the
//! outcome is what it has counted and queued.

use std::io;
use std::time::Instant;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::stats::{Drops, SubStats, WireStats};
use umacvlan_core::{DropReason, SubIndex};

use super::{Turn, WIRE_BURST, Worker};
use crate::capture::{CAPTURES_MAX, Capture, Fate, Loss, LossAt, Point, Sighting};
use crate::forwarder::Forwarder;
use crate::frame_ref::FrameRef;
use crate::port::PortEvent;
use crate::switches::{SwitchId, Switches};

/// The captures, and the frames of this turn for which nothing was kept.
#[derive(Debug)]
struct Watch<'c> {
    captures: &'c [Capture],
}

impl Worker {
    /// Adds a capture, which ends when its queue is [closed](crate::capture::CaptureQueue::close).
    /// False if the worker has as many as it may.
    pub fn capture(&mut self, capture: Capture) -> bool {
        self.captures.retain(|one| one.queue.closed().is_none());
        let has_room = self.captures.len() < CAPTURES_MAX;
        if has_room {
            self.captures.push(capture);
        }
        self.forwarder.tx.losses.watch(!self.captures.is_empty());
        has_room
    }

    /// Forgets the captures that were closed.
    pub fn end_captures(&mut self) {
        self.captures.retain(|one| one.queue.closed().is_none());
        self.forwarder.tx.losses.watch(!self.captures.is_empty());
    }

    /// A turn with captures.
    #[cold]
    #[inline(never)]
    pub(super) fn turn_captured(&mut self, now: Instant) -> io::Result<Turn> {
        let reads_wire = !self.holds_uplink;
        let Self { forwarder, vlans, uplink, ports, pool, gone, captures, .. } = self;
        let watch = Watch { captures };
        if forwarder.switches.translate() {
            forwarder.begin_translated_turn(vlans, now);
        }
        forwarder.resume_floods();
        let mut turn = Turn::default();
        if forwarder.tx.limits.is_active() {
            turn.frames = forwarder.release_limited(now);
        }
        watch.losses(forwarder, &[]);
        if let Some(uplink) = uplink
            && reads_wire
        {
            turn.frames += uplink.recv(pool, vlans, WIRE_BURST, |id, stored, bytes| {
                watch.ingress(forwarder, id, stored, bytes);
            });
        }
        turn.events = turn.frames;
        turn.events += ports.recv(pool, |event| match event {
            PortEvent::Frame { from, stored, bytes } => {
                turn.frames += 1;
                watch.egress(forwarder, from, stored, bytes);
            }
            PortEvent::Gone { sub } => gone.push(sub),
            PortEvent::Refused(refusal) => forwarder.tx.undo_delivered(refusal),
            PortEvent::Unreadable { from } => {
                turn.frames += 1;
                forwarder.drop_unreadable(from);
                watch.unreadable(&forwarder.switches, from);
            }
        })?;
        let frames = ports.recv_memory(pool, |from, stored, bytes| {
            watch.egress(forwarder, from, stored, bytes);
        });
        turn.frames += frames;
        turn.events += frames;
        turn.events += ports.recv_programs(pool, &mut |from, stored, bytes| {
            turn.frames += 1;
            watch.egress(forwarder, from, stored, bytes);
        });
        let Forwarder { switches, floods, tx, .. } = forwarder;
        let mut translated = Vec::new();
        tx.each_queued(pool, floods, uplink.as_ref(), |point, id, sub, unit| {
            let mut bytes = unit.get(VNET_LEN..).unwrap_or_default();
            let switch = id.unwrap_or_else(|| switches.switch_of(sub));
            if let (Some(id), Some((head, rest))) = (id, bytes.split_at_checked(12))
                && let Some(source) = vlans.form(id).source()
            {
                translated.clear();
                translated.extend([&head[..6], &source.octets(), rest].concat());
                bytes = &translated;
            }
            let (fate, len) = (Fate::Send, bytes.len());
            watch.see(&Sighting { point, switch, sub: Some(sub), fate, len, bytes });
        });
        turn.events += usize::from(self.flush()?) + usize::from(self.ports.is_any_waiting());
        Watch { captures: &self.captures }.losses(&mut self.forwarder, &[]);
        if self.captures.iter().any(|one| one.queue.closed().is_some()) {
            self.end_captures();
        }
        self.send_notices();
        Ok(turn)
    }
}

impl Watch<'_> {
    fn see(&self, seen: &Sighting<'_>) {
        self.captures.iter().for_each(|capture| capture.offer(seen));
    }

    /// Forwards a frame from the wire.
    fn ingress(
        &self,
        forwarder: &mut Forwarder,
        switch: SwitchId,
        stored: FrameRef,
        bytes: Result<&mut [u8], DropReason>,
    ) {
        let (before, queued) = (forwarder.switches.get(switch).wire, forwarder.tx.queued());
        // What has a translation is seen as it is behind it, like a frame of which the tags were removed.
        let frame = match bytes {
            Ok(unit) => {
                forwarder.ingress_translated(switch, stored, Ok(unit));
                unit.get(VNET_LEN..).unwrap_or_default()
            }
            Err(reason) => {
                forwarder.ingress_tagged(switch, stored, Err(reason));
                &[]
            }
        };
        let fate = fate_of_ingress(&before, forwarder, switch, queued);
        let (point, sub, len) = (Point::FromWire, None, stored.frame_len());
        self.see(&Sighting { point, switch, sub, fate, len, bytes: frame });
        self.losses(forwarder, frame);
    }

    /// Forwards a frame from a sub-interface.
    fn egress(&self, forwarder: &mut Forwarder, from: SubIndex, stored: FrameRef, unit: &[u8]) {
        let bytes = unit.get(VNET_LEN..).unwrap_or_default();
        let (before, queued) = (forwarder.tx.subs[from.index()], forwarder.tx.queued());
        let switch = forwarder.switches.switch_of(from);
        forwarder.egress_stream(from, stored, unit);
        let fate = fate_of_egress(&before, forwarder, from, queued);
        let (point, sub, len) = (Point::FromLink, Some(from), bytes.len());
        self.see(&Sighting { point, switch, sub, fate, len, bytes });
        self.losses(forwarder, bytes);
    }

    fn unreadable(&self, switches: &Switches, from: SubIndex) {
        self.see(&Sighting {
            point: Point::FromLink,
            switch: switches.switch_of(from),
            sub: Some(from),
            fate: Fate::Drop(DropReason::BadVnetHeader),
            len: 0,
            bytes: &[],
        });
    }

    /// Offers what was lost since the last time: copies of the frame that was just forwarded, or
    /// frames of this turn that are not at hand.
    fn losses(&self, forwarder: &mut Forwarder, bytes: &[u8]) {
        let Forwarder { switches, tx, .. } = forwarder;
        let missed = tx.losses.drain(|Loss { to, lost, reason }| {
            let (point, switch, sub) = match to {
                LossAt::Sub(to) => (Point::ToLink, switches.switch_of(to), Some(to)),
                LossAt::Wire(switch) => (Point::ToWire, switch, None),
            };
            let counted = usize::try_from(lost.bytes).unwrap_or(usize::MAX);
            let len = if counted == 0 { bytes.len() } else { counted };
            self.see(&Sighting { point, switch, sub, fate: Fate::Drop(reason), len, bytes });
        });
        if missed > 0 {
            self.captures.iter().for_each(|capture| capture.queue.leave_out(missed));
        }
    }
}

/// What became of a frame from a sub-interface that had these counters before.
fn fate_of_egress(
    before: &SubStats,
    forwarder: &Forwarder,
    from: SubIndex,
    queued: (usize, usize),
) -> Fate {
    let now = &forwarder.tx.subs[from.index()];
    match () {
        () if now.flooded > before.flooded => Fate::Flood,
        () if now.local > before.local => Fate::Deliver(receiver(forwarder, queued)),
        () if now.wire > before.wire => Fate::Wire,
        () => new_drop(&before.dropped, &now.dropped).map_or(Fate::Wait, Fate::Drop),
    }
}

/// What became of a frame from the wire.
fn fate_of_ingress(
    before: &WireStats,
    forwarder: &Forwarder,
    switch: SwitchId,
    queued: (usize, usize),
) -> Fate {
    let now = &forwarder.switches.get(switch).wire;
    match () {
        () if now.flooded > before.flooded => Fate::Flood,
        () if now.delivered > before.delivered => Fate::Deliver(receiver(forwarder, queued)),
        () => new_drop(&before.dropped, &now.dropped).map_or(Fate::Host, Fate::Drop),
    }
}

/// The sub-interface for which a frame was queued last, if one was queued.
fn receiver(forwarder: &Forwarder, (ports, _): (usize, usize)) -> Option<SubIndex> {
    forwarder.tx.to_ports.get(ports..)?.last().map(|&(to, _)| to)
}

fn new_drop(before: &Drops, now: &Drops) -> Option<DropReason> {
    let mut both = before.iter().zip(now.iter());
    both.find(|((_, before), (_, now))| now > before).map(|(_, (reason, _))| reason)
}
