//! System calls that need a network namespace, and interfaces in it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod ethtool;
mod fanout;
mod interface_lock;
mod kept_packet;
mod netns;
mod packet;
