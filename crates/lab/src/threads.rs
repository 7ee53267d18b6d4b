//! Threads of the measurements.

use std::{panic, thread};

use core_affinity::CoreId;

/// Binds the calling thread to a core, if one is given.
pub(crate) fn pin(core: Option<CoreId>) {
    // If the kernel refuses, the measurement is less steady but still valid.
    let _ = core.map(core_affinity::set_for_current);
}

/// The value that a thread returned. Its panic is propagated to the caller.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    }
}
