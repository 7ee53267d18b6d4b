//! [`Stream`]: frames in a Unix stream socket, each behind its length
//! ([`length_prefix`](umacvlan_core::length_prefix)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use umacvlan_core::SubIndex;
use umacvlan_core::length_prefix::{FRAME_MAX, FrameReader, FrameWriter};
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::port_listener::PortConnection;

use super::socket::{PortClosed, SocketRead, read_error};
use crate::frame_ref::FrameRef;

const _: () = assert!(VNET_LEN + FRAME_MAX <= BUFFER_LEN, "a buffer holds the longest frame");

/// The stream of a program.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Arc<PortConnection>,
    reader: FrameReader,
}

impl Stream {
    pub(super) fn new(socket: Arc<PortConnection>) -> Self {
        Self { socket, reader: FrameReader::default() }
    }

    /// Reads the frames that wait, at most `budget`.
    pub(super) fn read(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        budget: usize,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> SocketRead {
        let mut read = SocketRead::NONE;
        // A frame that is taken out of the stream is forwarded in this turn.
        while read.frames < budget
            && let Some(buffer) = pool.acquire()
        {
            match self.reader.take() {
                Ok(Some(frame)) => {
                    pool.bytes_mut(buffer, VNET_LEN, frame.len()).copy_from_slice(frame);
                    let len = frame.len();
                    read.hand(id, pool, (buffer, len), on);
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
            Err(error) => read_error(error),
        }
    }

    /// Sends what waits, as far as the socket has room.
    ///
    /// # Errors
    /// That of [`PortConnection::send`].
    pub(super) fn send(&mut self, writer: &mut FrameWriter) -> io::Result<()> {
        self.socket.send(writer.waiting()).map(|len| writer.sent(len))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
