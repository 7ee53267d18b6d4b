//! [`MemoryLink`]: frames exchanged in memory.
//!
//! A link has two ends and two rings of fixed size. One end is an uplink or a port of a worker, the
//! other belongs to a test, a bench or an embedding program, so the loop that serves TAPs runs
//! without a kernel. A ring is locked once a batch. A worker may have tens of thousands of such
//! ports, so it does not poll them all: a ring that is no longer empty adds its port to a list.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use umacvlan_core::offload::{UNTAGGED_PREFIX_LEN, VNET_LEN};
use umacvlan_core::ring_alloc::find_gap;
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::tx_batch::Outgoing;

use crate::frame_ref::{FrameRef, StorageKind};

/// One end of a link in memory.
#[derive(Clone, Debug)]
pub struct MemoryLink {
    inbox: Arc<Mutex<Ring>>,
    outbox: Arc<Mutex<Ring>>,
    /// Wakes the worker at the other end, if there is one.
    wake: Option<Arc<EventFd>>,
    /// As an uplink, it gets the frames of one flow merged.
    takes_gso: bool,
}

impl MemoryLink {
    /// Returns the two ends of a link that holds `frames` frames and `bytes` bytes in each
    /// direction. Frames pushed at one end are popped at the other.
    pub fn pair(frames: usize, bytes: usize) -> (Self, Self) {
        let to_far = Arc::new(Mutex::new(Ring::new(frames, bytes)));
        let to_near = Arc::new(Mutex::new(Ring::new(frames, bytes)));
        let end = |inbox, outbox| Self { inbox, outbox, wake: None, takes_gso: false };
        (end(Arc::clone(&to_near), Arc::clone(&to_far)), end(to_far, to_near))
    }

    /// Has a worker whose uplink this is merge the frames of one flow that it sends, as for a packet
    /// socket. Without this call every frame is sent as it came.
    pub const fn take_gso(&mut self) {
        self.takes_gso = true;
    }

    pub(crate) const fn takes_gso(&self) -> bool {
        self.takes_gso
    }

    /// Signals this event with every frame pushed here from now on
    /// ([`WorkerHandle::wake_event`](crate::worker::WorkerHandle::wake_event)).
    pub fn wake_with(&mut self, wake: Arc<EventFd>) {
        self.wake = Some(wake);
    }

    /// Sends one frame, without vnet header. False: the ring is full.
    pub fn push(&self, frame: &[u8]) -> bool {
        self.push_with_header(&[0; VNET_LEN], frame)
    }

    /// Sends one frame with this vnet header. False: the ring is full.
    pub fn push_with_header(&self, header: &[u8; VNET_LEN], frame: &[u8]) -> bool {
        let pushed = locked(&self.outbox).push([header, frame]);
        if let Some(wake) = &self.wake {
            wake.wake();
        }
        pushed
    }

    /// Returns the oldest frame that has arrived, behind its vnet header.
    pub fn pop(&self) -> Option<Vec<u8>> {
        let mut ring = locked(&self.inbox);
        let frame = ring.front().map(<[u8]>::to_vec);
        ring.pop();
        frame
    }

    /// Discards all frames that have arrived and returns how many there were.
    pub fn drain(&self) -> usize {
        let mut ring = locked(&self.inbox);
        let count = ring.frames.len();
        while ring.pop() {}
        count
    }

    /// Sets the list to which the sub-interface is added when a frame arrives in the empty inbox.
    pub(crate) fn set_ready_list(&self, ready: Option<(ReadyList, SubIndex)>) {
        let mut ring = locked(&self.inbox);
        ring.ready = ready;
        if !ring.frames.is_empty() {
            ring.mark_ready();
        }
    }

    /// Hands at most `budget` frames to `on`; returns how many, and whether there are more.
    pub(crate) fn recv(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut on: impl FnMut(FrameRef, &mut [u8]),
    ) -> (usize, bool) {
        let mut ring = locked(&self.inbox);
        let Ring { bytes, frames, .. } = &mut *ring;
        let mut count = 0;
        for &(start, len) in frames.iter().take(budget) {
            let Some(buffer) = pool.acquire() else {
                break;
            };
            let len = len.min(BUFFER_LEN);
            let frame = pool.bytes_mut(buffer, 0, len);
            frame.copy_from_slice(&bytes[start..start + len]);
            on(FrameRef::new(StorageKind::Pool { buffer }, 0, len), frame);
            count += 1;
        }
        frames.drain(..count);
        (count, !frames.is_empty())
    }

    /// Sends `count` frames, of which `frame` returns each by number.
    pub(crate) fn send<'f>(
        &self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        mut on_refused: impl FnMut(usize, DropReason),
    ) {
        let mut ring = locked(&self.outbox);
        for number in 0..count {
            let Outgoing { unit, form } = frame(number);
            let pushed = match form.is_unchanged() {
                true => ring.push([unit]),
                false => form
                    .prefix(unit)
                    .is_some_and(|head| ring.push([head.as_bytes(), &unit[UNTAGGED_PREFIX_LEN..]])),
            };
            if !pushed {
                on_refused(number, DropReason::Full);
            }
        }
    }
}

/// Ports whose empty inbox got a frame since their worker looked, each once.
pub(crate) type ReadyList = Arc<Mutex<Vec<SubIndex>>>;

/// A ring of frames of different lengths in one piece of memory.
#[derive(Debug)]
struct Ring {
    bytes: Box<[u8]>,
    /// Start and length of each frame, the oldest first.
    frames: VecDeque<(usize, usize)>,
    /// Where the newest ends.
    end: usize,
    /// Most frames at a time.
    frames_max: usize,
    /// The list to which the sub-interface is added when the ring is no longer empty.
    ready: Option<(ReadyList, SubIndex)>,
}

impl Ring {
    fn new(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            frames: VecDeque::with_capacity(frames),
            end: 0,
            frames_max: frames,
            ready: None,
        }
    }

    fn front(&self) -> Option<&[u8]> {
        let &(start, len) = self.frames.front()?;
        Some(&self.bytes[start..start + len])
    }

    fn pop(&mut self) -> bool {
        self.frames.pop_front().is_some()
    }

    /// Appends a frame that consists of these parts. False: there is no room.
    fn push<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let Some(start) = self.find_gap(len) else {
            return false;
        };
        let mut rest = &mut self.bytes[start..start + len];
        for part in parts {
            let (room, behind) = rest.split_at_mut(part.len());
            room.copy_from_slice(part);
            rest = behind;
        }
        self.end = start + len;
        self.frames.push_back((start, len));
        if self.frames.len() == 1 {
            self.mark_ready();
        }
        true
    }

    // Always: most rings have no such list.
    #[inline(always)]
    fn mark_ready(&self) {
        if let Some((ready, sub)) = &self.ready {
            locked(ready).push(*sub);
        }
    }

    fn find_gap(&self, len: usize) -> Option<usize> {
        if self.frames.len() == self.frames_max {
            return None;
        }
        let occupied = self.frames.front().map(|&(oldest, _)| (oldest, self.end));
        find_gap(occupied, self.bytes.len(), len)
    }
}

/// Locks a ring or a list. One whose thread has panicked is used on.
pub(crate) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Rings and lists are consistent between any two operations.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pushed_at_one_end_are_popped_at_the_other_in_order() {
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
    fn a_full_ring_refuses_frames() {
        let (near, far) = MemoryLink::pair(2, 1000);
        assert!(near.push(&[0; 14]) && near.push(&[0; 14]));
        assert!(!near.push(&[0; 14]), "more frames than agreed");
        assert_eq!(far.drain(), 2);
        assert!(!near.push(&[0; 1000]), "more bytes than agreed");
        assert!(near.push(&[0; 900]));
    }
}
