//! The system calls of a worker.

/// What a worker asks of the kernel after its first turn has begun, for a `seccomp(2)` filter that
/// is set by an [`OnWorker`](super::OnWorker). Everything else should be refused with an error and
/// not with the end of the process: the allocator looks at `/proc/sys/vm/overcommit_memory` now and
/// then, and a panic at its own source, and both go on without.
pub const SYSTEM_CALLS: &[libc::c_long] = &[
    // Frames: TAPs without io_uring, and the parent's super-frames; TAPs with it; the wire.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_io_uring_enter,
    libc::SYS_sendmmsg,
    // Wake-ups of an AF_XDP socket; those for what it receives are `recvfrom`.
    libc::SYS_sendto,
    // Waiting, for frames and for what the control thread asks.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    // Ports and uplinks that come and go, memberships, counters of the socket.
    libc::SYS_epoll_ctl,
    libc::SYS_io_uring_register,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    // What the standard library checks before it closes, in a debug build.
    libc::SYS_fcntl,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // The end of the thread, and signals that meet it.
    libc::SYS_exit,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];
