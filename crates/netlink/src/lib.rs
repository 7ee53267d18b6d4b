//! Interfaces, addresses, routes and namespace ids by rtnetlink: what `ip` does, without `ip`.
//!
//! [`Rtnl`] sends a request and waits for the answer; [`Monitor`] listens for changes. Neither needs
//! an async runtime: the kernel answers a request before the call that sends it returns, and a
//! monitor is one more descriptor for the caller's epoll. IP prefixes are parsed here too.
//!
//! A socket that was opened inside a namespace keeps that namespace alive, and with it every
//! interface in it. So no socket of this crate stays in a namespace of a user: [`Rtnl::open_in`] is
//! for namespaces that this process made and for short visits; [`Rtnl::within`] and [`Monitor`]
//! reach into others by an id (`nsid`), which holds nothing.
//!
//! Architecture invariant: this crate knows the kernel's interfaces only; it does not know parents,
//! sub-interfaces or switches, and it has no `unsafe`.
#![forbid(unsafe_code)]

mod address;
mod create;
mod error;
mod groups;
mod link;
mod monitor;
mod nsid;
mod prefix;
mod route;
mod rtnl;
mod set;
mod sysctl;
mod xdp_features;

pub use address::Address;
pub use create::{BridgeOptions, MacaddrChange, Macvlan, MacvlanChange};
pub use error::Error;
pub use groups::{all_groups, joined_groups};
pub use link::Link;
pub use monitor::{Event, Monitor, MovedTo};
pub use netlink_packet_route::link::{LinkFlags, State as OperState, Stats64 as LinkStats};
pub use nsid::Within;
pub use prefix::{IpPrefix, IpPrefixError};
pub use route::Route;
pub use rtnl::Rtnl;
pub use sysctl::set_sysctl;
pub use xdp_features::supports_zero_copy;

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;
