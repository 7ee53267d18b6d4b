//! `Ports`: the engine's ends of all sub-interfaces of one wire.
//!
//! | kind | file | what is behind the port |
//! |---|---|---|
//! | TAP | `tap/` | an interface of the kernel, served by io_uring or by epoll |
//! | memory | `memory.rs` | a [`MemoryLink`] of a test, a bench or an embedding program |
//! | socket | `socket.rs`, `socket_ports.rs`, `stream.rs`, `datagrams.rs` | a program, by a Unix socket |
//! | interface | `interface.rs`, `interface_ports.rs` | a program, by an interface of the kernel with a packet socket |
//! | vhost-user | `vhost.rs`, `vhost_ports.rs` | a program, by rings in its memory |
//!
//! A kind has its own file or folder here and a variant of [`PortLink`]. `Ports` matches on it
//! once a batch; switches, counters and drop reasons do not know it.

mod buffer_budget;
mod datagrams;
mod interface;
mod interface_ports;
mod io_backend;
mod memory;
mod rx;
mod rx_shares;
mod socket;
mod socket_ports;
mod stall;
mod stream;
mod tap;
mod vhost;
mod vhost_ports;
mod wait;

use std::io;
use std::sync::Arc;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::options::PortIo;
use umacvlan_core::stats::Counters;
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::tap::Tap;
use umacvlan_sys::uring::GENERATIONS;

use crate::frame_ref::{FrameRef, FrameStores};
use crate::memory_link::MemoryLink;
pub use buffer_budget::BufferBudget;
pub use interface::InterfacePort;
use interface_ports::InterfacePorts;
use io_backend::IoBackend;
use memory::MemoryPorts;
use rx_shares::{RxShares, TURN_FRAMES};
pub(crate) use socket::ConnectionEvent;
pub use socket::{PortClosed, ProgramSocket, SocketPort};
use socket_ports::SocketPorts;
pub use vhost::{VhostPort, VhostQueues};
use vhost_ports::VhostPorts;

/// What is behind a port.
#[derive(Debug)]
pub enum PortLink {
    /// A program, by an interface.
    Interface(InterfacePort),
    /// A link in memory.
    Memory(MemoryLink),
    /// A program, by a Unix socket.
    Socket(SocketPort),
    /// A TAP, or one of its queues.
    Tap(Arc<Tap>),
    /// A program, by rings in its memory.
    Vhost(VhostPort),
    /// A TAP with one queue that another worker reads: this one only writes to it.
    Writer(Arc<Tap>),
}

/// What ports report to their worker.
pub(crate) enum PortEvent<'b> {
    /// A sub-interface sent a frame.
    Frame { from: SubIndex, stored: FrameRef, bytes: &'b [u8] },
    /// The interface behind the port is gone.
    Gone { sub: SubIndex },
    /// A port refused a frame.
    Refused(Refusal),
    /// A sub-interface sent a frame that is not where the vnet header ends: somebody else has set the
    /// length of the header of its TAP.
    Unreadable { from: SubIndex },
}

/// A frame that was counted as delivered, and that its port then refused. Its bytes may be gone.
pub(crate) struct Refusal {
    pub(crate) to: SubIndex,
    /// What was counted: a merged frame counts as all its frames.
    pub(crate) lost: Counters,
    /// True for a multicast or broadcast frame.
    pub(crate) group: bool,
    pub(crate) reason: DropReason,
}

/// Every port, by [`SubIndex`], and the I/O backend for all TAPs.
#[derive(Debug)]
pub(crate) struct Ports {
    backend: IoBackend,
    /// Set by threads with a request for the worker.
    wake_event: Arc<EventFd>,
    ports: Vec<Option<Port>>,
    memory: MemoryPorts,
    sockets: SocketPorts,
    interfaces: InterfacePorts,
    vhosts: VhostPorts,
    /// TAPs that are read in shares: all that are ready, or with io_uring those that are busy.
    rx_shares: RxShares,
    /// TAPs that are being read by single reads of io_uring.
    in_batch: Vec<SubIndex>,
    /// TAPs whose queue such reads have emptied: their read is armed again once the turn has given
    /// its buffers back.
    to_arm: Vec<SubIndex>,
    generation: u8,
    buffer_budget: BufferBudget,
    /// True until a full uplink has reported that it has room.
    watches_uplink_writable: bool,
    /// It has.
    uplink_writable: bool,
}

/// The engine's end of one sub-interface.
#[derive(Debug)]
struct Port {
    id: SubIndex,
    link: PortLink,
    /// Tells completions for this port from late ones for a former port of the same index.
    generation: u8,
    /// True when the port is to be read.
    rx_enabled: bool,
    /// True while frames of it wait for a full uplink: it is not read then.
    stalled: bool,
    /// True while a multishot read of io_uring is armed.
    read_armed: bool,
    /// What the single reads of this turn have brought.
    batch: ReadBatch,
}

/// What a turn has read from one port.
#[derive(Clone, Copy, Debug, Default)]
struct ReadBatch {
    frames: usize,
    bytes: usize,
    /// `None`: there may be more.
    end: Option<ReadEnd>,
}

/// Why reading from a port has ended before its share was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadEnd {
    /// The queue is empty.
    Drained,
    /// The interface is gone.
    Gone,
}

impl Ports {
    /// No ports yet. The worker's own thread calls this: io_uring belongs to its thread.
    ///
    /// # Errors
    /// io_uring was demanded and does not work here, or no descriptor is left.
    pub(crate) fn new(
        io: PortIo,
        pool: &mut BufferPool,
        wake_event: Arc<EventFd>,
    ) -> io::Result<Self> {
        let backend = IoBackend::new(io, pool, &wake_event)?;
        Ok(Self {
            sockets: SocketPorts::new(&backend)?,
            interfaces: InterfacePorts::default(),
            vhosts: VhostPorts::default(),
            backend,
            wake_event,
            ports: Vec::new(),
            memory: MemoryPorts::default(),
            rx_shares: RxShares::default(),
            in_batch: Vec::with_capacity(TURN_FRAMES),
            to_arm: Vec::with_capacity(TURN_FRAMES),
            generation: 0,
            buffer_budget: BufferBudget::default(),
            watches_uplink_writable: false,
            uplink_writable: false,
        })
    }

    /// True when TAPs are served by io_uring.
    pub(crate) fn has_uring(&self) -> bool {
        matches!(self.backend, IoBackend::Uring { .. })
    }

    /// Adds a port. A TAP is written to at once, and read after [`Ports::resume_rx`]; frames sent
    /// before wait in its own queue. A program is read as soon as it is connected.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub(crate) fn add(&mut self, id: SubIndex, link: PortLink) -> io::Result<()> {
        self.generation = (self.generation + 1) % GENERATIONS;
        match (&link, &mut self.backend) {
            (PortLink::Memory(link), _) => self.memory.add(id, link),
            (PortLink::Interface(_), _) => self.interfaces.add(id),
            (PortLink::Socket(_), _) => self.sockets.add(id),
            (PortLink::Vhost(_), _) => self.vhosts.add(id),
            (PortLink::Tap(_) | PortLink::Writer(_), IoBackend::Plain { .. }) => {}
            (PortLink::Tap(tap) | PortLink::Writer(tap), IoBackend::Uring { uring, .. }) => {
                uring.add(slot(id), tap)?;
            }
        }
        if self.ports.len() <= id.index() {
            self.ports.resize_with(id.index() + 1, || None);
            self.rx_shares.reserve(self.ports.len());
        }
        self.ports[id.index()] = Some(Port {
            id,
            link,
            generation: self.generation,
            rx_enabled: false,
            stalled: false,
            read_armed: false,
            batch: ReadBatch::default(),
        });
        Ok(())
    }

    /// Reads a TAP from now on.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub(crate) fn resume_rx(&mut self, id: SubIndex) -> io::Result<()> {
        let Some(Some(port)) = self.ports.get_mut(id.index()) else {
            return Ok(());
        };
        let PortLink::Tap(tap) = &port.link else {
            return Ok(());
        };
        if port.rx_enabled {
            return Ok(());
        }
        port.rx_enabled = true;
        match &mut self.backend {
            IoBackend::Plain { epoll, taps, .. } => {
                *taps += 1;
                if port.stalled { Ok(()) } else { epoll.add(&**tap, id.index() as u64) }
            }
            // A read that is being cancelled is armed again when it has ended.
            IoBackend::Uring { .. } if port.read_armed || port.stalled => Ok(()),
            IoBackend::Uring { uring, .. } => {
                port.read_armed = true;
                uring.arm(slot(id), port.generation)
            }
        }
    }

    /// Stops reading a TAP. Frames in its queue are discarded; returns how many.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn pause_rx(&mut self, id: SubIndex) -> io::Result<u64> {
        let Some(Some(port)) = self.ports.get_mut(id.index()) else {
            return Ok(0);
        };
        let PortLink::Tap(tap) = &port.link else {
            return Ok(0);
        };
        let was_enabled = std::mem::replace(&mut port.rx_enabled, false);
        self.rx_shares.remove(id);
        self.to_arm.retain(|&other| other != id);
        match &mut self.backend {
            IoBackend::Plain { epoll, taps, .. } => {
                *taps -= usize::from(was_enabled);
                epoll.remove(&**tap);
            }
            IoBackend::Uring { uring, .. } => uring.disarm(slot(id), port.generation)?,
        }
        // A read cuts a frame to the room that there is, and removes it from the queue.
        let mut scrap = [0; 64];
        let mut discarded = 0;
        while let Ok(Some(_)) = tap.recv(&mut scrap) {
            discarded += 1;
        }
        Ok(discarded)
    }

    /// Removes a port, and with it the worker's hold on its TAP.
    pub(crate) fn remove(&mut self, id: SubIndex) {
        let Some(mut port) = self.ports.get_mut(id.index()).and_then(Option::take) else {
            return;
        };
        self.rx_shares.remove(id);
        self.to_arm.retain(|&other| other != id);
        match (&mut port.link, &mut self.backend) {
            (PortLink::Memory(link), _) => self.memory.remove(id, link),
            (PortLink::Interface(interface), _) => {
                self.interfaces.remove(id, interface, port.stalled, &mut self.sockets);
            }
            (PortLink::Socket(socket), _) => self.sockets.remove(id, socket),
            (PortLink::Vhost(vhost), _) => self.vhosts.remove(id, vhost, &mut self.sockets),
            (PortLink::Tap(tap), IoBackend::Plain { epoll, taps, .. }) => {
                *taps -= usize::from(port.rx_enabled);
                epoll.remove(&**tap);
            }
            (PortLink::Writer(_), IoBackend::Plain { .. }) => {}
            // The next owner overwrites a slot that cannot be freed.
            (PortLink::Tap(_) | PortLink::Writer(_), IoBackend::Uring { uring, .. }) => {
                drop(uring.remove(slot(id), port.generation))
            }
        }
    }

    /// The TAP behind a port.
    pub(crate) fn tap(&self, id: SubIndex) -> Option<&Tap> {
        match &self.ports.get(id.index())?.as_ref()?.link {
            PortLink::Tap(tap) | PortLink::Writer(tap) => Some(tap),
            _ => None,
        }
    }

    /// Writes frames to their ports. `on_refused` gets those that are refused at once; io_uring
    /// reports the others by [`Ports::recv`] of a later turn.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn send(
        &mut self,
        frames: &[(SubIndex, FrameRef)],
        stores: FrameStores<'_>,
        mut on_refused: impl FnMut(Refusal),
    ) -> io::Result<()> {
        let ports = &self.ports;
        let no_program =
            self.sockets.is_empty() && self.vhosts.is_empty() && self.interfaces.is_empty();
        let only_taps = self.memory.is_empty() && no_program;
        if let (IoBackend::Uring { uring, .. }, true) = (&mut self.backend, only_taps) {
            return uring.send(frames.len(), |number| {
                let (to, stored) = frames[number];
                let generation = ports[to.index()].as_ref().map_or(0, |port| port.generation);
                let bytes = stores.bytes(stored);
                (slot(to), generation, is_for_group(bytes), stored.completion_cookie(), bytes)
            });
        }
        for run in frames.chunk_by(|(one, _), (next, _)| one == next) {
            let to = run[0].0;
            let Some(port) = &self.ports[to.index()] else {
                continue;
            };
            let on_each_refused = |number: usize, reason| {
                let stored = run[number].1;
                let (lost, group) = (stored.counters(), is_for_group(stores.bytes(stored)));
                on_refused(Refusal { to, lost, group, reason });
            };
            // A closure for each kind, so that each is inlined.
            match &port.link {
                PortLink::Memory(link) => {
                    let frame = |number: usize| stores.bytes(run[number].1).into();
                    link.send(run.len(), frame, on_each_refused);
                }
                PortLink::Interface(_) => self.write_interface(run, stores, &mut on_refused),
                PortLink::Socket(_) => self.queue_socket(run, stores, &mut on_refused),
                PortLink::Vhost(_) => self.write_vhost(run, stores, &mut on_refused),
                PortLink::Tap(tap) | PortLink::Writer(tap) => match &mut self.backend {
                    IoBackend::Plain { .. } => {
                        let frame = |number: usize| stores.bytes(run[number].1);
                        tap::write(tap, run.len(), frame, on_each_refused);
                    }
                    IoBackend::Uring { uring, .. } => {
                        let generation = port.generation;
                        uring.send(run.len(), |number| {
                            let stored = run[number].1;
                            let (bytes, cookie) =
                                (stores.bytes(stored), stored.completion_cookie());
                            (slot(to), generation, is_for_group(bytes), cookie, bytes)
                        })?;
                    }
                },
            }
        }
        self.flush_sockets();
        self.publish_vhosts();
        match &mut self.backend {
            IoBackend::Plain { .. } => Ok(()),
            IoBackend::Uring { uring, .. } => uring.submit(),
        }
    }

    /// Ends the turn: its buffers may be read into again.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub(crate) fn end_turn(&mut self, pool: &mut BufferPool) -> io::Result<()> {
        pool.release();
        let IoBackend::Uring { uring, .. } = &mut self.backend else {
            return Ok(());
        };
        uring.provide_buffers(pool, self.buffer_budget.buffers());
        for id in self.to_arm.drain(..) {
            if let Some(port) = &mut self.ports[id.index()] {
                port.read_armed = true;
                uring.arm(slot(id), port.generation)?;
            }
        }
        Ok(())
    }
}

/// True for a multicast or broadcast frame behind its vnet header.
#[inline]
fn is_for_group(bytes: &[u8]) -> bool {
    bytes.get(VNET_LEN).is_some_and(|first| first & 1 != 0)
}

/// The slot of a port in the io_uring.
fn slot(id: SubIndex) -> u32 {
    // An index is below 65 536.
    u32::try_from(id.index()).unwrap_or(u32::MAX)
}
