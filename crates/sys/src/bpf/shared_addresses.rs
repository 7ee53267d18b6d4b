//! [`SharedAddresses`]: the IP addresses that `bpf/host.c` hides from the host among the frames for its own
//! MAC address.
//!
//! They are in memory that the program shares with the worker that learns them, so that the host is kept
//! from an address before the first frame from there leaves: no request and no system call is between.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::mapping::Mapping;

/// `BUCKETS` and `BUCKET_SIZE` of `bpf/host.c`.
pub(super) const BUCKETS: usize = 1024;
const BUCKET_SIZE: usize = 16;

/// Bytes of an address.
const ADDRESS_LEN: usize = 16;

/// Bytes of a bucket, and of all.
const BUCKET_LEN: usize = BUCKET_SIZE * ADDRESS_LEN;
const LEN: usize = BUCKETS * BUCKET_LEN;

/// The addresses of one filter, which has one writer.
pub struct SharedAddresses {
    memory: Mapping,
    seed: u64,
}

impl SharedAddresses {
    /// Maps the memory of the map of that descriptor, whose program hashes with this seed.
    ///
    /// # Errors
    /// The error of mmap(2).
    pub(super) fn new(map: BorrowedFd<'_>, seed: u64) -> io::Result<Self> {
        Ok(Self { memory: Mapping::shared(LEN, map)?, seed })
    }

    /// Hides the frames for an address. False if there is no room.
    pub fn insert(&mut self, address: IpAddr) -> bool {
        let halves = halves(address);
        let bucket = self.bucket(halves);
        let places = bucket..bucket + BUCKET_SIZE;
        if places.clone().any(|place| self.read(place) == halves) {
            return true;
        }
        let free = places.into_iter().find(|&place| self.read(place) == [0, 0]);
        if let Some(place) = free {
            self.write(place, halves);
        }
        free.is_some()
    }

    /// Forgets all addresses but those that are to be kept.
    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        for place in 0..BUCKETS * BUCKET_SIZE {
            let halves = self.read(place);
            if halves != [0, 0] && !keep(address(halves)) {
                self.write(place, [0, 0]);
            }
        }
    }

    /// The first place of the bucket of an address.
    fn bucket(&self, [high, low]: [u64; 2]) -> usize {
        let hash = mixed(mixed(self.seed, high), low);
        // The remainder is far below the limit of any usize.
        usize::try_from(hash % BUCKETS as u64).unwrap_or(0) * BUCKET_SIZE
    }

    fn read(&self, place: usize) -> [u64; 2] {
        [0, 1].map(|half| self.half(place, half).load(Ordering::Relaxed))
    }

    fn write(&mut self, place: usize, halves: [u64; 2]) {
        // A program that reads between both finds an address that nobody has.
        for (half, value) in halves.into_iter().enumerate() {
            self.half(place, half).store(value, Ordering::Release);
        }
    }

    /// # Panics
    /// If there is no such place.
    fn half(&self, place: usize, half: usize) -> &AtomicU64 {
        let at = place * ADDRESS_LEN + half * size_of::<u64>();
        assert!(at + size_of::<u64>() <= self.memory.len(), "an address outside its map");
        // SAFETY: the assertion puts the offset inside the mapping.
        let word = unsafe { self.memory.start().add(at) };
        // SAFETY: the word is inside the mapping, which begins at a page, at a multiple of its size; the program reads it only, and no reference to it is not atomic.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }
}

impl fmt::Debug for SharedAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedAddresses").finish_non_exhaustive()
    }
}

/// `mixed` of `bpf/host.c`.
const fn mixed(hash: u64, half: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = (hash ^ half).wrapping_mul(FACTOR);
    let hash = (hash ^ hash >> 32).wrapping_mul(FACTOR);
    hash ^ hash >> 32
}

/// An address as `union address` of `bpf/host.c` has it.
fn halves(address: IpAddr) -> [u64; 2] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (halves, _) = octets.as_chunks();
    [0, 1].map(|half| halves.get(half).copied().map_or(0, u64::from_ne_bytes))
}

/// The reverse.
fn address([high, low]: [u64; 2]) -> IpAddr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&high.to_ne_bytes());
    octets[8..].copy_from_slice(&low.to_ne_bytes());
    IpAddr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous() -> SharedAddresses {
        SharedAddresses { memory: Mapping::anonymous(LEN).unwrap(), seed: 7 }
    }

    fn count(addresses: &SharedAddresses) -> usize {
        let is_used = |place: &usize| addresses.read(*place) != [0, 0];
        (0..BUCKETS * BUCKET_SIZE).filter(is_used).count()
    }

    #[test]
    fn addresses_are_kept_once_and_forgotten() {
        let mut addresses = anonymous();
        let all: Vec<IpAddr> = ["10.0.0.1", "fd00::1", "fd00::2", "2001:db8::"]
            .map(|text| text.parse().unwrap())
            .into();
        for _ in 0..2 {
            assert!(all.iter().all(|&address| addresses.insert(address)));
        }
        assert_eq!(count(&addresses), all.len());
        addresses.retain(|address| address.is_ipv4());
        assert_eq!(count(&addresses), 1);
        assert_eq!(address(halves(all[1])), all[1]);
    }

    #[test]
    fn as_many_as_links_may_have_find_room() {
        let mut addresses = anonymous();
        let mut lost = 0;
        for number in 0..2048_u32 {
            let v4 = IpAddr::V4((10 << 24 | number).into());
            let v6 = IpAddr::V6((0xfd00 << 112 | u128::from(number)).into());
            lost += [v4, v6].into_iter().filter(|&address| !addresses.insert(address)).count();
        }
        assert_eq!((lost, count(&addresses)), (0, 4096));
    }
}
