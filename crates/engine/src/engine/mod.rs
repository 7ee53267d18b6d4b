//! [`Engine`]: parents, their workers, and the thread that looks after both.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::{MacAddr, Mode, Semantics};

use crate::control::Control;
use crate::error::Error;
use crate::sys::eventfd::EventFd;
use crate::sys::netns::Netns;
use crate::worker::{Snapshot, Stopped, WorkerConfig};

/// A parent to be attached.
#[derive(Clone, Debug, Default)]
pub struct ParentOptions {
    /// Its name.
    pub name: String,
    /// How its worker runs.
    pub worker: WorkerConfig,
    /// Whose promise about private sub-interfaces is kept.
    pub semantics: Semantics,
}

/// A sub-interface to be made.
#[derive(Debug, Default)]
pub struct SubOptions {
    /// The name of its interface.
    pub name: String,
    /// Its address, or `None` for a random local one. Passthru takes the parent's.
    pub mac: Option<MacAddr>,
    /// Its mode.
    pub mode: Mode,
    /// Its MTU in bytes, or `None` for the parent's.
    pub mtu: Option<u32>,
    /// The namespace it is made for, or `None` for the engine's own.
    pub netns: Option<Netns>,
    /// Frames from a station on its source list go to source sub-interfaces and nowhere else.
    pub nodst: bool,
    /// Passthru: leave the parent's promiscuous setting alone.
    pub nopromisc: bool,
    /// Requested length of the broadcast queue in frames, or `None` for the kernel's 1000.
    pub bc_queue_len: Option<u32>,
    /// Source mode: the stations it hears.
    pub sources: Vec<MacAddr>,
    /// Set it up at once.
    pub up: bool,
}

/// A change that the owner of the engine makes to a sub-interface. What can be changed on the
/// interface itself (address, MTU, up or down, groups) is changed there, and followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add a station to the source list.
    AddSource(MacAddr),
    /// The port-wide `bclim`.
    BcCutoff(i32),
    /// The requested length of the broadcast queue in frames.
    BcQueueLen(u32),
    /// The mode.
    Mode(Mode),
    /// `nodst` on or off.
    Nodst(bool),
    /// `nopromisc` on or off.
    Nopromisc(bool),
    /// Take a station off the source list.
    RemoveSource(MacAddr),
    /// Replace the source list.
    Sources(Vec<MacAddr>),
}

/// Something that happened without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A parent has got or lost its carrier.
    Carrier {
        /// The parent.
        parent: String,
        /// True when it has one now.
        on: bool,
    },
    /// A parent was removed. Its sub-interfaces stay, without carrier.
    ParentGone {
        /// The parent.
        parent: String,
    },
    /// An interface with the name of a removed parent has come, and taken its place.
    ParentBack {
        /// The parent.
        parent: String,
    },
    /// What was done on a sub-interface's interface is against the rules, and was undone.
    Reverted {
        /// The sub-interface.
        sub: String,
        /// The rule, and what was undone.
        why: String,
    },
    /// A sub-interface was changed on its interface, and the engine follows.
    SubChanged(SubStatus),
    /// A sub-interface is gone: deleted, or its namespace was.
    SubGone {
        /// The sub-interface.
        sub: String,
    },
    /// The engine could not do something by itself that it should have done.
    Trouble {
        /// What, and why.
        what: String,
    },
}

/// A sub-interface as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubStatus {
    /// The name of its interface, wherever that is now.
    pub name: String,
    /// Its parent.
    pub parent: String,
    /// Its address.
    pub mac: MacAddr,
    /// Its mode.
    pub mode: Mode,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True when it is up and forwarding.
    pub up: bool,
    /// The index of its interface in its namespace.
    pub index: u32,
    /// The id of its namespace as the engine's own knows it; `None`: it is the engine's own.
    pub nsid: Option<i32>,
    /// The groups it listens to: all of them.
    pub all_groups: bool,
    /// The groups it listens to, in order.
    pub groups: Vec<MacAddr>,
    /// The stations it hears in source mode, in order.
    pub sources: Vec<MacAddr>,
    /// Frames that its own kernel queue had no room for, before the engine could read them.
    pub queue_drops: u64,
}

/// A parent and all of its sub-interfaces, with their counters.
#[derive(Clone, Debug)]
pub struct ParentStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True while an interface of that name is there.
    pub present: bool,
    /// True while it has a carrier.
    pub carrier: bool,
    /// The sub-interfaces, each at the place of its counters in [`Snapshot::subs`].
    pub subs: Vec<SubStatus>,
    /// All counters of the worker.
    pub counters: Snapshot,
    /// Frames from the wire that the uplink's ring had no slot for.
    pub ring_drops: u64,
}

/// Something to be done by the control thread.
pub(crate) type Request = Box<dyn FnOnce(&mut Control) + Send>;

/// Parents, their sub-interfaces, and the threads that serve them. Everything ends with this value.
///
/// # Threads
/// One thread controls: it does what is asked here, and follows what users do to their
/// interfaces. One more thread a parent forwards. Any thread may ask.
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
        let (requests, inbox) = unbounded();
        let (outbox, events) = unbounded();
        let bell = Arc::new(EventFd::new().map_err(Error::system("make an event"))?);
        let mut control = Control::new(inbox, Arc::clone(&bell), outbox)?;
        let thread = std::thread::Builder::new()
            .name("umacvlan".to_owned())
            .spawn(move || control.run())
            .map_err(Error::system("start the control thread"))?;
        Ok(Self { requests, bell, events, thread: Some(thread) })
    }

    /// Attaches a parent.
    ///
    /// # Errors
    /// It does not exist, is not Ethernet, belongs to a bridge or bond, or is attached already;
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

    /// Makes a sub-interface.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, its name is in use, or the kernel refuses a TAP.
    pub fn add_sub(&self, parent: &str, options: SubOptions) -> Result<SubStatus, Error> {
        let parent = parent.to_owned();
        self.ask(move |control| control.add_sub(&parent, options))?
    }

    /// Removes a sub-interface.
    ///
    /// # Errors
    /// There is no such sub-interface.
    pub fn remove_sub(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |control| control.remove_sub(&name))?
    }

    /// Changes a sub-interface.
    ///
    /// # Errors
    /// The rules of macvlan forbid it, or there is no such sub-interface.
    pub fn change_sub(&self, name: &str, change: Change) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(move |control| control.change_sub(&name, change))?
    }

    /// All parents with their sub-interfaces and counters, at this moment.
    ///
    /// # Errors
    /// The engine has stopped.
    pub fn status(&self) -> Result<Vec<ParentStatus>, Error> {
        self.ask(Control::status)
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
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(ask(control));
        });
        self.requests.send(request).map_err(|_| Stopped)?;
        self.bell.wake();
        answer.recv().map_err(|_| Error::Stopped)
    }
}

impl Drop for Engine {
    /// Removes every sub-interface, leaves every parent as it was, and waits for the threads.
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
        assert!(one.is_station() && one.is_local());
        assert_ne!(one, other);
    }
}
