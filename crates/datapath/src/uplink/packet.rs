//! [`PacketUplink`]: the wire through an AF_PACKET socket.

use std::io;
use std::os::fd::AsFd;

use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::offload::{VNET_LEN, insert_tag, pop_tag};
use umacvlan_core::{DropReason, Tag};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::{Extent, RxFrame, SLOT_HEADER_LEN};
use umacvlan_sys::tx_batch::{Outgoing, TxBatch};

use crate::frame_ref::{FrameRef, StorageKind};
use crate::switches::{SwitchId, Vlans};

/// An AF_PACKET socket and the buffers to send many frames by one system call.
#[derive(Debug)]
pub struct PacketUplink {
    /// The socket.
    pub socket: PacketSocket,
    tx: TxBatch,
}

impl PacketUplink {
    /// An uplink through this socket.
    pub fn new(socket: PacketSocket) -> Self {
        Self { socket, tx: TxBatch::new() }
    }

    /// Hands at most `budget` frames to `on`. `storage` returns the storage of a slot of the ring.
    pub(super) fn recv(
        &mut self,
        pool: &mut BufferPool,
        vlans: &Vlans,
        storage: impl Fn(u16) -> StorageKind,
        budget: usize,
        mut on: impl FnMut(SwitchId, FrameRef, Result<&mut [u8], DropReason>),
    ) -> usize {
        for count in 0..budget {
            let Some(mut received) = self.socket.ring.receive() else {
                return count;
            };
            let storage = storage(received.slot);
            let stored = FrameRef::new(storage, received.at, received.len);
            match received.extent {
                Extent::Complete => {
                    let ring = &mut self.socket.ring;
                    let mut id = SwitchId::UNTAGGED;
                    if let Some(tag) = received.tag {
                        received.at -= SLOT_HEADER_LEN;
                        let len = received.at + received.len;
                        let slot = ring.bytes_mut(received.slot, SLOT_HEADER_LEN, len);
                        id = restore_tag(vlans, slot, &mut received.at, &mut received.len, tag);
                        received.at += SLOT_HEADER_LEN;
                    }
                    let RxFrame { slot, at, len, .. } = received;
                    on(id, FrameRef::new(storage, at, len), Ok(ring.bytes_mut(slot, at, len)));
                }
                Extent::Queued => match self.recv_queued(pool, vlans, received) {
                    Ok((id, stored, bytes)) => on(id, stored, Ok(bytes)),
                    Err(reason) => on(SwitchId::UNTAGGED, stored, Err(reason)),
                },
                Extent::Truncated => on(SwitchId::UNTAGGED, stored, Err(DropReason::TooLong)),
            }
        }
        budget
    }

    /// Sends `count` frames, of which `frame` returns each by number; returns how many of them have
    /// been sent or refused before the socket was full.
    pub(super) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        mut on_refused: impl FnMut(usize, DropReason),
    ) -> usize {
        let Self { socket, tx } = self;
        tx.send(socket.as_fd(), count, frame, |number, error| {
            on_refused(number, drop_reason(error));
        })
    }

    /// Clears the error that an interface leaves on the socket when it goes down. It would end every
    /// sleep at once.
    pub(super) fn clear_error(&self) {
        if !self.socket.ring.has_frame() {
            self.socket.clear_error();
        }
    }

    /// Reads a frame that did not fit its slot into a buffer of the pool.
    fn recv_queued<'a>(
        &self,
        pool: &'a mut BufferPool,
        vlans: &Vlans,
        received: RxFrame,
    ) -> Result<(SwitchId, FrameRef, &'a mut [u8]), DropReason> {
        let Some(buffer) = pool.acquire() else {
            // The frame must leave the queue, or the next slot would get it.
            let _ = self.socket.recv_queued(&mut [0; 16]);
            return Err(DropReason::Full);
        };
        let mut start = TAG_LEN;
        let room = pool.bytes_mut(buffer, start, BUFFER_LEN - start);
        let most = room.len();
        let Ok(mut len) = self.socket.recv_queued(room) else {
            pool.release_last();
            return Err(DropReason::Unsupported);
        };
        if len > most {
            // BIG TCP: longer than any TAP takes, and cut to the buffer.
            pool.release_last();
            return Err(DropReason::TooLong);
        }
        let mut id = SwitchId::UNTAGGED;
        if let Some(tag) = received.tag {
            let bytes = pool.bytes_mut(buffer, 0, start + len);
            id = restore_tag(vlans, bytes, &mut start, &mut len, tag);
        }
        let stored = FrameRef::new(StorageKind::Pool { buffer }, start, len);
        Ok((id, stored, pool.bytes_mut(buffer, start, len)))
    }
}

/// Returns the switch of a frame whose outer tag the kernel removed before the socket got it. The
/// switch of the VLAN gets the frame as it is, which costs nothing. For any other the tag is put
/// back, for which all memory that frames are read into has room.
fn restore_tag(
    vlans: &Vlans,
    bytes: &mut [u8],
    at: &mut usize,
    len: &mut usize,
    tag: Tag,
) -> SwitchId {
    let rest = bytes.get(*at + VNET_LEN..).unwrap_or_default();
    let (id, start) = match vlans.find(tag, rest) {
        Some((id, false)) => return id,
        // A frame that ends with its tags keeps one, and is a frame of an unknown EtherType.
        Some((id, true)) => (id, pop_tag(bytes, *at)),
        None => (SwitchId::UNTAGGED, insert_tag(bytes, *at, tag.tpid, tag.tci)),
    };
    if let Some(start) = start {
        *len = *at + *len - start;
        *at = start;
    }
    id
}

/// Why the kernel refused to send a frame (`packet(7)`).
fn drop_reason(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        // A queue of the parent is full: the socket itself has room.
        Some(libc::ENOBUFS) => DropReason::Full,
        Some(libc::EMSGSIZE) => DropReason::TooLong,
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => DropReason::NoCarrier,
        _ => DropReason::Refused,
    }
}
