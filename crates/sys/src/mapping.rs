//! [`Mapping`]: memory from `mmap(2)`, unmapped with its last handle.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A handle of a mapped region, readable and writable. The region stays mapped until the last handle
/// is dropped.
///
/// # Threads
/// A handle is an address and a length. The types that hold handles make sure that the bytes have
/// one user at a time.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    /// The first byte, kept here to save a look at the region.
    start: NonNull<u8>,
    len: usize,
    region: Arc<Region>,
}

/// Unmaps its bytes when it is dropped.
#[derive(Debug)]
struct Region {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: `start` points into the region that this value keeps mapped; nothing in it is tied to a thread.
unsafe impl Send for Mapping {}

// SAFETY: a shared region gives out no reference to its bytes, and unmapping is not tied to a thread.
unsafe impl Sync for Region {}

// SAFETY: as above; whichever thread drops the last handle unmaps the region.
unsafe impl Send for Region {}

impl Mapping {
    /// Zeroed memory of `len` bytes. Pages cost nothing until they are touched.
    ///
    /// # Errors
    /// Whatever `mmap` says: no memory, or a limit on address space.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        // Miri knows no other flags than the first two.
        let lazily = if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | lazily, -1, 0)
    }

    /// The memory that a socket shares with its process, as the RX ring of AF_PACKET.
    ///
    /// # Errors
    /// Whatever `mmap` says.
    pub(super) fn shared(len: usize, fd: BorrowedFd<'_>) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, fd.as_raw_fd(), 0)
    }

    /// Memory of a file, from `offset` on, which no memory is set aside for.
    ///
    /// # Errors
    /// Whatever `mmap` says.
    pub(super) fn shared_at(len: usize, fd: BorrowedFd<'_>, offset: u64) -> io::Result<Self> {
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        Self::map(len, libc::MAP_SHARED | libc::MAP_NORESERVE, fd.as_raw_fd(), offset)
    }

    fn map(
        len: usize,
        flags: libc::c_int,
        fd: libc::c_int,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address of the new region, so no memory in use is replaced.
        let start = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), len, access, flags, fd, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, len, region: Arc::new(Region { start, len }) })
    }

    /// Asks for huge pages, which save TLB misses when frames are small. A kernel without them ignores
    /// the request.
    pub(super) fn prefer_huge_pages(&self) {
        if cfg!(miri) {
            return;
        }
        // SAFETY: the region is ours and MADV_HUGEPAGE changes no byte of it.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
    }

    /// True if both are handles of the same region.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.region, &other.region)
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

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the region came from mmap with this length, and its last handle is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
