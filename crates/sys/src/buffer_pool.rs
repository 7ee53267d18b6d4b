//! [`BufferPool`]: the buffers into which frames from ports are read.
//!
//! Every buffer holds the largest frame there is (64 KB of GSO, its headers and a VLAN tag), so a
//! read never needs to know beforehand what is coming; only the pages that a frame really fills
//! are ever touched. A buffer belongs either to whoever reads into it (often the kernel) or, once
//! taken, to the turn: [`BufferPool::bytes`] refuses the former.

use std::io;

use super::mapping::Mapping;

/// Bytes of one buffer: 17 pages, so that the first pages of many buffers spread over the cache
/// sets instead of meeting in one.
pub const BUFFER_LEN: usize = 17 * 4096;

/// A fixed number of equal buffers and the knowledge whose each one is.
#[derive(Debug)]
pub struct BufferPool {
    memory: Mapping,
    /// By buffer: true while a frame of this turn lies in it.
    taken: Box<[bool]>,
    /// The buffers that nobody reads into at the moment; those lent to a kernel ring are not here.
    free: Vec<u16>,
    /// The taken ones, in the order in which they were.
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
            taken: vec![false; buffers].into_boxed_slice(),
            free: (0..count).rev().collect(),
            in_turn: Vec::with_capacity(buffers),
        })
    }

    /// Buffers in the pool.
    pub fn count(&self) -> usize {
        self.taken.len()
    }

    /// The frame bytes `at..at + len` of a buffer of this turn.
    ///
    /// # Panics
    /// If the buffer is not taken, or the range leaves it: the caller's bookkeeping is broken.
    #[inline]
    pub fn bytes(&self, buffer: u16, at: usize, len: usize) -> &[u8] {
        assert!(
            self.taken[usize::from(buffer)] && at + len <= BUFFER_LEN,
            "a frame outside its buffer"
        );
        // SAFETY: a taken buffer is read by nobody else until `release`, which needs `&mut self`; the range is inside it.
        unsafe { std::slice::from_raw_parts(self.byte(buffer, at), len) }
    }

    /// As [`BufferPool::bytes`], to be written.
    ///
    /// # Panics
    /// As [`BufferPool::bytes`].
    pub fn bytes_mut(&mut self, buffer: u16, at: usize, len: usize) -> &mut [u8] {
        assert!(
            self.taken[usize::from(buffer)] && at + len <= BUFFER_LEN,
            "a frame outside its buffer"
        );
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(self.byte(buffer, at), len) }
    }

    /// A free buffer for this turn, or `None` when all are in use.
    pub fn acquire(&mut self) -> Option<u16> {
        let buffer = self.free.pop()?;
        self.mark_taken(buffer);
        Some(buffer)
    }

    /// True when no buffer is free until the turn ends.
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// Gives the last taken buffer back at once: nothing was read into it.
    pub fn release_last(&mut self) {
        if let Some(buffer) = self.in_turn.pop() {
            self.taken[usize::from(buffer)] = false;
            self.free.push(buffer);
        }
    }

    /// Ends the turn: every taken buffer is free again.
    pub fn release(&mut self) {
        for &buffer in &self.in_turn {
            self.taken[usize::from(buffer)] = false;
        }
        self.free.append(&mut self.in_turn);
    }

    /// Lends free buffers to a ring that will read into them, until `most` are lent in all: those
    /// first that were used last, because they are still in the cache.
    pub(super) fn lend(&mut self, most: usize, mut to: impl FnMut(u16, *mut u8)) {
        while self.lent() < most
            && let Some(buffer) = self.free.pop()
        {
            to(buffer, self.start(buffer));
        }
    }

    fn lent(&self) -> usize {
        self.count() - self.free.len() - self.in_turn.len()
    }

    /// Takes a buffer that was lent and now holds a frame. False for a number that was not lent:
    /// the ring cannot be trusted, and the frame must be passed over.
    pub(super) fn reclaim(&mut self, buffer: u16) -> bool {
        match self.taken.get(usize::from(buffer)) {
            Some(false) => {
                self.mark_taken(buffer);
                true
            }
            _ => false,
        }
    }

    fn mark_taken(&mut self, buffer: u16) {
        self.taken[usize::from(buffer)] = true;
        self.in_turn.push(buffer);
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        self.byte(buffer, 0)
    }

    fn byte(&self, buffer: u16, at: usize) -> *mut u8 {
        let offset = usize::from(buffer) * BUFFER_LEN + at;
        debug_assert!(offset <= self.memory.len(), "outside the pool");
        // SAFETY: `taken` has one entry a buffer, so a buffer number that passed its bounds check lies inside the mapping, and `at` inside the buffer.
        unsafe { self.memory.start().add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_buffer_keeps_its_bytes_until_the_turn_ends() {
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
    #[should_panic(expected = "outside its buffer")]
    fn a_free_buffer_cannot_be_read() {
        let pool = BufferPool::new(1).unwrap();
        pool.bytes(0, 0, 1);
    }
}
