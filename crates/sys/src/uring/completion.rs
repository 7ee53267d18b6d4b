//! [`Completion`]: a result from the ring, and the coding of requests in `user_data`.

use io_uring::cqueue;

#[cfg(doc)]
use super::Uring;
use crate::buffer_pool::BufferPool;

/// The result of a request to the ring.
#[derive(Debug)]
pub enum Completion {
    /// A frame of `len` bytes lies in a buffer that now belongs to the turn. If `generation` is not
    /// that of `port` any more, the TAP that it came from has been removed.
    Read {
        /// The slot given to [`Uring::add`].
        port: u32,
        /// The generation given to [`Uring::add`].
        generation: u8,
        /// The buffer in the pool.
        buffer: u16,
        /// Bytes in it, from its start.
        len: u32,
        /// True when the read of the port is still armed.
        armed: bool,
    },
    /// The read of a port has ended with this errno and must be armed again if the port still exists.
    ReadEnded {
        /// The slot given to [`Uring::add`].
        port: u32,
        /// The generation given to [`Uring::add`].
        generation: u8,
        /// The reason.
        errno: i32,
    },
    /// As [`Completion::Read`], for a read of [`Uring::read`].
    SingleRead {
        /// The slot given to [`Uring::read`].
        port: u32,
        /// The generation given to [`Uring::read`].
        generation: u8,
        /// The buffer in the pool.
        buffer: u16,
        /// Bytes in it, from its start.
        len: u32,
    },
    /// A read of [`Uring::read`] got no frame, with this errno: EAGAIN if none waits.
    SingleReadEnded {
        /// The slot given to [`Uring::read`].
        port: u32,
        /// The generation given to [`Uring::read`].
        generation: u8,
        /// The reason.
        errno: i32,
    },
    /// A write failed.
    WriteFailed {
        /// The slot given to [`Uring::send`].
        port: u32,
        /// The generation given to [`Uring::send`].
        generation: u8,
        /// Bytes of the frame, vnet header included.
        len: u32,
        /// True if the frame was for a group, as given to [`Uring::send`].
        group: bool,
        /// The cookie given to [`Uring::send`].
        cookie: u16,
        /// The reason.
        errno: i32,
    },
    /// A watched descriptor can be read; it is no longer watched.
    Ready {
        /// The token given to [`Uring::wait`].
        token: u32,
    },
}

/// Kinds of request, in the top byte of `user_data`.
pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
pub(super) const WATCH: u8 = 3;
pub(super) const CANCEL: u8 = 4;
pub(super) const READ_ONE: u8 = 5;

/// Bits of a generation, and of the length of a frame, in the middle of `user_data`.
const GENERATION_BITS: u32 = 7;
const LEN_BITS: u32 = 17;

/// The number of generations, which are counted modulo this.
pub const GENERATIONS: u8 = 1 << GENERATION_BITS;

/// `user_data`: kind 8 bits, generation 7, length 17 (of a single read: its buffer), slot 32.
pub(super) const fn tag(kind: u8, generation: u8, len: u32, slot: u32) -> u64 {
    let middle =
        ((generation & (GENERATIONS - 1)) as u32) << LEN_BITS | len & ((1 << LEN_BITS) - 1);
    (kind as u64) << 56 | (middle as u64) << 32 | slot as u64
}

/// Bits of a slot: there are at most 65 536.
const SLOT_BITS: u32 = 16;

/// Bits of the cookie of a write, above those of the slot.
const COOKIE_BITS: u32 = 14;

/// The slot of a write with its group bit and its cookie.
pub(super) const fn written(slot: u32, group: bool, cookie: u16) -> u32 {
    (group as u32) << 31 | (cookie as u32) << SLOT_BITS | slot
}

/// Splits `user_data` into kind, generation, length and slot.
fn parts(data: u64) -> (u8, u8, u32, u32) {
    let [kind, a, b, c, slot @ ..] = data.to_be_bytes();
    let middle = u32::from_be_bytes([0, a, b, c]);
    let generation = a >> (8 - GENERATION_BITS);
    (kind, generation, middle & ((1 << LEN_BITS) - 1), u32::from_be_bytes(slot))
}

/// Decodes a completion and gives its buffer to the turn; `None` for the result of a cancellation.
#[inline]
pub(super) fn decode(entry: &cqueue::Entry, pool: &mut BufferPool) -> Option<Completion> {
    let (kind, generation, len, slot) = parts(entry.user_data());
    match kind {
        READ => {
            // Even if the read failed: no lent buffer gets lost.
            let buffer =
                cqueue::buffer_select(entry.flags()).filter(|&buffer| pool.reclaim(buffer));
            match (buffer, u32::try_from(entry.result())) {
                (Some(buffer), Ok(len)) => {
                    let armed = cqueue::more(entry.flags());
                    Some(Completion::Read { port: slot, generation, buffer, len, armed })
                }
                _ => Some(Completion::ReadEnded { port: slot, generation, errno: -entry.result() }),
            }
        }
        READ_ONE => {
            let buffer = u16::try_from(len).ok().filter(|&buffer| pool.reclaim(buffer));
            match (buffer, u32::try_from(entry.result())) {
                (Some(buffer), Ok(len)) => {
                    Some(Completion::SingleRead { port: slot, generation, buffer, len })
                }
                _ => {
                    let errno = -entry.result();
                    Some(Completion::SingleReadEnded { port: slot, generation, errno })
                }
            }
        }
        WRITE => Some(Completion::WriteFailed {
            port: slot & ((1 << SLOT_BITS) - 1),
            generation,
            len,
            group: slot >> 31 != 0,
            cookie: u16::try_from(slot >> SLOT_BITS & ((1 << COOKIE_BITS) - 1)).unwrap_or(0),
            errno: -entry.result(),
        }),
        WATCH => Some(Completion::Ready { token: slot }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_write_keeps_group_and_cookie() {
        for (group, more) in [(false, 0), (true, 0), (false, 0x3fff), (true, 0x2aaa)] {
            let written = written(65_535, group, more);
            assert_eq!(written & ((1 << SLOT_BITS) - 1), 65_535);
            assert_eq!(written >> 31 != 0, group);
            assert_eq!(written >> SLOT_BITS & ((1 << COOKIE_BITS) - 1), u32::from(more));
        }
    }

    #[test]
    fn a_tag_keeps_its_parts() {
        for generation in [0, 1, 64, 127] {
            for len in [0, 1, 65_550, 131_071] {
                let data = tag(WRITE, generation, len, 70_000);
                assert_eq!(parts(data), (WRITE, generation, len, 70_000));
            }
        }
    }
}
