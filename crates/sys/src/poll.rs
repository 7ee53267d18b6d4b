//! Waiting for a few descriptors at once with `poll(2)`, without an event loop.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// One descriptor and the events it waits for.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Interest<'fd> {
    raw: libc::pollfd,
    fd: std::marker::PhantomData<BorrowedFd<'fd>>,
}

impl std::fmt::Debug for Interest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interest")
            .field("fd", &self.raw.fd)
            .field("events", &self.raw.events)
            .field("revents", &self.raw.revents)
            .finish()
    }
}

impl<'fd> Interest<'fd> {
    /// Waits until a read would not block.
    pub fn readable(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLIN)
    }

    /// Waits until a write would not block; for a connecting socket, until the connection is made or has
    /// failed.
    pub fn writable(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLOUT)
    }

    /// True if the last [`wait`] found the descriptor ready, failed or hung up; a read or a write
    /// returns which.
    pub const fn is_ready(&self) -> bool {
        self.raw.revents != 0
    }

    fn new(fd: BorrowedFd<'fd>, events: libc::c_short) -> Self {
        let raw = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        Self { raw, fd: std::marker::PhantomData }
    }
}

/// Blocks until one of `interests` is ready or `time` has passed; returns the number of ready ones.
///
/// # Errors
/// What poll(2) reports, except for an interruption by a signal, which counts as "none ready".
pub fn wait(interests: &mut [Interest<'_>], time: Duration) -> io::Result<usize> {
    let count = libc::nfds_t::try_from(interests.len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // Rounded up: rounding down would make the last millisecond a busy loop.
    let time = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: `Interest` is a transparent wrapper of `pollfd`, so the slice is `count` of them,
    // writable for the length of the call.
    let ready = unsafe { libc::poll(interests.as_mut_ptr().cast(), count, time) };
    match usize::try_from(ready) {
        Ok(ready) => Ok(ready),
        Err(_) => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            e => Err(e),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_a_descriptor_with_data_is_ready() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let (_c, d) = UnixStream::pair().unwrap();
        let mut both = [Interest::readable(b.as_fd()), Interest::readable(d.as_fd())];
        assert_eq!(wait(&mut both, Duration::ZERO).unwrap(), 0);
        a.write_all(b"x").unwrap();
        assert_eq!(wait(&mut both, Duration::from_secs(5)).unwrap(), 1);
        assert!(both[0].is_ready() && !both[1].is_ready());
    }
}
