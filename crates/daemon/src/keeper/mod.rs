//! The keeper: a process that holds the descriptors of TAPs, and of the packet sockets on parents, while
//! the daemon restarts.
//!
//! A TAP can be attached again by name, but only by a descriptor that is opened in the namespace where
//! the TAP is, and such a descriptor keeps that namespace alive. The first descriptor, opened in the
//! daemon's own namespace, does not, wherever the TAP moves. And it is proof: no other process can make
//! an interface that it belongs to. So it is kept.
//!
//! A packet socket is kept so that what the wire sends during a restart waits in its ring, for some
//! seconds.
//!
//! * [`Keeper`] is the daemon's end of the connection, and starts the process.
//! * [`process`] is the process.
//! * [`protocol`] is the messages between them.
//!
//! Without a keeper the daemon works as well, and attaches again by name.

pub mod process;
pub mod protocol;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use umacvlan_sys::message_socket::{MessageSocket, Received};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::process::{inherit_only, start_session};
use umacvlan_sys::tap::Tap;

use self::protocol::{MESSAGE_MAX, Message, UPLINK};

/// The hidden command that is the keeper; its argument is the listening socket.
pub const COMMAND: &str = "keeper";

/// The name of the socket in the state directory.
const SOCKET: &str = "keeper.sock";

/// How long the daemon waits for the keeper, which answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a keeper that has not answered is left alone.
const AGAIN: Duration = Duration::from_secs(10);

/// The program of this process, as it was started.
const PROGRAM: &str = "/proc/self/exe";

/// The descriptors of each link, by its number, in the order of its queues, and of each parent.
pub type Kept = BTreeMap<u64, Vec<OwnedFd>>;

/// Takes the sockets on parents out of what was kept, by the index of their interface.
pub fn take_uplinks(kept: &mut Kept) -> BTreeMap<u32, Vec<OwnedFd>> {
    let uplinks = kept.split_off(&UPLINK);
    let index = |number: u64| u32::try_from(number & !UPLINK).unwrap_or(0);
    uplinks.into_iter().map(|(number, sockets)| (index(number), sockets)).collect()
}

/// The connection to the keeper. Everything that fails is logged, and the daemon goes on without one.
#[derive(Debug, Default)]
pub struct Keeper {
    connection: Option<MessageSocket>,
    silent: Option<Silent>,
    /// The path of its socket.
    path: PathBuf,
    /// The process, if this one has started it.
    process: Option<Child>,
}

/// A keeper that does not answer: it was stopped, or the machine has no time for it.
#[derive(Debug)]
struct Silent {
    /// While it is open, the keeper knows that the daemon is there.
    _connection: MessageSocket,
    /// When to ask it again.
    again: Instant,
}

impl Keeper {
    /// Connects to the keeper of this state directory, which is locked, and takes what it holds; starts
    /// one if there is none. The process must have one thread and all its privileges.
    pub fn open(state: &Path) -> (Self, Kept) {
        let path = state.join(SOCKET);
        match connect_to_living(&path) {
            Ok(Some((connection, kept))) => {
                let keeper = Self { connection: Some(connection), path, ..Self::default() };
                return (keeper, kept);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    "the keeper at {} does not answer: {error}. If links cannot be attached, end the \
                     process um-keeper and start the daemon again",
                    path.display()
                );
                return (Self::default(), Kept::new());
            }
        }
        match start(&path) {
            Ok(keeper) => (keeper, Kept::new()),
            Err(error) => {
                tracing::warn!(
                    "there is no keeper at {}: {error}. A link that is attached again after a restart \
                     keeps its namespace alive until the daemon ends it",
                    path.display()
                );
                (Self::default(), Kept::new())
            }
        }
    }

    /// Holds the queues of a link, in place of those held for it.
    pub(crate) fn put(&mut self, link: u64, queues: &[OwnedFd]) {
        let queues: Vec<_> = queues.iter().map(AsFd::as_fd).collect();
        self.ask(|connection| {
            connection.send(&Message::Put(link).encode(), &queues)?;
            match receive(connection)? {
                (Message::Done, _) => Ok(()),
                // The interface was deleted a moment ago, which has an event of its own.
                (Message::Refused, _) => Ok(()),
                _ => Err(unexpected()),
            }
        });
    }

    /// True if there is a keeper.
    pub(crate) const fn is_there(&self) -> bool {
        self.connection.is_some() || self.silent.is_some()
    }

    /// Holds the sockets on the parent whose interface has that index, in place of those held for it.
    pub(crate) fn put_uplinks(&mut self, index: u32, sockets: &[OwnedFd]) {
        self.put(UPLINK | u64::from(index), sockets);
    }

    /// Closes the sockets on a parent.
    pub(crate) fn release_uplinks(&mut self, index: u32) {
        self.release(UPLINK | u64::from(index));
    }

    /// Closes the queues of a link.
    pub(crate) fn release(&mut self, link: u64) {
        self.ask(|connection| {
            connection.send(&Message::Drop(link).encode(), &[])?;
            match receive(connection)? {
                (Message::Done, _) => Ok(()),
                _ => Err(unexpected()),
            }
        });
    }

    /// Connects again to a keeper that has not answered, when it is time.
    fn connect_again(&mut self) {
        let due = self.silent.as_ref().is_some_and(|silent| Instant::now() >= silent.again);
        if self.connection.is_none() && due {
            let connected = MessageSocket::connect(&self.path).and_then(|connection| {
                connection.set_timeout(PATIENCE)?;
                Ok(connection)
            });
            self.connection = connected.ok();
        }
    }

    fn ask(&mut self, ask: impl FnOnce(&MessageSocket) -> io::Result<()>) {
        self.connect_again();
        let Some(connection) = &self.connection else {
            return;
        };
        let error = match ask(connection) {
            Ok(()) => return self.silent = None,
            Err(error) => error,
        };
        let connection = self.connection.take();
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            tracing::warn!(
                "the keeper has not answered for {} s. Links work as before; it is asked again with the \
                 next change after {} s, and what changes until then is not kept over a restart",
                PATIENCE.as_secs(),
                AGAIN.as_secs()
            );
            let again = Instant::now() + AGAIN;
            self.silent = connection.map(|it| Silent { _connection: it, again });
        } else {
            tracing::error!(
                "the keeper has ended or does not answer: {error}. Links work as before; the next start \
                 of the daemon attaches to them by name, and starts another keeper"
            );
            self.silent = None;
            // A process that has ended would stay as a zombie.
            let _ = self.process.as_mut().map(Child::try_wait);
        }
    }
}

/// True if a kept queue was opened in another namespace than the daemon's, which it keeps alive.
pub fn has_pins(kept: &Kept) -> bool {
    let own = Netns::current().map(|netns| netns.id()).ok();
    let pins = |queue: &OwnedFd| {
        let opened_in = queue.try_clone().and_then(Tap::from_kept).and_then(|tap| tap.opened_in());
        opened_in.is_ok_and(|fd| Some(Netns::from(fd).id()) != own)
    };
    kept.values().flatten().any(pins)
}

/// Connects to a keeper and takes what it holds; `None` if there is no keeper.
fn connect(path: &Path) -> io::Result<Option<(MessageSocket, Kept)>> {
    let connection = match MessageSocket::connect(path) {
        Ok(connection) => connection,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    connection.set_timeout(PATIENCE)?;
    let kept = take(&connection)?;
    Ok(Some((connection, kept)))
}

/// As [`connect`]. One that was killed a moment ago breaks off the connection, and then there is none.
fn connect_to_living(path: &Path) -> io::Result<Option<(MessageSocket, Kept)>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let broken = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
        match connect(path) {
            Err(error) if broken.contains(&error.kind()) && Instant::now() < end => {
                sleep(Duration::from_millis(10));
            }
            connected => return connected,
        }
    }
}

/// Takes everything that the keeper holds.
fn take(connection: &MessageSocket) -> io::Result<Kept> {
    connection.send(&Message::Take.encode(), &[])?;
    let mut kept = Kept::new();
    loop {
        match receive(connection)? {
            (Message::Held(links), descriptors) => {
                for (link, descriptor) in links.into_iter().zip(descriptors) {
                    kept.entry(link).or_default().push(descriptor);
                }
            }
            (Message::Done, _) => return Ok(kept),
            _ => return Err(unexpected()),
        }
    }
}

/// Starts a keeper that listens at `path`.
fn start(path: &Path) -> io::Result<Keeper> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = MessageSocket::listen_at(path)?;
    let connection = MessageSocket::connect(path)?;
    connection.set_timeout(PATIENCE)?;
    let listener = OwnedFd::from(listener);
    let mut command = Command::new(PROGRAM);
    command.arg0("umacvlan").arg(COMMAND).arg(listener.as_raw_fd().to_string());
    command.arg(absolute(path)?);
    command.env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    start_session(&mut command);
    inherit_only(&mut command, listener);
    let process = command.spawn()?;
    let path = path.to_owned();
    Ok(Keeper { connection: Some(connection), silent: None, path, process: Some(process) })
}

/// Receives the next message, with its descriptors.
fn receive(connection: &MessageSocket) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut buffer = [0; MESSAGE_MAX];
    let Received { len, descriptors } = connection.receive(&mut buffer)?;
    if len == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let message = Message::decode(&buffer[..len], descriptors.len()).map_err(io::Error::other)?;
    Ok((message, descriptors))
}

fn unexpected() -> io::Error {
    io::Error::other("the answer does not fit the request")
}
