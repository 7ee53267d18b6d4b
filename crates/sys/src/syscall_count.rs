//! How many system calls a thread has made on the way of frames.
//!
//! One plain count for each thread: nothing is shared, and whoever reads it is the thread itself.

use std::cell::Cell;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Notes a call that moves frames or waits for them.
#[inline]
pub fn record() {
    CALLS.set(CALLS.get() + 1);
}

/// The calls that this thread has made to move frames or to wait for them, since it began.
pub fn current() -> u64 {
    CALLS.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_counts_its_own() {
        let before = current();
        record();
        assert_eq!(current(), before + 1);
        std::thread::spawn(|| assert_eq!(current(), 0)).join().unwrap();
    }
}
