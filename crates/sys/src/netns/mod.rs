//! Network namespaces: creating, opening, comparing and entering them.
//!
//! A [`Netns`] is a descriptor, not a name. A namespace created here has no entry in `/run/netns`, so
//! the kernel removes it with the last process or socket that uses it, even after `SIGKILL`. The
//! calling thread never changes its namespace: [`Netns::run`] enters on a new thread, because a thread
//! that failed to return would do all its later work in the wrong namespace.

mod holders;
mod reachable;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

pub use holders::{Holders, holders};
pub use reachable::{Search, find, reachable, search};

/// A network namespace, kept alive by the descriptor that this owns.
#[derive(Debug)]
pub struct Netns {
    /// An open file of `nsfs`.
    file: File,
}

/// The identity of a network namespace. Two ids are equal if and only if the namespaces are the same,
/// as long as one of them is held open (inode numbers are reused).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    /// Device number of `nsfs`.
    pub dev: u64,
    /// Inode number of the namespace, the one in `net:[4026531840]`.
    pub ino: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> io::Result<Self> {
        let file = File::open(OWN_NAMESPACE).map_err(|e| explain(e, PROC_NEEDED))?;
        Ok(Self { file })
    }

    /// A new namespace without a name, with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` beyond `/proc/sys/user/max_net_namespaces`.
    pub fn create() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(libc::CLONE_NEWNET).map_err(|e| {
                explain(
                    e,
                    "no new network namespace (it needs CAP_SYS_ADMIN: run as root, or enter a \
                     user namespace first)",
                )
            })?;
            Self::current()
        })?
    }

    /// Opens the namespace that `place` names: a name of `ip netns`, an absolute path, or the id of a
    /// process in the namespace.
    ///
    /// # Errors
    /// The text names the file that was tried, and what to do.
    pub fn open(place: &str) -> io::Result<Self> {
        let (path, advice) = locate(place)?;
        let tried = path.display();
        Self::open_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                let words = format!("{tried} is not a network namespace ({advice})");
                io::Error::new(io::ErrorKind::InvalidInput, words)
            }
            _ => explain(error, &format!("no network namespace \"{place}\" at {tried} ({advice})")),
        })
    }

    /// Opens a file of a namespace; `InvalidInput` if it is another one.
    fn open_file(path: &Path) -> io::Result<Self> {
        // The file is checked before it is opened: opening a pipe would wait for its other end, and
        // opening a device could have side effects.
        let at = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
        if at.metadata()?.dev() != Self::current()?.id().dev {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = File::open(format!("/proc/thread-self/fd/{}", at.as_raw_fd()))?;
        match namespace_type(file.as_fd()) {
            Ok(libc::CLONE_NEWNET) => Ok(Self { file }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The identity of the namespace.
    pub fn id(&self) -> NetnsId {
        #[allow(
            clippy::expect_used,
            reason = "the file is open and nsfs keeps its inode in memory: fstat has no way to fail"
        )]
        let inode = self.file.metadata().expect("fstat of an open namespace");
        NetnsId { dev: inode.dev(), ino: inode.ino() }
    }

    /// Runs `f` on a new thread inside this namespace, and returns its result. Sockets that `f` opens
    /// belong to the namespace and keep it alive, whichever thread uses them later.
    ///
    /// # Errors
    /// If the thread cannot be started or cannot enter (`EPERM` without `CAP_SYS_ADMIN` in the
    /// user namespace that owns the network namespace); `f` is not called then.
    ///
    /// # Panics
    /// If `f` panics, with the same payload.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            enter(self.as_fd())?;
            Ok(f())
        })?
    }

    /// A second descriptor of the same namespace.
    ///
    /// # Errors
    /// `EMFILE` when the process has too many files open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }
}

impl From<OwnedFd> for Netns {
    /// Wraps a descriptor of a network namespace, such as `TUNGETDEVNETNS` returns. With any other
    /// descriptor [`Netns::run`] fails.
    fn from(fd: OwnedFd) -> Self {
        Self { file: File::from(fd) }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling process into a new user namespace, where it is root, with a new network namespace.
/// This lets an unprivileged user create interfaces. Outside, the process keeps its user.
///
/// # Errors
/// `EINVAL` if the process has a second thread (user_namespaces(7)), `EPERM` or `ENOSPC` where
/// the machine forbids it, an error of the `/proc` file whose writing failed.
pub fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = effective_ids();
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|e| {
        let advice = match e.raw_os_error() {
            Some(libc::EINVAL) => "the process must have one thread only",
            _ => {
                "the machine forbids it: see the sysctls user.max_user_namespaces and \
                 kernel.unprivileged_userns_clone, and AppArmor's restrictions; or run as root"
            }
        };
        explain(e, &format!("no new user namespace ({advice})"))
    })?;
    // Without this a process that is not root may not map its group: user_namespaces(7).
    write_proc("/proc/self/setgroups", "deny")?;
    write_proc("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_proc("/proc/self/gid_map", &format!("0 {gid} 1"))
}

/// The file of the namespace that `place` names, and advice for the case that it does not exist.
fn locate(place: &str) -> io::Result<(PathBuf, &'static str)> {
    if place.starts_with('/') {
        return Ok((PathBuf::from(place), "give the path of a namespace file"));
    }
    if !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit()) {
        let path = Path::new("/proc").join(place).join("ns/net");
        return Ok((path, "digits mean a process: is it running?"));
    }
    let plain = !place.is_empty() && !place.contains('/') && place != "." && place != "..";
    if !plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "\"{place}\" names no network namespace: give a name, an absolute path or the id \
                 of a process"
            ),
        ));
    }
    Ok((Path::new(NAMED_NAMESPACES).join(place), "`ip netns list` shows the names there are"))
}

/// Runs `f` on a new thread and waits for it.
fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, f)?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(payload) => panic::resume_unwind(payload),
        }
    })
}

fn write_proc(path: &str, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
        .map_err(|e| explain(e, &format!("cannot write \"{text}\" to {path}")))
}

/// An error of the same kind, with `words` before its text.
fn explain(error: io::Error, words: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{words}: {error}"))
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no pointer, and these flags do not change memory or descriptors.
    check(unsafe { libc::unshare(flags) })
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns takes no pointer, and the borrowed descriptor is open.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
        .map_err(|e| explain(e, "cannot enter the network namespace"))
}

/// The `CLONE_NEW*` constant of a namespace file: ioctl_ns(2).
fn namespace_type(file: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument, and the borrowed descriptor is open.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(kind)
}

/// A number of the calling thread's namespace that no other namespace has before the next boot
/// (Linux 5.14); before, the inode number, which a namespace that ends passes on.
///
/// # Errors
/// No socket can be opened.
pub fn cookie() -> io::Result<u64> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut len = super::size::<u64>();
    let value = (&raw mut cookie).cast();
    // SAFETY: `cookie` has `len` bytes, and both outlive the call.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut len)
    };
    match super::checked(got) {
        Ok(_) => Ok(cookie),
        Err(_) => Ok(Netns::current()?.id().ino),
    }
}

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The effective user and group id of the process.
pub fn effective_ids() -> (libc::uid_t, libc::gid_t) {
    // SAFETY: geteuid has no argument and cannot fail.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: getegid has no argument and cannot fail.
    let gid = unsafe { libc::getegid() };
    (uid, gid)
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The namespace of the calling thread; other threads may be in others.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
const PROC_NEEDED: &str = "cannot open /proc/thread-self/ns/net (is /proc mounted?)";
/// Where `ip netns add` puts names: ip-netns(8).
const NAMED_NAMESPACES: &str = "/run/netns";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_a_path_or_a_process() {
        let path = |place| locate(place).unwrap().0;
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("/tmp/ns"), Path::new("/tmp/ns"));
        assert_eq!(path("17"), Path::new("/proc/17/ns/net"));
        for bad in ["", ".", "..", "a/b", "../x"] {
            assert!(locate(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let missing = Netns::open("umv-no-such").unwrap_err().to_string();
        assert!(missing.contains("/run/netns/umv-no-such"), "{missing}");
        assert!(missing.contains("ip netns list"), "{missing}");
        for other in ["/proc/self/ns/uts", "/dev/zero", "/", "/proc/self/status"] {
            let other = Netns::open(other).unwrap_err().to_string();
            assert!(other.contains("is not a network namespace"), "{other}");
        }
    }

    #[test]
    fn opening_a_pipe_without_a_writer_does_not_block() {
        let path = std::env::temp_dir().join(format!("umacvlan-pipe-{}", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = Netns::open(path.to_str().unwrap()).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("is not a network namespace"), "{error}");
    }

    #[test]
    fn a_process_id_names_the_namespace_of_the_process() {
        let mine = Netns::open(&std::process::id().to_string()).unwrap();
        assert_eq!(mine.id(), Netns::current().unwrap().id());
    }
}
