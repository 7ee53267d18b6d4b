//! Requests of the owner of an engine, as plain data.

use std::fmt;
use std::path::{Path, PathBuf};

use umacvlan_core::limit::Limits;
use umacvlan_core::options::{Backend, PortKind, ProgramKind};
use umacvlan_core::rules::Rules;
use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Semantics, VlanPath};
use umacvlan_sys::netns::{Netns, NetnsId};
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_sys::tap::Tap;

use super::NeighbourStatus;
use crate::control::{DeviceId, InterfaceIdentity};
use umacvlan_datapath::worker::{OnWorker, WorkerConfig};

/// Options of an engine.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// Runs on the thread of each worker before its first turn, to confine it: from then on a worker
    /// needs no capability and only the system calls of
    /// [`SYSTEM_CALLS`](umacvlan_datapath::worker::SYSTEM_CALLS).
    pub on_worker: Option<OnWorker>,
    /// A directory of a BPF file system where the programs that forward for veth pairs are pinned: with
    /// it these sub-interfaces can be [kept](super::Engine::keep_sub), and the kernel forwards for them
    /// while no engine runs. It belongs to the engines of one owner in this namespace, one at a time.
    /// Those programs answer as they did until [`Engine::end_takeover`](super::Engine::end_takeover).
    pub pins: Option<PathBuf>,
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on_worker, pins } = self;
        let mut shown = f.debug_struct("EngineOptions");
        shown.field("on_worker", &on_worker.is_some()).field("pins", pins).finish()
    }
}

/// A parent to be attached.
#[derive(Clone, Debug, Default)]
pub struct ParentOptions {
    /// Its name: that of an interface, or of a VLAN of one. Later requests mean the parent by this
    /// name also after the interface was renamed.
    pub name: String,
    /// The name of its interface or VLAN, if that is another one than `name`, which then is only the
    /// parent's name in requests.
    pub interface: Option<String>,
    /// Its interface in an earlier engine. That interface is attached, whatever its
    /// name is; `None` for the interface that has the name now.
    pub known: Option<KnownParent>,
    /// One configuration for each worker, at most [`WORKERS_MAX`]. Empty means the workers that its
    /// interface has already, or one with the defaults. Workers that exist must have the same
    /// configurations, except that a CPU may be left open here.
    ///
    /// [`WORKERS_MAX`]: umacvlan_core::options::WORKERS_MAX
    pub workers: Vec<WorkerConfig>,
    /// The kind of sockets on its wire. [`Backend::Auto`] takes the kind that its interface has
    /// already.
    pub backend: Backend,
    /// The rules where ip-link(8) and releases of the kernel differ.
    pub semantics: Semantics,
    /// The address that it gets back after a passthru sub-interface, if an earlier engine has
    /// changed it; else the one it has.
    pub own_mac: Option<MacAddr>,
    /// Give the host's stack also the frames that a macvlan in the kernel would have consumed, even
    /// where a filter can hide them.
    pub host_gets_all: bool,
    /// Its links send with its own MAC address, and share it with the host (MAC-NAT).
    pub macnat: bool,
    /// The IP addresses that its links had in an earlier engine, by the numbers that they get again.
    pub neighbours: Vec<NeighbourStatus>,
    /// Links of it have sent VLAN tags in an earlier engine, so its interface has to pass them.
    pub tags: bool,
    /// Its last known properties, if it may be absent or unsuitable now: its sub-interfaces have no
    /// carrier until it comes. `None` if it must be present.
    pub absent: Option<AbsentParent>,
}

/// A parent that an earlier engine had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownParent {
    /// The last name of the interface that carries it.
    pub link: String,
    /// The tags of its frames there.
    pub vlan: VlanPath,
    /// That interface.
    pub identity: InterfaceIdentity,
    /// The highest index of any interface there when it was attached.
    pub newest: u32,
}

/// The interface and the VLAN that the name of a parent stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentBinding {
    /// The name of the interface that carries it, present or not.
    pub link: String,
    /// The tags of its frames there.
    pub vlan: VlanPath,
    /// The name in requests of the parent that is attached there, if there is one.
    pub parent: Option<String>,
    /// The configurations of the workers on that interface; empty if no parent is there yet.
    pub workers: Vec<WorkerConfig>,
    pub(crate) device: Option<DeviceId>,
}

/// The last known properties of a parent that may be absent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsentParent {
    /// Its address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// The number of a sub-interface, unique within its engine. It stays the same through renaming and
/// moving, and is never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u64);

impl fmt::Display for SubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The port of a sub-interface whose far end is a program: there is no interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramPort {
    /// How its frames come and go.
    pub kind: ProgramKind,
    /// Where it and the engine meet.
    pub place: ProgramPlace,
    /// Who may connect there, or open the TAP; of no meaning where that is the program's.
    pub owner: SocketOwner,
}

/// Where a program and the engine meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramPlace {
    /// The program listens at this Unix stream socket, and the engine connects.
    Connect(PathBuf),
    /// An interface in the engine's namespace that the program has open.
    Interface {
        /// Its name.
        name: String,
        /// What an earlier engine has found and made there: it may be absent now. `None` for a new port.
        former: Option<FormerInterface>,
    },
    /// The engine has a Unix socket there, and the program connects to it, or sends to it.
    Listen(PathBuf),
}

impl ProgramPlace {
    /// The path of the socket; `None` if it is an interface.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Connect(path) | Self::Listen(path) => Some(path),
            Self::Interface { .. } => None,
        }
    }

    /// The name of the interface, if it is one.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Interface { name, .. } => Some(name),
            Self::Connect(_) | Self::Listen(_) => None,
        }
    }
}

/// How an engine has found the interface of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormerInterface {
    /// It was down, and is set down again in the end.
    pub was_down: bool,
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
    /// What its interface is.
    pub port: PortKind,
    /// Its far end is a program; `None`: an interface.
    pub program: Option<ProgramPort>,
    /// Set it up at once.
    pub up: bool,
    /// Refuse an address that the parent, a sub-interface that is up, or another one that claims it
    /// has. For owners that set it up later, where no rule of macvlan is checked.
    pub claims_mac: bool,
}

/// The interface of a sub-interface of an earlier engine.
#[derive(Debug)]
pub enum KeptTap {
    /// The place of one that was [kept](super::Engine::keep_sub). The engine attaches to it with
    /// queues that it opens there, and that keep this namespace alive.
    Place {
        /// The namespace in which it is.
        netns: Netns,
        /// Its index there.
        index: u32,
    },
    /// Its queues in their order, of which there is at least one, from [`Engine::queues`]. It may be
    /// anywhere.
    ///
    /// [`Engine::queues`]: super::Engine::queues
    Queues(Vec<Tap>),
}

/// The veth pair of a sub-interface of an earlier engine, whose [`KeptTap`] is the TAP beside it.
#[derive(Clone, Copy, Debug)]
pub struct KeptVeth {
    /// The index of its host end, in the engine's own namespace.
    pub host_end: u32,
    /// The index that its interface had, and its address: they are proof if no program is pinned there.
    pub index: u32,
    /// Its address.
    pub mac: MacAddr,
}

/// A sub-interface of an earlier engine. Address, MTU, state and groups are those of the interface;
/// the rest only the owner knows.
#[derive(Debug)]
pub struct Adopt {
    /// Its interface, or the TAP beside it.
    pub tap: KeptTap,
    /// The pair of which its interface is one end; `None` if its interface is the TAP.
    pub veth: Option<KeptVeth>,
    /// The namespace in which it was, with its cookie. If it is there still, the engine need not ask.
    pub netns: Option<(NetnsId, u64)>,
    /// Its number, or `None` for the next one that is free.
    pub number: Option<SubId>,
    /// Its macvlan settings.
    pub settings: MacvlanSettings,
    /// The most frames that its TAP may queue; `None` is the default.
    pub txqlen_max: Option<u32>,
    /// The groups that it had joined, in order, which hold until they are read again. `None` if they are
    /// not known: it gets the frames of every group meanwhile.
    pub groups: Option<Vec<MacAddr>>,
    /// As [`SubOptions::claims_mac`].
    pub claims_mac: bool,
    /// It was set down because its address was in use: it is set up when that is free.
    pub held: bool,
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
    /// How much it sends and receives at most, all limits at once.
    Limits(Limits),
    /// What it exchanges frames with, and from where it sends, all rules at once.
    Rules(Rules),
    /// The mode.
    Mode(Mode),
    /// Remove an address from the source list.
    RemoveSource(MacAddr),
    /// Replace the source list.
    Sources(Vec<MacAddr>),
}

impl SubChange {
    /// The limits that it sets.
    pub(crate) const fn limits(&self) -> Option<Limits> {
        match self {
            Self::Limits(limits) => Some(*limits),
            _ => None,
        }
    }
}

/// A new value for one attribute of the interface of a sub-interface, in whatever namespace that is.
/// Users may set it there, and the engine follows; the engine refuses beforehand what the rules
/// forbid.
#[derive(Debug)]
pub enum LinkAttribute {
    /// Text for people; empty for none.
    Alias(String),
    /// It receives every multicast group, or not.
    Allmulti(bool),
    /// The address. A passthru sub-interface gives it to the parent, too.
    Mac(MacAddr),
    /// The MTU in bytes.
    Mtu(u32),
    /// The name.
    Name(String),
    /// The namespace. It arrives down, and with the name of a [`LinkAttribute::Name`] that follows.
    Netns(Netns),
    /// It receives every multicast group, and its parent every frame; or not.
    Promisc(bool),
    /// The length of its TX queue in frames.
    TxQueueLen(u32),
    /// Up or down.
    Up(bool),
}
