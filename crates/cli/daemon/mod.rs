//! `umacvlan daemon`: parents and links that outlive the command that asked for them.
#![allow(dead_code, reason = "put together by the next commits")]

mod confine;
mod http;
mod log;
mod service;
mod store;
#[cfg(test)]
mod testing;
mod view;
