//! [`BufferPool`]: the buffers into which frames from ports are read.
//!
//! Every buffer holds the largest frame (64 KB of GSO packet, its headers and a VLAN tag), so the
//! length of a frame need not be known before the read. Only the pages that a frame fills are ever
//! touched. A buffer is free, or lent to an io_uring whose reads fill it, or belongs to the turn.
//! [`BufferPool::bytes`] accepts only buffers of the turn, so no reader sees one that is being
//! written.
//!
//! Before a frame of a TAP is read into a buffer, the place of its addresses is zeroed. If the vnet
//! header of the TAP is longer than the engine's, because somebody else has set its length, the frame
//! begins after a gap, which Linux leaves as it was until 6.14 and zeroes after that. So a long gap shows
//! ([`BufferPool::has_gap`]), and a shorter one contains nothing of an earlier frame.

use std::io;

use umacvlan_core::offload::VNET_LEN;

use super::mapping::Mapping;

/// Bytes of one buffer: 17 pages, so that the first pages of many buffers spread over the cache
/// sets instead of meeting in one.
pub const BUFFER_LEN: usize = 17 * 4096;

/// The addresses that no frame has: zero to zero.
const NO_ADDRESSES: [u8; 12] = [0; 12];

/// The owner of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nothing reads into it.
    Free,
    /// The kernel, which may fill it at any time.
    Ring,
    /// The turn: a frame lies in it.
    Turn,
}

/// A fixed number of equal buffers, and the owner of each.
#[derive(Debug)]
pub struct BufferPool {
    memory: Mapping,
    /// By buffer.
    owners: Box<[Owner]>,
    /// The free buffers; the last used one is on top.
    free: Vec<u16>,
    /// The first buffer that was never lent or acquired, nor any after it: they contain zeroes, and
    /// have no memory yet.
    unused_from: u16,
    /// The buffers of the turn, in the order in which they became so.
    in_turn: Vec<u16>,
}

impl BufferPool {
    /// A pool of `count` buffers, all free.
    ///
    /// # Errors
    /// No address space for `count` times [`BUFFER_LEN`].
    pub fn new(count: u16) -> io::Result<Self> {
        let buffers = usize::from(count);
        let memory = Mapping::anonymous(buffers * BUFFER_LEN)?;
        memory.prefer_huge_pages();
        Ok(Self {
            memory,
            owners: vec![Owner::Free; buffers].into_boxed_slice(),
            free: (0..count).rev().collect(),
            unused_from: 0,
            in_turn: Vec::with_capacity(buffers),
        })
    }

    /// Buffers in the pool.
    #[inline]
    pub fn count(&self) -> usize {
        self.owners.len()
    }

    /// The bytes `at..at + len` of a buffer of this turn.
    ///
    /// # Panics
    /// If the buffer does not belong to the turn, or the range is not inside it.
    #[inline]
    pub fn bytes(&self, buffer: u16, at: usize, len: usize) -> &[u8] {
        let start = self.checked_start(buffer, at, len);
        // SAFETY: the range is inside a buffer of the turn, which nothing writes before `release`, and that needs `&mut self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// As [`BufferPool::bytes`], to be written.
    ///
    /// # Panics
    /// As [`BufferPool::bytes`].
    #[inline]
    pub fn bytes_mut(&mut self, buffer: u16, at: usize, len: usize) -> &mut [u8] {
        let start = self.checked_start(buffer, at, len);
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Gives a free buffer to the turn and returns its number; `None` if no buffer is free.
    #[inline]
    pub fn acquire(&mut self) -> Option<u16> {
        let buffer = self.free.pop()?;
        self.unused_from = self.unused_from.max(buffer + 1);
        self.give_to_turn(buffer);
        Some(buffer)
    }

    /// Zeroes the place of the addresses in a buffer of this turn, before a frame of a TAP is read
    /// into it. Buffers that are lent to a ring are prepared already.
    ///
    /// # Panics
    /// If the buffer does not belong to the turn.
    #[inline]
    pub fn prepare(&mut self, buffer: u16) {
        self.bytes_mut(buffer, VNET_LEN, NO_ADDRESSES.len()).copy_from_slice(&NO_ADDRESSES);
    }

    /// True if no frame begins behind the vnet header in a buffer that was prepared: the TAP has a
    /// longer header.
    ///
    /// # Panics
    /// If the buffer does not belong to the turn.
    #[inline]
    pub fn has_gap(&self, buffer: u16) -> bool {
        self.bytes(buffer, VNET_LEN, NO_ADDRESSES.len()) == NO_ADDRESSES
    }

    /// True if no buffer is free until the turn ends.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// Frees the buffer that was acquired last, because nothing was read into it.
    #[inline]
    pub fn release_last(&mut self) {
        if let Some(buffer) = self.in_turn.pop() {
            self.owners[usize::from(buffer)] = Owner::Free;
            self.free.push(buffer);
        }
    }

    /// Ends the turn: every buffer of the turn is free again.
    #[inline]
    pub fn release(&mut self) {
        for &buffer in &self.in_turn {
            self.owners[usize::from(buffer)] = Owner::Free;
        }
        self.free.append(&mut self.in_turn);
    }

    /// Lends free buffers to a ring until `most` are lent in all. Those used last go first, because
    /// they are still in the cache.
    #[inline]
    pub(super) fn lend(&mut self, most: usize, mut to: impl FnMut(u16, *mut u8)) {
        while self.lent() < most
            && let Some(buffer) = self.free.pop()
        {
            to(buffer, self.lend_prepared(buffer));
        }
    }

    /// Lends one free buffer to a ring; `None` if no buffer is free.
    #[inline]
    pub(super) fn lend_one(&mut self) -> Option<(u16, *mut u8)> {
        let buffer = self.free.pop()?;
        Some((buffer, self.lend_prepared(buffer)))
    }

    /// Prepares a buffer that was free, and makes it the ring's. One that was never used is prepared:
    /// writing to it would have the kernel provide its memory, which takes 20 ms for all buffers of a
    /// worker that starts.
    #[inline]
    fn lend_prepared(&mut self, buffer: u16) -> *mut u8 {
        if buffer < self.unused_from {
            let place = self.byte(buffer, VNET_LEN).cast::<[u8; NO_ADDRESSES.len()]>();
            // SAFETY: the buffer was free and is not lent yet, so `&mut self` is the only access to it, and the place is inside it.
            unsafe { place.write(NO_ADDRESSES) };
        } else {
            self.unused_from = buffer + 1;
        }
        self.owners[usize::from(buffer)] = Owner::Ring;
        self.byte(buffer, 0)
    }

    /// Gives a lent buffer, which now holds a frame, to the turn. False for a buffer that was not
    /// lent: the ring returned a wrong number, and the frame must be skipped.
    #[inline]
    pub(super) fn reclaim(&mut self, buffer: u16) -> bool {
        let is_lent = self.owners.get(usize::from(buffer)) == Some(&Owner::Ring);
        if is_lent {
            self.give_to_turn(buffer);
        }
        is_lent
    }

    /// The memory of the buffers.
    pub(super) fn memory(&self) -> &Mapping {
        &self.memory
    }

    fn lent(&self) -> usize {
        self.count() - self.free.len() - self.in_turn.len()
    }

    #[inline]
    fn give_to_turn(&mut self, buffer: u16) {
        self.owners[usize::from(buffer)] = Owner::Turn;
        self.in_turn.push(buffer);
    }

    #[inline]
    fn checked_start(&self, buffer: u16, at: usize, len: usize) -> *mut u8 {
        assert!(
            self.owners[usize::from(buffer)] == Owner::Turn && super::fits(at, len, BUFFER_LEN),
            "a frame outside its buffer"
        );
        self.byte(buffer, at)
    }

    #[inline]
    fn byte(&self, buffer: u16, at: usize) -> *mut u8 {
        let offset = usize::from(buffer) * BUFFER_LEN + at;
        debug_assert!(offset <= self.memory.len(), "outside the pool");
        // SAFETY: callers pass a buffer that has an entry in `owners`, so it lies inside the mapping, and `at` lies inside the buffer.
        unsafe { self.memory.start().add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_its_bytes_until_the_turn_ends() {
        let mut pool = BufferPool::new(2).unwrap();
        let first = pool.acquire().unwrap();
        let second = pool.acquire().unwrap();
        assert!(pool.acquire().is_none());
        pool.bytes_mut(first, 0, 4).copy_from_slice(b"mine");
        pool.bytes_mut(second, 0, 4).copy_from_slice(b"his.");
        assert_eq!(pool.bytes(first, 0, 4), b"mine");
        pool.release();
        assert!(pool.acquire().is_some());
    }

    #[test]
    fn only_a_lent_buffer_is_reclaimed_from_a_ring() {
        let mut pool = BufferPool::new(3).unwrap();
        let mut lent = Vec::new();
        pool.lend(1, |buffer, _| lent.push(buffer));
        let held = pool.acquire().unwrap();
        assert!(pool.reclaim(lent[0]) && !pool.reclaim(lent[0]), "twice");
        assert!(!pool.reclaim(held), "one of the turn");
        assert!(!pool.reclaim(2), "a free one");
        assert!(!pool.reclaim(3), "there is no such buffer");
    }

    #[test]
    fn a_header_that_is_too_long_is_found_and_a_short_gap_has_nothing_of_an_earlier_frame() {
        let mut pool = BufferPool::new(1).unwrap();
        for lent in [false, true] {
            let buffer = pool.acquire().unwrap();
            pool.bytes_mut(buffer, 0, 64).fill(0x55);
            pool.release();
            match lent {
                true => {
                    let (buffer, _) = pool.lend_one().unwrap();
                    assert!(pool.reclaim(buffer));
                }
                false => pool.acquire().map(|buffer| pool.prepare(buffer)).unwrap(),
            }
            assert!(pool.has_gap(buffer));
            // A frame behind a header that is 3 bytes longer.
            pool.bytes_mut(buffer, VNET_LEN + 3, 40).fill(1);
            assert!(!pool.has_gap(buffer));
            assert_eq!(pool.bytes(buffer, VNET_LEN, 3), [0; 3]);
            pool.release();
        }
    }

    #[test]
    #[should_panic(expected = "outside its buffer")]
    fn a_range_that_wraps_around_is_refused() {
        let mut pool = BufferPool::new(1).unwrap();
        let buffer = pool.acquire().unwrap();
        pool.bytes(buffer, usize::MAX, 1);
    }

    #[test]
    #[should_panic(expected = "outside its buffer")]
    fn a_free_buffer_cannot_be_read() {
        let pool = BufferPool::new(1).unwrap();
        pool.bytes(0, 0, 1);
    }
}
