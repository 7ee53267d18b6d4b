//! [`Uplink`]: the engine's socket on the parent.

mod packet;
#[cfg(feature = "af-xdp")]
mod reassembly;
#[cfg(feature = "af-xdp")]
mod xdp;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use umacvlan_core::DropReason;
use umacvlan_sys::arena::Arena;
use umacvlan_sys::tx_batch::Outgoing;

use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::memory_link::MemoryLink;
use crate::datapath::switches::{SwitchId, Vlans};

pub use packet::PacketUplink;
#[cfg(feature = "af-xdp")]
pub use xdp::{XDP_SOCKETS_MAX, XdpUplink};

/// One way to reach the wire. Matched once a batch, never once a frame.
#[derive(Debug)]
pub enum Uplink {
    /// Frames exchanged in memory with a test or a bench.
    Memory(MemoryLink),
    /// An AF_PACKET socket: works on every Ethernet interface.
    Packet(Box<PacketUplink>),
    /// AF_XDP sockets, and an AF_PACKET socket for what they do not get.
    #[cfg(feature = "af-xdp")]
    Xdp(Box<XdpUplink>),
}

impl Uplink {
    /// Hands at most `budget` waiting frames to `on`, each with the bytes of its vnet header and
    /// itself or the reason why it can be no frame of ours; returns how many there were. A frame of
    /// one of `vlans` comes without its tags, and is told to be for that one's switch.
    pub(crate) fn recv(
        &mut self,
        arena: &mut Arena,
        vlans: &Vlans,
        budget: usize,
        mut on: impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
    ) -> usize {
        match self {
            Self::Memory(link) => {
                link.recv(arena, budget, |held, unit| sort(vlans, held, unit, &mut on)).0
            }
            Self::Packet(packet) => packet.recv(arena, vlans, Place::Uplink, budget, on),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.recv(arena, vlans, budget, on),
        }
    }

    /// Sends `count` frames, told by number, without waiting; what is refused is told to `refused`.
    pub(crate) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        refused: impl FnMut(usize, DropReason),
    ) {
        match self {
            Self::Memory(link) => link.send(count, frame, refused),
            Self::Packet(packet) => packet.send(count, frame, refused),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.send(count, frame, refused),
        }
    }

    /// The bytes `at..at + len` of a slot of this turn.
    #[inline]
    pub(crate) fn bytes(&self, slot: u16, at: usize, len: usize) -> &[u8] {
        match self {
            Self::Memory(_) => &[],
            Self::Packet(packet) => packet.socket.ring.bytes(slot, at, len),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.bytes(slot, at, len),
        }
    }

    /// The same of a slot of the socket beside the uplink proper.
    #[cfg(feature = "af-xdp")]
    #[inline]
    pub(crate) fn side_bytes(&self, slot: u16, at: usize, len: usize) -> &[u8] {
        self.packet().map_or(&[], |packet| packet.socket.ring.bytes(slot, at, len))
    }

    /// Ends the turn: the memory of its frames may be used again. True when frames wait to be sent
    /// and another turn is to try.
    pub(crate) fn release(&mut self) -> bool {
        match self {
            Self::Memory(_) => {}
            Self::Packet(packet) => packet.socket.ring.release(),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => return xdp.release(),
        }
        false
    }

    /// Frames that were sent and have not left, as of the last turn.
    pub(crate) fn sending(&self) -> usize {
        match self {
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => xdp.sending(),
            _ => 0,
        }
    }

    /// What to sleep on; `None` if somebody rings the worker's bell.
    pub(crate) fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Memory(_) => None,
            Self::Packet(packet) => Some(packet.socket.as_fd()),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => Some(xdp.as_fd()),
        }
    }

    /// Has [`Uplink::waits_on`] tell of every frame from now on, or no longer of most: before a
    /// sleep, and after it.
    ///
    /// # Errors
    /// No memory in the kernel.
    pub(crate) fn watch(&self, asleep: bool) -> io::Result<()> {
        match (self, asleep) {
            #[cfg(feature = "af-xdp")]
            (Self::Xdp(xdp), _) => xdp.watch(asleep),
            _ => Ok(()),
        }
    }

    /// The AF_PACKET socket, which has the memberships: of the uplink itself, or beside it.
    pub(crate) fn packet(&self) -> Option<&PacketUplink> {
        match self {
            Self::Memory(_) => None,
            Self::Packet(packet) => Some(packet),
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => Some(xdp.side()),
        }
    }

    /// Forgets an error that would end every sleep at once: of a parent that goes down.
    pub(crate) fn forgive(&self) {
        if let Some(packet) = self.packet() {
            packet.forgive();
        }
    }

    /// Frames that the kernel had no room for since the last call.
    pub(crate) fn take_drops(&mut self) -> u64 {
        let aside = self.packet().map_or(0, |packet| packet.socket.take_drops().unwrap_or(0));
        match self {
            #[cfg(feature = "af-xdp")]
            Self::Xdp(xdp) => aside + xdp.take_drops(),
            _ => aside,
        }
    }
}

/// Hands on a frame with all its tags in it, without those that are not for its switch.
#[inline(always)]
fn sort(
    vlans: &Vlans,
    held: Held,
    unit: &mut [u8],
    on: &mut impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
) {
    if vlans.is_empty() {
        return on(SwitchId::UNTAGGED, held, Ok(unit));
    }
    let (to, start) = vlans.untag(unit);
    match start {
        Some(start) => on(to, held.without(start), Ok(&unit[start..])),
        None => on(to, held, Err(DropReason::Runt)),
    }
}
