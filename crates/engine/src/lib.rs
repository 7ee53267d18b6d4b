//! The half of umacvlan that does: sockets, TAPs, workers.
#![deny(unsafe_code)]

pub mod sys;
