//! A macvlan switch without interfaces: `umacvlan explain` and `umacvlan replay`.
//!
//! Both commands build the switch of `umacvlan-core` from a configuration file or from the daemon's
//! views of its parents and links (`offline_switch`) and put frames through it. [`explain`] shows
//! the steps of one decision, [`replay`] counts the outcomes of a whole capture.
//!
//! It is not a simulation of the engine: there is no time, no queue fills up (except a broadcast
//! queue of length 0), nothing is sent, and no privilege is needed. The caller fetches the daemon's
//! views.
//!
//! Architecture invariant: opens no socket and no interface.

pub mod explain;
mod offline_switch;
pub mod pcapng;
pub mod replay;
