//! [`Schedule`]: the due time of each frame of a trial.
//!
//! A late frame keeps its due time, and so do the next ones. A path that blocks the sender then
//! adds to the latency. Otherwise the sender would only send less often, and the delay would be
//! missed (coordinated omission).

use std::time::Duration;

/// Evenly spaced frames. Times are in nanoseconds of one clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: u64,
    /// Frames per second.
    rate: f64,
    /// The number of frames.
    total: u32,
}

impl Schedule {
    /// Frames at this rate, from `start` on and for `time`; at least one.
    pub(super) fn new(start: u64, rate: f64, time: Duration) -> Self {
        // The conversion saturates: 4 billion frames are more than any trial has.
        #[allow(clippy::cast_possible_truncation, reason = "see the line above")]
        let total = ((rate * time.as_secs_f64()) as u32).max(1);
        Self { start, rate, total }
    }

    /// The number of frames.
    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    /// How many frames in total are due by `now`.
    pub(super) fn due(&self, now: u64) -> u32 {
        let Some(passed) = now.checked_sub(self.start) else {
            return 0;
        };
        #[allow(clippy::cast_possible_truncation, reason = "it saturates, and is cut to the total")]
        let due = (passed as f64 * self.rate / 1e9) as u32;
        due.saturating_add(1).min(self.total)
    }

    /// The due time of the frame of this number.
    pub(super) fn time_of(&self, number: u32) -> u64 {
        #[allow(clippy::cast_possible_truncation, reason = "584 years of nanoseconds fit")]
        let after = (f64::from(number) * 1e9 / self.rate).ceil() as u64;
        self.start + after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000;

    #[test]
    fn frames_are_due_one_after_the_other_at_even_distances() {
        let schedule = Schedule::new(START, 1000.0, Duration::from_millis(10));
        assert_eq!(schedule.total(), 10);
        assert_eq!(schedule.due(START - 1), 0);
        for number in 0..10 {
            let time = schedule.time_of(number);
            assert_eq!(time, START + u64::from(number) * 1_000_000);
            assert_eq!(schedule.due(time), number + 1);
            assert_eq!(schedule.due(time - 1), number);
        }
        assert_eq!(schedule.due(u64::MAX), 10);
    }

    #[test]
    fn a_sender_that_was_held_up_sends_what_is_due_and_late_frames_keep_their_time() {
        let schedule = Schedule::new(START, 1e6, Duration::from_millis(1));
        // A mock clock that stands still for 100 us after the 50th frame.
        let (mut now, mut sent, mut stamps) = (START, 0, Vec::new());
        while sent < schedule.total() {
            let due = schedule.due(now);
            stamps.extend((sent..due).map(|number| (schedule.time_of(number), now)));
            now += if sent < 50 && due >= 50 { 100_000 } else { 1000 };
            sent = due;
        }
        let late: Vec<_> = stamps.iter().filter(|(due, sent)| sent - due >= 1000).collect();
        assert_eq!(late.len(), 99, "{late:?}");
        assert_eq!(stamps[50], (START + 50_000, START + 149_000));
    }

    #[test]
    fn a_slow_rate_has_one_frame_at_least() {
        assert_eq!(Schedule::new(START, 1.0, Duration::from_millis(1)).total(), 1);
    }
}
