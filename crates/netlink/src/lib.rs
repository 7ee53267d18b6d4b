//! Interfaces, addresses, routes and namespace ids by rtnetlink, without the command `ip`.
//!
//! [`Rtnl`] sends a request and waits for the reply; [`Monitor`] receives notifications of changes.
//! Neither needs an async runtime: the kernel replies before the call that sends a request returns,
//! and a monitor is one descriptor for the caller's epoll.
//!
//! A socket keeps the namespace in which it was opened alive, and with it every interface there. So no
//! socket of this crate stays in a user's namespace: [`Rtnl::open_in`] is for namespaces that this
//! process created and for short use in others; [`Rtnl::within`] and [`Monitor`] reach other
//! namespaces by an id (`nsid`), which does not keep them alive.
//!
//! Architecture invariant: this crate knows the kernel's interfaces only; it does not know parents,
//! sub-interfaces or switches, and it has no `unsafe`.
#![forbid(unsafe_code)]

mod address;
mod create;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod groups;
mod link;
mod link_requests;
mod macvlan_release;
mod monitor;
mod nsid;
mod route;
mod rtnl;
mod sysctl;
mod token_bucket;
mod unicast_list;
mod utf8;
mod xdp_features;

pub use address::Address;
pub use create::{BridgeOptions, MacaddrChange, Macvlan, MacvlanChange};
pub use error::Error;
pub use groups::{all_groups, joined_groups};
pub use link::Link;
pub use macvlan_release::macvlan_release;
pub use monitor::{Event, Monitor, MovedTo};
pub use netlink_packet_route::link::{LinkFlags, State as OperState, Stats64 as LinkStats};
pub use nsid::{NetnsPaths, NetnsRequests};
pub use route::Route;
pub use rtnl::Rtnl;
pub use sysctl::{set_sysctl, sysctl};
pub use token_bucket::TokenBucket;
pub use umacvlan_core::{IpPrefix, IpPrefixError};
pub use xdp_features::supports_zero_copy;

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;
