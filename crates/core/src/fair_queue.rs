//! [`FairQueue`]: frames of several ports that wait until an uplink takes them.
//!
//! Each port has a queue of its own, and one with more than its share is stalled: it is to be read no
//! further until its frames have left. Queues are served by deficit round robin, so ports share the
//! uplink by bytes, and a frame of a light port waits for one round however much the others have sent.

use std::collections::VecDeque;

use crate::SubIndex;
use crate::ring_alloc::find_gap;
use crate::stats::Counters;

/// Bytes of waiting frames of all ports: more than one turn can read. Only pages with frames are ever
/// touched.
const CAPACITY: usize = 16 << 20;

/// Frames that may wait.
const FRAMES_MAX: usize = 8192;

/// A port with this many bytes is not read: one GSO packet, or a millisecond at 500 Mbit/s. It is
/// read again when half of them have left.
const PORT_BYTES: usize = 64 * 1024;

/// Bytes that a port may send in each round.
const QUANTUM: usize = 16 * 1024;

/// Frames of a batch.
const BATCH_FRAMES: usize = 64;

/// Bytes after which no further frame joins a batch: what comes later waits for the whole batch.
const BATCH_BYTES: usize = 64 * 1024;

/// The frames that wait for the uplink.
#[derive(Debug)]
pub struct FairQueue<T> {
    memory: Box<[u8]>,
    /// In the order of arrival. A frame that has left stays until all before it have.
    frames: VecDeque<WaitingFrame<T>>,
    /// The number of the first one.
    first: u64,
    /// Frames that have not left.
    len: usize,
    /// By sub-interface.
    ports: Vec<PortQueue>,
    /// Ports with frames, in the order of the round.
    round: VecDeque<SubIndex>,
    /// Numbers of the frames to be sent next.
    batch: VecDeque<u64>,
    /// Ports that are to be read no longer, or again.
    changes: Vec<SubIndex>,
    /// True while the uplink has no room.
    uplink_full: bool,
}

/// A frame in the memory of the backlog.
#[derive(Clone, Copy, Debug)]
pub struct WaitingFrame<T> {
    /// What the caller has given it.
    pub tag: T,
    start: usize,
    /// Bytes of the frame with its vnet header.
    len: usize,
    /// What it was counted as when it was sent.
    pub counters: Counters,
    /// The next one of the same port.
    next: Option<u64>,
    has_left: bool,
    /// It is not to be sent.
    pub discarded: bool,
}

/// The frames of one port.
#[derive(Clone, Copy, Debug, Default)]
struct PortQueue {
    /// The numbers of its first and its last frame.
    ends: Option<(u64, u64)>,
    bytes: usize,
    /// Bytes that it may send in this round.
    credit: usize,
    stalled: bool,
}

impl<T: Copy + PartialEq> FairQueue<T> {
    /// An empty queue without ports.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "16 MB are not made by accident")]
    pub fn new() -> Self {
        Self {
            memory: vec![0; CAPACITY].into_boxed_slice(),
            frames: VecDeque::with_capacity(FRAMES_MAX),
            first: 0,
            len: 0,
            ports: Vec::new(),
            round: VecDeque::new(),
            batch: VecDeque::with_capacity(BATCH_FRAMES),
            changes: Vec::new(),
            uplink_full: false,
        }
    }

    /// Makes room for this many sub-interfaces: later calls allocate nothing.
    pub fn reserve(&mut self, subs: usize) {
        if self.ports.len() < subs {
            self.ports.resize(subs, PortQueue::default());
            self.round.reserve(subs - self.round.len());
            // Each is stalled and resumed at most once between two calls of `take_change`.
            self.changes.reserve(2 * subs);
        }
    }

    /// Frames that wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if no frame waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True while the uplink has no room.
    #[inline]
    pub const fn uplink_full(&self) -> bool {
        self.uplink_full
    }

    /// Notes whether the uplink has room.
    pub const fn set_uplink_full(&mut self, full: bool) {
        self.uplink_full = full;
    }

    /// Appends a frame of a port that was counted as `counters`. False: there is no room.
    pub fn push(&mut self, from: SubIndex, tag: T, counters: Counters, bytes: &[u8]) -> bool {
        let Some(start) = self.find_gap(bytes.len()) else {
            return false;
        };
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        let number = self.first + self.frames.len() as u64;
        let (has_left, discarded, next) = Default::default();
        let len = bytes.len();
        let frame = WaitingFrame { tag, start, len, counters, next, has_left, discarded };
        self.frames.push_back(frame);
        self.len += 1;
        let before = self.ports[from.index()].ends.map(|(_, last)| self.place(last));
        let port = &mut self.ports[from.index()];
        port.bytes += len;
        port.ends = Some((port.ends.map_or(number, |(first, _)| first), number));
        match before {
            Some(before) => self.frames[before].next = Some(number),
            None => {
                port.credit = QUANTUM;
                self.round.push_back(from);
            }
        }
        if port.bytes >= PORT_BYTES && !std::mem::replace(&mut port.stalled, true) {
            self.changes.push(from);
        }
        true
    }

    /// Selects the frames to be sent next, unless such wait already; returns how many there are.
    pub fn fill_batch(&mut self) -> usize {
        let mut bytes = 0;
        let more = self.batch.is_empty();
        while more && bytes < BATCH_BYTES && self.batch.len() < BATCH_FRAMES {
            let Some(&id) = self.round.front() else {
                break;
            };
            let Some((number, last)) = self.ports[id.index()].ends else {
                self.round.pop_front();
                continue;
            };
            let WaitingFrame { len, next, .. } = self.frames[self.place(number)];
            let port = &mut self.ports[id.index()];
            if port.credit < len {
                port.credit += QUANTUM;
                self.round.rotate_left(1);
                continue;
            }
            port.credit -= len;
            port.bytes -= len;
            bytes += len;
            self.batch.push_back(number);
            port.ends = next.map(|next| (next, last));
            if next.is_none() {
                self.round.pop_front();
            }
            if port.stalled && port.bytes <= PORT_BYTES / 2 {
                port.stalled = false;
                self.changes.push(id);
            }
        }
        self.batch.len()
    }

    /// A frame of the batch by its position, and its bytes with the vnet header: none of one that is
    /// discarded, so that it is refused.
    pub fn frame(&self, position: usize) -> (WaitingFrame<T>, &[u8]) {
        let frame = self.frames[self.place(self.batch[position])];
        let len = if frame.discarded { 0 } else { frame.len };
        (frame, &self.memory[frame.start..frame.start + len])
    }

    /// Removes the first `count` frames of the batch.
    pub fn remove(&mut self, count: usize) {
        for number in self.batch.drain(..count) {
            // The numbers of waiting frames begin with `first`, and there are FRAMES_MAX at most.
            let place = usize::try_from(number - self.first).unwrap_or(0);
            self.frames[place].has_left = true;
            self.len -= 1;
        }
        while self.frames.pop_front_if(|frame| frame.has_left).is_some() {
            self.first += 1;
        }
    }

    /// Discards the frames with this tag. They leave in their turn, without bytes.
    pub fn discard(&mut self, tag: T) {
        for frame in self.frames.iter_mut().filter(|frame| frame.tag == tag) {
            frame.discarded = true;
        }
    }

    /// A port that is to be read no longer (true) or again (false), since the last call.
    pub fn take_change(&mut self) -> Option<(SubIndex, bool)> {
        let id = self.changes.pop()?;
        Some((id, self.ports[id.index()].stalled))
    }

    /// True if frames wait, or [`FairQueue::take_change`] has something to return.
    #[inline]
    pub const fn is_active(&self) -> bool {
        self.len > 0 || !self.changes.is_empty()
    }

    /// Where a frame with this number is in `frames`.
    fn place(&self, number: u64) -> usize {
        // The numbers of waiting frames begin with `first`, and there are FRAMES_MAX at most.
        usize::try_from(number - self.first).unwrap_or(0)
    }

    fn find_gap(&self, len: usize) -> Option<usize> {
        if self.frames.len() == FRAMES_MAX {
            return None;
        }
        let ends = self.frames.front().zip(self.frames.back());
        let occupied = ends.map(|(oldest, newest)| (oldest.start, newest.start + newest.len));
        find_gap(occupied, self.memory.len(), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: usize) -> SubIndex {
        SubIndex::from_index(index).unwrap()
    }

    fn backlog(ports: usize) -> FairQueue<u8> {
        let mut backlog = FairQueue::new();
        backlog.reserve(ports);
        backlog
    }

    fn push(backlog: &mut FairQueue<u8>, port: usize, frame: &[u8]) -> bool {
        backlog.push(id(port), 7, Counters::default(), frame)
    }

    /// The first bytes of the frames of one batch, all of which leave.
    fn leave(backlog: &mut FairQueue<u8>) -> Vec<u8> {
        let count = backlog.fill_batch();
        let first = (0..count).map(|position| backlog.frame(position).1[0]).collect();
        backlog.remove(count);
        first
    }

    fn changes(backlog: &mut FairQueue<u8>) -> Vec<(SubIndex, bool)> {
        std::iter::from_fn(|| backlog.take_change()).collect()
    }

    #[test]
    fn frames_of_a_port_leave_in_order_and_once() {
        let mut backlog = backlog(1);
        for number in 0..200 {
            assert!(push(&mut backlog, 0, &[number; 60]));
        }
        assert_eq!(backlog.fill_batch(), BATCH_FRAMES);
        backlog.remove(10);
        assert_eq!(
            (backlog.len(), backlog.fill_batch()),
            (190, BATCH_FRAMES - 10),
            "the same batch"
        );
        let mut left = Vec::new();
        while !backlog.is_empty() {
            left.extend(leave(&mut backlog));
        }
        assert!(left.into_iter().eq(10..200));
        assert!(leave(&mut backlog).is_empty());
    }

    #[test]
    fn ports_share_by_bytes_and_a_light_one_waits_for_one_round() {
        let mut backlog = backlog(3);
        for _ in 0..32 {
            assert!(push(&mut backlog, 0, &[0; 60_000]));
        }
        for _ in 0..2000 {
            assert!(push(&mut backlog, 1, &[1; 1000]));
        }
        assert!(push(&mut backlog, 2, &[2; 60]));
        let mut bytes = [0_usize; 3];
        for batch in 0..20 {
            for port in leave(&mut backlog) {
                bytes[usize::from(port)] += [60_000, 1000, 60][usize::from(port)];
            }
            assert!(batch > 0 || bytes[2] == 60, "{bytes:?}");
        }
        assert!(bytes[0].abs_diff(bytes[1]) <= 60_000 + QUANTUM, "{bytes:?}");
    }

    #[test]
    fn a_port_is_stalled_with_its_share_and_read_again_with_half_of_it() {
        let mut backlog = backlog(2);
        let frame = [0; PORT_BYTES / 4];
        for _ in 0..3 {
            assert!(push(&mut backlog, 1, &frame));
        }
        assert!(changes(&mut backlog).is_empty());
        assert!(push(&mut backlog, 1, &frame));
        assert!(push(&mut backlog, 1, &frame), "what was read already");
        assert_eq!(changes(&mut backlog), [(id(1), true)]);
        assert_eq!(leave(&mut backlog).len(), 4);
        assert_eq!(changes(&mut backlog), [(id(1), false)]);
    }

    #[test]
    fn a_full_backlog_refuses_frames_and_its_memory_is_used_again() {
        let mut backlog = backlog(2);
        let frame = [0; 60_000];
        let pushed = (0..1000).take_while(|_| push(&mut backlog, 0, &frame));
        let pushed = pushed.count();
        assert_eq!(pushed, CAPACITY / frame.len());
        assert!(!push(&mut backlog, 1, &frame));
        for _ in 0..3 * pushed {
            assert!(!leave(&mut backlog).is_empty());
            assert!(push(&mut backlog, 1, &frame));
        }
        while !backlog.is_empty() {
            leave(&mut backlog);
        }
        let small = (0..FRAMES_MAX + 1).take_while(|_| push(&mut backlog, 0, &[0]));
        assert_eq!(small.count(), FRAMES_MAX);
    }

    #[test]
    fn frames_of_a_switch_that_ends_have_no_bytes() {
        let mut backlog = backlog(1);
        assert!(push(&mut backlog, 0, &[7; 60]));
        backlog.discard(7);
        assert_eq!(backlog.fill_batch(), 1);
        let (frame, bytes) = backlog.frame(0);
        assert!(frame.discarded && bytes.is_empty());
        backlog.remove(1);
        assert!(backlog.is_empty());
    }
}
