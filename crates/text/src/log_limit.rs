//! [`LogLimit`]: at most some lines of a kind in a period, and then the number of those left out.
//!
//! The user of a link can cause any number of warnings by changing its interface again and again. No
//! clock is read here.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lines of a kind in one period.
pub const LINES: u32 = 5;

/// The length of a period, which begins with its first line.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The lines of each kind in its present period.
#[derive(Debug)]
pub struct LogLimit<K> {
    /// Lines of a kind in one period.
    lines: u32,
    periods: HashMap<K, Period>,
}

#[derive(Debug)]
struct Period {
    begun: Instant,
    lines: u32,
}

impl<K> Default for LogLimit<K> {
    fn default() -> Self {
        Self::new(LINES)
    }
}

impl<K> LogLimit<K> {
    /// At most this many lines of a kind in a period.
    pub fn new(lines: u32) -> Self {
        Self { lines, periods: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> LogLimit<K> {
    /// Counts a line, and returns whether it is to be written.
    pub fn allows(&mut self, kind: K, now: Instant) -> bool {
        let period = self.periods.entry(kind).or_insert(Period { begun: now, lines: 0 });
        period.lines = period.lines.saturating_add(1);
        period.lines <= self.lines
    }

    /// Ends the periods that are over. Returns the kinds of which lines were left out, and how many.
    pub fn end_periods(&mut self, now: Instant) -> Vec<(K, u32)> {
        let (mut left_out, lines) = (Vec::new(), self.lines);
        self.periods.retain(|kind, period| {
            let goes_on = now.saturating_duration_since(period.begun) < PERIOD;
            if !goes_on && period.lines > lines {
                left_out.push((kind.clone(), period.lines - lines));
            }
            goes_on
        });
        left_out.sort();
        left_out
    }

    /// The time until the first period is over of which lines were left out.
    pub fn due(&self, now: Instant) -> Option<Duration> {
        let over = self.periods.values().filter(|period| period.lines > self.lines);
        over.map(|period| (period.begun + PERIOD).saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_lines_leaves_some_and_their_number() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut limit = LogLimit::default();
        let mut written = 0;
        for millis in (0..10_000).step_by(100) {
            assert!(limit.end_periods(at(millis)).is_empty());
            written += u32::from(limit.allows("bad", at(millis)));
        }
        assert_eq!(written, LINES);
        assert_eq!(limit.due(at(9_900)), Some(Duration::from_millis(100)));
        assert_eq!(limit.end_periods(at(9_999)), []);
        assert_eq!(limit.end_periods(at(10_000)), [("bad", 100 - LINES)]);
        // The next period begins with its first line.
        assert_eq!((limit.due(at(10_000)), limit.end_periods(at(60_000))), (None, vec![]));
        assert!(limit.allows("bad", at(60_000)));
    }

    #[test]
    fn a_kind_does_not_use_up_the_lines_of_another() {
        let now = Instant::now();
        let mut limit = LogLimit::default();
        for _ in 0..1000 {
            limit.allows((1, "reverted"), now);
        }
        for other in [(2, "reverted"), (1, "up")] {
            assert!(limit.allows(other, now), "{other:?}");
        }
        assert!(!limit.allows((1, "reverted"), now));
    }

    #[test]
    fn what_is_rare_is_complete_and_is_forgotten() {
        let start = Instant::now();
        let mut limit = LogLimit::default();
        for second in 0..1000 {
            let now = start + Duration::from_secs(3 * second);
            assert!(limit.end_periods(now).is_empty());
            assert!(limit.allows(second % 2, now));
        }
        limit.end_periods(start + Duration::from_secs(4000));
        assert!(limit.periods.is_empty());
    }
}
