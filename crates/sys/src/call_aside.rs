//! [`CallAside`]: makes a call that may take any time on a thread of its own.
//!
//! To look up the path that a program has chosen is such a call: it may lie on a file system in user
//! space, or on one of another machine.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::eventfd::EventFd;

/// Bytes of the stack of a thread that makes a call.
const STACK: usize = 64 * 1024;

/// A call that was started. Its descriptor is readable when it has returned. Without this the thread goes
/// on, and nobody gets what the call returns.
#[derive(Debug)]
pub struct CallAside<T> {
    done: Arc<EventFd>,
    returned: Receiver<T>,
}

impl<T: Send + 'static> CallAside<T> {
    /// Starts the call.
    ///
    /// # Errors
    /// There are too many open files, or too many threads.
    pub fn start(call: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let done = Arc::new(EventFd::new()?);
        let (sender, returned) = mpsc::sync_channel(1);
        let bell = Arc::clone(&done);
        let thread = thread::Builder::new().name("call".to_owned()).stack_size(STACK);
        thread.spawn(move || {
            // Nobody may wait for it any more.
            let _ = sender.send(call());
            bell.wake();
        })?;
        Ok(Self { done, returned })
    }

    /// What the call has returned; `None` before that, and the second time.
    pub fn take(&self) -> Option<T> {
        self.returned.try_recv().ok()
    }
}

impl<T> AsFd for CallAside<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::LIMIT;

    use super::*;
    use crate::epoll::Epoll;

    #[test]
    fn a_call_that_takes_long_holds_up_nobody_and_is_reported_when_it_returns() {
        let (finish, wait) = mpsc::channel::<()>();
        let call = CallAside::start(move || wait.recv_timeout(LIMIT).is_err()).unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.add(&call, 7).unwrap();
        assert_eq!(call.take(), None);
        drop(finish);
        assert_eq!(epoll.wait(Some(LIMIT)).unwrap().collect::<Vec<_>>(), [7]);
        assert_eq!((call.take(), call.take()), (Some(true), None));
    }
}
