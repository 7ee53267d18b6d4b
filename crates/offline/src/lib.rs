//! The switch without interfaces: `umacvlan explain` and `umacvlan replay`.
//!
//! Both build the real switch of `umacvlan-core` from a configuration or from the daemon's answers
//! ([`offline_switch`]) and put frames through it. Nothing is sent and no privilege is needed.
//!
//! Architecture invariant: opens no socket and no interface.
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod explain;
mod offline_switch;
pub mod replay;
