//! The way of a frame: uplinks, ports, and the workers that forward between them.
//!
//! A [`worker::Worker`] reads frames from the [`uplink::Uplink`] and from the [`port`]s, asks the
//! switch of `umacvlan-core`, and writes them where it says, all at the end of a turn. Nothing here
//! knows how interfaces are made or followed: `control` uses this folder, and this folder does not
//! use `control`.

mod coalesce;
mod dispatch;
mod group;
mod held;
pub mod idle;
pub mod memory;
mod offload;
mod outlet;
pub mod port;
mod report;
mod ring;
mod switches;
pub mod uplink;
pub mod worker;

pub use switches::SwitchId;
