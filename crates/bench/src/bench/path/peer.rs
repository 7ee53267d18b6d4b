//! [`Peer`]: the forwarders that are compared, and [`Testbed`]: a network with one of them.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};
use umacvlan_core::options::{Backend, PollMode, PortKind};
use umacvlan_core::{Semantics, WorkerStats};

use anyhow::{Context, Result};
use clap::ValueEnum;
use umacvlan_core::Mode;
use umacvlan_engine::engine::Engine;
use umacvlan_lab::baseline_relay::{Endpoints, Relay};
use umacvlan_lab::network::{Network, Wire};
use umacvlan_lab::rx_only::{RxBackend, RxOnly, RxStats};
use umacvlan_lab::site::{Provider, Site};
use umacvlan_lab::station::{Member, Station};
use umacvlan_sys::ethtool::Ethtool;

use super::PathArgs;
use super::ovs::Ovs;
use super::plan::Group;
use super::route::Route;
use crate::shared::cores::Cores;
use crate::shared::engine::{EngineSetup, start_engine};

/// A forwarder of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// The engine, which polls for a while and then sleeps
    Umacvlan,
    /// The engine, which never sleeps
    UmacvlanBusy,
    /// The engine, which reaches the wire by AF_XDP
    UmacvlanXdp,
    /// The kernel's macvlan
    Kernel,
    /// The kernel's macvlan in mode vepa, through a switch that returns frames
    KernelHairpin,
    /// A Linux bridge with a veth pair for each
    Bridge,
    /// Open vSwitch in user space with a veth pair for each, where it is installed
    Ovs,
    /// A bare relay with the engine's sockets, which makes no decision: the engine's baseline
    #[value(name = "floor")]
    Baseline,
    /// The same with AF_XDP on the wire; where uplinks are measured alone, a bare loop of xsk-rs
    #[value(name = "floor-xdp")]
    BaselineXdp,
}

impl Peer {
    pub(super) const ALL: [Self; 9] = [
        Self::Umacvlan,
        Self::UmacvlanBusy,
        Self::UmacvlanXdp,
        Self::Kernel,
        Self::KernelHairpin,
        Self::Bridge,
        Self::Ovs,
        Self::Baseline,
        Self::BaselineXdp,
    ];

    /// True if it uses a core even while idle.
    pub(super) fn is_busy_polling(self) -> bool {
        self == Self::UmacvlanBusy
    }

    /// True if it can be measured on this route, with sub-interfaces of this mode.
    pub(super) fn supports(self, route: Route, mode: Mode) -> bool {
        match self {
            Self::Umacvlan | Self::UmacvlanBusy | Self::Kernel => true,
            // Between two sub-interfaces the wire is not used.
            Self::UmacvlanXdp => route != Route::SubToSub,
            Self::KernelHairpin => route == Route::SubToSub && mode == Mode::Bridge,
            // They have no modes and no hairpin.
            Self::Bridge | Self::Ovs | Self::Baseline => {
                route != Route::Hairpin && mode == Mode::Bridge
            }
            Self::BaselineXdp => !route.is_between_subs() && mode == Mode::Bridge,
        }
    }

    /// True if it supports this many sub-interfaces.
    pub(super) fn supports_subs(self, subs: u32) -> bool {
        self != Self::Bridge || subs < BRIDGE_PORTS
    }

    /// True for the engine's variants.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Umacvlan | Self::UmacvlanBusy | Self::UmacvlanXdp)
    }

    /// True if it forwards in its own thread of this process.
    pub(super) fn has_worker(self) -> bool {
        self.is_ours() || self.is_relay()
    }

    /// True for a relay between the two ends of a path, which serves nobody else.
    pub(super) fn is_relay(self) -> bool {
        matches!(self, Self::Baseline | Self::BaselineXdp)
    }

    /// The baseline of this peer.
    pub(super) fn baseline(self) -> Option<Self> {
        match self {
            Self::Umacvlan | Self::UmacvlanBusy => Some(Self::Baseline),
            Self::UmacvlanXdp => Some(Self::BaselineXdp),
            _ => None,
        }
    }

    /// The receiver to use where uplinks are measured alone.
    pub(super) fn rx_backend(self) -> Option<RxBackend> {
        match self {
            Self::Umacvlan => Some(RxBackend::Packet),
            Self::UmacvlanXdp => Some(RxBackend::Xdp),
            Self::BaselineXdp => Some(RxBackend::RawXdp),
            _ => None,
        }
    }

    fn backend(self) -> Backend {
        match self {
            Self::UmacvlanXdp => Backend::AfXdp,
            _ => Backend::Auto,
        }
    }

    fn poll(self) -> PollMode {
        match self {
            Self::UmacvlanBusy => PollMode::Busy,
            _ => PollMode::Adaptive,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Umacvlan => "umacvlan",
            Self::UmacvlanBusy => "umacvlan-busy",
            Self::UmacvlanXdp => "umacvlan-xdp",
            Self::Kernel => "kernel",
            Self::KernelHairpin => "kernel-hairpin",
            Self::Bridge => "bridge",
            Self::Ovs => "ovs",
            Self::Baseline => "floor",
            Self::BaselineXdp => "floor-xdp",
        })
    }
}

/// A peer and the network in which it forwards. Each peer has its own, so that it need not wait for
/// another's interfaces to be removed.
pub(super) struct Testbed {
    pub(super) peer: Peer,
    mode: Mode,
    route: Route,
    subs: u32,
    /// The number of workers of our parent.
    workers: usize,
    /// What our sub-interfaces are.
    port: PortKind,
    /// The number of source ports of UDP datagrams.
    pub(super) flows: u16,
    /// TCP's congestion control; `None` is the system's default.
    pub(super) congestion: Option<String>,
    /// The number of busy threads beside each trial.
    pub(super) load: u16,
    network: Network,
    /// The engine, if this peer is ours.
    engine: RefCell<Weak<Engine>>,
    /// The uplink, if it is measured alone.
    rx_only: RefCell<rc::Weak<RefCell<RxOnly>>>,
    /// True if uplinks are measured alone.
    alone: bool,
}

impl Testbed {
    /// Builds a network for this peer in a group. A busy-polling peer gets its interfaces later, by
    /// [`Testbed::attach`].
    ///
    /// # Errors
    /// The network or the interfaces cannot be created, for instance without a driver.
    pub(super) fn build(peer: Peer, group: &Group, subs: u32, args: &PathArgs) -> Result<Self> {
        let Group { route, mode, .. } = *group;
        let (wire, mode) = match peer {
            Peer::KernelHairpin => (Wire::Switch, Mode::Vepa),
            _ if route == Route::Hairpin => (Wire::Switch, mode),
            _ => (Wire::VethPair, mode),
        };
        let mut network = Network::build_with(wire).context("cannot build a network")?;
        if wire == Wire::Switch {
            network.set_hairpin(true)?;
        }
        network.set_subs(subs as usize)?;
        let (workers, flows) = (args.workers.into(), args.flows);
        let congestion = args.congestion.clone();
        let mut testbed = Self {
            peer,
            mode,
            route,
            subs,
            workers,
            port: args.port,
            flows,
            congestion,
            load: args.load,
            network,
            engine: RefCell::default(),
            rx_only: RefCell::default(),
            alone: group.is_of_uplinks(),
        };
        if !peer.is_busy_polling() {
            testbed.attach()?;
        }
        Ok(testbed)
    }

    /// Creates the interfaces.
    ///
    /// # Errors
    /// They cannot be created.
    pub(super) fn attach(&mut self) -> Result<()> {
        let Self { peer, mode, route, workers, port, engine, rx_only, alone, .. } = self;
        let ours = |site: &Site<'_>| {
            let setup = EngineSetup {
                poll: peer.poll(),
                workers: *workers,
                backend: peer.backend(),
                port: *port,
                semantics: Semantics::Documented,
            };
            let made = Arc::new(start_engine(site, setup)?);
            *engine.borrow_mut() = Arc::downgrade(&made);
            Ok(Box::new(made) as Box<dyn Any>)
        };
        let ovs = |site: &Site<'_>| Ok(Box::new(Ovs::start(site)?) as Box<dyn Any>);
        let uplink_alone = |site: &Site<'_>| {
            let backend = peer.rx_backend().ok_or(io::ErrorKind::Unsupported)?;
            let opened = Rc::new(RefCell::new(RxOnly::open(site, backend)?));
            *rx_only.borrow_mut() = Rc::downgrade(&opened);
            Ok(Box::new(opened) as Box<dyn Any>)
        };
        let baseline = |site: &Site<'_>| {
            let endpoints = match (*peer, route.is_between_subs()) {
                (_, true) => Endpoints::Subs,
                (Peer::BaselineXdp, false) => Endpoints::SubAndWireXdp,
                (_, false) => Endpoints::SubAndWire,
            };
            Ok(Box::new(Relay::start(site, endpoints, Cores::find().worker)?) as Box<dyn Any>)
        };
        let provider = match peer {
            _ if *alone => Provider::Userspace(&uplink_alone),
            Peer::Umacvlan | Peer::UmacvlanBusy | Peer::UmacvlanXdp => Provider::Userspace(&ours),
            Peer::Kernel | Peer::KernelHairpin => Provider::Kernel,
            Peer::Bridge => Provider::Bridge,
            Peer::Ovs => Provider::Userspace(&ovs),
            Peer::Baseline | Peer::BaselineXdp => Provider::Userspace(&baseline),
        };
        let attached = self.network.attach(provider, *mode);
        attached.with_context(|| format!("{peer} in mode {mode}"))?;
        if *peer == Peer::Ovs {
            self.disable_tx_checksums().context("cannot turn off the checksum offload")?;
        }
        Ok(())
    }

    /// Turns every station's TX checksum offload off, for a forwarder that does not complete
    /// partial checksums.
    fn disable_tx_checksums(&self) -> io::Result<()> {
        for station in self.stations() {
            set_tx_checksum(&station, false)?;
        }
        Ok(())
    }

    /// Removes the interfaces.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn detach(&mut self) -> Result<()> {
        Ok(self.network.detach()?)
    }

    /// The current stations; empty while a busy-polling peer has no interfaces.
    pub(super) fn stations(&self) -> Vec<Station<'_>> {
        self.network.stations()
    }

    /// The network in which the peer forwards.
    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    /// The sender and the receivers on the route: one, or all destinations of a broadcast frame.
    pub(super) fn ends(&self, broadcast: bool) -> Option<(Station<'_>, Vec<Station<'_>>)> {
        let stations = self.stations();
        let find = |member| stations.iter().copied().find(|station| station.member == member);
        let from = find(self.route.from())?;
        let subs = stations.iter().copied();
        let subs = subs.filter(|station| matches!(station.member, Member::Sub(_)));
        let to = match broadcast {
            true => subs.filter(|station| station.member != from.member).collect(),
            false => vec![find(self.route.to())?],
        };
        Some((from, to))
    }

    /// Receives with the uplink while `run` runs. Returns its result and the uplink's counters.
    ///
    /// # Errors
    /// No uplink is measured alone, or it has failed.
    pub(super) fn measure_uplink<T>(&self, run: impl FnOnce() -> T) -> Result<(T, RxStats)> {
        let rx_only = self.rx_only.borrow().upgrade().context("no uplink is measured alone")?;
        Ok(rx_only.borrow_mut().receive_during(Cores::find().worker, run)?)
    }

    /// The number of sub-interfaces.
    pub(super) fn subs(&self) -> u32 {
        if self.mode == Mode::Passthru { 1 } else { self.subs }
    }

    /// The frames that each worker of our engine has read so far.
    pub(super) fn shares(&self) -> Option<Vec<u64>> {
        let engine = self.engine.borrow().upgrade()?;
        let parents = engine.status().ok()?;
        let workers = &parents.first()?.workers;
        Some(workers.iter().map(|worker| worker.turns.frames).collect())
    }

    /// The summed counters of our engine's workers.
    pub(super) fn turns(&self) -> Option<WorkerStats> {
        let engine = self.engine.borrow().upgrade()?;
        engine.parent(Member::Host.interface_name()).ok().map(|parent| parent.counters.turns)
    }

    /// The frames that idle sub-interfaces have received.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub(super) fn idle_received(&self) -> Result<u64> {
        Ok(self.network.idle_received()?)
    }
}

/// The maximum number of ports of a Linux bridge, including the parent (`BR_MAX_PORTS` in
/// `net/bridge/br_private.h`).
const BRIDGE_PORTS: u32 = 1 << 10;

/// Turns a station's TX checksum offload, and with it TCP segmentation offload, on or off.
///
/// # Errors
/// The kernel refuses.
pub(super) fn set_tx_checksum(station: &Station<'_>, on: bool) -> io::Result<()> {
    let ethtool = station.netns.run(Ethtool::open)??;
    ethtool.set_tx_checksum(station.member.interface_name(), on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::look::Look;

    #[test]
    fn every_peer_has_a_look_of_its_own() {
        let other = Look::of_peer("a peer of another version");
        for peer in Peer::ALL {
            assert_ne!(Look::of_peer(&peer.to_string()), other, "{peer}");
        }
    }
}
