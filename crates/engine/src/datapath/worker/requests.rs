//! What a worker does when it is asked to, between two turns.

use std::io;
use std::ops::AddAssign;
use umacvlan_core::WorkerStats;

use umacvlan_core::offload::Offloads;
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{DropReason, SubConfig, SubIndex, Switch, SwitchError, VlanPath};
use umacvlan_sys::calls;
use umacvlan_sys::tap::Tap;

use super::Worker;
use crate::datapath::forwarder::{Desk, Dispatch};
use crate::datapath::port::PortLink;
use crate::datapath::switches::{Served, SwitchId};
use crate::datapath::uplink::Uplink;

/// All counters of a worker at one moment, or the sum over all workers of a parent.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the uplink got and sent.
    pub wire: WireStats,
    /// What each sub-interface got and sent.
    pub subs: Vec<(SubIndex, SubStats)>,
    /// The sum over sub-interfaces that were removed.
    pub removed: SubStats,
    /// What the worker did with its time.
    pub turns: WorkerStats,
    /// Floods that wait, and so are counted but not yet finished.
    pub pending_floods: usize,
    /// Frames that the kernel has been given to send and has not told to have left: none at rest.
    pub tx_in_flight: usize,
    /// True when TAPs are served by io_uring, by all of them.
    pub uring: bool,
}

impl AddAssign<&Self> for Snapshot {
    /// Adds the counters of another worker of the same parent, which has the same sub-interfaces.
    fn add_assign(&mut self, other: &Self) {
        self.wire += other.wire;
        for ((_, mine), (_, theirs)) in self.subs.iter_mut().zip(&other.subs) {
            *mine += *theirs;
        }
        self.removed += other.removed;
        self.turns += other.turns;
        self.pending_floods += other.pending_floods;
        self.tx_in_flight += other.tx_in_flight;
        self.uring &= other.uring;
    }
}

impl Snapshot {
    /// True when every frame has one fate and every copy was taken or lost for a reason. Holds
    /// whenever no flood waits and no write is under way.
    pub fn is_balanced(&self) -> bool {
        let mut subs = self.removed;
        for &(_, stats) in &self.subs {
            subs += stats;
        }
        umacvlan_core::stats::is_balanced(&self.wire, &subs)
    }
}

/// What a worker can be asked, between two turns.
impl Worker {
    /// Adds a sub-interface to the switch of untagged frames, down at first, with what is behind
    /// its port.
    ///
    /// # Errors
    /// The switch refuses it; or the kernel has no memory for its port, and nothing has changed.
    pub fn add(
        &mut self,
        config: &SubConfig,
        link: PortLink,
        offloads: Offloads,
    ) -> Result<SubIndex, AddError> {
        self.add_to(SwitchId::UNTAGGED, config, link, offloads)
    }

    /// The same for one of the switches.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_to(
        &mut self,
        at: SwitchId,
        config: &SubConfig,
        link: PortLink,
        offloads: Offloads,
    ) -> Result<SubIndex, AddError> {
        let Dispatch { switches, desk: Desk { outlet, .. } } = &mut self.dispatch;
        let id = switches.add(at, config)?;
        if let Err(error) = self.ports.add(id, link) {
            switches.remove(id);
            return Err(error.into());
        }
        if outlet.subs.len() <= id.index() {
            outlet.subs.resize_with(id.index() + 1, SubStats::default);
            outlet.offloads.resize(id.index() + 1, None);
        }
        outlet.subs[id.index()] = SubStats::default();
        outlet.offloads[id.index()] = Some(offloads);
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.reserve(outlet.subs.len());
        }
        Ok(id)
    }

    /// Removes a sub-interface with its port. Its counters go into the sum of those removed.
    pub fn remove(&mut self, id: SubIndex) {
        let Dispatch { switches, desk: Desk { outlet, .. } } = &mut self.dispatch;
        let Some(at) = switches.remove(id) else {
            return;
        };
        self.ports.remove(id);
        outlet.offloads[id.index()] = None;
        switches.at_mut(at).removed += std::mem::take(&mut outlet.subs[id.index()]);
    }

    /// Sets a sub-interface up or down. Frames that it sends wait in its TAP until it is up here;
    /// those that wait when it goes down are lost.
    ///
    /// # Errors
    /// The switch refuses it.
    pub fn set_up(&mut self, id: SubIndex, up: bool) -> Result<(), SwitchError> {
        let switches = &mut self.dispatch.switches;
        switches.at_mut(switches.of(id)).switch.set_up(id, up)?;
        let lost = match up {
            true => self.ports.listen(id).map(|()| 0),
            false => self.ports.deafen(id),
        };
        // A ring that has failed ends the worker with its next turn.
        let lost = lost.unwrap_or(0);
        let stats = &mut self.dispatch.desk.outlet.subs[id.index()];
        stats.received.frames += lost;
        stats.dropped.add(DropReason::Down, lost);
        Ok(())
    }

    /// Gives a VLAN a switch of its own, from the next frame on: what comes with its tags goes
    /// there without them, and what goes from there to the wire gets them. One without tags takes
    /// the place of the switch of untagged frames. What that or the VLAN's own before had counted
    /// is forgotten.
    ///
    /// # Errors
    /// There are as many as there can be.
    pub fn add_switch(&mut self, path: VlanPath, switch: Switch) -> Result<SwitchId, SwitchError> {
        let at = match path.is_untagged() {
            true => SwitchId::UNTAGGED,
            false => self.vlans.serve(path).ok_or(SwitchError::TooMany)?,
        };
        self.dispatch.desk.groups.end(at);
        self.dispatch.switches.put(at, switch);
        Ok(at)
    }

    /// Ends a switch whose sub-interfaces have been removed: frames of its VLAN are nobody's again,
    /// and untagged ones the host's.
    pub fn remove_switch(&mut self, at: SwitchId) {
        let Dispatch { switches, desk: Desk { groups, .. } } = &mut self.dispatch;
        let former = &switches.at(at).switch;
        let empty = Switch::new(*former.parent(), former.semantics());
        groups.end(at);
        switches.put(at, empty);
        self.vlans.end(at);
    }

    /// The table of untagged frames.
    pub fn switch(&self) -> &Switch {
        self.switch_at(SwitchId::UNTAGGED)
    }

    /// The table of untagged frames, to be changed.
    pub fn switch_mut(&mut self) -> &mut Switch {
        self.switch_at_mut(SwitchId::UNTAGGED)
    }

    /// One of the tables.
    pub fn switch_at(&self, at: SwitchId) -> &Switch {
        &self.dispatch.switches.at(at).switch
    }

    /// One of the tables, to be changed.
    pub fn switch_at_mut(&mut self, at: SwitchId) -> &mut Switch {
        &mut self.dispatch.switches.at_mut(at).switch
    }

    /// The TAP behind a sub-interface, if that is what is behind it.
    pub fn tap(&self, id: SubIndex) -> Option<&Tap> {
        self.ports.tap(id)
    }

    /// The uplink, while there is one.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.as_ref()
    }

    /// The uplink, to be asked what it then forgets.
    pub fn uplink_mut(&mut self) -> Option<&mut Uplink> {
        self.uplink.as_mut()
    }

    /// Gives the worker an uplink in place of the one before.
    ///
    /// # Errors
    /// No memory in the kernel; the worker has no uplink then.
    pub fn attach(&mut self, uplink: Uplink) -> io::Result<()> {
        self.uplink = None;
        self.ports.watch_uplink(&uplink)?;
        self.uplink = Some(uplink);
        Ok(())
    }

    /// Takes the uplink away: what is sent to the wire is dropped for want of a carrier.
    pub fn detach(&mut self) {
        self.uplink = None;
    }

    /// All counters at this moment, summed over the switches.
    pub fn snapshot(&self) -> Snapshot {
        let mut all = self.snapshot_at(SwitchId::UNTAGGED);
        for served in self.dispatch.switches.tagged() {
            self.count(served, &mut all);
        }
        all.subs.sort_unstable_by_key(|&(id, _)| id);
        all
    }

    /// The counters of one switch at this moment. What the worker did with its time is the same
    /// for all.
    pub fn snapshot_at(&self, at: SwitchId) -> Snapshot {
        let mut snapshot = Snapshot {
            turns: WorkerStats { syscalls: calls::made(), ..self.idle.stats },
            tx_in_flight: self.uplink.as_ref().map_or(0, Uplink::sending),
            uring: self.ports.has_uring(),
            ..Snapshot::default()
        };
        self.count(self.dispatch.switches.at(at), &mut snapshot);
        snapshot
    }

    fn count(&self, served: &Served, into: &mut Snapshot) {
        let stats = |id: SubIndex| self.dispatch.desk.outlet.subs[id.index()];
        into.wire += served.wire;
        into.subs.extend(served.switch.subs().map(|(id, _)| (id, stats(id))));
        into.removed += served.removed;
        into.pending_floods += served.waiting;
    }

    /// Floods that wait for the next turn.
    pub fn pending_floods(&self) -> usize {
        self.dispatch.desk.groups.len()
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.stop = true;
    }
}

/// Why a sub-interface was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The kernel could not serve its port.
    #[error("the kernel cannot serve one more TAP: {0}")]
    Port(#[from] io::Error),
    /// The rules of macvlan forbid it.
    #[error(transparent)]
    Refused(#[from] SwitchError),
}
