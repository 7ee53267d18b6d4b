//! [`StreamPorts`]: which stream ports of a worker have something to read or room to write.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::port_listener::PortConnection;

use super::io_backend::{IoBackend, STREAMS};
use super::rx_shares::RxShares;
use super::stream::{Connection, Interest, PortClosed, StreamPort, StreamRead};
use super::{Port, PortLink, Ports, Refusal, is_for_group};
use crate::frame_ref::{FrameRef, FrameStores};

/// The stream ports of one worker. Their connections have an epoll of their own, which is readable if
/// one of them is ready, so a worker with io_uring waits for them as well. It is that of vhost-user
/// ports, too, whose eventfds are in it, and of the sockets on interfaces of programs.
#[derive(Debug)]
pub(super) struct StreamPorts {
    pub(super) epoll: Epoll,
    /// Stream ports.
    ports: usize,
    /// Connections of all kinds.
    pub(super) connections: usize,
    shares: RxShares,
    /// Connections that epoll has reported in this turn.
    ready: Vec<u64>,
    /// Ports with frames that were queued in this turn.
    queued: Vec<SubIndex>,
    /// Connections of both kinds that have ended, by their number, and why.
    pub(super) closed: Vec<(SubIndex, u64, PortClosed)>,
}

impl StreamPorts {
    /// No ports yet. The epoll is made now, because a worker that is confined cannot make one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(backend: &IoBackend) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        if let IoBackend::Plain { epoll: outer, .. } = backend {
            outer.add(&epoll, u64::from(STREAMS))?;
        }
        Ok(Self {
            epoll,
            ports: 0,
            connections: 0,
            shares: RxShares::default(),
            ready: Vec::new(),
            queued: Vec::new(),
            closed: Vec::new(),
        })
    }

    /// True when there are no stream ports.
    pub(super) const fn is_empty(&self) -> bool {
        self.ports == 0
    }

    /// True while a port waits for its share of a turn.
    pub(super) fn is_any_waiting(&self) -> bool {
        !self.shares.is_empty()
    }

    /// The descriptor that is readable when a connection is ready; `None` without connections.
    pub(super) fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        (self.connections > 0).then(|| self.epoll.as_fd())
    }

    /// Adds a port, without connection.
    pub(super) fn add(&mut self, id: SubIndex) {
        self.ports += 1;
        self.shares.reserve(id.index() + 1);
        self.queued.reserve(self.ports);
    }

    /// Removes a port.
    pub(super) fn remove(&mut self, id: SubIndex, port: &mut StreamPort) {
        self.ports -= 1;
        self.end(id, port);
        self.closed.retain(|&(other, ..)| other != id);
    }

    /// Ends the connection of a port.
    fn end(&mut self, id: SubIndex, port: &mut StreamPort) -> Option<Box<Connection>> {
        let connection = port.connection.take()?;
        self.connections -= 1;
        self.shares.remove(id);
        if !connection.watched.is_none() {
            self.epoll.remove(&*connection.socket);
        }
        Some(connection)
    }

    /// Ends the connection of a port, to be reported.
    fn close(&mut self, id: SubIndex, port: &mut StreamPort, why: PortClosed) {
        if let Some(connection) = self.end(id, port) {
            self.closed.push((id, connection.number, why));
        }
    }

    /// Has the epoll wait for what a connection needs.
    fn watch(&self, id: SubIndex, connection: &mut Connection, read: bool) -> io::Result<()> {
        let wanted = connection.interest(read);
        if wanted == connection.watched {
            return Ok(());
        }
        let (socket, token) = (&*connection.socket, id.index() as u64);
        let before = std::mem::replace(&mut connection.watched, wanted);
        if wanted.is_none() {
            self.epoll.remove(socket);
            return Ok(());
        }
        if before.is_none() {
            self.epoll.add(socket, token)?;
        }
        match wanted {
            Interest { readable: true, writable: false } if before.is_none() => Ok(()),
            Interest { readable, writable } => {
                self.epoll.watch_for(socket, token, readable, writable)
            }
        }
    }

    /// As [`Self::watch`]; a connection that cannot be waited for ends.
    fn watch_or_close(&mut self, id: SubIndex, port: &mut StreamPort, read: bool) {
        let Some(connection) = &mut port.connection else {
            return;
        };
        if let Err(error) = self.watch(id, connection, read) {
            self.close(id, port, error.into());
        }
    }
}

impl Ports {
    /// Gives a stream port its connection, in place of a former one.
    ///
    /// # Errors
    /// The kernel has no memory, or there is no such port.
    pub(crate) fn connect(
        &mut self,
        id: SubIndex,
        number: u64,
        socket: Arc<PortConnection>,
    ) -> io::Result<()> {
        let Some((port, stalled)) = stream_port(&mut self.ports, id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.streams.end(id, port);
        let mut connection = Box::new(Connection::new(number, socket));
        self.streams.watch(id, &mut connection, !stalled)?;
        self.streams.connections += 1;
        port.connection = Some(connection);
        Ok(())
    }

    /// Hands the frames that programs have sent to `on`, of each port its share, and returns how many
    /// events that was. What waits for a socket that was full is sent before.
    pub(crate) fn recv_programs(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        if self.streams.connections == 0 {
            return 0;
        }
        self.recv_streams(pool, on) + self.recv_interfaces(pool, on) + self.recv_vhosts(pool, on)
    }

    fn recv_streams(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let Self { ports, streams, vhosts, interfaces, .. } = self;
        let mut ready = std::mem::take(&mut streams.ready);
        ready.extend(streams.epoll.wait(Some(Duration::ZERO)).into_iter().flatten());
        let mut count = ready.len();
        for token in ready.drain(..) {
            let Some(id) = usize::try_from(token).ok().and_then(SubIndex::from_index) else {
                continue;
            };
            if let Some((port, stalled)) = stream_port(ports, id) {
                streams.serve_ready(id, port, stalled);
            } else if !interfaces.wake(ports, id) {
                vhosts.kicked(ports, id);
            }
        }
        streams.ready = ready;
        if streams.shares.is_empty() {
            return count;
        }
        streams.shares.begin_turn();
        while let Some((id, budget)) = streams.shares.next() {
            let Some((port, _)) = stream_port(ports, id) else {
                streams.shares.served(id, 0, 0, false);
                continue;
            };
            let read = match &mut port.connection {
                Some(connection) => connection.read(id, pool, budget, on),
                None => StreamRead { frames: 0, bytes: 0, more: Ok(false) },
            };
            count += read.frames;
            streams.shares.served(id, read.frames, read.bytes, read.more == Ok(true));
            if let Err(why) = read.more {
                streams.close(id, port, why);
            }
        }
        count
    }

    /// Queues a run of frames for one stream port. [`Ports::flush_streams`] sends them.
    pub(super) fn queue_stream(
        &mut self,
        run: &[(SubIndex, FrameRef)],
        stores: FrameStores<'_>,
        on_refused: &mut impl FnMut(Refusal),
    ) {
        let to = run[0].0;
        let Some((port, _)) = stream_port(&mut self.ports, to) else {
            return;
        };
        for &(_, stored) in run {
            let bytes = stores.bytes(stored);
            let queued = match &mut port.connection {
                Some(connection) => connection.queue(bytes),
                // Nobody is there to get it.
                None => Err(DropReason::Down),
            };
            if let Err(reason) = queued {
                let (lost, group) = (stored.counters(), is_for_group(bytes));
                on_refused(Refusal { to, lost, group, reason });
            }
        }
        if let Some(connection) = &mut port.connection
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.streams.queued.push(to);
        }
    }

    /// Sends what this turn has queued for stream ports, each time with one call.
    pub(super) fn flush_streams(&mut self) {
        let Self { ports, streams, .. } = self;
        let mut queued = std::mem::take(&mut streams.queued);
        for id in queued.drain(..) {
            if let Some((port, stalled)) = stream_port(ports, id) {
                let Some(connection) = &mut port.connection else {
                    continue;
                };
                connection.queued = false;
                match connection.flush() {
                    Ok(()) => streams.watch_or_close(id, port, !stalled),
                    Err(why) => streams.close(id, port, why),
                }
            }
        }
        streams.queued = queued;
    }

    /// Stops reading a stream port, or reads it again.
    pub(super) fn set_stream_stalled(&mut self, id: SubIndex, stalled: bool) {
        let Self { ports, streams, .. } = self;
        let Some((port, _)) = stream_port(ports, id) else {
            return;
        };
        match stalled {
            true => streams.shares.remove(id),
            // Frames that were received may wait.
            false if port.connection.is_some() => streams.shares.wake(id),
            false => {}
        }
        streams.watch_or_close(id, port, !stalled);
    }

    /// The connections that have ended since the last call, by their number, and why.
    pub(crate) fn take_closed(&mut self) -> impl Iterator<Item = (SubIndex, u64, PortClosed)> {
        self.streams.closed.drain(..)
    }

    /// True if connections have ended.
    pub(crate) fn has_closed(&self) -> bool {
        !self.streams.closed.is_empty()
    }
}

impl StreamPorts {
    /// Serves a connection that epoll has reported: sends what waits, and has it read.
    fn serve_ready(&mut self, id: SubIndex, port: &mut StreamPort, stalled: bool) {
        let Some(connection) = &mut port.connection else {
            return;
        };
        if connection.watched.writable
            && let Err(why) = connection.resume_tx()
        {
            return self.close(id, port, why);
        }
        if !stalled {
            self.shares.wake(id);
        }
        self.watch_or_close(id, port, !stalled);
    }
}

/// A stream port, and whether it is stalled.
fn stream_port(ports: &mut [Option<Port>], id: SubIndex) -> Option<(&mut StreamPort, bool)> {
    match ports.get_mut(id.index())? {
        Some(Port { link: PortLink::Stream(port), stalled, .. }) => Some((port, *stalled)),
        _ => None,
    }
}
