//! Compares `umacvlan` with `ip`: both get the same arguments, `umacvlan` for its own links and
//! `ip` for links of the kernel's macvlan, in networks that are otherwise equal. Output and effect
//! have to be the same. The reference is iproute2 6.1 of Debian 12; other versions print some words
//! more. Everything happens in network namespaces without a name, which vanish with the test.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod addresses;
mod batch;
mod lines;
mod monitor;
mod show;
mod words;
mod world;
mod wrapper;
