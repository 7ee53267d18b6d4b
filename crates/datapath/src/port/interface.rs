//! [`InterfacePort`]: a port whose far end is a program behind an interface of the kernel: a TAP that the
//! program has open, or one end of a veth pair.
//!
//! The engine sits on the interface with a packet socket and holds no queue of it. What the program sends
//! is copied from the ring of the socket into buffers of the turn; what is for it is sent by the socket,
//! with its vnet header, so GSO packets and partial checksums pass as the interface has them.

use std::io;
use std::os::fd::AsFd;

use umacvlan_core::frame::TAG_LEN;
use umacvlan_core::offload::{VNET_LEN, VnetHeader, insert_tag};
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::{Extent, RxFrame};
use umacvlan_sys::tx_batch::TxBatch;

use crate::frame_ref::{FrameRef, StorageKind};

/// The flags of a vnet header that are left of those of a program: it may say of any checksum that it
/// was verified.
const FLAGS: u8 = !VnetHeader::DATA_VALID;

/// A port for the interface of a program; without one at first.
#[derive(Debug, Default)]
pub struct InterfacePort {
    /// Boxed: a port without an interface is as small as any.
    pub(super) open: Option<Box<OpenInterface>>,
}

/// The interface of a program while frames pass through it.
#[derive(Debug)]
pub(super) struct OpenInterface {
    pub(super) socket: PacketSocket,
    tx: TxBatch,
}

/// What one turn has read from an interface.
#[derive(Debug, Default)]
pub(super) struct InterfaceRead {
    pub(super) frames: usize,
    pub(super) bytes: usize,
    /// There may be more.
    pub(super) more: bool,
}

impl OpenInterface {
    pub(super) fn new(socket: PacketSocket) -> Self {
        Self { socket, tx: TxBatch::new() }
    }

    /// Reads the frames that wait, at most `budget`, each into a buffer of its own. One that is longer
    /// than a buffer, or that the kernel cannot describe, has no bytes.
    pub(super) fn read(
        &mut self,
        id: SubIndex,
        pool: &mut BufferPool,
        budget: usize,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> InterfaceRead {
        let mut read = InterfaceRead { more: true, ..InterfaceRead::default() };
        while read.frames < budget
            && let Some(buffer) = pool.acquire()
        {
            let Some(received) = self.socket.ring.receive() else {
                pool.release_last();
                read.more = false;
                break;
            };
            let (start, len) = self.copy(pool, buffer, received).unwrap_or_default();
            let unit = pool.bytes_mut(buffer, start, len);
            if let Some(flags) = unit.first_mut() {
                *flags &= FLAGS;
            }
            on(id, FrameRef::new(StorageKind::Pool { buffer }, start, len), unit);
            read.frames += 1;
            read.bytes += len;
        }
        self.socket.ring.release();
        if read.frames == 0 {
            // An interface that went down has left an error, which would end every sleep at once.
            self.socket.clear_error();
        }
        read
    }

    /// Copies a frame into a buffer, behind room for the tag that the kernel has taken out, and puts that
    /// back. Returns where it begins and its length; `None` if it is lost.
    fn copy(
        &self,
        pool: &mut BufferPool,
        buffer: u16,
        received: RxFrame,
    ) -> Option<(usize, usize)> {
        let start = TAG_LEN;
        let room = pool.bytes_mut(buffer, start, BUFFER_LEN - start);
        let len = match received.extent {
            Extent::Complete => {
                let bytes = self.socket.ring.bytes(received.slot, received.at, received.len);
                room.get_mut(..bytes.len())?.copy_from_slice(bytes);
                bytes.len()
            }
            Extent::Queued => {
                let most = room.len();
                self.socket.recv_queued(room).ok().filter(|&len| len <= most)?
            }
            Extent::Truncated => return None,
        };
        let Some(tag) = received.tag else {
            return Some((start, len));
        };
        let start = insert_tag(pool.bytes_mut(buffer, 0, start + len), start, tag.tpid, tag.tci)?;
        Some((start, len + TAG_LEN))
    }

    /// Sends `count` frames, of which `frame` returns each by number. `on_refused` gets the number of each
    /// that is lost, and why.
    pub(super) fn write<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> &'f [u8],
        mut on_refused: impl FnMut(usize, DropReason),
    ) {
        let Self { socket, tx } = self;
        let sent = tx.send(socket.as_fd(), count, frame, |number, error| {
            on_refused(number, drop_reason(error));
        });
        (sent..count).for_each(|number| on_refused(number, DropReason::Full));
    }
}

/// Why the kernel refused to send a frame (`packet(7)`).
fn drop_reason(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::ENOBUFS) => DropReason::Full,
        Some(libc::EMSGSIZE) => DropReason::TooLong,
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => DropReason::Down,
        _ => DropReason::Refused,
    }
}

const _: () = assert!(VNET_LEN + 2 * TAG_LEN < BUFFER_LEN, "a buffer has room for a tag");
