//! Ports by io_uring: what its completions say, and how many buffers it should have.

use umacvlan_core::SubIndex;
use umacvlan_sys::arena::Arena;
use umacvlan_sys::uring::Completion;

use super::{Port, reason};
use crate::datapath::frame_ref::{Held, Place};
use crate::datapath::port::PortEvent;

/// Bytes of frames that a ring may read ahead: half of a usual second-level cache.
const HOT_BYTES: usize = 512 * 1024;

/// Buffers that a ring has at least and at most. The rest of the arena is the uplink's.
const BUFFERS_MIN: usize = 8;
const BUFFERS_MAX: usize = 192;

/// Passes one completion on, if its port is still the one that it was for.
pub(in crate::datapath::port) fn complete(
    ports: &mut [Option<Port>],
    ended: &mut Vec<SubIndex>,
    arena: &Arena,
    completion: Completion,
    on: &mut impl FnMut(PortEvent<'_>),
) {
    match completion {
        Completion::Read { port, generation, buffer, len, armed } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            if !armed {
                port.ended(ended);
            }
            let len = len as usize;
            let held = Held::new(Place::Arena, buffer, 0, len);
            on(PortEvent::Frame { from: port.id, held, bytes: arena.bytes(buffer, 0, len) });
        }
        Completion::ReadEnded { port, generation, errno } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            match errno {
                libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ECANCELED => port.ended(ended),
                _ => on(PortEvent::Gone { sub: port.id }),
            }
        }
        Completion::WriteFailed { port, generation, len, group, more, errno } => {
            if let Some(port) = current(ports, port, generation) {
                let held = Held::refused(len, more);
                on(PortEvent::Refused { to: port.id, held, group, reason: reason(errno) });
            }
        }
        Completion::Ready { .. } => {}
    }
}

/// The port in a slot, if it is still of that generation.
fn current(ports: &mut [Option<Port>], slot: u32, generation: u8) -> Option<&mut Port> {
    let port = ports.get_mut(usize::try_from(slot).ok()?)?.as_mut()?;
    (port.generation == generation).then_some(port)
}

/// How many buffers a ring should have: so many that what it reads in one turn fills the cache of a
/// core and not more. With small frames these are all. 64 KB frames that go through 192 buffers in
/// turn leave the cache before they are written: about a sixth of TCP bulk (`umacvlan lab --mode
/// bridge`, with `BUFFERS_MIN` at 192: 17.7 Gbit/s and not 21.1 between sub-interfaces).
#[derive(Debug, Default)]
pub struct BufferBudget {
    /// A mean length of frames in bytes that grows at once and shrinks slowly.
    len: usize,
}

impl BufferBudget {
    /// Notes the length of a frame that was read.
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
