//! `umacvlan bench`: what each mode costs, beside others who do the same.

#![allow(dead_code, reason = "the benches that use it come with the next changes")]

mod progress;
mod report;
mod search;
mod summary;
