//! Reading from ports, of each its share ([`RxShares`](super::rx_shares::RxShares)).

use std::io;
use std::time::Duration;

use umacvlan_core::SubIndex;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::uring::Completion;

use super::io_backend::{IoBackend, SOCKETS, UPLINK, UPLINK_WRITABLE, WAKE_EVENT};
use super::{Port, PortEvent, PortLink, Ports, ReadBatch, ReadEnd, slot, tap};
use crate::frame_ref::FrameRef;

impl Ports {
    /// Hands what the TAPs report to `on`, a bounded number of frames of it, and returns how many
    /// events that was.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn recv(
        &mut self,
        pool: &mut BufferPool,
        on: impl FnMut(PortEvent<'_>),
    ) -> io::Result<usize> {
        match self.backend {
            IoBackend::Plain { taps: 0, .. } => Ok(0),
            IoBackend::Plain { .. } => Ok(self.recv_ready(pool, on)),
            IoBackend::Uring { .. } => self.recv_completions(pool, on),
        }
    }

    /// Reads the TAPs that epoll reports as ready.
    fn recv_ready(&mut self, pool: &mut BufferPool, mut on: impl FnMut(PortEvent<'_>)) -> usize {
        let Self { backend, ports, wake_event, rx_shares, uplink_writable, .. } = self;
        let IoBackend::Plain { epoll, .. } = backend else {
            return 0;
        };
        let mut count = 0;
        for token in epoll.wait(Some(Duration::ZERO)).into_iter().flatten() {
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            match ports.get(index) {
                Some(Some(port)) => rx_shares.wake(port.id),
                _ if token == u64::from(WAKE_EVENT) => {
                    wake_event.clear();
                    count += 1;
                }
                // They are read after the TAPs.
                _ if token == u64::from(SOCKETS) => {}
                // Or it has a frame: of a full one that is tried then, too.
                _ => *uplink_writable = true,
            }
        }
        rx_shares.begin_turn();
        while let Some((id, budget)) = rx_shares.next() {
            let read = match &ports[id.index()] {
                Some(Port { link: PortLink::Tap(tap), .. }) => {
                    tap::read(tap, id, pool, budget, &mut on)
                }
                _ => ReadBatch::default(),
            };
            count += read.frames;
            rx_shares.served(id, read.frames, read.bytes, read.end.is_none());
        }
        count
    }

    /// Handles the completions of the io_uring, and reads the busy TAPs.
    fn recv_completions(
        &mut self,
        pool: &mut BufferPool,
        mut on: impl FnMut(PortEvent<'_>),
    ) -> io::Result<usize> {
        let Self { backend, ports, wake_event, buffer_budget, rx_shares, .. } = self;
        let Self { in_batch, to_arm, uplink_writable, .. } = self;
        let IoBackend::Uring { uring, watches_uplink, watches_sockets, watches_wake_event } =
            backend
        else {
            return Ok(0);
        };
        let mut count = 0;
        // The results of earlier submissions, and then those of the single reads.
        for reads in [true, false] {
            // The reads among them are limited by the buffers that the ring has.
            count += uring.completions(pool, usize::MAX, |pool, completion| match completion {
                Completion::Ready { token: UPLINK } => *watches_uplink = false,
                Completion::Ready { token: SOCKETS } => *watches_sockets = false,
                Completion::Ready { token: UPLINK_WRITABLE } => *uplink_writable = true,
                Completion::Ready { .. } => {
                    wake_event.clear();
                    *watches_wake_event = false;
                }
                completion => {
                    if let Completion::Read { len, .. } = completion {
                        buffer_budget.note(len);
                    }
                    tap::uring::complete(ports, rx_shares, pool, completion, &mut on);
                }
            });
            if !reads || rx_shares.is_empty() {
                break;
            }
            rx_shares.begin_turn();
            while let Some((id, budget)) = rx_shares.next() {
                let Some(port) = &mut ports[id.index()] else {
                    continue;
                };
                in_batch.push(id);
                port.batch = ReadBatch::default();
                for _ in 0..budget {
                    if !uring.read(slot(id), port.generation, pool)? {
                        break;
                    }
                }
            }
            uring.submit_all()?;
        }
        for id in in_batch.drain(..) {
            let Some(Port { batch, .. }) = &ports[id.index()] else {
                continue;
            };
            rx_shares.served(id, batch.frames, batch.bytes, batch.end.is_none());
            if batch.end == Some(ReadEnd::Drained) {
                to_arm.push(id);
            }
        }
        Ok(count)
    }

    /// True while a port waits for its share of a turn.
    pub(crate) fn is_any_waiting(&self) -> bool {
        !self.rx_shares.is_empty()
            || self.memory.is_any_waiting()
            || self.sockets.is_any_waiting()
            || self.vhosts.is_any_waiting()
            || self.interfaces.is_any_waiting()
    }

    /// Hands the frames that wait at ports in memory to `on`, and returns how many there were. Call
    /// it after [`Ports::recv`]: a wake-up that is cleared there was for a frame that is read here.
    pub(crate) fn recv_memory(
        &mut self,
        pool: &mut BufferPool,
        mut on: impl FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let ports = &mut self.ports;
        self.memory.poll(|id, budget| {
            let Some(Some(Port { link: PortLink::Memory(link), .. })) = ports.get_mut(id.index())
            else {
                return (0, 0, false);
            };
            let mut sum = 0;
            let (frames, more) = link.recv(pool, budget, |stored, bytes| {
                sum += bytes.len();
                on(id, stored, &*bytes);
            });
            (frames, sum, more)
        })
    }
}
