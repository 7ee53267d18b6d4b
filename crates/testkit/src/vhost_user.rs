//! [`VhostUser`]: a vhost-user front-end with rings of its own, in place of QEMU.
//!
//! Its memory is a memfd that is read and written as a file, so no test needs a pointer. The numbers
//! are those of the vhost-user protocol and of virtio 1.3.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::memfd::{MFdFlags, memfd_create};
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::message_socket::MessageSocket;
use umacvlan_sys::poll::{self, Interest};

use crate::LIMIT;

/// Addresses of the memory in descriptors, and in the front-end.
pub const GUEST: u64 = 0x1000_0000;
/// See [`GUEST`].
pub const USER: u64 = 0x7000_0000_0000;
/// Bytes of the memory.
pub const MEMORY: u64 = 4 << 20;
/// Entries of a ring.
pub const ENTRIES: u16 = 256;
/// Bytes of a buffer.
pub const BUFFER: u64 = 2048;
/// Feature bits: `MRG_RXBUF`, `VERSION_1`, and what enables protocol features.
pub const MRG_RXBUF: u64 = 1 << 15;
/// See [`MRG_RXBUF`].
pub const VERSION_1: u64 = 1 << 32;
/// See [`MRG_RXBUF`].
pub const EVENT_IDX: u64 = 1 << 29;
/// See [`MRG_RXBUF`].
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// The places of a ring in its memory, from its first byte on.
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x5000;
const RING: u64 = 0x8000;
/// The first buffer.
const BUFFERS: u64 = 2 * RING;

/// A file in memory of this length.
pub fn memfd(len: u64) -> File {
    let file = File::from(memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

/// The driver's side of a ring.
#[derive(Debug)]
pub struct DriverRing {
    memory: Arc<File>,
    /// Its number: 0 is filled by the device.
    number: u64,
    next: u16,
    seen: u16,
}

impl DriverRing {
    /// An empty ring.
    pub fn new(memory: &Arc<File>, number: u64) -> Self {
        Self { memory: Arc::clone(memory), number, next: 0, seen: 0 }
    }

    /// The offset of its table of descriptors in the memory, and those of available and used entries.
    pub const fn places(&self) -> [u64; 3] {
        let at = self.number * RING;
        [at, at + AVAILABLE, at + USED]
    }

    /// The offset of the buffer of a descriptor.
    pub fn buffer(&self, descriptor: u16) -> u64 {
        BUFFERS + (self.number * u64::from(ENTRIES) + u64::from(descriptor)) * BUFFER
    }

    /// Writes a descriptor: its address, length, flags and the next one.
    pub fn describe(&self, descriptor: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = self.places()[0] + 16 * u64::from(descriptor);
        let bytes = [
            &address.to_le_bytes()[..],
            &len.to_le_bytes(),
            &flags.to_le_bytes(),
            &next.to_le_bytes(),
        ];
        self.memory.write_all_at(&bytes.concat(), at).unwrap();
    }

    /// Makes the chain that begins with a descriptor available.
    pub fn offer(&mut self, head: u16) {
        let at = self.places()[1] + 4 + 2 * u64::from(self.next % ENTRIES);
        self.memory.write_all_at(&head.to_le_bytes(), at).unwrap();
        self.next = self.next.wrapping_add(1);
        self.publish(self.next);
    }

    /// Writes the index behind the last available entry.
    pub fn publish(&self, next: u16) {
        self.memory.write_all_at(&next.to_le_bytes(), self.places()[1] + 2).unwrap();
    }

    /// The index behind the last used entry.
    pub fn used_index(&self) -> u16 {
        let mut bytes = [0; 2];
        self.memory.read_exact_at(&mut bytes, self.places()[2] + 2).unwrap();
        u16::from_le_bytes(bytes)
    }

    /// The next used entry: the first descriptor of its chain, and the bytes that were written.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.used_index() == self.seen {
            return None;
        }
        let mut bytes = [0; 8];
        let at = self.places()[2] + 4 + 8 * u64::from(self.seen % ENTRIES);
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        self.seen = self.seen.wrapping_add(1);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        Some((number(0).try_into().unwrap(), number(4)))
    }

    /// Asks to be told of the next entry that is used (`EVENT_IDX`).
    pub fn request_call(&self) {
        let at = self.places()[1] + 4 + 2 * u64::from(ENTRIES);
        self.memory.write_all_at(&self.seen.to_le_bytes(), at).unwrap();
    }

    /// Entries that are available and not used yet, or used and not taken.
    pub const fn in_flight(&self) -> u16 {
        self.next.wrapping_sub(self.seen)
    }
}

/// A front-end that is connected.
#[derive(Debug)]
pub struct VhostUser {
    /// Its connection.
    pub socket: MessageSocket,
    /// Its memory.
    pub memory: Arc<File>,
    /// What the device sends, and what it receives.
    pub rings: [DriverRing; 2],
    /// The features that both sides have.
    pub features: u64,
    header_len: usize,
    kick: [EventFd; 2],
    call: [EventFd; 2],
}

impl VhostUser {
    /// Connects, with all features of these that are offered, and starts both rings.
    pub fn connect(path: &Path, features: u64) -> Self {
        let mut program = Self::introduce(path, features);
        program.start([0, 0]);
        program
    }

    /// Connects and agrees on features; the rings are not set up.
    pub fn introduce(path: &Path, features: u64) -> Self {
        Self::introduce_by(UnixStream::connect(path).unwrap(), features)
    }

    /// As [`VhostUser::introduce`], by a connection that is there.
    pub fn introduce_by(stream: UnixStream, features: u64) -> Self {
        let socket = MessageSocket::from(OwnedFd::from(stream));
        socket.set_timeout(LIMIT).unwrap();
        let memory = Arc::new(memfd(MEMORY));
        let rings = [0, 1].map(|number| DriverRing::new(&memory, number));
        let events = || [0, 1].map(|_| EventFd::new().unwrap());
        let (kick, call) = (events(), events());
        let mut program = Self { socket, memory, rings, features: 0, header_len: 10, kick, call };
        let offered = program.ask(1, &[]);
        assert_ne!(offered & PROTOCOL_FEATURES, 0, "{offered:#x}");
        program.features = offered & (features | PROTOCOL_FEATURES);
        if program.features & (VERSION_1 | MRG_RXBUF) != 0 {
            program.header_len = 12;
        }
        let protocol = program.ask(15, &[]);
        program.send_message(16, &protocol.to_ne_bytes(), &[]);
        program.send_message(3, &[], &[]);
        program.send_message(2, &program.features.to_ne_bytes(), &[]);
        program
    }

    /// Sets up memory and rings, whose next available entries are these, and starts them.
    pub fn start(&mut self, next: [u16; 2]) {
        let memory = Arc::clone(&self.memory);
        self.acknowledged(5, &memory_table(&[[GUEST, MEMORY, USER, 0]]), &[memory.as_fd()]);
        for (number, next) in (0_u32..).zip(next) {
            let (ring, at) = (number as usize, self.rings[number as usize].places());
            let [table, available, used] = at.map(|at| USER + at);
            self.send_message(8, &state(number, ENTRIES.into()), &[]);
            self.send_message(10, &state(number, next.into()), &[]);
            let places: Vec<u8> =
                [table, used, available, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
            self.send_message(9, &[&state(number, 0)[..], &places].concat(), &[]);
            let word = u64::from(number).to_ne_bytes();
            self.send_message(12, &word, &[self.kick[ring].as_fd()]);
            self.send_message(13, &word, &[self.call[ring].as_fd()]);
        }
        if self.rings[0].in_flight() == 0 {
            for descriptor in 0..ENTRIES {
                self.offer_room(descriptor);
            }
        }
        self.acknowledged(18, &state(0, 1), &[]);
        self.acknowledged(18, &state(1, 1), &[]);
    }

    /// Stops the rings; returns their next available entries.
    pub fn stop(&mut self) -> [u16; 2] {
        [0, 1].map(|ring| {
            let answer = self.ask(11, &state(ring, 0));
            let bytes = answer.to_ne_bytes();
            assert_eq!(bytes[..4], ring.to_ne_bytes());
            u16::from_ne_bytes([bytes[4], bytes[5]])
        })
    }

    fn offer_room(&mut self, descriptor: u16) {
        let ring = &mut self.rings[0];
        let at = GUEST + ring.buffer(descriptor);
        ring.describe(descriptor, at, BUFFER.try_into().unwrap(), 2, 0);
        ring.offer(descriptor);
    }

    /// Sends a frame without offloads.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_with([0; 10], frame);
    }

    /// Sends a frame behind this vnet header, as soon as the ring has room.
    pub fn send_with(&mut self, header: [u8; 10], frame: &[u8]) {
        let mut unit = header.to_vec();
        unit.resize(self.header_len, 0);
        unit.extend_from_slice(frame);
        let pieces: Vec<&[u8]> = unit.chunks(BUFFER.try_into().unwrap()).collect();
        let until = Instant::now() + LIMIT;
        while self.rings[1].take_used().is_some() || self.rings[1].in_flight() > 0 {
            assert!(Instant::now() < until, "the device reads nothing");
            std::thread::yield_now();
        }
        self.write_chain(&pieces);
        self.kick();
    }

    /// Sends small frames as one batch, with one kick.
    pub fn send_many(&mut self, frames: &[Vec<u8>]) {
        assert!(frames.len() <= ENTRIES.into());
        let until = Instant::now() + LIMIT;
        while self.rings[1].take_used().is_some() || self.rings[1].in_flight() > 0 {
            assert!(Instant::now() < until, "the device reads nothing");
            std::thread::yield_now();
        }
        for (descriptor, frame) in (0..).zip(frames) {
            let mut unit = vec![0; self.header_len];
            unit.extend_from_slice(frame);
            let ring = &mut self.rings[1];
            let at = ring.buffer(descriptor);
            self.memory.write_all_at(&unit, at).unwrap();
            ring.describe(descriptor, GUEST + at, unit.len().try_into().unwrap(), 0, 0);
            ring.offer(descriptor);
        }
        self.kick();
    }

    fn write_chain(&mut self, pieces: &[&[u8]]) {
        let ring = &mut self.rings[1];
        let last = pieces.len() - 1;
        for (number, piece) in pieces.iter().enumerate() {
            let descriptor = u16::try_from(number).unwrap();
            let at = ring.buffer(descriptor);
            self.memory.write_all_at(piece, at).unwrap();
            let flags = u16::from(number < last);
            let len = piece.len().try_into().unwrap();
            ring.describe(descriptor, GUEST + at, len, flags, descriptor + 1);
        }
        ring.offer(0);
    }

    /// Tells the device of available entries.
    pub fn kick(&self) {
        self.kick[1].wake();
    }

    /// The next frame with its vnet header, which may be in several buffers; `None` if none is there.
    pub fn try_next(&mut self) -> Option<([u8; 10], Vec<u8>)> {
        let (descriptor, len) = self.rings[0].take_used()?;
        let mut unit = self.take_buffer(descriptor, len);
        let header: [u8; 10] = unit[..10].try_into().unwrap();
        let buffers = match self.header_len {
            12 => u16::from_le_bytes([unit[10], unit[11]]),
            _ => 1,
        };
        for _ in 1..buffers {
            let (descriptor, len) = self.rings[0].take_used().unwrap();
            let more = self.take_buffer(descriptor, len);
            unit.extend(more);
        }
        Some((header, unit.split_off(self.header_len)))
    }

    /// As [`VhostUser::try_next`]. If there is none, [`VhostUser::call`] is readable when there is one.
    pub fn next_or_call(&mut self) -> Option<([u8; 10], Vec<u8>)> {
        if let Some(frame) = self.try_next() {
            return Some(frame);
        }
        self.call[0].clear();
        self.rings[0].request_call();
        self.try_next()
    }

    /// Readable when the device has told of received frames.
    pub fn call(&self) -> BorrowedFd<'_> {
        self.call[0].as_fd()
    }

    fn take_buffer(&mut self, descriptor: u16, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.memory.read_exact_at(&mut bytes, self.rings[0].buffer(descriptor)).unwrap();
        self.offer_room(descriptor);
        bytes
    }

    /// Waits for the next frame.
    #[track_caller]
    pub fn next_with(&mut self) -> ([u8; 10], Vec<u8>) {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(frame) = self.next_or_call() {
                return frame;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no frame arrives");
            poll::wait(&mut [Interest::readable(self.call())], left).unwrap();
        }
    }

    /// Receives until this frame has arrived.
    #[track_caller]
    pub fn wait_for(&mut self, frame: &[u8]) {
        while self.next_with().1 != frame {}
    }

    /// Sends a message.
    pub fn send_message(&self, request: u32, payload: &[u8], files: &[BorrowedFd<'_>]) {
        self.socket.send(&message(request, 1, payload), files).unwrap();
    }

    /// Sends a message, and waits for its acknowledgement.
    pub fn acknowledged(&self, request: u32, payload: &[u8], files: &[BorrowedFd<'_>]) {
        self.socket.send(&message(request, 9, payload), files).unwrap();
        assert_eq!(self.answer(request), 0, "request {request}");
    }

    /// Sends a message and returns the number of its reply.
    pub fn ask(&self, request: u32, payload: &[u8]) -> u64 {
        self.send_message(request, payload, &[]);
        self.answer(request)
    }

    fn answer(&self, request: u32) -> u64 {
        let mut bytes = [0; 20];
        let received = self.socket.receive(&mut bytes).unwrap();
        assert_eq!(received.len, bytes.len(), "request {request} is not answered");
        assert_eq!(bytes[..4], request.to_ne_bytes());
        u64::from_ne_bytes(bytes[12..].try_into().unwrap())
    }

    /// Waits until the device has closed the connection.
    pub fn wait_for_end(&self) {
        let mut bytes = [0; 64];
        loop {
            match self.socket.receive(&mut bytes) {
                Ok(received) if received.len > 0 => {}
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }
}

/// The payload of a memory table with these regions: guest address, bytes, user address, offset.
pub fn memory_table(regions: &[[u64; 4]]) -> Vec<u8> {
    let count = [u64::try_from(regions.len()).unwrap()];
    count.iter().chain(regions.iter().flatten()).flat_map(|word| word.to_ne_bytes()).collect()
}

/// The payload of a message about a ring.
pub fn state(ring: u32, number: u32) -> Vec<u8> {
    [ring.to_ne_bytes(), number.to_ne_bytes()].concat()
}

/// A message with these flags.
pub fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let header = [request, flags, payload.len().try_into().unwrap()];
    let header = header.iter().flat_map(|word| word.to_ne_bytes());
    header.chain(payload.iter().copied()).collect()
}
