//! The parts of every trial of this bench: timing, the median, and the hash lookup as its peer.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use hashbrown::HashMap;

use super::traffic::TestFrame;
use crate::shared::stats;

/// The results of a trial, in nanoseconds per frame.
pub(super) struct Sample {
    pub(super) engine: f64,
    pub(super) lookup: f64,
}

/// The peer: a lookup of the same keys in a hash table, without anything else.
pub(super) struct HashLookup {
    table: HashMap<u64, u16>,
    keys: Vec<u64>,
}

impl HashLookup {
    pub(super) fn new(table: HashMap<u64, u16>, frames: &[TestFrame]) -> Self {
        // The processor would predict the branches of a short cycle of keys.
        let keys = frames.iter().map(|frame| frame.key).cycle().take(frames.len().max(1024));
        let keys = keys.collect();
        Self { table, keys }
    }

    /// The number of keys in a round.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Nanoseconds per lookup, over at least 16 384 lookups.
    pub(super) fn slice(&self) -> f64 {
        let rounds = (16_384 / self.keys.len()).max(1);
        per_frame(rounds * self.keys.len(), || {
            let mut sum = 0;
            for _ in 0..rounds {
                for key in &self.keys {
                    sum += self.table.get(black_box(key)).map_or(1, |&id| usize::from(id));
                }
            }
            black_box(sum);
        })
    }
}

/// Nanoseconds per frame that `work` takes for this many frames.
pub(super) fn per_frame(frames: usize, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_nanos() as f64 / frames.max(1) as f64
}

/// The median of a trial's slices, which ignores interrupted ones.
pub(super) fn median(slices: Vec<f64>) -> Result<f64> {
    stats::median(&slices).context("a trial without slices")
}
