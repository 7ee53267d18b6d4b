//! The process of the keeper: one thread, which waits for requests and never allocates for others than
//! a proven daemon.
//!
//! It has a session and a user id of its own, no capability, and a seccomp filter; no process of
//! another user but root's can look into it (`PR_SET_DUMPABLE`). A daemon proves itself by its user,
//! and by reaching the socket, which is in a directory of that user. The process ends when no daemon
//! is connected and it holds nothing, or when nobody can reach its socket any more because its file is
//! gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use caps::{CapSet, CapsHashSet};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use umacvlan_sys::kept_packet::is_raw_packet;
use umacvlan_sys::message_socket::{DESCRIPTORS_MAX, MessageSocket, Received};
use umacvlan_sys::poll::{Interest, wait};
use umacvlan_sys::process::{inherited_descriptor, raise_descriptor_limit};
use umacvlan_sys::tap::Tap;

use super::protocol::{MESSAGE_MAX, Message, UPLINK};

/// The name of the process, for ps(1). It differs from the daemon's, so that `pkill umacvlan` leaves
/// the keeper.
const NAME: &std::ffi::CStr = c"um-keeper";

/// Its user and group. Nothing else uses this id: it is not in the range of any distribution, and
/// systemd leaves 65520 to 65533 unused.
const USER: u32 = 65_530;

/// How long the links keep their carrier without a daemon, and parents their sockets. Frames wait until
/// then.
const CARRIER_TIME: Duration = Duration::from_secs(3);

/// How often to check whether there is still a reason to wait for a daemon.
const CHECK_TIME: Duration = Duration::from_secs(1);

/// The time between two checks while a daemon is connected, which find nothing.
const FOREVER: Duration = Duration::from_secs(3600);

/// How long to wait for a daemon that does not receive.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most connections at once: one daemon, and one that has been killed and is not yet gone.
const CONNECTIONS_MAX: usize = 4;

/// Serves daemons on the inherited listening socket of this number, whose file is `path`.
///
/// # Errors
/// The socket is missing, or a system call fails.
pub fn run(listener: RawFd, path: &Path) -> Result<()> {
    let listener = MessageSocket::from(inherited_descriptor(listener).context("no socket")?);
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    // On failure the present limit stays.
    let _ = raise_descriptor_limit();
    let owner = geteuid().as_raw();
    give_up_privileges()?;
    // From now on daemons see this process at the other end.
    listener.listen()?;
    // A kernel without seccomp keeps descriptors as well.
    let _ = seccompiler::apply_filter(&filter()?);
    serve(&listener, (&file, path), owner)
}

/// Gives up the user, the groups and all capabilities.
fn give_up_privileges() -> Result<()> {
    prctl::set_name(NAME)?;
    // It needs no network, and must not keep the daemon's namespace alive. Not permitted without
    // CAP_SYS_ADMIN.
    let _ = unshare(CloneFlags::CLONE_NEWNET);
    for cap in caps::read(None, CapSet::Bounding)? {
        // Without CAP_SETPCAP the set stays; no_new_privs makes it worth nothing.
        let _ = caps::drop(None, CapSet::Bounding, cap);
    }
    // Not permitted in a user namespace with one user, or without CAP_SETUID: it stays root's then,
    // without capabilities.
    let _ = setgroups(&[]);
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    let _ = setresgid(group, group, group).and_then(|()| setresuid(user, user, user));
    caps::clear(None, CapSet::Ambient)?;
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::set(None, set, &CapsHashSet::new())?;
    }
    prctl::set_dumpable(false)?;
    Ok(prctl::set_no_new_privs()?)
}

fn filter() -> Result<BpfProgram> {
    let argument = |value| {
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
            .and_then(|is| SeccompRule::new(vec![is]))
    };
    let ioctls = Tap::KEEPING_REQUESTS.into_iter().map(argument);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()?)
}

/// The system calls of the keeper, beside ioctl(2) with the requests of [`Tap::KEEPING_REQUESTS`].
const ALLOWED: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_futex,
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
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
];

/// Serves until there is no reason to wait for another daemon.
fn serve(listener: &MessageSocket, socket: (&File, &Path), owner: u32) -> Result<()> {
    let mut held = Held::default();
    let mut connections: Vec<MessageSocket> = Vec::new();
    let mut alone_since = Some(Instant::now());
    loop {
        let sockets = [listener].into_iter().chain(&connections);
        let mut ready: Vec<_> = sockets.map(|socket| Interest::readable(socket.as_fd())).collect();
        let time = if connections.is_empty() { CHECK_TIME } else { FOREVER };
        let waited = wait(&mut ready, time)?;
        let is_ready: Vec<bool> = ready.iter().map(Interest::is_ready).collect();
        let mut answered = is_ready[1..].iter();
        connections.retain(|connection| match answered.next() {
            Some(true) => held.answer(connection).is_ok(),
            _ => true,
        });
        if is_ready[0]
            && let Ok(connection) = listener.accept()
            && connection.peer().is_ok_and(|peer| peer.uid == owner)
            && connection.set_timeout(PATIENCE).is_ok()
        {
            connections.truncate(CONNECTIONS_MAX - 1);
            connections.push(connection);
        }
        if !connections.is_empty() {
            alone_since = None;
            continue;
        }
        let since = alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= CARRIER_TIME {
            held.remove_carriers();
        }
        held.unread_since.get_or_insert_with(Instant::now);
        held.close_unread();
        if waited == 0 && (held.held.is_empty() || is_unreachable(socket)?) {
            return Ok(());
        }
    }
}

/// True if the file of the socket was removed, or its directory was moved or removed. In a directory of
/// root's the keeper cannot see the file, which is another error.
fn is_unreachable((file, path): (&File, &Path)) -> io::Result<bool> {
    let moved = fs::symlink_metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    Ok(moved || file.metadata()?.nlink() == 0)
}

/// The descriptors of a link or a parent.
enum Descriptors {
    /// The queues of a link's TAP.
    Queues(Vec<Tap>),
    /// The packet sockets on a parent.
    Sockets(Vec<OwnedFd>),
}

impl Descriptors {
    /// What may be held for this number.
    ///
    /// # Errors
    /// A descriptor is of something else.
    fn new(number: u64, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let socket = |descriptor| match is_raw_packet(&descriptor)? {
            true => Ok(descriptor),
            false => Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(match number & UPLINK {
            0 => {
                let queues: io::Result<_> = descriptors.into_iter().map(Tap::from_kept).collect();
                Self::Queues(queues?)
            }
            _ => Self::Sockets(descriptors.into_iter().map(socket).collect::<io::Result<_>>()?),
        })
    }

    fn all(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Queues(queues) => queues.iter().map(AsFd::as_fd).collect(),
            Self::Sockets(sockets) => sockets.iter().map(AsFd::as_fd).collect(),
        }
    }
}

/// The descriptors of each link and parent, by its number.
#[derive(Default)]
struct Held {
    held: BTreeMap<u64, Descriptors>,
    /// Since when nobody reads the packet sockets; `None` while the daemon does that put them. One that
    /// starts and ends again has not read them.
    unread_since: Option<Instant>,
}

impl Held {
    /// Answers the next request of a daemon. A malformed one ends its connection.
    fn answer(&mut self, connection: &MessageSocket) -> Result<()> {
        let mut buffer = [0; MESSAGE_MAX];
        let Received { len, descriptors } = connection.receive(&mut buffer)?;
        let answer = match Message::decode(&buffer[..len], descriptors.len())? {
            Message::Put(link) => self.put(link, descriptors),
            Message::Drop(link) => {
                self.replace(link, None);
                Message::Done
            }
            Message::Take => {
                self.close_unread();
                self.send_all(connection)?;
                Message::Done
            }
            Message::Done | Message::Refused | Message::Held(_) => Message::Refused,
        };
        Ok(connection.send(&answer.encode(), &[])?)
    }

    fn put(&mut self, number: u64, descriptors: Vec<OwnedFd>) -> Message {
        match Descriptors::new(number, descriptors) {
            Ok(descriptors) => {
                if matches!(descriptors, Descriptors::Sockets(_)) {
                    self.unread_since = None;
                }
                self.replace(number, Some(descriptors));
                Message::Done
            }
            Err(_) => Message::Refused,
        }
    }

    /// Holds these descriptors, and closes those that were held in their place. Queues are closed the last
    /// one first: the kernel renumbers the others when one in the middle is closed.
    fn replace(&mut self, number: u64, descriptors: Option<Descriptors>) {
        let before = self.held.remove(&number);
        if let Some(descriptors) = descriptors {
            self.held.insert(number, descriptors);
        }
        if let Some(Descriptors::Queues(mut queues)) = before {
            while queues.pop().is_some() {}
        }
    }

    fn send_all(&self, connection: &MessageSocket) -> io::Result<()> {
        let each = |(&number, held): (&u64, &Descriptors)| (number, held.all().len());
        let numbers: Vec<u64> = self
            .held
            .iter()
            .map(each)
            .flat_map(|(number, count)| std::iter::repeat_n(number, count))
            .collect();
        let descriptors: Vec<_> = self.held.values().flat_map(Descriptors::all).collect();
        for (numbers, descriptors) in
            numbers.chunks(DESCRIPTORS_MAX).zip(descriptors.chunks(DESCRIPTORS_MAX))
        {
            connection.send(&Message::Held(numbers.to_vec()).encode(), descriptors)?;
        }
        Ok(())
    }

    /// Takes the carrier of all links away.
    fn remove_carriers(&self) {
        for held in self.held.values() {
            if let Descriptors::Queues(queues) = held {
                // Refused only by a TAP that is gone.
                let _ = queues.first().map(|tap| tap.set_carrier(false));
            }
        }
    }

    /// Closes the sockets on parents if nobody has read them for some time: the next daemon would forward
    /// frames that nobody waits for any more.
    fn close_unread(&mut self) {
        if self.unread_since.is_some_and(|since| since.elapsed() >= CARRIER_TIME) {
            self.held.retain(|_, held| !matches!(held, Descriptors::Sockets(_)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use umacvlan_sys::netns::effective_ids;
    use umacvlan_testkit::Scratch;

    use super::*;

    /// A keeper in a thread, and a connection to it.
    fn keeper(owner: u32) -> (Scratch, MessageSocket, thread::JoinHandle<()>) {
        let dir = Scratch::new();
        let path = dir.path().join("s");
        let listener = MessageSocket::listen_at(&path).unwrap();
        let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
        let client = MessageSocket::connect(&path).unwrap();
        client.set_timeout(umacvlan_testkit::LIMIT).unwrap();
        let thread = thread::spawn(move || serve(&listener, (&file, &path), owner).unwrap());
        (dir, client, thread)
    }

    fn ask(client: &MessageSocket, bytes: &[u8], descriptors: &[File]) -> Option<Message> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        client.send(bytes, &descriptors).ok()?;
        let mut buffer = [0; MESSAGE_MAX];
        let Received { len, descriptors } = client.receive(&mut buffer).ok()?;
        Message::decode(&buffer[..len], descriptors.len()).ok()
    }

    #[test]
    fn it_holds_queues_of_taps_only_and_ends_when_it_holds_nothing() {
        let (_dir, client, thread) = keeper(effective_ids().0);
        let null = [File::open("/dev/null").unwrap()];
        assert_eq!(ask(&client, &Message::Put(1).encode(), &null), Some(Message::Refused));
        let of_parent = Message::Put(UPLINK | 1).encode();
        assert_eq!(ask(&client, &of_parent, &null), Some(Message::Refused));
        assert_eq!(ask(&client, &Message::Take.encode(), &[]), Some(Message::Done));
        assert_eq!(ask(&client, &Message::Drop(1).encode(), &[]), Some(Message::Done));
        drop(client);
        thread.join().unwrap();
    }

    #[test]
    fn sockets_that_nobody_has_read_for_long_are_not_given_to_a_daemon() {
        let dir = Scratch::new();
        let path = dir.path().join("s");
        let listener = MessageSocket::listen_at(&path).unwrap();
        let far = MessageSocket::connect(&path).unwrap();
        let near = listener.accept().unwrap();
        let take = |held: &mut Held| {
            far.send(&Message::Take.encode(), &[]).unwrap();
            held.answer(&near).unwrap();
            let mut buffer = [0; MESSAGE_MAX];
            let Received { len, descriptors } = far.receive(&mut buffer).unwrap();
            let message = Message::decode(&buffer[..len], descriptors.len()).unwrap();
            if message != Message::Done {
                let Received { len, .. } = far.receive(&mut buffer).unwrap();
                assert_eq!(Message::decode(&buffer[..len], 0), Ok(Message::Done));
            }
            message
        };
        let mut held = Held::default();
        let socket = File::open("/dev/null").unwrap().into();
        held.replace(UPLINK | 7, Some(Descriptors::Sockets(vec![socket])));
        let there = Message::Held(vec![UPLINK | 7]);
        assert_eq!(take(&mut held), there);
        held.unread_since = Some(Instant::now());
        assert_eq!(take(&mut held), there, "a moment is not long");
        held.unread_since = Instant::now().checked_sub(CARRIER_TIME);
        assert_eq!(take(&mut held), Message::Done);
    }

    #[test]
    fn a_malformed_message_ends_the_connection_and_nothing_else() {
        let (dir, client, thread) = keeper(effective_ids().0);
        let second = MessageSocket::connect(&dir.path().join("s")).unwrap();
        assert_eq!(ask(&client, &[1, 99], &[]), None);
        assert_eq!(ask(&client, &Message::Take.encode(), &[]), None);
        assert_eq!(ask(&second, &Message::Take.encode(), &[]), Some(Message::Done));
        drop((client, second));
        thread.join().unwrap();
    }

    #[test]
    fn a_process_of_another_user_gets_no_answer() {
        let (dir, client, thread) = keeper(effective_ids().0 + 1);
        assert_eq!(ask(&client, &Message::Take.encode(), &[]), None);
        drop(client);
        fs::remove_file(dir.path().join("s")).unwrap();
        thread.join().unwrap();
    }
}
