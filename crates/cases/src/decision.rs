//! Decisions: frames that are there already, and verdicts that are counted.

use std::hint::black_box;

use fastrand::Rng;
use hashbrown::HashMap;
use umacvlan_core::{
    Action, Frame, MacAddr, MacvlanSettings, Mode, ParentInfo, Semantics, SubConfig, SubIndex,
    Switch, Verdict,
};

use crate::Round;
use crate::frames::{head, random, station};

/// Frames of a round: enough to be out of order.
const FRAMES: usize = 1024;

/// Frames of a round that go to many.
const FLOODS: usize = 64;

/// At most so many sub-interfaces send.
const SENDERS: usize = 8;

/// Frames about which a switch decides.
struct Decisions<const EGRESS: bool> {
    switch: Switch,
    frames: Vec<(SubIndex, [u8; 16])>,
}

impl<const EGRESS: bool> Round for Decisions<EGRESS> {
    fn run(&mut self) -> usize {
        let mut sum = 0;
        for (from, head) in &self.frames {
            let frame = Frame::new(black_box(head)).expect("it is longer than a header");
            sum += act(match EGRESS {
                true => self.switch.egress(*from, frame, false),
                false => self.switch.ingress(frame),
            });
        }
        sum
    }

    fn frames(&self) -> usize {
        self.frames.len()
    }
}

/// Carries a verdict out, as far as that goes without ports.
// Always, as the engine's only call is.
#[inline(always)]
fn act(verdict: Verdict<'_>) -> usize {
    let copies = verdict.copies.map(|id| id.index()).sum::<usize>();
    copies
        + match verdict.action {
            Action::Deliver(id) => id.index(),
            Action::Flood(flood) => flood.count(),
            Action::Drop(reason) => reason.index(),
            Action::Host => 1,
            Action::Wire => 2,
        }
}

/// Keys that are looked up, and nothing else: what a decision is compared with.
struct Bare {
    table: HashMap<u64, u16>,
    keys: Vec<u64>,
}

impl Round for Bare {
    fn run(&mut self) -> usize {
        let found = |key| self.table.get(black_box(key)).map_or(1, |&id| usize::from(id));
        self.keys.iter().map(found).sum()
    }

    fn frames(&self) -> usize {
        self.keys.len()
    }
}

/// A switch full of sub-interfaces that are up.
struct Crowd {
    random: Rng,
    switch: Switch,
    ids: Vec<SubIndex>,
    macs: Vec<MacAddr>,
}

impl Crowd {
    fn new(subs: usize) -> Self {
        let mut random = random();
        let parent = ParentInfo { mac: station(&mut random), mtu: 1500, promisc: true };
        let switch = Switch::new(parent, Semantics::Documented);
        let mut crowd = Self { random, switch, ids: Vec::new(), macs: Vec::new() };
        (0..subs).for_each(|_| crowd.add(Mode::Bridge, Vec::new()));
        crowd
    }

    fn add(&mut self, mode: Mode, sources: Vec<MacAddr>) {
        let mac = station(&mut self.random);
        let settings = MacvlanSettings { sources, ..MacvlanSettings::new(mode) };
        let config = SubConfig { mac, mtu: None, settings };
        let id = self.switch.add(&config).expect("there is room");
        self.switch.set_up(id, true).expect("the address is new");
        self.ids.push(id);
        self.macs.push(mac);
    }

    fn somebody(&mut self) -> MacAddr {
        self.macs[self.random.usize(..self.macs.len())]
    }

    /// So many frames from stations or from sub-interfaces.
    fn frames<const EGRESS: bool>(
        mut self,
        count: usize,
        mut addresses: impl FnMut(&mut Self) -> (MacAddr, MacAddr),
    ) -> Box<dyn Round> {
        let frame = |number: usize| {
            let (dst, src) = addresses(&mut self);
            (self.ids[number % self.ids.len().min(SENDERS)], head(dst, src))
        };
        let frames = (0..count).map(frame).collect();
        Box::new(Decisions::<EGRESS> { switch: self.switch, frames })
    }

    /// Frames from the wire to somebody.
    fn strangers(self) -> Box<dyn Round> {
        self.frames::<false>(FRAMES, |crowd| (crowd.somebody(), station(&mut crowd.random)))
    }
}

pub(crate) fn bare(subs: usize) -> Box<dyn Round> {
    let mut crowd = Crowd::new(subs);
    let keys = (0..FRAMES).map(|_| crowd.somebody().to_u64()).collect();
    let table = crowd.macs.iter().map(|mac| mac.to_u64()).zip(0..=u16::MAX).collect();
    Box::new(Bare { table, keys })
}

pub(crate) fn wire_to_sub(subs: usize) -> Box<dyn Round> {
    Crowd::new(subs).strangers()
}

pub(crate) fn sub_to_sub(subs: usize) -> Box<dyn Round> {
    Crowd::new(subs).frames::<true>(FRAMES, |crowd| (crowd.somebody(), crowd.macs[0]))
}

pub(crate) fn sub_to_wire(subs: usize) -> Box<dyn Round> {
    Crowd::new(subs).frames::<true>(FRAMES, |crowd| (station(&mut crowd.random), crowd.macs[0]))
}

/// With a private sub-interface, so that nothing is known before the frame comes.
pub(crate) fn all_rules(subs: usize) -> Box<dyn Round> {
    let mut crowd = Crowd::new(subs - 1);
    crowd.add(Mode::Private, Vec::new());
    crowd.strangers()
}

pub(crate) fn broadcast(subs: usize) -> Box<dyn Round> {
    let crowd = Crowd::new(subs);
    crowd.frames::<false>(FLOODS, |crowd| (MacAddr::BROADCAST, station(&mut crowd.random)))
}

/// For a group that nobody joined.
pub(crate) fn unheard(subs: usize) -> Box<dyn Round> {
    let group = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
    Crowd::new(subs).frames::<false>(FRAMES, |crowd| (group, station(&mut crowd.random)))
}

/// From stations that a source sub-interface lists, to others.
pub(crate) fn source_hit(subs: usize) -> Box<dyn Round> {
    let (crowd, listed) = listening(subs);
    crowd.frames::<false>(FRAMES, |crowd| {
        (crowd.somebody(), listed[crowd.random.usize(..listed.len())])
    })
}

/// From stations that it does not list.
pub(crate) fn source_miss(subs: usize) -> Box<dyn Round> {
    listening(subs).0.strangers()
}

/// One of them lists as many stations as there are sub-interfaces.
fn listening(subs: usize) -> (Crowd, Vec<MacAddr>) {
    let mut crowd = Crowd::new(subs - 1);
    let listed: Vec<_> = (0..subs).map(|_| station(&mut crowd.random)).collect();
    crowd.add(Mode::Source, listed.clone());
    (crowd, listed)
}
