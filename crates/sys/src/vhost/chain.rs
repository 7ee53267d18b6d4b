//! [`Chain`]: the buffers of one entry of a ring, read from a table that may change meanwhile.

use super::memory::GuestMemory;
use super::place::Place;
use super::ring_error::RingError;

/// Bytes of a descriptor (virtio 1.3, section 2.7.5).
pub(super) const DESCRIPTOR_LEN: usize = 16;

/// Another descriptor follows.
const NEXT: u16 = 1;
/// The device writes to the buffer, and else reads it.
const WRITE: u16 = 2;
/// The buffer is a table of descriptors.
const INDIRECT: u16 = 4;

/// Descriptors of one frame, direct or indirect, in however many entries: as many as a ring has entries
/// at most. Each is read, whatever is behind it, so this bounds the work for a frame.
pub(super) const CHAIN_MAX: u16 = umacvlan_core::vhost_user::RING_MAX;

/// What a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The device reads it.
    FromProgram,
    /// The device writes it.
    ToProgram,
}

/// The descriptors of one chain, in their order.
#[derive(Debug)]
pub(super) struct Chain<'m> {
    memory: &'m GuestMemory,
    direction: Direction,
    /// The table in use, aligned to eight bytes.
    table: Place,
    /// The next descriptor; `None` at the end.
    next: Option<u16>,
    /// Descriptors that may follow.
    left: u16,
    /// True if an indirect table may come.
    indirect: bool,
}

/// The buffer of a chain that has one descriptor and is in order; `None` if that is not so, and the chain
/// has to be read.
#[inline]
pub(super) fn single(
    memory: &GuestMemory,
    table: Place,
    head: u16,
    direction: Direction,
) -> Option<Place> {
    let at = usize::from(head) * DESCRIPTOR_LEN;
    if !crate::fits(at, DESCRIPTOR_LEN, table.len()) {
        return None;
    }
    let [address, rest] = [at, at + 8].map(|at| table.load_u64(at));
    #[allow(clippy::cast_possible_truncation, reason = "each is the number that its bits are")]
    let (len, flags) = (rest as u32, (rest >> 32) as u16);
    let wanted = if direction == Direction::ToProgram { WRITE } else { 0 };
    if flags & (NEXT | INDIRECT | WRITE) != wanted || len == 0 {
        return None;
    }
    memory.at_guest(address, usize::try_from(len).ok()?)
}

impl<'m> Chain<'m> {
    /// The chain that begins with `head` in a table of the memory, which is aligned to eight bytes.
    /// `left`: descriptors that it may have. `indirect`: tables of tables are in use.
    #[inline]
    pub(super) const fn new(
        memory: &'m GuestMemory,
        table: Place,
        head: u16,
        direction: Direction,
        (left, indirect): (u16, bool),
    ) -> Self {
        Self { memory, direction, table, next: Some(head), left, indirect }
    }

    /// Descriptors that may follow.
    pub(super) const fn left(&self) -> u16 {
        self.left
    }

    /// The next buffer; `None` at the end.
    ///
    /// # Errors
    /// The chain breaks the rules: it leaves the table or the memory, is longer than any, or has a
    /// buffer of the other direction.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Place>, RingError> {
        loop {
            let Some(index) = self.next else {
                return Ok(None);
            };
            let at = usize::from(index) * DESCRIPTOR_LEN;
            if !crate::fits(at, DESCRIPTOR_LEN, self.table.len()) {
                return Err(RingError::Descriptor(index));
            }
            self.left = self.left.checked_sub(1).ok_or(RingError::Chain)?;
            let [address, rest] = [at, at + 8].map(|at| self.table.load_u64(at));
            // Each is the number that its bits are.
            #[allow(clippy::cast_possible_truncation, reason = "see the line above")]
            let (len, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            self.next = (flags & NEXT != 0).then_some(next);
            let len = usize::try_from(len).map_err(|_| RingError::Outside)?;
            if flags & INDIRECT != 0 {
                self.enter(address, len)?;
                continue;
            }
            let writes = flags & WRITE != 0;
            if writes != (self.direction == Direction::ToProgram) {
                return Err(RingError::Direction);
            }
            if len == 0 {
                continue;
            }
            return self.memory.at_guest(address, len).ok_or(RingError::Outside).map(Some);
        }
    }

    /// Goes on in the table of an indirect descriptor.
    fn enter(&mut self, address: u64, len: usize) -> Result<(), RingError> {
        let wrong = !self.indirect || self.next.is_some() || !len.is_multiple_of(DESCRIPTOR_LEN);
        if wrong || !(1..=usize::from(CHAIN_MAX)).contains(&(len / DESCRIPTOR_LEN)) {
            return Err(RingError::Indirect);
        }
        let table = self.memory.at_guest(address, len).ok_or(RingError::Outside)?;
        if !table.is_aligned(8) {
            return Err(RingError::Indirect);
        }
        // There is no table in an indirect table.
        (self.table, self.next, self.indirect) = (table, Some(0), false);
        Ok(())
    }
}
