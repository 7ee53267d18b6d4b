//! The status of parents and sub-interfaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{KernelRelease, ParentInfo, Semantics, SubIndex, Switch, WorkerStats};
use umacvlan_netlink::Link;

use super::Control;
use super::inventory::{DeviceId, Interface, ParentId};
use super::kernel::is_veth;
use super::parent::Parent;
use super::sub::InSwitch;
use crate::control::engine::{
    InterfaceIdentity, KnownParent, ParentStatus, SubId, SubStatus, WorkerStatus,
};
use crate::control::error::Error;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Snapshot, Stopped, Worker, WorkerConfig};

/// What the workers of a parent have of it.
struct FromWorkers {
    switch: SwitchState,
    /// The sub-interfaces, in the order of their counters.
    subs: Vec<(SubId, InSwitch)>,
    workers: Vec<WorkerStatus>,
    counters: Snapshot,
}

/// The settings of a switch.
struct SwitchState {
    parent: ParentInfo,
    semantics: Semantics,
    release: KernelRelease,
    bc_queue_used: u32,
    bc_cutoff: i32,
}

impl SwitchState {
    fn of(switch: &Switch) -> Self {
        Self {
            parent: *switch.parent(),
            semantics: switch.semantics(),
            release: switch.release(),
            bc_queue_used: switch.bc_queue_len(),
            bc_cutoff: switch.bc_cutoff(),
        }
    }
}

impl Control {
    pub(crate) fn status(&mut self) -> Vec<ParentStatus> {
        self.refresh(&self.inventory.sub_ids());
        let ids = self.inventory.parent_ids().into_iter();
        ids.map(|id| self.parent_status(id, None)).collect()
    }

    pub(crate) fn parent(&mut self, name: &str) -> Result<ParentStatus, Error> {
        let id = self.inventory.parent_named(name)?;
        Ok(self.parent_status(id, Some(&[])))
    }

    pub(crate) fn parent_of(&mut self, id: SubId) -> Result<ParentStatus, Error> {
        let parent = self.inventory.sub_and_parent(id)?.0.parent;
        self.refresh(&[id]);
        Ok(self.parent_status(parent, Some(&[id])))
    }

    pub(crate) fn sub(&mut self, id: SubId) -> Result<SubStatus, Error> {
        self.inventory.sub_and_parent(id)?;
        match self.sub_status(id) {
            Some(status) => Ok(status),
            // It may have been found gone.
            None => self.inventory.sub_and_parent(id).and(Err(Error::Stopped)),
        }
    }

    pub(super) fn sub_status(&mut self, id: SubId) -> Option<SubStatus> {
        self.refresh(&[id]);
        let (sub, parent) = self.inventory.sub_and_parent(id).ok()?;
        let (switch, index) = (parent.switch, sub.index);
        let info = parent.workers.ask(move |it| InSwitch::read(it.switch_at(switch), index));
        let info = info.unwrap_or_else(|Stopped| Some(InSwitch::last_known(sub)))?;
        Some(sub.status(&parent.handle, &info, self.held.contains_key(&id)))
    }

    /// A parent with all of its sub-interfaces or with those that are wanted, whose links are fresh. If
    /// its workers have failed and are not running again, it is as they last had it.
    fn parent_status(&mut self, id: ParentId, wanted: Option<&[SubId]>) -> ParentStatus {
        self.collect_ring_drops(self.inventory[id].device);
        let wanted: Vec<SubId> = match wanted {
            Some(some) => some.to_vec(),
            None => self.inventory[id].subs.iter().copied().collect(),
        };
        let told =
            self.ask_workers(id, &wanted).unwrap_or_else(|Stopped| self.last_known(id, &wanted));
        let FromWorkers { switch, subs: infos, workers, mut counters } = told;
        for ((sub, _), (_, stats)) in infos.iter().zip(&mut counters.subs) {
            if let Some(sub) = self.inventory.sub(*sub) {
                *stats += sub.carried;
            }
        }
        self.add_kernel_stats(id, &mut counters);
        let parent = &self.inventory[id];
        let device = &self.inventory[parent.device];
        let subs = infos.iter().filter_map(|(id, info)| {
            let sub = self.inventory.sub(*id)?;
            let mut status = sub.status(&parent.handle, info, self.held.contains_key(id));
            if let Some(pair) = sub.veth {
                status.port.answered = parent.kernel.stats(pair.slot).frames();
                status.port.why.clone_from(&parent.kernel.why);
                // What did not fit into the queue to the engine. One that is gone has lost nothing.
                let tap = self.kernel.rtnl.link_by_index(pair.tap).ok().flatten();
                status.queue_drops += tap.map_or(0, |tap| tap.stats.tx_dropped);
            }
            Some(status)
        });
        ParentStatus {
            subs: subs.collect(),
            handle: parent.handle.clone(),
            name: parent.name.clone(),
            known: device.identity.clone().map(|identity| KnownParent {
                link: device.name.clone(),
                vlan: parent.path,
                identity: match parent.path.is_untagged() {
                    true => InterfaceIdentity { mac: parent.own_mac, ..identity },
                    false => identity,
                },
                newest: device.newest,
            }),
            notice: device.watch.failure().map_or_else(|| device.notice.clone(), str::to_owned),
            link: device.name.clone(),
            vlan: parent.path,
            index: parent.index,
            mac: switch.parent.mac,
            own_mac: parent.own_mac,
            mtu: switch.parent.mtu,
            all_groups: switch.parent.promisc,
            present: parent.index.is_some(),
            carrier: parent.carrier,
            uplink: device.uplink.status(),
            switched_off: device.uplink.switched_off().or(device.vlan_filter.switched_off()),
            vlan_filter: device.vlan_filter.status(),
            semantics: switch.semantics,
            release: switch.release,
            workers,
            bc_queue_used: switch.bc_queue_used,
            bc_cutoff: switch.bc_cutoff,
            counters,
            ring_drops: device.ring_drops,
            host_filter: parent.host.status(),
            neighbours: self.neighbours_of(id),
        }
    }

    /// What the workers of a parent have, with these of its sub-interfaces.
    fn ask_workers(&self, id: ParentId, wanted: &[SubId]) -> Result<FromWorkers, Stopped> {
        let parent = &self.inventory[id];
        let switch = parent.switch;
        let wanted: BTreeMap<SubIndex, SubId> =
            wanted.iter().filter_map(|&id| Some((self.inventory.sub(id)?.index, id))).collect();
        let indexes: BTreeSet<SubIndex> = wanted.keys().copied().collect();
        let these = indexes.clone();
        let (switch, subs) = parent.workers.ask(move |worker| {
            let switch = worker.switch_at(switch);
            let read = |&index: &SubIndex| Some((index, InSwitch::read(switch, index)?));
            (SwitchState::of(switch), these.iter().filter_map(read).collect::<Vec<_>>())
        })?;
        let configs = &self.inventory[parent.device].configs;
        let (workers, mut counters) = parent.count(configs, indexes)?;
        // Between both questions nothing is added or removed: only this thread does that.
        counters.subs.retain(|(index, _)| subs.iter().any(|(known, _)| known == index));
        let subs = subs.into_iter().filter_map(|(index, info)| Some((*wanted.get(&index)?, info)));
        Ok(FromWorkers { switch, subs: subs.collect(), workers, counters })
    }

    /// What the workers of a parent had when they failed, as far as it is known.
    fn last_known(&self, id: ParentId, wanted: &[SubId]) -> FromWorkers {
        let parent = &self.inventory[id];
        let switch = SwitchState::of(&self.new_switch(parent.info, parent.semantics));
        let known = wanted.iter().filter_map(|&id| Some((id, self.inventory.sub(id)?)));
        let subs: Vec<_> =
            known.map(|(id, sub)| (sub.index, (id, InSwitch::last_known(sub)))).collect();
        let mut counters = Snapshot {
            subs: subs.iter().map(|&(index, _)| (index, SubStats::default())).collect(),
            removed: parent.carried.removed,
            ..Snapshot::default()
        };
        let configs = &self.inventory[parent.device].configs;
        let status = |(config, (wire, turns)): (&WorkerConfig, &(WireStats, WorkerStats))| {
            WorkerStatus { config: *config, wire: *wire, turns: *turns }
        };
        let workers: Vec<_> = configs.iter().zip(&parent.carried.workers).map(status).collect();
        for worker in &workers {
            counters.wire += worker.wire;
            counters.turns += worker.turns;
        }
        let subs = subs.into_iter().map(|(_, known)| known).collect();
        FromWorkers { switch, subs, workers, counters }
    }

    /// Adds what programs in the kernel have forwarded to the counters of a parent.
    fn add_kernel_stats(&self, id: ParentId, counters: &mut Snapshot) {
        let parent = &self.inventory[id];
        for sub in self.inventory.subs_of(id) {
            let Some(pair) = sub.veth else {
                continue;
            };
            let (mut stats, mut wire) = (SubStats::default(), WireStats::default());
            parent.kernel.stats(pair.slot).add_to(&mut stats, &mut wire);
            counters.wire += wire;
            if let Some((_, sum)) = counters.subs.iter_mut().find(|(index, _)| *index == sub.index)
            {
                *sum += stats;
            }
        }
    }

    /// Reads the attributes of the interfaces of sub-interfaces again: with one request for each
    /// namespace, however many are in it. One that is not there any more is located again.
    fn refresh(&mut self, ids: &[SubId]) {
        let mut namespaces: BTreeMap<Option<i32>, Vec<(u32, SubId)>> = BTreeMap::new();
        for &id in ids {
            if let Some(sub) = self.inventory.sub(id).filter(|sub| sub.tap().is_some()) {
                let Interface { nsid, index } = sub.interface;
                namespaces.entry(nsid).or_default().push((index, id));
            }
        }
        let (mut renamed, mut missing) = (Vec::new(), Vec::new());
        for (nsid, subs) in namespaces {
            // The list of a namespace may be long, and one interface is all that is wanted.
            let links = match subs[..] {
                [(index, _)] => self.kernel.link(Interface { nsid, index }).map(Vec::from_iter),
                _ => self.kernel.links(nsid),
            };
            let is_link = |link: &Link| link.persist.is_some() || is_veth(link);
            let taps = links.into_iter().flatten().filter(is_link);
            let mut taps: HashMap<u32, Link> = taps.map(|link| (link.index, link)).collect();
            for (index, id) in subs {
                let (Some(sub), Some(link)) = (self.inventory.sub_mut(id), taps.remove(&index))
                else {
                    missing.push(id);
                    continue;
                };
                if sub.name != link.name {
                    sub.name.clone_from(&link.name);
                    renamed.push(id);
                }
                sub.link = link;
            }
        }
        // The events of these changes may wait for a while, in a namespace with many changes.
        renamed.into_iter().for_each(|id| self.report_change(id));
        for id in missing {
            self.resync(id);
        }
    }

    /// Adds the kernel's count of lost frames, which it resets with each reading.
    pub(super) fn collect_ring_drops(&mut self, id: DeviceId) {
        let device = &mut self.inventory[id];
        let drops = |worker: &mut Worker| worker.uplink_mut().map_or(0, Uplink::take_drops);
        let drops = device.workers.each(drops);
        device.ring_drops += drops.unwrap_or_default().iter().sum::<u64>();
    }
}

impl Parent {
    /// The counters of each worker and their sum, with those sub-interfaces that are wanted.
    fn count(
        &self,
        configs: &[WorkerConfig],
        wanted: BTreeSet<SubIndex>,
    ) -> Result<(Vec<WorkerStatus>, Snapshot), Stopped> {
        let switch = self.switch;
        let mut all = self.workers.each(move |worker| {
            let mut counters = worker.snapshot_at(switch);
            counters.subs.retain(|(index, _)| wanted.contains(index));
            counters
        })?;
        for (counters, (wire, turns)) in all.iter_mut().zip(&self.carried.workers) {
            counters.wire += *wire;
            counters.turns += *turns;
        }
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
        sum.removed += self.carried.removed;
        Ok((workers, sum))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::unbounded;
    use umacvlan_core::options::Backend;
    use umacvlan_netlink::Rtnl;
    use umacvlan_sys::eventfd::EventFd;
    use umacvlan_sys::netns::Netns;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::control::engine::{EngineOptions, ParentOptions, SubOptions};

    const LINKS: usize = 100;

    /// The requests that a reading sends.
    fn requests<T>(control: &mut Control, read: impl FnOnce(&mut Control) -> T) -> (u32, T) {
        let before = control.kernel.rtnl.requests();
        let result = read(control);
        (control.kernel.rtnl.requests() - before, result)
    }

    #[test]
    fn the_status_of_many_links_takes_one_request_for_each_namespace() {
        if !root_or_skip() {
            return;
        }
        let (host, guest) = (Netns::create().unwrap(), Netns::create().unwrap());
        let measure = || {
            Rtnl::open().unwrap().add_veth("p0", "x0", None).unwrap();
            let ((_sender, inbox), (outbox, _events)) = (unbounded(), unbounded());
            let bell = Arc::new(EventFd::new().unwrap());
            let options = EngineOptions::default();
            let mut control = Control::new(inbox, bell, outbox, options).unwrap();
            let parent = ParentOptions {
                name: "p0".to_owned(),
                backend: Backend::AfPacket,
                ..ParentOptions::default()
            };
            control.add_parent(parent).unwrap();
            let mut last = SubId::default();
            for number in 0..LINKS {
                let options = SubOptions {
                    name: format!("s{number}"),
                    netns: (number % 2 == 1).then(|| guest.try_clone().unwrap()),
                    ..SubOptions::default()
                };
                last = control.add_sub("p0", options).unwrap().number;
            }
            let (of_all, status) = requests(&mut control, Control::status);
            assert_eq!(status[0].subs.len(), LINKS);
            assert!(status[0].subs.iter().all(|sub| sub.link.index == sub.index));
            let (of_parent, parent) = requests(&mut control, |it| it.parent_of(last).unwrap());
            assert_eq!(parent.subs.len(), 1);
            let (of_one, _) = requests(&mut control, |it| it.sub(last).unwrap());
            control.stop();
            [of_all, of_parent, of_one]
        };
        assert_eq!(host.run(measure).unwrap(), [2, 1, 1]);
    }
}
