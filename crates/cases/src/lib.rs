//! Benchmark cases: each [`Case`] does one operation on many frames, repeatedly.
//!
//! `cargo bench` measures the time of these cases, and `scripts/instructions` counts their
//! instructions and compares them with `benches/instructions.tsv`. Both run the same code, so a
//! changed count can be timed by the name of its case.
#![allow(clippy::expect_used, reason = "a panic is how a case fails")]

mod decision;
mod engine;
mod frames;
mod offload;
mod vhost;

use std::hint::black_box;

/// A case that is ready to run. Its random numbers are the same in every process.
pub trait Round {
    /// Prepares the frames of one round; not measured.
    fn prepare(&mut self) {}

    /// Does the work on all frames. The compiler cannot remove it, because it returns a sum over
    /// the results.
    fn run(&mut self) -> usize;

    /// The number of frames in one round.
    fn frames(&self) -> usize;
}

/// An operation on frames, with its name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The component, a slash, and the operation.
    pub name: &'static str,
    make: fn() -> Box<dyn Round>,
}

impl Case {
    /// Sets the case up and runs one round.
    ///
    /// # Panics
    /// If the setup fails or the round does not do the expected work.
    pub fn ready(&self) -> Box<dyn Round> {
        let mut round = (self.make)();
        round.prepare();
        round.run();
        round
    }
}

/// Every case, in the order of tables.
#[rustfmt::skip]
pub const CASES: [Case; 30] = [
    Case { name: "decision/bare-lookup-1024", make: || decision::bare_lookup(1024) },
    Case { name: "decision/wire-to-sub-1", make: || decision::wire_to_sub(1) },
    Case { name: "decision/wire-to-sub-1024", make: || decision::wire_to_sub(1024) },
    Case { name: "decision/sub-to-sub-1024", make: || decision::sub_to_sub(1024) },
    Case { name: "decision/sub-to-wire-1024", make: || decision::sub_to_wire(1024) },
    Case { name: "decision/all-rules-1024", make: || decision::all_rules(1024) },
    Case { name: "decision/broadcast-64", make: || decision::broadcast(64) },
    Case { name: "decision/multicast-unheard-64", make: || decision::multicast_unheard(64) },
    Case { name: "decision/source-hit-1024", make: || decision::source_hit(1024) },
    Case { name: "decision/source-miss-1024", make: || decision::source_miss(1024) },
    Case { name: "vnet/validate-tcp", make: offload::validate },
    Case { name: "offload/checksum-1500", make: offload::checksum },
    Case { name: "offload/segment-64k", make: offload::segment },
    Case { name: "offload/merge-udp-1024", make: offload::merge_udp },
    Case { name: "engine/wire-to-sub-64", make: || engine::wire_to_sub(64) },
    Case { name: "engine/sub-to-sub-64", make: || engine::sub_to_sub(64) },
    Case { name: "engine/sub-to-wire-64", make: || engine::sub_to_wire(64) },
    Case { name: "engine/merge-udp-64", make: engine::merge_udp },
    Case { name: "engine/merge-to-wire-1-flow", make: || engine::merge_to_wire(1) },
    Case { name: "engine/merge-to-wire-16-flows", make: || engine::merge_to_wire(16) },
    Case { name: "engine/merge-to-wire-64-flows", make: || engine::merge_to_wire(64) },
    Case { name: "engine/program-to-program-60", make: || vhost::program_to_program(60) },
    Case { name: "engine/program-to-program-1514", make: || vhost::program_to_program(1514) },
    Case { name: "engine/datagrams-to-wire-64", make: engine::datagrams_to_wire },
    Case { name: "engine/spoofchk-to-wire-64", make: engine::spoofchk_to_wire },
    Case { name: "engine/isolation-to-wire-64", make: engine::isolation_to_wire },
    Case { name: "engine/allow-lists-to-wire-64", make: engine::allow_lists_to_wire },
    Case { name: "engine/allow-ip-to-wire-64", make: engine::allow_ip_to_wire },
    Case { name: "engine/macnat-to-wire-64", make: engine::macnat_to_wire },
    Case { name: "engine/macnat-to-sub-64", make: engine::macnat_to_sub },
];

/// Runs one round of a case. Callgrind counts the instructions inside this function.
#[inline(never)]
pub fn counted(round: &mut dyn Round) -> usize {
    // `black_box` prevents a tail call, with which the count would not end here.
    black_box(round.run())
}
