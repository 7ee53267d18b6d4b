//! [`Bucket`]: a token bucket as the time at which its tokens end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Ticks of a second: a tick is a sixteenth of a nanosecond, so a frame of 64 bytes at 100 Gbit/s takes
/// 82 of them, and 64 bits are enough for 36 years.
const SECOND: u64 = 16_000_000_000;

/// A time since some start that is the same for all callers of a limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The moment that is this long after the start.
    pub fn after(start: Duration) -> Self {
        Self(ticks(start))
    }

    /// How long after `earlier` it is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).div_ceil(16))
    }
}

/// A token bucket.
///
/// It holds the moment until which its tokens are used up. It is open from then on: a frame passes, and
/// its cost moves that moment on, so a frame larger than the bucket passes, too, and the next one waits
/// the longer. A moment in the past is a bucket with tokens, of which it holds no more than its depth.
///
/// Several workers may share it: it is the only value on the way of a frame that is changed by a
/// compare-and-swap, and only sub-interfaces with a limit have one.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Tokens per second: bits, or frames.
    rate: u64,
    /// The time in which an empty bucket fills, in ticks.
    depth: u64,
    /// When the tokens are used up until, in ticks.
    until: AtomicU64,
}

impl Bucket {
    /// A full bucket that gets `rate` tokens per second, at least one, and holds `depth` tokens.
    pub(super) fn new(rate: u64, depth: u64) -> Self {
        let rate = rate.max(1);
        Self { rate, depth: time_of(depth, rate), until: AtomicU64::new(0) }
    }

    /// When the next frame passes.
    pub(super) fn opens_at(&self) -> Moment {
        Moment(self.until.load(Ordering::Relaxed))
    }

    /// Takes the tokens of a frame. `waited`: the frame waited for them, and was perhaps looked at later
    /// than it could have passed; so tokens of this time before are still there.
    pub(super) fn take(&self, now: Moment, tokens: u64, waited: Duration) {
        let cost = time_of(tokens, self.rate);
        let oldest = now.0.saturating_sub(self.depth.max(ticks(waited)));
        let next = |until: u64| Some(until.max(oldest).saturating_add(cost));
        // It never fails, as `next` always has a value.
        let _ = self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// The time in which `tokens` tokens come, in ticks.
fn time_of(tokens: u64, rate: u64) -> u64 {
    let time = (u128::from(tokens) * u128::from(SECOND) + u128::from(rate / 2)) / u128::from(rate);
    u64::try_from(time).unwrap_or(u64::MAX)
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().saturating_mul(16)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Moment {
        Moment::after(Duration::from_micros(micros))
    }

    #[test]
    fn a_full_bucket_passes_its_depth_and_then_the_rate() {
        // A token in a microsecond, and three at once.
        let bucket = Bucket::new(1_000_000, 3);
        let passed = |now: Moment| {
            let mut passed = 0;
            while bucket.opens_at() <= now {
                bucket.take(now, 1, Duration::ZERO);
                passed += 1;
            }
            passed
        };
        assert_eq!(passed(at(1000)), 4, "the depth, and one that makes a debt");
        assert_eq!((passed(at(1001)), passed(at(1003)), passed(at(1003))), (1, 2, 0));
        assert_eq!(passed(at(9000)), 4, "no more than the depth is kept");
    }

    #[test]
    fn tokens_of_a_frame_that_waited_are_kept_for_longer_than_the_depth() {
        let bucket = Bucket::new(1_000_000, 0);
        bucket.take(at(1000), 1, Duration::ZERO);
        let late = Duration::from_micros(10);
        let passed = (0..100).take_while(|_| {
            let open = bucket.opens_at() <= at(1006);
            bucket.take(at(1006), u64::from(open), late);
            open
        });
        assert_eq!(passed.count(), 6, "those of 1001 to 1006");
    }

    #[test]
    fn a_large_frame_makes_a_debt() {
        let bucket = Bucket::new(8_000, 0);
        bucket.take(at(0), 8_000, Duration::ZERO);
        assert_eq!(bucket.opens_at(), at(1_000_000));
        assert_eq!(bucket.opens_at().since(at(400_000)), Duration::from_micros(600_000));
    }

    #[test]
    fn no_rate_and_no_frame_is_too_large_for_it() {
        for rate in [0, 1, u64::MAX] {
            let bucket = Bucket::new(rate, u64::MAX);
            bucket.take(at(7), u64::MAX, Duration::MAX);
            bucket.take(at(8), u64::MAX, Duration::MAX);
        }
    }
}
