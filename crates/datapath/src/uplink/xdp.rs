//! [`XdpUplink`]: the wire through AF_XDP sockets.
//!
//! AF_XDP carries frames as they are on the wire, so this file carries out what a vnet header asks
//! for: it segments a GSO packet or completes a partial checksum while it copies the frame into the
//! UMEM. A frame that is longer than a chunk fills several. Frames that the host gets as well, above
//! all multicast and broadcast, come by an AF_PACKET socket beside, whose filter leaves out those
//! that AF_XDP gets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use umacvlan_core::frame::{HEADER_LEN, TAG_LEN};
use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, complete_checksum, partial_checksum, segment,
    segment_count,
};
use umacvlan_core::{DropReason, VlanPath};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::syscall_count;
use umacvlan_sys::tx_batch::Outgoing;
use umacvlan_sys::wire_form::WireForm;
use umacvlan_sys::xdp::{CHUNKS_RX, NotSent, XskSocket};

use super::reassembly::{Outcome, Reassembly};
use super::{PacketUplink, untag};
use crate::frame_ref::{FrameRef, StorageKind};
use crate::switches::{SwitchId, Vlans};

/// Most AF_XDP sockets of one worker: a `FrameRef` numbers the chunks of all of them in 16 bits.
/// Frames of further queues come by the packet socket.
pub const XDP_SOCKETS_MAX: u32 = (u16::MAX / CHUNKS_RX) as u32;

/// AF_XDP sockets on queues of a parent, and the AF_PACKET socket beside them.
#[derive(Debug)]
pub struct XdpUplink {
    /// All receive; the first one also sends.
    sockets: Vec<XskSocket>,
    /// By socket: a frame that arrives in several chunks.
    reassemblies: Vec<Reassembly>,
    /// The AF_PACKET socket beside them.
    side: PacketUplink,
    /// Watches the packet socket, and the others while the worker sleeps.
    epoll: Epoll,
    /// The socket with which the next turn begins.
    next: usize,
    /// The driver hands over frames with a partial checksum, and cannot say which.
    partial_checksums: bool,
    /// Most bytes of a frame without its tags.
    longest: usize,
    /// Chunks of the longest frame.
    chunks: usize,
    work: Box<[u8; SEGMENT_BUFFER_LEN]>,
    /// By frame pushed since the last kick: the number of the frame that it is or is a segment of.
    origin: Vec<usize>,
    /// The interface was down at the last kick.
    down: bool,
    /// The last kick left frames in the ring that another kick may send.
    stuck: bool,
    /// Drops of the sockets that `take_drops` has reported.
    reported_drops: u64,
}

impl XdpUplink {
    /// An uplink through these sockets, at least one and at most [`XDP_SOCKETS_MAX`], for frames with
    /// `mtu` bytes of payload. `partial_checksums`: the driver may hand over frames with a partial
    /// checksum, as veth does.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(
        sockets: Vec<XskSocket>,
        side: PacketUplink,
        mtu: u32,
        partial_checksums: bool,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&side.socket, 0)?;
        let longest = mtu as usize + HEADER_LEN;
        let reassembly = |_: &XskSocket| Reassembly::new(VNET_LEN + longest + 2 * TAG_LEN);
        let reassemblies = sockets.iter().map(reassembly).collect();
        let room = sockets.first().map_or(longest, XskSocket::room);
        Ok(Self {
            sockets,
            reassemblies,
            side,
            epoll,
            next: 0,
            partial_checksums,
            longest,
            chunks: (longest + TAG_LEN).div_ceil(room),
            work: Box::new([0; SEGMENT_BUFFER_LEN]),
            origin: Vec::with_capacity(usize::from(CHUNKS_RX)),
            down: false,
            stuck: false,
            reported_drops: 0,
        })
    }

    /// Watches the AF_XDP sockets while the worker sleeps. A watched socket makes the sender look for
    /// sleepers with every frame, which costs the sender of a veth pair time, so a worker that polls
    /// does not watch them.
    pub(super) fn watch(&self, asleep: bool) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| {
            syscall_count::record();
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
        pool: &mut BufferPool,
        vlans: &Vlans,
        budget: usize,
        mut on: impl FnMut(SwitchId, FrameRef, Result<&mut [u8], DropReason>),
    ) -> usize {
        let mut count = 0;
        let Self { sockets, reassemblies, next, partial_checksums, .. } = self;
        for _ in 0..sockets.len() {
            let base = *next * usize::from(CHUNKS_RX);
            let reassembly = &mut reassemblies[*next];
            sockets[*next].receive(budget - count, |chunk, at, unit, more| {
                if more || reassembly.in_progress() {
                    if let Some(outcome) = reassembly.add(pool, unit, more) {
                        count += 1;
                        deliver(pool, outcome, *partial_checksums, vlans, &mut on);
                    }
                    return;
                }
                if *partial_checksums {
                    mark_partial_checksum(unit);
                }
                count += 1;
                // At most XDP_SOCKETS_MAX times CHUNKS_RX.
                let slot = u16::try_from(base).unwrap_or(u16::MAX) + chunk;
                let stored = FrameRef::new(StorageKind::Uplink { slot }, at, unit.len());
                untag(vlans, stored, unit, &mut on);
            });
            reassembly.end_turn(pool);
            *next = (*next + 1) % sockets.len();
        }
        let side = |slot| StorageKind::Side { slot };
        count + self.side.recv(pool, vlans, side, budget - count, on)
    }

    #[inline]
    pub(super) fn bytes(&self, slot: u16, start: usize, len: usize) -> &[u8] {
        let (socket, chunk) = (slot / CHUNKS_RX, slot % CHUNKS_RX);
        self.sockets[usize::from(socket)].bytes(chunk, start, len)
    }

    pub(super) fn send<'f>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'f>,
        mut on_refused: impl FnMut(usize, DropReason),
    ) -> usize {
        if self.down {
            // Only the frames pushed when it went down may wait for it to come back.
            self.kick(&mut on_refused);
        }
        let mut done = count;
        for number in 0..count {
            let pushed = match self.down {
                true => Err(DropReason::NoCarrier),
                false => self.push(number, frame(number), &mut on_refused),
            };
            match pushed {
                Ok(()) => {}
                // A frame with more segments than the empty ring has room for would wait for ever.
                Err(DropReason::Full) if self.sockets[0].sending() > 0 => {
                    done = number;
                    break;
                }
                Err(reason) => on_refused(number, reason),
            }
        }
        self.kick(&mut on_refused);
        done
    }

    /// Pushes a frame, or all its segments, or nothing.
    fn push(
        &mut self,
        number: usize,
        Outgoing { unit, form }: Outgoing<'_>,
        on_refused: &mut impl FnMut(usize, DropReason),
    ) -> Result<(), DropReason> {
        let Some((header, frame)) = unit.split_first_chunk::<VNET_LEN>() else {
            return Err(DropReason::Runt);
        };
        let header = VnetHeader::parse(header);
        self.make_room(segment_count(header, frame), on_refused)?;
        let pushed = match (header.is_gso(), header.is_plain()) {
            (true, _) => self.push_segments(header, frame, form),
            (false, true) => self.push_one(frame, form, |_| {}),
            (false, false) => self.push_partial_checksum(header, frame, form),
        };
        self.origin.resize(self.sockets[0].pushed(), number);
        pushed
    }

    fn push_segments(
        &mut self,
        header: VnetHeader,
        frame: &[u8],
        form: &WireForm,
    ) -> Result<(), DropReason> {
        let Self { sockets, work, longest, .. } = self;
        let mut pushed = Ok(());
        let segmented = segment(header, frame, work, |unit| {
            // The first segment is as long as any: if it fits, so do the others.
            if pushed.is_ok() {
                pushed = push_frame(&mut sockets[0], *longest, &unit[VNET_LEN..], form, |_| {});
            }
        });
        segmented.map_err(|_| DropReason::Unsupported).and(pushed)
    }

    fn push_partial_checksum(
        &mut self,
        header: VnetHeader,
        frame: &[u8],
        form: &WireForm,
    ) -> Result<(), DropReason> {
        // `complete_checksum` cannot fail: every header from a port has been validated.
        let long = frame.len() + form.path().as_bytes().len() > self.sockets[0].room();
        match self.work.get_mut(..frame.len()).filter(|_| long) {
            None => self.push_one(frame, form, |room| {
                let _ = complete_checksum(&mut shifted(form.path(), header), room);
            }),
            // The checksum covers all pieces, so it is completed before the frame is split.
            Some(work) => {
                work.copy_from_slice(frame);
                let _ = complete_checksum(&mut { header }, work);
                push_frame(&mut self.sockets[0], self.longest, work, form, |_| {})
            }
        }
    }

    fn push_one(
        &mut self,
        frame: &[u8],
        form: &WireForm,
        finish: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        push_frame(&mut self.sockets[0], self.longest, frame, form, finish)
    }

    /// Makes room for this many frames, with a kick if it has to.
    fn make_room(
        &mut self,
        frames: usize,
        on_refused: &mut impl FnMut(usize, DropReason),
    ) -> Result<(), DropReason> {
        let chunks = frames * self.chunks;
        if !self.sockets[0].has_room(chunks) {
            self.kick(on_refused);
            if !self.sockets[0].has_room(chunks) {
                return Err(DropReason::Full);
            }
        }
        Ok(())
    }

    fn kick(&mut self, on_refused: &mut impl FnMut(usize, DropReason)) {
        let Self { sockets, origin, .. } = self;
        let mut last = None;
        let kicked = sockets[0].kick(|position| {
            let number = origin.get(position).copied();
            // A segmented frame is lost once, however many of its segments are.
            if let (Some(number), true) = (number, number != last) {
                on_refused(number, DropReason::NoCarrier);
            }
            last = number;
        });
        self.origin.clear();
        self.down = kicked == Err(NotSent::Down);
        self.stuck = kicked == Err(NotSent::Busy);
    }

    pub(super) fn end_turn(&mut self) -> bool {
        self.sockets.iter_mut().for_each(XskSocket::release);
        self.side.socket.ring.release();
        if self.stuck {
            // Frames lost now were counted as sent in an earlier turn.
            self.kick(&mut |_, _| {});
        }
        self.stuck
    }

    pub(super) fn tx_in_flight(&self) -> usize {
        self.sockets.iter().map(XskSocket::sending).sum()
    }

    pub(super) fn take_drops(&mut self) -> u64 {
        let drops = self.sockets.iter().filter_map(|socket| socket.drops().ok()).sum::<u64>();
        drops.saturating_sub(std::mem::replace(&mut self.reported_drops, drops))
    }
}

impl AsFd for XdpUplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Hands a reassembled frame to `on`, or the reason to drop it.
fn deliver(
    pool: &mut BufferPool,
    outcome: Outcome,
    partial_checksums: bool,
    vlans: &Vlans,
    on: &mut impl FnMut(SwitchId, FrameRef, Result<&mut [u8], DropReason>),
) {
    match outcome {
        Ok((buffer, len)) => {
            let unit = pool.bytes_mut(buffer, 0, len);
            if partial_checksums {
                mark_partial_checksum(unit);
            }
            let stored = FrameRef::new(StorageKind::Pool { buffer }, 0, len);
            untag(vlans, stored, unit, on);
        }
        Err((reason, len)) => {
            let stored = FrameRef::new(StorageKind::Pool { buffer: 0 }, 0, len);
            on(SwitchId::UNTAGGED, stored, Err(reason));
        }
    }
}

/// Marks a partial checksum in the vnet header, if the frame has one.
fn mark_partial_checksum(unit: &mut [u8]) {
    if let Some((header, frame)) = unit.split_first_chunk_mut::<VNET_LEN>()
        && let Some(partial) = partial_checksum(frame)
    {
        partial.write_to(header);
    }
}

/// The header of a frame after these tags were inserted.
fn shifted(path: &VlanPath, mut header: VnetHeader) -> VnetHeader {
    let tags = u16::try_from(path.as_bytes().len()).unwrap_or(0);
    header.csum_start = header.csum_start.saturating_add(tags);
    header
}

/// Pushes a copy of a frame in this form; `finish` completes a copy that fits one chunk. The
/// kernel does not check the length of a frame, so this does.
fn push_frame(
    socket: &mut XskSocket,
    longest: usize,
    frame: &[u8],
    form: &WireForm,
    finish: impl FnOnce(&mut [u8]),
) -> Result<(), DropReason> {
    let Some((addresses, rest)) = frame.split_first_chunk::<12>() else {
        return Err(DropReason::Runt);
    };
    let mut addresses = *addresses;
    if let Some(source) = form.source() {
        addresses[6..].copy_from_slice(&source.octets());
    }
    let tags = form.path().as_bytes();
    let len = frame.len() + tags.len();
    // One 802.1Q tag is not counted, as with a packet socket.
    let first = if tags.is_empty() { rest } else { tags };
    let tag = if first.starts_with(&[0x81, 0]) { TAG_LEN } else { 0 };
    if len > longest + tag {
        return Err(DropReason::TooLong);
    }
    let fill = |room: &mut [u8]| {
        let (head, behind) = room.split_at_mut(addresses.len() + tags.len());
        head[..12].copy_from_slice(&addresses);
        head[12..].copy_from_slice(tags);
        behind.copy_from_slice(rest);
        finish(room);
    };
    let pushed = match len <= socket.room() {
        true => socket.push(len, fill),
        false => socket.push_multi_buffer([&addresses, tags, rest]),
    };
    match pushed {
        true => Ok(()),
        false => Err(DropReason::Full),
    }
}
