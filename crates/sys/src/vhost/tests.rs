//! Rings as a driver fills them, and as one that breaks the rules does.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use proptest::prelude::*;
use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::vhost_user::{Region, RingAddresses};
use umacvlan_testkit::vhost_user::{DriverRing, ENTRIES, GUEST, MEMORY, USER, memfd};

use super::*;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A frame longer than any.
const ROOM: usize = VNET_LEN + 65_553;

struct World {
    file: Arc<File>,
    memory: GuestMemory,
    driver: DriverRing,
    config: RingConfig,
}

impl World {
    fn new(number: u64) -> Self {
        let file = Arc::new(memfd(MEMORY));
        let driver = DriverRing::new(&file, number);
        let [descriptors, available, used] = driver.places().map(|at| USER + at);
        let config = RingConfig {
            size: ENTRIES,
            addresses: RingAddresses { descriptors, used, available },
            next: 0,
            call: None,
            header_len: 12,
            mergeable: true,
            event_idx: false,
            indirect: true,
        };
        let region = Region { guest: GUEST, size: MEMORY, user: USER, offset: 0 };
        let memory = map(&file, region).unwrap();
        Self { file, memory, driver, config }
    }

    fn ring(&self) -> Ring {
        Ring::new(&self.memory, self.config.clone()).unwrap()
    }

    /// Writes the bytes of the buffer of a descriptor, and describes it.
    fn fill(&self, descriptor: u16, bytes: &[u8], flags: u16, next: u16) {
        let at = self.driver.buffer(descriptor);
        self.file.write_all_at(bytes, at).unwrap();
        let len = u32::try_from(bytes.len()).unwrap();
        self.driver.describe(descriptor, GUEST + at, len, flags, next);
    }

    /// Offers buffers of so many bytes to be written.
    fn offer_room(&mut self, count: u16, len: u32) {
        for descriptor in 0..count {
            let at = GUEST + self.driver.buffer(descriptor);
            self.driver.describe(descriptor, at, len, WRITE, 0);
            self.driver.offer(descriptor);
        }
    }

    fn bytes(&self, descriptor: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.driver.buffer(descriptor)).unwrap();
        bytes
    }
}

fn map(file: &File, region: Region) -> io::Result<GuestMemory> {
    GuestMemory::map(&[region], &[OwnedFd::from(file.try_clone().unwrap())])
}

/// A frame with its header as a driver writes it.
fn sent(frame: &[u8]) -> Vec<u8> {
    [&[1; 10][..], &[0; 2], frame].concat()
}

#[test]
fn a_frame_is_read_from_one_buffer_from_many_and_from_a_table() {
    let mut world = World::new(1);
    let mut ring = world.ring();
    let mut unit = vec![0; ROOM];
    assert_eq!(ring.read(&mut unit), Ok(ReadFrame::None));
    let bytes = sent(&[7; 60]);
    world.fill(0, &bytes, 0, 0);
    world.driver.offer(0);
    // The header by itself, in two pieces, and then a piece of the frame in each buffer.
    for (number, piece) in
        [&bytes[..5], &bytes[5..12], &bytes[12..20], &bytes[20..]].iter().enumerate()
    {
        let descriptor = u16::try_from(number).unwrap() + 1;
        world.fill(descriptor, piece, if number < 3 { NEXT } else { 0 }, descriptor + 1);
    }
    world.driver.offer(1);
    // A table in the buffer of descriptor 9 that points to that of descriptor 0.
    let at = GUEST + world.driver.buffer(0);
    let table = [&at.to_le_bytes()[..], &72_u32.to_le_bytes(), &[0; 4]].concat();
    world.fill(9, &table, INDIRECT, 0);
    world.driver.offer(9);
    assert_eq!(ring.available(), Ok(3));
    for descriptors in [1, 4, 2] {
        unit.fill(0);
        let frame = ReadFrame::Frame { len: VNET_LEN + 60, descriptors };
        assert_eq!(ring.read(&mut unit), Ok(frame));
        assert_eq!(unit[..VNET_LEN], [1; VNET_LEN]);
        assert_eq!(unit[VNET_LEN..VNET_LEN + 60], [7; 60]);
    }
    assert_eq!(world.driver.take_used(), None, "nothing is handed over yet");
    ring.publish();
    let used: Vec<_> = std::iter::from_fn(|| world.driver.take_used()).collect();
    assert_eq!(used, [(0, 0), (1, 0), (9, 0)]);
    assert_eq!((ring.next(), ring.read(&mut unit)), (3, Ok(ReadFrame::None)));
}

#[test]
fn entries_that_come_meanwhile_are_used_and_none_before_it_is_available() {
    let mut world = World::new(0);
    world.offer_room(2, 100);
    let mut ring = world.ring();
    let unit = [&[1; VNET_LEN][..], &[7; 250]].concat();
    let small = &unit[..VNET_LEN + 60];
    assert_eq!(ring.write(small), Ok(WriteFrame::Written));
    // One of the first two is left, and a long frame takes it and two of these.
    world.offer_room(3, 100);
    assert_eq!(ring.write(&unit), Ok(WriteFrame::Written));
    assert_eq!(ring.write(small), Ok(WriteFrame::Written));
    assert_eq!(ring.write(small), Ok(WriteFrame::Full));
    ring.publish();
    let used: Vec<_> = std::iter::from_fn(|| world.driver.take_used()).collect();
    assert_eq!(used, [(0, 72), (1, 100), (0, 100), (1, 62), (2, 72)]);
}

#[test]
fn a_frame_is_written_to_as_many_buffers_as_it_needs() {
    let mut world = World::new(0);
    world.offer_room(4, 100);
    let mut ring = world.ring();
    let unit = [&[1; VNET_LEN][..], &[7; 250]].concat();
    assert_eq!(ring.write(&unit), Ok(WriteFrame::Written));
    assert_eq!(ring.write(&unit), Ok(WriteFrame::Full), "one buffer is left");
    assert_eq!(ring.write(&unit[..VNET_LEN + 60]), Ok(WriteFrame::Written));
    ring.publish();
    let used: Vec<_> = std::iter::from_fn(|| world.driver.take_used()).collect();
    assert_eq!(used, [(0, 100), (1, 100), (2, 62), (3, 72)]);
    let header = [&[1; VNET_LEN][..], &[3, 0]].concat();
    assert_eq!(world.bytes(0, 100), [&header[..], &[7; 88]].concat());
    assert_eq!(world.bytes(2, 62), [7; 62]);
    assert_eq!(world.bytes(3, 13)[10..], [1, 0, 7]);
}

#[test]
fn without_merging_a_frame_has_one_chain_or_none() {
    let mut world = World::new(0);
    (world.config.mergeable, world.config.header_len) = (false, 10);
    world.driver.describe(0, GUEST + world.driver.buffer(0), 10, WRITE | NEXT, 1);
    world.driver.describe(1, GUEST + world.driver.buffer(1), 60, WRITE, 0);
    world.driver.offer(0);
    let mut ring = world.ring();
    assert_eq!(ring.write(&[7; VNET_LEN + 61]), Ok(WriteFrame::TooLong));
    assert_eq!(ring.write(&[7; VNET_LEN + 60]), Ok(WriteFrame::Written));
    ring.publish();
    assert_eq!(world.driver.take_used(), Some((0, 70)));
    assert_eq!(world.bytes(1, 60), [7; 60]);
}

#[test]
fn a_ring_that_was_served_before_goes_on_behind_its_last_used_entry() {
    let mut world = World::new(1);
    let mut unit = [0; ROOM];
    let mut ring = world.ring();
    for descriptor in 0..3 {
        world.fill(descriptor, &sent(b"before"), 0, 0);
        world.driver.offer(descriptor);
    }
    while !matches!(ring.read(&mut unit), Ok(ReadFrame::None)) {}
    ring.publish();
    world.fill(3, &sent(b"after"), 0, 0);
    world.driver.offer(3);
    // The program says 0, which its driver has passed; or what no ring of this size can have.
    for said in [0, 3, 40_000] {
        world.config.next = said;
        let mut ring = world.ring();
        let read = ring.read(&mut unit).unwrap();
        assert!(matches!(read, ReadFrame::Frame { descriptors: 1, .. }), "{said}: {read:?}");
        assert!(unit[VNET_LEN..].starts_with(b"after"), "{said}");
        assert_eq!(ring.next(), 4, "{said}");
        assert_eq!(ring.read(&mut unit), Ok(ReadFrame::None), "{said}");
    }
    // A used index that the driver cannot have reached is none.
    let used = world.config.addresses.used - USER;
    world.file.write_all_at(&50_000_u16.to_le_bytes(), used + 2).unwrap();
    world.config.next = 4;
    assert_eq!(world.ring().available(), Ok(0));
}

#[test]
fn a_driver_that_wants_to_be_told_of_an_entry_is_told_once_it_is_used() {
    for event_idx in [false, true] {
        let mut world = World::new(1);
        let call = crate::eventfd::EventFd::new().unwrap();
        let copy = call.as_fd().try_clone_to_owned().unwrap();
        world.config.call = Some(Arc::new(CallEvent::new(copy).unwrap()));
        world.config.event_idx = event_idx;
        let mut ring = world.ring();
        let is_told = || {
            let waits = crate::poll::Interest::readable(call.as_fd());
            let ready = crate::poll::wait(&mut [waits], std::time::Duration::ZERO).unwrap();
            call.clear();
            ready == 1
        };
        let mut unit = vec![0; ROOM];
        let mut send = |world: &mut World| {
            world.fill(0, &sent(&[7; 60]), 0, 0);
            world.driver.offer(0);
            ring.read(&mut unit).unwrap();
            ring.publish();
        };
        send(&mut world);
        assert!(is_told());
        // With events: the next that it wants to be told of is entry 2, else none.
        let [_, available, _] = world.driver.places();
        let event = available + 4 + 2 * u64::from(ENTRIES);
        world.file.write_all_at(&2_u16.to_le_bytes(), event).unwrap();
        world.file.write_all_at(&1_u16.to_le_bytes(), available).unwrap();
        send(&mut world);
        assert!(!is_told());
        send(&mut world);
        assert_eq!(is_told(), event_idx);
    }
}

#[test]
fn a_driver_is_asked_for_kicks_and_not_to_kick() {
    let mut world = World::new(1);
    let [_, _, used] = world.driver.places();
    let word = |world: &World, at: u64| {
        let mut bytes = [0; 2];
        world.file.read_exact_at(&mut bytes, at).unwrap();
        u16::from_le_bytes(bytes)
    };
    let ring = world.ring();
    ring.suppress_kicks();
    assert_eq!(word(&world, used), 1);
    assert_eq!(ring.request_kicks(), Ok(false));
    assert_eq!(word(&world, used), 0);
    world.config.event_idx = true;
    world.config.next = 7;
    world.file.write_all_at(&7_u16.to_le_bytes(), used + 2).unwrap();
    let ring = world.ring();
    world.driver.publish(8);
    assert_eq!(ring.request_kicks(), Ok(true));
    assert_eq!(word(&world, used + 4 + 8 * u64::from(ENTRIES)), 7);
}

#[test]
fn rules_that_are_broken_end_the_ring() {
    let frame = sent(&[7; 60]);
    let at = |world: &World, descriptor| GUEST + world.driver.buffer(descriptor);
    let table = u32::try_from(16 * usize::from(ENTRIES)).unwrap();
    type Break<'b> = &'b dyn Fn(&World);
    let cases: [(RingError, Break<'_>); 13] = [
        (RingError::Chain, &|world| world.driver.describe(0, GUEST, 0, NEXT, 0)),
        (RingError::Descriptor(ENTRIES), &|world| world.fill(0, &frame, NEXT, ENTRIES)),
        (RingError::Direction, &|world| world.fill(0, &frame, WRITE, 0)),
        (RingError::Outside, &|world| world.driver.describe(0, GUEST - 1, 64, 0, 0)),
        (RingError::Outside, &|world| world.driver.describe(0, GUEST + MEMORY - 63, 64, 0, 0)),
        (RingError::Outside, &|world| world.driver.describe(0, u64::MAX, 64, 0, 0)),
        (RingError::Outside, &|world| world.driver.describe(0, GUEST, u32::MAX, 0, 0)),
        (RingError::TooLong, &|world| world.driver.describe(0, GUEST, 70_000, 0, 0)),
        (RingError::Indirect, &|world| world.driver.describe(0, at(world, 0), 15, INDIRECT, 0)),
        (RingError::Indirect, &|world| world.driver.describe(0, at(world, 0), 0, INDIRECT, 0)),
        (RingError::Indirect, &|world| {
            world.driver.describe(0, at(world, 0), 32, INDIRECT | NEXT, 1);
        }),
        (RingError::Indirect, &|world| {
            // A table in itself.
            world.driver.describe(0, GUEST + world.driver.places()[0], table, INDIRECT, 0);
        }),
        (RingError::Indirect, &|world| world.driver.describe(0, GUEST + 1, 16, INDIRECT, 0)),
    ];
    for (number, (error, break_it)) in cases.iter().enumerate() {
        let mut world = World::new(1);
        break_it(&world);
        world.driver.offer(0);
        assert_eq!(world.ring().read(&mut vec![0; ROOM]), Err(*error), "case {number}");
    }
    let mut world = World::new(1);
    world.driver.offer(ENTRIES);
    assert_eq!(world.ring().read(&mut [0; 100]), Err(RingError::Descriptor(ENTRIES)));
    world.driver.publish(ENTRIES + 1);
    assert_eq!(world.ring().read(&mut [0; 100]), Err(RingError::Available(ENTRIES + 1)));
    world.config.indirect = false;
    world.driver.publish(1);
    world.driver.describe(0, GUEST, 16, INDIRECT, 0);
    world.driver.offer(0);
    let mut ring = world.ring();
    assert!(ring.read(&mut [0; 100]).is_err());
    assert!(ring.write(&[0; 100]).is_err());
}

#[test]
fn a_frame_has_a_bounded_number_of_descriptors_over_all_entries() {
    let mut world = World::new(0);
    // Each entry has a chain of nothing before its one byte.
    let last = ENTRIES - 1;
    for descriptor in 0..last {
        world.driver.describe(descriptor, GUEST, 0, NEXT | WRITE, descriptor + 1);
    }
    world.driver.describe(last, GUEST, 1, WRITE, 0);
    for _ in 0..ENTRIES {
        world.driver.offer(0);
    }
    assert_eq!(world.ring().write(&[0; 1400]), Err(RingError::Chain));
}

#[test]
fn an_entry_without_room_ends_the_ring() {
    let mut world = World::new(0);
    // As long a chain of nothing as there may be, for the one that looks for room.
    for descriptor in 0..ENTRIES {
        let flags = if descriptor + 1 < ENTRIES { NEXT | WRITE } else { WRITE };
        world.driver.describe(descriptor, GUEST, 0, flags, descriptor + 1);
    }
    world.driver.offer(0);
    let mut ring = world.ring();
    assert_eq!(ring.write(&[0; 100]), Err(RingError::Empty));
}

#[test]
fn a_ring_lies_in_the_memory_and_is_aligned() {
    let world = World::new(0);
    let wrong: [&dyn Fn(&mut RingConfig); 7] = [
        &|config| config.addresses.descriptors += 8,
        &|config| config.addresses.available += 1,
        &|config| config.addresses.used += 2,
        &|config| config.addresses.used = USER + MEMORY - 8,
        &|config| config.addresses.available = 0,
        &|config| config.size = 3,
        &|config| config.header_len = 11,
    ];
    for (number, change) in wrong.iter().enumerate() {
        let mut config = world.config.clone();
        change(&mut config);
        assert!(Ring::new(&world.memory, config).is_err(), "case {number}");
    }
}

#[test]
fn memory_is_a_whole_file_in_memory() {
    let file = memfd(MEMORY);
    let region = |size, offset| Region { guest: 0, size, user: USER, offset };
    assert!(map(&file, region(MEMORY, 0)).is_ok());
    assert!(map(&file, region(100, 5000)).is_ok());
    for wrong in [region(MEMORY + 1, 0), region(MEMORY, 1), region(1, u64::MAX)] {
        let error = map(&file, wrong).unwrap_err().to_string();
        assert!(error.contains("longer than its file"), "{error}");
    }
    let elsewhere = File::open("/proc/self/status").unwrap();
    assert!(map(&elsewhere, region(100, 0)).is_err());
    let (pipe, _end) = io::pipe().unwrap();
    assert!(GuestMemory::map(&[region(100, 0)], &[OwnedFd::from(pipe)]).is_err());
    assert!(GuestMemory::map(&[region(100, 0)], &[]).is_err());
    assert!(check_eventfd(&OwnedFd::from(file)).is_err());
}

#[test]
fn memory_that_was_cut_off_reads_as_zeros_and_is_lost() {
    let mut world = World::new(1);
    let other = World::new(1);
    let mut ring = world.ring();
    world.fill(0, &sent(&[7; 60]), 0, 0);
    world.driver.offer(0);
    assert!(!world.memory.is_lost());
    world.file.set_len(0).unwrap();
    assert_eq!(ring.read(&mut [0; 100]), Ok(ReadFrame::None));
    assert!(world.memory.is_lost());
    assert_eq!(ring.write(&[0; 100]), Ok(WriteFrame::Full));
    ring.publish();
    assert!(!other.memory.is_lost());
    drop((ring, world));
    assert!(!World::new(1).memory.is_lost(), "a later region is whole");
}

proptest! {
    /// Any bytes as a ring: every call returns, and nothing outside of the memory is touched.
    #[test]
    fn any_table_ends_in_frames_or_in_an_error(
        // Addresses and lengths near the memory, any flags, any next descriptor.
        table in prop::collection::vec(
            (0..MEMORY + 64, 0..5000_u32, 0..8_u16, 0..20_u16), 1..16
        ),
        heads in prop::collection::vec(0..20_u16, 0..40),
        next in any::<u16>(),
        frame in 0..3000_usize,
        mergeable in any::<bool>(),
    ) {
        let mut world = World::new(1);
        world.config.mergeable = mergeable;
        world.config.next = next;
        for (number, &(at, len, flags, next)) in (0..).zip(&table) {
            world.driver.describe(number, GUEST + at, len, flags, next);
        }
        let [_, available, used] = world.driver.places();
        world.file.write_all_at(&next.to_le_bytes(), used + 2).unwrap();
        for (number, head) in (0_u16..).zip(&heads) {
            let entry = u64::from(next.wrapping_add(number) % ENTRIES);
            world.file.write_all_at(&head.to_le_bytes(), available + 4 + 2 * entry).unwrap();
        }
        world.driver.publish(next.wrapping_add(u16::try_from(heads.len()).unwrap()));
        let (mut unit, count) = (vec![0; ROOM], heads.len() + 1);
        let mut ring = world.ring();
        (0..count).take_while(|_| matches!(ring.read(&mut unit), Ok(ReadFrame::Frame { .. }))).count();
        ring.publish();
        prop_assert!(u64::from(ring.next().wrapping_sub(next)) <= heads.len() as u64);
        // What is written may be the ring itself, so it can go on as long as it likes.
        let mut ring = world.ring();
        let frame = vec![0; VNET_LEN + frame];
        (0..count).take_while(|_| matches!(ring.write(&frame), Ok(WriteFrame::Written))).count();
        ring.publish();
    }
}
