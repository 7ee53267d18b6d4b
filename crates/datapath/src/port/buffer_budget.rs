//! [`BufferBudget`]: how many buffers an io_uring may read ahead into.

/// Bytes of frames that a ring may read ahead: half of a usual second-level cache.
const HOT_BYTES: usize = 512 * 1024;

/// The least and the most buffers of a ring. The rest of the pool is the uplink's.
const BUFFERS_MIN: usize = 8;
const BUFFERS_MAX: usize = 192;

/// How many buffers a ring should have: so many that the frames of one turn fill the cache of a
/// core and no more. With small frames these are all of them. 64 KB frames that cycle through 192
/// buffers leave the cache before they are written, which costs about a sixth of TCP bulk
/// throughput (`umacvlan lab --mode bridge` between sub-interfaces: 17.7 Gbit/s with `BUFFERS_MIN`
/// at 192, 21.1 as it is).
#[derive(Debug, Default)]
pub struct BufferBudget {
    /// A mean length of frames in bytes that grows at once and shrinks slowly.
    len: usize,
}

impl BufferBudget {
    /// Notes the length in bytes of a frame that was read.
    #[inline]
    pub fn note(&mut self, len: u32) {
        let len = len as usize;
        self.len = len.max(self.len - self.len / 16);
    }

    /// Returns how many buffers the ring should have.
    #[inline]
    pub fn buffers(&self) -> usize {
        (HOT_BYTES / self.len.max(1)).clamp(BUFFERS_MIN, BUFFERS_MAX)
    }
}
