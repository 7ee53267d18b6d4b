//! [`Control`]: the thread that does everything but forwarding.
//!
//! It waits in one epoll for three things: requests of the engine's owner, notices of workers, and
//! what the kernel tells about interfaces in all namespaces ([`Monitor`]). Nothing here keeps a
//! user's namespace alive: a TAP is found through its own descriptor, visited, and left.
//!
//! The kernel's macvlan can refuse a change before it happens. Ours learns of it afterwards, so
//! what the rules forbid is undone, and told ([`Event::Reverted`]).

mod adopt;
mod change;
mod create;
pub mod engine;
pub mod error;
mod follow;
mod group_cache;
mod host_filter;
mod locate;
mod parent;
mod parent_check;
mod parent_device;
mod rx_filter;
mod status;
mod sub;
mod uplink_selector;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use umacvlan_netlink::{Monitor, Rtnl};
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::netns::Netns;

use crate::datapath::worker::{Notice, OnWorker};
use engine::{EngineOptions, Event, Request};
use error::Error;
use group_cache::GroupCache;
use parent::Parent;
pub use parent_check::check_suitable;
use parent_device::ParentDevice;
use sub::SubKey;
pub use uplink_selector::{try_af_xdp, why_af_packet};

/// How often a few sub-interfaces are looked at again, for the changes that no event tells of
/// (`packet(7)` memberships, `ip maddr`).
const SWEEP_TIME: Duration = Duration::from_secs(1);

/// How often to look whether the interfaces of an ended namespace have ended, too.
const DYING_TIME: Duration = Duration::from_millis(5);

/// Names in the epoll.
const BELL: u64 = 0;
const MONITOR: u64 = 1;

/// Everything the control thread owns.
pub(crate) struct Control {
    requests: Receiver<Request>,
    bell: Arc<EventFd>,
    events: Sender<Event>,
    /// Notices of workers, each with the number of its trunk.
    notices: Receiver<(u64, Notice)>,
    /// The other end, of which each worker gets a clone.
    notify: Sender<(u64, Notice)>,
    epoll: Epoll,
    monitor: Monitor,
    rtnl: Rtnl,
    /// The engine's own namespace.
    home: Netns,
    parents: Vec<Parent>,
    /// The interfaces that carry them.
    trunks: Vec<ParentDevice>,
    /// Number of the next trunk; never used twice.
    next_trunk: u64,
    /// Number of the next sub-interface that has no other; above all that there ever were.
    next_sub: u64,
    /// Run by each worker before its first turn.
    on_worker: Option<OnWorker>,
    /// Sub-interfaces whose namespace has ended: no event tells when their interfaces have.
    dying: Vec<SubKey>,
    /// Where the sweep goes on.
    sweep_at: usize,
    swept: Instant,
    /// The groups of namespaces that were read lately.
    lists: GroupCache,
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
        let monitor = Monitor::open().map_err(Error::system("listen to netlink"))?;
        let home = Netns::current().map_err(Error::system("open this network namespace"))?;
        let watched = epoll.add(&*bell, BELL).and_then(|()| epoll.add(&monitor, MONITOR));
        watched.map_err(Error::system("watch for events"))?;
        let (notify, notices) = crossbeam_channel::unbounded();
        Ok(Self {
            requests,
            bell,
            events,
            notices,
            notify,
            epoll,
            monitor,
            rtnl: Rtnl::open()?,
            home,
            parents: Vec::new(),
            trunks: Vec::new(),
            next_trunk: 0,
            next_sub: 1,
            on_worker: options.on_worker,
            dying: Vec::new(),
            sweep_at: 0,
            swept: Instant::now(),
            lists: GroupCache::default(),
            stop: false,
        })
    }

    /// Serves until [`Control::stop`].
    pub(crate) fn run(&mut self) {
        while !self.stop {
            let due = match self.dying.is_empty() {
                true => SWEEP_TIME.saturating_sub(self.swept.elapsed()),
                false => DYING_TIME,
            };
            let due = self.groups_due().map_or(due, |groups| groups.min(due));
            let timeout = (!self.parents.is_empty()).then_some(due);
            let names = self.epoll.wait(timeout).map(|names| names.collect::<Vec<u64>>());
            let names = match names {
                Ok(names) => names,
                // Nothing to wait with is nothing to live for: sub-interfaces go with the workers.
                Err(error) => {
                    return self.trouble(format!("the control thread cannot wait: {error}"));
                }
            };
            if names.contains(&BELL) {
                self.bell.clear();
                self.serve();
            }
            if names.contains(&MONITOR) {
                self.listen();
            }
            self.reap();
            if self.swept.elapsed() >= SWEEP_TIME {
                self.sweep();
            }
            self.settle_groups();
            self.settle_wire();
            self.settle_memberships();
        }
    }

    /// Removes everything but the interfaces that are kept, and ends the loop.
    pub(crate) fn stop(&mut self) {
        for mut parent in std::mem::take(&mut self.parents) {
            parent.let_go_kept();
            self.take_down(parent);
        }
        self.stop = true;
    }

    fn serve(&mut self) {
        while let Ok((trunk, notice)) = self.notices.try_recv() {
            match notice {
                Notice::Failed(why) => self.worker_failed(trunk, &why),
                Notice::Groups(id) => self.mark_groups(SubKey { trunk, id }),
                Notice::PortGone(id) => self.lose_sub(SubKey { trunk, id }),
            }
        }
        while let Ok(request) = self.requests.try_recv() {
            request(self);
        }
    }

    fn listen(&mut self) {
        let mut heard = Vec::new();
        if let Err(error) = self.monitor.read(|event| heard.push(event)) {
            self.trouble(format!("netlink tells no more: {error}"));
        }
        for event in heard {
            self.hear(event);
            // Not after the last of many: meanwhile the host would hear too much.
            self.settle_wire();
        }
    }

    fn hear(&mut self, event: umacvlan_netlink::Event) {
        use umacvlan_netlink::Event as E;
        match event {
            E::LinkNew { nsid, link } => {
                if nsid.is_none() {
                    self.follow_vlan(&link);
                    self.note_rival(&link);
                    self.follow_trunk(&link);
                }
                self.follow_link(nsid, link.index);
            }
            E::LinkGone { nsid, index, .. } => {
                if nsid.is_none() {
                    self.lose_vlan();
                    self.lose_trunk(index);
                }
                self.find_again(nsid, index);
            }
            E::GroupsChanged { nsid, index } => {
                if let Some(key) = self.sub_at(nsid, index) {
                    self.mark_groups(key);
                }
            }
            E::NamespaceGone { nsid } => self.lose_namespace(nsid),
            E::Lost => self.resync_all(),
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens: then nobody wants to know.
        let _ = self.events.send(event);
    }

    fn trouble(&self, what: String) {
        self.tell(Event::Trouble { what });
    }
}
