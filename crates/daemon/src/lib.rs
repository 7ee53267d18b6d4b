//! The daemon: parents and links that outlive the command that asked for them.
//!
//! [`service`] owns the engine, the desired state and the state files ([`store`]); [`http`] serves it
//! on a Unix socket. The command `umacvlan daemon` puts the parts together.
//!
//! Architecture invariant: knows no container engine; what serves one is handed in as a router.
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod confine;
pub mod error;
mod files;
pub mod http;
pub mod log;
pub mod service;
pub mod socket;
pub mod store;
pub mod systemd;
#[cfg(test)]
mod testing;
mod view;

pub use files::{Files, Kept};
pub use service::{Service, Shared, lock, sub_options};
