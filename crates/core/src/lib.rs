//! The forwarding rules of macvlan, as a library without I/O.
//!
//! A frame comes in as borrowed bytes, and a [`Verdict`] goes out as a value: deliver, flood, drop,
//! leave to the host or send to the wire. [`Switch`] has the tables and rules of one parent,
//! [`offload`] the work that GSO packets and partial checksums defer, [`vlan`] the parents that are
//! VLANs, and [`stats`] the counters. The engine of umacvlan reads and writes the frames.
//!
//! Architecture invariant: no I/O, no clock, no log and no `unsafe`, and no allocation in a
//! decision, so a network is not needed to test or replay one.
//!
//! ```
//! use umacvlan_core::*;
//!
//! let parent = ParentInfo { mac: "02:00:00:00:00:ff".parse()?, mtu: 1500, promisc: false };
//! let mut switch = Switch::new(parent, Semantics::Documented);
//! let [red, blue]: [MacAddr; 2] = ["02:00:00:00:00:01".parse()?, "02:00:00:00:00:02".parse()?];
//! let mut indexes = Vec::new();
//! for mac in [red, blue] {
//!     let index = switch.add(&SubConfig::new(mac, Mode::Bridge))?;
//!     switch.set_up(index, true)?;
//!     indexes.push(index);
//! }
//!
//! let mut bytes = [0; 60];
//! bytes[..6].copy_from_slice(&blue.octets());
//! bytes[6..12].copy_from_slice(&red.octets());
//! let frame = Frame::new(&bytes).expect("60 bytes are no runt");
//! let verdict = switch.egress(indexes[0], frame, false);
//! assert!(matches!(verdict.action, Action::Deliver(to) if to == indexes[1]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod announcement;
pub mod fair_queue;
pub mod frame;
pub mod frame_filter;
pub mod ifname;
pub mod ip_prefix;
pub mod length_prefix;
pub mod limit;
pub mod mac;
pub mod offload;
pub mod options;
pub mod ring_alloc;
pub mod rules;
pub mod stats;
pub mod switch;
pub mod vhost_user;
pub mod vlan;
mod worker_stats;

pub use frame::{Frame, Tag};
pub use frame_filter::{FilterError, FrameFilter};
pub use ip_prefix::{Destination, IpPrefix, IpPrefixError};
pub use mac::MacAddr;
pub use switch::{
    Action, DropReason, Flood, FloodRule, KernelRelease, MacvlanFlag, MacvlanFlags,
    MacvlanSettings, Mode, MulticastFilter, ParentInfo, ParentSide, Replica, Semantics, Sub,
    SubConfig, SubIndex, Switch, SwitchError, Verdict,
};
pub use vlan::{VlanName, VlanNameError, VlanPath, VlanTable};
pub use worker_stats::WorkerStats;
