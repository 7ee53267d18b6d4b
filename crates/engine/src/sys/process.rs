//! What the process and its threads ask of the kernel for themselves.

use std::io;

/// Lifts the soft limit on open descriptors to the hard one and returns it: each sub-interface
/// needs one, and the usual 1024 is soon used up.
///
/// # Errors
/// Whatever `getrlimit` or `setrlimit` says.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    super::checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    super::checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// Sets the calling thread's timer slack to the least: by default a short sleep takes 50 us longer.
pub fn tighten_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes a number; on refusal the slack stays as it was.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}
