//! [`Uplink`]: the engine's socket on the parent.

mod packet;
#[cfg(feature = "af-xdp")]
mod reassembly;
#[cfg(feature = "af-xdp")]
mod xdp;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use umacvlan_core::DropReason;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::tx_batch::Outgoing;

use crate::frame_ref::{FrameRef, StorageKind};
use crate::memory_link::MemoryLink;
use crate::switches::{SwitchId, Vlans};

pub use packet::PacketUplink;
#[cfg(feature = "af-xdp")]
pub use xdp::{XDP_SOCKETS_MAX, XdpUplink};

/// One way to reach the wire. Matched once a batch, never once a frame.
#[derive(Debug)]
pub enum Uplink {
    /// A link in memory, for tests, benches and embedding programs.
    Memory(MemoryLink),
    /// An AF_PACKET socket: works on every Ethernet interface.
    Packet(Box<PacketUplink>),
    /// AF_XDP sockets, and an AF_PACKET socket for the frames that they do not get.
    #[cfg(feature = "af-xdp")]
    Xdp(Box<XdpUplink>),
}

impl Uplink {
    /// Hands at most `budget` frames to `on`; returns how many there were. Each comes with the bytes
    /// of its vnet header and itself, or with the reason to drop it. A frame in one of `vlans` comes
    /// without its tags, and with the switch of that VLAN. Bytes may be changed in place.
    pub(crate) fn recv(
        &mut self,
        pool: &mut BufferPool,
        vlans: &Vlans,
        budget: usize,
        mut on: impl FnMut(SwitchId, FrameRef, Result<&mut [u8], DropReason>),
    ) -> usize {
        match self {
            Self::Memory(link) => {
                let untag = |stored, unit: &mut [u8]| untag(vlans, stored, unit, &mut on);
                link.recv(pool, budget, untag).0
            }
            Self::Packet(packet) => {
                let place = |slot| StorageKind::Uplink { slot };
                packet.recv(pool, vlans, place, budget, on)
            }
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.recv(pool, vlans, budget, on),
        }
    }

    /// Sends `count` frames without waiting. `frame` returns each by number, and `on_refused` gets
    /// the numbers of those that are refused. Returns how many have been sent or refused: less than
    /// `count` when the socket or the ring is full, and then some of its frames are still to leave.
    pub(crate) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        on_refused: impl FnMut(usize, DropReason),
    ) -> usize {
        match self {
            Self::Memory(link) => {
                link.send(count, frame, on_refused);
                count
            }
            Self::Packet(packet) => packet.send(count, frame, on_refused),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.send(count, frame, on_refused),
        }
    }

    /// True if it sends a GSO packet whole, so that merging pays.
    pub(crate) fn takes_gso(&self) -> bool {
        match self {
            Self::Memory(link) => link.takes_gso(),
            Self::Packet(_) => true,
            #[cfg(feature = "af-xdp")]
            Self::Xdp(_) => false,
        }
    }

    /// The bytes `start..start + len` of a slot of this turn.
    #[inline]
    pub(crate) fn bytes(&self, slot: u16, start: usize, len: usize) -> &[u8] {
        match self {
            Self::Memory(_) => &[],
            Self::Packet(packet) => packet.socket.ring.bytes(slot, start, len),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.bytes(slot, start, len),
        }
    }

    /// The same of a slot of the packet socket beside AF_XDP sockets.
    #[cfg(feature = "af-xdp")]
    #[inline]
    pub(crate) fn side_bytes(&self, slot: u16, start: usize, len: usize) -> &[u8] {
        self.packet().map_or(&[], |packet| packet.socket.ring.bytes(slot, start, len))
    }

    /// Ends the turn: the memory of its frames may be used again. True when frames wait to be sent,
    /// which needs another turn.
    pub(crate) fn end_turn(&mut self) -> bool {
        match self {
            Self::Memory(_) => {}
            Self::Packet(packet) => packet.socket.ring.release(),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => return xdp.end_turn(),
        }
        false
    }

    /// Frames that were given to the kernel and had not left at the end of the last turn.
    pub(crate) fn tx_in_flight(&self) -> usize {
        match self {
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.tx_in_flight(),
            _ => 0,
        }
    }

    /// The descriptor to sleep on; `None` if the far end signals the worker's wake event.
    pub(crate) fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Memory(_) => None,
            Self::Packet(packet) => Some(packet.socket.as_fd()),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => Some(xdp.as_fd()),
        }
    }

    /// The descriptor that becomes writable when a full uplink has room again. `None`: it has to be
    /// tried, as room in the ring of an AF_XDP socket is no event.
    pub(crate) fn tx_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Packet(packet) => Some(packet.socket.as_fd()),
            _ => None,
        }
    }

    /// Makes [`Uplink::wait_fd`] readable with every frame (before a sleep), or no longer with most
    /// (after it).
    ///
    /// # Errors
    /// The kernel has no memory.
    pub(crate) fn watch(&self, asleep: bool) -> io::Result<()> {
        match (self, asleep) {
            #[cfg(feature = "af-xdp")]
            (Self::Xdp(xdp), _) => xdp.watch(asleep),
            _ => Ok(()),
        }
    }

    /// The AF_PACKET socket, which has the memberships: the uplink itself, or the one beside it.
    pub fn packet(&self) -> Option<&PacketUplink> {
        match self {
            Self::Memory(_) => None,
            Self::Packet(packet) => Some(packet),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => Some(xdp.side()),
        }
    }

    /// Clears the error of a parent that went down, which would end every sleep at once.
    pub(crate) fn clear_error(&self) {
        if let Some(packet) = self.packet() {
            packet.clear_error();
        }
    }

    /// Frames that the kernel dropped since the last call because the rings were full.
    pub fn take_drops(&mut self) -> u64 {
        let packet = self.packet().map_or(0, |packet| packet.socket.take_drops().unwrap_or(0));
        match self {
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => packet + xdp.take_drops(),
            _ => packet,
        }
    }
}

/// Hands a frame with all its tags in it to `on`, without those that its switch does not see.
#[inline(always)]
fn untag(
    vlans: &Vlans,
    stored: FrameRef,
    unit: &mut [u8],
    on: &mut impl FnMut(SwitchId, FrameRef, Result<&mut [u8], DropReason>),
) {
    if vlans.is_empty() {
        return on(SwitchId::UNTAGGED, stored, Ok(unit));
    }
    let (id, start) = vlans.untag(unit);
    match start {
        Some(start) => on(id, stored.without_prefix(start), Ok(&mut unit[start..])),
        None => on(id, stored, Err(DropReason::Runt)),
    }
}
