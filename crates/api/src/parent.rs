//! [`ParentView`]: a parent as it is shown.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

use super::counters::{Amount, SubCounters, WireCounters, WorkerCounters};

/// Everything about a parent and the workers that serve it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ParentView {
    pub name: String,
    /// The interface that carries it, if it is a VLAN without an interface of its own.
    pub link: Option<String>,
    /// The VLAN that it is there: its number, and after a dot that of the one inside.
    pub vlan: Option<String>,
    /// The index of its interface, or of the one that carries it; absent while there is no interface
    /// of that name.
    pub ifindex: Option<u32>,
    pub address: String,
    pub mtu: u32,
    pub present: bool,
    pub carrier: bool,
    /// What carries its frames: `af-packet`, `af-xdp`, or `none` while it is absent.
    pub backend: String,
    /// How AF_XDP gets at them: `zero-copy`, `native` or `generic`.
    pub xdp: Option<String>,
    /// Why nothing better carries them, where there was a choice.
    pub backend_why: Option<String>,
    /// What hides from the host what a macvlan in the kernel would have taken from it: `tcx`,
    /// `clsact`, `idle` while there is nothing to hide, or `none`.
    pub host_filter: String,
    /// Why there is none.
    pub host_filter_missing: Option<String>,
    /// `documented` or `kernel`.
    pub semantics: String,
    /// How its worker waits.
    pub poll: String,
    /// The CPU that its first worker is pinned to.
    pub cpu: Option<u32>,
    /// How TAPs are read and written: `uring` or `plain`.
    pub io: String,
    /// True when the configuration has it; else it is there for its links only.
    pub configured: bool,
    /// How many links it has.
    pub links: usize,
    /// The broadcast queue in use, in frames: the longest that a link asks for.
    pub usedbcqueuelen: u32,
    pub bclim: i32,
    /// What came from the wire and went to it.
    pub wire: WireCounters,
    /// The sum over links that are gone.
    pub removed: SubCounters,
    /// What its workers do with their time, all of them together.
    pub worker: WorkerCounters,
    /// Its workers, each with the flows that are its own.
    #[serde(default)]
    pub workers: Vec<WorkerView>,
}

/// One of the workers of a parent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerView {
    /// The CPU that it is pinned to.
    pub cpu: Option<u32>,
    /// What it got from the wire.
    pub received: Amount,
    /// What it sent there.
    pub sent: Amount,
    /// What it does with its time.
    pub time: WorkerCounters,
}
