//! The netavark plugin, called as netavark calls it: one process for each request, JSON on standard
//! input and output, the namespace as a path. The cases follow netavark's own macvlan tests, with
//! further ones for the daemon.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod create;
mod dhcp;
mod failure;
mod podman;
mod setup;
