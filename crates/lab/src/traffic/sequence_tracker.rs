//! [`Tally`]: what one destination was given of a trial, frame by frame.

use std::fmt;
use std::ops::Range;

use hdrhistogram::Histogram;

use super::frame::{Stream, Wrong};

/// What a receiver has counted at one destination.
#[derive(Clone)]
pub struct Tally {
    stream: Stream,
    trial: u16,
    /// The stretch of time in which frames count for rate and latency.
    window: Range<u64>,
    /// One bit for each frame of the trial that has come.
    seen: Vec<u64>,
    /// Of each flow: one more than the highest number that has come.
    next: Vec<u32>,
    /// Frames of this trial, each counted once.
    pub received: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// Frames that came after one of their flow with a higher number.
    pub reordered: u64,
    /// Frames of an earlier trial, which were still on their way.
    pub stale: u64,
    /// Frames that came inside the window.
    pub timely: u64,
    /// From when a frame was due until it came, in nanoseconds, of those inside the window.
    pub latency: Histogram<u64>,
    /// The first frame that was not as it was sent.
    pub wrong: Option<Wrong>,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("received", &self.received)
            .field("duplicated", &self.duplicated)
            .field("reordered", &self.reordered)
            .field("stale", &self.stale)
            .field("timely", &self.timely)
            .field("wrong", &self.wrong)
            .finish_non_exhaustive()
    }
}

impl Tally {
    pub(super) fn new(stream: Stream, trial: u16, window: Range<u64>) -> Self {
        // Two digits are enough, and the counters then stay in the cache.
        let latency = Histogram::new_with_bounds(1, LONGEST, 2)
            .unwrap_or_else(|e| unreachable!("these bounds are allowed: {e}"));
        Self {
            stream,
            trial,
            window,
            seen: Vec::new(),
            next: vec![0; usize::from(stream.flows.max(1))],
            received: 0,
            duplicated: 0,
            reordered: 0,
            stale: 0,
            timely: 0,
            latency,
            wrong: None,
        }
    }

    /// Counts what came at that time: a frame, or what is in a datagram.
    pub(super) fn count(&mut self, bytes: &[u8], arrived: u64) {
        let tag = match self.stream.read(bytes) {
            Ok(tag) => tag,
            Err(wrong) => {
                self.wrong.get_or_insert(wrong);
                return;
            }
        };
        if tag.trial != self.trial {
            self.stale += 1;
            return;
        }
        if !self.mark(tag.number) {
            self.duplicated += 1;
            return;
        }
        self.received += 1;
        let next = &mut self.next[usize::from(self.stream.flow(tag.number))];
        if tag.number < *next {
            self.reordered += 1;
        } else {
            *next = tag.number.saturating_add(1);
        }
        if self.window.contains(&arrived) {
            self.timely += 1;
            self.latency.saturating_record(arrived.saturating_sub(tag.due));
        }
    }

    /// Notes that this frame has come; false if it had before.
    fn mark(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1024, 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }
}

/// Nanoseconds above which a latency is counted as that.
const LONGEST: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::frame::{FRAME_MAX, Sizes, Tag};
    use super::*;
    use crate::station::Member;

    const STREAM: Stream = Stream {
        from: Member::External.mac(),
        to: Member::Sub(1).mac(),
        sizes: Sizes::Fixed(64),
        ips: None,
        flows: 1,
    };

    fn tally() -> Tally {
        Tally::new(STREAM, 1, 1000..2000)
    }

    fn frame(trial: u16, number: u32, due: u64) -> Vec<u8> {
        let mut buffer = [0; FRAME_MAX];
        STREAM.begin(&mut buffer);
        let len = STREAM.write(Tag { trial, number, due }, &mut buffer);
        buffer[..len].to_vec()
    }

    #[test]
    fn loss_copies_and_disorder_are_told_apart() {
        let mut tally = tally();
        // 3 is lost, 2 comes late, 1 twice, and one is of the trial before.
        for number in [0, 1, 4, 2, 1, 5] {
            tally.count(&frame(1, number, 900), 1500);
        }
        tally.count(&frame(0, 3, 100), 1500);
        assert_eq!((tally.received, tally.duplicated), (5, 1));
        assert_eq!((tally.reordered, tally.stale), (1, 1));
        assert_eq!(tally.wrong, None);
    }

    #[test]
    fn rate_and_latency_are_of_the_window_and_the_latency_from_when_it_was_due() {
        let mut tally = tally();
        for (number, due, arrived) in [(0, 900, 999), (1, 900, 1000), (2, 1100, 1999), (3, 1, 2000)]
        {
            tally.count(&frame(1, number, due), arrived);
        }
        assert_eq!((tally.received, tally.timely), (4, 2));
        assert_eq!(tally.latency.len(), 2);
        let seen = (tally.latency.min(), tally.latency.max());
        assert!(tally.latency.equivalent(seen.1, 899), "{seen:?}");
        assert!(tally.latency.equivalent(seen.0, 100), "{seen:?}");
    }

    #[test]
    fn one_wrong_byte_is_remembered_and_not_counted() {
        let mut tally = tally();
        let mut bad = frame(1, 0, 900);
        bad[50] ^= 0x40;
        tally.count(&bad, 1500);
        tally.count(&frame(1, 1, 900), 1500);
        assert_eq!((tally.received, tally.wrong), (1, Some(Wrong::Payload)));
    }
}
