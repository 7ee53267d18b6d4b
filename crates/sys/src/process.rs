//! What the process and its threads ask of the kernel for themselves.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::time::Duration;

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

/// Takes over a descriptor that this process was started with, known by its number: each number
/// once, before anything else can have it.
///
/// # Errors
/// `EBADF` if nothing is open by that number, or it is one of the three standard ones.
pub fn inherited_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD takes a number and no memory; on a closed descriptor it fails.
    super::checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and whoever started the process left it to the one who asks here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets the calling thread's timer slack to the least: by default a short sleep takes 50 us longer.
pub fn minimize_timer_slack() {
    // SAFETY: PR_SET_TIMERSLACK takes a number; on refusal the slack stays as it was.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// The processor time that the calling thread has used so far.
///
/// # Errors
/// Whatever `clock_gettime` says.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct outlives the call.
    super::checked(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Ok(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Has the kernel kill what this command starts as soon as the thread that starts it ends: also if
/// that is the end of a process which was itself killed. A program that forks escapes this.
pub fn kill_with_thread(command: &mut Command) {
    let parent = std::process::id();
    let bind = move || {
        // SAFETY: PR_SET_PDEATHSIG takes a number and no memory.
        super::checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // Had it ended before, nobody would be left to send the signal.
        if parent_id() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: after the fork it makes system calls only: no memory, no lock.
    unsafe { command.pre_exec(bind) };
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::thread;

    use super::*;

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            command.arg("1000");
            kill_with_thread(&mut command);
            command.spawn().unwrap()
        };
        let mut child = thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
