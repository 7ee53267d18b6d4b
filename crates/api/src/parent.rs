//! [`ParentView`]: all that is known about a parent.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

use super::counters::{Amount, SubCounters, WireCounters, WorkerCounters};

/// A parent and its workers.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ParentView {
    /// Name of the parent.
    pub name: String,
    /// Interface that carries the parent, if the parent is a VLAN without an interface of its own.
    pub link: Option<String>,
    /// VLAN of the parent on `link`: its number, and after a dot that of the inner VLAN.
    pub vlan: Option<String>,
    /// Index of the parent's interface, or of `link`; absent while there is no such interface.
    pub ifindex: Option<u32>,
    /// MAC address.
    pub address: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether frames for every group come from the interface, because it is promiscuous or asked for
    /// all groups; absent from daemons that did not tell.
    pub all_groups: Option<bool>,
    /// Whether the parent's interface exists.
    pub present: bool,
    /// Why the parent's interface may be, or is, another one than before.
    pub notice: Option<String>,
    /// Whether the parent has a carrier.
    pub carrier: bool,
    /// Uplink backend: `af-packet`, `af-xdp`, or `none` while the parent is absent.
    pub backend: String,
    /// AF_XDP mode: `zero-copy`, `native` or `generic`; absent for other backends.
    pub xdp: Option<String>,
    /// Why no faster backend is in use; absent if there was no choice.
    pub backend_why: Option<String>,
    /// True until a frame of full size has come through an AF_XDP uplink; absent for other backends.
    pub unproven: Option<bool>,
    /// BPF filter that hides from the host the frames that a macvlan of the kernel would take from
    /// it: `tcx`, `clsact`, `idle` while there is nothing to hide, or `none`.
    pub host_filter: String,
    /// Why there is no host filter.
    pub host_filter_missing: Option<String>,
    /// VLAN filter of the interface (`rx-vlan-filter`), once links use tags: `off` if it was switched
    /// off, `promiscuous` if it cannot be, so that the interface is promiscuous; else absent.
    pub vlan_filter: Option<String>,
    /// Whose rules apply where they differ: `documented`, `kernel`, `kernel-6.18` or `kernel-7.3`.
    pub semantics: String,
    /// Whether links send with the parent's MAC address and share it with the host (MAC-NAT).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub macnat: bool,
    /// IP addresses of links with `macnat`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourView>,
    /// The release of the kernel whose rules are followed; absent from daemons that knew one only.
    pub release: Option<String>,
    /// How workers wait for frames: `adaptive`, `busy` or `interrupt`.
    pub poll: String,
    /// CPU that the first worker is pinned to.
    pub cpu: Option<u32>,
    /// How TAPs are read and written: `uring` or `plain`.
    pub io: String,
    /// Whether the configuration has this parent; otherwise it is detached with its last link.
    pub configured: bool,
    /// Number of links.
    pub links: usize,
    /// Length of the broadcast queue in use, in frames: the largest request of a link.
    pub usedbcqueuelen: u32,
    /// Broadcast limit: a multicast address with more than this many receivers uses the broadcast
    /// queue.
    pub bclim: i32,
    /// Counters of the uplink.
    pub wire: WireCounters,
    /// Sum of the counters of removed links.
    pub removed: SubCounters,
    /// Sum of the counters of all workers.
    pub worker: WorkerCounters,
    /// The workers.
    #[serde(default)]
    pub workers: Vec<WorkerView>,
}

/// An IP address of a link that shares the parent's MAC address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct NeighbourView {
    /// The IP address.
    pub address: String,
    /// Number of the link.
    pub link: u64,
    /// Name of its interface.
    pub ifname: String,
    /// MAC address from which the link sends.
    pub lladdr: String,
    /// Seconds since the link has sent from there.
    pub idle: u64,
}

/// One worker of a parent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerView {
    /// CPU that the worker is pinned to.
    pub cpu: Option<u32>,
    /// Frames received from the wire.
    pub received: Amount,
    /// Frames sent to the wire.
    pub sent: Amount,
    /// Counters of the worker.
    pub time: WorkerCounters,
}
