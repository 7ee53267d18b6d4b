//! Counts the system calls of a thread that move frames or wait for them.
//!
//! Each thread has a plain counter, which only that thread reads and writes.

use std::cell::Cell;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Counts a system call that moves frames or waits for them.
#[inline]
pub fn record() {
    CALLS.set(CALLS.get() + 1);
}

/// The count of the calling thread since it started.
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
