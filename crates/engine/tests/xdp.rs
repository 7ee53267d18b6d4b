//! AF_XDP on a veth: the socket, its program, the uplink made of them, and its limits.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]
#![cfg(feature = "af-xdp")]

mod common;

#[path = "xdp/jumbo.rs"]
mod jumbo;
#[path = "xdp/refused.rs"]
mod refused;
#[path = "xdp/soak.rs"]
mod soak;
#[path = "xdp/socket.rs"]
mod socket;
#[path = "xdp/uplink.rs"]
mod uplink;
