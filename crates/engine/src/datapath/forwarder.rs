//! [`Dispatch`]: from a frame to what will be done with it at the end of the turn.
//!
//! It asks the switch, counts, and notes down who gets the frame. Nothing is copied and nothing is
//! sent here, but for group frames that have to wait.

use umacvlan_core::offload::{VNET_LEN, VnetHeader};
use umacvlan_core::stats::WireStats;
use umacvlan_core::switch::{Action, Flood, Replica, Verdict};
use umacvlan_core::{DropReason, Frame, SubIndex};

use crate::datapath::flood_queue::GroupQueue;
use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::igmp_mld;
use crate::datapath::switches::{Served, SwitchId, Switches};
use crate::datapath::tx_queues::Outlet;

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

/// The deciding half of a worker.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) switches: Switches,
    pub(crate) desk: Desk,
}

/// All of a [`Dispatch`] but the switches, of which it works for one at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) groups: GroupQueue,
    pub(crate) outlet: Outlet,
    /// Sub-interfaces that reported a change of their groups in this turn (IGMP, MLD).
    pub(crate) reports: Vec<SubIndex>,
    replicas_left: usize,
    /// Turns for which there counts as being unicast.
    unicast: u8,
}

impl Dispatch {
    pub(crate) fn new(switches: Switches) -> Self {
        Self {
            switches,
            desk: Desk {
                groups: GroupQueue::new(),
                outlet: Outlet::new(),
                reports: Vec::with_capacity(64),
                replicas_left: REPLICAS,
                unicast: 0,
            },
        }
    }

    /// Takes in a frame from the wire for one of the switches: header and frame, or why it is none.
    // Untagged frames have a way of their own, on which there is nothing to look up.
    #[inline]
    pub(crate) fn ingress(&mut self, at: SwitchId, held: Held, bytes: Result<&[u8], DropReason>) {
        let Self { switches, desk } = self;
        match at {
            SwitchId::UNTAGGED => desk.ingress(switches.untagged_mut(), at, held, bytes),
            _ => desk.ingress_tagged(switches.at_mut(at), at, held, bytes),
        }
    }

    /// Takes in a frame from a sub-interface.
    // Always: there is one call for TAPs and one for ports in memory.
    #[inline(always)]
    pub(crate) fn egress(&mut self, from: SubIndex, held: Held, bytes: &[u8]) {
        let Self { switches, desk } = self;
        match switches.of(from) {
            at @ SwitchId::UNTAGGED => desk.egress(switches.untagged_mut(), at, from, held, bytes),
            at => desk.egress_tagged(switches.at_mut(at), at, from, held, bytes),
        }
    }

    /// Goes on with floods that wait, as far as the turn's budget reaches.
    pub(crate) fn resume_floods(&mut self) {
        while self.desk.replicas_left > 0 {
            let Some(waiting) = self.desk.groups.front() else {
                return;
            };
            let range = waiting.range();
            let held = Held::new(Place::Group, 0, range.start, range.len());
            let Served { switch, wire, waiting: of_switch, .. } = self.switches.at_mut(waiting.at);
            let mut flood = switch.flood(waiting.rule, waiting.cursor);
            // What waits has been taken in as a whole frame.
            let Some((header, frame)) = split(self.desk.groups.bytes(range)) else {
                *of_switch = of_switch.saturating_sub(1);
                self.desk.groups.finish();
                continue;
            };
            while self.desk.replicas_left > 0
                && let Some(replica) = flood.next()
            {
                self.desk.replicas_left -= 1;
                self.desk.outlet.replicate(wire, replica, held, header, frame);
            }
            match self.desk.replicas_left {
                0 => self.desk.groups.advance(flood.cursor()),
                _ => {
                    *of_switch = of_switch.saturating_sub(1);
                    self.desk.groups.finish();
                }
            }
        }
    }

    /// Ends the turn.
    pub(crate) fn release(&mut self) {
        self.desk.groups.release();
        self.desk.outlet.scratch.release();
        self.desk.outlet.to_ports.clear();
        self.desk.outlet.to_wire.clear();
        self.desk.unicast = self.desk.unicast.saturating_sub(1);
        self.desk.replicas_left = if self.desk.unicast > 0 { REPLICAS_BESIDE } else { REPLICAS };
    }
}

impl Desk {
    #[inline(never)]
    fn ingress_tagged(
        &mut self,
        served: &mut Served,
        at: SwitchId,
        held: Held,
        bytes: Result<&[u8], DropReason>,
    ) {
        self.ingress(served, at, held, bytes);
    }

    #[inline(always)]
    fn ingress(
        &mut self,
        served: &mut Served,
        at: SwitchId,
        held: Held,
        bytes: Result<&[u8], DropReason>,
    ) {
        let Self { outlet, groups, replicas_left, .. } = self;
        let Served { switch, wire, waiting, .. } = served;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(reason) => {
                wire.received.count(held.frame_len());
                return wire.dropped.count(reason);
            }
        };
        let Some((header, frame)) = split(bytes) else {
            wire.received.count(0);
            return wire.dropped.count(DropReason::Runt);
        };
        wire.received.count(frame.bytes().len());
        let Verdict { copies, action } = switch.ingress(frame);
        let group = frame.dst().is_group();
        for to in copies {
            outlet.copy(wire, to, held, header, frame, group);
        }
        match action {
            Action::Deliver(to) => {
                self.unicast = MEMORY;
                wire.delivered += 1;
                outlet.offer(wire, to, held, header, frame, group);
            }
            Action::Drop(reason) => wire.dropped.count(reason),
            Action::Flood(flood) => {
                let limit = match flood.rule().deferred() {
                    true => switch.bc_queue_len() as usize,
                    false => LOCAL_FLOODS,
                };
                let mut queue = Queue { groups, at, waiting, limit };
                let started = limit > 0
                    && flood_some(flood, outlet, wire, &mut queue, replicas_left, held, bytes);
                match started {
                    true => wire.flooded += 1,
                    false => wire.dropped.count(DropReason::BcQueueFull),
                }
            }
            // The wire is where it came from: the switch never says so of a frame from there.
            Action::Host | Action::Wire => wire.host += 1,
        }
    }

    #[inline(never)]
    fn egress_tagged(
        &mut self,
        served: &mut Served,
        at: SwitchId,
        from: SubIndex,
        held: Held,
        bytes: &[u8],
    ) {
        self.egress(served, at, from, held, bytes);
    }

    #[inline(always)]
    fn egress(
        &mut self,
        served: &mut Served,
        at: SwitchId,
        from: SubIndex,
        held: Held,
        bytes: &[u8],
    ) {
        let stats = &mut self.outlet.subs[from.index()];
        let Some((header, frame)) = split(bytes) else {
            stats.received.count(0);
            return stats.dropped.count(DropReason::Runt);
        };
        stats.received.count(frame.bytes().len());
        if !header.is_plain() && header.validate(frame.bytes()).is_err() {
            return stats.dropped.count(DropReason::BadVnetHeader);
        }
        let group = frame.dst().is_group();
        if group && igmp_mld::is_membership_report(frame) && !self.reports.contains(&from) {
            self.reports.push(from);
        }
        let Self { outlet, groups, replicas_left, .. } = self;
        let Served { switch, wire, waiting, .. } = served;
        let Verdict { copies, action } = switch.egress(from, frame, header.is_gso());
        for to in copies {
            outlet.copy(wire, to, held, header, frame, group);
        }
        let stats = &mut outlet.subs[from.index()];
        match action {
            Action::Deliver(to) => {
                self.unicast = MEMORY;
                stats.local += 1;
                outlet.offer(wire, to, held, header, frame, group);
            }
            Action::Drop(reason) => stats.dropped.count(reason),
            Action::Flood(flood) => {
                stats.flooded += 1;
                let rule = flood.rule();
                let mut queue = Queue { groups, at, waiting, limit: LOCAL_FLOODS };
                if !flood_some(flood, outlet, wire, &mut queue, replicas_left, held, bytes) {
                    lose_all(switch.flood(rule, 0), outlet, wire);
                }
                outlet.send(wire, at, held);
            }
            Action::Wire => {
                self.unicast = MEMORY;
                stats.wire += 1;
                outlet.send(wire, at, held);
            }
            // The host hears sub-interfaces through a hairpin only; the switch never says so.
            Action::Host => stats.dropped.count(DropReason::Unsupported),
        }
    }
}

/// Where the rest of a flood waits, and how many of its switch may.
struct Queue<'q> {
    groups: &'q mut GroupQueue,
    at: SwitchId,
    /// How many of this switch do.
    waiting: &'q mut usize,
    limit: usize,
}

impl Queue<'_> {
    fn push(&mut self, flood: &Flood<'_>, bytes: &[u8]) -> bool {
        let pushed = self.groups.push(self.at, flood.rule(), flood.cursor(), bytes);
        *self.waiting += usize::from(pushed);
        pushed
    }

    fn has_room(&self, len: usize) -> bool {
        *self.waiting < self.limit && self.groups.has_room(len)
    }
}

/// Makes the copies of a flood that the turn has left, and lets the rest wait. False, and nothing
/// has been done, if the rest might find no room.
fn flood_some(
    mut flood: Flood<'_>,
    outlet: &mut Outlet,
    wire: &mut WireStats,
    queue: &mut Queue<'_>,
    left: &mut usize,
    held: Held,
    bytes: &[u8],
) -> bool {
    // Floods stay in order: one that finds others waiting waits behind them.
    if !queue.groups.is_empty() || *left < outlet.subs.len() {
        if !queue.has_room(bytes.len()) {
            return false;
        }
        if !queue.groups.is_empty() {
            return queue.push(&flood, bytes);
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
        outlet.replicate(wire, replica, held, header, frame);
    }
    queue.push(&flood, bytes)
}

/// Counts every copy of a local flood that found no room.
fn lose_all(flood: Flood<'_>, outlet: &mut Outlet, wire: &mut WireStats) {
    for replica in flood {
        let (Replica::Deliver(to) | Replica::TooLong(to)) = replica;
        wire.replicas += 1;
        outlet.lose(to, DropReason::BcQueueFull);
    }
}

/// Header and frame of a unit; `None` for a runt.
#[inline]
fn split(bytes: &[u8]) -> Option<(VnetHeader, Frame<'_>)> {
    let (header, frame) = bytes.split_first_chunk::<VNET_LEN>()?;
    Some((VnetHeader::parse(header), Frame::new(frame)?))
}
