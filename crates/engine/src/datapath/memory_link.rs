//! [`MemoryLink`]: frames exchanged in memory.
//!
//! A link has two ends and two rings of fixed size. One end is an uplink or a port of a worker,
//! the other belongs to a test or a bench, so the very loop that serves TAPs runs without a
//! kernel. A ring is locked once a batch, and only here. A worker may have tens of thousands of
//! such ports, so it does not look at each every turn: it is told which have something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use umacvlan_core::offload::{TaggedPrefix, UNTAGGED_PREFIX_LEN, VNET_LEN};
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::arena::{Arena, BUFFER_LEN};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::tx_batch::Outgoing;

use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::ring_alloc::room;

/// One end of a link in memory.
#[derive(Clone, Debug)]
pub struct MemoryLink {
    inbox: Arc<Mutex<Ring>>,
    outbox: Arc<Mutex<Ring>>,
    /// Wakes the worker at the other end, if there is one.
    wake: Option<Arc<EventFd>>,
}

impl MemoryLink {
    /// The two ends of a link that holds `frames` frames of at most `bytes` bytes in all in each
    /// direction. What is sent at one is received at the other.
    pub fn pair(frames: usize, bytes: usize) -> (Self, Self) {
        let there = Arc::new(Mutex::new(Ring::new(frames, bytes)));
        let back = Arc::new(Mutex::new(Ring::new(frames, bytes)));
        let near = Self { inbox: Arc::clone(&back), outbox: Arc::clone(&there), wake: None };
        (near, Self { inbox: there, outbox: back, wake: None })
    }

    /// From now on whoever sleeps on this event is woken by what is put in here.
    pub fn wake_with(&mut self, wake: Arc<EventFd>) {
        self.wake = Some(wake);
    }

    /// Puts one frame, without vnet header, on its way. False: the ring is full.
    pub fn push(&self, frame: &[u8]) -> bool {
        self.push_with_header(&[0; VNET_LEN], frame)
    }

    /// Puts one frame with this vnet header on its way. False: the ring is full.
    pub fn push_with_header(&self, header: &[u8; VNET_LEN], frame: &[u8]) -> bool {
        let pushed = locked(&self.outbox).push([header, frame]);
        if let Some(wake) = &self.wake {
            wake.wake();
        }
        pushed
    }

    /// Takes one frame that has arrived: vnet header and frame.
    pub fn pop(&self) -> Option<Vec<u8>> {
        let mut ring = locked(&self.inbox);
        let frame = ring.front().map(<[u8]>::to_vec);
        ring.pop();
        frame
    }

    /// Throws away what has arrived and returns how many frames it was.
    pub fn drain(&self) -> usize {
        let mut ring = locked(&self.inbox);
        let count = ring.frames_in.len();
        while ring.pop() {}
        count
    }

    /// From now on `ready` is told when something arrives here where there was nothing. Nobody
    /// else is told.
    pub(crate) fn tell(&self, ready: Option<(Ready, SubIndex)>) {
        let mut ring = locked(&self.inbox);
        ring.ready = ready;
        if !ring.frames_in.is_empty() {
            ring.announce();
        }
    }

    /// Hands at most `budget` frames to `on`; how many there were, and whether there are more.
    pub(crate) fn recv(
        &mut self,
        arena: &mut Arena,
        budget: usize,
        mut on: impl FnMut(Held, &mut [u8]),
    ) -> (usize, bool) {
        let mut ring = locked(&self.inbox);
        let Ring { bytes, frames_in, .. } = &mut *ring;
        let mut count = 0;
        for &(start, len) in frames_in.iter().take(budget) {
            let Some(buffer) = arena.take() else {
                break;
            };
            let len = len.min(BUFFER_LEN);
            let frame = arena.bytes_mut(buffer, 0, len);
            frame.copy_from_slice(&bytes[start..start + len]);
            on(Held::new(Place::Arena, buffer, 0, len), frame);
            count += 1;
        }
        frames_in.drain(..count);
        (count, !frames_in.is_empty())
    }

    pub(crate) fn send<'f>(
        &self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        mut refused: impl FnMut(usize, DropReason),
    ) {
        let mut ring = locked(&self.outbox);
        for number in 0..count {
            let Outgoing { unit, path } = frame(number);
            let taken = match path.is_untagged() {
                true => ring.push([unit]),
                false => TaggedPrefix::new(unit, path)
                    .is_some_and(|head| ring.push([head.as_bytes(), &unit[UNTAGGED_PREFIX_LEN..]])),
            };
            if !taken {
                refused(number, DropReason::Full);
            }
        }
    }
}

/// Ports that have got something since their worker looked, each once.
pub(crate) type Ready = Arc<Mutex<Vec<SubIndex>>>;

/// A ring of frames of different lengths in one piece of memory.
#[derive(Debug)]
struct Ring {
    bytes: Box<[u8]>,
    /// Of each frame: where it begins and how long it is.
    frames_in: VecDeque<(usize, usize)>,
    /// Where the newest ends.
    end: usize,
    /// Most frames at a time.
    frames: usize,
    /// Who is told, and by which name, when the ring is empty no longer.
    ready: Option<(Ready, SubIndex)>,
}

impl Ring {
    fn new(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            frames_in: VecDeque::with_capacity(frames),
            end: 0,
            frames,
            ready: None,
        }
    }

    fn front(&self) -> Option<&[u8]> {
        let &(start, len) = self.frames_in.front()?;
        Some(&self.bytes[start..start + len])
    }

    fn pop(&mut self) -> bool {
        self.frames_in.pop_front().is_some()
    }

    /// Copies a frame in, which comes in so many parts. False: there is no room.
    fn push<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let Some(start) = self.room(len) else {
            return false;
        };
        let mut rest = &mut self.bytes[start..start + len];
        for part in parts {
            let (bytes, behind) = rest.split_at_mut(part.len());
            bytes.copy_from_slice(part);
            rest = behind;
        }
        self.end = start + len;
        self.frames_in.push_back((start, len));
        if self.frames_in.len() == 1 {
            self.announce();
        }
        true
    }

    // Always, for the many rings that have nobody to tell.
    #[inline(always)]
    fn announce(&self) {
        if let Some((ready, name)) = &self.ready {
            locked(ready).push(*name);
        }
    }

    fn room(&self, len: usize) -> Option<usize> {
        if self.frames_in.len() == self.frames {
            return None;
        }
        let occupied = self.frames_in.front().map(|&(oldest, _)| (oldest, self.end));
        room(occupied, self.bytes.len(), len)
    }
}

pub(crate) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Rings and lists are whole between any two operations, whatever became of the thread that
    // held one.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_at_one_end_comes_out_at_the_other_in_order() {
        let (near, far) = MemoryLink::pair(4, 1000);
        for round in 0..50_u8 {
            assert!(near.push(&[round; 100]));
            assert!(near.push(&[round; 37]));
            assert_eq!(far.pop().unwrap()[VNET_LEN..], [round; 100]);
            assert_eq!(far.pop().unwrap()[VNET_LEN..], [round; 37]);
        }
        assert!(far.pop().is_none());
    }

    #[test]
    fn a_full_ring_refuses() {
        let (near, far) = MemoryLink::pair(2, 1000);
        assert!(near.push(&[0; 14]) && near.push(&[0; 14]));
        assert!(!near.push(&[0; 14]), "more frames than agreed");
        assert_eq!(far.drain(), 2);
        assert!(!near.push(&[0; 1000]), "more bytes than agreed");
        assert!(near.push(&[0; 900]));
    }
}
