//! [`SocketPorts`]: which socket ports of a worker have something to read or room to write.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::epoll::Epoll;

use super::io_backend::{IoBackend, SOCKETS};
use super::rx_shares::RxShares;
use super::socket::{
    Connection, ConnectionEvent, Interest, PortClosed, ProgramSocket, SocketPort, SocketRead,
};
use super::{Port, PortLink, Ports, Refusal, is_for_group};
use crate::frame_ref::{FrameRef, FrameStores};

/// The socket ports of one worker. Their connections have an epoll of their own, which is readable if
/// one of them is ready, so a worker with io_uring waits for them as well. It is that of vhost-user
/// ports, too, whose eventfds are in it, and of the sockets on interfaces of programs.
#[derive(Debug)]
pub(super) struct SocketPorts {
    pub(super) epoll: Epoll,
    /// Socket ports.
    ports: usize,
    /// Connections of all kinds.
    pub(super) connections: usize,
    shares: RxShares,
    /// Connections that epoll has reported in this turn.
    ready: Vec<u64>,
    /// Ports with frames that were queued in this turn.
    queued: Vec<SubIndex>,
    /// What has happened to connections of all kinds, by their number.
    pub(super) events: Vec<(SubIndex, u64, ConnectionEvent)>,
}

impl SocketPorts {
    /// No ports yet. The epoll is made now, because a worker that is confined cannot make one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(backend: &IoBackend) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        if let IoBackend::Plain { epoll: outer, .. } = backend {
            outer.add(&epoll, u64::from(SOCKETS))?;
        }
        Ok(Self {
            epoll,
            ports: 0,
            connections: 0,
            shares: RxShares::default(),
            ready: Vec::new(),
            queued: Vec::new(),
            events: Vec::new(),
        })
    }

    /// True when there are no socket ports.
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
    pub(super) fn remove(&mut self, id: SubIndex, port: &mut SocketPort) {
        self.ports -= 1;
        self.end(id, port);
        self.events.retain(|&(other, ..)| other != id);
    }

    /// Ends the connection of a port.
    fn end(&mut self, id: SubIndex, port: &mut SocketPort) -> Option<Box<Connection>> {
        let connection = port.connection.take()?;
        self.connections -= 1;
        self.shares.remove(id);
        if !connection.watched.is_none() {
            self.epoll.remove(&*connection);
        }
        Some(connection)
    }

    /// Ends the connection of a port, to be reported.
    fn close(&mut self, id: SubIndex, port: &mut SocketPort, why: PortClosed) {
        if let Some(connection) = self.end(id, port) {
            self.events.push((id, connection.number, ConnectionEvent::Closed(why)));
        }
    }

    /// Has the epoll wait for what a connection needs.
    fn watch(&self, id: SubIndex, connection: &mut Connection, read: bool) -> io::Result<()> {
        let wanted = connection.interest(read);
        if wanted == connection.watched {
            return Ok(());
        }
        let before = std::mem::replace(&mut connection.watched, wanted);
        let (socket, token) = (&*connection, id.index() as u64);
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
    fn watch_or_close(&mut self, id: SubIndex, port: &mut SocketPort, read: bool) {
        let Some(connection) = &mut port.connection else {
            return;
        };
        if let Err(error) = self.watch(id, connection, read) {
            self.close(id, port, error.into());
        }
    }
}

impl Ports {
    /// Gives a socket port its connection, in place of a former one.
    ///
    /// # Errors
    /// The kernel has no memory, or there is no such port.
    pub(crate) fn connect(
        &mut self,
        id: SubIndex,
        number: u64,
        socket: ProgramSocket,
    ) -> io::Result<()> {
        let Some((port, stalled)) = socket_port(&mut self.ports, id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.sockets.end(id, port);
        let mut connection = Box::new(Connection::new(number, socket));
        self.sockets.watch(id, &mut connection, !stalled)?;
        self.sockets.connections += 1;
        port.connection = Some(connection);
        Ok(())
    }

    /// Takes the connection of a socket port away, if it has one.
    pub(crate) fn disconnect(&mut self, id: SubIndex) {
        if let Some((port, _)) = socket_port(&mut self.ports, id) {
            self.sockets.end(id, port);
        }
    }

    /// Hands the frames that programs have sent to `on`, of each port its share, and returns how many
    /// events that was. What waits for a socket that was full is sent before.
    pub(crate) fn recv_programs(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        if self.sockets.connections == 0 {
            return 0;
        }
        self.recv_sockets(pool, on) + self.recv_interfaces(pool, on) + self.recv_vhosts(pool, on)
    }

    fn recv_sockets(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let Self { ports, sockets, vhosts, interfaces, .. } = self;
        let mut ready = std::mem::take(&mut sockets.ready);
        ready.extend(sockets.epoll.wait(Some(Duration::ZERO)).into_iter().flatten());
        let mut count = ready.len();
        for token in ready.drain(..) {
            let Some(id) = usize::try_from(token).ok().and_then(SubIndex::from_index) else {
                continue;
            };
            if let Some((port, stalled)) = socket_port(ports, id) {
                sockets.serve_ready(id, port, stalled);
            } else if !interfaces.wake(ports, id) {
                vhosts.kicked(ports, id);
            }
        }
        sockets.ready = ready;
        if sockets.shares.is_empty() {
            return count;
        }
        sockets.shares.begin_turn();
        while let Some((id, budget)) = sockets.shares.next() {
            let Some((port, _)) = socket_port(ports, id) else {
                sockets.shares.served(id, 0, 0, false);
                continue;
            };
            let read = match &mut port.connection {
                Some(connection) => {
                    let read = connection.read(id, pool, budget, on);
                    if read.proven {
                        let event = (id, connection.number, ConnectionEvent::Proven);
                        sockets.events.push(event);
                    }
                    read
                }
                None => SocketRead { more: Ok(false), ..SocketRead::NONE },
            };
            count += read.frames;
            sockets.shares.served(id, read.frames, read.bytes, read.more == Ok(true));
            if let Err(why) = read.more {
                sockets.close(id, port, why);
            }
        }
        count
    }

    /// Queues a run of frames for one socket port. [`Ports::flush_sockets`] sends them.
    pub(super) fn queue_socket(
        &mut self,
        run: &[(SubIndex, FrameRef)],
        stores: FrameStores<'_>,
        on_refused: &mut impl FnMut(Refusal),
    ) {
        let to = run[0].0;
        let Some((port, _)) = socket_port(&mut self.ports, to) else {
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
            self.sockets.queued.push(to);
        }
    }

    /// Sends what this turn has queued for socket ports, each time with one call.
    pub(super) fn flush_sockets(&mut self) {
        let Self { ports, sockets, .. } = self;
        let mut queued = std::mem::take(&mut sockets.queued);
        for id in queued.drain(..) {
            if let Some((port, stalled)) = socket_port(ports, id) {
                let Some(connection) = &mut port.connection else {
                    continue;
                };
                connection.queued = false;
                match connection.flush() {
                    Ok(()) => sockets.watch_or_close(id, port, !stalled),
                    Err(why) => sockets.close(id, port, why),
                }
            }
        }
        sockets.queued = queued;
    }

    /// Stops reading a socket port, or reads it again.
    pub(super) fn set_socket_stalled(&mut self, id: SubIndex, stalled: bool) {
        let Self { ports, sockets, .. } = self;
        let Some((port, _)) = socket_port(ports, id) else {
            return;
        };
        match stalled {
            true => sockets.shares.remove(id),
            // Frames that were received may wait.
            false if port.connection.is_some() => sockets.shares.wake(id),
            false => {}
        }
        sockets.watch_or_close(id, port, !stalled);
    }

    /// What has happened to connections since the last call, by their number.
    pub(crate) fn take_events(&mut self) -> impl Iterator<Item = (SubIndex, u64, ConnectionEvent)> {
        self.sockets.events.drain(..)
    }

    /// True if something has happened to a connection.
    pub(crate) fn has_events(&self) -> bool {
        !self.sockets.events.is_empty()
    }
}

impl SocketPorts {
    /// Serves a connection that epoll has reported: sends what waits, and has it read.
    fn serve_ready(&mut self, id: SubIndex, port: &mut SocketPort, stalled: bool) {
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

/// A socket port, and whether it is stalled.
fn socket_port(ports: &mut [Option<Port>], id: SubIndex) -> Option<(&mut SocketPort, bool)> {
    match ports.get_mut(id.index())? {
        Some(Port { link: PortLink::Socket(port), stalled, .. }) => Some((port, *stalled)),
        _ => None,
    }
}
