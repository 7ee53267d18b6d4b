//! What an engine tells, asked and unasked.

use std::fmt;
use umacvlan_core::WorkerStats;
use umacvlan_core::options::XdpMode;

use umacvlan_core::stats::WireStats;
use umacvlan_core::{MacAddr, MacvlanSettings, Semantics, VlanPath};
use umacvlan_netlink::Link;
use umacvlan_sys::bpf::Attachment;
use umacvlan_sys::ethtool::ReceiveOffloads;
use umacvlan_sys::netns::NetnsId;

use super::SubId;
use crate::datapath::worker::{Snapshot, WorkerConfig};

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
        /// The number of the sub-interface.
        number: SubId,
        /// Its name.
        sub: String,
        /// The rule, and what was undone.
        why: String,
    },
    /// A sub-interface was changed on its interface, and the engine follows.
    SubChanged(Box<SubStatus>),
    /// A sub-interface is gone: deleted, or its namespace was.
    SubGone {
        /// The number of the sub-interface.
        number: SubId,
        /// Its name.
        sub: String,
    },
    /// The engine could not do something by itself that it should have done.
    Trouble {
        /// What, and why.
        what: String,
    },
}

/// A sub-interface as the engine knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubStatus {
    /// Its number.
    pub number: SubId,
    /// The name of its interface, wherever that is now.
    pub name: String,
    /// Its parent.
    pub parent: String,
    /// Its address.
    pub mac: MacAddr,
    /// Its macvlan settings. Its sources are in ascending order.
    pub settings: MacvlanSettings,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True when it is up and forwarding.
    pub up: bool,
    /// The index of its interface in its namespace.
    pub index: u32,
    /// The id of its namespace as the engine's own knows it; `None`: it is the engine's own.
    pub nsid: Option<i32>,
    /// Its namespace.
    pub netns: NetnsId,
    /// The id of the engine's namespace as its own knows it; `None`: it is the engine's own, or
    /// could not be asked.
    pub parent_nsid: Option<i32>,
    /// True when its interface outlives the engine.
    pub kept: bool,
    /// The groups it listens to: all of them.
    pub all_groups: bool,
    /// The groups it listens to, in order.
    pub groups: Vec<MacAddr>,
    /// Frames that its own kernel queue had no room for, before the engine could read them.
    pub queue_drops: u64,
    /// Everything that the kernel tells about its interface. The counters are the TAP's.
    pub link: Link,
}

/// By which kind of sockets a wire is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UplinkKind {
    /// None: there is no interface.
    #[default]
    None,
    /// AF_PACKET.
    AfPacket,
    /// AF_XDP, in this mode.
    AfXdp(XdpMode),
}

impl fmt::Display for UplinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::AfPacket => "af-packet",
            Self::AfXdp(_) => "af-xdp",
        })
    }
}

/// How a wire is reached, and why not better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// By what.
    pub kind: UplinkKind,
    /// Why not by what would have been tried first; empty if that is what it is.
    pub why: String,
}

/// A parent and all of its sub-interfaces, with their counters.
#[derive(Clone, Debug, Default)]
pub struct ParentStatus {
    /// Its name.
    pub name: String,
    /// The interface that carries it, which is itself unless it is a VLAN.
    pub link: String,
    /// The tags of its frames there.
    pub vlan: VlanPath,
    /// The index of that interface, while it is there.
    pub index: Option<u32>,
    /// Its address.
    pub mac: MacAddr,
    /// The address that it has again when a passthru sub-interface goes.
    pub own_mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True while that interface is there.
    pub present: bool,
    /// True while it has a carrier.
    pub carrier: bool,
    /// How its wire is reached.
    pub uplink: UplinkStatus,
    /// What its NIC does no longer to received frames, until the parent is let go.
    pub switched_off: ReceiveOffloads,
    /// Whose promise about private sub-interfaces is kept.
    pub semantics: Semantics,
    /// Its workers, each with the flows that are its own. All parents on an interface share them.
    pub workers: Vec<WorkerStatus>,
    /// The broadcast queue in use, in frames: the longest that a sub-interface asks for.
    pub bc_queue_used: u32,
    /// The port-wide `bclim`.
    pub bc_cutoff: i32,
    /// The sub-interfaces, each at the place of its counters in [`Snapshot::subs`].
    pub subs: Vec<SubStatus>,
    /// All counters, summed over the workers.
    pub counters: Snapshot,
    /// Frames from the wire that the rings of the uplink had no slot for, whichever of the parents
    /// on the interface they were for.
    pub ring_drops: u64,
    /// What hides from the host's stack the frames that are not its own.
    pub host_filter: HostFilterStatus,
}

/// What hides from a host's stack what a macvlan in the kernel would have taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostFilterStatus {
    /// There is no sub-interface, or the parent is away: nothing has to be hidden.
    #[default]
    Idle,
    /// A program at the parent's tc ingress.
    On(Attachment),
    /// Nothing, and why: the host hears more than with the kernel's macvlan.
    Off(String),
}

/// One worker of a parent, and what of the parent's counters is its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerStatus {
    /// How it was asked to run.
    pub config: WorkerConfig,
    /// What it got from the wire and sent there.
    pub wire: WireStats,
    /// What it did with its time.
    pub turns: WorkerStats,
}
