//! Helpers that the tests of several crates share.
//!
//! [`root_or_skip`] asks whether the process can make network namespaces, and [`skip`] says why a
//! test does not run. [`Scratch`] is an empty directory that is removed at the end of a test,
//! and [`BpfFs`] a BPF file system.
//! [`Machine`] is a namespace with a parent and the [`Daemon`] in it, which [`ask`] and [`events`]
//! talk to; [`Sandbox`] is a shell in namespaces of its own; [`write_program`] makes a script that can
//! be run at once; [`Lingering`] is a descriptor that takes long to close; [`vhost_user`] is a program with rings in its memory, and
//! [`dhcp`] a server. Every helper panics when it fails,
//! because in a test a panic is the report. The path of the command under test is an argument, since
//! Cargo tells it only to the tests of the root package.
//!
//! Networks, traffic and probes are in `umacvlan-lab`: commands of umacvlan use them too.
//!
//! Architecture invariant: this crate is a dev-dependency only; no crate uses it outside its tests.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

mod bpf_fs;
pub mod dhcp;
mod http;
mod lingering;
mod machine;
mod network;
mod privilege;
mod process;
mod sandbox;
mod scratch;
pub mod vhost_user;

pub use bpf_fs::BpfFs;
pub use http::{Answer, ask, connect, events};
pub use lingering::Lingering;
pub use machine::{Daemon, Machine, link_id};
pub use network::{LinkMonitor, add_parent, netns_path};
pub use privilege::{root_or_skip, skip};
pub use process::{signal, write_program};
pub use sandbox::{Ran, Sandbox};
pub use scratch::Scratch;

/// How long a test waits for anything before it fails.
pub const LIMIT: Duration = Duration::from_secs(30);
