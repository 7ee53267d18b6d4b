//! [`SocketPort`]: a port whose far end is a program, connected by a Unix stream socket.
//!
//! Frames have no vnet header there ([`length_prefix`](umacvlan_core::length_prefix)): what the
//! program gets is complete, and what it sends needs nothing done. The socket never blocks the
//! worker. Frames that a slow program does not take wait in a buffer of fixed size, and then are lost
//! as at any full queue.

use std::fmt;
use std::io;
use std::sync::Arc;

use umacvlan_core::length_prefix::{FRAME_MAX, FrameReader, FrameWriter, InvalidLength};
use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::port_listener::PortConnection;
use umacvlan_sys::vhost::RingError;

use crate::frame_ref::{FrameRef, StorageKind};

const _: () = assert!(VNET_LEN + FRAME_MAX <= BUFFER_LEN, "a buffer holds the longest frame");

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
            Some(libc::EPIPE | libc::ECONNRESET) => Self::ByProgram,
            errno => Self::Failed(errno.unwrap_or(libc::EIO)),
        }
    }
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
    /// Shared with its owner, who closes it.
    pub(super) socket: Arc<PortConnection>,
    /// What the epoll waits for.
    pub(super) watched: Interest,
    reader: FrameReader,
    writer: FrameWriter,
    /// True while it has frames that this turn has queued.
    pub(super) queued: bool,
    /// True from a write that the socket did not take whole until it has room again.
    blocked: bool,
}

/// What one turn has read from a connection.
pub(super) struct SocketRead {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// Whether there may be more, or why there will be none.
    pub(super) more: Result<bool, PortClosed>,
}

impl Connection {
    pub(super) fn new(number: u64, socket: Arc<PortConnection>) -> Self {
        Self {
            number,
            socket,
            watched: Interest::default(),
            reader: FrameReader::default(),
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
        let mut read = SocketRead { frames: 0, bytes: 0, more: Ok(true) };
        // A frame that is taken out of the stream is forwarded in this turn.
        while read.frames < budget
            && let Some(buffer) = pool.acquire()
        {
            match self.reader.take() {
                Ok(Some(frame)) => {
                    let len = VNET_LEN + frame.len();
                    let unit = pool.bytes_mut(buffer, 0, len);
                    unit[..VNET_LEN].fill(0);
                    unit[VNET_LEN..].copy_from_slice(frame);
                    on(id, FrameRef::new(StorageKind::Pool { buffer }, 0, len), unit);
                    read.frames += 1;
                    read.bytes += len;
                    continue;
                }
                Ok(None) => read.more = self.receive(),
                Err(length) => read.more = Err(PortClosed::InvalidLength(length)),
            }
            pool.release_last();
            if read.more != Ok(true) {
                break;
            }
        }
        read
    }

    /// Receives what has arrived; false if that is nothing.
    fn receive(&mut self) -> Result<bool, PortClosed> {
        match self.socket.recv(self.reader.room()) {
            Ok(0) => Err(PortClosed::ByProgram),
            Ok(len) => {
                self.reader.received(len);
                Ok(true)
            }
            Err(error) if is_for_now(&error) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(PortClosed::Descriptors),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues a frame behind its vnet header.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn queue(&mut self, unit: &[u8]) -> Result<(), DropReason> {
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
        match self.socket.send(self.writer.waiting()) {
            Ok(len) => self.writer.sent(len),
            Err(error) if is_for_now(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.blocked = !self.writer.waiting().is_empty();
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

/// True for an error that a later call makes up for.
fn is_for_now(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM))
}
