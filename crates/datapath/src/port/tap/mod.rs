//! TAP ports: by system calls here, by io_uring in `uring.rs`.

pub(super) mod uring;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::{BUFFER_LEN, BufferPool};
use umacvlan_sys::tap::Tap;

use super::{PortEvent, ReadBatch, ReadEnd};
use crate::frame_ref::{FrameRef, StorageKind};

/// Reading fails with this, and the frame is lost, if the vnet header of the TAP is longer than a
/// buffer (`tun_put_user` in `drivers/net/tun.c`).
const NO_ROOM_FOR_HEADER: i32 = libc::EINVAL;

/// The frame of `len` bytes that was read into a prepared buffer.
#[inline]
fn frame(from: SubIndex, pool: &BufferPool, buffer: u16, len: usize) -> PortEvent<'_> {
    if pool.has_gap(buffer) {
        return PortEvent::Unreadable { from };
    }
    let stored = FrameRef::new(StorageKind::Pool { buffer }, 0, len);
    PortEvent::Frame { from, stored, bytes: pool.bytes(buffer, 0, len) }
}

/// Reads the frames that wait, at most `budget`, each into a buffer of its own.
pub(super) fn read(
    tap: &Tap,
    id: SubIndex,
    pool: &mut BufferPool,
    budget: usize,
    on: &mut impl FnMut(PortEvent<'_>),
) -> ReadBatch {
    let mut batch = ReadBatch::default();
    while batch.frames < budget {
        let Some(buffer) = pool.acquire() else {
            return batch;
        };
        pool.prepare(buffer);
        match tap.recv(pool.bytes_mut(buffer, 0, BUFFER_LEN)) {
            Ok(Some(len)) => {
                on(frame(id, pool, buffer, len));
                batch.frames += 1;
                batch.bytes += len;
            }
            Err(error) if error.raw_os_error() == Some(NO_ROOM_FOR_HEADER) => {
                pool.release_last();
                batch.frames += 1;
                on(PortEvent::Unreadable { from: id });
            }
            ended => {
                pool.release_last();
                batch.end = Some(ReadEnd::Drained);
                if ended.is_err() {
                    batch.end = Some(ReadEnd::Gone);
                    on(PortEvent::Gone { sub: id });
                }
                return batch;
            }
        }
    }
    batch
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
