//! What the owner of an engine asks for: plain data.

use std::fmt;

use umacvlan_core::options::Backend;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Semantics, VlanPath};
use umacvlan_sys::netns::Netns;

use crate::datapath::worker::{OnWorker, WorkerConfig};

/// How an engine is to run.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Run on the thread of each worker when all is set up and before its first turn, to confine
    /// it: from then on a worker needs no capability and only the system calls of
    /// [`SYSTEM_CALLS`](crate::datapath::worker::SYSTEM_CALLS).
    pub on_worker: Option<OnWorker>,
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions").field("on_worker", &self.on_worker.is_some()).finish()
    }
}

/// A parent to be attached.
#[derive(Clone, Debug, Default)]
pub struct ParentOptions {
    /// Its name.
    pub name: String,
    /// How its workers run: one for each, at most [`WORKERS_MAX`]. None stands for those that its
    /// interface has already, or for one that runs as by default. If there are some already they
    /// must be so, but for a CPU that is left open here.
    pub workers: Vec<WorkerConfig>,
    /// By which kind of sockets its wire is to be reached. [`Backend::Auto`] takes the one that
    /// there is already.
    pub backend: Backend,
    /// Whose promise about private sub-interfaces is kept.
    pub semantics: Semantics,
    /// The address to give back to it after a passthru sub-interface, if an engine before this one
    /// has changed it; else the one it has.
    pub own_mac: Option<MacAddr>,
    /// Leave to the host's stack what a macvlan in the kernel would have taken from it, even where
    /// a filter can hide that.
    pub host_hears_all: bool,
    /// What it was last, if it may be absent or unsuitable now: its sub-interfaces are without
    /// carrier until it comes. `None` if it has to be there.
    pub absent: Option<AbsentParent>,
}

/// What is below a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentBinding {
    /// The interface that carries it, if that is there.
    pub link: String,
    /// The tags of its frames there.
    pub vlan: VlanPath,
    /// How the workers run that some parent on that interface has brought already; none if there
    /// is no such parent.
    pub workers: Vec<WorkerConfig>,
}

/// What a parent was that may be absent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsentParent {
    /// Its address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// What tells one sub-interface of an engine from another, for life: through renaming and moving,
/// and never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u64);

impl fmt::Display for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sub-interface to be made.
#[derive(Debug, Default)]
pub struct SubOptions {
    /// Its number, or `None` for the next one that is free.
    pub number: Option<SubId>,
    /// The name of its interface, which must be free in its namespace.
    pub name: String,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
    /// Its address, or `None` for a random local one. Passthru takes the parent's.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes, or `None` for the parent's.
    pub mtu: Option<u32>,
    /// The namespace it is made for, or `None` for the engine's own.
    pub netns: Option<Netns>,
    /// It receives every multicast group, and its parent every frame.
    pub promisc: bool,
    /// It receives every multicast group.
    pub allmulti: bool,
    /// Text for people.
    pub alias: Option<String>,
    /// The length of its TX queue in frames, or `None` for 4096.
    pub txqlen: Option<u32>,
    /// Set it up at once.
    pub up: bool,
}

/// A sub-interface of an earlier engine, whose interface was [kept](super::Engine::keep_sub).
/// Address, MTU, state and groups are those of the interface; the rest only the owner knows.
#[derive(Debug)]
pub struct Adopt {
    /// The namespace in which its interface is.
    pub netns: Netns,
    /// The index of its interface there.
    pub index: u32,
    /// Its number, or `None` for the next one that is free.
    pub number: Option<SubId>,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
}

/// A change of the macvlan settings of a sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubChange {
    /// Add an address to the source list.
    AddSource(MacAddr),
    /// The port-wide `bclim`.
    BcCutoff(i32),
    /// The requested length of the broadcast queue in frames.
    BcQueueLen(u32),
    /// A flag, on or off.
    Flag(MacvlanFlag, bool),
    /// The mode.
    Mode(Mode),
    /// Remove an address from the source list.
    RemoveSource(MacAddr),
    /// Replace the source list.
    Sources(Vec<MacAddr>),
}

/// A change to the interface of a sub-interface, wherever that is. Anybody may make it there, and
/// the engine follows; made here it is refused beforehand when the rules forbid it.
#[derive(Debug)]
pub enum LinkAttribute {
    /// Text for people; empty for none.
    Alias(String),
    /// It listens to every group, or not.
    Allmulti(bool),
    /// The address. That of a passthru sub-interface is the parent's, too.
    Mac(MacAddr),
    /// The MTU in bytes.
    Mtu(u32),
    /// The name.
    Name(String),
    /// The namespace. It arrives down, and with the name of a [`LinkAttribute::Name`] that follows.
    Netns(Netns),
    /// It is given every frame of its siblings' groups, and its parent every frame; or not.
    Promisc(bool),
    /// Frames that may wait for the engine.
    TxQueueLen(u32),
    /// Up or down.
    Up(bool),
}
