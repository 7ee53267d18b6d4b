//! [`SequenceTracker`]: loss, duplicates, order and latency of a trial's frames at one destination.

use std::fmt;
use std::ops::Range;

use hdrhistogram::Histogram;

use super::frame::{BadFrame, Stream};

/// Tracks the sequence numbers of a trial's frames at one destination.
#[derive(Clone)]
pub struct SequenceTracker {
    stream: Stream,
    trial: u16,
    /// Arrival times that count for rate and latency, in nanoseconds of CLOCK_REALTIME.
    window: Range<u64>,
    /// One bit for each frame number, set if the frame has arrived.
    seen: Vec<u64>,
    /// For each flow, one more than the highest number that has arrived.
    next: Vec<u32>,
    /// Frames of this trial, without duplicates.
    pub received: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// Frames that arrived after one of their flow with a higher number.
    pub reordered: u64,
    /// Delayed frames of an earlier trial.
    pub stale: u64,
    /// Frames that arrived inside the window.
    pub timely: u64,
    /// Nanoseconds from a frame's due time to its arrival, of frames inside the window.
    pub latency: Histogram<u64>,
    /// The defect of the first frame that did not arrive as it was sent.
    pub bad_frame: Option<BadFrame>,
}

impl fmt::Debug for SequenceTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequenceTracker")
            .field("received", &self.received)
            .field("duplicated", &self.duplicated)
            .field("reordered", &self.reordered)
            .field("stale", &self.stale)
            .field("timely", &self.timely)
            .field("bad_frame", &self.bad_frame)
            .finish_non_exhaustive()
    }
}

impl SequenceTracker {
    pub(super) fn new(stream: Stream, trial: u16, window: Range<u64>) -> Self {
        // Two digits are enough, and keep the counters in the cache.
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 2)
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
            bad_frame: None,
        }
    }

    /// Counts a frame or a datagram's payload that arrived at that time.
    pub(super) fn count(&mut self, bytes: &[u8], arrived: u64) {
        let tag = match self.stream.read(bytes) {
            Ok(tag) => tag,
            Err(bad_frame) => {
                self.bad_frame.get_or_insert(bad_frame);
                return;
            }
        };
        if tag.trial != self.trial {
            self.stale += 1;
            return;
        }
        if !self.mark_seen(tag.number) {
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

    /// Marks this frame as arrived. False if it was marked before.
    fn mark_seen(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1024, 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }
}

/// Longer latencies, in nanoseconds, are recorded as this.
const LATENCY_MAX: u64 = 10_000_000_000;

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

    fn tracker() -> SequenceTracker {
        SequenceTracker::new(STREAM, 1, 1000..2000)
    }

    fn frame(trial: u16, number: u32, due: u64) -> Vec<u8> {
        let mut buffer = [0; FRAME_MAX];
        STREAM.begin(&mut buffer);
        let len = STREAM.write(Tag { trial, number, due }, &mut buffer);
        buffer[..len].to_vec()
    }

    #[test]
    fn loss_duplicates_and_reordering_are_distinguished() {
        let mut tracker = tracker();
        // 3 is lost, 2 is late, 1 arrives twice, and one frame is of the trial before.
        for number in [0, 1, 4, 2, 1, 5] {
            tracker.count(&frame(1, number, 900), 1500);
        }
        tracker.count(&frame(0, 3, 100), 1500);
        assert_eq!((tracker.received, tracker.duplicated), (5, 1));
        assert_eq!((tracker.reordered, tracker.stale), (1, 1));
        assert_eq!(tracker.bad_frame, None);
    }

    #[test]
    fn rate_and_latency_cover_the_window_and_latency_starts_at_the_due_time() {
        let mut tracker = tracker();
        for (number, due, arrived) in [(0, 900, 999), (1, 900, 1000), (2, 1100, 1999), (3, 1, 2000)]
        {
            tracker.count(&frame(1, number, due), arrived);
        }
        assert_eq!((tracker.received, tracker.timely), (4, 2));
        assert_eq!(tracker.latency.len(), 2);
        let seen = (tracker.latency.min(), tracker.latency.max());
        assert!(tracker.latency.equivalent(seen.1, 899), "{seen:?}");
        assert!(tracker.latency.equivalent(seen.0, 100), "{seen:?}");
    }

    #[test]
    fn one_wrong_byte_is_remembered_and_not_counted() {
        let mut tracker = tracker();
        let mut bad = frame(1, 0, 900);
        bad[50] ^= 0x40;
        tracker.count(&bad, 1500);
        tracker.count(&frame(1, 1, 900), 1500);
        assert_eq!((tracker.received, tracker.bad_frame), (1, Some(BadFrame::Payload)));
    }
}
