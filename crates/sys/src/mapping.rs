//! [`Mapping`]: memory from `mmap(2)`, given back when it goes out of scope.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapped region, readable and writable, private to the type that owns it.
///
/// # Threads
/// A mapping may move to another thread with its owner; it is never shared between two.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the region belongs to this value alone, wherever it lives; nothing in it is tied to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Zeroed memory of `len` bytes. Pages cost nothing until they are touched.
    ///
    /// # Errors
    /// Whatever `mmap` says: no memory, or a limit on address space.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    /// The memory that a socket shares with its owner, as the RX ring of AF_PACKET.
    ///
    /// # Errors
    /// Whatever `mmap` says.
    pub(super) fn shared(len: usize, fd: BorrowedFd<'_>) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, fd.as_raw_fd())
    }

    fn map(len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        // SAFETY: a fresh region is asked for at an address of the kernel's choice, so no memory of ours is touched.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len })
    }

    /// Asks for huge pages, which spare a lookup in the page tables for each small frame. A wish,
    /// not a need: where the kernel has none, nothing changes.
    pub(super) fn prefer_huge_pages(&self) {
        // SAFETY: the region is ours and MADV_HUGEPAGE changes no byte of it.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
    }

    /// The first byte of the region.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes in the region.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the region came from mmap with this length, and nothing can refer to it after its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
