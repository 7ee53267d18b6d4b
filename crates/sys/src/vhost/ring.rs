//! [`Ring`]: the device side of one split virtqueue (virtio 1.3, section 2.7).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::vhost_user::{RING_MAX, RingAddresses};

use super::call::{Call, CallEvent};
use super::chain::{CHAIN_MAX, Chain, DESCRIPTOR_LEN, Direction, single};
use super::memory::GuestMemory;
use super::place::Place;
use super::ring_error::RingError;

/// Bytes of the longest header: that of virtio 1.0, with the number of buffers at its end.
const HEADER_MAX: usize = 12;

/// Buffers of the program that one frame may take: 64 KB in the smallest usual ones, four times.
const SEGMENTS_MAX: usize = 1024;

/// The driver does not want to be told of used entries.
const NO_INTERRUPT: u16 = 1;
/// The device does not want to be told of available entries.
const NO_NOTIFY: u16 = 1;

/// What a ring is made of.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Its entries, a power of two up to [`RING_MAX`].
    pub size: u16,
    /// Its places in the program.
    pub addresses: RingAddresses,
    /// The next available entry, as the program says. A ring that was served before goes on behind its
    /// last used entry, whatever this says.
    pub next: u16,
    /// The eventfd by which the driver is told of used entries; `None` if it does not want to be.
    pub call: Option<Arc<CallEvent>>,
    /// Bytes of the header before each frame: 12, or 10 without the number of buffers.
    pub header_len: usize,
    /// A frame may take several entries of the driver (`MRG_RXBUF`).
    pub mergeable: bool,
    /// Notifications are asked for by the index of an entry (`EVENT_IDX`).
    pub event_idx: bool,
    /// Chains may be in tables of their own (`INDIRECT_DESC`).
    pub indirect: bool,
}

/// What [`Ring::read`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrame {
    /// Nothing.
    None,
    /// A frame.
    Frame {
        /// Its bytes, with its vnet header.
        len: usize,
        /// The descriptors that it was in, of which the program may make any number.
        descriptors: usize,
    },
}

/// What [`Ring::write`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFrame {
    /// Nothing: the driver has not enough buffers.
    Full,
    /// Nothing: the buffers of an entry are too small for the frame.
    TooLong,
    /// Written.
    Written,
}

/// The device side of one ring. Frames are handed over by [`Ring::publish`].
#[derive(Debug)]
pub struct Ring {
    /// In this are the next three.
    memory: GuestMemory,
    descriptors: Place,
    available: Place,
    used: Place,
    config: RingConfig,
    /// The next available entry, and the one up to which the driver had made them available when that was
    /// looked at: it is looked at again when all of these are used.
    next: u16,
    known: u16,
    /// The next used entry, and the one up to which the driver has seen them.
    used_next: u16,
    published: u16,
    /// The buffers of the frame that is being written; kept for its memory.
    segments: Vec<Place>,
    /// Tells the driver of used entries.
    call: Option<Call>,
}

// SAFETY: the places are in memory that the ring keeps, and are not tied to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// The ring at these places of the memory.
    ///
    /// # Errors
    /// `InvalidInput` if it is not in the memory as a whole, or not aligned as virtio demands, or the
    /// size or the header is not valid.
    pub fn new(memory: &GuestMemory, config: RingConfig) -> io::Result<Self> {
        let entries = usize::from(config.size);
        let RingAddresses { descriptors, used, available } = config.addresses;
        let place = |address: u64, len: usize, unit: usize| {
            memory.at_user(address, len).filter(|place| place.is_aligned(unit))
        };
        let sized = config.size.is_power_of_two() && config.size <= RING_MAX;
        let header = matches!(config.header_len, VNET_LEN | HEADER_MAX);
        // Behind the entries of each is the index of an event.
        let places = (
            place(descriptors, entries * DESCRIPTOR_LEN, 16),
            place(available, 4 + 2 * entries + 2, 2),
            place(used, 4 + 8 * entries + 2, 4),
        );
        let ((Some(descriptors), Some(available), Some(used)), true) = (places, sized && header)
        else {
            let what = "a ring is not in the regions of memory, or not aligned";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        let mut ring = Self {
            memory: memory.clone(),
            descriptors,
            available,
            used,
            next: config.next,
            known: config.next,
            used_next: 0,
            published: 0,
            segments: Vec::with_capacity(SEGMENTS_MAX),
            call: config.call.clone().map(Call::new),
            config,
        };
        ring.used_next = ring.used.load_u16(2, Ordering::Relaxed);
        ring.published = ring.used_next;
        ring.go_on_behind_used();
        Ok(ring)
    }

    /// Sets the next available entry to the one behind the last used one, if the driver can have got that
    /// far.
    ///
    /// Entries are used in the order in which they were made available, so both have the same number
    /// between two turns. A program whose device has ended without a last message does not know it: QEMU
    /// takes the used index in its place, and DPDK's virtio-user says 0, for rings that it does not empty.
    fn go_on_behind_used(&mut self) {
        let available = self.available.load_u16(2, Ordering::Acquire);
        if available.wrapping_sub(self.used_next) <= self.config.size {
            (self.next, self.known) = (self.used_next, self.used_next);
        }
    }

    /// The next available entry.
    pub const fn next(&self) -> u16 {
        self.next
    }

    /// The memory in which the ring is.
    pub const fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The entries that are available.
    ///
    /// # Errors
    /// There are more than the ring has.
    #[inline]
    pub fn available(&self) -> Result<u16, RingError> {
        let index = self.available.load_u16(2, Ordering::Acquire);
        let count = index.wrapping_sub(self.next);
        if count > self.config.size { Err(RingError::Available(count)) } else { Ok(count) }
    }

    /// Copies the next frame that the driver sends into `unit`, with a vnet header of
    /// [`VNET_LEN`] bytes. One that is shorter than its header has no more bytes than that.
    ///
    /// # Errors
    /// The ring breaks its rules, or the frame does not fit.
    #[inline]
    pub fn read(&mut self, unit: &mut [u8]) -> Result<ReadFrame, RingError> {
        if self.ready()? == 0 {
            return Ok(ReadFrame::None);
        }
        let head = self.head(self.next);
        let header_len = self.config.header_len;
        // Most frames are in one buffer with their header.
        let only = single(&self.memory, self.descriptors, head, Direction::FromProgram);
        if let Some(only) = only.filter(|only| only.len() >= header_len) {
            let frame = only.skip(header_len);
            let len = VNET_LEN + frame.len();
            let room = unit.get_mut(..len).ok_or(RingError::TooLong)?;
            let (header, rest) = room.split_at_mut(VNET_LEN);
            header.copy_from_slice(&only.to_array::<VNET_LEN>());
            frame.copy_to(rest);
            self.next = self.next.wrapping_add(1);
            self.put_used(head, 0);
            return Ok(ReadFrame::Frame { len, descriptors: 1 });
        }
        self.read_parts(head, unit)
    }

    /// As [`Ring::read`], from several buffers.
    fn read_parts(&mut self, head: u16, unit: &mut [u8]) -> Result<ReadFrame, RingError> {
        let header_len = self.config.header_len;
        let mut chain = self.chain(head, Direction::FromProgram, CHAIN_MAX);
        let mut header = [0; HEADER_MAX];
        // Bytes of header and frame so far.
        let mut len = 0;
        while let Some(mut part) = chain.next()? {
            if len < header_len {
                let count = part.len().min(header_len - len);
                part.copy_to(&mut header[len..len + count]);
                (part, len) = (part.skip(count), len + count);
            }
            if part.len() > 0 {
                let at = VNET_LEN + len - header_len;
                let room = unit.get_mut(at..at.saturating_add(part.len()));
                part.copy_to(room.ok_or(RingError::TooLong)?);
                len += part.len();
            }
        }
        let descriptors = usize::from(CHAIN_MAX - chain.left());
        unit.get_mut(..VNET_LEN).ok_or(RingError::TooLong)?.copy_from_slice(&header[..VNET_LEN]);
        self.next = self.next.wrapping_add(1);
        self.put_used(head, 0);
        Ok(ReadFrame::Frame { len: VNET_LEN + len.saturating_sub(header_len), descriptors })
    }

    /// Copies a frame with its vnet header into buffers of the driver, if it has enough of them.
    ///
    /// # Errors
    /// The ring breaks its rules. Nothing of the frame is handed over then.
    #[inline]
    pub fn write(&mut self, unit: &[u8]) -> Result<WriteFrame, RingError> {
        let Some((vnet, frame)) = unit.split_at_checked(VNET_LEN) else {
            return Ok(WriteFrame::TooLong);
        };
        let header_len = self.config.header_len;
        let need = header_len + frame.len();
        if self.ready()? == 0 {
            return Ok(WriteFrame::Full);
        }
        let head = self.head(self.next);
        // Most buffers have room for a frame.
        let only = single(&self.memory, self.descriptors, head, Direction::ToProgram);
        if let Some(only) = only.filter(|only| only.len() >= need) {
            let mut header = [0; HEADER_MAX];
            header[..VNET_LEN].copy_from_slice(vnet);
            header[VNET_LEN] = 1;
            match header_len {
                HEADER_MAX => only.copy_from(&header),
                _ => only.copy_from(vnet),
            }
            only.skip(header_len).copy_from(frame);
            self.next = self.next.wrapping_add(1);
            self.put_used(head, u32::try_from(need).unwrap_or(u32::MAX));
            return Ok(WriteFrame::Written);
        }
        self.write_parts(vnet, frame, need)
    }

    /// As [`Ring::write`], into several buffers.
    fn write_parts(
        &mut self,
        vnet: &[u8],
        frame: &[u8],
        need: usize,
    ) -> Result<WriteFrame, RingError> {
        let (next, used_next) = (self.next, self.used_next);
        let mut segments = std::mem::take(&mut self.segments);
        let found = self.take_buffers(need, &mut segments);
        self.segments = segments;
        if found != Ok(WriteFrame::Written) {
            // The entries are as they were: what was noted of them is not published.
            (self.next, self.used_next) = (next, used_next);
            return found;
        }
        let mut header = [0; HEADER_MAX];
        header[..VNET_LEN].copy_from_slice(vnet);
        let buffers = self.next.wrapping_sub(next);
        header[VNET_LEN..].copy_from_slice(&buffers.to_le_bytes());
        let mut parts = [&header[..self.config.header_len], frame];
        for &(mut segment) in &self.segments {
            for part in &mut parts {
                let (now, rest) = part.split_at(part.len().min(segment.len()));
                segment.copy_from(now);
                (segment, *part) = (segment.skip(now.len()), rest);
            }
        }
        Ok(WriteFrame::Written)
    }

    /// Takes the entries for so many bytes, and notes their buffers.
    fn take_buffers(
        &mut self,
        need: usize,
        segments: &mut Vec<Place>,
    ) -> Result<WriteFrame, RingError> {
        segments.clear();
        let mut available = self.available()?;
        self.known = self.next.wrapping_add(available);
        let (mut sum, mut descriptors) = (0, CHAIN_MAX);
        while sum < need {
            let Some(left) = available.checked_sub(1) else {
                return Ok(WriteFrame::Full);
            };
            available = left;
            let head = self.head(self.next);
            let mut chain = self.chain(head, Direction::ToProgram, descriptors);
            let before = sum;
            while sum < need
                && let Some(segment) = chain.next()?
            {
                if segments.len() == SEGMENTS_MAX {
                    return Err(RingError::TooLong);
                }
                let segment = segment.first(need - sum);
                segments.push(segment);
                sum += segment.len();
            }
            descriptors = chain.left();
            if sum == before {
                return Err(RingError::Empty);
            }
            self.next = self.next.wrapping_add(1);
            self.put_used(head, u32::try_from(sum - before).unwrap_or(u32::MAX));
            if sum < need && !self.config.mergeable {
                return Ok(WriteFrame::TooLong);
            }
        }
        Ok(WriteFrame::Written)
    }

    /// Hands over what was read and written to the driver, and tells it if it wants to be told.
    #[inline]
    pub fn publish(&mut self) {
        let (old, new) = (self.published, self.used_next);
        if old == new {
            return;
        }
        self.published = new;
        self.used.store_u16(2, new, Ordering::Release);
        let Some(call) = &mut self.call else {
            return;
        };
        // The index is there before the wish of the driver is read; the driver does it the other way.
        fence(Ordering::SeqCst);
        let wanted = match self.config.event_idx {
            true => {
                let at = event_of_driver(self.config.size);
                let event = self.available.load_u16(at, Ordering::Relaxed);
                new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
            }
            false => self.available.load_u16(0, Ordering::Relaxed) & NO_INTERRUPT == 0,
        };
        if wanted {
            call.signal();
        }
    }

    /// Asks the driver not to tell of available entries, because they are looked for.
    pub fn suppress_kicks(&self) {
        if !self.config.event_idx {
            self.used.store_u16(0, NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Asks the driver to tell of the next available entry. True if one has come meanwhile.
    ///
    /// # Errors
    /// As [`Ring::available`].
    pub fn request_kicks(&self) -> Result<bool, RingError> {
        match self.config.event_idx {
            true => self.used.store_u16(self.event_of_device(), self.next, Ordering::Relaxed),
            false => self.used.store_u16(0, 0, Ordering::Relaxed),
        }
        fence(Ordering::SeqCst);
        Ok(self.available()? > 0)
    }

    /// The entries that are known to be available; those that the driver has now, if there are none.
    ///
    /// # Errors
    /// As [`Ring::available`].
    #[inline]
    fn ready(&mut self) -> Result<u16, RingError> {
        let known = self.known.wrapping_sub(self.next);
        if known > 0 {
            return Ok(known);
        }
        let count = self.available()?;
        self.known = self.next.wrapping_add(count);
        Ok(count)
    }

    /// The first descriptor of an available entry.
    #[inline]
    fn head(&self, entry: u16) -> u16 {
        let at = 4 + 2 * usize::from(entry & (self.config.size - 1));
        self.available.load_u16(at, Ordering::Relaxed)
    }

    /// Notes that the entry which begins with this descriptor is used, with bytes written.
    #[inline]
    fn put_used(&mut self, head: u16, bytes: u32) {
        let at = 4 + 8 * usize::from(self.used_next & (self.config.size - 1));
        self.used.store_u32(at, u32::from(head));
        self.used.store_u32(at + 4, bytes);
        self.used_next = self.used_next.wrapping_add(1);
    }

    /// Where the used entries name the one behind which the device wants to be told.
    const fn event_of_device(&self) -> usize {
        4 + 8 * self.config.size as usize
    }

    /// The chain that begins with this descriptor, of at most `left` of them.
    #[inline]
    fn chain(&self, head: u16, direction: Direction, left: u16) -> Chain<'_> {
        let rules = (left, self.config.indirect);
        Chain::new(&self.memory, self.descriptors, head, direction, rules)
    }
}

/// Where the entries that are available name the one behind which the driver wants to be told.
const fn event_of_driver(size: u16) -> usize {
    4 + 2 * size as usize
}
