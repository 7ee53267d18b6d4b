//! [`Progress`]: what a bench is told of the run it is part of, and what it tells on its way.

use std::collections::BTreeMap;

use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};

/// The run that a bench is part of.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What all random choices are to come from.
    pub seed: u64,
    /// True if the whole is to take less than a minute.
    pub quick: bool,
    /// True if generator, engine and receiver share CPUs: to be set by a bench that has them.
    pub shared_cores: Option<bool>,
    /// Offloads of the interfaces that are used, by name: to be filled by a bench that has them.
    pub offloads: BTreeMap<String, String>,
    trials: Option<u32>,
    notes: Vec<String>,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(seed: u64, trials: Option<u32>, quick: bool) -> Self {
        let bar = ProgressBar::no_length();
        // Says nothing where standard error is not a terminal.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)") {
            bar.set_style(style);
        }
        let (offloads, notes) = (BTreeMap::new(), Vec::new());
        Self { seed, quick, shared_cores: None, offloads, trials, notes, bar }
    }

    /// How many trials each point is to have: as the user says, or this.
    pub(crate) fn trials(&self, usual: u32) -> u32 {
        self.trials.unwrap_or(usual)
    }

    /// There are so many steps to come, of about the same length.
    pub(crate) fn begin(&self, steps: u64) {
        self.bar.set_length(steps);
        self.bar.reset();
    }

    /// What is done now is this.
    pub(crate) fn at(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A step is done.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// Something that the reader of the report has to know; once is enough.
    pub(crate) fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.notes.contains(&words) {
            self.notes.push(words);
        }
    }

    /// The numbers below `count` in the order in which this round is to measure.
    pub(crate) fn order(&self, round: u32, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        // Rounds of one seed are as far apart as the rounds of two.
        Rng::with_seed(self.seed ^ (u64::from(round) << 32)).shuffle(&mut order);
        order
    }

    /// The end: takes the bar from the terminal, and gives what was noted.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.bar.finish_and_clear();
        std::mem::take(&mut self.notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_everything_in_an_order_of_its_own() {
        let progress = Progress::new(1, None, false);
        let mut first = progress.order(0, 20);
        assert_ne!(first, progress.order(1, 20));
        assert_eq!(first, progress.order(0, 20));
        assert_ne!(first, Progress::new(2, None, false).order(0, 20));
        first.sort_unstable();
        assert_eq!(first, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn a_note_is_kept_once() {
        let mut progress = Progress::new(1, None, false);
        progress.note("one core");
        progress.note("one core");
        assert_eq!(progress.finish(), ["one core"]);
    }
}
