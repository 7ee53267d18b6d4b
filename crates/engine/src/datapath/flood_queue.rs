//! [`GroupQueue`]: group frames whose copies are more than one turn may make.
//!
//! One broadcast on a parent with a thousand sub-interfaces is a thousand frames. A turn makes a
//! bounded number of copies; what is left of a flood waits here with a mark of how far it got, so
//! a storm of broadcasts costs unicast traffic a slice of each turn and not the turn. The kernel
//! defers to a work queue for the same reason (`drivers/net/macvlan.c`, `bcqueuelen`).

use std::collections::VecDeque;
use std::ops::Range;

use umacvlan_core::switch::FloodRule;

use crate::datapath::ring_alloc::room;
use crate::datapath::switches::SwitchId;

/// Bytes of waiting frames. Pages are touched only when frames really wait.
const ROOM: usize = 8 << 20;

/// Frames that may wait, whatever `bcqueuelen` says.
const FRAMES: usize = 65_536;

/// A flood that is not finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// The switch whose flood it is.
    pub(crate) at: SwitchId,
    pub(crate) rule: FloodRule,
    /// Where the flood goes on.
    pub(crate) cursor: u32,
    start: usize,
    len: usize,
}

impl Waiting {
    /// Where the vnet header and the frame lie.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// Unfinished floods, first in first out, with their frames.
#[derive(Debug)]
pub(crate) struct GroupQueue {
    bytes: Box<[u8]>,
    waiting: VecDeque<Waiting>,
    /// Floods at the front that are finished, but whose frames this turn has yet to write.
    finished: usize,
}

impl GroupQueue {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; ROOM].into_boxed_slice(),
            waiting: VecDeque::with_capacity(2048),
            finished: 0,
        }
    }

    /// Floods that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() - self.finished
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when a frame of `len` bytes can wait.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.len() < FRAMES && self.place(len).is_some()
    }

    /// Copies a frame and lets it wait. False, and nothing is changed, when there is no room.
    pub(crate) fn push(
        &mut self,
        at: SwitchId,
        rule: FloodRule,
        cursor: u32,
        frame: &[u8],
    ) -> bool {
        let Some(start) = self.place(frame.len()) else {
            return false;
        };
        self.bytes[start..start + frame.len()].copy_from_slice(frame);
        self.waiting.push_back(Waiting { at, rule, cursor, start, len: frame.len() });
        true
    }

    /// Ends the floods of a switch that is no more: what is put in its place must not get them.
    pub(crate) fn end(&mut self, at: SwitchId) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.at == at) {
            waiting.cursor = u32::MAX;
        }
    }

    /// The flood that has waited longest.
    pub(crate) fn front(&self) -> Option<Waiting> {
        self.waiting.get(self.finished).copied()
    }

    /// Notes how far the flood at the front has got.
    pub(crate) fn advance(&mut self, cursor: u32) {
        if let Some(front) = self.waiting.get_mut(self.finished) {
            front.cursor = cursor;
        }
    }

    /// Notes that the flood at the front is finished. Its frame stays until [`GroupQueue::release`].
    pub(crate) fn finish(&mut self) {
        self.finished = (self.finished + 1).min(self.waiting.len());
    }

    /// The bytes of a waiting frame.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Ends the turn: the frames of finished floods are forgotten.
    pub(crate) fn release(&mut self) {
        self.waiting.drain(..self.finished);
        self.finished = 0;
    }

    fn place(&self, len: usize) -> Option<usize> {
        let oldest = self.waiting.front().map(|first| first.start);
        let end = self.waiting.back().map(|last| last.start + last.len);
        room(oldest.zip(end), self.bytes.len(), len)
    }
}
