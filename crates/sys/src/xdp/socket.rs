//! [`XskSocket`]: the AF_XDP socket on one queue of a parent.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;

use umacvlan_core::offload::VNET_LEN;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

use super::setup::{
    Binding, HEADROOM, MAX_FRAGS, bind, chunk_for, is_multi_buffer, os_error, slots, start_of,
};
use super::umem_ownership::UmemOwnership;

/// Chunks for received frames, and slots in the fill ring.
pub const CHUNKS_RX: u16 = 2048;

/// Chunks for sent frames, and slots in the TX and completion rings, of a socket that sends.
const CHUNKS_TX: u16 = 2048;

/// Slots in the RX ring: half of the fill ring, so that the fill ring never runs empty first.
pub(super) const RX_RING: u32 = 1024;

/// Most frames of one call.
pub(super) const BATCH: usize = 64;

/// Frames that one `sendto(2)` sends in copy mode (`XDP_MAX_TX_SKB_BUDGET` of `linux/if_xdp.h`,
/// since Linux 6.17); 32 before.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const BUDGET: libc::c_int = 256;

/// Bytes of frames that the kernel may hold to send in copy mode.
const SEND_BYTES: libc::c_int = 16 << 20;

/// Flag of a descriptor: the frame continues in the next one (`linux/if_xdp.h`, since Linux 6.6).
const XDP_PKT_CONTD: u32 = 1;

/// Why the kernel does not send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The interface is down.
    Down,
    /// The driver is busy or the kernel is short of memory: the ring keeps the frames.
    Busy,
}

/// An AF_XDP socket with its UMEM.
///
/// # Threads
/// May move to another thread; belongs to one at a time.
pub struct XskSocket {
    // The rings keep the socket alive, and the socket the UMEM (reference counts of xsk-rs).
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    comp: CompQueue,
    umem: Umem,
    /// The first byte of the UMEM.
    memory: NonNull<u8>,
    chunk_len: usize,
    /// Most chunks of one frame.
    pieces: usize,
    ownership: UmemOwnership,
    /// The ring descriptor of each chunk.
    descs: Box<[FrameDesc]>,
    /// Buffer for descriptors that move to or from a ring at once.
    batch: Box<[FrameDesc]>,
    /// Filled chunks that are not in the TX ring yet.
    pushed: Vec<FrameDesc>,
    /// Slots in the TX ring.
    tx_slots: u32,
    binding: Binding,
}

// SAFETY: `memory` points into the UMEM that this value owns; nothing in it is tied to a thread.
unsafe impl Send for XskSocket {}

impl std::fmt::Debug for XskSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XskSocket").field("fd", &self.fd()).finish_non_exhaustive()
    }
}

/// Bytes of locked memory that the UMEM of a socket for frames of at most `longest` bytes takes.
///
/// # Errors
/// Frames are longer than [`longest_frame`](super::longest_frame).
pub fn umem_bytes(longest: usize, binding: Binding, sends: bool) -> io::Result<usize> {
    let chunks_tx = if sends { CHUNKS_TX } else { 1 };
    let chunks = usize::from(CHUNKS_RX) + usize::from(chunks_tx);
    Ok(chunks * chunk_for(longest, binding)? as usize)
}

impl XskSocket {
    /// Opens a socket on a queue of the interface of that name in the namespace of the calling
    /// thread, for frames of at most `longest` bytes; `sends` if it is to send too.
    ///
    /// # Errors
    /// The driver has no such queue or does not support the binding; the queue is taken; no memory, or
    /// `RLIMIT_MEMLOCK` is too low; no CAP_NET_RAW; frames are longer than
    /// [`longest_frame`](super::longest_frame), or longer than a chunk without multi-buffer support.
    pub fn open(
        interface: &str,
        queue: u32,
        binding: Binding,
        longest: usize,
        sends: bool,
    ) -> io::Result<Self> {
        let chunk_len = chunk_for(longest, binding)?;
        // A ring has at least one slot, so a socket that does not send has one chunk for it.
        let chunks_tx = if sends { CHUNKS_TX } else { 1 };
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(chunk_len).map_err(io::Error::other)?)
            .fill_queue_size(slots(CHUNKS_RX.into())?)
            .comp_queue_size(slots(chunks_tx.into())?)
            .build()
            .map_err(io::Error::other)?;
        let count = NonZeroU32::MIN.saturating_add(u32::from(CHUNKS_RX + chunks_tx - 1));
        let (umem, descs) = Umem::new(config, count, false).map_err(os_error)?;
        let (mut flags, mut pieces) = (BindFlags::XDP_USE_NEED_WAKEUP, 1);
        flags |= match binding {
            Binding::ZeroCopy => BindFlags::XDP_ZEROCOPY,
            Binding::Copy => BindFlags::XDP_COPY,
        };
        if is_multi_buffer(longest) {
            flags |= BindFlags::XDP_USE_SG;
            pieces = MAX_FRAGS;
        }
        let config = SocketConfig::builder()
            .rx_queue_size(slots(RX_RING)?)
            .tx_queue_size(slots(chunks_tx.into())?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags)
            .build();
        let interface: Interface =
            interface.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (tx, rx, rings) = bind(config, &umem, &interface, queue)?;
        let (fill, comp) = rings.ok_or_else(|| io::Error::other("the queue has no rings"))?;
        let memory = start_of(&umem, &descs)?;
        let mut socket = Self {
            rx,
            tx,
            fill,
            comp,
            umem,
            memory,
            chunk_len: chunk_len as usize,
            pieces,
            ownership: UmemOwnership::new(CHUNKS_RX, chunks_tx),
            descs: descs.into_boxed_slice(),
            batch: vec![FrameDesc::default(); usize::from(CHUNKS_RX)].into_boxed_slice(),
            pushed: Vec::with_capacity(usize::from(chunks_tx)),
            tx_slots: chunks_tx.into(),
            binding,
        };
        socket.widen();
        socket.release();
        Ok(socket)
    }

    /// Passes at most `most` waiting frames, or fragments of frames, to `on` and returns their number.
    /// `on` gets the chunk, the offset of the vnet header (ten zero bytes) in it, header and frame, and
    /// whether the frame continues in the next call. The chunks belong to the turn until
    /// [`XskSocket::release`]. An invalid descriptor is passed as empty bytes, without a header.
    pub fn receive(
        &mut self,
        most: usize,
        mut on: impl FnMut(u16, usize, &mut [u8], bool),
    ) -> usize {
        let most = most.min(BATCH);
        // SAFETY: the call overwrites the descriptors with ones of this UMEM.
        let count = unsafe { self.rx.consume(&mut self.batch[..most]) };
        for number in 0..count {
            let desc = self.batch[number];
            let more = desc.has_more_frames();
            let (chunk, start) = (desc.addr() / self.chunk_len, desc.addr() % self.chunk_len);
            let len = desc.lengths().data();
            let whole = start >= VNET_LEN && start + len <= self.chunk_len;
            if !self.ownership.receive(chunk) || !whole {
                on(0, 0, &mut [], more);
                continue;
            }
            let at = start - VNET_LEN;
            let unit = self.held_mut(chunk, at, VNET_LEN + len);
            unit[..VNET_LEN].fill(0);
            // Chunks are numbered by u16.
            on(u16::try_from(chunk).unwrap_or(0), at, unit, more);
        }
        count
    }

    /// True when a frame waits.
    pub fn has_frame(&mut self) -> bool {
        self.rx.nb_avail(1) > 0
    }

    /// The bytes `at..at + len` of a chunk of this turn.
    ///
    /// # Panics
    /// If the chunk does not belong to the turn, or the range is not inside it.
    #[inline]
    pub fn bytes(&self, chunk: u16, at: usize, len: usize) -> &[u8] {
        let start = self.held(usize::from(chunk), at, len);
        // SAFETY: the range is inside a chunk of the turn, which the kernel does not write before `release`, and that needs `&mut self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Ends the turn: its chunks go back to the fill ring, and the chunks of sent frames are free.
    pub fn release(&mut self) {
        self.reap();
        let Self { ownership, descs, batch, fill, .. } = self;
        let mut count = 0;
        ownership.refill(|chunk| {
            batch[count] = descs[chunk];
            count += 1;
        });
        // SAFETY: `ownership` gives these chunks to the kernel, and no slice of them is alive.
        let filled = unsafe { fill.produce(&batch[..count]) };
        // The fill ring has a slot for every chunk that can be in it.
        debug_assert_eq!(filled, count, "the fill ring has lost a slot");
        debug_assert!(self.ownership.is_consistent(), "a chunk with two owners or none");
        if self.fill.needs_wakeup() {
            self.wake_rx();
        }
    }

    /// True if `chunks` more chunks can be pushed.
    pub fn has_room(&mut self, chunks: usize) -> bool {
        if self.ownership.free() < chunks {
            self.reap();
        }
        self.ownership.free() >= chunks
    }

    /// Bytes of the longest frame that fits one chunk.
    pub fn room(&self) -> usize {
        self.chunk_len - HEADROOM
    }

    /// Queues one frame of `len` bytes, written by `fill`, for the next [`XskSocket::kick`]. False, and
    /// nothing is queued, if it is too long or no chunk is free.
    pub fn push(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        len <= self.room() && self.has_room(1) && self.fill_one(len, 0, fill)
    }

    /// Queues a frame as [`XskSocket::push`] does, in as many chunks as it needs. The frame is the
    /// concatenation of `parts`.
    pub fn push_multi_buffer<const PARTS: usize>(&mut self, mut parts: [&[u8]; PARTS]) -> bool {
        let room = self.room();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let count = len.div_ceil(room);
        if count > self.pieces || !self.has_room(count) {
            return false;
        }
        (0..count).all(|number| {
            let options = if number + 1 < count { XDP_PKT_CONTD } else { 0 };
            let piece = room.min(len - number * room);
            self.fill_one(piece, options, |mut rest| {
                for part in &mut parts {
                    let (now, later) = part.split_at(part.len().min(rest.len()));
                    let (here, behind) = std::mem::take(&mut rest).split_at_mut(now.len());
                    here.copy_from_slice(now);
                    (*part, rest) = (later, behind);
                }
            })
        })
    }

    /// Fills a free chunk and queues it. False if none is free.
    fn fill_one(&mut self, len: usize, options: u32, fill: impl FnOnce(&mut [u8])) -> bool {
        let Some(chunk) = self.ownership.acquire() else {
            return false;
        };
        let mut desc = self.descs[chunk];
        desc.set_options(options);
        // SAFETY: `ownership` has just given out this chunk, and the ring gets it at the next kick only.
        let mut data = unsafe { self.umem.data_mut(&mut desc) };
        data.cursor().set_pos(len);
        fill(data.contents_mut());
        self.pushed.push(desc);
        true
    }

    /// Chunks that were pushed and not completed at the last look at the completion ring.
    pub fn sending(&self) -> usize {
        self.ownership.sending()
    }

    /// Chunks pushed since the last kick.
    pub fn pushed(&self) -> usize {
        self.pushed.len()
    }

    /// Chunks that were pushed and that the kernel has not taken from the TX ring.
    pub fn waiting(&mut self) -> usize {
        let untaken = self.tx_slots - self.tx.nb_free_exact();
        self.pushed.len() + untaken as usize
    }

    /// Makes the kernel send the pushed frames. For a frame that the driver dropped, `lost` gets the
    /// position of its last chunk among those pushed since the last kick, if it is one of them.
    ///
    /// # Errors
    /// The kernel does not send now; the frames stay in the ring for a later kick.
    pub fn kick(&mut self, mut lost: impl FnMut(usize)) -> Result<(), NotSent> {
        let before = self.waiting() - self.pushed.len();
        // SAFETY: `ownership` gives these chunks to the kernel to send from, and no slice of them is alive.
        let given = unsafe { self.tx.produce(&self.pushed) };
        // The TX ring has a slot for every chunk that can be in it.
        debug_assert_eq!(given, self.pushed.len(), "the TX ring has lost a slot");
        let all = before + self.pushed.len();
        self.pushed.clear();
        let mut waiting = all;
        while waiting > 0 && self.tx.needs_wakeup() {
            let sent = self.wake_tx();
            if self.binding == Binding::ZeroCopy && sent.is_ok() {
                // The driver sends them asynchronously.
                break;
            }
            let left = self.waiting();
            let error = sent.err().and_then(|error| error.raw_os_error());
            if let (Some(libc::EBUSY), Some(place)) = (error, (all - left).checked_sub(before + 1))
            {
                lost(place);
            }
            match error {
                None | Some(libc::EBUSY | libc::EAGAIN | libc::EINTR) if left < waiting => {}
                Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => return Err(NotSent::Down),
                _ => {
                    self.reap();
                    return if left == 0 { Ok(()) } else { Err(NotSent::Busy) };
                }
            }
            waiting = left;
        }
        self.reap();
        Ok(())
    }

    /// Frames that the kernel dropped because the rings were full, since the socket was opened.
    ///
    /// # Errors
    /// The error of `getsockopt`.
    pub fn drops(&self) -> io::Result<u64> {
        let stats = self.rx.fd().xdp_statistics()?;
        Ok(stats.rx_dropped() + stats.rx_ring_full())
    }

    /// Frees the chunks of sent frames.
    fn reap(&mut self) {
        while self.ownership.sending() > 0 {
            // SAFETY: the call overwrites the descriptors with ones of this UMEM.
            let count = unsafe { self.comp.consume(&mut self.batch) };
            for desc in &self.batch[..count] {
                self.ownership.complete(desc.addr() / self.chunk_len);
            }
            if count < self.batch.len() {
                return;
            }
        }
    }

    fn wake_tx(&self) -> io::Result<()> {
        // SAFETY: the message is empty, so the kernel reads no memory.
        let sent = unsafe {
            libc::sendto(self.fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Wakes a driver that had run out of chunks. The call fails only if the interface is down, and then
    /// there is nothing to receive.
    fn wake_rx(&self) {
        // SAFETY: the buffer is empty, so the kernel writes no memory.
        unsafe {
            libc::recvfrom(
                self.fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Raises the limits of one send call. A kernel without an option keeps its limit.
    fn widen(&self) {
        let options = [
            (libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, BUDGET),
            (libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BYTES),
            (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BYTES),
        ];
        for (level, name, value) in options {
            let (value, len): (*const libc::c_int, _) =
                (&raw const value, crate::size::<libc::c_int>());
            // SAFETY: `value` is a whole int that outlives the call.
            unsafe { libc::setsockopt(self.fd(), level, name, value.cast(), len) };
        }
    }

    fn held(&self, chunk: usize, at: usize, len: usize) -> *mut u8 {
        assert!(
            self.ownership.is_held(chunk) && crate::fits(at, len, self.chunk_len),
            "a frame outside its chunk"
        );
        // SAFETY: `ownership` has only chunks of the UMEM, and the range is inside this one.
        unsafe { self.memory.as_ptr().add(chunk * self.chunk_len + at) }
    }

    fn held_mut(&mut self, chunk: usize, at: usize, len: usize) -> &mut [u8] {
        let start = self.held(chunk, at, len);
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as this value owns the rings.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }
    }
}
