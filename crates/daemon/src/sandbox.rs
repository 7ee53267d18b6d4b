//! The sandbox: capabilities and system calls that the daemon gives up once it has started.
//!
//! Capabilities and seccomp filters belong to threads and are inherited by the threads they start.
//! So [`confine_process`] runs on the main thread before there is another one, and
//! [`WorkerSandbox::confine`] on each worker; only workers parse frames, which are untrusted.
//!
//! Known weakness: a worker keeps its io_uring, whose requests no seccomp filter sees. What it
//! opens that way, it opens without capabilities.

use std::sync::Arc;

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use nix::sys::prctl;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Capabilities that the control threads keep. CAP_DAC_OVERRIDE is not needed: state, socket and
/// namespaces belong to root.
const NEEDED: [Capability; 5] = [
    // Interfaces, their addresses, and ids of namespaces.
    Capability::CAP_NET_ADMIN,
    // Events of all namespaces: NETLINK_LISTEN_ALL_NSID.
    Capability::CAP_NET_BROADCAST,
    // Packet sockets.
    Capability::CAP_NET_RAW,
    // Entering namespaces: setns(2).
    Capability::CAP_SYS_ADMIN,
    // Opening /proc/PID/ns/net of processes of other users.
    Capability::CAP_SYS_PTRACE,
];

/// Drops all capabilities except `NEEDED`, and the way to regain others, for the calling thread
/// and the threads that it starts. `searches`: it also keeps the one for reading `/proc/PID/fd` of
/// processes of other users, as it has to look who holds the namespaces of its links.
///
/// # Errors A system call fails.
pub fn confine_process(searches: bool) -> Result<()> {
    let had = caps::read(None, CapSet::Permitted)?;
    let search = searches.then_some(Capability::CAP_DAC_READ_SEARCH);
    let needed = NEEDED.into_iter().chain(search);
    let kept: CapsHashSet = needed.filter(|cap| had.contains(cap)).collect();
    for cap in caps::read(None, CapSet::Bounding)? {
        if !kept.contains(&cap) {
            // Without CAP_SETPCAP the set stays; no_new_privs makes it worth nothing.
            let _ = caps::drop(None, CapSet::Bounding, cap);
        }
    }
    give_up(&kept)?;
    prctl::set_no_new_privs().context("cannot set no_new_privs")
}

/// Leaves the calling thread these capabilities only.
fn give_up(kept: &CapsHashSet) -> Result<()> {
    let context = "cannot give up capabilities";
    caps::clear(None, CapSet::Ambient).context(context)?;
    caps::set(None, CapSet::Effective, kept).context(context)?;
    caps::set(None, CapSet::Permitted, kept).context(context)?;
    caps::clear(None, CapSet::Inheritable).context(context)
}

/// The sandbox of the workers.
#[derive(Clone, Debug)]
pub struct WorkerSandbox {
    filter: Arc<BpfProgram>,
}

impl WorkerSandbox {
    /// Compiles the seccomp filter.
    ///
    /// # Errors The processor architecture is not supported.
    pub fn new() -> Result<Self> {
        let rules = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?;
        Ok(Self { filter: Arc::new(filter.try_into()?) })
    }

    /// Drops all capabilities of the calling thread, and all system calls except those that
    /// forwarding needs.
    pub fn confine(&self) {
        let confined = give_up(&CapsHashSet::new())
            .and_then(|()| seccompiler::apply_filter(&self.filter).map_err(Into::into));
        if let Err(error) = confined {
            // A kernel without seccomp still forwards. Logged before the first frame.
            tracing::warn!("a worker runs unconfined: {error:#}");
        }
    }
}

/// The system calls of a worker: reading, writing, waiting, memory, socket options, and the end of
/// the thread. All others return EPERM.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_close,
    // Waiting.
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_getrandom,
    // Ending, also by a panic.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_worker_cannot_open_files_or_sockets_and_still_forwards() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let worker = WorkerSandbox::new().unwrap();
        let confined = thread::spawn(move || {
            File::open("/proc/self/status").unwrap();
            worker.confine();
            let refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            assert!(File::open("/proc/self/status").is_err_and(refused));
            assert!(UdpSocket::bind("127.0.0.1:0").is_err_and(refused));
            assert!(UnixStream::pair().is_err_and(refused));
            assert!(thread::Builder::new().spawn(|| ()).is_err_and(refused));
            let mut frame = [0; 4];
            there.read_exact(&mut frame).unwrap();
            there.write_all(&frame).unwrap();
            vec![1_u8; 1 << 22].len()
        });
        here.write_all(b"ping").unwrap();
        let mut frame = [0; 4];
        here.read_exact(&mut frame).unwrap();
        assert_eq!(&frame, b"ping");
        confined.join().unwrap();
    }

    #[test]
    fn a_process_keeps_what_it_needs_and_no_more() {
        let kept = thread::spawn(|| {
            confine_process(false).unwrap();
            confine_process(false).unwrap();
            assert!(prctl::get_no_new_privs().unwrap());
            caps::read(None, CapSet::Permitted).unwrap()
        });
        let had = caps::read(None, CapSet::Permitted).unwrap();
        let needed = CapsHashSet::from(NEEDED);
        assert_eq!(kept.join().unwrap(), had.intersection(&needed).copied().collect());
    }
}
