//! [`Relay`]: the baseline of a path, which is the cost of the system calls alone.
//!
//! One thread reads frames from one end of a path and writes them to the other, through the same
//! sockets and rings as the engine. It makes no decision, merges no frames and counts nothing.

mod uplink;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use core_affinity::CoreId;
use umacvlan_core::options::PollMode;
use umacvlan_datapath::idle::IdlePolicy;
use umacvlan_datapath::port::BufferBudget;
use umacvlan_sys::buffer_pool::BufferPool;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;
use umacvlan_sys::tap::Tap;
use umacvlan_sys::uring::{Completion, Uring};

use crate::baseline_io::create_tap;
use crate::site::Site;
use uplink::RelayUplink;

/// The two ends of a relay: frames from one are sent to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// The first two sub-interfaces.
    Subs,
    /// The first sub-interface and the wire.
    SubAndWire,
    /// As [`Endpoints::SubAndWire`], with AF_XDP in native mode on the wire. Offload headers are
    /// ignored.
    SubAndWireXdp,
}

/// A running relay. It stops when this value is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    wakeup: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Creates a TAP for each sub-interface of the site and starts to relay between these ends, on
    /// `core` if given.
    ///
    /// # Errors
    /// `Unsupported` if the kernel lacks the io_uring features that the engine uses, or the build
    /// lacks AF_XDP; otherwise the error of a TAP or a socket.
    pub fn start(site: &Site<'_>, endpoints: Endpoints, core: Option<CoreId>) -> io::Result<Self> {
        let taps = site.subs.iter().map(create_tap).collect::<io::Result<Vec<_>>>()?;
        let wire = match endpoints {
            Endpoints::Subs => None,
            Endpoints::SubAndWire => Some(RelayUplink::packet(site)?),
            Endpoints::SubAndWireXdp => Some(RelayUplink::xdp(site)?),
        };
        let (stop, wakeup) = (Arc::new(AtomicBool::new(false)), Arc::new(EventFd::new()?));
        let (ready, started) = crossbeam_channel::bounded(1);
        let (stopping, waking) = (Arc::clone(&stop), Arc::clone(&wakeup));
        // The prefix of the workers' thread names, so that their CPU time includes this thread's.
        let thread = Builder::new().name("um-baseline".to_owned()).spawn(move || {
            core.map(core_affinity::set_for_current);
            process::minimize_timer_slack();
            // An io_uring belongs to the thread that creates it.
            let relay_loop = RelayLoop::new(taps, wire, waking);
            let outcome = relay_loop.as_ref().map(|_| ()).map_err(|error| error.kind());
            let _ = ready.send(outcome);
            relay_loop?.run(&stopping)
        })?;
        let relay = Self { stop, wakeup, thread: Some(thread) };
        started.recv().map_err(io::Error::other)??;
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wakeup.wake();
        // If the thread failed earlier, the measurement has already missed its frames.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where a frame is stored until the end of the turn. It begins with its vnet header.
#[derive(Clone, Copy)]
enum FrameRef {
    Buffer { number: u16, len: usize },
    Slot { number: u16, at: usize, len: usize },
}

impl FrameRef {
    fn bytes<'b>(self, pool: &'b BufferPool, wire: Option<&'b RelayUplink>) -> &'b [u8] {
        match (self, wire) {
            (Self::Buffer { number, len }, _) => pool.bytes(number, 0, len),
            (Self::Slot { number, at, len }, Some(wire)) => wire.bytes(number, at, len),
            (Self::Slot { .. }, None) => &[],
        }
    }
}

/// The state of the relay's thread.
struct RelayLoop {
    // The ring is the first field, so that it is dropped before what it reads from.
    uring: Uring,
    pool: BufferPool,
    /// The first is an end, and so is the second for [`Endpoints::Subs`]. The rest are unused.
    _taps: Vec<Tap>,
    wire: Option<RelayUplink>,
    wakeup: Arc<EventFd>,
    to_wire: Vec<FrameRef>,
    to_taps: Vec<(u32, FrameRef)>,
    /// TAPs whose read has ended.
    ended: Vec<u32>,
    budget: BufferBudget,
    watches_wire: bool,
    watches_wakeup: bool,
}

impl RelayLoop {
    fn new(taps: Vec<Tap>, wire: Option<RelayUplink>, wakeup: Arc<EventFd>) -> io::Result<Self> {
        let mut pool = BufferPool::new(BUFFERS)?;
        let unsupported = |_| io::Error::from(io::ErrorKind::Unsupported);
        let mut uring = Uring::new(&pool, 2).map_err(unsupported)?;
        let budget = BufferBudget::default();
        uring.provide_buffers(&mut pool, budget.buffers());
        let ends = if wire.is_some() { 1 } else { 2 };
        for (port, tap) in (0..).zip(taps.iter().take(ends)) {
            uring.add(port, tap)?;
            uring.arm(port, GENERATION)?;
        }
        uring.submit()?;
        Ok(Self {
            uring,
            pool,
            _taps: taps,
            wire,
            wakeup,
            to_wire: Vec::new(),
            to_taps: Vec::new(),
            ended: Vec::new(),
            budget,
            watches_wire: false,
            watches_wakeup: false,
        })
    }

    /// Runs turns and waits between them, as the engine's worker does.
    fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut idle = IdlePolicy::new(PollMode::Adaptive);
        while !stop.load(Ordering::Relaxed) {
            let events = self.receive();
            self.send()?;
            if events == 0 {
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            if idle.after_turn(events, events > 0) {
                self.sleep()?;
                idle.after_sleep();
            }
        }
        Ok(())
    }

    /// Receives the pending frames of both ends. Returns how many events there were.
    fn receive(&mut self) -> usize {
        let Self { uring, pool, wire, wakeup, to_wire, to_taps, ended, budget, .. } = self;
        let (watches_wire, watches_wakeup) = (&mut self.watches_wire, &mut self.watches_wakeup);
        let mut events = 0;
        if let Some(wire) = wire {
            events = wire.receive(pool, |frame| to_taps.push((0, frame)));
        }
        let has_wire = wire.is_some();
        events += uring.completions(pool, PORTS_BURST, |_, completion| match completion {
            Completion::Read { port, buffer, len, armed, .. } => {
                budget.note(len);
                let frame = FrameRef::Buffer { number: buffer, len: len as usize };
                match has_wire {
                    true => to_wire.push(frame),
                    false => to_taps.push((1 - port, frame)),
                }
                ended.extend((!armed).then_some(port));
            }
            // The errors on which the engine reads again; any other means that the TAP is gone.
            Completion::ReadEnded { port, errno, .. } => {
                let passing = [libc::ENOBUFS, libc::EAGAIN, libc::EINTR, libc::ECANCELED];
                ended.extend(passing.contains(&errno).then_some(port));
            }
            Completion::Ready { token: WIRE } => *watches_wire = false,
            Completion::Ready { .. } => {
                wakeup.clear();
                *watches_wakeup = false;
            }
            // The queue is full, and the frame is lost, as with every peer.
            Completion::WriteFailed { .. } => {}
            // The relay queues none of these reads.
            Completion::SingleRead { .. } | Completion::SingleReadEnded { .. } => {}
        });
        events
    }

    /// Sends the received frames to the other end and releases their memory.
    fn send(&mut self) -> io::Result<()> {
        let Self { uring, pool, wire, to_wire, to_taps, ended, budget, .. } = self;
        if let Some(wire) = wire
            && !to_wire.is_empty()
        {
            wire.send(to_wire.len(), |number| to_wire[number].bytes(pool, None));
        }
        uring.send(to_taps.len(), |number| {
            let (port, frame) = to_taps[number];
            (port, GENERATION, false, 0, frame.bytes(pool, wire.as_ref()))
        })?;
        to_wire.clear();
        to_taps.clear();
        if let Some(wire) = wire {
            wire.release();
        }
        pool.release();
        uring.provide_buffers(pool, budget.buffers());
        ended.drain(..).try_for_each(|port| uring.arm(port, GENERATION))
    }

    fn sleep(&mut self) -> io::Result<()> {
        let wire = self.wire.as_ref().filter(|_| !self.watches_wire);
        let wakeup = Some(&self.wakeup).filter(|_| !self.watches_wakeup);
        let watched = wire.map(|wire| (wire.as_fd(), WIRE)).into_iter();
        self.uring.wait(watched.chain(wakeup.map(|wakeup| (wakeup.as_fd(), WAKEUP))), None)?;
        self.watches_wire |= self.wire.is_some();
        self.watches_wakeup = true;
        self.wire.iter().for_each(RelayUplink::clear_error);
        Ok(())
    }
}

/// The engine's values: frames of a turn, pauses of an idle turn, buffers.
const PORTS_BURST: usize = 256;
const PAUSES: usize = 8;
const BUFFERS: u16 = 256;

/// Slots of the ring are never reused.
const GENERATION: u8 = 0;

/// The names of the other descriptors that the ring watches.
const WIRE: u32 = 0;
const WAKEUP: u32 = 1;

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::time::Duration;

    use umacvlan_core::Mode;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::network::{Network, Wire};
    use crate::site::Provider;
    use crate::traffic::{Instruments, Kind, Load, Rate, Sizes};

    #[test]
    fn frames_from_one_end_are_sent_to_the_other() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(Wire::VethPair).unwrap();
        // The indexes of the two ends among the stations: sub-interfaces first, the external host
        // last.
        let cases = [
            (Endpoints::SubAndWire, [0, 5]),
            (Endpoints::Subs, [0, 1]),
            #[cfg(feature = "af-xdp")]
            (Endpoints::SubAndWireXdp, [0, 5]),
        ];
        for (endpoints, [one, other]) in cases {
            let make = |site: &Site<'_>| {
                let relay = Relay::start(site, endpoints, None)?;
                Ok(Box::new(relay) as Box<dyn Any>)
            };
            network.attach(Provider::Userspace(&make), Mode::Bridge).unwrap();
            let stations = network.stations();
            for (from, to) in [(one, other), (other, one)] {
                let ends = (&stations[from], &stations[to..=to]);
                let load = Load {
                    rate: Rate::Frames(2000.0),
                    sizes: Sizes::Imix,
                    warm_up: Duration::ZERO,
                    time: Duration::from_millis(25),
                };
                let mut instruments =
                    Instruments::open(ends.0, ends.1, Kind::Frames, None).unwrap();
                let outcome = instruments.run(load).unwrap();
                assert!(outcome.sent.offered > 0 && outcome.lost() == 0, "{outcome:?}");
            }
        }
    }
}
