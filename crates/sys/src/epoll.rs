//! [`Epoll`]: waits for input on many descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The most descriptors that one wait reports; the next wait reports the rest.
const READY_MAX: usize = 256;

/// A level-triggered `epoll(7)` instance. The caller gives each descriptor a token.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An instance without descriptors.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = super::checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: epoll_create1 has just made this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, ready: Vec::with_capacity(READY_MAX) })
    }

    /// Watches a descriptor for input and errors.
    ///
    /// # Errors
    /// The error of `epoll_ctl`: the descriptor is watched already, or no memory.
    pub fn add(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), libc::EPOLLIN, token)
    }

    /// Watches a descriptor for input that arrives from now on, or is there now: it is reported once
    /// for each arrival, and need not be read.
    ///
    /// # Errors
    /// As [`Epoll::add`].
    pub fn add_edge(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), libc::EPOLLIN | libc::EPOLLET, token)
    }

    /// Watches a descriptor that is watched already for room to write as well, or no longer.
    ///
    /// # Errors
    /// The error of `epoll_ctl`: the descriptor is not watched, or no memory.
    pub fn watch_writable(&self, fd: BorrowedFd<'_>, token: u64, writable: bool) -> io::Result<()> {
        let events = libc::EPOLLIN | if writable { libc::EPOLLOUT } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, fd, events, token)
    }

    /// Watches a descriptor that is watched already for input and room to write, for one of them, or
    /// only for its end (`EPOLLHUP`, `EPOLLERR`).
    ///
    /// # Errors
    /// As [`Epoll::watch_writable`].
    pub fn watch_for(
        &self,
        fd: &impl AsFd,
        token: u64,
        readable: bool,
        writable: bool,
    ) -> io::Result<()> {
        let input = if readable { libc::EPOLLIN } else { 0 };
        let room = if writable { libc::EPOLLOUT } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), input | room, token)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        events: libc::c_int,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token };
        let epoll = self.fd.as_raw_fd();
        // SAFETY: `event` is a whole epoll_event that outlives the call; both descriptors are open.
        super::checked(unsafe {
            libc::epoll_ctl(epoll, operation, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    /// Stops watching a descriptor; without effect if it is not watched.
    pub fn remove(&self, fd: &impl AsFd) {
        let (epoll, fd) = (self.fd.as_raw_fd(), fd.as_fd().as_raw_fd());
        // SAFETY: EPOLL_CTL_DEL reads no event; both descriptors are open.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Waits for input, at most for `timeout` (`None`: without limit), and returns the tokens of the
    /// ready descriptors. A signal ends the wait early with none.
    ///
    /// # Errors
    /// The error of `epoll_wait`, except for an interruption.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = u64> + '_> {
        let millis = match timeout {
            None => -1,
            // Rounded up: a wait that ends too early would spin.
            Some(time) => i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
        };
        self.ready.clear();
        let room = i32::try_from(self.ready.capacity()).unwrap_or(i32::MAX);
        super::syscall_count::record();
        // SAFETY: `ready` has capacity for `room` events.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.ready.as_mut_ptr(), room, millis) };
        let count = match super::checked(count) {
            Ok(count) => usize::try_from(count).unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel has written `count` events, at most `room`.
        unsafe { self.ready.set_len(count) };
        Ok(self.ready.iter().map(|event| event.u64))
    }
}

impl AsFd for Epoll {
    /// A descriptor that is readable when one of the watched descriptors is.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
