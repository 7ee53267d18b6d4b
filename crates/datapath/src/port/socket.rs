//! [`SocketPort`]: a port whose far end is a program, connected by a Unix socket: a
//! [stream](super::stream) or [datagrams](super::datagrams).
//!
//! Frames have no vnet header there: what the program gets is complete, and what it sends needs nothing
//! done. The socket never blocks the worker. Frames that a slow program does not take wait in a buffer of fixed size, and then are lost
//! as at any full queue.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use umacvlan_core::length_prefix::{FrameWriter, InvalidLength};
use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::port_datagrams::PortDatagrams;
use umacvlan_sys::port_listener::PortConnection;
use umacvlan_sys::vhost::RingError;

use super::datagrams::Datagrams;
use super::stream::Stream;
use crate::frame_ref::{FrameRef, StorageKind};

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortClosed {
    /// The program has closed it, or has ended.
    ByProgram,
    /// The program has sent descriptors.
    Descriptors,
    /// The kernel has refused to read or write, with this errno.
    Failed(i32),
    /// The program has announced a frame of a length that no frame has.
    InvalidLength(InvalidLength),
    /// The program has taken its memory away.
    MemoryLost,
    /// A ring of the program breaks the rules.
    Ring(RingError),
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    /// It has ended.
    Closed(PortClosed),
    /// The program gets frames from now on: the socket at the address of its first datagram is its own.
    Proven,
}

impl fmt::Display for PortClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByProgram => f.write_str("closed by the program"),
            Self::Descriptors => f.write_str("it has sent descriptors, and none are expected"),
            Self::Failed(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Self::InvalidLength(length) => length.fmt(f),
            Self::MemoryLost => f.write_str("its memory was gone when it was used"),
            Self::Ring(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for PortClosed {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPIPE | libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOTCONN) => {
                Self::ByProgram
            }
            errno => Self::Failed(errno.unwrap_or(libc::EIO)),
        }
    }
}

/// The socket by which a program is connected.
#[derive(Clone, Debug)]
pub enum ProgramSocket {
    /// One for datagrams, of which each is a frame.
    Datagrams(Arc<PortDatagrams>),
    /// A stream, in which each frame is behind its length.
    Stream(Arc<PortConnection>),
}

/// A port for one connection at a time; without one at first.
#[derive(Debug, Default)]
pub struct SocketPort {
    /// Boxed: a port without a program is as small as any.
    pub(super) connection: Option<Box<Connection>>,
}

/// What is waited for at a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Interest {
    pub(super) const fn is_none(self) -> bool {
        !self.readable && !self.writable
    }
}

/// The connection of a program.
#[derive(Debug)]
pub(super) struct Connection {
    /// Tells it from others of the same port.
    pub(super) number: u64,
    transport: Transport,
    /// What the epoll waits for.
    pub(super) watched: Interest,
    writer: FrameWriter,
    /// True while it has frames that this turn has queued.
    pub(super) queued: bool,
    /// True from a write that the socket did not take whole until it has room again.
    blocked: bool,
}

/// How frames pass through the socket, which is shared with its owner, who closes it.
#[derive(Debug)]
enum Transport {
    Datagrams(Datagrams),
    Stream(Stream),
}

/// What one turn has read from a connection.
pub(super) struct SocketRead {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// Whether there may be more, or why there will be none.
    pub(super) more: Result<bool, PortClosed>,
    /// It is known since this read that the program can be sent to.
    pub(super) proven: bool,
}

impl SocketRead {
    /// Nothing so far.
    pub(super) const NONE: Self = Self { frames: 0, bytes: 0, more: Ok(true), proven: false };

    /// Hands a frame to `on` that was read into a buffer behind room for an empty vnet header.
    pub(super) fn hand(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        (buffer, frame_len): (u16, usize),
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) {
        let len = VNET_LEN + frame_len;
        let unit = pool.bytes_mut(buffer, 0, len);
        unit[..VNET_LEN].fill(0);
        on(id, FrameRef::new(StorageKind::Pool { buffer }, 0, len), unit);
        self.frames += 1;
        self.bytes += len;
    }
}

impl Connection {
    pub(super) fn new(number: u64, socket: ProgramSocket) -> Self {
        let transport = match socket {
            ProgramSocket::Datagrams(socket) => Transport::Datagrams(Datagrams::new(socket)),
            ProgramSocket::Stream(socket) => Transport::Stream(Stream::new(socket)),
        };
        Self {
            number,
            transport,
            watched: Interest::default(),
            writer: FrameWriter::default(),
            queued: false,
            blocked: false,
        }
    }

    /// What is to be waited for, if the port is read.
    pub(super) const fn interest(&self, readable: bool) -> Interest {
        Interest { readable, writable: self.blocked }
    }

    /// Reads the frames that wait, at most `budget`, each into a buffer of its own behind an empty vnet
    /// header.
    pub(super) fn read(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        budget: usize,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> SocketRead {
        match &mut self.transport {
            Transport::Datagrams(datagrams) => datagrams.read(id, pool, budget, on),
            Transport::Stream(stream) => stream.read(id, pool, budget, on),
        }
    }

    /// Queues a frame behind its vnet header.
    ///
    /// # Errors
    /// There is no room for it, or the program is not known well enough to get it.
    pub(super) fn queue(&mut self, unit: &[u8]) -> Result<(), DropReason> {
        if let Transport::Datagrams(datagrams) = &self.transport
            && !datagrams.is_proven()
        {
            return Err(DropReason::Down);
        }
        let frame = unit.get(VNET_LEN..).unwrap_or_default();
        match self.writer.push(frame) {
            true => Ok(()),
            false => Err(DropReason::Full),
        }
    }

    /// Sends what is queued, as far as the socket takes it, unless it has no room yet.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn flush(&mut self) -> Result<(), PortClosed> {
        if self.blocked || self.writer.waiting().is_empty() {
            return Ok(());
        }
        let sent = match &mut self.transport {
            Transport::Datagrams(datagrams) => datagrams.send(&mut self.writer),
            Transport::Stream(stream) => stream.send(&mut self.writer),
        };
        match sent {
            Err(error) if !is_for_now(&error) => return Err(error.into()),
            _ => self.blocked = !self.writer.waiting().is_empty(),
        }
        Ok(())
    }

    /// Sends again, because the socket may have room.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn resume_tx(&mut self) -> Result<(), PortClosed> {
        self.blocked = false;
        self.flush()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Datagrams(datagrams) => datagrams.as_fd(),
            Transport::Stream(stream) => stream.as_fd(),
        }
    }
}

/// What an error of a read means: nothing more for now, or the end of the connection.
pub(super) fn read_error(error: io::Error) -> Result<bool, PortClosed> {
    match error.raw_os_error() {
        _ if is_for_now(&error) => Ok(false),
        Some(libc::EPERM) => Err(PortClosed::Descriptors),
        _ => Err(error.into()),
    }
}

/// True for an error that a later call makes up for.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM))
}
