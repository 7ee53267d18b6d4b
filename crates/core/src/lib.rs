//! The half of umacvlan that decides.
//!
//! A frame comes in as borrowed bytes, a verdict goes out as a value. There is no I/O here, no
//! clock, no logging and no `unsafe`, so everything the switch does can be tested and replayed
//! without a network.
#![forbid(unsafe_code)]

pub mod frame;
pub mod ifname;
pub mod mac;
pub mod offload;
pub mod options;
pub mod stats;
pub mod switch;
pub mod vlan;
mod worker_stats;

pub use frame::{Frame, Tag};
pub use mac::MacAddr;
pub use switch::{
    Action, DropReason, Flood, FloodRule, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode,
    MulticastFilter, ParentInfo, ParentSide, Replica, Semantics, Sub, SubConfig, SubIndex, Switch,
    SwitchError, Verdict,
};
pub use vlan::{VlanName, VlanNameError, VlanPath, VlanTable};
pub use worker_stats::WorkerStats;
