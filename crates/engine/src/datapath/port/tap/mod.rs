//! One port, read and written by a system call a frame.

pub(super) mod uring;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::arena::{Arena, BUFFER_LEN};

use super::{PortEvent, PortLink};
use crate::datapath::frame_ref::{Held, Place};

/// Most frames that a turn takes from one port before the next has its chance. A ring of the
/// kernel's, which reads ahead by itself, takes 32 of each in turn.
pub(in crate::datapath::port) const PORT_BURST: usize = 64;

/// The engine's end of one sub-interface.
#[derive(Debug)]
pub(in crate::datapath::port) struct Port {
    pub(in crate::datapath::port) id: SubIndex,
    pub(in crate::datapath::port) link: PortLink,
    pub(in crate::datapath::port) generation: u8,
    /// True when its frames are wanted.
    pub(in crate::datapath::port) listening: bool,
    /// True while a read of the ring is under way.
    pub(in crate::datapath::port) armed: bool,
}

impl Port {
    /// Notes that its read has ended, to be armed again if its frames are wanted.
    pub(in crate::datapath::port) fn ended(&mut self, ended: &mut Vec<SubIndex>) {
        self.armed = false;
        if self.listening {
            ended.push(self.id);
        }
    }

    /// Reads what waits, up to the burst of one port, each frame into a buffer of its own.
    pub(in crate::datapath::port) fn read(
        &self,
        arena: &mut Arena,
        on: &mut impl FnMut(PortEvent<'_>),
    ) -> usize {
        let PortLink::Tap(tap) = &self.link else {
            return 0;
        };
        for count in 0..PORT_BURST {
            let Some(buffer) = arena.take() else {
                return count;
            };
            match tap.recv(arena.bytes_mut(buffer, 0, BUFFER_LEN)) {
                Ok(Some(len)) => {
                    let held = Held::new(Place::Arena, buffer, 0, len);
                    on(PortEvent::Frame {
                        from: self.id,
                        held,
                        bytes: arena.bytes(buffer, 0, len),
                    });
                }
                ended => {
                    arena.untake();
                    if ended.is_err() {
                        on(PortEvent::Gone { sub: self.id });
                    }
                    return count;
                }
            }
        }
        PORT_BURST
    }

    /// Writes so many frames, told by number; what is refused is told to `refused`.
    pub(in crate::datapath::port) fn write<'f>(
        &self,
        count: usize,
        frame: impl Fn(usize) -> &'f [u8],
        mut refused: impl FnMut(usize, DropReason),
    ) {
        match &self.link {
            PortLink::Memory(link) => link.send(count, |number| frame(number).into(), refused),
            PortLink::Tap(tap) | PortLink::Writer(tap) => {
                for number in 0..count {
                    if let Err(error) = tap.send(frame(number)) {
                        refused(number, reason(error.raw_os_error().unwrap_or(0)));
                    }
                }
            }
        }
    }
}

/// The reason for which a TAP refused a frame (`drivers/net/tun.c`): EIO is an interface that is
/// down, EBADFD one that is gone, EAGAIN a full queue; the rest is the frame's own fault.
pub(in crate::datapath::port) fn reason(errno: i32) -> DropReason {
    match errno {
        libc::EIO | libc::EBADFD => DropReason::Down,
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => DropReason::Full,
        _ => DropReason::Refused,
    }
}
