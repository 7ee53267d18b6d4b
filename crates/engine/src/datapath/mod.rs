//! The way of a frame: uplinks, ports, and the workers that forward between them.
//!
//! A [`worker::Worker`] reads frames from the [`uplink::Uplink`] and from the [`port`]s, asks the
//! switch of `umacvlan-core`, and writes them where it says, all at the end of a turn. Nothing here
//! knows how interfaces are made or followed: `control` uses this folder, and this folder does not
//! use `control`.

mod flood_queue;
mod forwarder;
mod frame_ref;
mod gro;
pub mod idle;
mod igmp_mld;
pub mod memory_link;
mod merge_buffer;
pub mod port;
mod segment_buffer;
mod switches;
mod tx_queues;
pub mod uplink;
mod wire_gro;
pub mod worker;

pub use switches::SwitchId;
