//! [`Control`]: the thread that does everything but forwarding.
//!
//! It waits in one epoll for three things: requests of the engine's owner, notices of workers, and
//! events of the kernel about interfaces in all namespaces ([`Monitor`]). Its state is an
//! [`Inventory`], which is data, and a [`Kernel`], which has the netlink sockets.
//!
//! The kernel's macvlan refuses a change before it happens. This thread learns of it afterwards, so
//! a change that the rules forbid is reverted and reported ([`Event::Reverted`]).
//!
//! [`Monitor`]: umacvlan_netlink::Monitor

mod adopt;
mod adopt_kept;
mod adopt_veth;
mod announce;
mod attempts;
mod capture;
mod change;
mod conflict;
mod create;
mod create_veth;
pub mod engine;
pub mod error;
mod events;
mod extra_queues;
mod follow;
mod group_cache;
mod host_filter;
mod interface_identity;
mod inventory;
mod kept_uplinks;
mod kernel;
mod kernel_side;
mod looks;
mod neighbours;
mod parent;
mod parent_check;
mod parent_device;
mod parent_names;
mod parent_return;
mod program;
mod program_attributes;
mod program_datagrams;
mod program_end;
mod program_interface;
mod running_kernel;
mod rx_filter;
mod status;
mod sub;
mod uplink_selector;
mod vhost_rings;
mod vhost_session;
mod vlan_filter;
mod worker_restart;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use umacvlan_core::KernelRelease;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::eventfd::EventFd;

use capture::LiveCapture;
pub use capture::{CaptureRequest, Captured};
use conflict::Held;
use engine::{EngineOptions, Event, Request, SubId};
use error::Error;
use events::Events;
use group_cache::GroupCache;
pub use interface_identity::{InterfaceIdentity, Sameness};
pub(crate) use inventory::DeviceId;
use inventory::{Interface, Inventory};
use kernel::Kernel;
use looks::{Cause, Look, Looks};
pub use parent_check::check_suitable;
use parent_device::ParentDevice;
use program::{LISTENERS, SESSIONS};
pub use running_kernel::{running_kernel, try_running_kernel};
use umacvlan_datapath::worker::{Notice, OnWorker};
use uplink_selector::KeptSockets;
pub use uplink_selector::{try_af_xdp, why_af_packet, zero_copy_memory};

/// How often a few sub-interfaces are read again, for the changes without an event (`packet(7)`
/// memberships, `ip maddr`).
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How often to check whether the interfaces of an ended namespace have ended, too.
const NETNS_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Names in the epoll.
const BELL: u64 = 0;
const MONITOR: u64 = 1;

/// Everything that the control thread owns.
pub(crate) struct Control {
    inventory: Inventory,
    kernel: Kernel,
    groups: GroupCache,
    looks: Looks,
    /// Sockets of an earlier engine that no parent has taken over yet.
    offered_uplinks: BTreeMap<u32, KeptSockets>,
    /// The owner has descriptors of sockets on parents, which outlive this engine.
    uplinks_kept: bool,
    requests: Receiver<Request>,
    /// Notices of workers, each with the number that their device has for them.
    notices: Receiver<(u64, Notice)>,
    /// The other end, of which each worker gets a clone.
    notify: Sender<(u64, Notice)>,
    /// Woken after a request or a notice.
    bell: Arc<EventFd>,
    epoll: Epoll,
    events: Events,
    /// Run by each worker before its first turn.
    on_worker: Option<OnWorker>,
    /// Sub-interfaces that wait, down, until their address is free.
    held: Held,
    /// Sub-interfaces whose namespace has ended: no event reports when their interfaces end.
    reaping: BTreeSet<SubId>,
    /// Sub-interfaces that announce their addresses as soon as they have a carrier.
    announcing: BTreeSet<SubId>,
    /// True if some of them have a carrier, and waited for requests and events.
    announcements_due: bool,
    /// The last sub-interface that a sweep has read.
    swept_to: SubId,
    swept: Instant,
    /// True if the ports of adopted sub-interfaces are not read yet. Nothing else is done meanwhile.
    hold_adopted: bool,
    /// The monitor reports addresses, because a parent shares its own.
    follows_addresses: bool,
    captures: Vec<LiveCapture>,
    /// The rules of the running kernel's macvlan.
    running: KernelRelease,
    /// See [`EngineOptions::pins`].
    pins: Option<PathBuf>,
    /// True until all sub-interfaces of an earlier engine are adopted: the kernel answers for them as it
    /// did then.
    taking_over: bool,
    /// The sub-interfaces whose programs are behind interfaces, by the indexes of these.
    program_interfaces: BTreeMap<u32, SubId>,
    stop: bool,
}

impl Control {
    pub(crate) fn new(
        requests: Receiver<Request>,
        bell: Arc<EventFd>,
        events: Sender<Event>,
        options: EngineOptions,
    ) -> Result<Self, Error> {
        let epoll = Epoll::new().map_err(Error::system("make an epoll"))?;
        let kernel = Kernel::open()?;
        let watched = epoll.add(&*bell, BELL).and_then(|()| epoll.add(&kernel.monitor, MONITOR));
        watched.map_err(Error::system("watch for events"))?;
        let (notify, notices) = crossbeam_channel::unbounded();
        Ok(Self {
            inventory: Inventory::default(),
            kernel,
            groups: GroupCache::default(),
            looks: Looks::new(Instant::now()),
            offered_uplinks: BTreeMap::new(),
            uplinks_kept: false,
            requests,
            notices,
            notify,
            bell,
            epoll,
            events: Events::new(events),
            on_worker: options.on_worker,
            held: Held::new(),
            reaping: BTreeSet::new(),
            announcing: BTreeSet::new(),
            announcements_due: false,
            swept_to: SubId::default(),
            swept: Instant::now(),
            hold_adopted: false,
            follows_addresses: false,
            captures: Vec::new(),
            running: running_kernel(),
            taking_over: options.pins.is_some(),
            pins: options.pins,
            program_interfaces: BTreeMap::new(),
            stop: false,
        })
    }

    /// Works until [`Control::stop`].
    pub(crate) fn run(&mut self) {
        while !self.stop {
            let names = self.epoll.wait(self.timeout()).map(|names| names.collect::<Vec<u64>>());
            let names = match names {
                Ok(names) => names,
                // Without epoll nothing works. Sub-interfaces go with the workers.
                Err(error) => {
                    return self.events.trouble(format!("the control thread cannot wait: {error}"));
                }
            };
            if names.contains(&BELL) {
                self.bell.clear();
                self.read_notices();
                self.do_requests();
            }
            if names.contains(&MONITOR) {
                self.read_monitor();
            }
            for name in names.iter().filter_map(|name| name.checked_sub(LISTENERS)) {
                match name.checked_sub(SESSIONS) {
                    Some(name) => self.serve_session(SubId(name)),
                    None => self.accept(SubId(name)),
                }
            }
            // The rest can wait for a while, and what adopted sub-interfaces send should not.
            if !self.hold_adopted {
                self.settle();
            }
        }
    }

    /// Does what is due beside requests and events.
    fn settle(&mut self) {
        self.end_captures();
        self.take_looks();
        self.retry_attempts();
        self.reap();
        if self.swept.elapsed() >= SWEEP_INTERVAL {
            self.sweep();
            self.watch_workers();
            self.prove_uplinks();
            self.listen_again();
        }
        self.settle_held();
        self.settle_groups();
        self.settle_wire();
        self.settle_memberships();
        self.drop_former_filters();
        self.settle_announcements();
    }

    /// The time until something is due without an event; `None` without parents.
    fn timeout(&self) -> Option<Duration> {
        self.inventory.parents().next()?;
        if self.hold_adopted {
            return Some(SWEEP_INTERVAL);
        }
        let due = match self.reaping.is_empty() {
            true => SWEEP_INTERVAL.saturating_sub(self.swept.elapsed()),
            false => NETNS_CHECK_INTERVAL,
        };
        let announcements = self.announcements_due.then_some(Duration::ZERO);
        let others =
            [self.groups_due(), self.looks.due(Instant::now()), announcements, self.attempts_due()];
        others.into_iter().flatten().chain([due]).min()
    }

    /// Removes everything but the interfaces that are kept, and ends the loop.
    pub(crate) fn stop(&mut self) {
        for id in self.inventory.parent_ids() {
            if self.inventory.subs_of(id).any(|sub| sub.kept) {
                self.leave_memberships_joined(self.inventory[id].device);
            }
            self.release_kept(id);
            self.detach(id);
        }
        self.stop = true;
    }

    fn read_notices(&mut self) {
        while let Ok((number, notice)) = self.notices.try_recv() {
            // Workers that were replaced have numbers that no device has any more.
            let found = self.inventory.find_device(|device| device.watch.notifier == number);
            let Some(device) = found else {
                continue;
            };
            let sub = |index| self.inventory.sub_with_index(device, index);
            match notice {
                Notice::Failed(why) => self.worker_failed(device, &why),
                Notice::Addresses(index) => self.groups.mark_stale(sub(index)),
                Notice::Neighbours => self.note_neighbours(device),
                Notice::Tags => self.note_tags(device),
                Notice::PortClosed { sub: index, number, why } => {
                    self.lose_connection(device, index, number, why);
                }
                Notice::PortProven { sub: index, number } => {
                    if let Some(id) = sub(index) {
                        self.note_proven(id, number);
                    }
                }
                Notice::PortGone(index) => {
                    if let Some(id) = sub(index) {
                        self.lose_sub(id);
                    }
                }
            }
        }
    }

    fn do_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            request(self);
        }
    }

    fn read_monitor(&mut self) {
        let mut events = Vec::new();
        if let Err(error) = self.kernel.monitor.read(|event| events.push(event)) {
            self.events.trouble(format!("netlink tells no more: {error}"));
        }
        for event in events {
            self.follow_event(event);
            // After each event and not after the last, or the host would get too much until then.
            self.settle_wire();
        }
    }

    fn follow_event(&mut self, event: umacvlan_netlink::Event) {
        use umacvlan_netlink::Event as E;
        match event {
            E::LinkChanged { nsid, index, lower } => {
                self.note_changed(Interface { nsid: Some(nsid), index }, Look::Read);
                self.note_upper(Some(nsid), lower);
            }
            E::LinkNew { link, notify_peers } => {
                self.follow_vlan(&link);
                self.note_rival(&link);
                self.follow_device(&link);
                let failed_over = |device: &ParentDevice| device.index == Some(link.index);
                if notify_peers && let Some(device) = self.inventory.find_device(failed_over) {
                    self.announce(device);
                }
                self.note_changed(Interface { nsid: None, index: link.index }, Look::Read);
                self.follow_program_interface(&link);
                self.note_upper(None, link.lower);
            }
            E::LinkGone { nsid, index, lower, moved_to, .. } => {
                if nsid.is_none() {
                    self.note_host_end_gone(index);
                    self.lose_program_interface(index);
                    self.lose_vlan();
                    self.lose_device(index, moved_to.is_some());
                }
                self.note_changed(Interface { nsid, index }, Look::Locate);
                self.note_upper(nsid, lower);
            }
            E::GroupsChanged { nsid, index } => {
                self.groups.mark_stale(self.inventory.subs_at(Interface { nsid, index }));
            }
            E::AddressesChanged => self.note_host_addresses(),
            E::NamespaceGone { nsid } => self.lose_namespace(nsid),
            E::Lost => {
                self.note_host_addresses();
                self.resync_all();
            }
            E::LostIn { nsid } => {
                self.note_all(Cause::Namespace(Some(nsid)), self.inventory.subs_in(nsid));
            }
        }
    }
}
