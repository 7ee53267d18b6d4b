//! [`ParentDevice`]: an interface with the uplinks and workers for every parent on it, tagged or
//! not.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use umacvlan_core::options::WORKERS_MAX;
use umacvlan_core::{MacAddr, ParentInfo, Semantics, VlanPath};
use umacvlan_netlink::Link;
use umacvlan_sys::address_filter::AddressFilter;
use umacvlan_sys::close_aside::CloseAside;
use umacvlan_sys::interface_lock::{InterfaceLock, LockError};

use super::Control;
use super::attempts::Attempts;
use super::interface_identity::{InterfaceIdentity, Sameness};
use super::inventory::DeviceId;
use super::parent::{Parent, has_carrier, parent_info};
use super::parent_check::check_suitable;
use super::parent_return::{another, doubt};
use super::uplink_selector::{ParentSockets, UplinkSelector};
use super::vlan_filter::VlanFilter;
use super::worker_restart::Watch;
use super::workers::Workers;
use crate::control::engine::{KnownParent, ParentBinding, ParentOptions};
use crate::control::error::Error;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Notifier, Worker, WorkerConfig};

/// An interface that carries at least one parent.
pub(super) struct ParentDevice {
    /// The name of its interface.
    pub(super) name: String,
    /// The index of its interface; `None` while there is none.
    pub(super) index: Option<u32>,
    /// Its interface, or the one that it had last; `None` if there was none yet.
    pub(super) identity: Option<InterfaceIdentity>,
    /// The highest index of an interface when its own one was attached or went away.
    pub(super) newest: u32,
    /// Why its interface may be, or is, another one than before; empty if it is the same.
    pub(super) notice: String,
    /// Keeps other engines from its interface, while there is one.
    pub(super) lock: Option<InterfaceLock>,
    /// True while its workers have their sockets on it. Several cannot be opened while it is down.
    pub(super) attached: bool,
    /// How its workers run, as requested.
    pub(super) configs: Vec<WorkerConfig>,
    pub(super) workers: Arc<Workers>,
    pub(super) watch: Watch,
    pub(super) attempts: Attempts,
    pub(super) uplink: UplinkSelector,
    /// The unicast and multicast filter of its interface, while it is attached.
    pub(super) filter: Option<AddressFilter>,
    /// That of a former engine, whose memberships hold until the present ones are joined.
    pub(super) former_filter: Option<CloseAside<OwnedFd>>,
    /// A link of its untagged parent sends tags, or did so in an earlier engine.
    pub(super) tags: bool,
    pub(super) vlan_filter: VlanFilter,
    /// Frames that the rings of its uplinks had no slot for.
    pub(super) ring_drops: u64,
    /// Counts up when a parent is attached or detached.
    changes: u64,
}

impl ParentDevice {
    /// The number of changes of its parents: another one than before if there was a change, also
    /// if a parent was attached or detached.
    pub(super) fn marks<'p>(&self, parents: impl Iterator<Item = &'p Parent>) -> u64 {
        parents.map(|parent| parent.memberships.marks()).fold(self.changes, u64::wrapping_add)
    }

    /// Checks the settings of one more parent, which has to share those of the device.
    fn check_shared(&self, options: &ParentOptions) -> Result<(), Error> {
        let alike = |(wanted, there): (&WorkerConfig, &WorkerConfig)| {
            let cpu = wanted.cpu.or(there.cpu);
            WorkerConfig { cpu, ..*wanted } == *there
        };
        let workers = options.workers.is_empty()
            || options.workers.len() == self.configs.len()
                && options.workers.iter().zip(&self.configs).all(alike);
        match workers && self.uplink.suits(options.backend) {
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
    /// The device for a parent: one that exists, or a new one.
    pub(super) fn device_for(
        &mut self,
        binding: &ParentBinding,
        options: &ParentOptions,
    ) -> Result<DeviceId, Error> {
        match binding.device {
            Some(id) => self.inventory[id].check_shared(options).map(|()| id),
            None => self.make_device(&binding.link, options),
        }
    }

    fn make_device(&mut self, link: &str, options: &ParentOptions) -> Result<DeviceId, Error> {
        let mut configs = options.workers.clone();
        if configs.is_empty() {
            configs.push(WorkerConfig::default());
        }
        let count = configs.len();
        if count > usize::from(WORKERS_MAX) {
            return Err(Error::ParentWorkers { parent: options.name.clone(), count });
        }
        let mut uplink = UplinkSelector::new(options.backend);
        let known = options.known.as_ref();
        let (mut notice, mut attempts) = (String::new(), Attempts::default());
        let opened = self.open_uplinks(link, known, &mut uplink, count);
        let (found, lock, sockets) = match opened {
            Ok((link, lock, sockets)) => (Some(link), Some(lock), sockets),
            Err(error) if options.absent.is_some() && may_be_absent(&error) => {
                // The parent looks absent, but it is there.
                match &error {
                    Error::NoAfXdp { .. } | Error::System { .. } => {
                        attempts.fail(Instant::now());
                        self.events.trouble(error.to_string());
                    }
                    Error::ParentAnother(why) => notice.clone_from(why),
                    _ => {}
                }
                (None, None, None)
            }
            Err(error) => return Err(error),
        };
        let id = self.inventory.claim_device();
        let notifier = Notifier::new(id.0, self.notify.clone(), Arc::clone(&self.bell));
        // Each parent adds a switch of its own. Until then every frame is the host's.
        let nobody = ParentInfo { mac: MacAddr::ZERO, mtu: 0, promisc: false };
        let blank = (nobody, Semantics::default());
        let workers = Workers::spawn(link, blank, &configs, &notifier, self.on_worker.as_ref())
            .map_err(Error::system(format!("start the worker of {link}")))?;
        let mut filters = (None, None);
        let mut unfinished = 0;
        let attached = sockets.is_some();
        if let Some(sockets) = sockets {
            unfinished = sockets.unfinished;
            filters = (Some(sockets.filter), sockets.former_filter);
            attach(&workers, link, sockets.uplinks, self.hold_adopted)?;
        }
        let mut identity = known.map(|known| known.identity.clone());
        let mut newest = known.map_or(0, |known| known.newest);
        if let Some(link) = &found {
            let now = self.identity(link);
            notice = doubt(identity.as_ref(), &now, newest, link);
            (identity, newest) = (Some(now), self.newest_index(link.index));
        }
        if !notice.is_empty() {
            self.events.trouble(notice.clone());
        }
        let device = ParentDevice {
            name: link.to_owned(),
            index: found.map(|link| link.index),
            identity,
            newest,
            notice,
            lock,
            attached,
            configs,
            workers: Arc::new(workers),
            watch: Watch::new(id.0),
            attempts,
            uplink,
            filter: filters.0,
            former_filter: filters.1,
            tags: options.tags,
            vlan_filter: VlanFilter::default(),
            ring_drops: unfinished,
            changes: 0,
        };
        self.inventory.add_device(id, device);
        Ok(id)
    }

    /// The interface of that name, if it can be a parent, and so many uplinks on it.
    fn open_uplinks(
        &mut self,
        name: &str,
        known: Option<&KnownParent>,
        uplink: &mut UplinkSelector,
        count: usize,
    ) -> Result<(Link, InterfaceLock, Option<ParentSockets>), Error> {
        let absent = || Error::ParentAbsent(name.to_owned());
        let link = self.kernel.rtnl.link(name)?.ok_or_else(absent)?;
        let identity = self.identity(&link);
        let sameness = known.map(|known| known.identity.compare(&identity, known.newest));
        if sameness == Some(Sameness::Other) {
            return Err(Error::ParentAnother(another(&link)));
        }
        self.check_attachable(&link)?;
        let lock = lock(&link)?;
        let kept = self.offered_uplinks.remove(&link.index);
        let sockets = uplink.open(&link, count, kept)?;
        Ok((link, lock, sockets))
    }

    /// Notes that a parent was attached to a device, or detached with that many `marks`. A device
    /// without parents is removed.
    pub(super) fn note_parents_changed(&mut self, id: DeviceId, marks: u64) {
        let Some(device) = self.inventory.device_mut(id) else {
            return;
        };
        // More than its parents can have counted meanwhile.
        device.changes += marks + 1;
        if !self.inventory.parents_on(id).is_empty() {
            return;
        }
        let Some(device) = self.inventory.remove_device(id) else {
            return;
        };
        let ParentDevice { name, workers, mut uplink, filter, vlan_filter, .. } = device;
        // From now on the host has every frame.
        let offloads = uplink.forget();
        if let Some(Err(error)) = Arc::into_inner(workers).map(Workers::stop) {
            self.events.trouble(format!("the worker of {name} had failed: {error}"));
        }
        drop((offloads, filter, vlan_filter));
    }

    /// Follows an interface of the engine's own namespace, if it is that of a device or was.
    pub(super) fn follow_device(&mut self, link: &Link) {
        let Some(id) = self.inventory.find_device(|it| it.index == Some(link.index)) else {
            return self.offer(link);
        };
        // An event has the state that was, so the state is read again.
        let Ok(Some(link)) = self.kernel.rtnl.link_by_index(link.index) else {
            return;
        };
        self.rename_device(id, &link.name);
        let parents = self.inventory.parents_on(id);
        // All of them, and not up to the first that has changed.
        let resized = parents.iter().filter(|&&it| self.follow_parent(it, &link)).count() > 0;
        if resized && self.inventory[id].uplink.resizes() {
            self.replace_uplinks(id, &link, "its MTU has changed");
        }
        let device = &self.inventory[id];
        if !device.attached
            && link.is_up()
            && !device.attempts.is_paused(Instant::now())
            && let Err(error) = self.reattach(id, &link)
        {
            self.report_attempt(id, error.to_string());
        }
        for parent in parents {
            self.set_carrier(parent, has_carrier(&link));
        }
    }

    /// Looks after AF_XDP uplinks that are unproven, and leaves one through which no frame comes for
    /// the next kind.
    pub(super) fn prove_uplinks(&mut self) {
        for id in self.inventory.device_ids() {
            let device = &self.inventory[id];
            if !device.uplink.is_unproven() {
                continue;
            }
            // One that is gone has an event of its own.
            let Some(link) = device.index.and_then(|it| self.kernel.rtnl.link_by_index(it).ok()?)
            else {
                continue;
            };
            let Some((why, leave)) = self.inventory[id].uplink.prove(&link) else {
                continue;
            };
            let then = if leave { "the next kind is tried" } else { "it is demanded, and stays" };
            self.events.trouble(format!("the uplink of {} is deaf: {why}; {then}", link.name));
            if leave {
                self.replace_uplinks(id, &link, "its uplink was deaf");
            }
        }
    }

    /// Replaces the uplinks by others, as `since` says.
    fn replace_uplinks(&mut self, id: DeviceId, link: &Link, since: &str) {
        self.collect_ring_drops(id);
        let device = &mut self.inventory[id];
        // A queue takes one socket at a time.
        let _ = device.workers.tell(Worker::detach);
        // Until it is again: after a pause each event about the interface is a new attempt.
        device.attached = false;
        device.filter = None;
        if let Err(error) = self.reattach(id, link) {
            for parent in self.inventory.parents_on(id) {
                self.set_carrier(parent, false);
            }
            let name = &link.name;
            self.events.trouble(format!("{name} is cut off since {since}: {error}"));
        }
    }

    /// Attaches a device to its interface. If that fails, it is tried again after a pause.
    pub(super) fn reattach(&mut self, id: DeviceId, link: &Link) -> Result<(), Error> {
        let outcome = self.attach_device(id, link);
        let attempts = &mut self.inventory[id].attempts;
        match outcome {
            Ok(()) => *attempts = Attempts::default(),
            Err(_) => attempts.fail(Instant::now()),
        }
        outcome
    }

    fn attach_device(&mut self, id: DeviceId, link: &Link) -> Result<(), Error> {
        let device = &mut self.inventory[id];
        let new_lock = match device.lock {
            Some(_) => None,
            None => Some(lock(link)?),
        };
        let kept = self.offered_uplinks.remove(&link.index);
        let sockets = device.uplink.open(link, device.workers.count(), kept)?;
        device.attached = sockets.is_some();
        device.filter = None;
        if let Some(sockets) = sockets {
            device.ring_drops += sockets.unfinished;
            device.filter = Some(sockets.filter);
            device.former_filter = sockets.former_filter;
            let hold = self.hold_adopted;
            let attached = attach(&device.workers, &link.name, sockets.uplinks, hold);
            device.attached = attached.is_ok();
            attached?;
        }
        device.lock = device.lock.take().or(new_lock);
        device.index = Some(link.index);
        for parent in self.inventory.parents_on(id) {
            let parent = &mut self.inventory[parent];
            parent.index = Some(link.index);
            parent.memberships.forget();
        }
        Ok(())
    }

    /// Refuses an interface that cannot be a parent, or that is one by another name.
    pub(super) fn check_attachable(&mut self, link: &Link) -> Result<(), Error> {
        check_suitable(&mut self.kernel.rtnl, link)?;
        if self.program_interfaces.contains_key(&link.index) {
            let what = "is the interface of a link whose far end is a program";
            return Err(Error::ParentUnsuitable { parent: link.name.clone(), what });
        }
        // Two switches on one wire would not know each other's sub-interfaces.
        match self.inventory.find_device(|other| other.index == Some(link.index)) {
            Some(other) => {
                let (name, parent) = (link.name.clone(), self.inventory[other].name.clone());
                Err(Error::ParentRenamed { name, parent })
            }
            None => Ok(()),
        }
    }

    /// The interface of a device, and the properties of a parent there with these tags; `None`
    /// while there is no interface.
    pub(super) fn info_on(&mut self, id: DeviceId, path: VlanPath) -> Option<(Link, ParentInfo)> {
        let link = self.kernel.rtnl.link_by_index(self.inventory[id].index?).ok()??;
        let info = parent_info(&link, path);
        Some((link, info))
    }
}

/// True for an error that a parent which may be absent waits out: the links of a former daemon wait with
/// it.
fn may_be_absent(error: &Error) -> bool {
    use Error as E;
    match error {
        E::NoAfXdp { .. }
        | E::ParentAbsent(_)
        | E::ParentAnother(_)
        | E::ParentBusy { .. }
        | E::ParentRenamed { .. }
        | E::ParentUnsuitable { .. } => true,
        // Memory of a process that was killed may not be given back yet, and descriptors come and go.
        E::System { source, .. } => matches!(
            source.raw_os_error(),
            Some(libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE)
        ),
        _ => false,
    }
}

/// Keeps other engines from an interface, whose sub-interfaces this one would not know.
fn lock(link: &Link) -> Result<InterfaceLock, Error> {
    InterfaceLock::take(link.index).map_err(|error| match error {
        LockError::Held { process } => Error::ParentHeld { parent: link.name.clone(), process },
        LockError::System(source) => Error::system(format!("lock {}", link.name))(source),
    })
}

fn attach(workers: &Workers, name: &str, uplinks: Vec<Uplink>, hold: bool) -> Result<(), Error> {
    let attached = workers.give(uplinks, move |worker, uplink| {
        if hold {
            worker.hold_rx();
        }
        worker.attach(uplink)
    })?;
    let attached: io::Result<()> = attached.into_iter().collect();
    attached.map_err(Error::system(format!("wait for frames from {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_former_daemon_wait_out_what_is_scarce_and_not_what_is_forbidden() {
        let system =
            |errno| Error::system("open a packet socket")(io::Error::from_raw_os_error(errno));
        for errno in [libc::ENOMEM, libc::ENOBUFS, libc::EMFILE, libc::ENFILE] {
            assert!(may_be_absent(&system(errno)), "{errno}");
        }
        for errno in [libc::EPERM, libc::EINVAL, libc::EAFNOSUPPORT] {
            assert!(!may_be_absent(&system(errno)), "{errno}");
        }
    }
}
