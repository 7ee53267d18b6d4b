//! What a request can do with a worker between two turns.

use std::io;
use std::mem;
use std::ops::AddAssign;
use std::sync::Arc;

use umacvlan_core::limit::Limiter;
use umacvlan_core::offload::Offloads;
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{DropReason, SubConfig, SubIndex, Switch, SwitchError, VlanPath, WorkerStats};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::syscall_count;
use umacvlan_sys::tap::Tap;

use super::{Remains, Worker};
use crate::forwarder::Forwarder;
use crate::port::{PortLink, ProgramSocket, VhostQueues};
use crate::switches::{SwitchId, VlanSwitch};
use crate::uplink::Uplink;

/// The counters of a worker at one moment, or the sum over all workers of a parent.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters of the uplink.
    pub wire: WireStats,
    /// Counters of each sub-interface.
    pub subs: Vec<(SubIndex, SubStats)>,
    /// The sum over removed sub-interfaces.
    pub removed: SubStats,
    /// Turns, system calls, and where the time went.
    pub turns: WorkerStats,
    /// Floods that wait: they are counted, and some of their copies are still to be made.
    pub pending_floods: usize,
    /// Frames that were given to the kernel and have not left yet.
    pub tx_in_flight: usize,
    /// True when all workers serve their TAPs by io_uring.
    pub uring: bool,
}

impl AddAssign<&Self> for Snapshot {
    /// Adds the counters of another worker of the same parent, which has the same sub-interfaces.
    fn add_assign(&mut self, other: &Self) {
        let Self { wire, subs, removed, turns, pending_floods, tx_in_flight, uring } = other;
        self.wire += *wire;
        for ((_, sum), (_, stats)) in self.subs.iter_mut().zip(subs) {
            *sum += *stats;
        }
        self.removed += *removed;
        self.turns += *turns;
        self.pending_floods += pending_floods;
        self.tx_in_flight += tx_in_flight;
        self.uring &= uring;
    }
}

impl Snapshot {
    /// True when every frame has one fate and every copy was delivered or lost for a reason. Holds
    /// whenever no flood waits and no write is in progress.
    pub fn is_balanced(&self) -> bool {
        let mut subs = self.removed;
        for &(_, stats) in &self.subs {
            subs += stats;
        }
        umacvlan_core::stats::is_balanced(&self.wire, &subs)
    }
}

/// A sub-interface that is down or gone is not to be read later.
fn unhold(held: &mut Option<Vec<SubIndex>>, sub: SubIndex) {
    if let Some(held) = held {
        held.retain(|&other| other != sub);
    }
}

impl Worker {
    /// Adds a sub-interface to the switch of untagged frames, down at first. `offloads` are those
    /// that the receiver behind `link` accepts.
    ///
    /// # Errors
    /// The switch refuses it, or the kernel has no memory for its port. Nothing has changed then.
    pub fn add(
        &mut self,
        config: &SubConfig,
        link: PortLink,
        offloads: Offloads,
    ) -> Result<SubIndex, AddError> {
        self.add_to(SwitchId::UNTAGGED, config, link, offloads)
    }

    /// As [`add`](Self::add), to one of the switches.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_to(
        &mut self,
        id: SwitchId,
        config: &SubConfig,
        link: PortLink,
        offloads: Offloads,
    ) -> Result<SubIndex, AddError> {
        let switches = &mut self.forwarder.switches;
        let sub = switches.add(id, config)?;
        if let Err(error) = self.ports.add(sub, link) {
            switches.remove(sub);
            return Err(error.into());
        }
        self.forwarder.tx.add_port(sub, offloads);
        self.forwarder.floods.reserve(sub);
        if !config.settings.limits.is_empty() {
            self.forwarder.limit(sub, Some(Arc::new(Limiter::new(config.settings.limits))));
        }
        Ok(sub)
    }

    /// Sets how much a sub-interface sends and receives at most. Workers of one parent share a limiter.
    /// Frames that wait for the former limits pass at once.
    ///
    /// # Errors
    /// The switch refuses it.
    pub fn limit(&mut self, sub: SubIndex, limiter: &Arc<Limiter>) -> Result<(), SwitchError> {
        let limits = *limiter.limits();
        let switches = &mut self.forwarder.switches;
        switches.get_mut(switches.switch_of(sub)).switch.set_limits(sub, limits)?;
        let limiter = Some(limiter).filter(|_| !limits.is_empty()).cloned();
        self.forwarder.limit(sub, limiter);
        Ok(())
    }

    /// Gives the port of a program its connection, with a number of its own, in place of a former
    /// one. The caller keeps it until the port has it no longer, because to close it can take any time.
    ///
    /// # Errors
    /// The kernel has no memory, or the port is not one for a program.
    pub fn connect(&mut self, sub: SubIndex, number: u64, socket: ProgramSocket) -> io::Result<()> {
        self.ports.connect(sub, number, socket)
    }

    /// Takes the connection of the port of a program away, if it has one: nobody is told.
    pub fn disconnect(&mut self, sub: SubIndex) {
        self.ports.disconnect(sub);
    }

    /// Gives the port of a program the socket on its interface, whose kernel accepts frames in this form;
    /// `None`: it has none any more.
    ///
    /// # Errors
    /// The kernel has no memory, or the port is not one for an interface.
    pub fn set_interface(
        &mut self,
        sub: SubIndex,
        socket: Option<(PacketSocket, Offloads)>,
    ) -> io::Result<()> {
        let (socket, offloads) = socket.unzip();
        self.ports.set_interface(sub, socket)?;
        self.forwarder.tx.set_offloads(sub, offloads.unwrap_or(Offloads::NONE));
        Ok(())
    }

    /// Has the rings of a program served from now on, with the number of its connection. The program
    /// takes frames in the form that they say.
    ///
    /// # Errors
    /// The kernel has no memory, or the port is not one for rings.
    pub fn start_rings(&mut self, sub: SubIndex, queues: VhostQueues) -> io::Result<()> {
        let offloads = queues.offloads;
        self.ports.start_rings(sub, queues)?;
        self.forwarder.tx.set_offloads(sub, offloads);
        Ok(())
    }

    /// Has the rings of a program served no longer. Returns the next available entry of each, in the
    /// order of their numbers; `None` if they were not served.
    pub fn stop_rings(&mut self, sub: SubIndex) -> Option<[u16; 2]> {
        self.forwarder.tx.set_offloads(sub, Offloads::NONE);
        self.ports.stop_rings(sub)
    }

    /// Removes a sub-interface with its port. Its counters are added to those of removed ones.
    pub fn remove(&mut self, sub: SubIndex) {
        let Forwarder { switches, tx, .. } = &mut self.forwarder;
        let Some(id) = switches.remove(sub) else {
            return;
        };
        unhold(&mut self.held, sub);
        self.ports.remove(sub);
        tx.abandon_limited(sub, DropReason::Down);
        tx.limits.set(sub, None);
        switches.get_mut(id).removed += tx.remove_port(sub);
    }

    /// Sets a sub-interface up or down. Frames that it sends while it is down here wait in its TAP;
    /// frames that wait when it goes down are dropped.
    ///
    /// # Errors
    /// The switch refuses it.
    pub fn set_up(&mut self, sub: SubIndex, up: bool) -> Result<(), SwitchError> {
        let switches = &mut self.forwarder.switches;
        switches.get_mut(switches.switch_of(sub)).switch.set_up(sub, up)?;
        let discarded = match (up, &mut self.held) {
            (true, Some(held)) => {
                held.push(sub);
                Ok(0)
            }
            (true, None) => self.ports.resume_rx(sub).map(|()| 0),
            (false, _) => self.ports.pause_rx(sub),
        };
        if !up {
            unhold(&mut self.held, sub);
            self.release_neighbours(sub);
        }
        let tx = &mut self.forwarder.tx;
        // An io_uring that has failed ends the worker with its next turn.
        let discarded = discarded.unwrap_or(0);
        let stats = &mut tx.subs[sub.index()];
        stats.received.frames += discarded;
        stats.dropped.add(DropReason::Down, discarded);
        Ok(())
    }

    /// Until [`release_rx`](Self::release_rx), what a sub-interface sends that is set up from now on
    /// waits in its TAP, and what an uplink receives that is attached from now on waits in it: others, for
    /// which it is, may not be there yet.
    pub fn hold_rx(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Until [`release_rx`](Self::release_rx), what the uplink receives waits in it, as after
    /// [`hold_rx`](Self::hold_rx).
    pub fn hold_uplink(&mut self) {
        self.hold_rx();
        self.holds_uplink = true;
    }

    /// Forwards what waits in the uplink, also if it is held, in at most so many turns.
    pub fn read_held_uplink(&mut self, turns: usize) {
        let holds_uplink = mem::replace(&mut self.holds_uplink, false);
        // An io_uring that has failed ends the worker with its next turn.
        for _ in 0..turns {
            if !self.turn().is_ok_and(|turn| turn.events > 0) {
                break;
            }
        }
        self.holds_uplink = holds_uplink;
    }

    /// Reads the ports of all sub-interfaces that are up, and from the next turn on the uplink.
    pub fn release_rx(&mut self) {
        for sub in self.held.take().unwrap_or_default() {
            // An io_uring that has failed ends the worker with its next turn.
            let _ = self.ports.resume_rx(sub);
        }
    }

    /// Gives a VLAN a switch of its own: frames with its tags go there without them, and frames from
    /// there to the wire get them. An untagged path replaces the switch of untagged frames. The
    /// counters of a switch that is replaced are lost.
    ///
    /// # Errors
    /// [`SwitchError::TooMany`] if no number for another switch is left.
    pub fn add_switch(&mut self, path: VlanPath, switch: Switch) -> Result<SwitchId, SwitchError> {
        let id = match path.is_untagged() {
            true => SwitchId::UNTAGGED,
            false => self.vlans.add(path).ok_or(SwitchError::TooMany)?,
        };
        self.forwarder.floods.end(id);
        self.forwarder.tx.backlog.discard(id);
        self.forwarder.switches.replace(id, switch);
        Ok(id)
    }

    /// Removes a switch whose sub-interfaces have been removed. Frames of its VLAN go to the switch
    /// of untagged frames again, and untagged frames to the host.
    pub fn remove_switch(&mut self, id: SwitchId) {
        let Forwarder { switches, floods, tx, .. } = &mut self.forwarder;
        let former = &switches.get(id).switch;
        let empty = Switch::new(*former.parent(), former.semantics());
        floods.end(id);
        tx.backlog.discard(id);
        switches.replace(id, empty);
        self.vlans.remove(id);
    }

    /// The switch of untagged frames.
    pub fn switch(&self) -> &Switch {
        self.switch_at(SwitchId::UNTAGGED)
    }

    /// The switch of untagged frames, to be changed.
    pub fn switch_mut(&mut self) -> &mut Switch {
        self.switch_at_mut(SwitchId::UNTAGGED)
    }

    /// One of the switches.
    ///
    /// # Panics
    /// If the worker never had this switch.
    pub fn switch_at(&self, id: SwitchId) -> &Switch {
        &self.forwarder.switches.get(id).switch
    }

    /// One of the switches, to be changed.
    ///
    /// # Panics
    /// As [`switch_at`](Self::switch_at).
    pub fn switch_at_mut(&mut self, id: SwitchId) -> &mut Switch {
        &mut self.forwarder.switches.get_mut(id).switch
    }

    /// The TAP behind a sub-interface, if it has one.
    pub fn tap(&self, sub: SubIndex) -> Option<&Tap> {
        self.ports.tap(sub)
    }

    /// The uplink, if there is one.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.as_ref()
    }

    /// The uplink, if there is one, to read and reset its drops.
    pub fn uplink_mut(&mut self) -> Option<&mut Uplink> {
        self.uplink.as_mut()
    }

    /// Gives the worker an uplink and drops the former one.
    ///
    /// # Errors
    /// The kernel has no memory; the worker has no uplink then.
    pub fn attach(&mut self, uplink: Uplink) -> io::Result<()> {
        self.uplink = None;
        self.holds_uplink = self.held.is_some();
        if !self.holds_uplink {
            self.ports.watch_uplink(&uplink)?;
        }
        self.uplink = Some(uplink);
        self.forwarder.tx.backlog.set_uplink_full(false);
        Ok(())
    }

    /// Drops the uplink. Frames for the wire are then dropped for want of a carrier.
    pub fn detach(&mut self) {
        self.uplink = None;
    }

    /// Returns the counters at this moment, summed over the switches.
    pub fn snapshot(&self) -> Snapshot {
        let mut all = self.snapshot_at(SwitchId::UNTAGGED);
        for vlan_switch in self.forwarder.switches.tagged() {
            self.add_counters(vlan_switch, &mut all);
        }
        all.subs.sort_unstable_by_key(|&(id, _)| id);
        all
    }

    /// Returns the counters of one switch at this moment. Those of turns and of the uplink's queue
    /// are the worker's.
    ///
    /// # Panics
    /// As [`switch_at`](Self::switch_at).
    pub fn snapshot_at(&self, id: SwitchId) -> Snapshot {
        let mut snapshot = Snapshot {
            turns: WorkerStats { syscalls: syscall_count::current(), ..self.idle.stats },
            tx_in_flight: self.uplink.as_ref().map_or(0, Uplink::tx_in_flight)
                + self.forwarder.tx.backlog.len(),
            uring: self.ports.has_uring(),
            ..Snapshot::default()
        };
        self.add_counters(self.forwarder.switches.get(id), &mut snapshot);
        snapshot
    }

    fn add_counters(&self, vlan_switch: &VlanSwitch, sum: &mut Snapshot) {
        let VlanSwitch { switch, wire, removed, pending_floods, nat: _ } = vlan_switch;
        let stats = |sub: SubIndex| self.forwarder.tx.subs[sub.index()];
        sum.wire += *wire;
        sum.subs.extend(switch.subs().map(|(sub, _)| (sub, stats(sub))));
        sum.removed += *removed;
        sum.pending_floods += pending_floods;
    }

    /// What the worker has counted, with an outcome for each frame, when it has ended. `failed`: in
    /// the middle of a turn.
    pub(super) fn remains(&mut self, failed: bool) -> Remains {
        let Forwarder { switches, tx, .. } = &mut self.forwarder;
        let reason = if failed { DropReason::WorkerFailed } else { DropReason::NoCarrier };
        (0..tx.subs.len())
            .filter_map(SubIndex::from_index)
            .for_each(|sub| tx.abandon_limited(sub, reason));
        match failed {
            true => tx.abandon(switches),
            // The frames of a worker that stops are those of a cable that is pulled.
            false => tx.abandon_backlog(switches, DropReason::NoCarrier),
        }
        let ids: Vec<SwitchId> = switches
            .all_mut()
            .map(|(id, vlan_switch)| {
                vlan_switch.wire.settle();
                id
            })
            .collect();
        let counters = ids.into_iter().map(|id| (id, self.snapshot_at(id))).collect();
        let ring_drops = self.uplink.as_mut().map_or(0, Uplink::take_drops);
        Remains { counters, ring_drops }
    }

    /// What the worker would leave behind without another turn. Frames that wait for the uplink count as
    /// sent, as they do while the worker runs.
    pub(super) fn counters_so_far(&mut self) -> Remains {
        let ids: Vec<SwitchId> = self.forwarder.switches.all_mut().map(|(id, _)| id).collect();
        let settled = |id| {
            let mut counters = self.snapshot_at(id);
            counters.wire.settle();
            counters.subs.iter_mut().for_each(|(_, stats)| stats.settle());
            (id, counters)
        };
        Remains { counters: ids.into_iter().map(settled).collect(), ring_drops: 0 }
    }

    /// Floods that wait for a later turn.
    pub fn pending_floods(&self) -> usize {
        self.forwarder.floods.len()
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.stop = true;
    }
}

/// Why a sub-interface was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The kernel has no memory or descriptor for its port.
    #[error("the kernel cannot serve one more TAP: {0}")]
    Port(#[from] io::Error),
    /// The rules of macvlan forbid it.
    #[error(transparent)]
    Refused(#[from] SwitchError),
}
