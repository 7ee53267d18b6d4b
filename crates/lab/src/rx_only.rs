//! [`Sink`]: what an uplink takes in when nothing behind it takes time.
//!
//! What a path costs is mostly the TAP at its end. Here frames come from the wire by an uplink, are
//! decided upon as ever, and end in memory; or, to measure that against, in a loop of xsk-rs which
//! does nothing but give each chunk back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use umacvlan_core::options::PortIo;

use core_affinity::CoreId;
use umacvlan_core::offload::Offloads;
use umacvlan_core::{MacvlanSettings, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_engine::memory::MemoryLink;
use umacvlan_engine::port::PortLink;
use umacvlan_engine::uplink::{PacketUplink, Uplink};
use umacvlan_engine::worker::{Worker, WorkerConfig};
use umacvlan_netlink::Link;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::tap::Tap;

use super::baseline_relay::{parent, tap};
use super::measure::{join, pin};
use super::network::Site;

/// By which means frames are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The engine's AF_PACKET uplink.
    Packet,
    /// The engine's AF_XDP uplink, in native mode.
    Xdp,
    /// A loop of xsk-rs on the same queue, with the same program, that forgets what it receives.
    Bare,
}

/// What has been received meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Frames.
    pub frames: u64,
    /// Turns that found any.
    pub turns: u64,
    /// Time in those turns.
    pub busy: Duration,
}

/// A receiver at a parent. It works only while it is asked to.
#[derive(Debug)]
pub struct Sink {
    receiver: Receiver,
    /// The sub-interfaces to which frames are sent, and which get none.
    _taps: Vec<Tap>,
}

#[derive(Debug)]
enum Receiver {
    Engine(Box<Engine>),
    #[cfg(feature = "af-xdp")]
    Bare(Box<bare::Bare>),
}

/// A worker with an uplink and ports in memory.
#[derive(Debug)]
struct Engine {
    worker: Worker,
    ports: Vec<MemoryLink>,
    #[cfg(feature = "af-xdp")]
    _program: Option<umacvlan_sys::xdp::XdpProgram>,
}

impl Sink {
    /// Opens a receiver at the parent of this site, and makes a TAP for each of its sub-interfaces.
    ///
    /// # Errors
    /// `Unsupported` for AF_XDP in a build without; what the kernel says to a socket or a TAP.
    pub fn open(site: &Site<'_>, means: Means) -> io::Result<Self> {
        let taps = site.subs.iter().map(tap).collect::<io::Result<Vec<_>>>()?;
        let parent = parent(site)?;
        let receiver = site.host.run(|| match means {
            Means::Packet => {
                let socket = PacketSocket::open(parent.index, parent.mtu)?;
                let uplink = Uplink::Packet(Box::new(PacketUplink::new(socket)));
                Engine::new(site, &parent, uplink).map(|engine| Receiver::Engine(Box::new(engine)))
            }
            #[cfg(feature = "af-xdp")]
            Means::Xdp => bare::engine(site, &parent).map(|it| Receiver::Engine(Box::new(it))),
            #[cfg(feature = "af-xdp")]
            Means::Bare => bare::Bare::open(site, &parent).map(|it| Receiver::Bare(Box::new(it))),
            #[cfg(not(feature = "af-xdp"))]
            Means::Xdp | Means::Bare => Err(io::ErrorKind::Unsupported.into()),
        })??;
        Ok(Self { receiver, _taps: taps })
    }

    /// Receives on that core, without a sleep, while `run` runs.
    ///
    /// # Errors
    /// The worker has failed.
    ///
    /// # Panics
    /// If `run` does.
    pub fn during<T>(
        &mut self,
        core: Option<CoreId>,
        run: impl FnOnce() -> T,
    ) -> io::Result<(T, Taken)> {
        let stop = AtomicBool::new(false);
        let receiver = &mut self.receiver;
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                pin(core);
                receiver.run(&stop)
            });
            let ran = run();
            stop.store(true, Ordering::Relaxed);
            join(receiving).map(|taken| (ran, taken))
        })
    }
}

impl Receiver {
    fn run(&mut self, stop: &AtomicBool) -> io::Result<Taken> {
        let mut taken = Taken::default();
        let mut before = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let frames = match self {
                Self::Engine(engine) => engine.turn()?,
                #[cfg(feature = "af-xdp")]
                Self::Bare(bare) => bare.socket.recycle(),
            };
            let now = Instant::now();
            if frames > 0 {
                taken.frames += frames as u64;
                taken.turns += 1;
                taken.busy += now - before;
            } else {
                // As a worker does, and for its reason.
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            before = now;
        }
        Ok(taken)
    }
}

impl Engine {
    fn new(site: &Site<'_>, parent: &Link, uplink: Uplink) -> io::Result<Self> {
        let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
        let mut worker = Worker::new(switch(parent), config)?;
        worker.attach(uplink)?;
        let mut ports = Vec::with_capacity(site.subs.len());
        for sub in configs(site) {
            let (near, far) = MemoryLink::pair(FRAMES, FRAMES * FRAME);
            let added = worker.add(&sub, PortLink::Memory(near), Offloads::ALL);
            let id = added.map_err(io::Error::other)?;
            worker.set_up(id, true).map_err(io::Error::other)?;
            ports.push(far);
        }
        Ok(Self {
            worker,
            ports,
            #[cfg(feature = "af-xdp")]
            _program: None,
        })
    }

    /// One turn, and the ports emptied after it.
    fn turn(&mut self) -> io::Result<usize> {
        let turn = self.worker.turn()?;
        if turn.frames > 0 {
            for port in &self.ports {
                port.drain();
            }
        }
        Ok(turn.frames)
    }
}

/// The table before there is a sub-interface.
fn switch(parent: &Link) -> Switch {
    let mac = parent.mac.unwrap_or_default();
    Switch::new(ParentInfo { mac, mtu: parent.mtu, promisc: false }, Semantics::Documented)
}

fn configs<'s>(site: &'s Site<'_>) -> impl Iterator<Item = SubConfig> + 's {
    site.subs.iter().map(|sub| {
        let sources = sub.sources.clone();
        SubConfig {
            mac: sub.mac,
            mtu: None,
            settings: MacvlanSettings { sources, ..MacvlanSettings::new(site.mode) },
        }
    })
}

/// What there is with AF_XDP only.
#[cfg(feature = "af-xdp")]
pub(super) mod bare {
    use umacvlan_engine::uplink::XdpUplink;
    use umacvlan_sys::xdp::{Attached, BareSocket, Binding, Rules, XdpProgram, XskSocket};

    use super::*;

    /// The loop that everything is measured against.
    #[derive(Debug)]
    pub(super) struct Bare {
        pub(super) socket: BareSocket,
        _program: XdpProgram,
    }

    impl Bare {
        pub(super) fn open(site: &Site<'_>, parent: &Link) -> io::Result<Self> {
            let mut program = program(site, parent)?;
            let socket = BareSocket::open(&parent.name, longest(parent))?;
            program.serve(0, &socket)?;
            Ok(Self { socket, _program: program })
        }
    }

    /// The engine with an AF_XDP uplink.
    pub(super) fn engine(site: &Site<'_>, parent: &Link) -> io::Result<Engine> {
        let mut program = program(site, parent)?;
        let socket = socket(parent)?;
        program.serve(0, &socket)?;
        let side = PacketSocket::open(parent.index, parent.mtu)?;
        program.filter(&side)?;
        let side = PacketUplink::new(side);
        let uplink = XdpUplink::new(vec![socket], side, parent.mtu, true)?;
        let engine = Engine::new(site, parent, Uplink::Xdp(Box::new(uplink)))?;
        Ok(Engine { _program: Some(program), ..engine })
    }

    /// The program at the parent, which redirects what is for the sub-interfaces.
    pub(crate) fn program(site: &Site<'_>, parent: &Link) -> io::Result<XdpProgram> {
        let mut switch = switch(parent);
        for sub in configs(site) {
            let id = switch.add(&sub).map_err(io::Error::other)?;
            switch.set_up(id, true).map_err(io::Error::other)?;
        }
        let mut program = XdpProgram::load(longest(parent))?;
        program.set(Rules::of(&switch))?;
        program.attach(parent.index, Attached::Native)?;
        Ok(program)
    }

    /// The engine's socket on the parent's only queue.
    pub(crate) fn socket(parent: &Link) -> io::Result<XskSocket> {
        XskSocket::open(&parent.name, 0, Binding::Copy, longest(parent), true)
    }

    fn longest(parent: &Link) -> usize {
        parent.mtu as usize + 22
    }
}

/// Frames of the usual MTU that a port in memory holds: more than a turn has for it.
const FRAMES: usize = 256;
const FRAME: usize = 1536;

/// Pauses of a turn without frames, as a worker's.
const PAUSES: usize = 8;

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::sync::{Arc, Mutex};

    use umacvlan_core::Mode;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::network::{Maker, Network, Wire};
    use crate::traffic::{Instruments, Kind, Load, Rate, Sizes};

    #[test]
    fn every_means_takes_all_frames_and_passes_none_on() {
        if !root_or_skip() {
            return;
        }
        let means: &[Means] = match cfg!(feature = "af-xdp") {
            true => &[Means::Packet, Means::Xdp, Means::Bare],
            false => &[Means::Packet],
        };
        let mut network = Network::build_with(Wire::Cable).unwrap();
        for &means in means {
            let opened = Mutex::new(None);
            let make = |site: &Site<'_>| {
                let sink = Arc::new(Mutex::new(Sink::open(site, means)?));
                *opened.lock().unwrap() = Some(Arc::clone(&sink));
                Ok(Box::new(sink) as Box<dyn Any>)
            };
            network.attach(Maker::Userspace(&make), Mode::Bridge).unwrap();
            let stations = network.stations();
            // Sub-interfaces first, the wire last.
            let (sub, wire) = (&stations[..1], &stations[5]);
            let mut instruments = Instruments::open(wire, sub, Kind::Frames, None).unwrap();
            let load = Load {
                rate: Rate::Frames(2000.0),
                sizes: Sizes::Imix,
                warm_up: Duration::ZERO,
                time: Duration::from_millis(25),
            };
            let sink = opened.into_inner().unwrap().unwrap();
            let mut sink = sink.lock().unwrap();
            let (outcome, taken) = sink.during(None, || instruments.run(load).unwrap()).unwrap();
            let (offered, lost) = (outcome.sent.offered, outcome.lost());
            assert!(offered > 0 && lost == offered, "{means:?}: {outcome:?}");
            // And what stacks send when an interface comes up.
            assert!(taken.frames >= offered, "{means:?}: {taken:?} of {offered}");
        }
    }
}
