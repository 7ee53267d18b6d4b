//! [`Datagrams`]: frames in a Unix datagram socket, each a datagram.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use umacvlan_core::SubIndex;
use umacvlan_core::length_prefix::{FRAME_MAX, FrameWriter};
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::port_datagrams::PortDatagrams;
use umacvlan_sys::rx_batch::{RX_BATCH, RxBatch};
use umacvlan_sys::tx_batch::{TX_BATCH, TxBatch};

use super::socket::{SocketRead, read_error};
use crate::frame_ref::FrameRef;

/// Where the longest frame lies in a buffer.
const PLACE: std::ops::Range<usize> = VNET_LEN..VNET_LEN + FRAME_MAX;

/// The datagrams of a program.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// Connected to the address of the first sender.
    socket: Arc<PortDatagrams>,
    rx: RxBatch,
    tx: TxBatch,
    proof: Proof,
}

/// Whether the socket at the address of the first sender is the sender's own. That can be the address of
/// a socket of somebody else, of the host's log for example, which would get the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// What waits may have been sent before the socket was connected, by anybody.
    Early,
    /// All of that has been read.
    Due,
    /// A datagram came after that: the kernel lets pass none but those of that socket.
    Given,
}

impl Datagrams {
    pub(super) fn new(socket: Arc<PortDatagrams>) -> Self {
        let (rx, tx) = (socket.rx_batch(), TxBatch::new());
        Self { socket, rx, tx, proof: Proof::Early }
    }

    /// True if the program may get frames.
    pub(super) fn is_proven(&self) -> bool {
        self.proof == Proof::Given
    }

    /// Reads the frames that wait, at most `budget`. A datagram that is longer than any frame has no
    /// bytes here.
    pub(super) fn read(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        budget: usize,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> SocketRead {
        let mut read = SocketRead::NONE;
        while read.frames < budget && read.more == Ok(true) && !pool.is_exhausted() {
            let most = budget - read.frames;
            match self.socket.recv(&mut self.rx, pool, PLACE, most) {
                Ok(count) => {
                    for number in 0..count {
                        let (buffer, len) = self.rx.datagram(number);
                        read.hand(id, pool, (buffer, len.unwrap_or(0)), on);
                    }
                    match self.proof {
                        Proof::Early => {}
                        Proof::Due => (self.proof, read.proven) = (Proof::Given, true),
                        // The epoll reports what comes later.
                        Proof::Given if count < most.min(RX_BATCH) && !pool.is_exhausted() => {
                            read.more = Ok(false);
                        }
                        Proof::Given => {}
                    }
                }
                Err(error) => {
                    if self.proof == Proof::Early && error.kind() == io::ErrorKind::WouldBlock {
                        self.proof = Proof::Due;
                    }
                    read.more = read_error(error);
                }
            }
        }
        read
    }

    /// Sends what waits, as far as the socket of the program has room.
    ///
    /// # Errors
    /// That of [`PortDatagrams::send`].
    pub(super) fn send(&mut self, writer: &mut FrameWriter) -> io::Result<()> {
        loop {
            let mut batch = [&[][..]; TX_BATCH];
            let frames = batch.iter_mut().zip(writer.frames());
            let count = frames.map(|(place, frame)| *place = frame).count();
            if count == 0 {
                return Ok(());
            }
            let sent = self.socket.send(&mut self.tx, &batch[..count])?;
            writer.sent_frames(sent);
            if sent < count {
                return Ok(());
            }
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use umacvlan_core::DropReason;
    use umacvlan_sys::close_aside::CloseCount;
    use umacvlan_sys::port_datagrams::{DatagramListener, Sender};
    use umacvlan_sys::port_socket::SocketOwner;
    use umacvlan_testkit::Scratch;

    use super::super::socket::{Connection, PortClosed, ProgramSocket};
    use super::*;

    /// The socket of a port, and the program at `far`, which has sent a frame.
    fn first(dir: &Scratch, far: &Path) -> (DatagramListener, UnixDatagram, Sender) {
        let (path, closing) = (dir.path().join("vm1.sock"), CloseCount::default());
        let listener = DatagramListener::bind(&path, SocketOwner::default(), &closing).unwrap();
        let far = UnixDatagram::bind(far).unwrap();
        far.set_nonblocking(true).unwrap();
        far.send_to(&[1; 60], &path).unwrap();
        let sender = listener.sender().unwrap().unwrap();
        (listener, far, sender)
    }

    fn connect(listener: &DatagramListener, to: &Sender) -> Connection {
        listener.socket().connect(to).unwrap();
        Connection::new(1, ProgramSocket::Datagrams(Arc::clone(listener.socket())))
    }

    /// The lengths of the frames that one turn reads, and whether there are more.
    fn read(connection: &mut Connection, budget: usize) -> (Vec<usize>, Result<bool, PortClosed>) {
        let mut pool = BufferPool::new(128).unwrap();
        let mut lens = Vec::new();
        let id = SubIndex::from_index(0).unwrap();
        let read = connection.read(id, &mut pool, budget, &mut |_, stored, unit| {
            assert_eq!(unit[..VNET_LEN], [0; VNET_LEN]);
            assert_eq!(unit.len(), stored.range().len());
            lens.push(unit.len() - VNET_LEN);
        });
        assert_eq!(lens.len(), read.frames);
        (lens, read.more)
    }

    #[test]
    fn frames_pass_both_ways_once_the_program_has_sent_another_one() {
        let dir = Scratch::new();
        let (listener, far, sender) = first(&dir, &dir.path().join("far"));
        let mut near = connect(&listener, &sender);
        let frame = [&[0; VNET_LEN][..], &[2; 60]].concat();
        assert_eq!(read(&mut near, 64), (vec![60], Ok(false)));
        assert_eq!(near.queue(&frame), Err(DropReason::Down));
        for len in [70, 0, FRAME_MAX, FRAME_MAX + 1] {
            far.send_to(&vec![3; len], listener.path()).unwrap();
        }
        assert_eq!(read(&mut near, 64), (vec![70, 0, FRAME_MAX, 0], Ok(false)));
        for _ in 0..2 * TX_BATCH {
            near.queue(&frame).unwrap();
        }
        // As many as its queue takes, and when it has read them, the others.
        near.flush().unwrap();
        let (mut bytes, mut received) = ([0; 100], 0);
        while let Ok(len) = far.recv(&mut bytes) {
            assert_eq!(bytes[..len], frame[VNET_LEN..]);
            received += 1;
            near.resume_tx().unwrap();
        }
        assert_eq!(received, 2 * TX_BATCH);
        for _ in 0..100 {
            far.send_to(&[4; 60], listener.path()).unwrap();
        }
        assert_eq!(read(&mut near, 64), (vec![60; 64], Ok(true)));
        assert_eq!(read(&mut near, 64), (vec![60; 36], Ok(false)));
        drop(far);
        near.queue(&frame).unwrap();
        assert_eq!(near.flush(), Err(PortClosed::ByProgram));
    }

    #[test]
    fn a_sender_whose_path_leads_to_another_socket_has_nothing_sent_there() {
        let dir = Scratch::new();
        let path = dir.path().join("far");
        let (listener, far, sender) = first(&dir, &path);
        std::fs::remove_file(&path).unwrap();
        let victim = UnixDatagram::bind(&path).unwrap();
        victim.set_nonblocking(true).unwrap();
        for _ in 0..5 {
            far.send_to(&[1; 60], listener.path()).unwrap();
        }
        let mut near = connect(&listener, &sender);
        let frame = [&[0; VNET_LEN][..], &[2; 60]].concat();
        for (budget, count) in [(2, 2), (64, 4), (64, 0)] {
            assert_eq!(read(&mut near, budget).0, vec![60; count]);
            let late = far.send_to(&[1; 60], listener.path());
            assert!(late.is_err(), "the kernel lets it pass");
            assert_eq!(near.queue(&frame), Err(DropReason::Down));
        }
        near.flush().unwrap();
        assert!(victim.recv(&mut [0; 100]).is_err());
    }
}
