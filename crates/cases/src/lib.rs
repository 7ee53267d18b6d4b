//! The work whose cost is watched: each [`Case`] does one thing to many frames, over and over.
//!
//! `cargo bench` takes the time of these cases, and `scripts/instructions` counts their
//! instructions and compares them with `benches/instructions.tsv`. Both run the very same code, so
//! a count that has changed can be timed by its name.
#![allow(clippy::expect_used, reason = "a panic is how a case fails")]

mod decision;
mod engine;
mod frames;
mod offload;

use std::hint::black_box;

/// A case, ready to run. It is made of the same random numbers in every process.
pub trait Round {
    /// Brings the frames of one round; not part of what is measured.
    fn prepare(&mut self) {}

    /// Does the work on all of them. The sum of whatever came out keeps it from being left out.
    fn run(&mut self) -> usize;

    /// How many frames one round has.
    fn frames(&self) -> usize;
}

/// Something that is done to frames, by name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about, a slash, and what is done.
    pub name: &'static str,
    make: fn() -> Box<dyn Round>,
}

impl Case {
    /// Everything that the case needs; one round has been done.
    ///
    /// # Panics
    /// If something is not as it has to be: there is nothing to measure then.
    pub fn ready(&self) -> Box<dyn Round> {
        let mut round = (self.make)();
        round.prepare();
        round.run();
        round
    }
}

/// Every case, in the order in which tables have them.
#[rustfmt::skip]
pub const CASES: [Case; 18] = [
    Case { name: "decision/bare-lookup-1024", make: || decision::bare(1024) },
    Case { name: "decision/wire-to-sub-1", make: || decision::wire_to_sub(1) },
    Case { name: "decision/wire-to-sub-1024", make: || decision::wire_to_sub(1024) },
    Case { name: "decision/sub-to-sub-1024", make: || decision::sub_to_sub(1024) },
    Case { name: "decision/sub-to-wire-1024", make: || decision::sub_to_wire(1024) },
    Case { name: "decision/all-rules-1024", make: || decision::all_rules(1024) },
    Case { name: "decision/broadcast-64", make: || decision::broadcast(64) },
    Case { name: "decision/multicast-unheard-64", make: || decision::unheard(64) },
    Case { name: "decision/source-hit-1024", make: || decision::source_hit(1024) },
    Case { name: "decision/source-miss-1024", make: || decision::source_miss(1024) },
    Case { name: "vnet/validate-tcp", make: offload::validate },
    Case { name: "offload/checksum-1500", make: offload::checksum },
    Case { name: "offload/segment-64k", make: offload::segment },
    Case { name: "offload/merge-udp-1024", make: offload::merge },
    Case { name: "engine/wire-to-sub-64", make: || engine::wire_to_sub(64) },
    Case { name: "engine/sub-to-sub-64", make: || engine::sub_to_sub(64) },
    Case { name: "engine/sub-to-wire-64", make: || engine::sub_to_wire(64) },
    Case { name: "engine/merge-udp-64", make: engine::merge_udp },
];

/// One round of a case, in a function of its own: callgrind counts what happens in here.
#[inline(never)]
pub fn counted(round: &mut dyn Round) -> usize {
    // Not the last thing that is done, or it would be a jump and the count would not end here.
    black_box(round.run())
}
