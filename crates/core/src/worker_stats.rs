//! [`WorkerStats`]: what a worker has done with its time.

use std::ops::AddAssign;
use std::time::Duration;

/// What a worker has done with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Turns in all.
    pub turns: u64,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Frames read in them, from wire and ports.
    pub frames: u64,
    /// System calls made for frames and to wait for them.
    pub syscalls: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Time in turns that found something.
    pub busy: Duration,
    /// Time in turns that found nothing.
    pub spinning: Duration,
    /// Time asleep.
    pub asleep: Duration,
}

impl AddAssign for WorkerStats {
    fn add_assign(&mut self, other: Self) {
        let Self { turns, busy_turns, frames, syscalls, sleeps, busy, spinning, asleep } = other;
        self.turns += turns;
        self.busy_turns += busy_turns;
        self.frames += frames;
        self.syscalls += syscalls;
        self.sleeps += sleeps;
        self.busy += busy;
        self.spinning += spinning;
        self.asleep += asleep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_two_workers_has_every_field_of_both() {
        let one = WorkerStats {
            turns: 1,
            busy_turns: 2,
            frames: 3,
            syscalls: 4,
            sleeps: 5,
            busy: Duration::from_secs(6),
            spinning: Duration::from_secs(7),
            asleep: Duration::from_secs(8),
        };
        let mut sum = one;
        sum += one;
        let twice = WorkerStats {
            turns: 2,
            busy_turns: 4,
            frames: 6,
            syscalls: 8,
            sleeps: 10,
            busy: Duration::from_secs(12),
            spinning: Duration::from_secs(14),
            asleep: Duration::from_secs(16),
        };
        assert_eq!(sum, twice);
    }
}
