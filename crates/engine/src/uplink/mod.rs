//! [`Uplink`]: the engine's socket on the parent.

use std::io;
use std::os::fd::AsFd;

use umacvlan_core::DropReason;
use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::offload::insert_tag;

use crate::held::{Held, Place};
use crate::memory::MemoryLink;
use crate::sys::arena::{Arena, BUFFER_LEN};
use crate::sys::packet::PacketSocket;
use crate::sys::rx_ring::{Extent, Received};
use crate::sys::tx_batch::TxBatch;

/// One way to reach the wire. Matched once a batch, never once a frame.
#[derive(Debug)]
pub enum Uplink {
    /// Frames exchanged in memory with a test or a bench.
    Memory(MemoryLink),
    /// An AF_PACKET socket: works on every Ethernet interface.
    Packet(Box<PacketUplink>),
}

/// An AF_PACKET socket and the room to send many frames at once.
#[derive(Debug)]
pub struct PacketUplink {
    /// The socket.
    pub socket: PacketSocket,
    tx: TxBatch,
}

impl PacketUplink {
    /// An uplink through that socket.
    pub fn new(socket: PacketSocket) -> Self {
        Self { socket, tx: TxBatch::new() }
    }

    fn recv(
        &mut self,
        arena: &mut Arena,
        budget: usize,
        mut on: impl FnMut(Held, Result<&[u8], DropReason>),
    ) -> usize {
        for count in 0..budget {
            let Some(mut received) = self.socket.ring.receive() else {
                return count;
            };
            let held = Held::new(Place::Uplink, received.slot, received.at, received.len);
            match received.extent {
                Extent::Whole => {
                    let ring = &mut self.socket.ring;
                    if let Some((tpid, tci)) = received.tag {
                        let slot = ring.bytes_mut(received.slot, 0, received.at + received.len);
                        retag(slot, &mut received.at, &mut received.len, tpid, tci);
                    }
                    let Received { slot, at, len, .. } = received;
                    on(Held::new(Place::Uplink, slot, at, len), Ok(ring.bytes(slot, at, len)));
                }
                Extent::Queued => self.recv_queued(arena, received, &mut on),
                Extent::Cut => on(held, Err(DropReason::TooLong)),
            }
        }
        budget
    }

    /// Reads a frame that did not fit its slot into a buffer of the arena.
    fn recv_queued(
        &self,
        arena: &mut Arena,
        received: Received,
        on: &mut impl FnMut(Held, Result<&[u8], DropReason>),
    ) {
        let Some(buffer) = arena.take() else {
            // The frame must leave the queue, or the next slot would be given this one.
            let _ = self.socket.recv_queued(&mut [0; 16]);
            let held = Held::new(Place::Uplink, received.slot, received.at, received.len);
            return on(held, Err(DropReason::Full));
        };
        let mut at = TAG_LEN;
        let room = arena.bytes_mut(buffer, at, BUFFER_LEN - at);
        let most = room.len();
        let Ok(mut len) = self.socket.recv_queued(room) else {
            arena.untake();
            let held = Held::new(Place::Uplink, received.slot, received.at, received.len);
            return on(held, Err(DropReason::Unsupported));
        };
        if len > most {
            // BIG TCP: larger than any TAP takes, and only its beginning is here.
            arena.untake();
            let held = Held::new(Place::Uplink, received.slot, received.at, received.len);
            return on(held, Err(DropReason::TooLong));
        }
        if let Some((tpid, tci)) = received.tag {
            retag(arena.bytes_mut(buffer, 0, at + len), &mut at, &mut len, tpid, tci);
        }
        on(Held::new(Place::Arena, buffer, at, len), Ok(arena.bytes(buffer, at, len)));
    }
}

/// Puts the tag back that the kernel took out before the socket saw the frame. Every place that a
/// frame is read into keeps room for it.
fn retag(bytes: &mut [u8], at: &mut usize, len: &mut usize, tpid: u16, tci: u16) {
    if let Some(start) = insert_tag(bytes, *at, tpid, tci) {
        *len += *at - start;
        *at = start;
    }
}

impl Uplink {
    /// Hands at most `budget` waiting frames to `on`, each with the bytes of its vnet header and
    /// itself or the reason why it can be no frame of ours; returns how many there were.
    pub(crate) fn recv(
        &mut self,
        arena: &mut Arena,
        budget: usize,
        mut on: impl FnMut(Held, Result<&[u8], DropReason>),
    ) -> usize {
        match self {
            Self::Memory(link) => link.recv(arena, budget, |held, bytes| on(held, Ok(bytes))).0,
            Self::Packet(packet) => packet.recv(arena, budget, on),
        }
    }

    /// Sends `count` frames, told by number, without waiting; what is refused is told to `refused`.
    pub(crate) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> &'f [u8],
        mut refused: impl FnMut(usize, DropReason),
    ) {
        match self {
            Self::Memory(link) => link.send(count, frame, refused),
            Self::Packet(packet) => {
                let PacketUplink { socket, tx } = &mut **packet;
                tx.send(socket.as_fd(), count, frame, |number, error| {
                    refused(number, reason(error))
                });
            }
        }
    }

    /// The bytes `at..at + len` of a slot of this turn.
    #[inline]
    pub(crate) fn bytes(&self, slot: u16, at: usize, len: usize) -> &[u8] {
        match self {
            Self::Memory(_) => &[],
            Self::Packet(packet) => packet.socket.ring.bytes(slot, at, len),
        }
    }

    /// Ends the turn: the memory of its frames may be used again.
    pub(crate) fn release(&mut self) {
        if let Self::Packet(packet) = self {
            packet.socket.ring.release();
        }
    }
}

/// The reason for which the kernel refused to send a frame (`packet(7)`).
fn reason(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::Full,
        Some(libc::EMSGSIZE) => DropReason::TooLong,
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => DropReason::NoCarrier,
        _ => DropReason::Refused,
    }
}
