//! Requests and events against the real kernel, in namespaces that vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod macvlan_release;
mod monitor;
mod requests;
mod token_bucket;
mod xdp_features;
