//! [`Epoll`]: which of many descriptors have something to read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Most descriptors that one wait reports; the rest follow at the next.
const READY_MAX: usize = 256;

/// A level-triggered `epoll(7)` instance whose descriptors are named by numbers of the caller.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An instance that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor to be had.
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = super::checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was made in the line above and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, ready: Vec::with_capacity(READY_MAX) })
    }

    /// Watches a descriptor for something to read, errors included.
    ///
    /// # Errors
    /// Whatever `epoll_ctl` says: watched already, or no memory.
    pub fn add(&self, fd: &impl AsFd, name: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: name };
        let (epoll, fd) = (self.fd.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: the event outlives the call, both descriptors are open.
        super::checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Forgets a descriptor; one that was never watched is forgotten already.
    pub fn remove(&self, fd: &impl AsFd) {
        let (epoll, fd) = (self.fd.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: no event is read for EPOLL_CTL_DEL; both descriptors are open.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Waits until something can be read or the time is over (`None`: for ever), and says what by
    /// name. A signal ends the wait early with nothing.
    ///
    /// # Errors
    /// Whatever `epoll_wait` says, but for an interruption.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = u64> + '_> {
        let millis = match timeout {
            None => -1,
            // Rounded up: a wait that ends before its time would spin.
            Some(time) => i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
        };
        self.ready.clear();
        let room = i32::try_from(self.ready.capacity()).unwrap_or(i32::MAX);
        super::syscall_count::record();
        // SAFETY: `ready` has room for as many events as is said.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.ready.as_mut_ptr(), room, millis) };
        let count = match super::checked(count) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel wrote `count` events, at most as many as there was room for.
        unsafe { self.ready.set_len(count) };
        Ok(self.ready.iter().map(|event| event.u64))
    }
}

impl AsFd for Epoll {
    /// To be waited for itself: it can be read when one of its descriptors can.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
