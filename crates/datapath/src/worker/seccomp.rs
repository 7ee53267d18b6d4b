//! The system calls that a seccomp filter has to allow a worker.

/// The system calls that a worker makes after its first turn has begun, for a `seccomp(2)` filter
/// that an [`OnWorker`](super::OnWorker) installs. The filter should refuse all others with an error
/// and not end the process: the allocator reads `/proc/sys/vm/overcommit_memory` now and then, a
/// panic reads its own source, and both go on without.
pub const SYSTEM_CALLS: &[libc::c_long] = &[
    // Frames: TAPs without io_uring, and GSO packets of the parent; TAPs with it; the wire.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Datagrams of programs.
    libc::SYS_recvmmsg,
    libc::SYS_io_uring_enter,
    libc::SYS_sendmmsg,
    // Wake-ups of an AF_XDP socket to send; those to receive are `recvfrom`.
    libc::SYS_sendto,
    // Waiting for frames and for requests.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    // Ports and uplinks that are added and removed, memberships, counters of the socket.
    libc::SYS_epoll_ctl,
    libc::SYS_io_uring_register,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    // A check of the standard library before it closes, in a debug build.
    libc::SYS_fcntl,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // The end of the thread, and signals.
    libc::SYS_exit,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];
