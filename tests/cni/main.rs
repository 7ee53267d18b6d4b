//! The plugin for the Container Network Interface, called as a container runtime calls it, and
//! compared with the reference plugin on the kernel's macvlan where Debian's
//! containernetworking-plugins are installed. Everything happens in network namespaces without a
//! name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod dhcp;
mod errors;
mod lifecycle;
mod reference;
mod runtime;
mod world;
