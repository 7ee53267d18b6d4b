//! The `umacvlan` command as its users see it: arguments in, lines and interfaces out. Everything
//! happens in network namespaces without a name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bad_input;
mod bench;
mod bench_path;
mod complete;
mod config;
mod doctor;
mod explain;
mod forwarding;
mod lab;
mod lifetime;
mod noisy;
mod package;
mod replay;
mod world;
