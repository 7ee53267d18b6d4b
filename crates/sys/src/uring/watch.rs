//! Waiting for completions and descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{Fd, SubmitArgs, Timespec};

use super::completion::{WATCH, tag};
use super::{Uring, passing};
use crate::syscall_count;

impl Uring {
    /// Submits what is queued and waits for a completion, at most for `timeout` (`None`: without limit).
    /// Each descriptor of `watched` has one [`Completion::Ready`](super::Completion::Ready) with its token, now or later, when it
    /// can be read or has failed: the kernel keeps its file until then.
    ///
    /// # Errors
    /// The error of `io_uring_enter`, except for an interruption or the timeout. Descriptors may then
    /// still be queued by their numbers, so every later submission fails too.
    pub fn wait<'fd>(
        &mut self,
        watched: impl IntoIterator<Item = (BorrowedFd<'fd>, u32)>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.check_usable()?;
        for (fd, token) in watched {
            self.push_watch(fd, libc::POLLIN, token)?;
        }
        self.enter_and_wait(timeout)?;
        if self.holds_borrowed && !self.ring.submission().is_empty() {
            self.drain()?;
        }
        self.holds_borrowed = false;
        Ok(())
    }

    fn enter_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        syscall_count::record();
        let waited = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(time) => {
                let time = Timespec::from(time);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match waited {
            Ok(_) => Ok(()),
            Err(error) => passing(error),
        }
    }

    /// Has one [`Completion::Ready`](super::Completion::Ready) with this token when the descriptor can
    /// be written or has failed: the kernel keeps its file until then.
    ///
    /// # Errors
    /// As [`Uring::wait`].
    pub fn watch_writable(&mut self, fd: BorrowedFd<'_>, token: u32) -> io::Result<()> {
        self.check_usable()?;
        self.push_watch(fd, libc::POLLOUT, token)?;
        self.drain()?;
        self.holds_borrowed = false;
        Ok(())
    }

    fn push_watch(
        &mut self,
        fd: BorrowedFd<'_>,
        events: libc::c_short,
        token: u32,
    ) -> io::Result<()> {
        // Cleared only when the kernel has looked the number up.
        self.holds_borrowed = true;
        let events = u32::from(events.cast_unsigned());
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build();
        self.push(entry.user_data(tag(WATCH, 0, 0, token)))
    }
}
