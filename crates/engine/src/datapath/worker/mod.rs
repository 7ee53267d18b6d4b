//! [`Worker`]: one thread that serves one wire and all parents on it, or with others some of its
//! flows each.
//!
//! It owns the uplink, the tables, the ports and the counters, so nothing on the way of a frame is
//! shared and nothing is locked. Others ask it by message ([`WorkerHandle::call`]), and it answers
//! between two turns.

mod handle;
mod requests;
mod seccomp;

use std::io;
use std::sync::Arc;
use umacvlan_core::options::{PollMode, PortIo};

use crossbeam_channel::{Receiver, unbounded};
use umacvlan_core::{DropReason, SubIndex, Switch};
use umacvlan_sys::arena::Arena;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::tx_batch::Outgoing;

pub use handle::{Notice, Notifier, OnWorker, Stopped, WorkerHandle};
pub use requests::{AddError, Snapshot};
pub use seccomp::SYSTEM_CALLS;

use crate::datapath::forwarder::{Desk, Dispatch};
use crate::datapath::frame_ref::Places;
use crate::datapath::gro::Coalescer;
use crate::datapath::idle::IdlePolicy;
use crate::datapath::port::{PortEvent, Ports};
use crate::datapath::switches::{Switches, Vlans};
use crate::datapath::tx_queues::{Outlet, refused, unsent};
use crate::datapath::uplink::Uplink;

/// Frames that a turn takes from the uplink.
const WIRE_BURST: usize = 64;

/// Frames that a turn takes from all ports together.
const PORTS_BURST: usize = 256;

/// Pauses of the processor between two looks that find nothing: about a third of a microsecond.
const PAUSES: usize = 8;

/// Buffers for frames that come in no memory of their own: a few turns' worth. A power of two, as
/// the kernel's ring asks.
const BUFFERS: u16 = 256;

/// Something to be done by the worker between two turns.
type Request = Box<dyn FnOnce(&mut Worker) + Send>;

/// How a worker is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Whether frames of one flow that are written at once are merged.
    pub coalesce: bool,
    /// The core to run on; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// How TAPs are read and written.
    pub io: PortIo,
    /// What to do when there is nothing to do.
    pub poll: PollMode,
}

impl Default for WorkerConfig {
    /// Anywhere, by the best means, merging.
    fn default() -> Self {
        Self { coalesce: true, cpu: None, io: PortIo::default(), poll: PollMode::default() }
    }
}

/// The serving loop of one wire and everything it owns.
#[derive(Debug)]
pub struct Worker {
    dispatch: Dispatch,
    vlans: Vlans,
    uplink: Option<Uplink>,
    ports: Ports,
    arena: Arena,
    /// `None`: every frame is written as it came.
    coalescer: Option<Coalescer>,
    idle: IdlePolicy,
    requests: Receiver<Request>,
    notices: Option<Notifier>,
    /// Ports whose interface is gone, found in this turn.
    gone: Vec<SubIndex>,
    stop: bool,
}

/// What one turn has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames, from wire and ports.
    pub frames: usize,
    /// Frames and everything else: refusals, wake-ups.
    pub events: usize,
}

impl Worker {
    /// A worker without uplink and ports, to be run by hand with [`Worker::turn`] on this thread.
    ///
    /// # Errors
    /// No memory or descriptors, or io_uring was demanded and does not work here.
    pub fn new(switch: Switch, config: WorkerConfig) -> io::Result<Self> {
        let (_, requests) = unbounded();
        Self::build(switch, config, requests, Arc::new(EventFd::new()?), None)
    }

    fn build(
        switch: Switch,
        config: WorkerConfig,
        requests: Receiver<Request>,
        commands: Arc<EventFd>,
        notices: Option<Notifier>,
    ) -> io::Result<Self> {
        let mut arena = Arena::new(BUFFERS)?;
        let ports = Ports::new(config.io, &mut arena, commands)?;
        Ok(Self {
            dispatch: Dispatch::new(Switches::new(switch)),
            vlans: Vlans::new(),
            uplink: None,
            ports,
            arena,
            coalescer: config.coalesce.then(Coalescer::new),
            idle: IdlePolicy::new(config.poll),
            requests,
            notices,
            gone: Vec::new(),
            stop: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        while !self.stop {
            let requests = self.serve_requests();
            let Turn { frames, events } = self.turn()?;
            let worked = requests || events > 0 || !self.dispatch.desk.groups.is_empty();
            if !worked {
                // Looking without pause would take the ring's next slot away from the core that
                // fills it, and the cycles from a sibling thread of this one.
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            if self.idle.after_turn(frames, worked) && !self.stop {
                self.ports.sleep(self.uplink.as_ref(), None)?;
                self.idle.after_sleep();
                if let Some(uplink) = &self.uplink {
                    uplink.forgive();
                }
            }
        }
        Ok(())
    }

    /// One pass: read from the wire and from the ports, decide, write.
    ///
    /// # Errors
    /// The ring has failed, and with it the worker.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let Self { dispatch, vlans, uplink, ports, arena, gone, .. } = self;
        dispatch.resume_floods();
        let mut turn = Turn::default();
        if let Some(uplink) = uplink {
            turn.frames = uplink.recv(arena, vlans, WIRE_BURST, |to, held, bytes| {
                dispatch.ingress(to, held, bytes);
            });
            turn.events = turn.frames;
        }
        turn.events += ports.recv(arena, PORTS_BURST, |event| match event {
            PortEvent::Frame { from, held, bytes } => {
                turn.frames += 1;
                dispatch.egress(from, held, bytes);
            }
            PortEvent::Gone { sub } => gone.push(sub),
            PortEvent::Refused { to, held, group, reason } => {
                refused(&mut dispatch.desk.outlet.subs, to, held, group, reason);
            }
        });
        let frames =
            ports.recv_memory(arena, |from, held, bytes| dispatch.egress(from, held, bytes));
        turn.frames += frames;
        turn.events += frames;
        turn.events += usize::from(self.flush()?);
        self.tell();
        Ok(turn)
    }

    /// Writes what the turn has noted down and gives its memory back. True when the uplink has more
    /// to send.
    fn flush(&mut self) -> io::Result<bool> {
        let Self { dispatch, vlans, uplink, ports, arena, coalescer, .. } = self;
        let Dispatch { switches, desk: Desk { groups, outlet, .. } } = dispatch;
        let Outlet { to_ports, to_wire, scratch, subs, offloads } = outlet;
        // What came from the wire never goes back there, so nothing here lies in the uplink's memory.
        let places = Places { arena, groups, merged: None, scratch, uplink: None };
        let mut lost = |number: usize, reason| {
            let (at, held) = to_wire[number];
            unsent(&mut switches.at_mut(at).wire, held.frame_len(), reason);
        };
        let frame = |number: usize| {
            let (at, held) = to_wire[number];
            Outgoing { unit: places.bytes(held), path: vlans.path(at) }
        };
        match uplink {
            _ if to_wire.is_empty() => {}
            Some(uplink) => uplink.send(to_wire.len(), frame, lost),
            None => (0..to_wire.len()).for_each(|number| lost(number, DropReason::NoCarrier)),
        }
        let mut places = Places { uplink: uplink.as_ref(), ..places };
        if let Some(coalescer) = coalescer.as_mut() {
            coalescer.merge(to_ports, places, offloads, subs);
        }
        places.merged = coalescer.as_ref();
        ports.send(to_ports, places, |event| {
            if let PortEvent::Refused { to, held, group, reason } = event {
                refused(subs, to, held, group, reason);
            }
        })?;
        dispatch.release();
        if let Some(coalescer) = coalescer {
            coalescer.release();
        }
        let more = uplink.as_mut().is_some_and(Uplink::release);
        ports.release(arena)?;
        Ok(more)
    }

    /// Tells what the turn has found out, and forgets it.
    fn tell(&mut self) {
        if self.gone.is_empty() && self.dispatch.desk.reports.is_empty() {
            return;
        }
        let groups = self.dispatch.desk.reports.drain(..).map(Notice::Groups);
        let gone = self.gone.drain(..).map(Notice::PortGone);
        match &self.notices {
            Some(notifier) => notifier.notify(groups.chain(gone)),
            None => groups.chain(gone).for_each(drop),
        }
    }

    /// Does what was asked since the last turn; true if anything was.
    fn serve_requests(&mut self) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        while let Ok(request) = self.requests.try_recv() {
            request(self);
        }
        true
    }
}
