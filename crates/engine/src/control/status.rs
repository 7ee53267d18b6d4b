//! Parents as they are told of.

use umacvlan_core::SubIndex;

use super::Control;
use super::parent::Parent;
use super::sub::SubKey;
use crate::control::engine::{ParentStatus, SubId, WorkerStatus};
use crate::control::error::Error;
use crate::datapath::uplink::Uplink;
use crate::datapath::worker::{Snapshot, Stopped, Worker, WorkerConfig};

impl Control {
    pub(crate) fn status(&mut self) -> Vec<ParentStatus> {
        (0..self.parents.len()).filter_map(|at| self.parent_status(at, |_| true)).collect()
    }

    pub(crate) fn parent(&mut self, name: &str) -> Result<ParentStatus, Error> {
        let at = self.parent_at(name)?;
        self.parent_status(at, |_| false).ok_or(Error::Stopped)
    }

    pub(crate) fn parent_of(&mut self, number: SubId) -> Result<ParentStatus, Error> {
        let key = self.numbered(number)?;
        let (at, _) = self.find(key).ok_or(Error::Stopped)?;
        self.parent_status(at, move |id| id == key.id).ok_or(Error::Stopped)
    }

    /// A parent with those of its sub-interfaces that are wanted.
    fn parent_status(
        &mut self,
        at: usize,
        wanted: impl Fn(SubIndex) -> bool + Copy + Send + 'static,
    ) -> Option<ParentStatus> {
        let trunk = self.trunk_of(&self.parents[at]);
        self.collect_ring_drops(trunk);
        let switch = self.parents[at].at;
        let asked = self.parents[at].workers.ask(move |worker| {
            let switch = worker.switch_at(switch);
            let subs = switch.subs().filter(|(id, _)| wanted(*id));
            let infos: Vec<_> = subs.map(|(id, sub)| (id, sub.clone())).collect();
            let port = (switch.semantics(), switch.bc_queue_len(), switch.bc_cutoff());
            (*switch.parent(), port, infos)
        });
        let (state, (semantics, bc_queue_used, bc_cutoff), infos) = asked.ok()?;
        let (workers, counters) =
            self.parents[at].count(&self.trunks[trunk].configs, wanted).ok()?;
        let number = self.parents[at].trunk;
        infos.iter().for_each(|&(id, _)| self.refresh(SubKey { trunk: number, id }));
        let (parent, trunk) = (&self.parents[at], &self.trunks[trunk]);
        let subs = infos.iter().filter_map(|(id, info)| {
            let sub = parent.subs.iter().find(|sub| sub.id == *id)?;
            Some(sub.status(&parent.name, info))
        });
        Some(ParentStatus {
            subs: subs.collect(),
            name: parent.name.clone(),
            link: trunk.name.clone(),
            vlan: parent.path,
            index: parent.index,
            mac: state.mac,
            own_mac: parent.own_mac,
            mtu: state.mtu,
            present: parent.index.is_some(),
            carrier: parent.carrier,
            uplink: trunk.reach.status(),
            switched_off: trunk.reach.switched_off(),
            semantics,
            workers,
            bc_queue_used,
            bc_cutoff,
            counters,
            ring_drops: trunk.ring_drops,
            host_filter: parent.host.status(),
        })
    }

    /// Adds what the kernel's count of lost frames has grown by; it forgets with each look.
    pub(super) fn collect_ring_drops(&mut self, at: usize) {
        let trunk = &mut self.trunks[at];
        let drops = |worker: &mut Worker| worker.uplink_mut().map_or(0, Uplink::take_drops);
        let drops = trunk.workers.each(drops);
        trunk.ring_drops += drops.unwrap_or_default().iter().sum::<u64>();
    }
}

impl Parent {
    /// What each worker has counted, and the sum, with those sub-interfaces that are wanted.
    fn count(
        &self,
        configs: &[WorkerConfig],
        wanted: impl Fn(SubIndex) -> bool + Copy + Send + 'static,
    ) -> Result<(Vec<WorkerStatus>, Snapshot), Stopped> {
        let at = self.at;
        let mut all = self.workers.each(move |worker| {
            let mut counters = worker.snapshot_at(at);
            counters.subs.retain(|(id, _)| wanted(*id));
            counters
        })?;
        let status = |(config, counters): (&WorkerConfig, &Snapshot)| WorkerStatus {
            config: *config,
            wire: counters.wire,
            turns: counters.turns,
        };
        let workers = configs.iter().zip(&all).map(status).collect();
        let mut sum = all.swap_remove(0);
        for other in &all {
            sum += other;
        }
        Ok((workers, sum))
    }
}
