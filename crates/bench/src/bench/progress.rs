//! [`Progress`]: the settings of a run, its progress bar, its notes, and what is missing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::trials::Trials;

/// The run that a bench is part of.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The seed of all random choices.
    pub seed: u64,
    /// True if the run must take less than a minute.
    pub quick: bool,
    /// True if generator, engine and receiver share CPUs. Set by a bench that has them.
    pub shared_cores: Option<bool>,
    /// Offloads of the interfaces in use, by name. Filled by a bench that has any.
    pub offloads: BTreeMap<String, String>,
    /// The number of busy threads beside each trial. Set by a bench that has any.
    pub load: Option<u16>,
    trials: Option<Trials>,
    notes: Vec<String>,
    missing: Vec<String>,
    interrupted: Arc<AtomicBool>,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(seed: u64, trials: Option<Trials>, quick: bool) -> Self {
        let bar = ProgressBar::no_length();
        // Without a terminal on standard error, the bar prints nothing.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)") {
            bar.set_style(style);
        }
        Self {
            seed,
            quick,
            shared_cores: None,
            offloads: BTreeMap::new(),
            load: None,
            trials,
            notes: Vec::new(),
            missing: Vec::new(),
            interrupted: Arc::default(),
            bar,
        }
    }

    /// From now on SIGINT and SIGTERM end the run after the present trial. A second one ends the
    /// process.
    ///
    /// # Errors
    /// No handler can be installed.
    pub(crate) fn heed_signals(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            let status = 128 + signal;
            flag::register_conditional_shutdown(signal, status, Arc::clone(&self.interrupted))?;
            flag::register(signal, Arc::clone(&self.interrupted))?;
        }
        Ok(())
    }

    /// True if the run is to end now. What it has measured is kept.
    pub(crate) fn is_interrupted(&mut self) -> bool {
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        if interrupted && self.missing.last().is_none_or(|last| !last.starts_with(INTERRUPTED)) {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            self.missing.push(format!("{INTERRUPTED} after {done} of {all} steps"));
        }
        interrupted
    }

    /// Notes what could not be measured, and why; the report names it, and the exit status is failure.
    pub(crate) fn miss(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }

    /// What could not be measured, as [`miss`](Self::miss) has noted it.
    pub(crate) fn take_missing(&mut self) -> Vec<String> {
        std::mem::take(&mut self.missing)
    }

    /// The number of trials of each point: the user's, or `usual`.
    pub(crate) fn trials(&self, usual: u32) -> Trials {
        self.trials.unwrap_or_else(|| Trials::fixed(usual))
    }

    /// The number of trials of what is itself a series of trials: one, unless the user asks for as
    /// many as it takes.
    pub(crate) fn searches(&self) -> Trials {
        self.trials.filter(|trials| trials.is_auto()).unwrap_or_else(|| Trials::fixed(1))
    }

    /// Starts the bar with this many steps of about the same duration.
    pub(crate) fn begin(&self, steps: u64) {
        self.bar.set_length(steps);
        self.bar.reset();
    }

    /// Adds steps that were not expected at the beginning.
    pub(crate) fn expect_more(&self, steps: u64) {
        self.bar.inc_length(steps);
    }

    /// Shows what is being measured.
    pub(crate) fn at(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Advances the bar by one step.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// Adds a note to the report, unless it has the same note already.
    pub(crate) fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.notes.contains(&words) {
            self.notes.push(words);
        }
    }

    /// The numbers below `count` in the random order of this round.
    pub(crate) fn order(&self, round: u32, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        // Each round has its own seed.
        Rng::with_seed(self.seed ^ (u64::from(round) << 32)).shuffle(&mut order);
        order
    }

    /// Removes the bar from the terminal and returns the notes.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        self.bar.finish_and_clear();
        std::mem::take(&mut self.notes)
    }
}

const INTERRUPTED: &str = "interrupted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_noted_once_with_what_was_done() {
        let mut progress = Progress::new(1, None, false);
        progress.begin(7);
        progress.step();
        assert!(!progress.is_interrupted());
        progress.miss("a path: broken");
        progress.miss("a path: broken");
        progress.interrupted.store(true, Ordering::Relaxed);
        assert!(progress.is_interrupted() && progress.is_interrupted());
        assert_eq!(progress.take_missing(), ["a path: broken", "interrupted after 1 of 7 steps"]);
    }

    #[test]
    fn each_round_has_its_own_order_of_everything() {
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
