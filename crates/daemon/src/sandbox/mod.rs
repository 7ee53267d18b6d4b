//! The sandbox: capabilities and system calls that the daemon gives up once it has started.
//!
//! Capabilities and seccomp filters belong to threads and are inherited by the threads they start.
//! So [`confine_process`] runs on the main thread before there is another one;
//! [`confine_service`] on the main thread once the engine has started, before the threads that serve
//! clients; and [`WorkerSandbox::confine`] on each worker. Only workers parse frames, which are
//! untrusted, and only the engine's control thread opens the wire and loads programs into the kernel.
//!
//! No seccomp filter sees the requests of an io_uring; those of the workers' rings are restricted to
//! reading, writing and waiting (`umacvlan_sys::uring`).

mod system_calls;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use nix::sys::prctl;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule};

use system_calls::{CONTROL_ONLY, FAMILIES, NAMESPACES, PROCESS, WIRE, WORKER};

/// Capabilities that the control threads keep. CAP_DAC_OVERRIDE is not needed: state, socket and
/// namespaces belong to root.
const NEEDED: [Capability; 6] = [
    // The users and groups of the sockets of programs.
    Capability::CAP_CHOWN,
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

/// Capabilities that the thread for DHCP keeps.
const DHCP: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_SYS_ADMIN];

/// System calls by number, each with the rules of which one has to match; without rules it matches.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Drops all capabilities except `NEEDED`, the way to regain others, and all system calls that no
/// thread of the daemon needs, for the calling thread and the threads that it starts. `searches`: it
/// also keeps the capability for reading `/proc/PID/fd` of processes of other users, as it has to look
/// who holds the namespaces of its links.
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
    prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    apply("the daemon", &process_filters()?);
    Ok(())
}

/// Drops the system calls that only the engine's control thread needs, for the calling thread and
/// the threads that it starts: those that serve clients.
///
/// # Errors The processor architecture is not supported.
pub fn confine_service() -> Result<()> {
    let mut refused: Rules = CONTROL_ONLY.iter().map(|&call| (call, Vec::new())).collect();
    refused.insert(libc::SYS_socket, families(&WIRE)?);
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    apply("the HTTP server", &[filter(refused, SeccompAction::Allow, denied)?]);
    Ok(())
}

/// Leaves the calling thread what DHCP needs, which reads what servers have written, in safe code:
/// packet sockets, addresses and the way into the namespaces of links.
pub(crate) fn confine_dhcp() {
    let had = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let kept = DHCP.into_iter().filter(|cap| had.contains(cap)).collect();
    let confined = give_up(&kept).and_then(|()| {
        let refused: Rules = CONTROL_ONLY.iter().map(|&call| (call, Vec::new())).collect();
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        filter(refused, SeccompAction::Allow, denied)
    });
    match confined {
        Ok(filter) => apply("the thread for DHCP", &[filter]),
        Err(error) => tracing::warn!("the thread for DHCP is not confined: {error:#}"),
    }
}

/// The filters of all threads.
fn process_filters() -> Result<[BpfProgram; 2]> {
    let mut allowed: Rules = PROCESS.iter().map(|&call| (call, Vec::new())).collect();
    allowed.insert(libc::SYS_socket, families(&FAMILIES)?);
    let no_namespace = SeccompCondition::new(0, Dword, MaskedEq(bits(NAMESPACES)), 0)?;
    allowed.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    // No other kind of namespace is made or entered.
    let net = |argument| {
        let is_net = SeccompCondition::new(argument, Dword, Eq, bits(libc::CLONE_NEWNET))?;
        SeccompRule::new(vec![is_net])
    };
    allowed.insert(libc::SYS_unshare, vec![net(0)?]);
    allowed.insert(libc::SYS_setns, vec![net(1)?]);
    // The flags of clone3 are in memory, which a filter does not see. With this error the C library
    // calls clone.
    allowed.insert(libc::SYS_clone3, Vec::new());
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        filter(allowed, denied, SeccompAction::Allow)?,
        filter(clone3, SeccompAction::Allow, absent)?,
    ])
}

/// A rule for each family of sockets.
fn families(families: &[libc::c_int]) -> Result<Vec<SeccompRule>> {
    let rule = |&family| SeccompRule::new(vec![SeccompCondition::new(0, Dword, Eq, bits(family))?]);
    Ok(families.iter().map(rule).collect::<Result<_, _>>()?)
}

/// A constant of the C library as an argument of a system call.
fn bits(constant: libc::c_int) -> u64 {
    constant.cast_unsigned().into()
}

fn filter(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()?)
}

/// Installs filters on the calling thread.
fn apply(who: &str, filters: &[BpfProgram]) {
    for filter in filters {
        if let Err(error) = seccompiler::apply_filter(filter) {
            // A kernel without seccomp serves as well.
            tracing::warn!("{who} may make any system call: {error}");
        }
    }
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
        let rules = WORKER.iter().map(|&call| (call, Vec::new())).collect();
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        Ok(Self { filter: Arc::new(filter(rules, denied, SeccompAction::Allow)?) })
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use nix::errno::Errno;
    use nix::sched::{CloneFlags, setns, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

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
    fn no_thread_may_start_programs_or_enter_other_kinds_of_namespaces() {
        let confined = thread::spawn(|| {
            let refused = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            let user = File::open("/proc/thread-self/ns/user").unwrap();
            confine_process(false).unwrap();
            assert!(std::process::Command::new("/bin/true").spawn().is_err_and(refused));
            for kind in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNS] {
                assert_eq!(unshare(kind), Err(Errno::EPERM));
            }
            assert_eq!(setns(&user, CloneFlags::CLONE_NEWUSER), Err(Errno::EPERM));
            assert_eq!(setns(&user, CloneFlags::empty()), Err(Errno::EPERM));
            let vsock = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None);
            assert_eq!(vsock.err(), Some(Errno::EPERM));
            // Threads, files and sockets are there as before, for threads of its own as well.
            let more = || (UdpSocket::bind("127.0.0.1:0").unwrap(), File::open("/proc/self/stat"));
            thread::spawn(more).join().unwrap().1.unwrap();
        });
        confined.join().unwrap();
    }

    #[test]
    fn what_serves_clients_may_not_open_the_wire() {
        let confined = thread::spawn(|| {
            confine_process(false).unwrap();
            let packet = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
            // Without CAP_NET_RAW it is refused in any case.
            let before = packet();
            confine_service().unwrap();
            assert_eq!(packet().err(), Some(Errno::EPERM), "before: {before:?}");
            assert_eq!(unshare(CloneFlags::CLONE_NEWNET), Err(Errno::EPERM));
            UnixStream::pair().unwrap();
        });
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
