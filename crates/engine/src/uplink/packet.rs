//! [`PacketUplink`]: the wire through an AF_PACKET socket.

use std::io;
use std::os::fd::AsFd;

use umacvlan_core::DropReason;
use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::offload::insert_tag;

use crate::held::{Held, Place};
use crate::sys::arena::{Arena, BUFFER_LEN};
use crate::sys::packet::PacketSocket;
use crate::sys::rx_ring::{Extent, Received};
use crate::sys::tx_batch::TxBatch;

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

    /// Hands at most `budget` frames to `on`, those in a slot of the ring as being at `place`.
    pub(super) fn recv(
        &mut self,
        arena: &mut Arena,
        place: Place,
        budget: usize,
        mut on: impl FnMut(Held, Result<&[u8], DropReason>),
    ) -> usize {
        for count in 0..budget {
            let Some(mut received) = self.socket.ring.receive() else {
                return count;
            };
            let held = Held::new(place, received.slot, received.at, received.len);
            match received.extent {
                Extent::Whole => {
                    let ring = &mut self.socket.ring;
                    if let Some((tpid, tci)) = received.tag {
                        let slot = ring.bytes_mut(received.slot, 0, received.at + received.len);
                        retag(slot, &mut received.at, &mut received.len, tpid, tci);
                    }
                    let Received { slot, at, len, .. } = received;
                    on(Held::new(place, slot, at, len), Ok(ring.bytes(slot, at, len)));
                }
                Extent::Queued => self.recv_queued(arena, place, received, &mut on),
                Extent::Cut => on(held, Err(DropReason::TooLong)),
            }
        }
        budget
    }

    pub(super) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> &'f [u8],
        mut refused: impl FnMut(usize, DropReason),
    ) {
        let Self { socket, tx } = self;
        tx.send(socket.as_fd(), count, frame, |number, error| refused(number, reason(error)));
    }

    /// Forgets the error that is left on the socket of an interface that goes down, and that would
    /// end every sleep at once.
    pub(super) fn forgive(&self) {
        if !self.socket.ring.has_frame() {
            self.socket.clear_error();
        }
    }

    /// Reads a frame that did not fit its slot into a buffer of the arena.
    fn recv_queued(
        &self,
        arena: &mut Arena,
        place: Place,
        received: Received,
        on: &mut impl FnMut(Held, Result<&[u8], DropReason>),
    ) {
        let Some(buffer) = arena.take() else {
            // The frame must leave the queue, or the next slot would be given this one.
            let _ = self.socket.recv_queued(&mut [0; 16]);
            let held = Held::new(place, received.slot, received.at, received.len);
            return on(held, Err(DropReason::Full));
        };
        let mut at = TAG_LEN;
        let room = arena.bytes_mut(buffer, at, BUFFER_LEN - at);
        let most = room.len();
        let Ok(mut len) = self.socket.recv_queued(room) else {
            arena.untake();
            let held = Held::new(place, received.slot, received.at, received.len);
            return on(held, Err(DropReason::Unsupported));
        };
        if len > most {
            // BIG TCP: larger than any TAP takes, and only its beginning is here.
            arena.untake();
            let held = Held::new(place, received.slot, received.at, received.len);
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

/// The reason for which the kernel refused to send a frame (`packet(7)`).
fn reason(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS) => DropReason::Full,
        Some(libc::EMSGSIZE) => DropReason::TooLong,
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => DropReason::NoCarrier,
        _ => DropReason::Refused,
    }
}
