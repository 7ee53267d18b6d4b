//! The commands `umacvlan bench` and `umacvlan lab`.
#![allow(missing_docs, reason = "TEMPORARY")]

pub mod bench;
pub mod lab;
