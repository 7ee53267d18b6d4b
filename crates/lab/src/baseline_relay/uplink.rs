//! [`RelayUplink`]: a relay's socket on the parent, AF_PACKET or AF_XDP.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(feature = "af-xdp")]
use umacvlan_core::offload::VNET_LEN;
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::{Extent, RxFrame};
use umacvlan_sys::tx_batch::TxBatch;
#[cfg(feature = "af-xdp")]
use umacvlan_sys::xdp::{XdpProgram, XskSocket};

use super::FrameRef;
use crate::baseline_io::parent;
#[cfg(feature = "af-xdp")]
use crate::baseline_io::{attach_program, open_xsk};
use crate::site::Site;

/// The most frames received in one turn, as in the engine.
const BURST: usize = 64;

/// The kinds of sockets that the engine's uplinks use.
pub(super) enum RelayUplink {
    Packet {
        socket: PacketSocket,
        tx: TxBatch,
    },
    #[cfg(feature = "af-xdp")]
    Xdp {
        socket: Box<XskSocket>,
        _program: Box<XdpProgram>,
    },
}

impl RelayUplink {
    /// An AF_PACKET socket on the parent.
    pub(super) fn packet(site: &Site<'_>) -> io::Result<Self> {
        let parent = parent(site)?;
        let socket = site.host.run(|| PacketSocket::open(parent.index, parent.mtu))??;
        Ok(Self::Packet { socket, tx: TxBatch::new() })
    }

    /// An AF_XDP socket on the parent, in native mode.
    #[cfg(feature = "af-xdp")]
    pub(super) fn xdp(site: &Site<'_>) -> io::Result<Self> {
        let parent = parent(site)?;
        site.host.run(|| {
            let mut program = attach_program(site, &parent)?;
            let socket = open_xsk(&parent)?;
            program.redirect_queue(0, &socket)?;
            Ok(Self::Xdp { socket: Box::new(socket), _program: Box::new(program) })
        })?
    }

    #[cfg(not(feature = "af-xdp"))]
    pub(super) fn xdp(_: &Site<'_>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Receives the pending frames. Returns how many there were, including those that were too
    /// long.
    pub(super) fn receive(&mut self, pool: &mut BufferPool, mut on: impl FnMut(FrameRef)) -> usize {
        let mut count = 0;
        match self {
            Self::Packet { socket, .. } => {
                while count < BURST
                    && let Some(received) = socket.ring.receive()
                {
                    count += 1;
                    complete_frame(socket, pool, received).into_iter().for_each(&mut on);
                }
            }
            #[cfg(feature = "af-xdp")]
            Self::Xdp { socket, .. } => {
                count = socket.receive(BURST, |number, at, unit, _| {
                    on(FrameRef::Slot { number, at, len: unit.len() });
                });
            }
        }
        count
    }

    /// Sends frames. AF_XDP ignores their offload headers.
    pub(super) fn send<'f>(&mut self, count: usize, frame: impl Fn(usize) -> &'f [u8]) {
        match self {
            Self::Packet { socket, tx } => {
                tx.send(socket.as_fd(), count, frame, |_, _| ());
            }
            #[cfg(feature = "af-xdp")]
            Self::Xdp { socket, .. } => {
                for number in 0..count {
                    let frame = frame(number).get(VNET_LEN..).unwrap_or_default();
                    // Without room the frame is lost, as with every peer.
                    socket.push(frame.len(), |room| room.copy_from_slice(frame));
                }
                let _ = socket.kick(|_| ());
            }
        }
    }

    pub(super) fn bytes(&self, number: u16, at: usize, len: usize) -> &[u8] {
        match self {
            Self::Packet { socket, .. } => socket.ring.bytes(number, at, len),
            #[cfg(feature = "af-xdp")]
            Self::Xdp { socket, .. } => socket.bytes(number, at, len),
        }
    }

    /// Releases the memory of all received frames.
    pub(super) fn release(&mut self) {
        match self {
            Self::Packet { socket, .. } => socket.ring.release(),
            #[cfg(feature = "af-xdp")]
            Self::Xdp { socket, .. } => socket.release(),
        }
    }

    /// Clears a pending error, such as of a parent that went down, which would end every wait at
    /// once.
    pub(super) fn clear_error(&self) {
        if let Self::Packet { socket, .. } = self
            && !socket.ring.has_frame()
        {
            socket.clear_error();
        }
    }
}

impl AsFd for RelayUplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Packet { socket, .. } => socket.as_fd(),
            #[cfg(feature = "af-xdp")]
            Self::Xdp { socket, .. } => socket.as_fd(),
        }
    }
}

/// The received frame with all of its bytes, if they are available.
fn complete_frame(
    wire: &PacketSocket,
    pool: &mut BufferPool,
    received: RxFrame,
) -> Option<FrameRef> {
    let RxFrame { slot, at, len, extent, .. } = received;
    match extent {
        Extent::Complete => Some(FrameRef::Slot { number: slot, at, len }),
        Extent::Truncated => None,
        Extent::Queued => {
            let Some(number) = pool.acquire() else {
                // It must leave the queue, or the next slot would get its bytes.
                let _ = wire.recv_queued(&mut [0; 16]);
                return None;
            };
            let read = wire.recv_queued(pool.bytes_mut(number, 0, BUFFER_LEN));
            let len = read.ok().filter(|len| *len <= BUFFER_LEN);
            if len.is_none() {
                pool.release_last();
            }
            len.map(|len| FrameRef::Buffer { number, len })
        }
    }
}
