//! [`LinkView`]: a link as it is shown.

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use utoipa::ToSchema;

use super::counters::SubCounters;

/// Everything about a link: the object of `ip -j -d -s -s link show` for a macvlan, and ours.
/// Clients leave out what was not asked for.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct LinkView {
    pub(crate) ifindex: u32,
    /// The parent's name.
    pub(crate) link: Option<String>,
    pub(crate) ifname: String,
    pub(crate) flags: Vec<String>,
    pub(crate) mtu: u32,
    pub(crate) qdisc: Option<String>,
    pub(crate) operstate: String,
    pub(crate) linkmode: String,
    pub(crate) group: String,
    pub(crate) txqlen: u32,
    pub(crate) link_type: String,
    pub(crate) address: Option<String>,
    pub(crate) broadcast: Option<String>,
    pub(crate) promiscuity: u32,
    pub(crate) allmulti: Option<u32>,
    pub(crate) min_mtu: u32,
    pub(crate) max_mtu: u32,
    pub(crate) linkinfo: LinkInfo,
    pub(crate) inet6_addr_gen_mode: Option<String>,
    pub(crate) num_tx_queues: Option<u32>,
    pub(crate) num_rx_queues: Option<u32>,
    pub(crate) gso_max_size: Option<u32>,
    pub(crate) gso_max_segs: Option<u32>,
    pub(crate) tso_max_size: Option<u32>,
    pub(crate) tso_max_segs: Option<u32>,
    pub(crate) gro_max_size: Option<u32>,
    pub(crate) ifalias: Option<String>,
    pub(crate) stats64: Stats,
    pub(crate) umacvlan: Own,
}

/// `macvlan`, and what belongs to it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct LinkInfo {
    pub(crate) info_kind: String,
    pub(crate) info_data: InfoData,
}

/// As iproute2 6.4 and later show it; what does not apply is absent.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct InfoData {
    pub(crate) mode: String,
    /// `true`, or absent.
    pub(crate) nopromisc: Option<bool>,
    /// `true`, or absent.
    pub(crate) nodst: Option<bool>,
    pub(crate) bcqueuelen: u32,
    pub(crate) usedbcqueuelen: u32,
    /// Absent when 1, the default.
    pub(crate) bclim: Option<i32>,
    /// Source mode only, also when 0.
    pub(crate) macaddr_count: Option<u32>,
    /// Absent when empty.
    pub(crate) macaddr_data: Option<Vec<String>>,
}

/// Counters as the kernel's macvlan has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct Stats {
    pub(crate) rx: RxStats,
    pub(crate) tx: TxStats,
}

/// What came to the link.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct RxStats {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
    pub(crate) over_errors: u64,
    pub(crate) multicast: u64,
    pub(crate) length_errors: u64,
    pub(crate) crc_errors: u64,
    pub(crate) frame_errors: u64,
    pub(crate) fifo_errors: u64,
    pub(crate) missed_errors: u64,
    /// Absent when 0.
    pub(crate) nohandler: Option<u64>,
}

/// What the link sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct TxStats {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
    pub(crate) carrier_errors: u64,
    pub(crate) collisions: u64,
    pub(crate) aborted_errors: u64,
    pub(crate) fifo_errors: u64,
    pub(crate) window_errors: u64,
    pub(crate) heartbeat_errors: u64,
    pub(crate) carrier_changes: u64,
}

/// What only umacvlan knows of a link.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct Own {
    /// Its number for life, through renaming, moving and restarts of the daemon.
    pub(crate) id: u64,
    /// The parent's name.
    pub(crate) parent: String,
    /// The name under which the configuration has it; absent for a link made by request.
    pub(crate) config: Option<String>,
    /// What whoever asked for it finds it by; absent if that was not said.
    pub(crate) owner: Option<String>,
    /// Where it lives: the name of the namespace where it has one in /run/netns, else
    /// `net:[INODE]`; absent in the daemon's own.
    pub(crate) netns: Option<String>,
    /// The parent's index, and the id of its namespace as the link's own knows it; the second is
    /// absent when they are the same.
    pub(crate) link_index: u32,
    pub(crate) link_netnsid: Option<i32>,
    /// What carries the frames of its parent: `af-packet`, `af-xdp`, or `none` while that is
    /// absent.
    pub(crate) backend: String,
    /// How AF_XDP gets at them: `zero-copy`, `native` or `generic`.
    pub(crate) xdp: Option<String>,
    /// Why nothing better carries them, where there was a choice.
    pub(crate) backend_why: Option<String>,
    /// How its TAP is read and written: `uring` or `plain`.
    pub(crate) io: String,
    /// The CPU that its worker is pinned to.
    pub(crate) cpu: Option<u32>,
    /// How its worker waits.
    pub(crate) poll: String,
    /// The groups it listens to, unless it listens to all.
    pub(crate) groups: Vec<String>,
    /// It listens to every group.
    pub(crate) all_groups: bool,
    /// Frames that its own kernel queue had no room for, before the engine could read them.
    pub(crate) queue_drops: u64,
    /// What the engine has counted.
    pub(crate) counters: SubCounters,
}
