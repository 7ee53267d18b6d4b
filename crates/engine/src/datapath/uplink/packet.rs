//! [`PacketUplink`]: the wire through an AF_PACKET socket.

use std::io;
use std::os::fd::AsFd;

use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::offload::{VNET_LEN, insert_tag, pop_tag};
use umacvlan_core::{DropReason, Tag};
use umacvlan_sys::arena::{Arena, BUFFER_LEN};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::{Extent, Received};
use umacvlan_sys::tx_batch::{Outgoing, TxBatch};

use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::switches::{SwitchId, Vlans};

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
        vlans: &Vlans,
        place: Place,
        budget: usize,
        mut on: impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
    ) -> usize {
        for count in 0..budget {
            let Some(mut received) = self.socket.ring.receive() else {
                return count;
            };
            let held = Held::new(place, received.slot, received.at, received.len);
            match received.extent {
                Extent::Whole => {
                    let ring = &mut self.socket.ring;
                    let mut to = SwitchId::UNTAGGED;
                    if let Some(tag) = received.tag {
                        let slot = ring.bytes_mut(received.slot, 0, received.at + received.len);
                        to = place_tag(vlans, slot, &mut received.at, &mut received.len, tag);
                    }
                    let Received { slot, at, len, .. } = received;
                    on(to, Held::new(place, slot, at, len), Ok(ring.bytes(slot, at, len)));
                }
                Extent::Queued => self.recv_queued(arena, vlans, place, received, &mut on),
                Extent::Cut => on(SwitchId::UNTAGGED, held, Err(DropReason::TooLong)),
            }
        }
        budget
    }

    pub(super) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
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
        vlans: &Vlans,
        place: Place,
        received: Received,
        on: &mut impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
    ) {
        let mut lost = |why| {
            let held = Held::new(place, received.slot, received.at, received.len);
            on(SwitchId::UNTAGGED, held, Err(why));
        };
        let Some(buffer) = arena.take() else {
            // The frame must leave the queue, or the next slot would be given this one.
            let _ = self.socket.recv_queued(&mut [0; 16]);
            return lost(DropReason::Full);
        };
        let mut at = TAG_LEN;
        let room = arena.bytes_mut(buffer, at, BUFFER_LEN - at);
        let most = room.len();
        let Ok(mut len) = self.socket.recv_queued(room) else {
            arena.untake();
            return lost(DropReason::Unsupported);
        };
        if len > most {
            // BIG TCP: larger than any TAP takes, and only its beginning is here.
            arena.untake();
            return lost(DropReason::TooLong);
        }
        let mut to = SwitchId::UNTAGGED;
        if let Some(tag) = received.tag {
            let bytes = arena.bytes_mut(buffer, 0, at + len);
            to = place_tag(vlans, bytes, &mut at, &mut len, tag);
        }
        on(to, Held::new(Place::Arena, buffer, at, len), Ok(arena.bytes(buffer, at, len)));
    }
}

/// Says whose a frame is out of which the kernel took this tag before the socket saw it. A VLAN's
/// own switch gets it so, which costs nothing; everybody else gets it with the tag put back, for
/// which every place that a frame is read into keeps room.
fn place_tag(
    vlans: &Vlans,
    bytes: &mut [u8],
    at: &mut usize,
    len: &mut usize,
    tag: Tag,
) -> SwitchId {
    let rest = bytes.get(*at + VNET_LEN..).unwrap_or_default();
    let (to, start) = match vlans.find(tag, rest) {
        Some((to, false)) => return to,
        // What ends with its tags has one less, and is a frame of an EtherType that nobody knows.
        Some((to, true)) => (to, pop_tag(bytes, *at)),
        None => (SwitchId::UNTAGGED, insert_tag(bytes, *at, tag.tpid, tag.tci)),
    };
    if let Some(start) = start {
        *len = *at + *len - start;
        *at = start;
    }
    to
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
