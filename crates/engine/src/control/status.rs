//! Parents as they are told of.

use umacvlan_core::SubId;

use super::Control;
use super::parent::Parent;
use super::sub::SubKey;
use crate::engine::{ParentStatus, SubNumber, WorkerStatus};
use crate::error::Error;
use crate::uplink::Uplink;
use crate::worker::{Snapshot, Stopped, Worker, WorkerConfig};

impl Control {
    pub(crate) fn status(&mut self) -> Vec<ParentStatus> {
        (0..self.parents.len()).filter_map(|at| self.parent_status(at, |_| true)).collect()
    }

    pub(crate) fn parent(&mut self, name: &str) -> Result<ParentStatus, Error> {
        let at = self.parent_at(name)?;
        self.parent_status(at, |_| false).ok_or(Error::Stopped)
    }

    pub(crate) fn parent_of(&mut self, number: SubNumber) -> Result<ParentStatus, Error> {
        let key = self.numbered(number)?;
        let (at, _) = self.find(key).ok_or(Error::Stopped)?;
        self.parent_status(at, move |id| id == key.id).ok_or(Error::Stopped)
    }

    /// A parent with those of its sub-interfaces that are wanted.
    fn parent_status(
        &mut self,
        at: usize,
        wanted: impl Fn(SubId) -> bool + Copy + Send + 'static,
    ) -> Option<ParentStatus> {
        self.collect_ring_drops(at);
        let asked = self.parents[at].workers.ask(move |worker| {
            let switch = worker.switch();
            let subs = switch.subs().filter(|(id, _)| wanted(*id));
            let infos: Vec<_> = subs.map(|(id, sub)| (id, sub.clone())).collect();
            let port = (switch.semantics(), switch.bc_queue_len(), switch.bc_cutoff());
            (*switch.parent(), port, infos)
        });
        let (state, (semantics, bc_queue_used, bc_cutoff), infos) = asked.ok()?;
        let (workers, counters) = self.parents[at].count(wanted).ok()?;
        let number = self.parents[at].number;
        infos.iter().for_each(|&(id, _)| self.refresh(SubKey { parent: number, id }));
        let parent = &self.parents[at];
        let subs = infos.iter().filter_map(|(id, info)| {
            let sub = parent.subs.iter().find(|sub| sub.id == *id)?;
            Some(sub.status(&parent.name, info))
        });
        Some(ParentStatus {
            subs: subs.collect(),
            name: parent.name.clone(),
            index: parent.index,
            mac: state.mac,
            own_mac: parent.own_mac,
            mtu: state.mtu,
            present: parent.index.is_some(),
            carrier: parent.carrier,
            uplink: parent.reach.status(),
            switched_off: parent.reach.switched_off(),
            semantics,
            workers,
            bc_queue_used,
            bc_cutoff,
            counters,
            ring_drops: parent.ring_drops,
            host_filter: parent.host.status(),
        })
    }

    /// Adds what the kernel's count of lost frames has grown by; it forgets with each look.
    pub(super) fn collect_ring_drops(&mut self, at: usize) {
        let parent = &mut self.parents[at];
        let drops = |worker: &mut Worker| worker.uplink_mut().map_or(0, Uplink::take_drops);
        let drops = parent.workers.each(drops);
        parent.ring_drops += drops.unwrap_or_default().iter().sum::<u64>();
    }
}

impl Parent {
    /// What each worker has counted, and the sum, with those sub-interfaces that are wanted.
    fn count(
        &self,
        wanted: impl Fn(SubId) -> bool + Copy + Send + 'static,
    ) -> Result<(Vec<WorkerStatus>, Snapshot), Stopped> {
        let mut all = self.workers.each(move |worker| {
            let mut counters = worker.snapshot();
            counters.subs.retain(|(id, _)| wanted(*id));
            counters
        })?;
        let status = |(config, counters): (&WorkerConfig, &Snapshot)| WorkerStatus {
            config: *config,
            wire: counters.wire,
            turns: counters.turns,
        };
        let workers = self.configs.iter().zip(&all).map(status).collect();
        let mut sum = all.swap_remove(0);
        for other in &all {
            sum += other;
        }
        Ok((workers, sum))
    }
}
