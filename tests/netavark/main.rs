//! The plugin of netavark, driven as netavark drives it: one process for each request, JSON on
//! standard input and output, a namespace by its path. The cases are those of netavark's own tests
//! of macvlan, and what only a daemon brings along.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod create;
mod failure;
mod podman;
mod setup;
