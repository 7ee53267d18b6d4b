//! [`Worker`]: the loop that forwards the frames of one wire, or its share of the flows there.
//!
//! A worker owns its uplink, switches, ports and counters, so nothing on the way of a frame is
//! shared or locked. Other threads send it requests ([`WorkerHandle::call`]), which it runs between
//! two turns.

mod captured;
mod handle;
mod heartbeat;
mod last_counters;
mod neighbours;
mod requests;
mod seccomp;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use umacvlan_core::options::{PollMode, PortIo};
use umacvlan_core::{SubIndex, Switch};
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::eventfd::EventFd;

pub use handle::{Ended, LeftThread, Notice, Notifier, OnWorker, Remains, Stopped, WorkerHandle};
use heartbeat::Heartbeat;
pub use requests::{AddError, Snapshot};
pub use seccomp::SYSTEM_CALLS;
pub use umacvlan_macnat::Neighbour;

use crate::capture::Capture;
use crate::forwarder::{Forwarder, TagsSeen};
use crate::idle::IdlePolicy;
use crate::port::{ConnectionEvent, PortEvent, Ports};
use crate::switches::{Switches, Vlans};
use crate::uplink::Uplink;

/// Frames that a turn reads from the uplink.
const WIRE_BURST: usize = 64;

/// Pauses of the processor after a turn without work: about a third of a microsecond.
const PAUSES: usize = 8;

/// How long a worker sleeps before it tries a full uplink that reports no room by an event: a tenth
/// of the time in which 10 Gbit/s empty a TX ring of a thousand frames.
const UPLINK_RETRY: Duration = Duration::from_micros(100);

/// Buffers of the pool: enough for what io_uring reads ahead (192), the GSO packets of the uplink
/// (64), and the shares of busy ports (128); and a power of two, as io_uring demands.
const BUFFERS: u16 = 512;

/// A function that the worker runs between two turns.
type Request = Box<dyn FnOnce(&mut Worker) + Send>;

/// How a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Whether frames of one flow that a turn writes to one port are merged (GRO).
    pub coalesce: bool,
    /// The core to run on; `None`: any.
    pub cpu: Option<usize>,
    /// How TAPs are read and written.
    pub io: PortIo,
    /// Whether to spin or to sleep without work.
    pub poll: PollMode,
}

impl Default for WorkerConfig {
    /// On any core, by io_uring where it works, with merging.
    fn default() -> Self {
        Self { coalesce: true, cpu: None, io: PortIo::default(), poll: PollMode::default() }
    }
}

/// The forwarding loop of one wire and everything it owns.
#[derive(Debug)]
pub struct Worker {
    forwarder: Forwarder,
    vlans: Vlans,
    uplink: Option<Uplink>,
    ports: Ports,
    pool: BufferPool,
    idle: IdlePolicy,
    requests: Receiver<Request>,
    notifier: Option<Notifier>,
    heartbeat: Arc<Heartbeat>,
    /// Ports whose interface has gone in this turn.
    gone: Vec<SubIndex>,
    /// Sub-interfaces that are up and whose ports are not read yet; `None` if new ports are read at
    /// once.
    held: Option<Vec<SubIndex>>,
    /// The uplink is not read as long as ports are held.
    holds_uplink: bool,
    captures: Vec<Capture>,
    stop: bool,
}

/// What one turn read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames, from wire and ports.
    pub frames: usize,
    /// Frames and all other events: refusals, wake-ups.
    pub events: usize,
}

impl Worker {
    /// A worker without uplink and ports, for a caller that runs [`Worker::turn`] on this thread.
    ///
    /// # Errors
    /// No memory or descriptor is left, or io_uring was demanded and does not work here.
    pub fn new(switch: Switch, config: WorkerConfig) -> io::Result<Self> {
        let (_, requests) = unbounded();
        Self::build(switch, config, requests, Arc::new(EventFd::new()?), None)
    }

    fn build(
        switch: Switch,
        config: WorkerConfig,
        requests: Receiver<Request>,
        wake_event: Arc<EventFd>,
        notifier: Option<Notifier>,
    ) -> io::Result<Self> {
        let mut pool = BufferPool::new(BUFFERS)?;
        let ports = Ports::new(config.io, &mut pool, wake_event)?;
        Ok(Self {
            forwarder: Forwarder::new(Switches::new(switch), config.coalesce),
            vlans: Vlans::new(),
            uplink: None,
            ports,
            pool,
            idle: IdlePolicy::new(config.poll),
            requests,
            notifier,
            heartbeat: Arc::default(),
            gone: Vec::new(),
            held: None,
            holds_uplink: false,
            captures: Vec::new(),
            stop: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !self.stop {
            self.heartbeat.beat();
            let requests = self.run_requests();
            let Turn { frames, events } = self.turn_at(self.idle.last_turn())?;
            let worked = requests || events > 0 || !self.forwarder.floods.is_empty();
            if !worked {
                // Polling without pause would keep the cache line of the ring's next slot from the
                // core that fills it, and cycles from the sibling hyper-thread.
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            if self.idle.after_turn(frames, worked) && !self.stop {
                self.heartbeat.rest();
                let uplink = self.uplink.as_ref().filter(|_| !self.holds_uplink);
                self.ports.sleep(uplink, self.sleep_limit())?;
                self.idle.after_sleep();
                if let Some(uplink) = &self.uplink {
                    uplink.clear_error();
                }
            }
        }
        Ok(())
    }

    /// One pass of the loop: reads from the wire and from the ports, decides, writes.
    ///
    /// # Errors
    /// The io_uring has failed, and with it the worker.
    pub fn turn(&mut self) -> io::Result<Turn> {
        let has_limits = self.forwarder.tx.limits.is_active();
        self.turn_at(if has_limits { Instant::now() } else { self.idle.last_turn() })
    }

    /// As [`turn`](Self::turn), at a time by which limits are reckoned.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn turn_at(&mut self, now: Instant) -> io::Result<Turn> {
        if self.holds_uplink {
            self.resume_uplink()?;
        }
        if !self.captures.is_empty() {
            return self.turn_captured(now);
        }
        let reads_wire = !self.holds_uplink;
        let Self { forwarder, vlans, uplink, ports, pool, gone, .. } = self;
        let translate = forwarder.switches.translate();
        if translate {
            forwarder.begin_translated_turn(vlans, now);
        }
        forwarder.resume_floods();
        let mut turn = Turn::default();
        if forwarder.tx.limits.is_active() {
            turn.frames = forwarder.release_limited(now);
        }
        if let Some(uplink) = uplink
            && reads_wire
        {
            turn.frames += match translate {
                false => uplink.recv(pool, vlans, WIRE_BURST, |id, stored, bytes| {
                    forwarder.ingress(id, stored, bytes.map(|unit| &*unit));
                }),
                true => recv_translated(uplink, pool, vlans, forwarder),
            };
        }
        turn.events = turn.frames;
        turn.events += ports.recv(pool, |event| match event {
            PortEvent::Frame { from, stored, bytes } => {
                turn.frames += 1;
                forwarder.egress(from, stored, bytes);
            }
            PortEvent::Gone { sub } => gone.push(sub),
            PortEvent::Refused(refusal) => forwarder.tx.undo_delivered(refusal),
            PortEvent::Unreadable { from } => {
                turn.frames += 1;
                forwarder.drop_unreadable(from);
            }
        })?;
        let frames =
            ports.recv_memory(pool, |from, stored, bytes| forwarder.egress(from, stored, bytes));
        turn.frames += frames;
        turn.events += frames;
        turn.events += ports.recv_programs(pool, &mut |from, stored, bytes| {
            turn.frames += 1;
            forwarder.egress_stream(from, stored, bytes);
        });
        turn.events += usize::from(self.flush()?) + usize::from(self.ports.is_any_waiting());
        self.send_notices();
        Ok(turn)
    }

    /// Writes what the turn has queued and frees its memory. True when the uplink has more to send.
    fn flush(&mut self) -> io::Result<bool> {
        let Self { forwarder, vlans, uplink, ports, pool, .. } = self;
        forwarder.flush(vlans, uplink.as_mut(), ports, pool)?;
        let mut more = uplink.as_mut().is_some_and(Uplink::end_turn);
        if forwarder.tx.backlog.is_active() {
            more |= self.follow_backlog()?;
        }
        self.ports.end_turn(&mut self.pool)?;
        Ok(more)
    }

    /// Stops reading the ports of which too much waits for the uplink, reads the others again, and
    /// notes whether the uplink has room. True when what waits can be sent in the next turn.
    #[cold]
    fn follow_backlog(&mut self) -> io::Result<bool> {
        let Self { forwarder, uplink, ports, .. } = self;
        let backlog = &mut forwarder.tx.backlog;
        while let Some((sub, stalled)) = backlog.take_change() {
            ports.set_stalled(sub, stalled)?;
        }
        if let (true, Some(uplink)) = (backlog.uplink_full(), uplink) {
            ports.watch_uplink_writable(uplink)?;
            if ports.take_uplink_writable(uplink)? {
                backlog.set_uplink_full(false);
            }
        }
        let can_try = self.uplink.as_ref().is_none_or(|uplink| uplink.tx_fd().is_some());
        Ok(can_try && !backlog.is_empty() && !backlog.uplink_full())
    }

    /// Reads the uplink from now on, if ports are not held any more.
    #[cold]
    fn resume_uplink(&mut self) -> io::Result<()> {
        if self.held.is_none() {
            self.holds_uplink = false;
            self.uplink.as_ref().map_or(Ok(()), |uplink| self.ports.watch_uplink(uplink))?;
        }
        Ok(())
    }

    /// How long the worker may sleep: a full uplink without an event has to be tried again, and frames
    /// over a limit pass when it allows.
    fn sleep_limit(&self) -> Option<Duration> {
        let limit = self.forwarder.tx.limits.wait();
        let full = |uplink: &Uplink| uplink.tx_fd().is_none();
        let waits = !self.forwarder.tx.backlog.is_empty() && self.uplink.as_ref().is_some_and(full);
        let retry = waits.then_some(UPLINK_RETRY);
        limit.into_iter().chain(retry).min()
    }

    /// Reports the membership changes, the lost interfaces, what happened to connections, the first tags and the
    /// new neighbours of this turn.
    fn send_notices(&mut self) {
        let tags = self.forwarder.tags == TagsSeen::New;
        let connections = self.ports.has_events();
        let translate = self.forwarder.switches.translate();
        let neighbours = translate && self.forwarder.has_new_neighbours();
        if self.gone.is_empty()
            && self.forwarder.reports.is_empty()
            && !tags
            && !connections
            && !neighbours
        {
            return;
        }
        if tags {
            self.forwarder.tags = TagsSeen::Reported;
        }
        let tags = tags.then_some(Notice::Tags);
        let changed = self.forwarder.reports.drain(..).map(Notice::Addresses);
        let gone = self.gone.drain(..).map(Notice::PortGone);
        let connections = self.ports.take_events();
        let connections = connections.map(|(sub, number, event)| match event {
            ConnectionEvent::Closed(why) => Notice::PortClosed { sub, number, why },
            ConnectionEvent::Proven => Notice::PortProven { sub, number },
        });
        let neighbours = neighbours.then_some(Notice::Neighbours);
        let notices = changed.chain(gone).chain(connections).chain(tags).chain(neighbours);
        match &self.notifier {
            Some(notifier) => notifier.notify(notices),
            None => notices.for_each(drop),
        }
    }

    /// Runs the requests that have arrived since the last turn; true if there were any.
    fn run_requests(&mut self) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        while let Ok(request) = self.requests.try_recv() {
            request(self);
        }
        true
    }
}

/// Reads from the wire for a worker with a translation.
// Out of line: without one the code for a frame is as if there were none.
#[inline(never)]
fn recv_translated(
    uplink: &mut Uplink,
    pool: &mut BufferPool,
    vlans: &Vlans,
    forwarder: &mut Forwarder,
) -> usize {
    uplink.recv(pool, vlans, WIRE_BURST, |id, stored, bytes| {
        forwarder.ingress_translated(id, stored, bytes);
    })
}
