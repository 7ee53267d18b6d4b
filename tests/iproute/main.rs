//! `umacvlan` beside `ip`: the same words to both, to ours about our links and to `ip` about those
//! of the kernel's macvlan, in worlds that are otherwise equal. They have to say and to do the
//! same. What is compared with is iproute2 6.1, as Debian 12 has it: others have a word more here
//! and there. Everything happens in network namespaces without a name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod batch;
mod lines;
mod monitor;
mod show;
mod words;
mod world;
