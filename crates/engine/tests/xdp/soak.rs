//! Many frames in both directions during every kind of fault: no chunk is lost, every frame is
//! counted, and frames still pass afterwards.
//!
//! Debug builds, and the build of `make soak`, add up the chunks in every turn. This test checks
//! that the kernel has returned all of them. More frames are sent than rings hold, so rings are
//! full in each phase.

use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use umacvlan_core::options::{Backend, PortIo, XdpMode};

use umacvlan_core::Mode;
use umacvlan_core::stats::WireStats;
use umacvlan_engine::Error;
use umacvlan_engine::engine::{Event, LinkAttribute, ParentOptions, UplinkKind};
use umacvlan_sys::raw_socket::{self, BATCH};
use umacvlan_sys::xdp::{XdpAttachMode, XdpProgram};
use umacvlan_testkit::root_or_skip;

use crate::common::{Lab, PARENT, Place, frame, mac, reaches, until};

/// Frames to send, unless `UMACVLAN_SOAK` says otherwise.
const FRAMES: u64 = 200_000;

/// Frames in a phase, which has one fault. Some of them are refused during the fault.
const PHASE: u64 = 10_000;

/// A fault in the middle of a phase, which is repaired before the end of the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The parent is down.
    ParentDown,
    /// The other end of its wire is down.
    FarDown,
    /// The sub-interface is down.
    SubDown,
    /// A second sub-interface exists.
    Neighbour,
    /// The MTU changes, so the uplink is opened again.
    Mtu,
    /// Another process tries to attach an XDP program beside ours.
    Intruder,
    /// The parent is detached: afterwards it has another worker.
    Detached,
    /// The same, and a foreign XDP program is attached.
    Taken,
    /// The engine is stopped: afterwards there is a new one.
    Ended,
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::ParentDown,
        Self::FarDown,
        Self::SubDown,
        Self::Neighbour,
        Self::Mtu,
        Self::Intruder,
        Self::Detached,
        Self::Taken,
        Self::Ended,
    ];
}

#[test]
fn soak() {
    if !root_or_skip() {
        return;
    }
    let frames = std::env::var("UMACVLAN_SOAK").ok().and_then(|text| text.parse().ok());
    let frames = frames.unwrap_or(FRAMES);
    let mut soak = Soak::new();
    // Each fault occurs in both modes.
    let plan = [XdpMode::Native, XdpMode::Generic].into_iter().cycle();
    let mut plan = plan.flat_map(|mode| Fault::ALL.map(|fault| (mode, fault)));
    let mut phases = 0;
    while let (true, Some((mode, fault))) = (soak.sent < frames, plan.next()) {
        eprintln!("phase {phases}: {mode}, {fault:?}");
        soak.phase(mode, fault);
        phases += 1;
    }
    soak.collect();
    let Soak { sent, wire, ring_drops, .. } = soak;
    assert!(phases >= 2 * Fault::ALL.len(), "not every fault in each mode: {phases} phases");
    let seen = wire.received.frames + wire.sent.frames;
    eprintln!("soak: {phases} phases, {sent} frames sent, {seen} seen by the uplink");
    eprintln!("soak: {}", drops(&wire, ring_drops));
    assert!(seen >= sent / 4, "most frames never came by: {seen} of {sent}");
    assert!(ring_drops > 0, "no ring was ever full");
}

/// The network of the soak, and its counters.
struct Soak {
    lab: Lab,
    inside: Place,
    mode: XdpMode,
    /// The foreign program, while it is on the parent.
    other: Option<XdpProgram>,
    /// Number of sub-interfaces so far: each has another name.
    made: u32,
    sent: u64,
    /// Sums over all workers so far.
    wire: WireStats,
    ring_drops: u64,
}

impl Soak {
    fn new() -> Self {
        let mut soak = Self {
            lab: Lab::new(PortIo::Auto),
            inside: Place::new(),
            mode: XdpMode::Native,
            other: None,
            made: 0,
            sent: 0,
            wire: WireStats::default(),
            ring_drops: 0,
        };
        soak.start(XdpMode::Native);
        soak
    }

    /// Starts another engine that reaches the wire in that mode.
    fn start(&mut self, mode: XdpMode) {
        self.mode = mode;
        self.lab.start(PortIo::Auto, self.options());
        self.add();
    }

    fn options(&self) -> ParentOptions {
        let backend = Backend::AfXdpIn(self.mode);
        ParentOptions { name: PARENT.to_owned(), backend, ..ParentOptions::default() }
    }

    /// Makes the sub-interface.
    fn add(&mut self) {
        self.made += 1;
        self.lab.add(&self.sub(), 1, Mode::Bridge, &self.inside);
        assert_eq!(self.lab.parent().uplink.kind, UplinkKind::AfXdp(self.mode));
    }

    fn sub(&self) -> String {
        format!("s{}", self.made)
    }

    /// Sends before, during and after the fault.
    fn phase(&mut self, mode: XdpMode, fault: Fault) {
        if mode != self.mode {
            self.collect();
            self.start(mode);
        }
        self.passes();
        self.flood();
        self.break_by(fault);
        self.flood();
        self.mend(fault);
        until("a carrier", || self.lab.parent().carrier);
        self.passes();
        self.flood();
        self.balance();
    }

    /// Checks that a frame passes in each direction.
    fn passes(&self) {
        let (sub, wire) = self.ends();
        reaches(&wire, &sub, &frame(mac(1), mac(0xff), 1));
        reaches(&sub, &wire, &frame(mac(0xff), mac(1), 2));
    }

    /// Sockets at both ends.
    fn ends(&self) -> (OwnedFd, OwnedFd) {
        (self.inside.socket(&self.sub()), self.lab.far.socket("x0"))
    }

    /// Sends a third of a phase as fast as possible, from the ends that can send.
    fn flood(&mut self) {
        let wire = self.lab.far.socket("x0");
        let sub = self.inside.find(&self.sub()).map(|_| self.inside.socket(&self.sub()));
        let (down, up) = (frame(mac(1), mac(0xff), 3), frame(mac(0xff), mac(1), 4));
        // Sending fails while an interface is down, which is intended here.
        let send =
            |socket: &OwnedFd, frame| raw_socket::send(socket.as_fd(), frame, BATCH).unwrap_or(0);
        for _ in 0..PHASE / 6 / BATCH as u64 {
            self.sent += send(&wire, &down) as u64;
            self.sent += sub.as_ref().map_or(0, |sub| send(sub, &up)) as u64;
        }
    }

    fn break_by(&mut self, fault: Fault) {
        match fault {
            Fault::ParentDown => self.set_parent_up(false),
            Fault::FarDown => self.set_far_up(false),
            Fault::SubDown => self.set_sub_up(false),
            Fault::Neighbour => drop(self.lab.add("n0", 2, Mode::Vepa, &self.inside)),
            Fault::Mtu => self.set_mtu(1400),
            Fault::Intruder => {
                self.intrude(XdpAttachMode::Native).unwrap_err();
                self.intrude(XdpAttachMode::Generic).unwrap_err();
            }
            Fault::Detached => self.detach(),
            Fault::Taken => {
                self.detach();
                self.other = Some(self.intrude(XdpAttachMode::Native).unwrap());
                let error = self.lab.engine().add_parent(self.options()).unwrap_err();
                assert!(matches!(error, Error::NoAfXdp { .. }), "{error}");
            }
            Fault::Ended => {
                self.collect();
                drop(self.lab.engine.take());
            }
        }
    }

    fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::ParentDown => self.set_parent_up(true),
            Fault::FarDown => self.set_far_up(true),
            Fault::SubDown => self.set_sub_up(true),
            Fault::Neighbour => {
                let (near, wire) = (self.inside.socket("n0"), self.lab.far.socket("x0"));
                reaches(&wire, &near, &frame(mac(2), mac(0xff), 5));
                self.lab.engine().remove_sub(self.lab.number("n0")).unwrap();
            }
            Fault::Mtu => self.set_mtu(1500),
            Fault::Intruder => {}
            Fault::Detached | Fault::Taken => {
                self.other = None;
                self.lab.engine().add_parent(self.options()).unwrap();
                self.add();
            }
            Fault::Ended => self.start(self.mode),
        }
    }

    fn set_parent_up(&mut self, up: bool) {
        let index = self.lab.host.index(PARENT);
        self.lab.host.rtnl.set_up(index, up).unwrap();
    }

    fn set_far_up(&mut self, up: bool) {
        let index = self.lab.far.index("x0");
        self.lab.far.rtnl.set_up(index, up).unwrap();
    }

    fn set_sub_up(&self, up: bool) {
        let number = self.lab.number(&self.sub());
        self.lab.engine().set_link(number, vec![LinkAttribute::Up(up)]).unwrap();
    }

    fn set_mtu(&mut self, mtu: u32) {
        let index = self.lab.host.index(PARENT);
        self.lab.host.rtnl.set_mtu(index, mtu).unwrap();
        until("the MTU", || self.lab.parent().mtu == mtu);
    }

    fn detach(&mut self) {
        self.collect();
        self.lab.engine().remove_parent(PARENT).unwrap();
    }

    /// Puts another program on the parent.
    fn intrude(&mut self, how: XdpAttachMode) -> std::io::Result<XdpProgram> {
        let index = self.lab.host.index(PARENT);
        let intrude = || {
            let mut program = XdpProgram::load(1522)?;
            program.attach(index, how).map(|()| program)
        };
        self.lab.host.netns.run(intrude).unwrap()
    }

    /// Waits until no frame is under way, and checks that every frame has a fate and every chunk is
    /// back.
    fn balance(&self) {
        until("all frames accounted for, and no chunk on its way", || {
            let counters = self.lab.counters();
            counters.pending_floods == 0 && counters.is_balanced() && counters.tx_in_flight == 0
        });
        let mut events = self.lab.engine().events().try_iter();
        let trouble = events.find(|event| matches!(event, Event::Trouble { .. }));
        assert_eq!(trouble, None);
    }

    /// Adds up what the workers have counted, before they end.
    fn collect(&mut self) {
        self.balance();
        let parent = self.lab.parent();
        self.wire += parent.counters.wire;
        self.ring_drops += parent.ring_drops;
    }
}

/// Undelivered frames by reason.
fn drops(wire: &WireStats, ring_drops: u64) -> String {
    let mut text = format!("no room in rings {ring_drops}");
    for (kind, counts) in [("dropped", &wire.dropped), ("unsent", &wire.unsent)] {
        for (reason, count) in counts.iter().filter(|&(_, count)| count > 0) {
            let _ = write!(text, ", {kind} {reason} {count}");
        }
    }
    text
}
