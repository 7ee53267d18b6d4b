//! [`InterfacePorts`]: which ports with an interface of a program have something to read.

use std::io;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::packet::PacketSocket;

use super::interface::{InterfacePort, InterfaceRead, OpenInterface};
use super::rx_shares::RxShares;
use super::socket_ports::SocketPorts;
use super::{Port, PortLink, Ports, Refusal, is_for_group};
use crate::frame_ref::{FrameRef, FrameStores};

/// The ports of one worker with an interface of a program. Their sockets are in the epoll of the socket
/// ports.
#[derive(Debug, Default)]
pub(super) struct InterfacePorts {
    /// Ports.
    ports: usize,
    shares: RxShares,
}

impl InterfacePorts {
    /// True when there are no such ports.
    pub(super) const fn is_empty(&self) -> bool {
        self.ports == 0
    }

    /// True while a port waits for its share of a turn.
    pub(super) fn is_any_waiting(&self) -> bool {
        !self.shares.is_empty()
    }

    /// Adds a port, without an interface.
    pub(super) fn add(&mut self, id: SubIndex) {
        self.ports += 1;
        self.shares.reserve(id.index() + 1);
    }

    /// Removes a port.
    pub(super) fn remove(
        &mut self,
        id: SubIndex,
        port: &mut InterfacePort,
        stalled: bool,
        sockets: &mut SocketPorts,
    ) {
        self.ports -= 1;
        self.end(id, port, stalled, sockets);
    }

    /// Closes the socket of a port.
    fn end(
        &mut self,
        id: SubIndex,
        port: &mut InterfacePort,
        stalled: bool,
        sockets: &mut SocketPorts,
    ) {
        if let Some(open) = port.open.take() {
            sockets.connections -= 1;
            self.shares.remove(id);
            if !stalled {
                sockets.epoll.remove(&open.socket);
            }
        }
    }

    /// Has a port read, because epoll has reported its socket. False if it is none of these.
    pub(super) fn wake(&mut self, ports: &mut [Option<Port>], id: SubIndex) -> bool {
        let found = interface_port(ports, id);
        if let Some((InterfacePort { open: Some(_) }, false)) = &found {
            self.shares.wake(id);
        }
        found.is_some()
    }
}

impl Ports {
    /// Gives a port the socket on the interface of its program, in place of a former one; `None`: it has
    /// none any more.
    ///
    /// # Errors
    /// The kernel has no memory, or there is no such port.
    pub(crate) fn set_interface(
        &mut self,
        id: SubIndex,
        socket: Option<PacketSocket>,
    ) -> io::Result<()> {
        let Self { ports, sockets, interfaces, .. } = self;
        let Some((port, stalled)) = interface_port(ports, id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        interfaces.end(id, port, stalled, sockets);
        let Some(socket) = socket else {
            return Ok(());
        };
        if !stalled {
            sockets.epoll.add(&socket, id.index() as u64)?;
        }
        sockets.connections += 1;
        port.open = Some(Box::new(OpenInterface::new(socket)));
        Ok(())
    }

    /// Hands the frames that programs have sent through interfaces to `on`, of each port its share, and
    /// returns how many there were.
    pub(super) fn recv_interfaces(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let Self { ports, interfaces, .. } = self;
        if interfaces.shares.is_empty() {
            return 0;
        }
        let mut count = 0;
        interfaces.shares.begin_turn();
        while let Some((id, budget)) = interfaces.shares.next() {
            let read = match interface_port(ports, id) {
                Some((InterfacePort { open: Some(open) }, _)) => open.read(id, pool, budget, on),
                _ => InterfaceRead::default(),
            };
            count += read.frames;
            interfaces.shares.served(id, read.frames, read.bytes, read.more);
        }
        count
    }

    /// Sends a run of frames through the interface of one port.
    pub(super) fn write_interface(
        &mut self,
        run: &[(SubIndex, FrameRef)],
        stores: FrameStores<'_>,
        on_refused: &mut impl FnMut(Refusal),
    ) {
        let to = run[0].0;
        let Some((port, _)) = interface_port(&mut self.ports, to) else {
            return;
        };
        let frame = |number: usize| stores.bytes(run[number].1);
        let mut refuse = |number: usize, reason| {
            let (lost, group) = (run[number].1.counters(), is_for_group(frame(number)));
            on_refused(Refusal { to, lost, group, reason });
        };
        match &mut port.open {
            Some(open) => open.write(run.len(), frame, refuse),
            // Nobody is there to get them.
            None => (0..run.len()).for_each(|number| refuse(number, DropReason::Down)),
        }
    }

    /// Stops reading a port, or reads it again.
    pub(super) fn set_interface_stalled(&mut self, id: SubIndex, stalled: bool) -> io::Result<()> {
        let Self { ports, sockets, interfaces, .. } = self;
        let Some((InterfacePort { open: Some(open) }, _)) = interface_port(ports, id) else {
            return Ok(());
        };
        if stalled {
            interfaces.shares.remove(id);
            sockets.epoll.remove(&open.socket);
            return Ok(());
        }
        interfaces.shares.wake(id);
        sockets.epoll.add(&open.socket, id.index() as u64)
    }
}

/// A port with an interface of a program, and whether it is stalled.
fn interface_port(ports: &mut [Option<Port>], id: SubIndex) -> Option<(&mut InterfacePort, bool)> {
    match ports.get_mut(id.index())? {
        Some(Port { link: PortLink::Interface(port), stalled, .. }) => Some((port, *stalled)),
        _ => None,
    }
}
