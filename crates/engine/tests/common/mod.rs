//! A parent with a host at the other end of its wire, and an engine on it, all in namespaces
//! without a name, which end with the test.
#![allow(dead_code, reason = "each of the tests needs a part of it")]

pub(crate) mod program;

use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};
use umacvlan_core::options::{PollMode, PortIo};

use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_datapath::worker::{Snapshot, WorkerConfig};
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{
    EngineOptions, Event, ParentOptions, ParentStatus, SubId, SubOptions, SubStatus,
};
use umacvlan_netlink::{Link, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{poll, raw_socket};

/// Limit of every wait, each of which takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The EtherType of the tests' frames: for local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

pub(crate) const PARENT: &str = "p0";

/// A namespace and a socket to change it with.
pub(crate) struct Place {
    pub(crate) netns: Netns,
    pub(crate) rtnl: Rtnl,
}

/// The parent `p0` in `host`, its wire to `x0` in `far`, and the engine.
pub(crate) struct Lab {
    pub(crate) engine: Option<Engine>,
    pub(crate) host: Place,
    pub(crate) far: Place,
}

impl Place {
    pub(crate) fn new() -> Self {
        let netns = Netns::create().unwrap();
        for all in ["all", "default"] {
            set_sysctl(&netns, &format!("ipv6/conf/{all}/disable_ipv6"), "1").unwrap();
        }
        let rtnl = Rtnl::open_in(&netns).unwrap();
        Self { netns, rtnl }
    }

    pub(crate) fn link(&mut self, name: &str) -> Link {
        self.find(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn find(&mut self, name: &str) -> Option<Link> {
        self.rtnl.link(name).unwrap()
    }

    pub(crate) fn index(&mut self, name: &str) -> u32 {
        self.link(name).index
    }

    /// A packet socket on an interface, for the tests' frames.
    pub(crate) fn socket(&self, name: &str) -> OwnedFd {
        let open = || raw_socket::open(raw_socket::index_of(name).unwrap(), ETHERTYPE);
        self.netns.run(open).unwrap().unwrap()
    }

    /// Waits until an interface is as `so` demands.
    pub(crate) fn until(&mut self, what: &str, name: &str, so: impl Fn(&Link) -> bool) {
        until(what, || self.find(name).is_some_and(|link| so(&link)));
    }
}

impl Lab {
    /// A parent and an engine on it that waits by `adaptive`.
    pub(crate) fn new(io: PortIo) -> Self {
        Self::with(io, 1)
    }

    /// As [`Lab::new`], with this many workers.
    pub(crate) fn with(io: PortIo, workers: usize) -> Self {
        let (mut host, far) = (Place::new(), Place::new());
        wire(&mut host, &far);
        let mut lab = Self { engine: None, host, far };
        lab.start(io, several(workers));
        lab
    }

    /// Starts an engine in place of the one before, with the parent and these options. Of those the
    /// number of workers counts, and not how they run.
    pub(crate) fn start(&mut self, io: PortIo, options: ParentOptions) {
        self.start_with(EngineOptions::default(), io, options);
    }

    /// As [`Lab::start`], with options of the engine.
    pub(crate) fn start_with(&mut self, with: EngineOptions, io: PortIo, options: ParentOptions) {
        drop(self.engine.take());
        let engine = self.host.netns.run(|| Engine::start_with(with)).unwrap().unwrap();
        let worker = WorkerConfig { io, poll: PollMode::Adaptive, ..WorkerConfig::default() };
        let options = ParentOptions {
            name: PARENT.to_owned(),
            workers: vec![worker; options.workers.len().max(1)],
            ..options
        };
        engine.add_parent(options).unwrap();
        self.engine = Some(engine);
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// A sub-interface with the address `n` in a namespace, up.
    pub(crate) fn add(&self, name: &str, n: u8, mode: Mode, place: &Place) -> SubStatus {
        let options = SubOptions {
            name: name.to_owned(),
            mac: Some(mac(n)),
            settings: MacvlanSettings::new(mode),
            netns: Some(place.netns.try_clone().unwrap()),
            up: true,
            ..SubOptions::default()
        };
        self.engine().add_sub(PARENT, options).unwrap()
    }

    pub(crate) fn parent(&self) -> ParentStatus {
        self.engine().status().unwrap().remove(0)
    }

    pub(crate) fn counters(&self) -> Snapshot {
        self.parent().counters
    }

    pub(crate) fn number(&self, name: &str) -> SubId {
        self.sub(name).number
    }

    pub(crate) fn sub(&self, name: &str) -> SubStatus {
        let mut subs = self.parent().subs.into_iter();
        let found = subs.find(|sub| sub.name == name);
        found.unwrap_or_else(|| panic!("no sub-interface {name}"))
    }

    /// Waits for an event, and prints on standard error how long it took.
    pub(crate) fn event(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let start = Instant::now();
        let mut heard = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(event) = self.engine().events().recv_timeout(left) else {
                panic!("timed out waiting: {what}; heard {heard:#?}");
            };
            if wanted(&event) {
                eprintln!("latency: {what}: {:.2} ms", millis(start.elapsed()));
                return event;
            }
            heard.push(event);
        }
    }

    /// Discards past events.
    pub(crate) fn forget(&self) {
        self.engine().events().try_iter().for_each(drop);
    }

    /// Waits until a change of a sub-interface is reported after which it is as `so` demands.
    pub(crate) fn changed(&self, what: &str, name: &str, so: impl Fn(&SubStatus) -> bool) {
        self.event(
            what,
            |event| matches!(event, Event::SubChanged(sub) if sub.name == name && so(sub)),
        );
    }
}

/// Options of a parent with this many workers.
pub(crate) fn several(workers: usize) -> ParentOptions {
    ParentOptions { workers: vec![WorkerConfig::default(); workers], ..ParentOptions::default() }
}

/// Makes `p0` and `x0`, up.
pub(crate) fn wire(host: &mut Place, far: &Place) {
    host.rtnl.add_veth(PARENT, "x0", Some(&far.netns)).unwrap();
    let index = host.index(PARENT);
    host.rtnl.set_mac(index, mac(0)).unwrap();
    let mut there = Rtnl::open_in(&far.netns).unwrap();
    let peer = there.link("x0").unwrap().unwrap().index;
    there.set_mac(peer, mac(0xff)).unwrap();
    there.set_up(peer, true).unwrap();
    host.rtnl.set_up(index, true).unwrap();
    host.until("the carrier of the parent", PARENT, Link::is_running);
}

/// The address `n`: 0 is the parent's, 255 that of the host at the far end.
pub(crate) fn mac(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0x77, n])
}

/// A frame of 60 bytes with a number in it.
pub(crate) fn frame(to: MacAddr, from: MacAddr, number: u32) -> Vec<u8> {
    let mut frame = [to.octets(), from.octets()].concat();
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// Sends one frame, and retries while the queue is full.
pub(crate) fn send(socket: &OwnedFd, frame: &[u8]) {
    until("room in a queue", || raw_socket::send(socket.as_fd(), frame, 1).unwrap() == 1);
}

/// The number in the next received frame, or `None` if none arrives in time.
pub(crate) fn next(socket: &OwnedFd, time: Duration) -> Option<u32> {
    let mut buffer = [0; 128];
    let end = Instant::now() + time;
    loop {
        if let Some(len) = raw_socket::receive(socket.as_fd(), &mut buffer).unwrap() {
            let [.., a, b, c, d] = buffer[..len.min(18)] else {
                continue;
            };
            return Some(u32::from_be_bytes([a, b, c, d]));
        }
        let left = end.saturating_duration_since(Instant::now());
        let mut wanted = [poll::Interest::readable(socket.as_fd())];
        if left.is_zero() || poll::wait(&mut wanted, left).unwrap() == 0 {
            return None;
        }
    }
}

/// Every received number, until no frame arrives for a moment.
pub(crate) fn all(socket: &OwnedFd) -> Vec<u32> {
    std::iter::from_fn(|| next(socket, Duration::from_millis(100))).collect()
}

/// Sends a frame until it arrives, because changes take a while to be followed.
pub(crate) fn reaches(from: &OwnedFd, to: &OwnedFd, frame: &[u8]) {
    let end = Instant::now() + PATIENCE;
    loop {
        send(from, frame);
        if next(to, Duration::from_millis(50)).is_some() {
            return;
        }
        assert!(Instant::now() < end, "a frame never arrived");
    }
}

/// Waits until `so` is true, and prints on standard error how long it took.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut looks = 0;
    while !so() {
        looks += 1;
        assert!(start.elapsed() < PATIENCE, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    if looks > 0 {
        eprintln!("latency: {what}: {:.1} ms", millis(start.elapsed()));
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Runs `tc qdisc` with these arguments in a namespace.
pub(crate) fn tc(place: &Place, arguments: &str) {
    let run = || Command::new("tc").arg("qdisc").args(arguments.split(' ')).output();
    let output = place.netns.run(run).unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The non-zero drop counters of a parent, as text.
pub(crate) fn losses(parent: &ParentStatus) -> String {
    let mut text = String::new();
    for (place, (_, stats)) in parent.counters.subs.iter().enumerate() {
        for (reason, count) in stats.lost.iter().chain(stats.dropped.iter()) {
            if count > 0 {
                let _ = write!(text, "{place}: {reason} {count}; ");
            }
        }
    }
    text
}
