//! The plugin for the Container Network Interface, called as a container runtime calls it, and
//! compared with the reference plugin on the kernel's macvlan where Debian's
//! containernetworking-plugins are installed. Everything happens in network namespaces without a
//! name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../daemon/client.rs"]
#[allow(dead_code, reason = "the daemon's own tests use the rest")]
mod client;
mod dhcp;
mod errors;
mod lifecycle;
#[path = "../daemon/machine.rs"]
#[allow(dead_code, reason = "the daemon's own tests use the rest")]
mod machine;
mod reference;
mod runtime;
mod world;
