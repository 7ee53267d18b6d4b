//! Real network stacks communicate through the engine: every protocol that depends on more than
//! addresses, with both ways to read and write a TAP.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod icmp;
mod jumbo;
mod limits;
mod multicast;
#[path = "../../crates/core/tests/offload_frames/mod.rs"]
mod offload_frames;
mod packets;
mod rules;
mod sockets;
mod tagged;
mod tcp;
mod udp;
mod vlan;
mod world;
