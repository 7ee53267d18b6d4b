//! [`VhostPorts`]: which vhost-user ports of a worker are looked at.

use std::io;

use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;

use super::rx_shares::RxShares;
use super::socket::{ConnectionEvent, PortClosed};
use super::socket_ports::SocketPorts;
use super::vhost::{Running, VhostPort, VhostQueues, VhostRead};
use super::{Port, PortLink, Ports, Refusal, is_for_group};
use crate::frame_ref::{FrameRef, FrameStores};

/// Turns without a frame after which a ring is no longer looked at, while the worker has other work.
const IDLE_TURNS: u16 = 1000;

/// The vhost-user ports of one worker.
#[derive(Debug, Default)]
pub(super) struct VhostPorts {
    /// Ports.
    ports: usize,
    shares: RxShares,
    /// Ports whose ring is looked at each turn, because their program was asked not to kick.
    polled: Vec<SubIndex>,
    /// Ports to which this turn has written.
    written: Vec<SubIndex>,
}

impl VhostPorts {
    /// True when there are no such ports.
    pub(super) const fn is_empty(&self) -> bool {
        self.ports == 0
    }

    /// True while a port waits for its share of a turn.
    pub(super) fn is_any_waiting(&self) -> bool {
        !self.shares.is_empty()
    }

    /// Adds a port, without rings.
    pub(super) fn add(&mut self, id: SubIndex) {
        self.ports += 1;
        let ports = id.index() + 1;
        self.shares.reserve(ports);
        for list in [&mut self.polled, &mut self.written] {
            list.reserve(ports.saturating_sub(list.len()));
        }
    }

    /// Removes a port with its rings.
    pub(super) fn remove(&mut self, id: SubIndex, port: &mut VhostPort, sockets: &mut SocketPorts) {
        self.ports -= 1;
        self.end(id, port, sockets);
    }

    /// Ends the service of the rings of a port, without a report.
    fn end(
        &mut self,
        id: SubIndex,
        port: &mut VhostPort,
        sockets: &mut SocketPorts,
    ) -> Option<Box<Running>> {
        let running = port.queues.take()?;
        sockets.connections -= 1;
        self.shares.remove(id);
        self.polled.retain(|&other| other != id);
        self.written.retain(|&other| other != id);
        if let Some(kick) = &running.queues.kick {
            sockets.epoll.remove(&**kick);
        }
        Some(running)
    }

    /// Ends the service of the rings of a port, to be reported.
    fn close(
        &mut self,
        id: SubIndex,
        port: &mut VhostPort,
        sockets: &mut SocketPorts,
        why: PortClosed,
    ) {
        if let Some(running) = self.end(id, port, sockets) {
            sockets.events.push((id, running.queues.number, ConnectionEvent::Closed(why)));
        }
    }

    /// Looks at the ring of a port each turn, because its program has kicked.
    pub(super) fn kicked(&mut self, ports: &mut [Option<Port>], id: SubIndex) {
        if let Some((VhostPort { queues: Some(running) }, false)) = vhost_port(ports, id) {
            self.poll(id, running);
        }
    }

    fn poll(&mut self, id: SubIndex, running: &mut Running) {
        running.idle_turns = 0;
        if !std::mem::replace(&mut running.polled, true) {
            running.queues.from_program.suppress_kicks();
            self.polled.push(id);
        }
    }
}

impl Ports {
    /// Serves the rings of a program, in place of former ones.
    ///
    /// # Errors
    /// The kernel has no memory, or there is no such port.
    pub(crate) fn start_rings(&mut self, id: SubIndex, queues: VhostQueues) -> io::Result<()> {
        let Self { ports, sockets, vhosts, .. } = self;
        let Some((port, stalled)) = vhost_port(ports, id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        vhosts.end(id, port, sockets);
        if let Some(kick) = &queues.kick {
            sockets.epoll.add_edge(&**kick, id.index() as u64)?;
        }
        // Nothing is done with a kick about room: what does not fit is lost at once.
        queues.to_program.suppress_kicks();
        sockets.connections += 1;
        let running = port.queues.insert(Box::new(Running::new(queues)));
        if !stalled {
            // What was sent before may have been kicked to somebody else.
            vhosts.poll(id, running);
        }
        Ok(())
    }

    /// Serves the rings of a port no longer. Returns their next available entries.
    pub(crate) fn stop_rings(&mut self, id: SubIndex) -> Option<[u16; 2]> {
        let Self { ports, sockets, vhosts, .. } = self;
        let (port, _) = vhost_port(ports, id)?;
        let VhostQueues { to_program, from_program, .. } = vhosts.end(id, port, sockets)?.queues;
        Some([to_program.next(), from_program.next()])
    }

    /// Hands the frames that programs have put into rings to `on`, of each port its share, and returns
    /// how many there were.
    pub(super) fn recv_vhosts(
        &mut self,
        pool: &mut BufferPool,
        on: &mut dyn FnMut(SubIndex, FrameRef, &[u8]),
    ) -> usize {
        let Self { ports, sockets, vhosts, .. } = self;
        if vhosts.polled.is_empty() {
            return 0;
        }
        let shares = &mut vhosts.shares;
        vhosts.polled.retain(|&id| match vhost_port(ports, id) {
            Some((VhostPort { queues: Some(running) }, _)) => look(id, running, shares),
            _ => false,
        });
        if vhosts.shares.is_empty() {
            return 0;
        }
        let mut count = 0;
        vhosts.shares.begin_turn();
        while let Some((id, budget)) = vhosts.shares.next() {
            let Some((port, _)) = vhost_port(ports, id) else {
                vhosts.shares.served(id, 0, 0, false);
                continue;
            };
            let read = match &mut port.queues {
                Some(running) => running.read(id, pool, budget, on),
                None => VhostRead { frames: 0, bytes: 0, more: Ok(false) },
            };
            count += read.frames;
            vhosts.shares.served(id, read.frames, read.bytes, read.more == Ok(true));
            if let Err(why) = read.more {
                vhosts.close(id, port, sockets, why);
            }
        }
        count
    }

    /// Copies a run of frames into the ring of one port. [`Ports::publish_vhosts`] hands them over.
    pub(super) fn write_vhost(
        &mut self,
        run: &[(SubIndex, FrameRef)],
        stores: FrameStores<'_>,
        on_refused: &mut impl FnMut(Refusal),
    ) {
        let to = run[0].0;
        let Self { ports, sockets, vhosts, .. } = self;
        let Some((port, _)) = vhost_port(ports, to) else {
            return;
        };
        let listed = port.queues.as_ref().is_none_or(|running| running.written);
        for &(_, stored) in run {
            let bytes = stores.bytes(stored);
            let written = match &mut port.queues {
                Some(running) => running.write(bytes),
                // Nobody is there to get it.
                None => Err((DropReason::Down, None)),
            };
            if let Err((reason, closed)) = written {
                let (lost, group) = (stored.counters(), is_for_group(bytes));
                on_refused(Refusal { to, lost, group, reason });
                if let Some(why) = closed {
                    vhosts.close(to, port, sockets, why);
                }
            }
        }
        if !listed && port.queues.as_ref().is_some_and(|running| running.written) {
            vhosts.written.push(to);
        }
    }

    /// Hands over what this turn has written to rings, and tells each program once.
    pub(super) fn publish_vhosts(&mut self) {
        let Self { ports, sockets, vhosts, .. } = self;
        while let Some(id) = vhosts.written.pop() {
            if let Some((port, _)) = vhost_port(ports, id)
                && let Some(running) = &mut port.queues
                && let Err(why) = running.publish()
            {
                vhosts.close(id, port, sockets, why);
            }
        }
    }

    /// Asks all programs for kicks, because the worker is about to sleep. True if one has sent something
    /// meanwhile.
    pub(super) fn request_vhost_kicks(&mut self) -> bool {
        let Self { ports, vhosts, .. } = self;
        let mut more = false;
        vhosts.polled.retain(|&id| {
            let Some((VhostPort { queues: Some(running) }, stalled)) = vhost_port(ports, id) else {
                return false;
            };
            // One that is stalled is read when the uplink has room, and needs no kick for that.
            if !stalled && running.queues.from_program.request_kicks() != Ok(false) {
                // Also after an error, which the next turn finds.
                running.queues.from_program.suppress_kicks();
                more = true;
                return true;
            }
            running.polled = stalled;
            stalled
        });
        more
    }

    /// Stops reading a port, or reads it again.
    pub(super) fn set_vhost_stalled(&mut self, id: SubIndex, stalled: bool) {
        let Self { ports, vhosts, .. } = self;
        vhosts.shares.remove(id);
        let Some((VhostPort { queues: Some(running) }, _)) = vhost_port(ports, id) else {
            return;
        };
        match stalled {
            true => {
                vhosts.polled.retain(|&other| other != id);
                running.polled = false;
            }
            false => vhosts.poll(id, running),
        }
    }
}

/// Looks whether the program of a port has sent something. False when the ring is not to be looked at
/// any more.
#[inline]
fn look(id: SubIndex, running: &mut Running, shares: &mut RxShares) -> bool {
    // An error is found by the read.
    if running.queues.from_program.available() != Ok(0) || running.is_memory_lost() {
        running.idle_turns = 0;
        shares.wake(id);
        return true;
    }
    running.idle_turns = running.idle_turns.saturating_add(1);
    if running.idle_turns < IDLE_TURNS {
        return true;
    }
    running.idle_turns = 0;
    match running.queues.from_program.request_kicks() {
        Ok(false) => {
            running.polled = false;
            false
        }
        _ => {
            running.queues.from_program.suppress_kicks();
            true
        }
    }
}

/// A vhost-user port, and whether it is stalled.
fn vhost_port(ports: &mut [Option<Port>], id: SubIndex) -> Option<(&mut VhostPort, bool)> {
    match ports.get_mut(id.index())? {
        Some(Port { link: PortLink::Vhost(port), stalled, .. }) => Some((port, *stalled)),
        _ => None,
    }
}
