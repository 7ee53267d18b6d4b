//! The eventfds of a program: [`CallEvent`], by which its driver is told, and [`KickEvent`], by which
//! the driver tells.
//!
//! A write to an eventfd waits while the counter is full, unless the open file says otherwise, and the
//! program shares both: it can fill the counter and change the file at any time. What waits for nothing is
//! the signal that io_uring gives an eventfd when a request is complete. So a [`Call`] has a ring whose
//! requests do nothing.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode};

/// An eventfd of a program, by which its driver is told of used entries.
#[derive(Debug)]
pub struct CallEvent(OwnedFd);

impl CallEvent {
    /// Takes an eventfd.
    ///
    /// # Errors
    /// It is no eventfd.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        super::check_eventfd(&fd)?;
        Ok(Self(fd))
    }

    /// Adds one to its counter. This waits if the program has filled it, and makes the file wait for
    /// that between these two calls.
    fn write(&self) {
        // SAFETY: F_SETFL takes a number, and the descriptor is open; an eventfd has no other flag.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` has the eight bytes that eventfd(2) reads.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// Tells a driver, without ever waiting for its program where io_uring is allowed.
pub(super) struct Call {
    event: Arc<CallEvent>,
    /// Its completions signal the eventfd.
    ring: Option<IoUring>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("event", &self.event).finish_non_exhaustive()
    }
}

impl Call {
    /// Prepares to signal an eventfd.
    pub(super) fn new(event: Arc<CallEvent>) -> Self {
        let ring = signalling_ring(&event).ok();
        Self { event, ring }
    }

    /// Signals the eventfd. A counter that is full tells the driver already.
    pub(super) fn signal(&mut self) {
        crate::syscall_count::record();
        if !self.ring.as_mut().is_some_and(complete_nothing) {
            self.event.write();
        }
    }

    /// One that writes, as without io_uring.
    #[cfg(test)]
    pub(super) const fn writing(event: Arc<CallEvent>) -> Self {
        Self { event, ring: None }
    }
}

/// A ring that signals this eventfd with each completion.
fn signalling_ring(event: &CallEvent) -> io::Result<IoUring> {
    let ring = IoUring::new(2)?;
    ring.submitter().register_eventfd(event.0.as_raw_fd())?;
    Ok(ring)
}

/// Completes a request that does nothing; false if the kernel has not done it.
fn complete_nothing(ring: &mut IoUring) -> bool {
    ring.completion().for_each(drop);
    let nothing = opcode::Nop::new().build();
    // SAFETY: the request has no memory and no descriptor.
    let queued = unsafe { ring.submission().push(&nothing) };
    // What an earlier call has left in the queue is submitted with it.
    queued.is_ok() && ring.submit().is_ok_and(|submitted| submitted > 0)
}

/// An eventfd by which a driver tells of available entries. It is waited for and never read, so it
/// has to be waited for by its edges.
#[derive(Debug)]
pub struct KickEvent(OwnedFd);

impl KickEvent {
    /// Takes an eventfd.
    ///
    /// # Errors
    /// It is no eventfd.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        super::check_eventfd(&fd)?;
        Ok(Self(fd))
    }
}

impl AsFd for KickEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use umacvlan_testkit::LIMIT;

    use super::*;
    use crate::eventfd::EventFd;

    /// What the program has of the eventfd.
    fn event() -> (EventFd, Arc<CallEvent>) {
        let event = EventFd::new().unwrap();
        let copy = event.as_fd().try_clone_to_owned().unwrap();
        (event, Arc::new(CallEvent::new(copy).unwrap()))
    }

    fn is_told(event: &EventFd) -> bool {
        let waits = crate::poll::Interest::readable(event.as_fd());
        let ready = crate::poll::wait(&mut [waits], std::time::Duration::ZERO).unwrap();
        event.clear();
        ready == 1
    }

    #[test]
    fn a_driver_is_told_each_time() {
        let (program, event) = event();
        for mut call in [Call::new(Arc::clone(&event)), Call::writing(event)] {
            for _ in 0..20 {
                assert!(!is_told(&program));
                call.signal();
                assert!(is_told(&program));
            }
        }
    }

    #[test]
    fn a_program_that_fills_the_counter_and_makes_it_wait_holds_up_nobody() {
        for writes in [false, true] {
            let (program, event) = event();
            let fd = program.as_fd().as_raw_fd();
            let full = (u64::MAX - 1).to_ne_bytes();
            // SAFETY: `full` has the eight bytes that eventfd(2) reads.
            assert_eq!(unsafe { libc::write(fd, full.as_ptr().cast(), full.len()) }, 8);
            let mut call = if writes { Call::writing(event) } else { Call::new(event) };
            // SAFETY: F_SETFL takes a number, and the descriptor is open.
            assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFL, 0) }, 0);
            let (done, wait) = mpsc::channel();
            thread::spawn(move || {
                call.signal();
                call.signal();
                done.send(()).unwrap();
            });
            wait.recv_timeout(LIMIT).expect("to tell the driver does not end");
        }
    }
}
