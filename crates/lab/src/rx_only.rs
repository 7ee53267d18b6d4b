//! [`RxOnly`]: an uplink whose frames end in memory, to measure the uplink alone.
//!
//! Most of a path's cost is the TAP at its end. Here a worker receives frames from the wire,
//! decides on them as usual, and delivers them to ports in memory. The baseline of that is a loop
//! of xsk-rs that only gives each chunk back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use umacvlan_core::offload::Offloads;
use umacvlan_core::options::PortIo;
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::{PacketUplink, Uplink};
use umacvlan_datapath::worker::{Worker, WorkerConfig};
use umacvlan_netlink::Link;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::tap::Tap;

use super::baseline_io::{create_tap, parent, sub_configs, switch};
use super::site::Site;
use super::threads::{join, pin};

/// How frames are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxBackend {
    /// The engine's AF_PACKET uplink.
    Packet,
    /// The engine's AF_XDP uplink, in native mode.
    Xdp,
    /// A loop of xsk-rs on the same queue with the same XDP program, which discards the frames.
    RawXdp,
}

/// Counters of the frames received during a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStats {
    /// Received frames.
    pub frames: u64,
    /// Turns that received frames.
    pub turns: u64,
    /// The time spent in those turns.
    pub busy: Duration,
}

/// A receiver on a parent. It runs only during [`RxOnly::receive_during`].
#[derive(Debug)]
pub struct RxOnly {
    receiver: RxProgram,
    /// The sub-interfaces to which frames are addressed. They receive none.
    _taps: Vec<Tap>,
}

#[derive(Debug)]
enum RxProgram {
    Engine(Box<Engine>),
    #[cfg(feature = "af-xdp")]
    RawXdp(Box<raw_xdp::RawXdp>),
}

/// A worker with an uplink and ports in memory.
#[derive(Debug)]
struct Engine {
    worker: Worker,
    ports: Vec<MemoryLink>,
    #[cfg(feature = "af-xdp")]
    _program: Option<umacvlan_sys::xdp::XdpProgram>,
}

impl RxOnly {
    /// Opens a receiver on the site's parent, and creates a TAP for each sub-interface.
    ///
    /// # Errors
    /// `Unsupported` for AF_XDP if the build lacks it; otherwise the error of a socket or a TAP.
    pub fn open(site: &Site<'_>, backend: RxBackend) -> io::Result<Self> {
        let taps = site.subs.iter().map(create_tap).collect::<io::Result<Vec<_>>>()?;
        let parent = parent(site)?;
        let receiver = site.host.run(|| match backend {
            RxBackend::Packet => {
                let socket = PacketSocket::open(parent.index, parent.mtu)?;
                let uplink = Uplink::Packet(Box::new(PacketUplink::new(socket)));
                Engine::new(site, &parent, uplink).map(|engine| RxProgram::Engine(Box::new(engine)))
            }
            #[cfg(feature = "af-xdp")]
            RxBackend::Xdp => {
                raw_xdp::engine(site, &parent).map(|it| RxProgram::Engine(Box::new(it)))
            }
            #[cfg(feature = "af-xdp")]
            RxBackend::RawXdp => {
                raw_xdp::RawXdp::open(site, &parent).map(|it| RxProgram::RawXdp(Box::new(it)))
            }
            #[cfg(not(feature = "af-xdp"))]
            RxBackend::Xdp | RxBackend::RawXdp => Err(io::ErrorKind::Unsupported.into()),
        })??;
        Ok(Self { receiver, _taps: taps })
    }

    /// Receives without sleeping, on `core` if given, while `run` runs. Returns the result of `run`
    /// and the counters.
    ///
    /// # Errors
    /// The worker has failed.
    ///
    /// # Panics
    /// If `run` does.
    pub fn receive_during<T>(
        &mut self,
        core: Option<CoreId>,
        run: impl FnOnce() -> T,
    ) -> io::Result<(T, RxStats)> {
        let stop = AtomicBool::new(false);
        let receiver = &mut self.receiver;
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                pin(core);
                receiver.run(&stop)
            });
            let ran = run();
            stop.store(true, Ordering::Relaxed);
            join(receiving).map(|stats| (ran, stats))
        })
    }
}

impl RxProgram {
    fn run(&mut self, stop: &AtomicBool) -> io::Result<RxStats> {
        let mut stats = RxStats::default();
        let mut before = Instant::now();
        loop {
            let ended = stop.load(Ordering::Relaxed);
            let frames = match self {
                Self::Engine(engine) => engine.turn()?,
                #[cfg(feature = "af-xdp")]
                Self::RawXdp(raw) => raw.socket.recycle(),
            };
            let now = Instant::now();
            if frames > 0 {
                stats.frames += frames as u64;
                stats.turns += 1;
                stats.busy += now - before;
            } else if ended {
                // What had arrived before the end was read.
                return Ok(stats);
            } else {
                // As an idle worker does.
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
            before = now;
        }
    }
}

impl Engine {
    fn new(site: &Site<'_>, parent: &Link, uplink: Uplink) -> io::Result<Self> {
        let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
        let mut worker = Worker::new(switch(parent), config)?;
        worker.attach(uplink)?;
        let mut ports = Vec::with_capacity(site.subs.len());
        for sub in sub_configs(site) {
            let (near, far) = MemoryLink::pair(PORT_FRAMES, PORT_FRAMES * FRAME_LEN);
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

    /// Runs one turn and empties the ports after it.
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

/// The AF_XDP receivers.
#[cfg(feature = "af-xdp")]
mod raw_xdp {
    use umacvlan_datapath::uplink::XdpUplink;
    use umacvlan_sys::xdp::{BaselineSocket, XdpProgram};

    use super::*;
    use crate::baseline_io::{attach_program, frame_max, open_xsk};

    /// A loop of xsk-rs: the baseline.
    #[derive(Debug)]
    pub(super) struct RawXdp {
        pub(super) socket: BaselineSocket,
        _program: XdpProgram,
    }

    impl RawXdp {
        pub(super) fn open(site: &Site<'_>, parent: &Link) -> io::Result<Self> {
            let mut program = attach_program(site, parent)?;
            let socket = BaselineSocket::open(&parent.name, frame_max(parent))?;
            program.redirect_queue(0, &socket)?;
            Ok(Self { socket, _program: program })
        }
    }

    /// The engine with an AF_XDP uplink.
    pub(super) fn engine(site: &Site<'_>, parent: &Link) -> io::Result<Engine> {
        let mut program = attach_program(site, parent)?;
        let socket = open_xsk(parent)?;
        program.redirect_queue(0, &socket)?;
        let side = PacketSocket::open(parent.index, parent.mtu)?;
        program.filter_socket(&side)?;
        let side = PacketUplink::new(side);
        let uplink = XdpUplink::new(vec![socket], side, parent.mtu, true)?;
        let engine = Engine::new(site, parent, Uplink::Xdp(Box::new(uplink)))?;
        Ok(Engine { _program: Some(program), ..engine })
    }
}

/// The frames that a port in memory holds, more than a turn delivers to it, and bytes of each.
const PORT_FRAMES: usize = 256;
const FRAME_LEN: usize = 1536;

/// Pauses of a turn without frames, as in a worker.
const PAUSES: usize = 8;

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::sync::{Arc, Mutex};

    use umacvlan_core::Mode;
    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::network::{Network, Wire};
    use crate::site::Provider;
    use crate::traffic::{Instruments, Kind, Load, Rate, Sizes};

    #[test]
    fn every_backend_receives_all_frames_and_forwards_none() {
        if !root_or_skip() {
            return;
        }
        let backends: &[RxBackend] = match cfg!(feature = "af-xdp") {
            true => &[RxBackend::Packet, RxBackend::Xdp, RxBackend::RawXdp],
            false => &[RxBackend::Packet],
        };
        let mut network = Network::build_with(Wire::VethPair).unwrap();
        for &backend in backends {
            let opened = Mutex::new(None);
            let make = |site: &Site<'_>| {
                let receiver = Arc::new(Mutex::new(RxOnly::open(site, backend)?));
                *opened.lock().unwrap() = Some(Arc::clone(&receiver));
                Ok(Box::new(receiver) as Box<dyn Any>)
            };
            network.attach(Provider::Userspace(&make), Mode::Bridge).unwrap();
            let stations = network.stations();
            // Sub-interfaces first, the external host last.
            let (sub, wire) = (&stations[..1], &stations[5]);
            let mut instruments = Instruments::open(wire, sub, Kind::Frames, None).unwrap();
            let load = Load {
                rate: Rate::Frames(2000.0),
                sizes: Sizes::Imix,
                warm_up: Duration::ZERO,
                time: Duration::from_millis(25),
            };
            let receiver = opened.into_inner().unwrap().unwrap();
            let mut receiver = receiver.lock().unwrap();
            let (outcome, stats) =
                receiver.receive_during(None, || instruments.run(load).unwrap()).unwrap();
            let (offered, lost) = (outcome.sent.offered, outcome.lost());
            assert!(offered > 0 && lost == offered, "{backend:?}: {outcome:?}");
            // Stacks also send frames when an interface comes up.
            assert!(stats.frames >= offered, "{backend:?}: {stats:?} of {offered}");
        }
    }
}
