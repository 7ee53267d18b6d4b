//! `Idle`: what a worker does when there is nothing to do.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long `adaptive` looks for work before it sleeps. A request and its response over a
/// sub-interface take less, so a conversation never pays for a wake-up.
const SPIN: Duration = Duration::from_micros(50);

/// How a worker waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Spins for a moment after the last frame, then sleeps until the next.
    #[default]
    Adaptive,
    /// Never sleeps: the least latency, and a whole core.
    Busy,
    /// Sleeps at once: the least work, and a wake-up for every burst.
    Interrupt,
}

impl Poll {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Adaptive, Self::Busy, Self::Interrupt];

    /// The word used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Busy => "busy",
            Self::Interrupt => "interrupt",
        }
    }
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a way to poll: one of adaptive, busy, interrupt")]
pub struct ParsePollError(String);

impl FromStr for Poll {
    type Err = ParsePollError;

    /// Reads the word, exactly.
    ///
    /// # Errors
    /// Any other text.
    fn from_str(text: &str) -> Result<Self, ParsePollError> {
        Self::ALL
            .into_iter()
            .find(|poll| poll.name() == text)
            .ok_or_else(|| ParsePollError(text.to_owned()))
    }
}

/// What a worker has done with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnStats {
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

impl AddAssign for TurnStats {
    fn add_assign(&mut self, other: Self) {
        self.turns += other.turns;
        self.busy_turns += other.busy_turns;
        self.frames += other.frames;
        self.sleeps += other.sleeps;
        self.busy += other.busy;
        self.spinning += other.spinning;
        self.asleep += other.asleep;
    }
}

/// Decides after each turn whether to sleep, and accounts for the time.
#[derive(Debug)]
pub struct Idle {
    poll: Poll,
    /// When the last turn ended.
    last: Instant,
    /// When the last turn that found something ended.
    worked: Instant,
    pub(crate) stats: TurnStats,
}

impl Idle {
    /// An account that begins now.
    pub fn new(poll: Poll) -> Self {
        let now = Instant::now();
        Self { poll, last: now, worked: now, stats: TurnStats::default() }
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
            Poll::Adaptive => now.duration_since(self.worked) >= SPIN,
            Poll::Busy => false,
            Poll::Interrupt => true,
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
        assert!(!Idle::new(Poll::Busy).after_turn(0, false));
        assert!(Idle::new(Poll::Interrupt).after_turn(0, false));
        assert!(!Idle::new(Poll::Interrupt).after_turn(1, true));
    }

    #[test]
    fn adaptive_sleeps_only_after_its_budget() {
        let mut idle = Idle::new(Poll::Adaptive);
        idle.worked = Instant::now();
        assert!(!idle.after_turn(1, true));
        idle.worked = idle.last.checked_sub(SPIN).unwrap();
        assert!(idle.after_turn(0, false));
    }

    #[test]
    fn time_is_accounted_to_what_it_was_spent_on() {
        let mut idle = Idle::new(Poll::Adaptive);
        idle.after_turn(3, true);
        idle.after_turn(0, false);
        idle.after_sleep();
        let stats = idle.stats;
        assert_eq!((stats.turns, stats.busy_turns, stats.frames, stats.sleeps), (2, 1, 3, 1));
    }

    #[test]
    fn every_policy_reads_its_own_name() {
        for poll in Poll::ALL {
            assert_eq!(poll.name().parse(), Ok(poll));
        }
        assert!("lazy".parse::<Poll>().is_err());
    }
}
