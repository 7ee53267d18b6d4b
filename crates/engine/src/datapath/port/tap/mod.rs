//! TAP ports: by system calls here, by io_uring in `uring.rs`.

pub(super) mod uring;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::tap::Tap;

use super::PortEvent;
use crate::datapath::frame_ref::{FrameRef, StorageKind};

/// Most frames that a turn reads from one port before the next port. With io_uring the kernel reads
/// ahead, and takes 32 from each in turn.
pub(super) const PORT_BURST: usize = 64;

/// Reads the frames that wait, at most [`PORT_BURST`], each into a buffer of its own. Returns how
/// many there were.
pub(super) fn read(
    tap: &Tap,
    id: SubIndex,
    pool: &mut BufferPool,
    on: &mut impl FnMut(PortEvent<'_>),
) -> usize {
    for count in 0..PORT_BURST {
        let Some(buffer) = pool.acquire() else {
            return count;
        };
        match tap.recv(pool.bytes_mut(buffer, 0, BUFFER_LEN)) {
            Ok(Some(len)) => {
                let stored = FrameRef::new(StorageKind::Pool { buffer }, 0, len);
                on(PortEvent::Frame { from: id, stored, bytes: pool.bytes(buffer, 0, len) });
            }
            ended => {
                pool.release_last();
                if ended.is_err() {
                    on(PortEvent::Gone { sub: id });
                }
                return count;
            }
        }
    }
    PORT_BURST
}

/// Writes `count` frames, of which `frame` returns the bytes by number.
pub(super) fn write<'f>(
    tap: &Tap,
    count: usize,
    frame: impl Fn(usize) -> &'f [u8],
    mut on_refused: impl FnMut(usize, DropReason),
) {
    for number in 0..count {
        if let Err(error) = tap.send(frame(number)) {
            on_refused(number, drop_reason(error.raw_os_error().unwrap_or(0)));
        }
    }
}

/// Why a TAP refused a frame (`drivers/net/tun.c`): EIO is an interface that is down, EBADFD one
/// that is gone, EAGAIN a full queue; everything else is the fault of the frame.
fn drop_reason(errno: i32) -> DropReason {
    match errno {
        libc::EIO | libc::EBADFD => DropReason::Down,
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => DropReason::Full,
        _ => DropReason::Refused,
    }
}
