//! TAP ports by io_uring: what a completion means for its port.

use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::uring::Completion;

use super::{NO_ROOM_FOR_HEADER, drop_reason, frame};
use crate::frame_ref::FrameRef;
use crate::port::rx_shares::RxShares;
use crate::port::{Port, PortEvent, ReadEnd, Refusal};

/// Passes one completion on, unless its port has been removed since.
pub(in crate::port) fn complete(
    ports: &mut [Option<Port>],
    rx_shares: &mut RxShares,
    pool: &BufferPool,
    completion: Completion,
    on: &mut impl FnMut(PortEvent<'_>),
) {
    match completion {
        Completion::Read { port, generation, buffer, len, armed } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            if !armed {
                read_ended(port, rx_shares);
            }
            let len = len as usize;
            on(frame(port.id, pool, buffer, len));
        }
        Completion::ReadEnded { port, generation, errno } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            match errno {
                libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ECANCELED => {
                    read_ended(port, rx_shares);
                }
                NO_ROOM_FOR_HEADER => {
                    on(PortEvent::Unreadable { from: port.id });
                    read_ended(port, rx_shares);
                }
                _ => on(PortEvent::Gone { sub: port.id }),
            }
        }
        Completion::SingleRead { port, generation, buffer, len } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            let len = len as usize;
            port.batch.frames += 1;
            port.batch.bytes += len;
            on(frame(port.id, pool, buffer, len));
        }
        Completion::SingleReadEnded { port, generation, errno } => {
            let Some(port) = current(ports, port, generation) else {
                return;
            };
            match errno {
                libc::EAGAIN | libc::EINTR => port.batch.end = Some(ReadEnd::Drained),
                NO_ROOM_FOR_HEADER => {
                    port.batch.frames += 1;
                    on(PortEvent::Unreadable { from: port.id });
                }
                _ if port.batch.end.replace(ReadEnd::Gone) == Some(ReadEnd::Gone) => {}
                _ => on(PortEvent::Gone { sub: port.id }),
            }
        }
        Completion::WriteFailed { port, generation, len, group, cookie: more, errno } => {
            if let Some(port) = current(ports, port, generation) {
                let lost = FrameRef::counters_of(len, more);
                let reason = drop_reason(errno);
                on(PortEvent::Refused(Refusal { to: port.id, lost, group, reason }));
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

/// Notes that the multishot read of a port has ended, in most cases because it has used up the
/// buffers. If the port is still to be read, it has a share of each turn until its queue is empty.
fn read_ended(port: &mut Port, rx_shares: &mut RxShares) {
    port.read_armed = false;
    if port.rx_enabled && !port.stalled {
        rx_shares.wake(port.id);
    }
}
