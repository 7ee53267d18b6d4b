//! [`TimestampRing`]: every frame of one EtherType that an interface's stack receives, with its arrival
//! time.
//!
//! TPACKET_V3: the kernel fills blocks of many frames and returns each when it is full or a timer
//! expires, so that a receiver that verifies every frame is woken once in thousands of frames. The
//! latency of the timer does not matter here: the kernel takes the time of a frame when it copies the
//! frame into the ring.
//!
//! Layout from `packet_mmap` in the kernel's documentation and `linux/if_packet.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use super::mapping::Mapping;
use super::packet::set_option;
use super::{raw_socket, size};

/// Bytes of a block.
const BLOCK_LEN: usize = 1 << 20;

/// Blocks in the ring: 200 000 of the smallest frames, 20 000 of the usual large ones.
const BLOCKS: usize = 32;

/// Milliseconds after which the kernel returns a block that is not full.
const RETIRE_MS: u32 = 2;

/// A packet socket and its ring of blocks.
#[derive(Debug)]
pub struct TimestampRing {
    socket: Socket,
    memory: Mapping,
    /// The block that the kernel returns next.
    next: usize,
}

impl TimestampRing {
    /// Captures the frames of one EtherType on the interface of this index, in the calling thread's
    /// network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; no memory for the ring of 32 MB; no such interface.
    pub fn open(index: u32, ethertype: u16) -> io::Result<Self> {
        // Protocol 0: it receives nothing until it is bound, when the ring is ready.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        set_option(&socket, libc::PACKET_VERSION, &version)?;
        set_option(&socket, libc::PACKET_RX_RING, &request()?)?;
        let memory = Mapping::shared(BLOCK_LEN * BLOCKS, socket.as_fd())?;
        raw_socket::bind(socket.as_fd(), index, ethertype)?;
        Ok(Self { socket, memory, next: 0 })
    }

    /// Passes every frame of the next block, with its arrival time in nanoseconds of CLOCK_REALTIME, to
    /// `frame` and returns the block to the kernel; false if none waits.
    pub fn read_block(&mut self, mut frame: impl FnMut(&[u8], u64)) -> bool {
        let block = self.block(self.next);
        // SAFETY: STATUS_AT lies inside a block.
        let status = unsafe { block.add(STATUS_AT) };
        // SAFETY: the status is an aligned word of the block, and the kernel accesses it atomically.
        let status = unsafe { AtomicU32::from_ptr(status.cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: with status USER the kernel does not write the block until the store below.
        let block = unsafe { std::slice::from_raw_parts(block, BLOCK_LEN) };
        read_frames(block, &mut frame);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % BLOCKS;
        true
    }

    /// Frames that the kernel dropped because the ring was full, since the last call.
    ///
    /// # Errors
    /// The error of `getsockopt`.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut stats = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut len = size::<libc::tpacket_stats_v3>();
        let (fd, value) = (self.socket.as_raw_fd(), &raw mut stats);
        let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // SAFETY: `stats` is a whole tpacket_stats_v3 that outlives the call.
        let got = unsafe { libc::getsockopt(fd, level, name, value.cast(), &raw mut len) };
        super::checked(got)?;
        Ok(u64::from(stats.tp_drops))
    }

    fn block(&self, number: usize) -> *mut u8 {
        debug_assert!((number + 1) * BLOCK_LEN <= self.memory.len());
        // SAFETY: `next` is a number modulo BLOCKS, and the mapping holds BLOCKS blocks.
        unsafe { self.memory.start().add(number * BLOCK_LEN) }
    }
}

impl AsFd for TimestampRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Passes the frames of a block to `frame`.
fn read_frames(block: &[u8], frame: &mut impl FnMut(&[u8], u64)) {
    // SAFETY: tpacket_hdr_v1 has only integers.
    let header: libc::tpacket_hdr_v1 = unsafe { read(block, HEADER_AT) };
    let mut at = header.offset_to_first_pkt as usize;
    for _ in 0..header.num_pkts {
        // SAFETY: tpacket3_hdr has only integers.
        let packet: libc::tpacket3_hdr = unsafe { read(block, at) };
        let start = at + usize::from(packet.tp_mac);
        let arrived = u64::from(packet.tp_sec) * 1_000_000_000 + u64::from(packet.tp_nsec);
        frame(&block[start..start + packet.tp_snaplen as usize], arrived);
        at += packet.tp_next_offset as usize;
    }
}

/// Copies a header out of a block.
///
/// # Safety
/// Any bytes are a valid `T`, as for a struct of integers.
///
/// # Panics
/// If it is not inside the block, which the kernel ensures.
unsafe fn read<T: Copy>(block: &[u8], at: usize) -> T {
    let bytes = &block[at..at + size_of::<T>()];
    // SAFETY: `bytes` has the size of a T, and the caller ensures that any bytes are a valid T.
    unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) }
}

fn request() -> io::Result<libc::tpacket_req3> {
    let number = |count: usize| u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput);
    Ok(libc::tpacket_req3 {
        tp_block_size: number(BLOCK_LEN)?,
        tp_block_nr: number(BLOCKS)?,
        tp_frame_size: FRAME_SIZE,
        tp_frame_nr: number(BLOCK_LEN * BLOCKS)? / FRAME_SIZE,
        tp_retire_blk_tov: RETIRE_MS,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    })
}

/// The kernel only checks that it divides a block: V3 frames have variable size.
const FRAME_SIZE: u32 = 2048;

/// Offset of the header in a block, after version and offset.
const HEADER_AT: usize = std::mem::offset_of!(libc::tpacket_block_desc, hdr);

/// Offset of the status in a block.
const STATUS_AT: usize = HEADER_AT + std::mem::offset_of!(libc::tpacket_hdr_v1, block_status);
