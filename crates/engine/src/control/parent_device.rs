//! [`ParentDevice`]: an interface with the uplinks and workers that serve every parent on it, tagged or not.

use std::io;
use std::sync::Arc;
use umacvlan_core::options::WORKERS_MAX;

use umacvlan_core::{MacAddr, Semantics, VlanName, VlanPath};
use umacvlan_netlink::Link;

use super::Control;
use super::parent::{Parent, has_carrier, seen};
use super::parent_check::check_suitable;
use super::uplink_selector::UplinkSelector;
use super::workers::Workers;
use crate::control::engine::{Event, ParentBinding, ParentOptions};
use crate::control::error::Error;
use crate::datapath::uplink::Uplink;
use crate::datapath::worker::{Notifier, Worker, WorkerConfig};

/// An interface that carries parents. There is one at least.
pub(super) struct ParentDevice {
    /// That of the notices of its workers; never used twice.
    pub(super) number: u64,
    /// The name of its interface.
    pub(super) name: String,
    /// The index of its interface; `None` while there is none.
    pub(super) index: Option<u32>,
    /// True while its workers have their sockets on it. Several cannot be had while it is down.
    attached: bool,
    /// How its workers were asked to run.
    pub(super) configs: Vec<WorkerConfig>,
    pub(super) workers: Arc<Workers>,
    pub(super) reach: UplinkSelector,
    /// Frames that the rings of its uplinks had no slot for.
    pub(super) ring_drops: u64,
    /// Counted up when a parent comes or goes.
    changes: u64,
}

impl ParentDevice {
    /// Takes the number of changes that its parents have noted; another one than before if there
    /// was a change, a parent that came or went among them.
    pub(super) fn marks<'p>(&self, parents: impl Iterator<Item = &'p Parent>) -> u64 {
        parents.map(|parent| parent.memberships.marks()).fold(self.changes, u64::wrapping_add)
    }

    /// Whether a parent may have these settings, which are those of all on the interface.
    fn check_shared(&self, options: &ParentOptions) -> Result<(), Error> {
        let alike = |(wanted, there): (&WorkerConfig, &WorkerConfig)| {
            let cpu = wanted.cpu.or(there.cpu);
            WorkerConfig { cpu, ..*wanted } == *there
        };
        let workers = options.workers.is_empty()
            || options.workers.len() == self.configs.len()
                && options.workers.iter().zip(&self.configs).all(alike);
        match workers && self.reach.suits(options.backend) {
            true => Ok(()),
            false => Err(Error::ParentShared {
                parent: options.name.clone(),
                link: self.name.clone(),
                what: if workers { "another backend" } else { "workers of its own" },
            }),
        }
    }
}

impl Control {
    /// What is below a parent of that name. An interface that has the name is meant always.
    pub(crate) fn lower(&mut self, name: &str) -> Result<ParentBinding, Error> {
        let untagged = |link: &str| (link.to_owned(), VlanPath::UNTAGGED);
        let known = self.parents.iter().find(|parent| parent.name == name);
        let known = known.map(|it| (self.trunks[self.trunk_of(it)].name.clone(), it.path));
        let (link, vlan) = match known {
            Some(known) => known,
            None if self.exists(name)? => untagged(name),
            None => self.read(name)?,
        };
        let trunk = self.trunks.iter().find(|trunk| trunk.name == link);
        let workers = trunk.map(|trunk| trunk.configs.clone()).unwrap_or_default();
        Ok(ParentBinding { link, vlan, workers })
    }

    /// What is below a parent that is no interface.
    fn read(&mut self, name: &str) -> Result<(String, VlanPath), Error> {
        for VlanName { link, vlan } in VlanName::readings(name) {
            if self.exists(&link)? || self.trunks.iter().any(|trunk| trunk.name == link) {
                return Ok((link, vlan));
            }
        }
        match VlanName::parse(name) {
            Ok(VlanName { link, vlan }) => Ok((link, vlan)),
            // Only where it can be meant is it a VLAN's name.
            Err(why) if self.exists(name.rsplit_once('.').map_or("", |(link, _)| link))? => {
                Err(Error::ParentVlan(why))
            }
            Err(_) => Ok((name.to_owned(), VlanPath::UNTAGGED)),
        }
    }

    fn exists(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.rtnl.link(name)?.is_some())
    }

    /// The place in the list of the trunk of a parent, which has one always.
    pub(super) fn trunk_of(&self, parent: &Parent) -> usize {
        let own = |trunk: &ParentDevice| trunk.number == parent.trunk;
        self.trunks.iter().position(own).unwrap_or_default()
    }

    /// The places of the parents of a trunk.
    pub(super) fn parents_on(&self, trunk: u64) -> Vec<usize> {
        let on = |(_, parent): &(usize, &Parent)| parent.trunk == trunk;
        self.parents.iter().enumerate().filter(on).map(|(at, _)| at).collect()
    }

    /// The trunk for a parent, which is there already or made by it; its place in the list.
    pub(super) fn trunk_for(
        &mut self,
        link: &str,
        options: &ParentOptions,
    ) -> Result<usize, Error> {
        if let Some(at) = self.trunks.iter().position(|trunk| trunk.name == link) {
            self.trunks[at].check_shared(options)?;
            return Ok(at);
        }
        let mut configs = options.workers.clone();
        if configs.is_empty() {
            configs.push(WorkerConfig::default());
        }
        let count = configs.len();
        if count > usize::from(WORKERS_MAX) {
            return Err(Error::ParentWorkers { parent: options.name.clone(), count });
        }
        use Error as E;
        let mut reach = UplinkSelector::new(options.backend);
        let found = match self.look_for(link, &mut reach, count) {
            Ok(found) => Some(found),
            Err(
                error @ (E::NoAfXdp { .. }
                | E::ParentAbsent(_)
                | E::ParentBusy { .. }
                | E::ParentRenamed { .. }
                | E::ParentUnsuitable { .. }),
            ) if options.absent.is_some() => {
                // It looks as if it were absent, and is there.
                if let E::NoAfXdp { .. } = &error {
                    self.trouble(error.to_string());
                }
                None
            }
            Err(error) => return Err(error),
        };
        let (link_found, uplinks) = found.unzip();
        let uplinks = uplinks.flatten();
        let number = self.next_trunk;
        let notifier = Notifier::new(number, self.notify.clone(), Arc::clone(&self.bell));
        // Whoever asks for it gets a switch of his own; until then all is the host's.
        let nobody = umacvlan_core::ParentInfo { mac: MacAddr::ZERO, mtu: 0, promisc: false };
        let blank = (nobody, Semantics::default());
        let workers = Workers::spawn(link, blank, &configs, &notifier, self.on_worker.as_ref())
            .map_err(Error::system(format!("start the worker of {link}")))?;
        let attached = uplinks.is_some();
        if let Some(uplinks) = uplinks {
            attach(&workers, link, uplinks)?;
        }
        self.next_trunk += 1;
        self.trunks.push(ParentDevice {
            number,
            name: link.to_owned(),
            index: link_found.map(|link| link.index),
            attached,
            configs,
            workers: Arc::new(workers),
            reach,
            ring_drops: 0,
            changes: 0,
        });
        Ok(self.trunks.len() - 1)
    }

    /// The interface of that name, if it can be a parent, and so many sockets on it.
    fn look_for(
        &mut self,
        name: &str,
        reach: &mut UplinkSelector,
        count: usize,
    ) -> Result<(Link, Option<Vec<Uplink>>), Error> {
        let absent = || Error::ParentAbsent(name.to_owned());
        let link = self.rtnl.link(name)?.ok_or_else(absent)?;
        self.check_attachable(&link)?;
        let uplinks = reach.open(&link, count)?;
        Ok((link, uplinks))
    }

    /// Notes that a parent has come to a trunk, or that one has gone; a trunk without parents goes
    /// as well. `marks` are those that went.
    pub(super) fn change_trunk(&mut self, number: u64, marks: u64) {
        let Some(at) = self.trunks.iter().position(|trunk| trunk.number == number) else {
            return;
        };
        // Above all that its parents can have counted meanwhile.
        self.trunks[at].changes += marks + 1;
        if self.parents.iter().any(|parent| parent.trunk == number) {
            return;
        }
        let ParentDevice { name, workers, mut reach, .. } = self.trunks.remove(at);
        // From now on the host has every frame.
        reach.forget();
        if let Some(Err(error)) = Arc::into_inner(workers).map(Workers::stop) {
            self.trouble(format!("the worker of {name} had failed: {error}"));
        }
    }

    /// A worker has failed. The sub-interfaces stay, so that nothing is pulled from under their
    /// users, but they are dead until their parents are attached again.
    pub(super) fn worker_failed(&mut self, number: u64, why: &str) {
        let Some(trunk) = self.trunks.iter_mut().find(|trunk| trunk.number == number) else {
            return;
        };
        trunk.workers.halt();
        trunk.reach.forget();
        let name = trunk.name.clone();
        for at in self.parents_on(number) {
            self.parents[at].host.end("a worker has failed");
            self.set_carrier(at, false);
        }
        self.trouble(format!(
            "the worker of {name} has failed and forwards no more: {why}; start it again"
        ));
    }

    /// Takes note of what the kernel tells about an interface in our namespace, if it is a trunk.
    pub(super) fn follow_trunk(&mut self, link: &Link) {
        let named = |trunk: &ParentDevice| match trunk.index {
            Some(index) => index == link.index,
            None => trunk.name == link.name,
        };
        let Some(trunk) = self.trunks.iter().position(named) else {
            return;
        };
        if self.trunks[trunk].index.is_none() {
            return self.find_trunk(trunk, link);
        }
        // An event tells what was: what is counts, as for sub-interfaces.
        let Ok(Some(link)) = self.rtnl.link_by_index(link.index) else {
            return;
        };
        let on = self.parents_on(self.trunks[trunk].number);
        // All of them, and not up to the first that has changed.
        let resized = on.iter().filter(|&&at| self.follow_parent(at, &link)).count() > 0;
        if resized && self.trunks[trunk].reach.resizes() {
            self.resize(trunk, &link);
        }
        if !self.trunks[trunk].attached
            && link.is_up()
            && let Err(error) = self.reattach(trunk, &link)
        {
            self.trouble(error.to_string());
        }
        for at in on {
            self.set_carrier(at, has_carrier(&link));
        }
    }

    /// A trunk's interface is gone: the sub-interfaces stay, without carrier.
    pub(super) fn lose_trunk(&mut self, index: u32) {
        let Some(at) = self.trunks.iter().position(|trunk| trunk.index == Some(index)) else {
            return;
        };
        self.collect_ring_drops(at);
        let trunk = &mut self.trunks[at];
        trunk.index = None;
        // A worker that has stopped has let go of its socket, too.
        let _ = trunk.workers.tell(Worker::detach);
        trunk.attached = false;
        trunk.reach.forget();
        for at in self.parents_on(self.trunks[at].number) {
            let parent = &mut self.parents[at];
            parent.index = None;
            parent.memberships.forget();
            parent.host.forget();
            let name = parent.name.clone();
            self.set_carrier(at, false);
            self.tell(Event::ParentGone { parent: name });
        }
    }

    /// An interface with the name of a lost trunk is there.
    fn find_trunk(&mut self, at: usize, link: &Link) {
        // It may be unsuitable for a moment only: each event about it is a new try.
        if let Err(error) = self.check_attachable(link).and_then(|()| self.reattach(at, link)) {
            return self.trouble(format!("{} is back, but {error}", link.name));
        }
        for at in self.parents_on(self.trunks[at].number) {
            self.tell(Event::ParentBack { parent: self.parents[at].name.clone() });
        }
        self.follow_trunk(link);
    }

    /// Opens an uplink for another MTU in place of the one there is.
    fn resize(&mut self, at: usize, link: &Link) {
        self.collect_ring_drops(at);
        // A queue takes one socket at a time.
        let _ = self.trunks[at].workers.tell(Worker::detach);
        // Until it is again: each event about the interface is a new try.
        self.trunks[at].attached = false;
        if let Err(error) = self.reattach(at, link) {
            for at in self.parents_on(self.trunks[at].number) {
                self.set_carrier(at, false);
            }
            self.trouble(format!("{} is cut off since its MTU has changed: {error}", link.name));
        }
    }

    fn reattach(&mut self, at: usize, link: &Link) -> Result<(), Error> {
        let trunk = &mut self.trunks[at];
        let uplinks = trunk.reach.open(link, trunk.workers.count())?;
        let attached = uplinks.is_some();
        if let Some(uplinks) = uplinks {
            attach(&trunk.workers, &link.name, uplinks)?;
        }
        trunk.attached = attached;
        trunk.index = Some(link.index);
        for at in self.parents_on(self.trunks[at].number) {
            let parent = &mut self.parents[at];
            parent.index = Some(link.index);
            parent.memberships.forget();
        }
        Ok(())
    }

    /// Says why an interface cannot be attached: for itself, or because it is already.
    fn check_attachable(&mut self, link: &Link) -> Result<(), Error> {
        check_suitable(&mut self.rtnl, link)?;
        // Two switches on one wire would not know of each other's sub-interfaces.
        match self.trunks.iter().find(|other| other.index == Some(link.index)) {
            Some(other) => {
                let (name, parent) = (link.name.clone(), other.name.clone());
                Err(Error::ParentRenamed { name, parent })
            }
            None => Ok(()),
        }
    }

    /// What the switch of a parent has to know of an interface, with these tags.
    pub(super) fn seen_on(
        &mut self,
        trunk: usize,
        path: VlanPath,
    ) -> Option<(Link, umacvlan_core::ParentInfo)> {
        let link = self.rtnl.link_by_index(self.trunks[trunk].index?).ok()??;
        let state = seen(&link, path);
        Some((link, state))
    }
}

fn attach(workers: &Workers, name: &str, uplinks: Vec<Uplink>) -> Result<(), Error> {
    let attached = workers.give(uplinks, |worker, uplink| worker.attach(uplink))?;
    let attached: io::Result<()> = attached.into_iter().collect();
    attached.map_err(Error::system(format!("wait for frames from {name}")))
}
