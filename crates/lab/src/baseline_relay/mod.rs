//! [`Relay`]: what the crossings into the kernel cost, with nothing in between.
//!
//! One thread reads frames from one end of a path by the means of the engine and writes them to the
//! other by the means of the engine. It decides nothing, merges nothing and counts nothing; so it
//! is the floor beneath an engine that does all that.

mod uplink;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use umacvlan_core::options::PollMode;

use core_affinity::CoreId;
use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_engine::idle::Idle;
use umacvlan_engine::port::Appetite;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::arena::Arena;
use umacvlan_sys::eventfd::EventFd;
use umacvlan_sys::process;
use umacvlan_sys::tap::Tap;
use umacvlan_sys::uring::{Completion, Uring};

use crate::network::{Site, SubSite};
use uplink::Wire;

/// The two ends of a relay: whatever comes from one goes to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The first two sub-interfaces.
    Subs,
    /// The first sub-interface and the wire.
    SubAndWire,
    /// The same, and the wire by AF_XDP in native mode: frames whose headers say nothing.
    SubAndWireByXdp,
}

/// A relay at work. It ends with this value.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Makes a TAP for each sub-interface of the site and relays between these ends, on that core if
    /// one is given.
    ///
    /// # Errors
    /// `Unsupported` without an io_uring such as the engine uses, or for AF_XDP in a build without;
    /// else what the kernel says to a TAP or a socket.
    pub fn start(site: &Site<'_>, between: Between, core: Option<CoreId>) -> io::Result<Self> {
        let taps = site.subs.iter().map(tap).collect::<io::Result<Vec<_>>>()?;
        let wire = match between {
            Between::Subs => None,
            Between::SubAndWire => Some(Wire::packet(site)?),
            Between::SubAndWireByXdp => Some(Wire::xdp(site)?),
        };
        let (stop, bell) = (Arc::new(AtomicBool::new(false)), Arc::new(EventFd::new()?));
        let (ready, started) = crossbeam_channel::bounded(1);
        let (stopping, waking) = (Arc::clone(&stop), Arc::clone(&bell));
        // Named as a worker is: whoever adds up what workers take finds this one, too.
        let thread = Builder::new().name("um-floor".to_owned()).spawn(move || {
            core.map(core_affinity::set_for_current);
            process::tighten_timers();
            // The ring serves the thread that made it.
            let served = Served::new(taps, wire, waking);
            let outcome = served.as_ref().map(|_| ()).map_err(|error| error.kind());
            let _ = ready.send(outcome);
            served?.run(&stopping)
        })?;
        let relay = Self { stop, bell, thread: Some(thread) };
        started.recv().map_err(io::Error::other)??;
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.wake();
        // Whoever waited for its frames has noticed if it ended before.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A TAP as the engine would make it.
pub(crate) fn tap(sub: &SubSite<'_>) -> io::Result<Tap> {
    let tap = sub.netns.run(|| Tap::create(&sub.name))??;
    tap.set_mac(sub.mac)?;
    tap.accept_offloads()?;
    let mut rtnl = Rtnl::open_in(sub.netns)?;
    if let Some(link) = rtnl.link(&sub.name)? {
        rtnl.set_txqlen(link.index, TAP_QUEUE_LEN)?;
    }
    Ok(tap)
}

/// The parent of a site.
pub(crate) fn parent(site: &Site<'_>) -> io::Result<Link> {
    let parent = Rtnl::open_in(site.host)?.link(site.parent)?;
    parent.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Where a frame lies, vnet header first, until the turn ends.
#[derive(Clone, Copy)]
enum Frame {
    Buffer { number: u16, len: usize },
    Slot { number: u16, at: usize, len: usize },
}

impl Frame {
    fn bytes<'b>(self, arena: &'b Arena, wire: Option<&'b Wire>) -> &'b [u8] {
        match (self, wire) {
            (Self::Buffer { number, len }, _) => arena.bytes(number, 0, len),
            (Self::Slot { number, at, len }, Some(wire)) => wire.bytes(number, at, len),
            (Self::Slot { .. }, None) => &[],
        }
    }
}

/// The two ends, and what frames pass through on their way from one to the other.
struct Served {
    // The ring first: it is gone before what it reads from.
    uring: Uring,
    arena: Arena,
    /// The second is no end, but for [`Between::Subs`]; the rest are nobody's.
    _taps: Vec<Tap>,
    wire: Option<Wire>,
    bell: Arc<EventFd>,
    to_wire: Vec<Frame>,
    to_taps: Vec<(u32, Frame)>,
    /// TAPs whose read has ended.
    ended: Vec<u32>,
    appetite: Appetite,
    watches_wire: bool,
    watches_bell: bool,
}

impl Served {
    fn new(taps: Vec<Tap>, wire: Option<Wire>, bell: Arc<EventFd>) -> io::Result<Self> {
        let mut arena = Arena::new(BUFFERS)?;
        let unsupported = |_| io::Error::from(io::ErrorKind::Unsupported);
        let mut uring = Uring::new(&arena, 2).map_err(unsupported)?;
        let appetite = Appetite::default();
        uring.lend(&mut arena, appetite.buffers());
        let ends = if wire.is_some() { 1 } else { 2 };
        for (port, tap) in (0..).zip(taps.iter().take(ends)) {
            uring.add(port, tap.as_fd())?;
            uring.arm(port, GENERATION)?;
        }
        uring.submit()?;
        Ok(Self {
            uring,
            arena,
            _taps: taps,
            wire,
            bell,
            to_wire: Vec::new(),
            to_taps: Vec::new(),
            ended: Vec::new(),
            appetite,
            watches_wire: false,
            watches_bell: false,
        })
    }

    /// The engine's loop, and its way to wait.
    fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut idle = Idle::new(PollMode::Adaptive);
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

    /// Takes what waits at either end.
    fn receive(&mut self) -> usize {
        let Self { uring, arena, wire, bell, to_wire, to_taps, ended, appetite, .. } = self;
        let (watches_wire, watches_bell) = (&mut self.watches_wire, &mut self.watches_bell);
        let mut events = 0;
        if let Some(wire) = wire {
            events = wire.receive(arena, |frame| to_taps.push((0, frame)));
        }
        let has_wire = wire.is_some();
        events += uring.completions(arena, PORTS_BURST, |_, completion| match completion {
            Completion::Read { port, buffer, len, armed, .. } => {
                appetite.note(len);
                let frame = Frame::Buffer { number: buffer, len: len as usize };
                match has_wire {
                    true => to_wire.push(frame),
                    false => to_taps.push((1 - port, frame)),
                }
                ended.extend((!armed).then_some(port));
            }
            // As the engine does; any other end is that of the TAP.
            Completion::ReadEnded { port, errno, .. } => {
                let passing = [libc::ENOBUFS, libc::EAGAIN, libc::EINTR, libc::ECANCELED];
                ended.extend(passing.contains(&errno).then_some(port));
            }
            Completion::Ready { name: WIRE } => *watches_wire = false,
            Completion::Ready { .. } => {
                bell.clear();
                *watches_bell = false;
            }
            // A full queue: the frame is lost, as it would be with anybody.
            Completion::WriteFailed { .. } => {}
        });
        events
    }

    /// Writes it to the other end, and gives all memory back.
    fn send(&mut self) -> io::Result<()> {
        let Self { uring, arena, wire, to_wire, to_taps, ended, appetite, .. } = self;
        if let Some(wire) = wire
            && !to_wire.is_empty()
        {
            wire.send(to_wire.len(), |number| to_wire[number].bytes(arena, None));
        }
        uring.send(to_taps.len(), |number| {
            let (port, frame) = to_taps[number];
            (port, GENERATION, false, 0, frame.bytes(arena, wire.as_ref()))
        })?;
        to_wire.clear();
        to_taps.clear();
        if let Some(wire) = wire {
            wire.release();
        }
        arena.release();
        uring.lend(arena, appetite.buffers());
        ended.drain(..).try_for_each(|port| uring.arm(port, GENERATION))
    }

    fn sleep(&mut self) -> io::Result<()> {
        if let Some(wire) = &self.wire
            && !self.watches_wire
        {
            self.uring.watch(wire.as_fd(), WIRE)?;
            self.watches_wire = true;
        }
        if !self.watches_bell {
            self.uring.watch(self.bell.as_fd(), BELL)?;
            self.watches_bell = true;
        }
        self.uring.wait(None)?;
        self.wire.iter().for_each(Wire::forgive);
        Ok(())
    }
}

/// The engine's own numbers: the burst of a turn, pauses of an idle one, buffers.
const PORTS_BURST: usize = 256;
const PAUSES: usize = 8;
const BUFFERS: u16 = 256;

/// Nobody ever has a slot after another.
const GENERATION: u8 = 0;

/// What is waited for beside the TAPs.
const WIRE: u32 = 0;
const BELL: u32 = 1;

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::time::Duration;

    use umacvlan_core::Mode;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::network::{self, Maker, Network};
    use crate::traffic::{Instruments, Kind, Load, Rate, Sizes};

    #[test]
    fn what_comes_from_one_end_goes_to_the_other() {
        if !root_or_skip() {
            return;
        }
        let mut network = Network::build_with(network::Wire::Cable).unwrap();
        // The places of the two ends among the stations: sub-interfaces first, the wire last.
        let cases = [
            (Between::SubAndWire, [0, 5]),
            (Between::Subs, [0, 1]),
            #[cfg(feature = "af-xdp")]
            (Between::SubAndWireByXdp, [0, 5]),
        ];
        for (between, [one, other]) in cases {
            let make = |site: &Site<'_>| {
                let relay = Relay::start(site, between, None)?;
                Ok(Box::new(relay) as Box<dyn Any>)
            };
            network.attach(Maker::Userspace(&make), Mode::Bridge).unwrap();
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
