//! [`RxRing`]: frames from the parent, in memory shared with the kernel.
//!
//! The ring is TPACKET_V2, because V3 returns whole blocks on a timer. A slot holds a frame of the
//! parent's MTU. Its vnet header lies right before the Ethernet header, so a slot can be written to a
//! TAP unchanged. Of a longer frame, which is a GSO packet, the slot has only the beginning: the
//! kernel queues the frame itself without a copy, and `recv(2)` reads it into memory that is still in
//! the cache. Slots of 64 KB would hold it too, but the sender's core would cycle through 34 MB: TCP
//! from the wire was a third slower, and 60-byte frames too (`umacvlan lab --mode bridge`).
//!
//! A slot that was received has a mark, by which a later process finds the place to go on
//! ([`PacketSocket::from_kept`](super::packet::PacketSocket::from_kept)): a number that grows by one with
//! each slot, in the padding of the header. The kernel sets the padding to zero when it fills the slot.
//!
//! Layout and status bits from `packet_mmap` in the kernel's documentation and
//! `linux/if_packet.h`; `PACKET_COPY_THRESH` from `packet(7)`.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use umacvlan_core::Tag;
use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::offload::VNET_LEN;

use super::mapping::Mapping;

/// How often a slot that is not filled though later ones are is looked at, and the time between two looks.
/// The kernel copies one frame into a slot.
const LOOKS: usize = 5;
const FILL_TIME: Duration = Duration::from_millis(1);

/// The place of the mark in a slot.
const MARK: usize = offset_of!(libc::tpacket2_hdr, tp_padding);

/// Slots in the ring.
pub const SLOTS: usize = 1024;

/// Bytes of the smallest slot: a frame of MTU 1500 fits.
const SLOT_MIN: usize = 2048;

/// Bytes of the largest slot: a jumbo frame of 9000 bytes fits, and the ring has at most 16 MB. Longer
/// frames are queued.
const SLOT_MAX: usize = 16 * 1024;

/// Upper limit of the bytes before the frame in a slot: the ring's header, the reserve, the vnet
/// header and padding.
const OVERHEAD: usize = 128;

/// Bytes of one block of kernel memory, unless a slot is larger.
const BLOCK_MIN: usize = 64 * 1024;

/// Bytes before a frame in which a VLAN tag is re-inserted.
pub const RESERVE: libc::c_int = 16;

/// Bytes of the ring's header, with which a slot begins. The frame and the reserve are behind it.
pub const SLOT_HEADER_LEN: usize = size_of::<libc::tpacket2_hdr>();

/// A frame in a slot, its vnet header included.
#[derive(Clone, Copy, Debug)]
pub struct RxFrame {
    /// The slot.
    pub slot: u16,
    /// Offset of the vnet header in the slot.
    pub at: usize,
    /// Bytes of the vnet header and the part of the frame in the slot.
    pub len: usize,
    /// The VLAN tag that the kernel removed from the frame.
    pub tag: Option<Tag>,
    /// How much of the frame is in the slot.
    pub extent: Extent,
}

/// How much of a frame lies in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The beginning; the rest is lost.
    Truncated,
    /// The beginning; the next `recv(2)` on the socket reads the whole frame.
    Queued,
    /// The whole frame.
    Complete,
}

/// The RX ring of one AF_PACKET socket.
#[derive(Debug)]
pub struct RxRing {
    memory: Mapping,
    /// Bytes of a slot, a power of two.
    slot_len: usize,
    /// The slot to look at next.
    next: usize,
    /// Slots before `next` that belong to the current turn.
    held: usize,
    /// The mark of the slot before `next`.
    mark: u32,
}

impl RxRing {
    /// Gives the socket a ring for frames of that MTU and maps it. The options for version, vnet header
    /// and reserve are set before.
    ///
    /// # Errors
    /// No kernel memory (2 MB for MTU 1500), or an option set in the wrong order.
    pub(super) fn new(socket: &impl AsFd, mtu: u32) -> io::Result<Self> {
        let slot_len = slot_len(mtu);
        let block_len = slot_len.max(BLOCK_MIN);
        let number = |count: usize| u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput);
        let request = libc::tpacket_req {
            tp_block_size: number(block_len)?,
            tp_block_nr: number(slot_len * SLOTS / block_len)?,
            tp_frame_size: number(slot_len)?,
            tp_frame_nr: number(SLOTS)?,
        };
        let fd = socket.as_fd().as_raw_fd();
        let option: *const libc::tpacket_req = &raw const request;
        let len = super::size::<libc::tpacket_req>();
        // SAFETY: `request` is a whole tpacket_req that outlives the call.
        let set = unsafe {
            libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, option.cast(), len)
        };
        super::checked(set)?;
        let memory = Mapping::shared(slot_len * SLOTS, socket.as_fd())?;
        Ok(Self { memory, slot_len, next: 0, held: 0, mark: 0 })
    }

    /// Maps the ring that the socket has from a former process, to go on behind the slot that this one
    /// received last. The slots that it had not released go back to the kernel; returns their number.
    ///
    /// # Errors
    /// `EINVAL` if the ring is for another MTU; `InvalidData` if it does not tell where to go on.
    pub(super) fn resume(socket: &impl AsFd, mtu: u32) -> io::Result<(Self, usize)> {
        let slot_len = slot_len(mtu);
        let memory = Mapping::shared(slot_len * SLOTS, socket.as_fd())?;
        let mut ring = Self { memory, slot_len, next: 0, held: 0, mark: 0 };
        // The kernel goes on meanwhile. In this order the mark of a slot that is filled is not that of the
        // frame before.
        let look = |slot| (ring.is_filled(slot), ring.mark_of(slot).load(Ordering::Relaxed));
        let (filled, marks): (Vec<bool>, Vec<u32>) = (0..SLOTS).map(look).unzip();
        (ring.next, ring.mark) = match newest(&marks) {
            Some(slot) => ((slot + 1) % SLOTS, marks[slot]),
            None => (ring.oldest(&filled).ok_or(io::ErrorKind::InvalidData)?, 0),
        };
        let held = |&slot: &usize| filled[slot] && marks[slot] != 0;
        let held: Vec<usize> = (0..SLOTS).filter(held).collect();
        for &slot in &held {
            ring.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        ring.skip_hole();
        Ok((ring, held.len()))
    }

    /// Goes on behind slots that the kernel has passed and not filled: it would fill them when it has gone
    /// around, and until then nothing would be received. An earlier release could leave one.
    ///
    /// Two processors that receive fill slots at the same time, so a slot may be filled a moment after the
    /// next one.
    fn skip_hole(&mut self) {
        for _ in 0..LOOKS {
            let ahead = |count: usize| (self.next + count) % SLOTS;
            let waits = (0..SLOTS).find(|&count| self.is_unread(ahead(count)));
            match waits {
                None | Some(0) => return,
                Some(_) => sleep(FILL_TIME),
            }
        }
        let waits = (0..SLOTS).find(|&count| self.is_unread((self.next + count) % SLOTS));
        self.next = (self.next + waits.unwrap_or(0)) % SLOTS;
    }

    fn is_unread(&self, slot: usize) -> bool {
        self.is_filled(slot) && self.mark_of(slot).load(Ordering::Relaxed) == 0
    }

    /// The first slot in a ring of which none has a mark; `None` if that cannot be told.
    fn oldest(&self, filled: &[bool]) -> Option<usize> {
        let before = |slot: usize| (slot + SLOTS - 1) % SLOTS;
        let first = |&slot: &usize| filled[slot] && !filled[before(slot)];
        let times: Vec<(u32, u32)> = self.each(|slot| {
            // SAFETY: a slot begins with a tpacket2_hdr, of which every value is valid.
            let header = unsafe { ptr::read(self.slot(slot).cast::<libc::tpacket2_hdr>()) };
            (header.tp_sec, header.tp_nsec)
        });
        if filled.iter().any(|&filled| !filled) {
            // None was received before.
            return Some((0..SLOTS).find(first).unwrap_or(0));
        }
        // A full ring: time goes back from the newest slot to the oldest one, and nowhere else.
        let steps_back: Vec<usize> =
            (0..SLOTS).filter(|&slot| times[slot] < times[before(slot)]).collect();
        match steps_back[..] {
            [] => Some(0),
            [oldest] => Some(oldest),
            _ => None,
        }
    }

    /// The beginning of the first frame that waits and of which a slot has the beginning only, without
    /// its vnet header.
    pub(super) fn first_queued(&self) -> Option<&[u8]> {
        let waiting = (0..SLOTS).map(|ahead| (self.next + ahead) % SLOTS);
        let mut waiting = waiting.take_while(|&slot| self.is_filled(slot));
        waiting.find_map(|slot| {
            // SAFETY: as in `receive`.
            let header = unsafe { ptr::read(self.slot(slot).cast::<libc::tpacket2_hdr>()) };
            let at = usize::from(header.tp_mac).clamp(SLOT_HEADER_LEN, self.slot_len);
            let len = (header.tp_snaplen as usize).min(self.slot_len - at);
            (header.tp_status & libc::TP_STATUS_COPY != 0).then(|| {
                // SAFETY: `at` is at most the length of a slot.
                let start = unsafe { self.slot(slot).add(at) };
                // SAFETY: the range is inside the slot, which the kernel does not write before it is released, and that needs `&mut self`.
                unsafe { std::slice::from_raw_parts(start, len) }
            })
        })
    }

    fn each<T>(&self, of: impl Fn(usize) -> T) -> Vec<T> {
        (0..SLOTS).map(of).collect()
    }

    /// The next frame, whose slot belongs to the turn until [`RxRing::release`]; `None` if none waits.
    #[inline]
    pub fn receive(&mut self) -> Option<RxFrame> {
        if !self.has_frame() {
            return None;
        }
        let slot = self.next;
        // SAFETY: a slot begins with a tpacket2_hdr, and status USER means that the kernel has written it.
        let header = unsafe { ptr::read(self.slot(slot).cast::<libc::tpacket2_hdr>()) };
        self.next = (slot + 1) % SLOTS;
        self.held += 1;
        self.mark = self.mark.wrapping_add(1).max(1);
        self.mark_of(slot).store(self.mark, Ordering::Relaxed);
        let at = usize::from(header.tp_mac).saturating_sub(VNET_LEN).max(SLOT_HEADER_LEN);
        let len = (VNET_LEN + header.tp_snaplen as usize).min(self.slot_len.saturating_sub(at));
        let extent = match header.tp_snaplen < header.tp_len {
            false => Extent::Complete,
            true if header.tp_status & libc::TP_STATUS_COPY != 0 => Extent::Queued,
            true => Extent::Truncated,
        };
        let tagged = header.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let tpid = match header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
            0 => 0x8100,
            _ => header.tp_vlan_tpid,
        };
        Some(RxFrame {
            slot: u16::try_from(slot).unwrap_or(0),
            at,
            len,
            tag: tagged.then_some(Tag { tpid, tci: header.tp_vlan_tci }),
            extent,
        })
    }

    /// True if a frame waits.
    #[inline]
    pub fn has_frame(&self) -> bool {
        self.held < SLOTS && self.is_filled(self.next)
    }

    /// The bytes `at..at + len` of a slot of this turn, behind the header of the ring.
    ///
    /// # Panics
    /// If the slot does not belong to the turn, or the range is not inside it or has a part of the
    /// header: who wrote that could give the slot back to the kernel.
    #[inline]
    pub fn bytes(&self, slot: u16, at: usize, len: usize) -> &[u8] {
        let start = self.checked_start(slot, at, len);
        // SAFETY: the range is inside a slot of the turn, which the kernel does not write before `release`, and that needs `&mut self`.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// As [`RxRing::bytes`], to be written.
    ///
    /// # Panics
    /// As [`RxRing::bytes`].
    #[inline]
    pub fn bytes_mut(&mut self, slot: u16, at: usize, len: usize) -> &mut [u8] {
        let start = self.checked_start(slot, at, len);
        // SAFETY: as in `bytes`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Ends the turn: its slots go back to the kernel.
    pub fn release(&mut self) {
        for back in (1..=self.held).rev() {
            let slot = (self.next + SLOTS - back) % SLOTS;
            self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.held = 0;
    }

    fn checked_start(&self, slot: u16, at: usize, len: usize) -> *mut u8 {
        let slot = usize::from(slot);
        let age = (self.next + SLOTS).wrapping_sub(slot + 1) % SLOTS;
        assert!(
            slot < SLOTS
                && age < self.held
                && at >= SLOT_HEADER_LEN
                && super::fits(at, len, self.slot_len),
            "a frame outside its slot"
        );
        // SAFETY: the assertion puts the offset inside the slot.
        unsafe { self.slot(slot).add(at) }
    }

    fn slot(&self, slot: usize) -> *mut u8 {
        debug_assert!((slot + 1) * self.slot_len <= self.memory.len());
        // SAFETY: callers pass a number below SLOTS, and the mapping holds SLOTS slots.
        unsafe { self.memory.start().add(slot * self.slot_len) }
    }

    #[inline]
    fn is_filled(&self, slot: usize) -> bool {
        self.status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn mark_of(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: the padding is inside the header with which a slot begins.
        let mark = unsafe { self.slot(slot).add(MARK) };
        // SAFETY: it is an aligned word, which the kernel writes only while the slot is its own.
        unsafe { AtomicU32::from_ptr(mark.cast()) }
    }

    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: the status is the first, aligned word of a slot, shared with the kernel, which also treats it as atomic.
        unsafe { AtomicU32::from_ptr(self.slot(slot).cast()) }
    }
}

/// Bytes of a slot for frames of that MTU.
fn slot_len(mtu: u32) -> usize {
    let room = mtu as usize + HEADER_LEN + OVERHEAD;
    room.next_power_of_two().clamp(SLOT_MIN, SLOT_MAX)
}

/// The slot with the newest mark; `None` if none has a mark. The marks of a ring are consecutive
/// numbers, but for those that were overwritten.
fn newest(marks: &[u32]) -> Option<usize> {
    let any = *marks.iter().find(|&&mark| mark != 0)?;
    let age = |mark: u32| mark.wrapping_sub(any).cast_signed();
    let marked = marks.iter().enumerate().filter(|&(_, &mark)| mark != 0);
    marked.max_by_key(|&(_, &mark)| age(mark)).map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mark_is_found_also_where_the_numbers_begin_again() {
        assert_eq!(newest(&[0; 4]), None);
        assert_eq!(newest(&[0, 7, 8, 0]), Some(2));
        assert_eq!(newest(&[9, 6, 7, 8]), Some(0));
        assert_eq!(newest(&[1, 2, u32::MAX - 1, u32::MAX]), Some(1));
        assert_eq!(newest(&[0, 5, 0, 0]), Some(1));
    }
}
