//! Reading from ports.

use std::time::Duration;

use umacvlan_core::SubIndex;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::uring::Completion;

use super::io_backend::{IoBackend, UPLINK, WAKE_EVENT};
use super::tap::{self, PORT_BURST};
use super::{Port, PortEvent, PortLink, Ports};
use crate::datapath::frame_ref::FrameRef;

impl Ports {
    /// Hands what the TAPs report to `on`, about `budget` frames of it, and returns how many events
    /// that was.
    pub(crate) fn recv(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        on: impl FnMut(PortEvent<'_>),
    ) -> usize {
        match self.backend {
            IoBackend::Plain { taps: 0, .. } => 0,
            IoBackend::Plain { .. } => self.recv_ready(pool, on),
            IoBackend::Uring { .. } => self.recv_completions(pool, budget, on),
        }
    }

    /// Reads the TAPs that epoll reports as ready.
    fn recv_ready(&mut self, pool: &mut BufferPool, mut on: impl FnMut(PortEvent<'_>)) -> usize {
        let Self { backend, ports, wake_event, .. } = self;
        let IoBackend::Plain { epoll, ready, next, .. } = backend else {
            return 0;
        };
        ready.clear();
        if let Ok(tokens) = epoll.wait(Some(Duration::ZERO)) {
            ready.extend(tokens);
        }
        // epoll reports the same order every time. Without this rotation, ports that always have
        // more frames would leave the last ones without a buffer for ever.
        let first = next.take();
        if let Some(position) = ready.iter().position(|&token| Some(token) == first) {
            ready.rotate_left(position);
        }
        let mut count = 0;
        for &token in ready.iter() {
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            match ports.get(index) {
                Some(Some(_)) if pool.is_exhausted() => *next = next.or(Some(token)),
                Some(Some(Port { id, link: PortLink::Tap(tap), .. })) => {
                    count += tap::read(tap, *id, pool, &mut on);
                }
                _ if token == u64::from(WAKE_EVENT) => {
                    wake_event.clear();
                    count += 1;
                }
                _ => {}
            }
        }
        count
    }

    /// Handles the completions of the io_uring.
    fn recv_completions(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut on: impl FnMut(PortEvent<'_>),
    ) -> usize {
        let Self { backend, ports, ended_reads, wake_event, buffer_budget, .. } = self;
        let IoBackend::Uring { uring, watches_uplink, watches_wake_event } = backend else {
            return 0;
        };
        uring.completions(pool, budget, |pool, completion| match completion {
            Completion::Ready { token: UPLINK } => *watches_uplink = false,
            Completion::Ready { .. } => {
                wake_event.clear();
                *watches_wake_event = false;
            }
            completion => {
                if let Completion::Read { len, .. } = completion {
                    buffer_budget.note(len);
                }
                tap::uring::complete(ports, ended_reads, pool, completion, &mut on);
            }
        })
    }

    /// Hands the frames that wait at ports in memory to `on`, and returns how many there were. Call
    /// it after [`Ports::recv`]: a wake-up that is cleared there was for a frame that is read here.
    pub(crate) fn recv_memory(
        &mut self,
        pool: &mut BufferPool,
        mut on: impl FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let ports = &mut self.ports;
        self.memory.poll(|id| {
            if pool.is_exhausted() {
                return None;
            }
            let Some(Some(Port { link: PortLink::Memory(link), .. })) = ports.get_mut(id.index())
            else {
                return Some((0, false));
            };
            Some(link.recv(pool, PORT_BURST, |stored, bytes| on(id, stored, &*bytes)))
        })
    }
}
