//! `IdlePolicy`: what a worker does when there is nothing to do.

use std::time::{Duration, Instant};
use umacvlan_core::WorkerStats;
use umacvlan_core::options::PollMode;

/// How long `adaptive` looks for work before it sleeps. A request and its response over a
/// sub-interface take less, so a conversation never pays for a wake-up.
const SPIN: Duration = Duration::from_micros(50);

/// Decides after each turn whether to sleep, and accounts for the time.
#[derive(Debug)]
pub struct IdlePolicy {
    poll: PollMode,
    /// When the last turn ended.
    last: Instant,
    /// When the last turn that found something ended.
    worked: Instant,
    pub(crate) stats: WorkerStats,
}

impl IdlePolicy {
    /// An account that begins now.
    pub fn new(poll: PollMode) -> Self {
        let now = Instant::now();
        Self { poll, last: now, worked: now, stats: WorkerStats::default() }
    }

    /// Accounts for a turn that read so many frames or had something else to do (`worked`), and
    /// says whether to sleep before the next.
    #[inline]
    pub fn after_turn(&mut self, frames: usize, worked: bool) -> bool {
        let now = Instant::now();
        let spent = now.duration_since(self.last);
        self.last = now;
        self.stats.turns += 1;
        if worked {
            self.stats.busy_turns += 1;
            self.stats.frames += frames as u64;
            self.stats.busy += spent;
            self.worked = now;
            return false;
        }
        self.stats.spinning += spent;
        match self.poll {
            PollMode::Adaptive => now.duration_since(self.worked) >= SPIN,
            PollMode::Busy => false,
            PollMode::Interrupt => true,
        }
    }

    /// Accounts for a sleep that has just ended.
    pub fn after_sleep(&mut self) {
        let now = Instant::now();
        self.stats.sleeps += 1;
        self.stats.asleep += now.duration_since(self.last);
        self.last = now;
        // The frame that ended the sleep is there already: look for it, do not spin for it.
        self.worked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_never_sleeps_and_interrupt_always_does() {
        assert!(!IdlePolicy::new(PollMode::Busy).after_turn(0, false));
        assert!(IdlePolicy::new(PollMode::Interrupt).after_turn(0, false));
        assert!(!IdlePolicy::new(PollMode::Interrupt).after_turn(1, true));
    }

    #[test]
    fn adaptive_sleeps_only_after_its_budget() {
        let mut idle = IdlePolicy::new(PollMode::Adaptive);
        idle.worked = Instant::now();
        assert!(!idle.after_turn(1, true));
        idle.worked = idle.last.checked_sub(SPIN).unwrap();
        assert!(idle.after_turn(0, false));
    }

    #[test]
    fn time_is_accounted_to_what_it_was_spent_on() {
        let mut idle = IdlePolicy::new(PollMode::Adaptive);
        idle.after_turn(3, true);
        idle.after_turn(0, false);
        idle.after_sleep();
        let stats = idle.stats;
        assert_eq!((stats.turns, stats.busy_turns, stats.frames, stats.sleeps), (2, 1, 3, 1));
    }

    #[test]
    fn every_policy_reads_its_own_name() {
        for poll in PollMode::ALL {
            assert_eq!(poll.name().parse(), Ok(poll));
        }
        assert!("lazy".parse::<PollMode>().is_err());
    }
}
