//! Interfaces, addresses and namespaces by netlink: what `ip` does, without needing `ip`.
//!
//! [`Rtnl`] asks and waits for the answer; [`Monitor`] listens. Neither needs an async runtime:
//! the kernel answers a request before the call that sends it returns, and a monitor is one more
//! descriptor for the control thread's epoll.
//!
//! A socket that was opened inside a namespace keeps that namespace alive, and with it every
//! interface in it. Therefore nothing here stays in a namespace of the users': [`Rtnl::open_in`] is
//! for namespaces of our own and for short visits, [`Rtnl::within`] and [`Monitor`] reach into
//! others from our own namespace by an id (`nsid`), which holds nothing.

mod address;
mod create;
#[cfg(feature = "af-xdp")]
mod driver;
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

pub use address::Address;
pub use create::{BridgeOptions, MacaddrChange, Macvlan, MacvlanChange};
#[cfg(feature = "af-xdp")]
pub use driver::goes_without_copies;
pub use error::Error;
pub(crate) use groups::all_groups;
pub use groups::joined_groups;
pub use link::Link;
pub use monitor::{Event, Monitor, MovedTo};
pub use netlink_packet_route::link::{LinkFlags, State as OperState, Stats64 as LinkStats};
pub use nsid::Within;
pub use prefix::{IpPrefix, IpPrefixError};
pub use route::Route;
pub use rtnl::Rtnl;
pub use sysctl::set_sysctl;

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;
