//! The commands `umacvlan bench` and `umacvlan lab`.
//!
//! [`lab`] shows which member of a test network reaches which in every mode, and what it costs.
//! [`bench`](mod@bench) measures the engine in memory and paths end to end, compares the results with other
//! implementations, and writes reports that can be compared later. `shared` has the parts of both:
//! the choice of cores, the engine as a provider of sub-interfaces, the median.
//!
//! The networks, traffic and probes themselves are in `umacvlan-lab`; tables and output are in
//! `umacvlan-text`. This crate parses the two commands' arguments and prints their results.
//!
//! Architecture invariant: [`bench`](mod@bench) and [`lab`] do not use each other; both use `shared` only.
#![forbid(unsafe_code)]

pub mod bench;
pub mod lab;
mod shared;
