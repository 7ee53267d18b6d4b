//! Helpers that the tests of several crates share.
//!
//! [`root_or_skip`] asks whether the process can make network namespaces, and [`skip`] says why a
//! test does not run. [`Scratch`] is an empty directory that is removed at the end of a test. Every
//! helper panics when it fails, because in a test a panic is the report.
//!
//! Networks, traffic and probes are in `umacvlan-lab`: commands of umacvlan use them too.
//!
//! Architecture invariant: this crate is a dev-dependency only; no crate uses it outside its tests.
#![forbid(unsafe_code)]

mod privilege;
mod scratch;

pub use privilege::{root_or_skip, skip};
pub use scratch::Scratch;
