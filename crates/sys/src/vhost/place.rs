//! [`Place`]: bytes in the memory of a program.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::fits;

/// Bytes in the memory of a program, which may change at any time. Whoever has one keeps a handle of
/// the memory ([`GuestMemory`](super::GuestMemory)), which alone makes it.
///
/// Numbers are in little-endian order, and are read and written as a whole. Offsets are multiples of
/// their size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start: *mut u8,
    len: usize,
}

impl Place {
    /// The `len` bytes at `start`.
    ///
    /// # Safety
    /// They are mapped for reading and writing as long as the place is used, and accessed by places
    /// only.
    pub(super) const unsafe fn new(start: *mut u8, len: usize) -> Self {
        Self { start, len }
    }

    /// Its bytes.
    #[inline]
    pub(super) const fn len(self) -> usize {
        self.len
    }

    /// True if its first byte is at a multiple of `unit`.
    pub(super) fn is_aligned(self, unit: usize) -> bool {
        self.start.addr().is_multiple_of(unit)
    }

    /// Its first bytes, at most `count`.
    #[inline]
    pub(super) fn first(self, count: usize) -> Self {
        Self { start: self.start, len: self.len.min(count) }
    }

    /// What is behind its first bytes.
    #[inline]
    pub(super) fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self { start: self.start.wrapping_add(count), len: self.len - count }
    }

    /// The number at an offset.
    ///
    /// # Panics
    /// If it is not inside, or not aligned; so do the next functions.
    #[inline]
    pub(super) fn load_u16(self, offset: usize, order: Ordering) -> u16 {
        let number = self.number::<AtomicU16>(offset);
        // SAFETY: `number` is inside the place and aligned; an atomic access may meet any other one.
        u16::from_le(unsafe { (*number).load(order) })
    }

    /// The number at an offset.
    #[inline]
    pub(super) fn load_u64(self, offset: usize) -> u64 {
        let number = self.number::<AtomicU64>(offset);
        // SAFETY: as in `load_u16`.
        u64::from_le(unsafe { (*number).load(Ordering::Relaxed) })
    }

    /// Writes the number at an offset.
    #[inline]
    pub(super) fn store_u16(self, offset: usize, number: u16, order: Ordering) {
        let at = self.number::<AtomicU16>(offset);
        // SAFETY: as in `load_u16`.
        unsafe { (*at).store(number.to_le(), order) }
    }

    /// Writes the number at an offset.
    #[inline]
    pub(super) fn store_u32(self, offset: usize, number: u32) {
        let at = self.number::<AtomicU32>(offset);
        // SAFETY: as in `load_u16`.
        unsafe { (*at).store(number.to_le(), Ordering::Relaxed) }
    }

    #[inline]
    fn number<T>(self, offset: usize) -> *const T {
        let at = self.start.wrapping_add(offset);
        assert!(
            fits(offset, size_of::<T>(), self.len) && at.addr().is_multiple_of(align_of::<T>())
        );
        at.cast()
    }

    /// Copies its first bytes out. They may change meanwhile: each is read once.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub(super) fn copy_to(self, to: &mut [u8]) {
        assert!(to.len() <= self.len);
        // SAFETY: so many bytes are mapped, and are in no slice of this process; what the program writes meanwhile is any bytes.
        unsafe { std::ptr::copy_nonoverlapping(self.start, to.as_mut_ptr(), to.len()) }
    }

    /// Its first bytes, of a number that is known beforehand: no call of a function copies them.
    ///
    /// # Panics
    /// As [`Place::copy_to`].
    #[inline]
    pub(super) fn to_array<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy_to(&mut bytes);
        bytes
    }

    /// Copies bytes to its beginning.
    ///
    /// # Panics
    /// If it has not so many.
    #[inline]
    pub(super) fn copy_from(self, from: &[u8]) {
        assert!(from.len() <= self.len);
        // SAFETY: as in `copy_to`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start, from.len()) }
    }
}
