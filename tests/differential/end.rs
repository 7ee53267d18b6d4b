//! [`End`]: where the test sends and receives, be it a packet socket or a program with a connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::options::ProgramKind;
use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::LIMIT;
use umacvlan_testkit::vhost_user::{EVENT_IDX, MRG_RXBUF, VERSION_1, VhostUser};

use crate::socket::PacketSocket;

/// A datagram that is too short for a frame.
const GREETING: [u8; 9] = [0; 9];

/// Where the test sends and receives.
pub(crate) enum End<'n> {
    Program(&'n Program),
    Socket(&'n PacketSocket),
}

impl<'n> End<'n> {
    /// Sends a frame, or returns the errno. To a program nothing is refused.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), i32> {
        match self {
            Self::Program(program) => {
                program.send(frame);
                Ok(())
            }
            Self::Socket(socket) => socket.send(frame),
        }
    }

    /// The next received frame and its packet type, which is of no meaning for a program.
    pub(crate) fn recv(&self) -> Option<(Vec<u8>, u8)> {
        match self {
            Self::Program(program) => program.recv().map(|frame| (frame, 0)),
            Self::Socket(socket) => socket.recv().map(|received| (received.bytes, received.kind)),
        }
    }

    /// Readable when there is a frame, if the last [`End::recv`] had none.
    pub(crate) fn fd(&self) -> BorrowedFd<'n> {
        match *self {
            Self::Program(program) => program.readable.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
        }
    }
}

/// A program that is connected to the port of a sub-interface.
pub(crate) struct Program {
    link: RefCell<Link>,
    readable: OwnedFd,
}

enum Link {
    Datagrams(UnixDatagram),
    Stream(Stream),
    Tap(Tap),
    VhostUser(Box<VhostUser>),
}

struct Stream {
    socket: UnixStream,
    /// What was read of frames that are not complete, or not taken.
    input: VecDeque<u8>,
}

impl Program {
    pub(crate) fn connect(path: &Path, kind: ProgramKind) -> Self {
        let (link, readable) = match kind {
            ProgramKind::Dgram => {
                let own = path.with_extension("far");
                // That of an earlier one.
                drop(std::fs::remove_file(&own));
                let socket = UnixDatagram::bind(own).unwrap();
                socket.connect(path).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket.send(&GREETING).unwrap();
                let readable = socket.as_fd().try_clone_to_owned();
                (Link::Datagrams(socket), readable)
            }
            ProgramKind::Stream => {
                let socket = UnixStream::connect(path).unwrap();
                socket.set_nonblocking(true).unwrap();
                let readable = socket.as_fd().try_clone_to_owned();
                (Link::Stream(Stream { socket, input: VecDeque::new() }), readable)
            }
            ProgramKind::Dev | ProgramKind::Tap => unreachable!("they have no socket"),
            ProgramKind::VhostUser => {
                let program = VhostUser::connect(path, VERSION_1 | MRG_RXBUF | EVENT_IDX);
                let readable = program.call().try_clone_to_owned();
                (Link::VhostUser(Box::new(program)), readable)
            }
        };
        Self { link: RefCell::new(link), readable: readable.unwrap() }
    }

    /// Opens the TAP of that name in the namespace of the calling thread.
    pub(crate) fn open(name: &str) -> Self {
        let tap = Tap::attach(name).unwrap();
        tap.set_carrier(true).unwrap();
        let readable = tap.as_fd().try_clone_to_owned().unwrap();
        Self { link: RefCell::new(Link::Tap(tap)), readable }
    }

    /// Sends what makes it known once more, because its port has no carrier: a port for datagrams sends to
    /// those of whom it has another one.
    pub(crate) fn greet(&self) {
        if let Link::Datagrams(socket) = &*self.link.borrow() {
            // There may be no room.
            let _ = socket.send(&GREETING);
        }
    }

    fn send(&self, frame: &[u8]) {
        match &mut *self.link.borrow_mut() {
            Link::Datagrams(socket) => send(socket, |socket| socket.send(frame).map(drop)),
            Link::Stream(stream) => stream.send(frame),
            // The kernel tells of one that is too short, and a program is not to care.
            Link::Tap(tap) => drop(tap.send(&[&[0; VNET_LEN], frame].concat())),
            Link::VhostUser(program) => program.send(frame),
        }
    }

    fn recv(&self) -> Option<Vec<u8>> {
        match &mut *self.link.borrow_mut() {
            Link::Datagrams(socket) => {
                let mut frame = [0; 4096];
                match socket.recv(&mut frame) {
                    Ok(len) => Some(frame[..len].to_vec()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    Err(error) => panic!("cannot receive: {error}"),
                }
            }
            Link::Stream(stream) => stream.recv(),
            Link::Tap(tap) => {
                let mut unit = [0; 4096];
                let len = tap.recv(&mut unit).unwrap()?;
                Some(unit[VNET_LEN..len].to_vec())
            }
            Link::VhostUser(program) => program.next_or_call().map(|(_, frame)| frame),
        }
    }
}

/// Sends once there is room.
fn send<S: AsFd>(socket: &S, mut send: impl FnMut(&S) -> std::io::Result<()>) {
    loop {
        match send(socket) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut room = [Interest::writable(socket.as_fd())];
                assert_eq!(poll::wait(&mut room, LIMIT).unwrap(), 1, "nobody reads");
            }
            Err(error) => panic!("cannot send: {error}"),
        }
    }
}

impl Stream {
    /// Sends a frame, unless it is empty: a length of zero breaks the format.
    fn send(&mut self, frame: &[u8]) {
        if frame.is_empty() {
            return;
        }
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        let unit = [&length, frame].concat();
        let mut rest = &unit[..];
        while !rest.is_empty() {
            send(&self.socket, |mut socket| {
                rest = &rest[socket.write(rest)?..];
                Ok(())
            });
        }
    }

    fn recv(&mut self) -> Option<Vec<u8>> {
        if self.buffered().is_none() {
            self.read();
        }
        let len = self.buffered()?;
        self.input.drain(..4);
        Some(self.input.drain(..len).collect())
    }

    /// The length of the first frame that was read, if it is complete.
    fn buffered(&self) -> Option<usize> {
        let mut bytes = self.input.iter().copied();
        let length = [bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?];
        let len = u32::from_be_bytes(length) as usize;
        (bytes.len() >= len).then_some(len)
    }

    /// Reads all that is there.
    fn read(&mut self) {
        let mut bytes = [0; 1 << 16];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => panic!("the connection has ended"),
                Ok(len) => self.input.extend(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot receive: {error}"),
            }
        }
    }
}
