//! [`RxRing`]: frames from the parent, in memory shared with the kernel.
//!
//! TPACKET_V2, because V3 hands over whole blocks on a timer. A slot holds a GSO frame of 64 KB;
//! its vnet header lies right before the Ethernet header, so a slot can be written to a TAP as it
//! is. Layout and status bits from `packet_mmap` in the kernel's documentation and
//! `linux/if_packet.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use umacvlan_core::offload::VNET_LEN;

use super::mapping::Mapping;

/// Bytes of a slot: 17 pages, for the largest GSO frame, its headers and the ring's own.
const SLOT_LEN: usize = 17 * 4096;

/// Slots in one piece of kernel memory: 255 pages, just below a power of two, so little is wasted.
const BLOCK_SLOTS: usize = 15;

/// Pieces of memory in the ring.
const BLOCKS: usize = 34;

/// Slots in the ring.
pub const SLOTS: usize = BLOCK_SLOTS * BLOCKS;

/// Room before a frame in which a VLAN tag is put back.
pub const RESERVE: libc::c_int = 16;

/// A frame in a slot, its vnet header included.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The slot.
    pub slot: u16,
    /// Where in the slot the vnet header begins.
    pub at: usize,
    /// Bytes of the vnet header and what there is of the frame.
    pub len: usize,
    /// The tag that the kernel took out of the frame: TPID and TCI.
    pub tag: Option<(u16, u16)>,
    /// True when the frame was longer than the slot and its end is lost.
    pub truncated: bool,
}

/// The RX ring of one AF_PACKET socket.
#[derive(Debug)]
pub struct RxRing {
    memory: Mapping,
    /// The slot that the kernel fills next, as far as we have looked.
    next: usize,
    /// Slots before `next` that belong to the current turn.
    held: usize,
}

impl RxRing {
    /// Gives the socket a ring and maps it. Version, vnet header and reserve must be set before.
    ///
    /// # Errors
    /// No kernel memory (about 34 MB), or an option set in the wrong order.
    pub fn new(socket: &impl AsFd) -> io::Result<Self> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the largest is below 2 MiB"
        )]
        let request = libc::tpacket_req {
            tp_block_size: (SLOT_LEN * BLOCK_SLOTS) as u32,
            tp_block_nr: BLOCKS as u32,
            tp_frame_size: SLOT_LEN as u32,
            tp_frame_nr: SLOTS as u32,
        };
        let fd = socket.as_fd().as_raw_fd();
        let option: *const libc::tpacket_req = &raw const request;
        let len = super::size::<libc::tpacket_req>();
        // SAFETY: the option outlives the call and has the length given.
        let set = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_RX_RING,
                option.cast(),
                len,
            )
        };
        super::checked(set)?;
        let memory = Mapping::shared(SLOT_LEN * SLOTS, socket.as_fd())?;
        Ok(Self {
            memory,
            next: 0,
            held: 0,
        })
    }

    /// The next frame, which stays ours until [`RxRing::release`]; `None` when none waits.
    #[inline]
    pub fn receive(&mut self) -> Option<Received> {
        if self.held == SLOTS
            || self.status(self.next).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0
        {
            return None;
        }
        let slot = self.next;
        // SAFETY: a slot begins with a tpacket2_hdr, and this one is ours: its status says USER.
        let header = unsafe { ptr::read(self.slot(slot).cast::<libc::tpacket2_hdr>()) };
        self.next = (slot + 1) % SLOTS;
        self.held += 1;
        let at = usize::from(header.tp_mac).saturating_sub(VNET_LEN);
        let len = (VNET_LEN + header.tp_snaplen as usize).min(SLOT_LEN.saturating_sub(at));
        let tagged = header.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let tpid = match header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
            0 => 0x8100,
            _ => header.tp_vlan_tpid,
        };
        Some(Received {
            slot: u16::try_from(slot).unwrap_or(0),
            at,
            len,
            tag: tagged.then_some((tpid, header.tp_vlan_tci)),
            truncated: header.tp_snaplen < header.tp_len,
        })
    }

    /// True when a frame waits.
    #[inline]
    pub fn has_frame(&self) -> bool {
        self.held < SLOTS
            && self.status(self.next).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// The bytes `at..at + len` of a slot of this turn.
    ///
    /// # Panics
    /// If the slot is not ours, or the range leaves it: the caller's bookkeeping is broken.
    #[inline]
    pub fn bytes(&self, slot: u16, at: usize, len: usize) -> &[u8] {
        let start = self.checked_start(slot, at, len);
        // SAFETY: the range is inside a slot that is ours until `release`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// As [`RxRing::bytes`], to be written.
    ///
    /// # Panics
    /// As [`RxRing::bytes`].
    pub fn bytes_mut(&mut self, slot: u16, at: usize, len: usize) -> &mut [u8] {
        let start = self.checked_start(slot, at, len);
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Ends the turn: the kernel may fill our slots again.
    pub fn release(&mut self) {
        for back in (1..=self.held).rev() {
            let slot = (self.next + SLOTS - back) % SLOTS;
            self.status(slot)
                .store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.held = 0;
    }

    fn checked_start(&self, slot: u16, at: usize, len: usize) -> *mut u8 {
        let slot = usize::from(slot);
        let age = (self.next + SLOTS - slot - 1) % SLOTS;
        assert!(
            slot < SLOTS && age < self.held && at + len <= SLOT_LEN,
            "a frame outside its slot"
        );
        // SAFETY: the offset was checked to lie in the slot.
        unsafe { self.slot(slot).add(at) }
    }

    fn slot(&self, slot: usize) -> *mut u8 {
        debug_assert!((slot + 1) * SLOT_LEN <= self.memory.len());
        // SAFETY: slots are numbered modulo SLOTS, and the mapping holds so many.
        unsafe { self.memory.start().add(slot * SLOT_LEN) }
    }

    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: the status is the first, aligned word of a slot, shared with the kernel, which also treats it as atomic.
        unsafe { AtomicU32::from_ptr(self.slot(slot).cast()) }
    }
}
