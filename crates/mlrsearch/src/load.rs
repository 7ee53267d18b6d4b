//! Classifies a load by its trials: whether it is a lower or an upper bound.

use std::time::Duration;

use super::Goal;

/// The result of one trial at a load.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Frames that were sent.
    pub offered: u64,
    /// Frames that arrived.
    pub forwarded: u64,
    /// The duration of sending.
    pub duration: Duration,
}

impl Trial {
    /// The ratio of frames that did not arrive.
    pub fn loss_ratio(&self) -> f64 {
        let lost = self.offered.saturating_sub(self.forwarded);
        if self.offered == 0 { 1.0 } else { lost as f64 / self.offered as f64 }
    }

    /// Frames per second that arrived.
    pub fn rate(&self) -> f64 {
        self.per_second(self.forwarded)
    }

    /// Frames per second that were sent.
    pub(crate) fn offered_rate(&self) -> f64 {
        self.per_second(self.offered)
    }

    /// True if the generator sent noticeably less than this load.
    pub(crate) fn is_short_of(&self, load: f64) -> bool {
        self.offered_rate() < SENT * load
    }

    /// The loss ratio, or 1 if the generator did not reach the load: such a trial cannot approve
    /// it.
    fn loss_at(&self, load: f64) -> f64 {
        if self.is_short_of(load) { 1.0 } else { self.loss_ratio() }
    }

    fn per_second(&self, frames: u64) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 { frames as f64 / seconds } else { 0.0 }
    }
}

/// The class of a load with respect to a goal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// The goal is met, whatever further trials show.
    Lower,
    /// Further trials are needed.
    Undecided,
    /// The goal is not met, whatever further trials show.
    Upper,
}

/// Classifies this load with respect to the goal (RFC 9971, load classification).
///
/// Trials as long as the goal demands count by their duration, good and bad. Of shorter ones only
/// an excess of bad ones counts: a short trial without loss proves little.
pub(crate) fn classify(load: f64, trials: &[Trial], goal: &Goal) -> Class {
    let seconds = TrialSeconds::of(load, trials, goal);
    let allowed = seconds.whole * goal.exceed_ratio;
    // The remaining time may turn out all bad or all good.
    if seconds.whole - seconds.good <= allowed {
        Class::Lower
    } else if seconds.bad <= allowed {
        Class::Undecided
    } else {
        Class::Upper
    }
}

/// Frames per second that this load delivers, with the loss that only the allowed ratio of trials
/// exceeds (RFC 9971, conditional throughput).
pub(crate) fn throughput(load: f64, trials: &[Trial], goal: &Goal) -> f64 {
    let mut losses: Vec<(f64, f64)> = full(trials, goal)
        .map(|trial| (trial.loss_at(load), trial.duration.as_secs_f64()))
        .collect();
    losses.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut remaining = TrialSeconds::of(load, trials, goal).whole * (1.0 - goal.exceed_ratio);
    for (loss, seconds) in losses {
        remaining -= seconds;
        if remaining <= 0.0 {
            return load * (1.0 - loss);
        }
    }
    0.0
}

/// Seconds of good and of bad trials.
struct TrialSeconds {
    good: f64,
    bad: f64,
    /// The total, but at least the duration that the goal demands.
    whole: f64,
}

impl TrialSeconds {
    fn of(load: f64, trials: &[Trial], goal: &Goal) -> Self {
        let seconds = |is_full: bool, is_good: bool| -> f64 {
            let those = trials.iter().filter(|trial| {
                is_long(trial, goal) == is_full
                    && (trial.loss_at(load) <= goal.loss_ratio) == is_good
            });
            those.map(|trial| trial.duration.as_secs_f64()).sum()
        };
        let balance = goal.exceed_ratio / (1.0 - goal.exceed_ratio);
        let excess = (seconds(false, false) - balance * seconds(false, true)).max(0.0);
        let (good, bad) = (seconds(true, true), seconds(true, false) + excess);
        Self { good, bad, whole: (good + bad).max(goal.sum.as_secs_f64()) }
    }
}

fn full<'t>(trials: &'t [Trial], goal: &Goal) -> impl Iterator<Item = &'t Trial> {
    trials.iter().filter(|trial| is_long(trial, goal))
}

fn is_long(trial: &Trial, goal: &Goal) -> bool {
    trial.duration.as_secs_f64() >= LONG * goal.trial.as_secs_f64()
}

/// The ratio of a load that the generator must send.
const SENT: f64 = 0.95;

/// The ratio of its nominal duration that a trial must reach: clocks are not exact.
const LONG: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: f64 = 1000.0;

    fn goal() -> Goal {
        Goal {
            loss_ratio: 0.005,
            exceed_ratio: 0.5,
            trial: Duration::from_secs(1),
            sum: Duration::from_secs(3),
            width: 0.01,
        }
    }

    fn trial(lost: u64, seconds: u64) -> Trial {
        let offered = 1000 * seconds;
        Trial { offered, forwarded: offered - lost, duration: Duration::from_secs(seconds) }
    }

    fn class(lost: &[u64]) -> Class {
        let trials: Vec<_> = lost.iter().map(|&lost| trial(lost, 1)).collect();
        classify(LOAD, &trials, &goal())
    }

    #[test]
    fn a_load_is_classified_as_soon_as_further_trials_cannot_change_it() {
        assert_eq!(class(&[]), Class::Undecided);
        assert_eq!(class(&[0]), Class::Undecided);
        assert_eq!(class(&[0, 5]), Class::Lower);
        assert_eq!(class(&[0, 6]), Class::Undecided);
        assert_eq!(class(&[0, 6, 0]), Class::Lower);
        assert_eq!(class(&[6, 0, 6]), Class::Upper);
        assert_eq!(class(&[6, 6]), Class::Upper);
    }

    #[test]
    fn short_trials_can_reject_a_load_but_not_approve_it() {
        let goal = Goal { trial: Duration::from_secs(5), sum: Duration::from_secs(5), ..goal() };
        let classify = |lost: [u64; 3]| classify(LOAD, &lost.map(|lost| trial(lost, 1)), &goal);
        assert_eq!(classify([0, 0, 0]), Class::Undecided);
        assert_eq!(classify([9, 9, 9]), Class::Upper);
        assert_eq!(classify([9, 9, 0]), Class::Undecided);
    }

    #[test]
    fn unsent_frames_count_as_lost() {
        let trials = [Trial { offered: 900, forwarded: 900, duration: Duration::from_secs(3) }];
        assert_eq!(classify(LOAD, &trials, &goal()), Class::Upper);
        let nothing = Trial { offered: 0, forwarded: 0, duration: Duration::ZERO };
        assert_eq!((nothing.loss_ratio(), nothing.rate()), (1.0, 0.0));
    }

    #[test]
    fn throughput_is_that_of_the_median_trial() {
        let trials = [trial(100, 1), trial(0, 1), trial(4, 1)];
        assert!((throughput(LOAD, &trials, &goal()) - 996.0).abs() < 1e-9);
        assert_eq!(throughput(LOAD, &trials[..1], &goal()), 0.0);
    }
}
