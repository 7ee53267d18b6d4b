//! [`Capture`]: every frame of one EtherType that an interface's stack is given, with the time of
//! its arrival.
//!
//! TPACKET_V3: the kernel fills blocks of many frames and hands over each when it is full or a
//! timer runs out, so that a receiver that verifies every frame is woken once in thousands of them.
//! What makes it useless on the way of a frame does not matter to a witness: the time of a frame
//! is the kernel's, taken when the frame was copied into the ring, however late it is read.
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

/// Milliseconds after which a block is handed over that is not full.
const RETIRE_MS: u32 = 2;

/// A packet socket and its ring of blocks.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
    memory: Mapping,
    /// The block that the kernel hands over next.
    next: usize,
}

impl Capture {
    /// Listens to the frames of one EtherType on the interface of this index, in the calling
    /// thread's network namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; no memory for the ring, of 32 MB; no such interface.
    pub fn open(index: u32, ethertype: u16) -> io::Result<Self> {
        // Protocol 0: deaf until it is bound, which is when the ring is ready.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        set_option(&socket, libc::PACKET_VERSION, &version)?;
        set_option(&socket, libc::PACKET_RX_RING, &request()?)?;
        let memory = Mapping::shared(BLOCK_LEN * BLOCKS, socket.as_fd())?;
        raw_socket::bind(socket.as_fd(), index, ethertype)?;
        Ok(Self { socket, memory, next: 0 })
    }

    /// Shows every frame of the next block with the time of its arrival, in nanoseconds of
    /// CLOCK_REALTIME, and gives the block back; false if none waits.
    pub fn read_block(&mut self, mut frame: impl FnMut(&[u8], u64)) -> bool {
        let block = self.block(self.next);
        // SAFETY: the header of a block lies in it.
        let status = unsafe { block.add(STATUS_AT) };
        // SAFETY: the status is an aligned word of the block, shared with the kernel, which also
        // treats it as atomic.
        let status = unsafe { AtomicU32::from_ptr(status.cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: the block is ours, as its status says, until it is stored again below.
        let block = unsafe { std::slice::from_raw_parts(block, BLOCK_LEN) };
        show(block, &mut frame);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % BLOCKS;
        true
    }

    /// Frames that the ring had no room for since the last call: lost here, not on their way.
    ///
    /// # Errors
    /// Whatever `getsockopt` says.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut stats = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut len = size::<libc::tpacket_stats_v3>();
        let (fd, value) = (self.socket.as_raw_fd(), &raw mut stats);
        let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // SAFETY: the value outlives the call and has the length given.
        let got = unsafe { libc::getsockopt(fd, level, name, value.cast(), &raw mut len) };
        super::checked(got)?;
        Ok(u64::from(stats.tp_drops))
    }

    fn block(&self, number: usize) -> *mut u8 {
        debug_assert!((number + 1) * BLOCK_LEN <= self.memory.len());
        // SAFETY: blocks are numbered modulo BLOCKS, and the mapping holds so many.
        unsafe { self.memory.start().add(number * BLOCK_LEN) }
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Shows the frames of a block that is ours.
fn show(block: &[u8], frame: &mut impl FnMut(&[u8], u64)) {
    // SAFETY: it has only integers.
    let header: libc::tpacket_hdr_v1 = unsafe { read(block, HEADER_AT) };
    let mut at = header.offset_to_first_pkt as usize;
    for _ in 0..header.num_pkts {
        // SAFETY: as above.
        let packet: libc::tpacket3_hdr = unsafe { read(block, at) };
        let start = at + usize::from(packet.tp_mac);
        let arrived = u64::from(packet.tp_sec) * 1_000_000_000 + u64::from(packet.tp_nsec);
        frame(&block[start..start + packet.tp_snaplen as usize], arrived);
        at += packet.tp_next_offset as usize;
    }
}

/// Copies a header of the kernel's out of a block.
///
/// # Safety
/// `T` is a struct of integers, for which any bytes will do.
///
/// # Panics
/// If it does not lie in the block, which the kernel never says.
unsafe fn read<T: Copy>(block: &[u8], at: usize) -> T {
    let bytes = &block[at..at + size_of::<T>()];
    // SAFETY: so many bytes are there, and any bytes are a valid T.
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

/// Only has to divide a block: V3 takes as much as a frame needs.
const FRAME_SIZE: u32 = 2048;

/// Where in a block its own header lies, after version and offset.
const HEADER_AT: usize = std::mem::offset_of!(libc::tpacket_block_desc, hdr);

/// Where in a block its status lies.
const STATUS_AT: usize = HEADER_AT + std::mem::offset_of!(libc::tpacket_hdr_v1, block_status);
