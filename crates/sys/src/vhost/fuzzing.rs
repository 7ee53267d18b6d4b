//! Rings in memory with any bytes, for `umacvlan-fuzz`.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::vhost_user::{Region, RingAddresses};

use super::{GuestMemory, ReadFrame, Ring, RingConfig, WriteFrame};

/// Bytes of the memory.
const MEMORY: u64 = 0x8000;
/// Entries of the ring.
const SIZE: u16 = 32;
/// The places of the ring in the memory, which begins at this address of descriptors.
const GUEST: u64 = 0x1_0000;
const USED: u64 = 0x400;
const AVAILABLE: u64 = 0x300;

/// Reads frames from a ring, and then writes some to it: the first bytes are the features in use and the
/// next entry, the others the memory with table, available and used entries.
///
/// # Panics
/// If more entries are taken than the ring has, or there is no memory for it.
pub fn ring(bytes: &[u8]) {
    let Some(([flags, a, b], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let file = memory(&bytes[..bytes.len().min(0x8000)]);
    let region = Region { guest: GUEST, size: MEMORY, user: 0, offset: 0 };
    let memory = GuestMemory::map(&[region], &[OwnedFd::from(file)]).unwrap_or_else(|error| {
        panic!("no memory: {error}");
    });
    let next = u16::from_le_bytes([*a, *b]);
    let config = RingConfig {
        size: SIZE,
        addresses: RingAddresses { descriptors: 0, used: USED, available: AVAILABLE },
        next,
        call: None,
        header_len: if flags & 1 == 0 { 10 } else { 12 },
        mergeable: flags & 2 != 0,
        event_idx: flags & 4 != 0,
        indirect: flags & 8 != 0,
    };
    let mut ring = Ring::new(&memory, config).unwrap_or_else(|error| panic!("no ring: {error}"));
    let mut unit = vec![0; VNET_LEN + 65_553];
    let mut entries = 0;
    while let Ok(ReadFrame::Frame { len, .. }) = ring.read(&mut unit) {
        assert!((VNET_LEN..=unit.len()).contains(&len));
        entries += 1;
        assert!(entries <= SIZE);
    }
    ring.publish();
    // What is written may be the ring itself, so it can go on as long as it likes.
    let frame = VNET_LEN + usize::from(*b) * 8;
    for _ in 0..SIZE {
        if ring.write(&unit[..frame]) != Ok(WriteFrame::Written) {
            break;
        }
    }
    ring.publish();
    // Any answer is right.
    let _ = ring.request_kicks();
    ring.suppress_kicks();
}

/// A file in memory that begins with these bytes.
fn memory(bytes: &[u8]) -> File {
    // SAFETY: the name is a string that ends with a zero.
    let fd = unsafe { libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC) };
    let fd = crate::checked(fd).unwrap_or_else(|error| panic!("no memfd: {error}"));
    // SAFETY: memfd_create has just made this descriptor, and nothing else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let filled = file.set_len(MEMORY).and_then(|()| file.write_all_at(bytes, 0));
    filled.unwrap_or_else(|error| panic!("no memory: {error}"));
    file
}
