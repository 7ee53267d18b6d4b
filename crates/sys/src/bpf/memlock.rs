//! The limit of locked memory, against which Linux before 5.11 counts the maps of programs.

use std::io;

/// Raises the limit of this process to unlimited, or else to the hard limit.
pub(super) fn lift() {
    let none = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    if set(&none).is_ok() {
        return;
    }
    let mut limit = none;
    // SAFETY: getrlimit writes one rlimit, and `limit` is one.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if read == 0 {
        limit.rlim_cur = limit.rlim_max;
        // If that fails too, the map that needs more reports it.
        let _ = set(&limit);
    }
}

fn set(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: setrlimit reads one rlimit, and `limit` is one.
    crate::checked(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, limit) })?;
    Ok(())
}
