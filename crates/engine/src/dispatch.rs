//! [`Dispatch`]: from a frame to what will be done with it at the end of the turn.
//!
//! It asks the switch, counts, and notes down who gets the frame. Nothing is copied and nothing is
//! sent here, but for group frames that have to wait.

use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::switch::{Flood, Replica, Then, Verdict};
use umacvlan_core::{DropReason, Frame, SubId, Switch};

use crate::group::GroupQueue;
use crate::held::{Held, Place};
use crate::offload::Scratch;
use crate::report;

/// Copies of group frames that one turn makes before the rest waits.
const REPLICAS: usize = 256;

/// The same while there is unicast: a copy takes about a microsecond, and a frame to one station
/// waits for those of a whole turn (`umacvlan bench path --measure storm --subs 256`).
const REPLICAS_BESIDE: usize = 16;

/// Turns after which unicast is forgotten. A turn in a storm takes about 20 microseconds, so these
/// are 5 milliseconds: a conversation of some hundred frames a second is not one of the past.
const MEMORY: u8 = 255;

/// Local floods that may wait; `bcqueuelen` is a limit on what comes from the wire only.
const LOCAL_FLOODS: usize = 1024;

/// Frames that a turn usually writes at most; many copies for source lists may make it more.
pub(crate) const OUTGOING: usize = 4096;

/// The deciding half of a worker.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) switch: Switch,
    pub(crate) groups: GroupQueue,
    pub(crate) outlet: Outlet,
    /// Sub-interfaces that reported a change of their groups in this turn (IGMP, MLD).
    pub(crate) reports: Vec<SubId>,
    replicas_left: usize,
    /// Turns for which there counts as being unicast.
    unicast: u8,
}

/// What goes out at the end of the turn, and the count of it.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) to_ports: Vec<(SubId, Held)>,
    pub(crate) to_wire: Vec<Held>,
    pub(crate) scratch: Scratch,
    pub(crate) wire: WireStats,
    /// By sub-interface.
    pub(crate) subs: Vec<SubStats>,
    /// By sub-interface: what the receiver takes unfinished; `None` for no port.
    pub(crate) offloads: Vec<Option<Offloads>>,
}

impl Dispatch {
    pub(crate) fn new(switch: Switch) -> Self {
        Self {
            switch,
            groups: GroupQueue::new(),
            outlet: Outlet {
                to_ports: Vec::with_capacity(OUTGOING),
                to_wire: Vec::with_capacity(OUTGOING),
                scratch: Scratch::new(),
                wire: WireStats::default(),
                subs: Vec::new(),
                offloads: Vec::new(),
            },
            reports: Vec::with_capacity(64),
            replicas_left: REPLICAS,
            unicast: 0,
        }
    }

    /// Takes in a frame from the wire: header and frame, or why it is none.
    #[inline]
    pub(crate) fn ingress(&mut self, held: Held, bytes: Result<&[u8], DropReason>) {
        let outlet = &mut self.outlet;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                outlet.wire.received.count(held.frame_len());
                return outlet.wire.dropped.count(reason);
            }
        };
        let Some((header, frame)) = split(bytes) else {
            outlet.wire.received.count(0);
            return outlet.wire.dropped.count(DropReason::Runt);
        };
        outlet.wire.received.count(frame.bytes().len());
        let Verdict { copies, then } = self.switch.ingress(frame);
        let group = frame.dst().is_group();
        for to in copies {
            outlet.copy(to, held, header, frame, group);
        }
        match then {
            Then::Deliver(to) => {
                self.unicast = MEMORY;
                outlet.wire.delivered += 1;
                outlet.offer(to, held, header, frame, group);
            }
            Then::Drop(reason) => outlet.wire.dropped.count(reason),
            Then::Flood(flood) => {
                let limit = match flood.rule().deferred() {
                    true => self.switch.bc_queue_len() as usize,
                    false => LOCAL_FLOODS,
                };
                let started = limit > 0
                    && flood_some(
                        flood,
                        outlet,
                        &mut self.groups,
                        &mut self.replicas_left,
                        limit,
                        held,
                        bytes,
                    );
                match started {
                    true => outlet.wire.flooded += 1,
                    false => outlet.wire.dropped.count(DropReason::BcQueueFull),
                }
            }
            // The wire is where it came from: the switch never says so of a frame from there.
            Then::Host | Then::Wire => outlet.wire.host += 1,
        }
    }

    /// Takes in a frame from a sub-interface.
    // Always: there is one call for TAPs and one for ports in memory.
    #[inline(always)]
    pub(crate) fn egress(&mut self, from: SubId, held: Held, bytes: &[u8]) {
        let outlet = &mut self.outlet;
        let stats = &mut outlet.subs[from.index()];
        let Some((header, frame)) = split(bytes) else {
            stats.received.count(0);
            return stats.dropped.count(DropReason::Runt);
        };
        stats.received.count(frame.bytes().len());
        if !header.is_plain() && header.validate(frame.bytes()).is_err() {
            return stats.dropped.count(DropReason::BadVnetHeader);
        }
        let group = frame.dst().is_group();
        if group && report::is_membership_report(frame) && !self.reports.contains(&from) {
            self.reports.push(from);
        }
        let Verdict { copies, then } = self.switch.egress(from, frame, header.is_gso());
        for to in copies {
            outlet.copy(to, held, header, frame, group);
        }
        let stats = &mut outlet.subs[from.index()];
        match then {
            Then::Deliver(to) => {
                self.unicast = MEMORY;
                stats.local += 1;
                outlet.offer(to, held, header, frame, group);
            }
            Then::Drop(reason) => stats.dropped.count(reason),
            Then::Flood(flood) => {
                stats.flooded += 1;
                let limit = LOCAL_FLOODS;
                let rule = flood.rule();
                if !flood_some(
                    flood,
                    outlet,
                    &mut self.groups,
                    &mut self.replicas_left,
                    limit,
                    held,
                    bytes,
                ) {
                    lose_all(self.switch.flood(rule, 0), outlet);
                }
                outlet.send(held);
            }
            Then::Wire => {
                self.unicast = MEMORY;
                stats.wire += 1;
                outlet.send(held);
            }
            // The host hears sub-interfaces through a hairpin only; the switch never says so.
            Then::Host => stats.dropped.count(DropReason::Unsupported),
        }
    }

    /// Goes on with floods that wait, as far as the turn's budget reaches.
    pub(crate) fn resume_floods(&mut self) {
        while self.replicas_left > 0 {
            let Some(waiting) = self.groups.front() else {
                return;
            };
            let range = waiting.range();
            let held = Held::new(Place::Group, 0, range.start, range.len());
            let mut flood = self.switch.flood(waiting.rule, waiting.cursor);
            // What waits has been taken in as a whole frame.
            let Some((header, frame)) = split(self.groups.bytes(range)) else {
                self.groups.finish();
                continue;
            };
            while self.replicas_left > 0
                && let Some(replica) = flood.next()
            {
                self.replicas_left -= 1;
                self.outlet.replicate(replica, held, header, frame);
            }
            match self.replicas_left {
                0 => self.groups.advance(flood.cursor()),
                _ => self.groups.finish(),
            }
        }
    }

    /// Ends the turn.
    pub(crate) fn release(&mut self) {
        self.groups.release();
        self.outlet.scratch.release();
        self.outlet.to_ports.clear();
        self.outlet.to_wire.clear();
        self.unicast = self.unicast.saturating_sub(1);
        self.replicas_left = if self.unicast > 0 { REPLICAS_BESIDE } else { REPLICAS };
    }
}

impl Outlet {
    /// Notes a frame down for a sub-interface, in the form in which its receiver takes it.
    // Always: a call with so many arguments costs as much as what it does.
    #[inline(always)]
    fn offer(&mut self, to: SubId, held: Held, header: VnetHeader, frame: Frame<'_>, group: bool) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        let Some(offloads) = self.offloads[to.index()] else {
            return stats.lost.count(DropReason::Down);
        };
        if !header.is_plain() && !offloads.accepts(header, frame.bytes()) {
            return self.offer_finished(to, header, frame, group);
        }
        stats.groups += u64::from(group);
        stats.delivered.count(frame.bytes().len());
        self.to_ports.push((to, held));
    }

    /// As `offer`, for a frame that has to be finished first. Each finished frame counts.
    fn offer_finished(&mut self, to: SubId, header: VnetHeader, frame: Frame<'_>, group: bool) {
        let stats = &mut self.subs[to.index()];
        let Some(finished) = self.scratch.finish(header, frame.bytes()) else {
            return stats.lost.count(DropReason::Unsupported);
        };
        stats.offered -= 1;
        for &held in finished {
            stats.offered += 1;
            stats.groups += u64::from(group);
            stats.delivered.count(held.frame_len());
            self.to_ports.push((to, held));
        }
        let extra = finished.len() as u64 - 1;
        self.wire.replicas += extra;
    }

    /// Notes a copy for a source list down.
    #[inline(never)]
    fn copy(&mut self, to: SubId, held: Held, header: VnetHeader, frame: Frame<'_>, group: bool) {
        self.wire.copies += 1;
        self.offer(to, held, header, frame, group);
    }

    #[inline(never)]
    fn replicate(&mut self, replica: Replica, held: Held, header: VnetHeader, frame: Frame<'_>) {
        self.wire.replicas += 1;
        match replica {
            Replica::Deliver(to) => self.offer(to, held, header, frame, true),
            Replica::TooLong(to) => self.lose(to, DropReason::TooLong),
        }
    }

    fn lose(&mut self, to: SubId, reason: DropReason) {
        let stats = &mut self.subs[to.index()];
        stats.offered += 1;
        stats.lost.count(reason);
    }

    /// Notes a frame down for the wire.
    #[inline]
    fn send(&mut self, held: Held) {
        self.wire.offered += 1;
        self.wire.sent.count(held.frame_len());
        self.to_wire.push(held);
    }
}

/// Takes a frame back that was counted as delivered when it was noted down.
pub(crate) fn refused(
    subs: &mut [SubStats],
    to: SubId,
    held: Held,
    group: bool,
    reason: DropReason,
) {
    let stats = &mut subs[to.index()];
    let (frames, len) = (held.frames(), held.frame_len() as u64);
    stats.groups = stats.groups.saturating_sub(u64::from(group));
    stats.delivered.frames = stats.delivered.frames.saturating_sub(frames);
    stats.delivered.bytes = stats.delivered.bytes.saturating_sub(len);
    stats.lost.add(reason, frames);
}

/// Takes a frame back that was counted as sent when it was noted down.
pub(crate) fn unsent(wire: &mut WireStats, len: usize, reason: DropReason) {
    wire.sent.frames = wire.sent.frames.saturating_sub(1);
    wire.sent.bytes = wire.sent.bytes.saturating_sub(len as u64);
    wire.unsent.count(reason);
}

/// Makes the copies of a flood that the turn has left, and lets the rest wait. False, and nothing
/// has been done, if the rest might find no room among `limit` floods.
fn flood_some(
    mut flood: Flood<'_>,
    outlet: &mut Outlet,
    groups: &mut GroupQueue,
    left: &mut usize,
    limit: usize,
    held: Held,
    bytes: &[u8],
) -> bool {
    // Floods stay in order: one that finds others waiting waits behind them.
    if !groups.is_empty() || *left < outlet.subs.len() {
        if !groups.has_room(bytes.len(), limit) {
            return false;
        }
        if !groups.is_empty() {
            return groups.push(flood.rule(), flood.cursor(), bytes);
        }
    }
    // The caller has split these bytes before.
    let Some((header, frame)) = split(bytes) else {
        return false;
    };
    while *left > 0 {
        let Some(replica) = flood.next() else {
            return true;
        };
        *left -= 1;
        outlet.replicate(replica, held, header, frame);
    }
    groups.push(flood.rule(), flood.cursor(), bytes)
}

/// Counts every copy of a local flood that found no room.
fn lose_all(flood: Flood<'_>, outlet: &mut Outlet) {
    for replica in flood {
        let (Replica::Deliver(to) | Replica::TooLong(to)) = replica;
        outlet.wire.replicas += 1;
        outlet.lose(to, DropReason::BcQueueFull);
    }
}

/// Header and frame of a unit; `None` for a runt.
#[inline]
fn split(bytes: &[u8]) -> Option<(VnetHeader, Frame<'_>)> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    Some((VnetHeader::parse(header), Frame::new(frame)?))
}
