//! `Ports`: the engine's ends of all sub-interfaces of one parent.

mod memory;
mod tap;
mod wait;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use umacvlan_core::options::PortIo;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{DropReason, SubIndex};
use umacvlan_sys::arena::Arena;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;
use umacvlan_sys::tap::Tap;
use umacvlan_sys::uring::{Completion, GENERATIONS, Uring};

use crate::datapath::frame_ref::{Held, Places};
use crate::datapath::memory_link::MemoryLink;
use memory::MemoryPorts;
pub use tap::uring::BufferBudget;
use tap::uring::complete;
use tap::{PORT_BURST, Port};

/// Slots for TAPs in a ring: one for each sub-interface that a switch can have.
const SLOTS_MAX: u32 = 65_536;

/// Names of what is waited for beside the ports.
const UPLINK: u32 = u32::MAX;
const COMMANDS: u32 = u32::MAX - 1;

/// What is behind a port.
#[derive(Debug)]
pub enum PortLink {
    /// A test or a bench.
    Memory(MemoryLink),
    /// A TAP, or one of its queues.
    Tap(Arc<Tap>),
    /// A TAP of one queue, which another worker reads: here it is only written to.
    Writer(Arc<Tap>),
}

/// Something that a port has to say.
pub(crate) enum PortEvent<'b> {
    /// A sub-interface sent a frame.
    Frame { from: SubIndex, held: Held, bytes: &'b [u8] },
    /// The interface behind the port is gone.
    Gone { sub: SubIndex },
    /// A frame that was counted as delivered before was refused. Its bytes may be gone.
    Refused { to: SubIndex, held: Held, group: bool, reason: DropReason },
}

/// Every port, by [`SubIndex`], and the means to serve them all at once.
#[derive(Debug)]
pub(crate) struct Ports {
    means: Means,
    /// Set by those who ask the worker something.
    commands: Arc<EventFd>,
    ports: Vec<Option<Port>>,
    memory: MemoryPorts,
    /// Ports whose read has ended and is armed again when the turn has given its buffers back.
    ended: Vec<SubIndex>,
    generation: u8,
    buffer_budget: BufferBudget,
}

#[derive(Debug)]
enum Means {
    Plain {
        epoll: Epoll,
        ready: Vec<u64>,
        /// The first port for which a turn had no buffer left: the next one begins with it.
        next: Option<u64>,
        /// TAPs that are listened to: without any there is nothing to ask the kernel.
        taps: usize,
    },
    Uring {
        /// Boxed: it is many times the size of the other variant.
        uring: Box<Uring>,
        watches_uplink: bool,
        watches_commands: bool,
    },
}

impl Ports {
    /// No ports yet; TAPs will be served by these means. Call it on the worker's own thread.
    ///
    /// # Errors
    /// io_uring was demanded and does not work here, or there is no descriptor to be had.
    pub(crate) fn new(io: PortIo, arena: &mut Arena, commands: Arc<EventFd>) -> io::Result<Self> {
        // The ring's table may not be larger than the limit on descriptors, nor need it be.
        let descriptors = process::raise_descriptor_limit()?;
        let slots = u32::try_from(descriptors).unwrap_or(SLOTS_MAX).min(SLOTS_MAX);
        let uring = match io {
            PortIo::Plain => None,
            PortIo::Uring => Some(Uring::new(arena, slots)?),
            PortIo::Auto => Uring::new(arena, slots).ok(),
        };
        let means = match uring {
            Some(uring) => Means::Uring {
                uring: Box::new(uring),
                watches_uplink: false,
                watches_commands: false,
            },
            None => {
                let epoll = Epoll::new()?;
                epoll.add(&*commands, u64::from(COMMANDS))?;
                Means::Plain { epoll, ready: Vec::with_capacity(256), next: None, taps: 0 }
            }
        };
        Ok(Self {
            means,
            commands,
            ports: Vec::new(),
            memory: MemoryPorts::default(),
            ended: Vec::new(),
            generation: 0,
            buffer_budget: BufferBudget::default(),
        })
    }

    /// True when TAPs are served by io_uring.
    pub(crate) fn has_uring(&self) -> bool {
        matches!(self.means, Means::Uring { .. })
    }

    /// Serves one more port. A TAP is written to at once and read from when the engine
    /// [listens](Ports::listen) to it; what is sent before waits in its own queue.
    ///
    /// # Errors
    /// No memory in the kernel.
    pub(crate) fn add(&mut self, id: SubIndex, link: PortLink) -> io::Result<()> {
        self.generation = (self.generation + 1) % GENERATIONS;
        match (&link, &mut self.means) {
            (PortLink::Memory(link), _) => self.memory.add(id, link),
            (PortLink::Tap(_) | PortLink::Writer(_), Means::Plain { .. }) => {}
            (PortLink::Tap(tap) | PortLink::Writer(tap), Means::Uring { uring, .. }) => {
                uring.add(slot(id), tap.as_fd())?;
            }
        }
        if self.ports.len() <= id.index() {
            self.ports.resize_with(id.index() + 1, || None);
        }
        self.ports[id.index()] =
            Some(Port { id, link, generation: self.generation, listening: false, armed: false });
        Ok(())
    }

    /// Reads from a TAP from now on.
    ///
    /// # Errors
    /// No memory in the kernel.
    pub(crate) fn listen(&mut self, id: SubIndex) -> io::Result<()> {
        let Some(Some(port)) = self.ports.get_mut(id.index()) else {
            return Ok(());
        };
        let PortLink::Tap(tap) = &port.link else {
            return Ok(());
        };
        if port.listening {
            return Ok(());
        }
        port.listening = true;
        match &mut self.means {
            Means::Plain { epoll, taps, .. } => {
                *taps += 1;
                epoll.add(&**tap, id.index() as u64)
            }
            // A read that is being ended is armed again when it has.
            Means::Uring { .. } if port.armed => Ok(()),
            Means::Uring { uring, .. } => {
                port.armed = true;
                uring.arm(slot(id), port.generation)
            }
        }
    }

    /// Reads from a TAP no longer. What has been sent already and not read is lost to the count
    /// that is returned.
    ///
    /// # Errors
    /// The ring itself has failed, and with it the worker.
    pub(crate) fn deafen(&mut self, id: SubIndex) -> io::Result<u64> {
        let Some(Some(port)) = self.ports.get_mut(id.index()) else {
            return Ok(0);
        };
        let PortLink::Tap(tap) = &port.link else {
            return Ok(0);
        };
        let listened = std::mem::replace(&mut port.listening, false);
        match &mut self.means {
            Means::Plain { epoll, taps, .. } => {
                *taps -= usize::from(listened);
                epoll.remove(&**tap);
            }
            Means::Uring { uring, .. } => uring.disarm(slot(id), port.generation)?,
        }
        // A frame is cut to what there is room for, and gone.
        let mut scrap = [0; 64];
        let mut lost = 0;
        while let Ok(Some(_)) = tap.recv(&mut scrap) {
            lost += 1;
        }
        Ok(lost)
    }

    /// Serves a port no longer. Its TAP is gone with the end of this call.
    pub(crate) fn remove(&mut self, id: SubIndex) {
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::take) else {
            return;
        };
        self.ended.retain(|&other| other != id);
        match (&port.link, &mut self.means) {
            (PortLink::Memory(link), _) => self.memory.remove(id, link),
            (PortLink::Tap(tap), Means::Plain { epoll, taps, .. }) => {
                *taps -= usize::from(port.listening);
                epoll.remove(&**tap);
            }
            (PortLink::Writer(_), Means::Plain { .. }) => {}
            // A slot that cannot be freed is overwritten by its next owner.
            (PortLink::Tap(_) | PortLink::Writer(_), Means::Uring { uring, .. }) => {
                drop(uring.remove(slot(id), port.generation))
            }
        }
    }

    /// The TAP behind a port.
    pub(crate) fn tap(&self, id: SubIndex) -> Option<&Tap> {
        match &self.ports.get(id.index())?.as_ref()?.link {
            PortLink::Memory(_) => None,
            PortLink::Tap(tap) | PortLink::Writer(tap) => Some(tap),
        }
    }

    /// Hands what the TAPs have to say to `on`, about `budget` frames of it, and returns how much
    /// it was.
    pub(crate) fn recv(
        &mut self,
        arena: &mut Arena,
        budget: usize,
        mut on: impl FnMut(PortEvent<'_>),
    ) -> usize {
        match &mut self.means {
            Means::Plain { taps: 0, .. } => 0,
            Means::Plain { epoll, ready, next, .. } => {
                ready.clear();
                if let Ok(names) = epoll.wait(Some(Duration::ZERO)) {
                    ready.extend(names);
                }
                // Told in the same order every time, ports that always have more would leave the
                // last ones without a buffer for ever.
                let first = next.take();
                if let Some(at) = ready.iter().position(|&name| Some(name) == first) {
                    ready.rotate_left(at);
                }
                let mut count = 0;
                for &name in ready.iter() {
                    let index = usize::try_from(name).unwrap_or(usize::MAX);
                    match self.ports.get(index) {
                        Some(Some(_)) if arena.is_used_up() => *next = next.or(Some(name)),
                        Some(Some(port)) => count += port.read(arena, &mut on),
                        _ if name == u64::from(COMMANDS) => {
                            self.commands.clear();
                            count += 1;
                        }
                        _ => {}
                    }
                }
                count
            }
            Means::Uring { uring, watches_uplink, watches_commands } => {
                let (ports, ended, commands) = (&mut self.ports, &mut self.ended, &self.commands);
                let buffer_budget = &mut self.buffer_budget;
                uring.completions(arena, budget, |arena, completion| match completion {
                    Completion::Ready { name: UPLINK } => *watches_uplink = false,
                    Completion::Ready { .. } => {
                        commands.clear();
                        *watches_commands = false;
                    }
                    completion => {
                        if let Completion::Read { len, .. } = completion {
                            buffer_budget.note(len);
                        }
                        complete(ports, ended, arena, completion, &mut on);
                    }
                })
            }
        }
    }

    /// Hands the frames that wait at ports in memory to `on`, and returns how many there were. To
    /// be asked after [`Ports::recv`]: a wake-up cleared there is followed by this look at what it
    /// was for.
    pub(crate) fn recv_memory(
        &mut self,
        arena: &mut Arena,
        mut on: impl FnMut(SubIndex, Held, &[u8]),
    ) -> usize {
        let ports = &mut self.ports;
        self.memory.serve(|id| {
            if arena.is_used_up() {
                return None;
            }
            let Some(Some(Port { link: PortLink::Memory(link), .. })) = ports.get_mut(id.index())
            else {
                return Some((0, false));
            };
            Some(link.recv(arena, PORT_BURST, |held, bytes| on(id, held, &*bytes)))
        })
    }

    /// Writes frames to their ports. What is refused is told to `on`, now or with the next frames.
    ///
    /// # Errors
    /// The ring itself has failed, and with it the worker.
    pub(crate) fn send(
        &mut self,
        frames: &[(SubIndex, Held)],
        places: Places<'_>,
        mut on: impl FnMut(PortEvent<'_>),
    ) -> io::Result<()> {
        let ports = &self.ports;
        if let (Means::Uring { uring, .. }, true) = (&mut self.means, self.memory.is_empty()) {
            return uring.send(frames.len(), |number| {
                let (to, held) = frames[number];
                let generation = ports[to.index()].as_ref().map_or(0, |port| port.generation);
                let bytes = places.bytes(held);
                (slot(to), generation, is_for_group(bytes), held.more(), bytes)
            });
        }
        for run in frames.chunk_by(|(one, _), (next, _)| one == next) {
            let to = run[0].0;
            let Some(port) = &ports[to.index()] else {
                continue;
            };
            let bytes = |number: usize| places.bytes(run[number].1);
            port.write(run.len(), bytes, |number, reason| {
                let (held, group) = (run[number].1, is_for_group(bytes(number)));
                on(PortEvent::Refused { to, held, group, reason });
            });
        }
        match &mut self.means {
            Means::Plain { .. } => Ok(()),
            Means::Uring { uring, .. } => uring.submit(),
        }
    }

    /// Ends the turn: buffers may be read into again.
    ///
    /// # Errors
    /// The ring itself has failed, and with it the worker.
    pub(crate) fn release(&mut self, arena: &mut Arena) -> io::Result<()> {
        arena.release();
        let Means::Uring { uring, .. } = &mut self.means else {
            return Ok(());
        };
        uring.lend(arena, self.buffer_budget.buffers());
        for id in self.ended.drain(..) {
            if let Some(port) = &mut self.ports[id.index()] {
                port.armed = true;
                uring.arm(slot(id), port.generation)?;
            }
        }
        Ok(())
    }
}

/// True when the frame behind the vnet header is for a group.
#[inline]
fn is_for_group(bytes: &[u8]) -> bool {
    bytes.get(VNET_LEN).is_some_and(|first| first & 1 != 0)
}

/// The slot of a port in the ring.
fn slot(id: SubIndex) -> u32 {
    // An identifier is below 65 536.
    u32::try_from(id.index()).unwrap_or(u32::MAX)
}
