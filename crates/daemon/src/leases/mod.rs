//! [`Leases`]: addresses of links by DHCP.
//!
//! One thread does it for all links (`thread`). It has a socket in the namespace of a link only while it
//! waits for an answer there, because a socket keeps its namespace alive. What a server has assigned is
//! one file for each link, so that the next daemon goes on with it (`LeaseRecord`).
//!
//! The thread never locks the service: the service tells it what to follow, and reads what it shows.

mod interface;
mod link;
mod thread;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use umacvlan_api::{Dhcp, DhcpView, EventView};
use umacvlan_core::MacAddr;
use umacvlan_dhcp::Lease;
use umacvlan_engine::Engine;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::netns::NetnsId;

use crate::record_store::RecordStore;

/// How long a request that removes a link waits until its address is given back.
const RELEASE: Duration = Duration::from_secs(2);

/// A link that gets its address by DHCP, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// The name of its interface.
    pub(crate) ifname: String,
    pub(crate) mac: MacAddr,
    pub(crate) wish: Dhcp,
    /// Where it is; `None` while it is down.
    pub(crate) place: Option<Place>,
}

/// The place of an interface.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// Its namespace, as device and inode.
    netns: (u64, u64),
    /// The cookie of the namespace, where the kernel has them.
    cookie: Option<u64>,
    /// Its index there.
    index: u32,
}

impl Place {
    pub(crate) const fn new(netns: NetnsId, cookie: Option<u64>, index: u32) -> Self {
        Self { netns: (netns.dev, netns.ino), cookie, index }
    }

    const fn netns(self) -> NetnsId {
        let (dev, ino) = self.netns;
        NetnsId { dev, ino }
    }
}

/// The file of a lease.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct LeaseRecord {
    /// The boot since whose beginning the times of the lease count.
    boot: String,
    /// Where its address is assigned.
    place: Option<Place>,
    lease: Lease,
}

/// A request to the thread.
#[derive(Debug)]
enum Request {
    /// A link is like this now.
    Follow(u64, Followed),
    /// The address of a link is to be given back, and nothing more to be done for it.
    Release(u64, Sender<()>),
    /// A link is gone.
    Forget(u64),
}

/// What is shown of a link.
#[derive(Clone, Debug, Default)]
struct Shown {
    state: &'static str,
    lease: Option<Lease>,
    trouble: Option<String>,
}

/// What is shown of all links.
type Board = Arc<Mutex<BTreeMap<u64, Shown>>>;

/// The files of leases, and the boot in which they are valid.
#[derive(Debug)]
pub(crate) struct LeaseFiles {
    pub(crate) files: RecordStore,
    pub(crate) boot: String,
}

/// The thread, for the service.
#[derive(Debug)]
pub(crate) struct Leases {
    /// `None` once this is dropped.
    requests: Option<Sender<Request>>,
    bell: Arc<EventFd>,
    board: Board,
    thread: Option<JoinHandle<()>>,
}

impl Leases {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread or descriptor to be had.
    pub(crate) fn start(
        engine: &Arc<Engine>,
        files: LeaseFiles,
        events: broadcast::Sender<EventView>,
    ) -> Result<Self> {
        let (requests, inbox): (_, Receiver<Request>) = channel();
        let bell = Arc::new(EventFd::new().context("cannot make an event")?);
        let board = Board::default();
        let thread = thread::Thread::new(
            Arc::downgrade(engine),
            files,
            (inbox, Arc::clone(&bell)),
            Arc::clone(&board),
            events,
        );
        let thread = std::thread::Builder::new().name("dhcp".to_owned()).spawn(|| thread.run());
        let thread = Some(thread.context("cannot start the thread for DHCP")?);
        Ok(Self { requests: Some(requests), bell, board, thread })
    }

    /// Tells how a link is now.
    pub(crate) fn follow(&self, id: u64, link: Followed) {
        self.tell(Request::Follow(id, link));
    }

    /// Gives the address of a link back, if it has one, before its interface ends.
    pub(crate) fn release(&self, id: u64) {
        let (done, wait) = channel();
        self.tell(Request::Release(id, done));
        // An address that is not given back ends with its lease.
        let _ = wait.recv_timeout(RELEASE);
    }

    /// Forgets a link whose interface is gone.
    pub(crate) fn forget(&self, id: u64) {
        self.tell(Request::Forget(id));
    }

    /// What a link has.
    pub(crate) fn view(&self, id: u64, wish: &Dhcp) -> DhcpView {
        let shown = lock(&self.board).get(&id).cloned().unwrap_or_default();
        view(&shown, wish, now())
    }

    fn tell(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // Without the thread, which has panicked, nothing is done.
            let _ = requests.send(request);
        }
        self.bell.wake();
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.requests = None;
        self.bell.wake();
        // A panic of the thread was printed when it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn lock(board: &Board) -> MutexGuard<'_, BTreeMap<u64, Shown>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The view of what a link has.
fn view(shown: &Shown, wish: &Dhcp, now: Duration) -> DhcpView {
    let words = |all: &[std::net::Ipv4Addr]| all.iter().map(ToString::to_string).collect();
    let lease = shown.lease.as_ref();
    let expires = lease.and_then(|lease| lease.expires);
    DhcpView {
        state: if shown.state.is_empty() { "down" } else { shown.state }.to_owned(),
        client_id: wish.client_id.clone(),
        hostname: wish.hostname.clone(),
        address: lease.map(|lease| format!("{}/{}", lease.address, lease.prefix_len)),
        server: lease.map(|lease| lease.server.to_string()),
        routers: lease.map(|lease| words(&lease.routers)).unwrap_or_default(),
        dns: lease.map(|lease| words(&lease.dns)).unwrap_or_default(),
        domain: lease.and_then(|lease| lease.domain.clone()),
        expires: expires.map(|end| end.saturating_sub(now).as_secs()),
        trouble: shown.trouble.clone(),
    }
}

/// The time since the machine was booted, suspension included, which goes on over restarts of the daemon.
fn now() -> Duration {
    // This clock is always there.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
