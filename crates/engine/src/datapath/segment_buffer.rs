//! [`Scratch`]: frames that the engine finishes for a receiver that takes finished ones only.

use std::ops::Range;

use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, segment,
};

use crate::datapath::frame_ref::{Held, Place};

/// Bytes of finished frames in one turn. Pages are touched only when there are any.
const ROOM: usize = 8 << 20;

/// Memory for finished frames, used anew every turn.
#[derive(Debug)]
pub(crate) struct Scratch {
    work: Box<[u8; SEGMENT_BUFFER_LEN]>,
    frames: Box<[u8]>,
    used: usize,
    /// The frames made of the last one.
    made: Vec<Held>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            work: Box::new([0; SEGMENT_BUFFER_LEN]),
            frames: vec![0; ROOM].into_boxed_slice(),
            used: 0,
            made: Vec::with_capacity(256),
        }
    }

    /// The finished frames that stand for one that its receiver does not take as it is. `None`: the
    /// frame contradicts its header, or there is no room left in this turn.
    pub(crate) fn finish(&mut self, header: VnetHeader, frame: &[u8]) -> Option<&[Held]> {
        self.made.clear();
        let before = self.used;
        let whole = match header.is_gso() {
            true => self.segment(header, frame),
            false => self.complete(header, frame),
        };
        if !whole {
            self.used = before;
            return None;
        }
        Some(&self.made)
    }

    /// The bytes of a finished frame of this turn.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.frames[range]
    }

    /// Ends the turn.
    pub(crate) fn release(&mut self) {
        self.used = 0;
    }

    fn segment(&mut self, header: VnetHeader, frame: &[u8]) -> bool {
        let Self { work, frames, used, made } = self;
        let mut whole = true;
        let cut = segment(header, frame, work, |unit| {
            let Some(room) = frames.get_mut(*used..*used + unit.len()) else {
                whole = false;
                return;
            };
            room.copy_from_slice(unit);
            made.push(Held::new(Place::Scratch, 0, *used, unit.len()));
            *used += unit.len();
        });
        whole && cut.is_ok()
    }

    fn complete(&mut self, mut header: VnetHeader, frame: &[u8]) -> bool {
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
        self.made.push(Held::new(Place::Scratch, 0, self.used, len));
        self.used += len;
        true
    }
}
