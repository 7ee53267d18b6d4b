//! [`Engine`]: the handle of parents, their workers and the control thread.

mod options;
mod status;
mod takeover;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::{KernelRelease, MacAddr, Mode, SubIndex, SwitchError};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::netns::{Netns, NetnsId};

pub use options::{
    AbsentParent, Adopt, EngineOptions, FormerInterface, KeptTap, KeptVeth, KnownParent,
    LinkAttribute, ParentBinding, ParentOptions, ProgramPlace, ProgramPort, SubChange, SubId,
    SubOptions,
};
pub use status::{
    Event, HostFilterStatus, NeighbourStatus, ParentStatus, PortStatus, ProgramStatus, SubStatus,
    UplinkKind, UplinkSockets, UplinkStatus, VethStatus, VhostStatus, VlanFilterStatus,
    WorkerStatus,
};

use crate::control::Control;
use crate::control::error::Error;
pub use crate::control::{CaptureRequest, Captured, InterfaceIdentity, Sameness};
use umacvlan_datapath::worker::Stopped;

/// How long a TAP may stay busy after its process has ended: the kernel frees a ring later.
const RELEASE_TIME: Duration = Duration::from_secs(1);

/// How long an address may stay in use after the last process of its container has ended: sockets
/// hold a namespace for some milliseconds more.
const RIVAL_TIME: Duration = Duration::from_millis(250);

/// How often to check whether it is still busy.
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// A request to the control thread.
pub(crate) type Request = Box<dyn FnOnce(&mut Control) + Send>;

/// Parents, their sub-interfaces, and the threads that serve them. Everything ends with this value,
/// except the interfaces that are [kept](Engine::keep_sub).
///
/// # Threads
/// The control thread does the requests, and follows the changes that users make to their
/// interfaces. Each worker of a parent has one more thread. Any thread may send a request, and
/// waits for its result.
#[derive(Debug)]
pub struct Engine {
    requests: Sender<Request>,
    bell: Arc<EventFd>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts an engine without parents, for interfaces in the namespace of the calling thread.
    ///
    /// # Errors
    /// No netlink socket, descriptor or thread to be had.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(EngineOptions::default())
    }

    /// As [`Engine::start`], with options.
    ///
    /// # Errors
    /// The same.
    pub fn start_with(options: EngineOptions) -> Result<Self, Error> {
        let (requests, inbox) = unbounded();
        let (outbox, events) = unbounded();
        let bell = Arc::new(EventFd::new().map_err(Error::system("make an event"))?);
        let mut control = Control::new(inbox, Arc::clone(&bell), outbox, options)?;
        let thread = std::thread::Builder::new()
            .name("umacvlan".to_owned())
            .spawn(move || control.run())
            .map_err(Error::system("start the control thread"))?;
        Ok(Self { requests, bell, events, thread: Some(thread) })
    }

    /// Attaches a parent: an interface, or a VLAN of one (`eth0.10`, and `eth0.10.20` for one inside
    /// another) that has no interface of its own. An interface of that name comes first.
    ///
    /// All parents on an interface share its workers and its uplink.
    ///
    /// # Errors
    /// It does not exist, is not Ethernet, belongs to a bridge or bond, or is attached already; the
    /// kernel has a device for the VLAN; its settings differ from those that it has to share;
    /// privileges, memory or descriptors are missing.
    pub fn add_parent(&self, options: ParentOptions) -> Result<(), Error> {
        self.ask(move |control| control.add_parent(options))?
    }

    /// Detaches a parent; its sub-interfaces are removed.
    ///
    /// # Errors
    /// There is no such parent.
    pub fn remove_parent(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |control| control.remove_parent(&name))?
    }

    /// Resolves the name of a parent, attached or not, as the interfaces are named now.
    ///
    /// # Errors
    /// The name looks like that of a VLAN and is not valid.
    pub fn lower(&self, name: &str) -> Result<ParentBinding, Error> {
        let name = name.to_owned();
        self.ask(move |control| control.lower(&name))?
    }

    /// The interface on which a sub-interface of `name` is made: for a macvlan of the kernel the one
    /// below it, if that is in this namespace, as the kernel does; else `name` itself.
    ///
    /// # Errors
    /// The interfaces cannot be read.
    pub fn flatten(&self, name: &str) -> Result<String, Error> {
        let name = name.to_owned();
        self.ask(move |control| control.flatten(&name))?
    }

    /// Resolves a parent of an earlier engine to the interface that it had, whatever its name is.
    ///
    /// # Errors
    /// The interfaces cannot be read.
    pub fn lower_known(&self, known: &KnownParent) -> Result<ParentBinding, Error> {
        let known = known.clone();
        self.ask(move |control| control.lower_known(&known))?
    }

    /// Makes a sub-interface.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, its name or number is in use, or the kernel refuses a TAP.
    pub fn add_sub(&self, parent: &str, options: SubOptions) -> Result<SubStatus, Error> {
        let parent = parent.to_owned();
        let claims = options.claims_mac && options.settings.mode != Mode::Passthru;
        if let (true, Some(mac)) = (claims, options.mac) {
            let parent = parent.clone();
            self.until_ended(move |control| control.check_claim(&parent, mac))?;
        }
        self.ask(move |control| control.add_sub(&parent, options))?
    }

    /// Lets the interface of a sub-interface outlive this engine and its process, without carrier,
    /// until it is [adopted](Engine::adopt_sub) or deleted.
    ///
    /// # Errors
    /// There is no such sub-interface, or its interface is gone.
    pub fn keep_sub(&self, sub: SubId) -> Result<(), Error> {
        self.ask(move |control| control.keep_sub(sub))?
    }

    /// Duplicates of the queues of a sub-interface, in their order. While they are open, the interface
    /// outlives this engine with its carrier, and [`KeptTap::Queues`] hands them to the next one.
    ///
    /// # Errors
    /// There is no such sub-interface, or too many files are open.
    pub fn queues(&self, sub: SubId) -> Result<Vec<OwnedFd>, Error> {
        self.ask(move |control| control.queues(sub))?
    }

    /// The namespace of the interface of a sub-interface, wherever it was moved. It lives as long as
    /// this descriptor, whatever else has ended in it: close it soon.
    ///
    /// # Errors
    /// There is no such sub-interface, its far end is a program, or its namespace is being removed.
    pub fn namespace(&self, sub: SubId) -> Result<Netns, Error> {
        self.ask(move |control| control.namespace(sub))?
    }

    /// The namespaces, other than the engine's own, that queues of its sub-interfaces keep alive:
    /// those where it has adopted one by its [place](KeptTap::Place).
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn pinned_namespaces(&self) -> Result<BTreeSet<NetnsId>, Error> {
        self.ask(Control::pinned_namespaces)
    }

    /// Forwards for an interface that an earlier engine has kept. It may be up and in use, and have
    /// changed since.
    ///
    /// # Errors
    /// There is no such TAP; another process forwards for it; or the rules of macvlan forbid it:
    /// then it stays where it is. One whose address is in use is set down until that is free.
    pub fn adopt_sub(&self, parent: &str, adopt: Adopt) -> Result<SubStatus, Error> {
        let (parent, adopt) = (parent.to_owned(), Arc::new(adopt));
        let end = Instant::now() + RELEASE_TIME;
        loop {
            let (parent, adopt) = (parent.clone(), Arc::clone(&adopt));
            match self.ask(move |control| control.adopt_sub(&parent, &adopt))? {
                // On this thread, because the control thread must not wait.
                Err(Error::TapBusy(_)) if Instant::now() < end => {
                    std::thread::sleep(RELEASE_STEP);
                }
                done => return done,
            }
        }
    }

    /// Removes a sub-interface with its interface, also a kept one.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn remove_sub(&self, sub: SubId) -> Result<(), Error> {
        self.ask(move |control| control.remove_sub(sub))?
    }

    /// Changes the settings of a sub-interface, in this order. The first change that is refused ends
    /// the request; those before it remain.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, or there is no such sub-interface.
    pub fn change_sub(&self, sub: SubId, changes: Vec<SubChange>) -> Result<(), Error> {
        self.ask(move |control| control.change_sub(sub, changes))?
    }

    /// Sets attributes of the interface of a sub-interface in its namespace, in this order. A value
    /// that the rules of macvlan forbid is not set. The first one that is refused ends the request;
    /// those before it remain.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, the kernel refuses it, or there is no such sub-interface.
    pub fn set_link(&self, sub: SubId, attributes: Vec<LinkAttribute>) -> Result<SubStatus, Error> {
        self.ask(move |control| control.set_link(sub, attributes))?
    }

    /// Checks whether a sub-interface could come up with its address, and no other one
    /// [claims](SubOptions::claims_mac) it.
    ///
    /// # Errors
    /// Its address is in use, or there is no such sub-interface.
    pub fn check_mac_free(&self, sub: SubId) -> Result<(), Error> {
        self.until_ended(move |control| control.check_claim_of(sub))
    }

    /// The status of one sub-interface.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn sub(&self, sub: SubId) -> Result<SubStatus, Error> {
        self.ask(move |control| control.sub(sub))?
    }

    /// Tries the kernel's macvlan, and follows its rules from then on, on all parents whose semantics
    /// ask for them. Before, the engine follows [`running_kernel`](crate::running_kernel) as it was at
    /// the start. The control thread does it, which takes about 50 ms.
    ///
    /// # Errors
    /// As [`try_running_kernel`](crate::try_running_kernel), or the engine has stopped.
    pub fn try_running_kernel(&self) -> Result<KernelRelease, Error> {
        self.ask(Control::try_running_kernel)?
    }

    /// The status of all parents with their sub-interfaces and counters.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn status(&self) -> Result<Vec<ParentStatus>, Error> {
        self.ask(Control::status)
    }

    /// The status of one parent, without its sub-interfaces.
    ///
    /// # Errors
    /// There is no such parent.
    pub fn parent(&self, name: &str) -> Result<ParentStatus, Error> {
        let name = name.to_owned();
        self.ask(move |control| control.parent(&name))?
    }

    /// The status of the parent of a sub-interface, with that sub-interface and no other.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn parent_of(&self, sub: SubId) -> Result<ParentStatus, Error> {
        self.ask(move |control| control.parent_of(sub))?
    }

    /// Runs a function on one worker of a parent, without waiting for it. It is for tests of workers
    /// that panic or hang.
    ///
    /// # Errors
    /// There is no such parent or worker.
    #[doc(hidden)]
    pub fn run_on_worker(
        &self,
        parent: &str,
        number: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let parent = parent.to_owned();
        self.ask(move |control| control.run_on_worker(&parent, number, run))?
    }

    /// Captures frames of a parent from now on, until the result is dropped, or the parent or the
    /// sub-interface is gone. Workers that are started again go on with it.
    ///
    /// # Errors
    /// There is no such parent or sub-interface, or there are too many captures.
    pub fn capture(&self, parent: &str, request: CaptureRequest) -> Result<Captured, Error> {
        let parent = parent.to_owned();
        self.ask(move |control| control.capture(&parent, request))?
    }

    /// The present names and namespaces of the sub-interfaces of a parent, by the index in captured
    /// frames.
    ///
    /// # Errors
    /// There is no such parent.
    pub fn capture_names(&self, parent: &str) -> Result<Vec<(SubIndex, String, NetnsId)>, Error> {
        let parent = parent.to_owned();
        self.ask(move |control| control.capture_names(&parent))?
    }

    /// The events. They are queued without limit until they are read.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Asks again while a sub-interface has the address that may be about to end with its namespace.
    fn until_ended(
        &self,
        ask: impl Fn(&mut Control) -> Result<(), Error> + Clone + Send + 'static,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let done = self.ask(ask.clone())?;
            let patience = match &done {
                Err(Error::RivalEnding { .. }) => RELEASE_TIME,
                Err(Error::Refused { refusal: SwitchError::AddressOfSub(_), .. }) => RIVAL_TIME,
                _ => return done,
            };
            if start.elapsed() >= patience {
                return done;
            }
            // On this thread, because the control thread must not wait.
            std::thread::sleep(RELEASE_STEP);
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Control) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |control| {
            let answer = ask(control);
            control.settle_held();
            // Before the answer, so that the caller finds each frame with the host or the engine.
            control.settle_wire();
            // The caller may be gone.
            let _ = reply.send(answer);
        });
        self.requests.send(request).map_err(|_| Stopped)?;
        self.bell.wake();
        answer.recv().map_err(|_| Error::Stopped)
    }
}

impl Drop for Engine {
    /// Removes every sub-interface that is not kept, leaves every parent as it was unless a kept
    /// one has its address, and waits for the threads.
    fn drop(&mut self) {
        let _ = self.ask(Control::stop);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// A random locally administered unicast address.
pub(crate) fn random_mac() -> MacAddr {
    use std::hash::{BuildHasher, RandomState};
    // A new key of the system's randomness each time. It is not secret, and need not be.
    let random = RandomState::new().hash_one(());
    let [a, b, c, d, e, f, ..] = random.to_be_bytes();
    MacAddr::new([a & 0xfc | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let (one, other) = (random_mac(), random_mac());
        assert!(one.is_valid_unicast() && one.is_locally_administered());
        assert_ne!(one, other);
    }
}
