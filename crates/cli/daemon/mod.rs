//! `umacvlan daemon`: parents and links that outlive the command that asked for them.

#[allow(dead_code, reason = "started by the next commits")]
mod http;
#[allow(dead_code, reason = "started by the next commits")]
mod log;
mod service;
