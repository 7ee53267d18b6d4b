//! Status and events of an engine.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::Duration;

use umacvlan_core::options::{PortKind, XdpMode};
use umacvlan_core::stats::WireStats;
use umacvlan_core::{
    KernelRelease, MacAddr, MacvlanSettings, Semantics, SwitchError, VlanPath, WorkerStats,
};
use umacvlan_netlink::Link;
use umacvlan_sys::bpf::Attachment;
use umacvlan_sys::ethtool::ReceiveOffloads;
use umacvlan_sys::netns::NetnsId;
use umacvlan_sys::port_socket::Program;

use super::{KnownParent, ProgramPort, SubId};
use umacvlan_datapath::worker::{Snapshot, WorkerConfig};

/// Something that happened without a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A parent has got or lost its carrier.
    Carrier {
        /// The parent.
        parent: String,
        /// True when it has one now.
        on: bool,
    },
    /// A sub-interface that was set down because its address was in use is up again.
    ConflictEnded {
        /// The number of the sub-interface.
        number: SubId,
        /// Its name.
        sub: String,
    },
    /// Links of a parent that share its address have other IP addresses than before.
    Neighbours {
        /// The parent.
        parent: String,
    },
    /// Events that tenants can repeat were left out, because too many were unread: anything about any
    /// sub-interface may have changed.
    LeftOut {
        /// How many.
        count: u64,
    },
    /// A parent was removed. Its sub-interfaces stay, without carrier.
    ParentGone {
        /// The parent.
        parent: String,
        /// Its interface was moved to another network namespace, as far as is known.
        moved: bool,
    },
    /// The interface of a removed parent has come back, or one with its name that may be it.
    ParentBack {
        /// The parent.
        parent: String,
    },
    /// The interface of a parent was renamed.
    ParentRenamed {
        /// The parent's name in requests, which stays.
        parent: String,
        /// Its former name.
        from: String,
        /// Its present name.
        to: String,
    },
    /// A change on the interface of a sub-interface is against the rules, and was reverted.
    Reverted {
        /// The number of the sub-interface.
        number: SubId,
        /// Its name.
        sub: String,
        /// The rule, and the change that was reverted.
        why: String,
    },
    /// The interface of a sub-interface was changed, and the engine has followed.
    SubChanged(Box<SubStatus>),
    /// A sub-interface is gone: deleted, or its namespace was.
    SubGone {
        /// The number of the sub-interface.
        number: SubId,
        /// Its name.
        sub: String,
    },
    /// Something failed that the engine does without a request.
    Trouble {
        /// The sub-interface that it is about, if it is about one.
        sub: Option<SubId>,
        /// What failed, and why.
        what: String,
    },
    /// Links of a parent use VLAN tags, and its interface was made to pass them.
    VlanFilter {
        /// The interface.
        parent: String,
        /// What was done.
        what: String,
    },
}

/// The packet sockets of a parent's interface.
#[derive(Debug)]
pub struct UplinkSockets {
    /// The index of the interface.
    pub index: u32,
    /// A number that these sockets have for themselves.
    pub number: NonZeroU64,
    /// One for each worker, and behind them the one with the parent's memberships. None if the owner has
    /// them.
    pub sockets: Vec<OwnedFd>,
}

/// The status of a sub-interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubStatus {
    /// Its number.
    pub number: SubId,
    /// The name of its interface, wherever that is now.
    pub name: String,
    /// The name of its parent in requests.
    pub parent: String,
    /// Its address.
    pub mac: MacAddr,
    /// Its macvlan settings. Its sources are in ascending order.
    pub settings: MacvlanSettings,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True when it is up and forwarding.
    pub up: bool,
    /// Why it cannot come up: its address is in use. `None` if it can, or is up.
    pub conflict: Option<SwitchError>,
    /// True if it was set down because its address was in use, and comes up when that is free.
    pub held: bool,
    /// The index of its interface in its namespace.
    pub index: u32,
    /// The id that the engine's namespace has for its namespace; `None` if they are the same.
    pub nsid: Option<i32>,
    /// Its namespace.
    pub netns: NetnsId,
    /// The cookie of that namespace, which no other namespace has until the next boot; `None` before
    /// Linux 5.14.
    pub netns_cookie: Option<u64>,
    /// The id that its namespace has for the engine's; `None` if they are the same, or if it could
    /// not be read.
    pub parent_nsid: Option<i32>,
    /// The most frames that its TAP may queue.
    pub txqlen_max: u32,
    /// Queues of its TAP that others have attached from inside its namespace.
    pub extra_queues: u32,
    /// True when its interface outlives the engine.
    pub kept: bool,
    /// What its interface is, and which way its frames go.
    pub port: PortStatus,
    /// It receives every multicast group.
    pub all_groups: bool,
    /// The multicast groups that it has joined, in order.
    pub groups: Vec<MacAddr>,
    /// The secondary unicast addresses that it has, in order: those that its stack has added.
    pub secondary: Vec<MacAddr>,
    /// The program at its far end; `None` if that is an interface. The index is 0 then.
    pub program: Option<ProgramStatus>,
    /// Frames that did not fit into its TX queue, before the engine could read them.
    pub queue_drops: u64,
    /// All attributes of its interface. The counters are the TAP's.
    pub link: Link,
}

/// What the interface of a sub-interface is, and which way its frames go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortStatus {
    /// A TAP or one end of a veth pair.
    pub kind: PortKind,
    /// What is beside a veth pair; `None` for a TAP.
    pub beside: Option<VethStatus>,
    /// Why it is a TAP although a veth pair was tried first, or why the engine forwards what a veth
    /// pair could leave to the kernel; empty if there is nothing to say.
    pub why: String,
    /// Frames from and to it that programs in the kernel have forwarded. They are among all its other
    /// counters.
    pub answered: u64,
}

/// What a sub-interface has in the engine's namespace that is one end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VethStatus {
    /// The index of the other end.
    pub host_end: u32,
    /// The index of the TAP for what the engine forwards.
    pub tap: u32,
    /// The cookie of that namespace.
    pub netns_cookie: u64,
}

/// The port of a sub-interface whose far end is a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStatus {
    /// Its socket or its interface.
    pub port: ProgramPort,
    /// The program that is connected by a socket.
    pub program: Option<Program>,
    /// The address of its own socket, if that is one for datagrams.
    pub peer: Option<String>,
    /// Connections since the socket was made.
    pub connections: u64,
    /// Why the last connection has ended; `None` while there is one, and before the first.
    pub ended: Option<String>,
    /// The index of its interface, while frames pass through one; else 0.
    pub interface: u32,
    /// What the program has agreed on, if it is connected by vhost-user.
    pub vhost: Option<VhostStatus>,
}

/// What a program that is connected by vhost-user has agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostStatus {
    /// The names of the features in use, as virtio has them.
    pub features: Vec<&'static str>,
    /// Bytes of its memory, in all regions.
    pub memory: u64,
    /// Regions of its memory.
    pub regions: usize,
    /// Its rings are served.
    pub running: bool,
}

/// The kind of sockets on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UplinkKind {
    /// None, because there is no interface.
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

/// The uplink of a parent, and why it is not a better one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// The kind of its sockets.
    pub kind: UplinkKind,
    /// Why the kinds that come first failed; empty if this is the first.
    pub why: String,
    /// No frame of full size has come through this uplink so far. AF_PACKET is never unproven.
    pub unproven: bool,
}

/// The status of a parent with its sub-interfaces and all counters.
#[derive(Clone, Debug, Default)]
pub struct ParentStatus {
    /// Its name in requests: that with which it was attached.
    pub handle: String,
    /// Its present name: that of its interface, with the tags behind it.
    pub name: String,
    /// Its interface, for the next engine; `None` if there was none yet.
    pub known: Option<KnownParent>,
    /// Why its workers do not run, or else why its interface may be, or is, another one than before;
    /// empty if there is nothing to say.
    pub notice: String,
    /// The interface that carries it: the parent itself, unless it is a VLAN.
    pub link: String,
    /// The tags of its frames there.
    pub vlan: VlanPath,
    /// The index of that interface, while it is there.
    pub index: Option<u32>,
    /// Its address.
    pub mac: MacAddr,
    /// The address that it gets back when a passthru sub-interface is removed.
    pub own_mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True if frames for every group come from it, because it is promiscuous or asked for all groups.
    pub all_groups: bool,
    /// True while that interface is there.
    pub present: bool,
    /// True while it has a carrier.
    pub carrier: bool,
    /// Its uplink.
    pub uplink: UplinkStatus,
    /// The receive offloads that are off on its NIC until the parent is detached.
    pub switched_off: ReceiveOffloads,
    /// The VLAN filter of its interface.
    pub vlan_filter: VlanFilterStatus,
    /// The rules where ip-link(8) and releases of the kernel differ.
    pub semantics: Semantics,
    /// The release of the kernel whose rules are followed.
    pub release: KernelRelease,
    /// Its workers, each of which serves some flows. All parents on an interface share them.
    pub workers: Vec<WorkerStatus>,
    /// The length of the broadcast queue, in frames: the longest that a sub-interface requests.
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
    /// The filter that hides from the host's stack the frames of sub-interfaces.
    pub host_filter: HostFilterStatus,
    /// The IP addresses of the sub-interfaces if they share its MAC address, in order.
    pub neighbours: Option<Vec<NeighbourStatus>>,
}

/// An IP address of a sub-interface that shares the MAC address of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// The sub-interface.
    pub sub: SubId,
    /// The IP address.
    pub address: IpAddr,
    /// The address from which the sub-interface sends.
    pub mac: MacAddr,
    /// The time since it has sent from there.
    pub idle: Duration,
}

/// The state of the VLAN filter of an interface (`rx-vlan-filter`), which drops tagged frames whose
/// VLAN no device of the kernel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VlanFilterStatus {
    /// There is no filter, or it was off.
    Passes,
    /// It cannot be switched off, so the interface is promiscuous while links are up.
    Promiscuous,
    /// It was on and is off until the parent is detached.
    SwitchedOff,
    /// No link has sent tags, so it is as it was.
    #[default]
    Untouched,
}

/// The state of the filter that hides from a host's stack the frames that a macvlan in the kernel
/// would have consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostFilterStatus {
    /// There is no sub-interface, or the parent is absent: nothing has to be hidden.
    #[default]
    Idle,
    /// A program at the parent's tc ingress.
    On(Attachment),
    /// No filter, for this reason: the host gets more frames than with the kernel's macvlan.
    Off(String),
}

/// One worker of a parent, with its share of the parent's counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerStatus {
    /// Its configuration, as requested.
    pub config: WorkerConfig,
    /// Frames from the wire and to it.
    pub wire: WireStats,
    /// Its turns, and the time in them.
    pub turns: WorkerStats,
}
