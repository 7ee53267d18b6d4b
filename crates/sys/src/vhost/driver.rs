//! [`Driver`]: a program with memory and rings of its own, as virtio-user is one.
//!
//! It is the other side of a [`Ring`](super::Ring), for measurements: what a guest or DPDK would do.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use umacvlan_core::vhost_user::{RINGS, Region, RingAddresses};

use super::memory::GuestMemory;
use super::place::Place;
use super::ring::RingConfig;

/// Entries of a ring.
pub const ENTRIES: u16 = 256;

/// Bytes of a buffer; each holds one frame with its header.
const BUFFER: usize = 2048;
/// Bytes of the header before a frame.
const HEADER_LEN: usize = 12;
/// The longest frame.
pub const FRAME_MAX: usize = BUFFER - HEADER_LEN;

/// The places of a ring, from its first byte on.
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x5000;
const RING: u64 = 0x8000;
/// The first buffer.
const BUFFERS: u64 = RINGS as u64 * RING;
/// Bytes of the memory.
const MEMORY: u64 = BUFFERS + RINGS as u64 * ENTRIES as u64 * BUFFER as u64;
/// The first address of the memory, in descriptors and elsewhere.
const BASE: u64 = 0x1000_0000;

/// The device writes to the buffer.
const WRITE: u16 = 2;

/// A program that sends and receives by two rings in its memory.
#[derive(Debug)]
pub struct Driver {
    file: OwnedFd,
    /// In this are all places.
    _memory: GuestMemory,
    received: DriverRing,
    sent: DriverRing,
}

/// The driver's side of a ring, each of whose descriptors has a buffer of its own.
#[derive(Debug)]
struct DriverRing {
    table: Place,
    available: Place,
    used: Place,
    buffers: Place,
    /// The next available entry, and the next used one.
    next: u16,
    seen: u16,
}

impl Driver {
    /// A program with empty rings, of which that for received frames has all its buffers available.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a string that ends with a zero.
        let fd = unsafe { libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC) };
        let fd = crate::checked(fd)?;
        // SAFETY: memfd_create has just made this descriptor, and nothing else owns it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        file.set_len(MEMORY)?;
        let file = OwnedFd::from(file);
        let memory = map(&file)?;
        let mut received = DriverRing::new(&memory, 0)?;
        let sent = DriverRing::new(&memory, 1)?;
        for descriptor in 0..ENTRIES {
            received.describe(descriptor, 0, WRITE);
            sent.describe(descriptor, 1, 0);
            received.offer(descriptor);
        }
        received.publish();
        Ok(Self { file, _memory: memory, received, sent })
    }

    /// The memory, as a device has it.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn memory(&self) -> io::Result<GuestMemory> {
        map(&self.file)
    }

    /// What a device makes its [`Ring`](super::Ring) of that number of: 0 is for received frames.
    pub fn config(ring: usize) -> RingConfig {
        let at = BASE + ring as u64 * RING;
        RingConfig {
            size: ENTRIES,
            addresses: RingAddresses {
                descriptors: at,
                used: at + USED,
                available: at + AVAILABLE,
            },
            next: 0,
            call: None,
            header_len: HEADER_LEN,
            mergeable: true,
            event_idx: true,
            indirect: true,
        }
    }

    /// Puts a frame without offloads into the ring; false if that has no room for it, or the frame is
    /// longer than [`FRAME_MAX`]. [`Driver::publish`] hands it over.
    #[inline]
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let ring = &mut self.sent;
        let descriptor = match ring.next.wrapping_sub(ring.seen) {
            // All were used in the order in which they were sent.
            count if count < ENTRIES => ring.next % ENTRIES,
            _ => match ring.take_used() {
                Some((descriptor, _)) => descriptor,
                None => return false,
            },
        };
        if frame.len() > FRAME_MAX {
            return false;
        }
        let buffer = ring.buffer(descriptor);
        buffer.copy_from(&[0; HEADER_LEN]);
        buffer.skip(HEADER_LEN).copy_from(frame);
        let len = HEADER_LEN + frame.len();
        ring.table.store_u32(16 * usize::from(descriptor) + 8, u32::try_from(len).unwrap_or(0));
        ring.offer(descriptor);
        true
    }

    /// Takes a frame that was received, and makes its buffer available again; `None` if there is none.
    #[inline]
    pub fn receive(&mut self, frame: &mut [u8]) -> Option<usize> {
        let ring = &mut self.received;
        let (descriptor, len) = ring.take_used()?;
        let len = usize::from(len).saturating_sub(HEADER_LEN).min(frame.len());
        let buffer = ring.buffer(descriptor).skip(HEADER_LEN);
        buffer.copy_to(&mut frame[..len]);
        ring.offer(descriptor);
        Some(len)
    }

    /// Hands over what was sent, and the buffers that have room again.
    pub fn publish(&self) {
        self.sent.publish();
        self.received.publish();
    }
}

/// Maps the memory of a program.
fn map(file: &OwnedFd) -> io::Result<GuestMemory> {
    let region = Region { guest: BASE, size: MEMORY, user: BASE, offset: 0 };
    GuestMemory::map(&[region], &[file.as_fd().try_clone_to_owned()?])
}

impl DriverRing {
    fn new(memory: &GuestMemory, number: u64) -> io::Result<Self> {
        let entries = usize::from(ENTRIES);
        let place = |at: u64, len: usize| {
            memory
                .at_user(BASE + at, len)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
        };
        let at = number * RING;
        let buffers = entries * BUFFER;
        Ok(Self {
            table: place(at, 16 * entries)?,
            available: place(at + AVAILABLE, 6 + 2 * entries)?,
            used: place(at + USED, 6 + 8 * entries)?,
            buffers: place(BUFFERS + number * buffers as u64, buffers)?,
            next: 0,
            seen: 0,
        })
    }

    /// The buffer of a descriptor.
    fn buffer(&self, descriptor: u16) -> Place {
        self.buffers.skip(BUFFER * usize::from(descriptor % ENTRIES)).first(BUFFER)
    }

    /// Writes the descriptor of a buffer of the ring with this number.
    fn describe(&self, descriptor: u16, number: u64, flags: u16) {
        let at = 16 * usize::from(descriptor);
        let place = number * u64::from(ENTRIES) + u64::from(descriptor);
        // The whole memory is below four gigabytes.
        let address = BASE + BUFFERS + place * BUFFER as u64;
        self.table.store_u32(at, u32::try_from(address).unwrap_or(0));
        self.table.store_u32(at + 4, 0);
        self.table.store_u32(at + 8, u32::try_from(BUFFER).unwrap_or(0));
        self.table.store_u16(at + 12, flags, Ordering::Relaxed);
    }

    /// Makes a descriptor available, with the next [`DriverRing::publish`].
    fn offer(&mut self, descriptor: u16) {
        let at = 4 + 2 * usize::from(self.next % ENTRIES);
        self.available.store_u16(at, descriptor, Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    fn publish(&self) {
        self.available.store_u16(2, self.next, Ordering::Release);
    }

    /// The next used entry: its descriptor, and the bytes that were written.
    fn take_used(&mut self) -> Option<(u16, u16)> {
        if self.used.load_u16(2, Ordering::Acquire) == self.seen {
            return None;
        }
        let at = 4 + 8 * usize::from(self.seen % ENTRIES);
        self.seen = self.seen.wrapping_add(1);
        let number = |at| self.used.load_u16(at, Ordering::Relaxed);
        Some((number(at), number(at + 4)))
    }
}

// SAFETY: the places are in memory that the driver keeps, and are not tied to a thread.
unsafe impl Send for Driver {}

#[cfg(test)]
mod tests {
    use umacvlan_core::offload::VNET_LEN;

    use super::*;
    use crate::vhost::{ReadFrame, Ring, WriteFrame};

    #[test]
    fn frames_go_around_the_rings_many_times() {
        let mut driver = Driver::new().unwrap();
        let memory = driver.memory().unwrap();
        let [mut to, mut from] = [0, 1].map(|it| Ring::new(&memory, Driver::config(it)).unwrap());
        let (mut unit, mut frame) = (vec![0; 70_000], [0; FRAME_MAX]);
        assert!(!driver.send(&[0; FRAME_MAX + 1]));
        for round in 0..20 {
            for number in 0..100 {
                assert!(driver.send(&[number; 60][..60 - usize::from(number % 3)]));
            }
            driver.publish();
            for number in 0..100 {
                let len = 60 - usize::from(number % 3);
                let read = ReadFrame::Frame { len: VNET_LEN + len, descriptors: 1 };
                assert_eq!(from.read(&mut unit), Ok(read), "round {round}");
                assert_eq!(unit[VNET_LEN..VNET_LEN + len], [number; 60][..len]);
                assert_eq!(to.write(&unit[..VNET_LEN + len]), Ok(WriteFrame::Written));
            }
            from.publish();
            to.publish();
            for number in 0..100 {
                let len = 60 - usize::from(number % 3);
                assert_eq!(driver.receive(&mut frame), Some(len));
                assert_eq!(frame[..len], [number; 60][..len]);
            }
            assert_eq!(driver.receive(&mut frame), None);
            driver.publish();
        }
        // A full ring takes no more.
        assert_eq!((0..300).filter(|_| driver.send(&[0; 60])).count(), usize::from(ENTRIES));
    }
}
