//! [`GuestMemory`]: the memory that a program shares.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use umacvlan_core::vhost_user::Region;

use super::place::Place;
use super::sigbus::Registered;
use crate::mapping::Mapping;

/// The mapped memory of one program, by the addresses that it uses. All handles are of the same
/// memory, which stays mapped until the last of them is dropped.
///
/// # Threads
/// Any thread may have a handle; what is read and written races with the program in any case.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    regions: Arc<[Mapped]>,
}

#[derive(Debug)]
struct Mapped {
    region: Region,
    /// First, so that the handler forgets the region before it is unmapped.
    registered: Registered,
    mapping: Mapping,
    /// The place of the region in the mapping, which begins where a page does.
    at: usize,
    /// Bytes of the region.
    len: usize,
}

// SAFETY: a shared region gives out addresses only, and its handle is not tied to a thread.
unsafe impl Sync for Mapped {}

impl GuestMemory {
    /// Maps these regions, each of the file with the same number.
    ///
    /// # Errors
    /// A file is neither of tmpfs (as a memfd) nor of hugetlbfs, where a page is there at once or never,
    /// or shorter than its region; there are fewer files than regions; or the kernel does not map it.
    pub fn map(regions: &[Region], files: &[OwnedFd]) -> io::Result<Self> {
        if regions.len() != files.len() {
            return Err(invalid("a region of memory is without a file"));
        }
        let mapped = regions.iter().zip(files).map(|(region, file)| Mapped::new(*region, file));
        Ok(Self { regions: mapped.collect::<io::Result<_>>()? })
    }

    /// The regions.
    pub fn regions(&self) -> impl Iterator<Item = Region> {
        self.regions.iter().map(|mapped| mapped.region)
    }

    /// True if memory was gone when it was touched: its file was truncated, or no huge page was left.
    /// It is zeros since.
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.regions.iter().any(|mapped| mapped.registered.is_lost())
    }

    /// The `len` bytes at an address of descriptors; `None` if they are not all in one region.
    #[inline]
    pub(super) fn at_guest(&self, address: u64, len: usize) -> Option<Place> {
        self.regions
            .iter()
            .find_map(|mapped| mapped.place(address.wrapping_sub(mapped.region.guest), len))
    }

    /// The `len` bytes at an address of the program.
    pub(super) fn at_user(&self, address: u64, len: usize) -> Option<Place> {
        self.regions
            .iter()
            .find_map(|mapped| mapped.place(address.wrapping_sub(mapped.region.user), len))
    }
}

impl Mapped {
    fn new(region: Region, file: &OwnedFd) -> io::Result<Self> {
        let unit = check_file(&region, file.as_fd())?;
        let start = region.offset - region.offset % unit;
        let at = usize::try_from(region.offset - start).map_err(io::Error::other)?;
        let len = usize::try_from(region.size).map_err(io::Error::other)?;
        let whole = usize::try_from(unit)
            .ok()
            .and_then(|unit| at.checked_add(len)?.checked_next_multiple_of(unit));
        let whole = whole.ok_or_else(|| invalid("a region of memory is too large"))?;
        let mapping = Mapping::shared_at(whole, file.as_fd(), start)?;
        let registered = Registered::new(mapping.start(), mapping.len())?;
        Ok(Self { region, registered, mapping, at, len })
    }

    /// The `len` bytes at an offset of the region.
    #[inline]
    fn place(&self, offset: u64, len: usize) -> Option<Place> {
        let offset = usize::try_from(offset).ok()?;
        let fits = crate::fits(offset, len, self.len);
        fits.then(|| {
            let start = self.mapping.start().wrapping_add(self.at + offset);
            // SAFETY: the bytes are inside the mapping, which stays as long as a handle of the memory; nothing else here accesses it.
            unsafe { Place::new(start, len) }
        })
    }
}

/// Checks that a region lies in its file, and returns the size of its pages in bytes.
fn check_file(region: &Region, file: BorrowedFd<'_>) -> io::Result<u64> {
    // Only files of tmpfs and hugetlbfs have seals. A file of any other system is not asked: one in user
    // space could let us wait for its answer.
    // SAFETY: F_GET_SEALS takes no argument, and the descriptor is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) } < 0 {
        return Err(invalid(
            "memory is shared by a file that is no memfd, and not in tmpfs or hugetlbfs",
        ));
    }
    // SAFETY: all-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat writes one stat, to the one that it is given.
    crate::checked(unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) })?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if region.offset.checked_add(region.size).is_none_or(|end| end > size) {
        return Err(invalid("a region of memory is longer than its file"));
    }
    // The block of hugetlbfs is a page, that of tmpfs at most one.
    let block = u64::try_from(stat.st_blksize).unwrap_or(0);
    Ok(block.max(4096))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
