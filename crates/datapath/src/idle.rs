//! [`IdlePolicy`]: whether a worker without work spins or sleeps.

use std::time::{Duration, Instant};

use umacvlan_core::WorkerStats;
use umacvlan_core::options::PollMode;

/// How long `adaptive` spins before it sleeps. A request and its response over a sub-interface
/// take less time, so neither pays for a wake-up.
const SPIN: Duration = Duration::from_micros(50);

/// Decides after each turn whether to sleep, and measures where the time goes.
#[derive(Debug)]
pub struct IdlePolicy {
    poll: PollMode,
    /// When the last turn ended.
    last: Instant,
    /// When the last turn with work ended.
    worked: Instant,
    pub(crate) stats: WorkerStats,
}

impl IdlePolicy {
    /// The policy of a poll mode; its time is measured from now on.
    pub fn new(poll: PollMode) -> Self {
        let now = Instant::now();
        Self { poll, last: now, worked: now, stats: WorkerStats::default() }
    }

    /// When the last turn or sleep ended.
    #[inline]
    pub(crate) const fn last_turn(&self) -> Instant {
        self.last
    }

    /// Counts a turn that read `frames` frames or had other work (`worked`). Returns whether to
    /// sleep before the next one.
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

    /// Counts a sleep that has just ended.
    pub fn after_sleep(&mut self) {
        let now = Instant::now();
        self.stats.sleeps += 1;
        self.stats.asleep += now.duration_since(self.last);
        self.last = now;
        // The frame that ended the sleep is here already, so the spinning time begins again.
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
    fn adaptive_sleeps_only_after_its_spinning_time() {
        let mut idle = IdlePolicy::new(PollMode::Adaptive);
        idle.worked = Instant::now();
        assert!(!idle.after_turn(1, true));
        idle.worked = idle.last.checked_sub(SPIN).unwrap();
        assert!(idle.after_turn(0, false));
    }

    #[test]
    fn turns_frames_and_sleeps_are_counted() {
        let mut idle = IdlePolicy::new(PollMode::Adaptive);
        idle.after_turn(3, true);
        idle.after_turn(0, false);
        idle.after_sleep();
        let stats = idle.stats;
        assert_eq!((stats.turns, stats.busy_turns, stats.frames, stats.sleeps), (2, 1, 3, 1));
    }

    #[test]
    fn every_poll_mode_parses_its_own_name() {
        for poll in PollMode::ALL {
            assert_eq!(poll.name().parse(), Ok(poll));
        }
        assert!("lazy".parse::<PollMode>().is_err());
    }
}
