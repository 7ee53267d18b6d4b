//! [`XdpUplink`]: the wire through AF_XDP sockets.
//!
//! AF_XDP carries frames as they are on the wire, so what a vnet header stands for is done here: a
//! super-frame is cut into segments and an open checksum is completed, while the frame is copied
//! into the UMEM. A frame that is longer than a chunk comes and goes in several. What is to reach
//! the host as well, groups above all, comes by an AF_PACKET socket beside, with a filter that takes
//! nothing twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, partial_checksum, segment,
    segment_count,
};
use umacvlan_core::{DropReason, VlanPath};
use umacvlan_sys::arena::Arena;
use umacvlan_sys::calls;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::tx_batch::Outgoing;
use umacvlan_sys::xdp::{CHUNKS_RX, NotSent, XskSocket};

use super::reassembly::{Chain, Outcome};
use super::{PacketUplink, sort};
use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::switches::{SwitchId, Vlans};

/// Most sockets of one worker: their chunks have to fit the numbers of `Held`. What comes by
/// further queues comes aside.
pub const XDP_SOCKETS_MAX: u32 = (u16::MAX / CHUNKS_RX) as u32;

/// AF_XDP sockets on queues of a parent, and the AF_PACKET socket beside them.
#[derive(Debug)]
pub struct XdpUplink {
    /// The first one sends as well.
    sockets: Vec<XskSocket>,
    /// By socket: a frame that comes in pieces.
    chains: Vec<Chain>,
    side: PacketUplink,
    /// Watches the packet socket, and the others while the worker sleeps.
    epoll: Epoll,
    /// The socket with which the next turn begins.
    next: usize,
    /// The driver hands over frames whose checksum is still open, and cannot say so.
    open_checksums: bool,
    /// Most bytes of a frame without its tags.
    longest: usize,
    /// Chunks of the longest frame.
    chunks: usize,
    work: Box<[u8; SEGMENT_BUFFER_LEN]>,
    /// By frame pushed since the last kick: the number of what it was made from.
    made_from: Vec<usize>,
    /// The interface was down at the last kick.
    down: bool,
    /// The last kick left frames in the ring that may go now.
    stuck: bool,
    /// What the sockets have dropped, as far as it has been told.
    told_drops: u64,
}

impl XdpUplink {
    /// An uplink through these sockets, of which there is one at least and [`XDP_SOCKETS_MAX`] at most, for
    /// frames with so many bytes of payload. `open_checksums`: frames may be handed over with their
    /// checksum still open, as veth does.
    ///
    /// # Errors
    /// No descriptor to wait with.
    pub fn new(
        sockets: Vec<XskSocket>,
        side: PacketUplink,
        mtu: u32,
        open_checksums: bool,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&side.socket, 0)?;
        let longest = mtu as usize + HEADER_LEN;
        let chain = |_: &XskSocket| Chain::new(VNET_LEN + longest + 2 * TAG_LEN);
        let chains = sockets.iter().map(chain).collect();
        let room = sockets.first().map_or(longest, XskSocket::room);
        Ok(Self {
            sockets,
            chains,
            side,
            epoll,
            next: 0,
            open_checksums,
            longest,
            chunks: (longest + TAG_LEN).div_ceil(room),
            work: Box::new([0; SEGMENT_BUFFER_LEN]),
            made_from: Vec::with_capacity(usize::from(CHUNKS_RX)),
            down: false,
            stuck: false,
            told_drops: 0,
        })
    }

    /// A socket that somebody watches has whoever sends look for sleepers with every frame, which on
    /// a veth is a part of the sender's time; so nobody does while the worker looks for itself.
    pub(super) fn watch(&self, asleep: bool) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| {
            calls::note();
            match asleep {
                true => self.epoll.add(socket, 0),
                false => {
                    self.epoll.remove(socket);
                    Ok(())
                }
            }
        })
    }

    pub(super) fn side(&self) -> &PacketUplink {
        &self.side
    }

    pub(super) fn recv(
        &mut self,
        arena: &mut Arena,
        vlans: &Vlans,
        budget: usize,
        mut on: impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
    ) -> usize {
        let mut count = 0;
        let Self { sockets, chains, next, open_checksums, .. } = self;
        for _ in 0..sockets.len() {
            let base = *next * usize::from(CHUNKS_RX);
            let chain = &mut chains[*next];
            sockets[*next].receive(budget - count, |chunk, at, unit, more| {
                if more || chain.is_open() {
                    if let Some(outcome) = chain.add(arena, unit, more) {
                        count += 1;
                        gathered(arena, outcome, *open_checksums, vlans, &mut on);
                    }
                    return;
                }
                if *open_checksums {
                    mark_open(unit);
                }
                count += 1;
                // At most XDP_SOCKETS_MAX times CHUNKS_RX.
                let number = u16::try_from(base).unwrap_or(u16::MAX) + chunk;
                sort(vlans, Held::new(Place::Uplink, number, at, unit.len()), unit, &mut on);
            });
            chain.keep(arena);
            *next = (*next + 1) % sockets.len();
        }
        count + self.side.recv(arena, vlans, Place::Side, budget - count, on)
    }

    #[inline]
    pub(super) fn bytes(&self, number: u16, at: usize, len: usize) -> &[u8] {
        let (socket, chunk) = (number / CHUNKS_RX, number % CHUNKS_RX);
        self.sockets[usize::from(socket)].bytes(chunk, at, len)
    }

    pub(super) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        mut refused: impl FnMut(usize, DropReason),
    ) {
        if self.down {
            // What was pushed when it went down is all that may wait for it to come back.
            self.kick(&mut refused);
        }
        for number in 0..count {
            let pushed = match self.down {
                true => Err(DropReason::NoCarrier),
                false => self.push(number, frame(number), &mut refused),
            };
            if let Err(reason) = pushed {
                refused(number, reason);
            }
        }
        self.kick(&mut refused);
    }

    /// Pushes all that one frame comes to on the wire, or nothing.
    fn push(
        &mut self,
        number: usize,
        Outgoing { unit, path }: Outgoing<'_>,
        refused: &mut impl FnMut(usize, DropReason),
    ) -> Result<(), DropReason> {
        let Some((header, frame)) = unit.split_first_chunk::<VNET_LEN>() else {
            return Err(DropReason::Runt);
        };
        let header = VnetHeader::parse(header);
        self.make_room(segment_count(header, frame), refused)?;
        let pushed = match (header.is_gso(), header.is_plain()) {
            (true, _) => self.push_segments(header, frame, path),
            (false, true) => self.push_one(frame, path, |_| {}),
            (false, false) => self.push_unfinished(header, frame, path),
        };
        self.made_from.resize(self.sockets[0].pushed(), number);
        pushed
    }

    fn push_segments(
        &mut self,
        header: VnetHeader,
        frame: &[u8],
        path: &VlanPath,
    ) -> Result<(), DropReason> {
        let Self { sockets, work, longest, .. } = self;
        let mut pushed = Ok(());
        let cut = segment(header, frame, work, |unit| {
            // The first segment is as long as any, so none follows one that is refused.
            if pushed.is_ok() {
                pushed = push_frame(&mut sockets[0], *longest, &unit[VNET_LEN..], path, |_| {});
            }
        });
        cut.map_err(|_| DropReason::Unsupported).and(pushed)
    }

    fn push_unfinished(
        &mut self,
        header: VnetHeader,
        frame: &[u8],
        path: &VlanPath,
    ) -> Result<(), DropReason> {
        // Every header from a port has been validated, and then nothing can be wrong.
        let long = frame.len() + path.as_bytes().len() > self.sockets[0].room();
        match self.work.get_mut(..frame.len()).filter(|_| long) {
            None => self.push_one(frame, path, |room| {
                let _ = complete_checksum(&mut behind(path, header), room);
            }),
            // A checksum is over all pieces.
            Some(work) => {
                work.copy_from_slice(frame);
                let _ = complete_checksum(&mut { header }, work);
                push_frame(&mut self.sockets[0], self.longest, work, path, |_| {})
            }
        }
    }

    fn push_one(
        &mut self,
        frame: &[u8],
        path: &VlanPath,
        finish: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        push_frame(&mut self.sockets[0], self.longest, frame, path, finish)
    }

    /// Sees to it that so many frames can be pushed.
    fn make_room(
        &mut self,
        frames: usize,
        refused: &mut impl FnMut(usize, DropReason),
    ) -> Result<(), DropReason> {
        let chunks = frames * self.chunks;
        if !self.sockets[0].has_room(chunks) {
            self.kick(refused);
            if !self.sockets[0].has_room(chunks) {
                return Err(DropReason::Full);
            }
        }
        Ok(())
    }

    fn kick(&mut self, refused: &mut impl FnMut(usize, DropReason)) {
        let Self { sockets, made_from, .. } = self;
        let mut last = None;
        let kicked = sockets[0].kick(|place| {
            let number = made_from.get(place).copied();
            // A frame that was cut is lost once, however many of its segments are.
            if let (Some(number), true) = (number, number != last) {
                refused(number, DropReason::NoCarrier);
            }
            last = number;
        });
        self.made_from.clear();
        self.down = kicked == Err(NotSent::Down);
        self.stuck = kicked == Err(NotSent::Busy);
    }

    pub(super) fn release(&mut self) -> bool {
        self.sockets.iter_mut().for_each(XskSocket::release);
        self.side.socket.ring.release();
        if self.stuck {
            // Whatever is lost of them now was counted as sent in a turn before.
            self.kick(&mut |_, _| {});
        }
        self.stuck
    }

    pub(super) fn sending(&self) -> usize {
        self.sockets.iter().map(XskSocket::sending).sum()
    }

    pub(super) fn take_drops(&mut self) -> u64 {
        let drops = self.sockets.iter().filter_map(|socket| socket.drops().ok()).sum::<u64>();
        drops.saturating_sub(std::mem::replace(&mut self.told_drops, drops))
    }
}

impl AsFd for XdpUplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Hands a frame that came in pieces to `on`, or says why there is none.
fn gathered(
    arena: &mut Arena,
    outcome: Outcome,
    open_checksums: bool,
    vlans: &Vlans,
    on: &mut impl FnMut(SwitchId, Held, Result<&[u8], DropReason>),
) {
    match outcome {
        Ok((buffer, len)) => {
            let unit = arena.bytes_mut(buffer, 0, len);
            if open_checksums {
                mark_open(unit);
            }
            sort(vlans, Held::new(Place::Arena, buffer, 0, len), unit, on);
        }
        Err((reason, len)) => {
            on(SwitchId::UNTAGGED, Held::new(Place::Arena, 0, 0, len), Err(reason));
        }
    }
}

/// Says in the vnet header that the checksum is open, if it is.
fn mark_open(unit: &mut [u8]) {
    if let Some((header, frame)) = unit.split_first_chunk_mut::<VNET_LEN>()
        && let Some(open) = partial_checksum(frame)
    {
        open.write_to(header);
    }
}

/// The header of a frame that has got these tags.
fn behind(path: &VlanPath, mut header: VnetHeader) -> VnetHeader {
    let tags = u16::try_from(path.as_bytes().len()).unwrap_or(0);
    header.csum_start = header.csum_start.saturating_add(tags);
    header
}

/// Pushes a copy of a frame with these tags, finished by `finish` if it fits one chunk. The kernel
/// sends it whatever its length is, so that is looked at here.
fn push_frame(
    socket: &mut XskSocket,
    longest: usize,
    frame: &[u8],
    path: &VlanPath,
    finish: impl FnOnce(&mut [u8]),
) -> Result<(), DropReason> {
    let Some((addresses, rest)) = frame.split_first_chunk::<12>() else {
        return Err(DropReason::Runt);
    };
    let tags = path.as_bytes();
    let len = frame.len() + tags.len();
    // One tag of the usual kind does not count, as for a packet socket.
    let first = if tags.is_empty() { rest } else { tags };
    let spare = if first.starts_with(&[0x81, 0]) { TAG_LEN } else { 0 };
    if len > longest + spare {
        return Err(DropReason::TooLong);
    }
    let fill = |room: &mut [u8]| {
        let (head, behind) = room.split_at_mut(addresses.len() + tags.len());
        head[..12].copy_from_slice(addresses);
        head[12..].copy_from_slice(tags);
        behind.copy_from_slice(rest);
        finish(room);
    };
    let pushed = match len <= socket.room() {
        true => socket.push(len, fill),
        false => socket.push_pieces([addresses, tags, rest]),
    };
    match pushed {
        true => Ok(()),
        false => Err(DropReason::Full),
    }
}
