//! [`SegmentBuffer`]: frames completed for a receiver without the offloads that they need.

use std::ops::Range;

use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, segment,
};

use crate::frame_ref::{FrameRef, StorageKind};

/// Bytes of completed frames in one turn. Only pages with frames are ever touched.
const CAPACITY: usize = 8 << 20;

/// Memory for completed frames, reused every turn.
#[derive(Debug)]
pub(crate) struct SegmentBuffer {
    work: Box<[u8; SEGMENT_BUFFER_LEN]>,
    frames: Box<[u8]>,
    used: usize,
    /// The frames made from the last one.
    completed: Vec<FrameRef>,
}

impl SegmentBuffer {
    pub(crate) fn new() -> Self {
        Self {
            work: Box::new([0; SEGMENT_BUFFER_LEN]),
            frames: vec![0; CAPACITY].into_boxed_slice(),
            used: 0,
            completed: Vec::with_capacity(256),
        }
    }

    /// Segments a GSO packet, or completes a partial checksum; returns the frames to be delivered
    /// instead. `None`: the frame contradicts its header, or this turn has no room left.
    pub(crate) fn complete(&mut self, header: VnetHeader, frame: &[u8]) -> Option<&[FrameRef]> {
        self.completed.clear();
        let before = self.used;
        let complete = match header.is_gso() {
            true => self.segment(header, frame),
            false => self.complete_checksum(header, frame),
        };
        if !complete {
            self.used = before;
            return None;
        }
        Some(&self.completed)
    }

    /// The bytes of a completed frame of this turn.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.frames[range]
    }

    /// The bytes of a frame that was stored in this turn, to be changed.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.frames[range]
    }

    /// Stores a frame with its vnet header as it is. `None`: half of the room is used up, and the other
    /// half is for frames that have to be completed.
    pub(crate) fn store(&mut self, unit: &[u8]) -> Option<FrameRef> {
        let (start, end) = (self.used, self.used + unit.len());
        self.frames.get_mut(start..end).filter(|_| end <= CAPACITY / 2)?.copy_from_slice(unit);
        self.used = end;
        Some(FrameRef::new(StorageKind::Segments, start, unit.len()))
    }

    /// True while [`Self::store`] has room for a frame of any length.
    pub(crate) const fn has_room(&self) -> bool {
        self.used + SEGMENT_BUFFER_LEN <= CAPACITY / 2
    }

    /// The frames made from the last one, and the memory in which they are.
    pub(crate) fn completed(&self) -> (&[u8], &[FrameRef]) {
        (&self.frames, &self.completed)
    }

    /// Takes the memory with the frames that were made from the last one, so that they can be
    /// forwarded as frames that came so: none of them may need to be completed.
    /// [`Self::give_back`] returns it.
    pub(crate) fn take(&mut self) -> (Box<[u8]>, Vec<FrameRef>) {
        (std::mem::take(&mut self.frames), std::mem::take(&mut self.completed))
    }

    /// Returns what [`Self::take`] has taken.
    pub(crate) fn give_back(&mut self, (frames, completed): (Box<[u8]>, Vec<FrameRef>)) {
        (self.frames, self.completed) = (frames, completed);
    }

    /// Ends the turn: forgets its frames.
    pub(crate) fn end_turn(&mut self) {
        self.used = 0;
    }

    fn segment(&mut self, header: VnetHeader, frame: &[u8]) -> bool {
        let Self { work, frames, used, completed } = self;
        let mut fits = true;
        let segmented = segment(header, frame, work, |unit| {
            let Some(room) = frames.get_mut(*used..*used + unit.len()) else {
                fits = false;
                return;
            };
            room.copy_from_slice(unit);
            completed.push(FrameRef::new(StorageKind::Segments, *used, unit.len()));
            *used += unit.len();
        });
        fits && segmented.is_ok()
    }

    fn complete_checksum(&mut self, mut header: VnetHeader, frame: &[u8]) -> bool {
        let len = VNET_LEN + frame.len();
        let Some(room) = self.frames.get_mut(self.used..self.used + len) else {
            return false;
        };
        let (head, body) = room.split_at_mut(VNET_LEN);
        body.copy_from_slice(frame);
        if complete_checksum(&mut header, body).is_err() {
            return false;
        }
        head.fill(0);
        self.completed.push(FrameRef::new(StorageKind::Segments, self.used, len));
        self.used += len;
        true
    }
}
