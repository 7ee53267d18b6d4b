//! A pipe, on which an io_uring is tried.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A pipe for the probe: reader, writer.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors that pipe2 writes.
    crate::checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let [reader, writer] = ends;
    // SAFETY: pipe2 made this descriptor for us alone.
    let reader = unsafe { OwnedFd::from_raw_fd(reader) };
    // SAFETY: pipe2 made this descriptor for us alone.
    let writer = unsafe { OwnedFd::from_raw_fd(writer) };
    Ok((reader, writer))
}
