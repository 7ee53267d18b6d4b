//! The highest load that meets a goal, found with as few trials as possible: MLRsearch (RFC 9971).
//!
//! It only decides which load to try next and when to stop; the trial is the caller's. All goals
//! share their trials, and each is approached in [`LEVELS`] steps: the first ones with short
//! trials and wide bounds, the last one as the goal says.

mod load;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Result;

pub(crate) use load::Trial;
use load::{Class, classify, throughput};

/// What is looked for: the highest load at which not more than this is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// The part of the frames that may be lost.
    pub loss_ratio: f64,
    /// The part of the trials that may lose more.
    pub exceed_ratio: f64,
    /// How long a trial is.
    pub trial: Duration,
    /// How long the trials of one load are together.
    pub sum: Duration,
    /// How far apart the bounds may be, as a part of the upper one.
    pub width: f64,
}

/// Within what is looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The lowest load worth a trial, in frames a second.
    pub lowest: f64,
    /// The highest that can be sent.
    pub highest: f64,
    /// How long all trials may be together.
    pub time: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Maximum receive rate: frames a second that arrive at the highest load.
    pub mrr: f64,
    /// One for each goal, in their order.
    pub found: Vec<Bounds>,
    /// How many trials it took, with the one to warm up.
    pub trials: usize,
    /// True if the generator, not what was measured, was the limit of some trial.
    pub short: bool,
}

/// Where the answer to one goal is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    /// The highest load that meets the goal, below the upper bound; none if not even the lowest.
    pub lower: Option<Bound>,
    /// The lowest load that does not; none if even the highest does.
    pub upper: Option<Bound>,
    /// False if time ran out: the bounds are further apart than the goal says, or less certain.
    pub finished: bool,
}

/// A load that has been decided on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    /// Frames a second that are sent.
    pub load: f64,
    /// Of those, what arrives in all but the trials that may be worse (conditional throughput).
    pub throughput: f64,
}

impl Goal {
    /// The non-drop rate: nothing is lost.
    pub(crate) fn ndr(trial: Duration, sum: Duration) -> Self {
        Self { loss_ratio: 0.0, exceed_ratio: 0.5, trial, sum, width: 0.01 }
    }

    /// The partial drop rate: one in 200 is lost.
    pub(crate) fn pdr(trial: Duration, sum: Duration) -> Self {
        Self { loss_ratio: 0.005, ..Self::ndr(trial, sum) }
    }

    /// What stands for the goal while there are so many levels still to come.
    fn coarse(&self, to_come: u32) -> Self {
        if to_come == 0 {
            return *self;
        }
        let factor = 2_u32.pow(to_come);
        let trial = self.trial / factor;
        Self { trial, sum: trial, width: self.width * f64::from(factor), ..*self }
    }
}

/// Looks for the highest load that meets each of the goals. `trial` is given a load in frames a
/// second and how long to send it.
///
/// # Errors
/// Those of `trial`, the first of which ends the search.
pub(crate) fn search(
    limits: Limits,
    goals: &[Goal],
    trial: impl FnMut(f64, Duration) -> Result<Trial>,
) -> Result<Outcome> {
    let mut search = Search { limits, trial, loads: Vec::new(), spent: Duration::ZERO, trials: 0 };
    let length = goals.iter().map(|goal| goal.trial).max().unwrap_or(limits.time);
    let first = search.at_most(length)?;
    let short = first.is_short_of(limits.highest);
    let mut found = vec![Bounds::default(); goals.len()];
    let mut hints = vec![first.rate(); goals.len()];
    for to_come in (0..LEVELS).rev() {
        for (place, goal) in goals.iter().enumerate() {
            let goal = goal.coarse(to_come);
            let finished = search.pursue(&goal, hints[place])?;
            let (lower, upper) = search.bounds(&goal);
            // Bounds that a coarser level left are better than none.
            if finished || lower.is_some() {
                found[place] = Bounds { lower, upper, finished: finished && to_come == 0 };
            }
            hints[place] = lower.map_or(hints[place], |lower| lower.load);
        }
    }
    let short = short || search.is_short();
    Ok(Outcome { mrr: first.rate(), found, trials: search.trials, short })
}

/// A search on its way.
struct Search<F> {
    limits: Limits,
    trial: F,
    /// Every load that was tried, in rising order, with its trials.
    loads: Vec<(f64, Vec<Trial>)>,
    spent: Duration,
    trials: usize,
}

impl<F: FnMut(f64, Duration) -> Result<Trial>> Search<F> {
    /// The trial at the highest load, after one that warms everything up and does not count. Where
    /// the generator cannot send that much, what it can send is the highest from now on.
    fn at_most(&mut self, length: Duration) -> Result<Trial> {
        self.run(self.limits.highest, length)?;
        let trial = self.run(self.limits.highest, length)?;
        if trial.is_short_of(self.limits.highest) {
            self.limits.highest = trial.offered_rate().round().max(self.limits.lowest);
        }
        self.keep(self.limits.highest, trial);
        Ok(trial)
    }

    /// Tries loads until the bounds are as near as the goal says; false if time runs out.
    fn pursue(&mut self, goal: &Goal, hint: f64) -> Result<bool> {
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
                // Bounds of neighbouring whole numbers: nearer there is none.
                return Ok(true);
            }
            if !self.decide(load, goal)? {
                return Ok(false);
            }
        }
    }

    /// Repeats the trial until it is clear what the load is to the goal; false if time runs out.
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
    /// higher load that happens to meet the goal is not relevant.
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

/// Steps in which a goal is approached.
const LEVELS: u32 = 3;
