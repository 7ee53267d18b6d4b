//! MLRsearch (RFC 9971): finds the highest load that meets a goal, with as few trials as possible.
//!
//! The search decides which load to try next and when to stop; the caller runs the trials. All
//! goals share their trials, and each is approached in several steps: the first ones with short
//! trials and wide bounds, the last one with those of the goal.
//!
//! Architecture invariant: no I/O and no clock; the same trials give the same search.
#![forbid(unsafe_code)]

mod load;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Result;

pub use load::Trial;
use load::{Class, classify, throughput};

/// A search goal: the highest load with at most this loss.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The ratio of frames that may be lost.
    pub loss_ratio: f64,
    /// The ratio of trials that may lose more.
    pub exceed_ratio: f64,
    /// The duration of a trial.
    pub trial: Duration,
    /// The total duration of the trials at one load.
    pub sum: Duration,
    /// The largest distance of the bounds, relative to the upper one.
    pub width: f64,
}

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The lowest load worth a trial, in frames per second.
    pub lowest: f64,
    /// The highest load that can be sent.
    pub highest: f64,
    /// The maximum total duration of all trials.
    pub time: Duration,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Maximum receive rate: frames per second that arrive at the highest load.
    pub mrr: f64,
    /// The bounds for each goal, in the order of the goals.
    pub found: Vec<Bounds>,
    /// The number of trials, including the warm-up.
    pub trials: usize,
    /// True if the generator limited a trial, and not the tested device.
    pub short: bool,
}

/// The bounds of the search for one goal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The highest load below the upper bound that meets the goal; `None` if even the lowest fails.
    pub lower: Option<Bound>,
    /// The lowest load that does not meet the goal; `None` if even the highest does.
    pub upper: Option<Bound>,
    /// False if time ran out: the bounds are wider than the goal demands, or less certain.
    pub finished: bool,
}

/// A classified load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Frames per second sent.
    pub load: f64,
    /// Frames per second that arrive in all but the trials that may be worse (conditional
    /// throughput).
    pub throughput: f64,
}

impl Goal {
    /// The non-drop rate: nothing is lost.
    pub fn ndr(trial: Duration, sum: Duration) -> Self {
        Self { loss_ratio: 0.0, exceed_ratio: 0.5, trial, sum, width: 0.01 }
    }

    /// The partial drop rate: one in 200 is lost.
    pub fn pdr(trial: Duration, sum: Duration) -> Self {
        Self { loss_ratio: 0.005, ..Self::ndr(trial, sum) }
    }

    /// The relaxed goal of an earlier level, with this many levels still to come.
    fn coarse(&self, to_come: u32) -> Self {
        if to_come == 0 {
            return *self;
        }
        let factor = 2_u32.pow(to_come);
        let trial = self.trial / factor;
        Self { trial, sum: trial, width: self.width * f64::from(factor), ..*self }
    }
}

/// Searches the highest load that meets each goal. `trial` runs a trial at a load in frames per
/// second and for a duration.
///
/// # Errors
/// The first error of `trial`, which ends the search.
pub fn search(
    limits: Limits,
    goals: &[Goal],
    trial: impl FnMut(f64, Duration) -> Result<Trial>,
) -> Result<Outcome> {
    let mut search = Search { limits, trial, loads: Vec::new(), spent: Duration::ZERO, trials: 0 };
    let length = goals.iter().map(|goal| goal.trial).max().unwrap_or(limits.time);
    let first = search.trial_at_highest(length)?;
    let short = first.is_short_of(limits.highest);
    let mut found = vec![Bounds::default(); goals.len()];
    let mut hints = vec![first.rate(); goals.len()];
    for to_come in (0..LEVELS).rev() {
        for (place, goal) in goals.iter().enumerate() {
            let goal = goal.coarse(to_come);
            let finished = search.narrow(&goal, hints[place])?;
            let (lower, upper) = search.bounds(&goal);
            // Keeps the bounds of a coarser level if this one has none.
            if finished || lower.is_some() {
                found[place] = Bounds { lower, upper, finished: finished && to_come == 0 };
            }
            hints[place] = lower.map_or(hints[place], |lower| lower.load);
        }
    }
    let short = short || search.is_short();
    Ok(Outcome { mrr: first.rate(), found, trials: search.trials, short })
}

/// The state of a running search.
struct Search<F> {
    limits: Limits,
    trial: F,
    /// All loads tried so far, ascending, with their trials.
    loads: Vec<(f64, Vec<Trial>)>,
    spent: Duration,
    trials: usize,
}

impl<F: FnMut(f64, Duration) -> Result<Trial>> Search<F> {
    /// Runs the trial at the highest load, after a warm-up that does not count. If the generator
    /// cannot send that much, its rate becomes the highest load.
    fn trial_at_highest(&mut self, length: Duration) -> Result<Trial> {
        self.run(self.limits.highest, length)?;
        let trial = self.run(self.limits.highest, length)?;
        if trial.is_short_of(self.limits.highest) {
            self.limits.highest = trial.offered_rate().round().max(self.limits.lowest);
        }
        self.keep(self.limits.highest, trial);
        Ok(trial)
    }

    /// Tries loads until the bounds are as close as the goal demands. False if time runs out.
    fn narrow(&mut self, goal: &Goal, hint: f64) -> Result<bool> {
        let mut step = goal.width;
        loop {
            let (lower, upper) = self.bounds(goal);
            let load = match (lower.map(|bound| bound.load), upper.map(|bound| bound.load)) {
                (None, None) => hint,
                (Some(lower), None) if lower >= self.limits.highest => return Ok(true),
                (None, Some(upper)) if upper <= self.limits.lowest => return Ok(true),
                (Some(lower), None) => lower * (1.0 + step),
                (None, Some(upper)) => upper / (1.0 + step),
                (Some(lower), Some(upper)) if upper - lower <= goal.width * upper => {
                    return Ok(true);
                }
                (Some(lower), Some(upper)) => (lower * upper).sqrt(),
            };
            if lower.is_none() || upper.is_none() {
                step *= 2.0;
            }
            let load = load.clamp(self.limits.lowest, self.limits.highest).round();
            if self.class(load, goal) != Class::Undecided {
                // The bounds are neighbouring whole numbers and cannot be closer.
                return Ok(true);
            }
            if !self.decide(load, goal)? {
                return Ok(false);
            }
        }
    }

    /// Repeats the trial until the load is classified. False if time runs out.
    fn decide(&mut self, load: f64, goal: &Goal) -> Result<bool> {
        while self.class(load, goal) == Class::Undecided {
            if self.spent >= self.limits.time {
                return Ok(false);
            }
            let trial = self.run(load, goal.trial)?;
            self.keep(load, trial);
        }
        Ok(true)
    }

    fn run(&mut self, load: f64, length: Duration) -> Result<Trial> {
        let trial = (self.trial)(load, length)?;
        self.trials += 1;
        self.spent += trial.duration.max(length);
        Ok(trial)
    }

    fn keep(&mut self, load: f64, trial: Trial) {
        match self.loads.binary_search_by(|(other, _)| other.total_cmp(&load)) {
            Ok(place) => self.loads[place].1.push(trial),
            Err(place) => self.loads.insert(place, (load, vec![trial])),
        }
    }

    fn class(&self, load: f64, goal: &Goal) -> Class {
        let tried = self.loads.iter().find(|(other, _)| *other == load);
        classify(load, tried.map_or(&[], |(_, trials)| trials), goal)
    }

    /// The relevant bounds: the lowest load that fails, and the highest below it that does not. A
    /// higher load that meets the goal by chance is ignored.
    fn bounds(&self, goal: &Goal) -> (Option<Bound>, Option<Bound>) {
        let mut lower = None;
        for (load, trials) in &self.loads {
            let bound = || Bound { load: *load, throughput: throughput(*load, trials, goal) };
            match classify(*load, trials, goal) {
                Class::Lower => lower = Some(bound()),
                Class::Undecided => {}
                Class::Upper => return (lower, Some(bound())),
            }
        }
        (lower, None)
    }

    fn is_short(&self) -> bool {
        self.loads.iter().any(|(load, trials)| trials.iter().any(|trial| trial.is_short_of(*load)))
    }
}

/// The number of steps in which a goal is approached.
const LEVELS: u32 = 3;
