//! Limits, inherited descriptors, timers and CPU time of the process and its threads.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::time::Duration;

/// Raises the soft limit on open descriptors to the hard limit and returns it. Each sub-interface
/// needs one descriptor, and the usual soft limit is 1024.
///
/// # Errors
/// The error of `getrlimit` or `setrlimit`.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct outlives the call.
    super::checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    super::checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// Duplicates a descriptor that this process was started with, known by its number. The original
/// stays open, because its number may belong to something else by now; both are closed on exec.
///
/// # Errors
/// `EBADF` if no descriptor has that number, or it is one of the three standard ones.
pub fn inherited_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD takes a number and no memory; on a closed descriptor it fails.
    super::checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: F_DUPFD_CLOEXEC takes a number and no memory; on a closed descriptor it fails.
    let own = super::checked(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: fcntl has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

/// Sets the calling thread's timer slack to its minimum. The default makes a short sleep 50 us longer.
pub fn minimize_timer_slack() {
    // SAFETY: PR_SET_TIMERSLACK takes a number; on refusal the slack stays as it was.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// The shortest slice that the scheduler grants, in nanoseconds (`__setparam_fair` in
/// `kernel/sched/syscalls.c`).
const SLICE_NANOS: u64 = 100_000;

/// Asks the scheduler for short slices of the calling thread: on a busy CPU it runs for a shorter
/// time, and waits for a shorter time. Linux before 6.12 ignores it, and so does this where it is
/// refused.
pub fn request_short_slice() {
    // SAFETY: all-zero is a valid sched_attr: SCHED_OTHER, no flags, nice 0.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = super::size::<libc::sched_attr>();
    // SAFETY: getpriority takes numbers.
    attributes.sched_nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    attributes.sched_runtime = SLICE_NANOS;
    // SAFETY: the kernel reads `size` bytes of `attributes`, which outlives the call; 0 is this thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// The CPU time that the calling thread has used.
///
/// # Errors
/// The error of `clock_gettime`.
pub fn thread_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct outlives the call.
    super::checked(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Ok(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Makes the command's process the leader of a new session, which has no terminal and gets none of
/// the signals of the old one.
pub fn start_session(command: &mut Command) {
    // SAFETY: setsid takes no argument.
    let lead = || super::checked(unsafe { libc::setsid() }).map(drop);
    // SAFETY: after the fork the closure only makes a system call.
    unsafe { command.pre_exec(lead) };
}

/// Lets the command's process inherit this descriptor, with the same number, and no other but the three
/// standard ones.
pub fn inherit_only(command: &mut Command, descriptor: OwnedFd) {
    let inherit = move || {
        let cloexec = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        // SAFETY: close_range takes numbers and no memory, and with this flag closes nothing. Before
        // Linux 5.11 it fails; descriptors that were opened without close-on-exec are inherited then.
        unsafe { libc::close_range(3, libc::c_uint::MAX, cloexec) };
        // SAFETY: F_SETFD takes a number and no memory, and the descriptor is open.
        super::checked(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
    };
    // SAFETY: after the fork the closure only makes system calls: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(inherit) };
}

/// Makes the kernel kill the command's process when the thread that spawned it ends, even by SIGKILL.
/// Processes that the command forks are not killed.
pub fn kill_with_thread(command: &mut Command) {
    let parent = std::process::id();
    let bind = move || {
        // SAFETY: PR_SET_PDEATHSIG takes a number and no memory.
        super::checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // A parent that ended before prctl sends no signal.
        if parent_id() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: after the fork the closure only makes system calls: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(bind) };
}

/// A descriptor that is readable once the process with this number has ended (`pidfd_open(2)`).
///
/// # Errors
/// `ESRCH` if there is no such process, `EINVAL` for 0.
pub fn end_of_process(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open takes numbers and no memory.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let number = super::checked(libc::c_int::try_from(opened).unwrap_or(-1))?;
    // SAFETY: pidfd_open has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::thread;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let end = end_of_process(child.id()).unwrap();
        let mut epoll = crate::epoll::Epoll::new().unwrap();
        epoll.add(&end, 7).unwrap();
        assert_eq!(epoll.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        drop(child.stdin.take());
        assert_eq!(epoll.wait(Some(umacvlan_testkit::LIMIT)).unwrap().count(), 1);
        child.wait().unwrap();
        assert_eq!(end_of_process(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_process_is_killed_with_the_thread_that_spawned_it() {
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
