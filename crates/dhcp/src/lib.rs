//! A DHCP client for IPv4 (RFC 2131) as a state machine: frames and the time go in, frames and changes
//! of the lease come out.
//!
//! * [`Client`]: the state machine. Its owner sends the frames that it returns out of the interface,
//!   hands it the frames that arrive there, and calls it when its deadline has come.
//! * [`Lease`]: what a server has assigned, and until when.
//! * [`message`]: the messages of both sides as Ethernet frames.
//!
//! Architecture invariant: no I/O, no clock, no log, no `unsafe`; what a frame makes it do is bounded by
//! the length of the frame.

#![forbid(unsafe_code)]

mod client;
mod lease;
pub mod message;

pub use client::{Change, Client, Identity, Lost, Phase, Start, Step};
pub use lease::{Lease, StaticRoute};
