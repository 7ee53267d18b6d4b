//! The half of umacvlan that does: sockets, TAPs, workers.
//!
//! One [`worker::Worker`] serves one wire on a thread of its own, with all parents there: it reads frames from the
//! [`uplink::Uplink`] and from the [`port`]s, asks the switch of `umacvlan-core`, and writes them
//! where it says, all at the end of a turn. One more thread, behind [`Engine`], makes parents and
//! sub-interfaces and follows what their users do to them.
#![forbid(unsafe_code)]

mod coalesce;
mod control;
pub mod cpus;
mod dispatch;
pub mod engine;
pub mod error;
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

pub use control::{check_suitable, try_af_xdp, why_af_packet};
pub use engine::Engine;
pub use error::Error;
pub use switches::SwitchId;
