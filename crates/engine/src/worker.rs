//! [`Worker`]: one thread that serves one parent.
//!
//! It owns the uplink, the table, the ports and the counters, so nothing on the way of a frame is
//! shared and nothing is locked. Others ask it by message ([`WorkerHandle::call`]), and it answers
//! between two turns.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use umacvlan_core::offload::Offloads;
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{DropReason, Refusal, SubConfig, SubId, Switch};

use crate::dispatch::{Dispatch, Outlet, refused, unsent};
use crate::held::Places;
use crate::idle::{Idle, Poll, TurnStats};
use crate::port::{PortEvent, PortIo, PortLink, Ports};
use crate::sys::arena::Arena;
use crate::sys::eventfd::EventFd;
use crate::sys::process;
use crate::sys::tap::Tap;
use crate::uplink::Uplink;

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
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerConfig {
    /// The core to run on; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// How TAPs are read and written.
    pub io: PortIo,
    /// What to do when there is nothing to do.
    pub poll: Poll,
}

/// Something that a worker tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A sub-interface reported that it joined or left a group.
    Groups(SubId),
    /// The interface behind a port is gone.
    PortGone(SubId),
}

/// All counters of a worker at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the uplink got and sent.
    pub wire: WireStats,
    /// What each sub-interface got and sent.
    pub subs: Vec<(SubId, SubStats)>,
    /// The sum over sub-interfaces that were removed.
    pub removed: SubStats,
    /// What the worker did with its time.
    pub turns: TurnStats,
    /// Floods that wait, and so are counted but not yet finished.
    pub waiting: usize,
    /// True when TAPs are served by io_uring.
    pub uring: bool,
}

impl Snapshot {
    /// True when every frame has one fate and every copy was taken or lost for a reason. Holds
    /// whenever no flood waits and no write is under way.
    pub fn accounted(&self) -> bool {
        let mut subs = self.removed;
        for &(_, stats) in &self.subs {
            subs += stats;
        }
        umacvlan_core::stats::accounted(&self.wire, &subs)
    }
}

/// The serving loop of one parent and everything it owns.
#[derive(Debug)]
pub struct Worker {
    dispatch: Dispatch,
    uplink: Option<Uplink>,
    ports: Ports,
    arena: Arena,
    idle: Idle,
    requests: Receiver<Request>,
    notices: Option<Notifier>,
    /// Ports whose interface is gone, found in this turn.
    gone: Vec<SubId>,
    removed: SubStats,
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

/// Where a worker's notices go: a channel, and a bell for the one who waits at the other end.
#[derive(Clone, Debug)]
pub struct Notifier {
    worker: u64,
    sender: Sender<(u64, Notice)>,
    bell: Arc<EventFd>,
}

impl Notifier {
    /// Notices go to that channel with the number of the worker, and the bell is rung after them.
    pub fn new(worker: u64, sender: Sender<(u64, Notice)>, bell: Arc<EventFd>) -> Self {
        Self { worker, sender, bell }
    }

    fn notify(&self, notices: impl Iterator<Item = Notice>) {
        for notice in notices {
            // Nobody at the other end: the engine is being taken down.
            let _ = self.sender.send((self.worker, notice));
        }
        self.bell.wake();
    }
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

    /// Starts a worker on a thread of its own.
    ///
    /// # Errors
    /// As [`Worker::new`], or no thread to be had.
    pub fn spawn(
        name: &str,
        switch: Switch,
        config: WorkerConfig,
        notices: Option<Notifier>,
    ) -> io::Result<WorkerHandle> {
        let (sender, requests) = unbounded();
        let commands = Arc::new(EventFd::new()?);
        let (ready, started) = crossbeam_channel::bounded(1);
        let bell = Arc::clone(&commands);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Some(id) = config.cpu {
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            process::tighten_timers();
            // The ring serves the thread that made it, so everything is built here.
            match Self::build(switch, config, requests, bell, notices) {
                Ok(worker) => {
                    let _ = ready.send(Ok(()));
                    worker.run()
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    Ok(())
                }
            }
        })?;
        let stopped = || io::Error::other("the worker ended before it began");
        started.recv().map_err(|_| stopped())??;
        Ok(WorkerHandle { sender, commands, thread: Some(thread) })
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
            dispatch: Dispatch::new(switch),
            uplink: None,
            ports,
            arena,
            idle: Idle::new(config.poll),
            requests,
            notices,
            gone: Vec::new(),
            removed: SubStats::default(),
            stop: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        while !self.stop {
            let requests = self.serve_requests();
            let Turn { frames, events } = self.turn()?;
            let worked = requests || events > 0 || !self.dispatch.groups.is_empty();
            if !worked {
                // Looking too often takes the ring's next slot away from the core that fills it.
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            if self.idle.after_turn(frames, worked) && !self.stop {
                self.ports.sleep(self.uplink.as_ref(), None)?;
                self.idle.after_sleep();
                self.forgive_uplink();
            }
        }
        Ok(())
    }

    /// One pass: read from the wire and from the ports, decide, write.
    ///
    /// # Errors
    /// The ring has failed, and with it the worker.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let Self { dispatch, uplink, ports, arena, gone, .. } = self;
        dispatch.resume_floods();
        let mut turn = Turn::default();
        if let Some(uplink) = uplink {
            turn.frames =
                uplink.recv(arena, WIRE_BURST, |held, bytes| dispatch.ingress(held, bytes));
            turn.events = turn.frames;
        }
        turn.events += ports.recv(arena, PORTS_BURST, |event| match event {
            PortEvent::Frame { from, held, bytes } => {
                turn.frames += 1;
                dispatch.egress(from, held, bytes);
            }
            PortEvent::Gone { sub } => gone.push(sub),
            PortEvent::Refused { to, len, reason } => {
                refused(&mut dispatch.outlet.subs, to, len, reason);
            }
        });
        self.flush()?;
        self.tell();
        Ok(turn)
    }

    /// Writes what the turn has noted down and gives its memory back.
    fn flush(&mut self) -> io::Result<()> {
        let Self { dispatch, uplink, ports, arena, .. } = self;
        let Dispatch { groups, outlet, .. } = dispatch;
        let Outlet { to_ports, to_wire, scratch, wire, subs, .. } = outlet;
        // What came from the wire never goes back there, so nothing here lies in the uplink's memory.
        let places = Places { arena, groups, scratch, uplink: None };
        match uplink {
            _ if to_wire.is_empty() => {}
            Some(uplink) => uplink.send(
                to_wire.len(),
                |number| places.bytes(to_wire[number]),
                |number, reason| unsent(wire, to_wire[number].frame_len(), reason),
            ),
            None => to_wire
                .iter()
                .for_each(|held| unsent(wire, held.frame_len(), DropReason::NoCarrier)),
        }
        let places = Places { uplink: uplink.as_ref(), ..places };
        ports.send(to_ports, places, |event| {
            if let PortEvent::Refused { to, len, reason } = event {
                refused(subs, to, len, reason);
            }
        })?;
        dispatch.release();
        if let Some(uplink) = uplink {
            uplink.release();
        }
        ports.release(arena)
    }

    /// Tells what the turn has found out, and forgets it.
    fn tell(&mut self) {
        if self.gone.is_empty() && self.dispatch.reports.is_empty() {
            return;
        }
        let groups = self.dispatch.reports.drain(..).map(Notice::Groups);
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

    /// A parent that goes down leaves an error on its socket that would wake every sleep at once.
    fn forgive_uplink(&self) {
        if let Some(Uplink::Packet(packet)) = &self.uplink
            && !packet.socket.ring.has_frame()
        {
            packet.socket.clear_error();
        }
    }
}

/// What a worker can be asked, between two turns.
impl Worker {
    /// Adds a sub-interface, down at first, with what is behind its port.
    ///
    /// # Errors
    /// The switch refuses it; or the kernel has no memory for its port, and nothing has changed.
    pub fn add(
        &mut self,
        config: &SubConfig,
        link: PortLink,
        offloads: Offloads,
    ) -> Result<SubId, AddError> {
        let id = self.dispatch.switch.add(config)?;
        if let Err(error) = self.ports.add(id, link) {
            self.dispatch.switch.remove(id);
            return Err(error.into());
        }
        let outlet = &mut self.dispatch.outlet;
        if outlet.subs.len() <= id.index() {
            outlet.subs.resize_with(id.index() + 1, SubStats::default);
            outlet.offloads.resize(id.index() + 1, None);
        }
        outlet.subs[id.index()] = SubStats::default();
        outlet.offloads[id.index()] = Some(offloads);
        Ok(id)
    }

    /// Removes a sub-interface with its port. Its counters go into the sum of those removed.
    pub fn remove(&mut self, id: SubId) {
        if self.dispatch.switch.remove(id).is_none() {
            return;
        }
        self.ports.remove(id);
        let outlet = &mut self.dispatch.outlet;
        outlet.offloads[id.index()] = None;
        self.removed += std::mem::take(&mut outlet.subs[id.index()]);
    }

    /// Sets a sub-interface up or down. Frames that it sends wait in its TAP until it is up here;
    /// those that wait when it goes down are lost.
    ///
    /// # Errors
    /// The switch refuses it.
    pub fn set_up(&mut self, id: SubId, up: bool) -> Result<(), Refusal> {
        self.dispatch.switch.set_up(id, up)?;
        let lost = match up {
            true => self.ports.listen(id).map(|()| 0),
            false => self.ports.deafen(id),
        };
        // A ring that has failed ends the worker with its next turn.
        let lost = lost.unwrap_or(0);
        let stats = &mut self.dispatch.outlet.subs[id.index()];
        stats.received.frames += lost;
        stats.dropped.add(DropReason::Down, lost);
        Ok(())
    }

    /// The table.
    pub fn switch(&self) -> &Switch {
        &self.dispatch.switch
    }

    /// The table, to be changed.
    pub fn switch_mut(&mut self) -> &mut Switch {
        &mut self.dispatch.switch
    }

    /// The TAP behind a sub-interface, if that is what is behind it.
    pub fn tap(&self, id: SubId) -> Option<&Tap> {
        self.ports.tap(id)
    }

    /// The uplink, while there is one.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.as_ref()
    }

    /// Gives the worker an uplink in place of the one before.
    ///
    /// # Errors
    /// No memory in the kernel; the worker has no uplink then.
    pub fn attach(&mut self, uplink: Uplink) -> io::Result<()> {
        self.uplink = None;
        self.ports.watch_uplink(&uplink)?;
        self.uplink = Some(uplink);
        Ok(())
    }

    /// Takes the uplink away: what is sent to the wire is dropped for want of a carrier.
    pub fn detach(&mut self) {
        self.uplink = None;
    }

    /// All counters at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let Dispatch { switch, outlet, groups, .. } = &self.dispatch;
        Snapshot {
            wire: outlet.wire,
            subs: switch.subs().map(|(id, _)| (id, outlet.subs[id.index()])).collect(),
            removed: self.removed,
            turns: self.idle.stats,
            waiting: groups.len(),
            uring: self.ports.has_uring(),
        }
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.stop = true;
    }
}

/// Why a sub-interface was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The kernel could not serve its port.
    #[error("the kernel cannot serve one more TAP: {0}")]
    Port(#[from] io::Error),
    /// The rules of macvlan forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A worker on its own thread, to be asked things.
///
/// # Threads
/// Any thread may ask; the worker answers between two turns.
#[derive(Debug)]
pub struct WorkerHandle {
    sender: Sender<Request>,
    commands: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// The worker has ended and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker of this parent has stopped")]
pub struct Stopped;

impl WorkerHandle {
    /// Has the worker do something between two turns, and returns what came of it.
    ///
    /// # Errors
    /// [`Stopped`] if the worker is no more.
    pub fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let request: Request = Box::new(move |worker| {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(ask(worker));
        });
        self.sender.send(request).map_err(|_| Stopped)?;
        self.commands.wake();
        answer.recv().map_err(|_| Stopped)
    }

    /// The event on which the worker sleeps: wake it when a link in memory has something.
    pub fn bell(&self) -> Arc<EventFd> {
        Arc::clone(&self.commands)
    }

    /// Stops the worker and waits for it. Dropping the handle does the same and keeps silent.
    ///
    /// # Errors
    /// What ended the worker before its time.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        // A worker that has stopped already is what was wanted.
        let _ = self.call(Worker::stop);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
