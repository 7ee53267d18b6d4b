//! The manifests in deploy/: Kubernetes accepts them, and they match what the programs need.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod daemonset;
mod manifests;
mod networks;
mod schema;
