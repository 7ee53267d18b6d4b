//! Threads that only use their core, beside a measurement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs `during` beside this many threads that only use their core.
pub(super) fn beside<T>(loops: usize, during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Even if `during` panics, or the scope would wait for ever.
        let _stopping = StopOnDrop(&stop);
        for _ in 0..loops {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        during()
    })
}

struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_end_with_what_they_run_beside() {
        assert_eq!(beside(2, || 7), 7);
        assert!(std::panic::catch_unwind(|| beside(2, || panic!("on purpose"))).is_err());
    }
}
