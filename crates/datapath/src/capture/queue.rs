//! [`CaptureQueue`]: captured frames on their way from one worker to one reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Record;

/// Frames and bytes that may wait for the reader: a long GSO packet 64 times, or what a worker at
/// full speed forwards in some milliseconds.
const RECORDS: usize = 16_384;
const BYTES: usize = 4 << 20;

/// Frames that were captured, in their order.
#[derive(Debug)]
pub struct Batch {
    records: Vec<Record>,
    bytes: Vec<u8>,
}

impl Default for Batch {
    /// An empty batch with all the memory that it may use.
    fn default() -> Self {
        Self { records: Vec::with_capacity(RECORDS), bytes: Vec::with_capacity(BYTES) }
    }
}

impl Batch {
    /// The frames, each with the bytes that were kept.
    pub fn frames(&self) -> impl Iterator<Item = (Record, &[u8])> {
        let mut rest = &self.bytes[..];
        self.records.iter().map(move |record| {
            let kept = usize::try_from(record.kept).unwrap_or(rest.len()).min(rest.len());
            let (bytes, others) = rest.split_at(kept);
            rest = others;
            (*record, bytes)
        })
    }

    /// True if nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Forgets the frames and retains the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.records.len() < RECORDS && self.bytes.len() + bytes <= BYTES
    }
}

/// The queue of a capture and one worker.
///
/// # Threads
/// The worker never waits for the reader: it tries the lock, which the reader has while it exchanges
/// two pointers.
#[derive(Debug, Default)]
pub struct CaptureQueue {
    batch: Mutex<Batch>,
    left_out: AtomicU64,
    closed: OnceLock<&'static str>,
}

impl CaptureQueue {
    /// Adds a frame, or counts it as left out.
    pub(super) fn push(&self, record: Record, bytes: &[u8]) {
        match self.batch.try_lock() {
            Ok(mut batch) if batch.has_room(bytes.len()) => {
                batch.records.push(record);
                batch.bytes.extend_from_slice(bytes);
            }
            _ => self.leave_out(1),
        }
    }

    pub(crate) fn leave_out(&self, frames: u64) {
        self.left_out.fetch_add(frames, Ordering::Relaxed);
    }

    /// Exchanges what was captured since the last time with an empty batch.
    pub fn take(&self, batch: &mut Batch) {
        batch.clear();
        let mut filled = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *filled, batch);
    }

    /// The number of frames that were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Ends the capture, for this reason. The worker notices with its next turn.
    pub fn close(&self, why: &'static str) {
        // The first reason is the one.
        let _ = self.closed.set(why);
    }

    /// Why the capture has ended, if it has.
    pub fn closed(&self) -> Option<&'static str> {
        self.closed.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{Fate, Point};
    use super::*;

    fn record(kept: usize) -> Record {
        let kept = u32::try_from(kept).unwrap();
        Record {
            time: SystemTime::UNIX_EPOCH,
            point: Point::FromWire,
            sub: None,
            fate: Fate::Wire,
            len: kept,
            kept,
        }
    }

    #[test]
    fn a_full_queue_counts_what_it_leaves_out_and_has_room_when_it_was_read() {
        let (queue, mut batch) = (CaptureQueue::default(), Batch::default());
        for number in 0..RECORDS + 3 {
            queue.push(record(1), &[u8::try_from(number % 251).unwrap()]);
        }
        assert_eq!(queue.left_out(), 3);
        queue.take(&mut batch);
        let all: Vec<usize> = batch.frames().map(|(_, bytes)| usize::from(bytes[0])).collect();
        assert_eq!(all, (0..RECORDS).map(|number| number % 251).collect::<Vec<_>>());
        let long = vec![7; BYTES / 2 + 1];
        queue.push(record(long.len()), &long);
        queue.push(record(long.len()), &long);
        queue.push(record(0), &[]);
        assert_eq!(queue.left_out(), 4);
        queue.take(&mut batch);
        let lengths: Vec<usize> = batch.frames().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lengths, [long.len(), 0]);
    }

    #[test]
    fn a_worker_does_not_wait_for_a_reader() {
        let queue = CaptureQueue::default();
        let reader = queue.batch.lock().unwrap();
        queue.push(record(0), &[]);
        assert_eq!(queue.left_out(), 1);
        drop(reader);
        queue.close("first");
        queue.close("second");
        assert_eq!(queue.closed(), Some("first"));
    }
}
