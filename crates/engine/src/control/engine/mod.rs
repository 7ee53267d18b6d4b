//! [`Engine`]: parents, their workers, and the thread that looks after both.

mod options;
mod status;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::MacAddr;
use umacvlan_sys::eventfd::EventFd;

pub use options::{
    AbsentParent, Adopt, EngineOptions, LinkAttribute, ParentBinding, ParentOptions, SubChange,
    SubId, SubOptions,
};
pub use status::{
    Event, HostFilterStatus, ParentStatus, SubStatus, UplinkKind, UplinkStatus, WorkerStatus,
};

use crate::control::Control;
use crate::control::error::Error;
use crate::datapath::worker::Stopped;

/// How long a TAP may stay busy after the process that served it has ended: the kernel takes a ring
/// apart when it finds the time.
const RELEASE_TIME: Duration = Duration::from_secs(1);

/// How often to look whether it is busy still.
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// Something to be done by the control thread.
pub(crate) type Request = Box<dyn FnOnce(&mut Control) + Send>;

/// Parents, their sub-interfaces, and the threads that serve them. Everything ends with this value,
/// but for the interfaces that are to be [kept](Engine::keep_sub).
///
/// # Threads
/// One thread controls: it does what is asked here, and follows what users do to their
/// interfaces. One more thread a parent forwards, or as many as it has workers. Any thread may
/// ask.
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
    /// another) that has no interface of its own. An interface that has the name is meant always.
    ///
    /// All parents on an interface share its workers and its uplink.
    ///
    /// # Errors
    /// It does not exist, is not Ethernet, belongs to a bridge or bond, or is attached already; the
    /// kernel has a device for the VLAN; other settings are asked for than those that it shares;
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

    /// What is below a parent of that name, attached or not.
    ///
    /// # Errors
    /// The name looks like that of a VLAN and is none.
    pub fn lower(&self, name: &str) -> Result<ParentBinding, Error> {
        let name = name.to_owned();
        self.ask(move |control| control.lower(&name))?
    }

    /// Makes a sub-interface.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, its name or number is in use, or the kernel refuses a TAP.
    pub fn add_sub(&self, parent: &str, options: SubOptions) -> Result<SubStatus, Error> {
        let parent = parent.to_owned();
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

    /// Forwards for an interface that an engine before this one has kept. Whatever happens to the
    /// interface meanwhile is followed from here on; it may be up and in use.
    ///
    /// # Errors
    /// There is no such TAP; another process forwards for it; or the rules of macvlan forbid it,
    /// and it is left in place, down if it may not be up.
    pub fn adopt_sub(&self, parent: &str, adopt: Adopt) -> Result<SubStatus, Error> {
        let (parent, adopt) = (parent.to_owned(), Arc::new(adopt));
        let end = Instant::now() + RELEASE_TIME;
        loop {
            let (parent, adopt) = (parent.clone(), Arc::clone(&adopt));
            match self.ask(move |control| control.adopt_sub(&parent, &adopt))? {
                // Here and not on the control thread, which has others to look after.
                Err(Error::TapBusy(_)) if Instant::now() < end => {
                    std::thread::sleep(RELEASE_STEP);
                }
                done => return done,
            }
        }
    }

    /// Removes a sub-interface, and its interface even if that was to be kept.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn remove_sub(&self, sub: SubId) -> Result<(), Error> {
        self.ask(move |control| control.remove_sub(sub))?
    }

    /// Changes a sub-interface, in this order. The first refusal ends it; what was done before
    /// remains.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, or there is no such sub-interface.
    pub fn change_sub(&self, sub: SubId, changes: Vec<SubChange>) -> Result<(), Error> {
        self.ask(move |control| control.change_sub(sub, changes))?
    }

    /// Changes the interface of a sub-interface where it lives, in this order. What the rules of
    /// macvlan forbid is refused before anything of it is done. The first refusal ends it; what
    /// was done before remains.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, the kernel refuses it, or there is no such sub-interface.
    pub fn set_link(&self, sub: SubId, sets: Vec<LinkAttribute>) -> Result<SubStatus, Error> {
        self.ask(move |control| control.set_link(sub, sets))?
    }

    /// One sub-interface at this moment.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn sub(&self, sub: SubId) -> Result<SubStatus, Error> {
        self.ask(move |control| control.sub(sub))?
    }

    /// All parents with their sub-interfaces and counters, at this moment.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn status(&self) -> Result<Vec<ParentStatus>, Error> {
        self.ask(Control::status)
    }

    /// One parent at this moment, without its sub-interfaces.
    ///
    /// # Errors
    /// There is no such parent.
    pub fn parent(&self, name: &str) -> Result<ParentStatus, Error> {
        let name = name.to_owned();
        self.ask(move |control| control.parent(&name))?
    }

    /// The parent of a sub-interface at this moment, with that one and no other.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn parent_of(&self, sub: SubId) -> Result<ParentStatus, Error> {
        self.ask(move |control| control.parent_of(sub))?
    }

    /// What happens without being asked for. Read it: it is kept until then.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Control) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |control| {
            let answer = ask(control);
            // An answer finds the host with what it is to have, and the engine with the rest.
            control.settle_wire();
            // Whoever asked may have gone away meanwhile.
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
            // A panic of that thread has been printed, and there is nothing left to do here.
            let _ = thread.join();
        }
    }
}

/// A random address that nobody was given by a manufacturer.
pub(crate) fn random_mac() -> MacAddr {
    use std::hash::{BuildHasher, RandomState};
    // Keyed anew for each value from the system's randomness; far from secret, and need not be.
    let random = RandomState::new().hash_one(());
    let [a, b, c, d, e, f, ..] = random.to_be_bytes();
    MacAddr::new([a & 0xfc | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_addresses_are_local_stations_and_differ() {
        let (one, other) = (random_mac(), random_mac());
        assert!(one.is_valid_unicast() && one.is_locally_administered());
        assert_ne!(one, other);
    }
}
