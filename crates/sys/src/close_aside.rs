//! [`CloseAside`]: closes what a program has passed on a thread of its own.
//!
//! To close the last descriptor of a file can take any time: a TCP socket with unsent data and
//! `SO_LINGER` waits for its peer, a file of a file system in user space for that program. A Unix socket
//! closes the descriptors that nobody has received from it. So whatever comes from a program that is not
//! trusted is closed by a thread that nobody waits for.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::thread;

/// Bytes of the stack of a thread that closes.
const STACK: usize = 64 * 1024;

/// Counts what is closed aside and is not closed yet.
#[derive(Clone, Debug, Default)]
pub struct CloseCount(Arc<()>);

impl CloseCount {
    /// The values with this counter, also those that are still in use.
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A value with descriptors of a program. To drop it never waits for them: a thread of its own does,
/// and without one they stay open.
#[derive(Debug)]
pub struct CloseAside<T: Send + 'static> {
    value: ManuallyDrop<T>,
    count: CloseCount,
}

impl<T: Send + 'static> CloseAside<T> {
    /// Has a value closed aside when it is dropped, and counted until it is closed.
    pub fn new(value: T, count: &CloseCount) -> Self {
        Self { value: ManuallyDrop::new(value), count: count.clone() }
    }
}

impl<T: Send + 'static> Deref for CloseAside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send + 'static> DerefMut for CloseAside<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Send + 'static> Drop for CloseAside<T> {
    fn drop(&mut self) {
        // SAFETY: the value is not used again: this is its only owner, which is gone after this.
        let value = unsafe { ManuallyDrop::take(&mut self.value) };
        // Kept if there is no thread: then they are not closed here.
        let kept = ManuallyDrop::new(value);
        let count = self.count.clone();
        let close = move || {
            drop(ManuallyDrop::into_inner(kept));
            drop(count);
        };
        let thread = thread::Builder::new().name("close".to_owned()).stack_size(STACK);
        // Its descriptors stay open then, which is all that can be done.
        let _ = thread.spawn(close);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use umacvlan_testkit::LIMIT;

    use super::*;

    /// Takes as long to drop as its channel is open.
    struct Slow(mpsc::Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv_timeout(LIMIT);
        }
    }

    #[test]
    fn what_takes_long_to_close_holds_up_nobody_and_is_counted() {
        let count = CloseCount::default();
        let (finish, wait) = mpsc::channel();
        let slow = CloseAside::new(Slow(wait), &count);
        assert_eq!(count.count(), 1);
        drop(slow);
        assert_eq!(count.count(), 1, "it is being closed");
        drop(finish);
        let until = Instant::now() + LIMIT;
        while count.count() > 0 {
            assert!(Instant::now() < until, "it is not closed");
            thread::yield_now();
        }
    }
}
