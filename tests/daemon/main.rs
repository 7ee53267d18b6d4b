//! The daemon as its clients and its machine see it. Everything happens in network namespaces
//! without a name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod capture;
mod clients;
mod dhcp;
mod host_access;
mod http;
mod keeper;
mod last_events;
mod lifecycle;
mod links;
mod macnat;
mod metrics;
mod parents;
mod ports;
#[cfg(feature = "af-xdp")]
mod program_interfaces;
mod restart;
mod schema;
mod state;
mod users;
mod veth;
mod wire;
