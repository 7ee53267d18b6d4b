//! Decisions of the switch about prepared frames.

use std::hint::black_box;

use fastrand::Rng;
use hashbrown::HashMap;
use umacvlan_core::{
    Action, Frame, MacAddr, MacvlanSettings, Mode, ParentInfo, Semantics, SubConfig, SubIndex,
    Switch, Verdict,
};

use crate::Round;
use crate::frames::{head, random, random_mac};

/// Frames of a round.
const FRAMES: usize = 1024;

/// Frames of a round that is flooded.
const FLOODS: usize = 64;

/// The limit of sending sub-interfaces.
const SENDERS: usize = 8;

/// A switch and the frames to decide about.
struct Decisions<const EGRESS: bool> {
    switch: Switch,
    frames: Vec<(SubIndex, [u8; 16])>,
}

impl<const EGRESS: bool> Round for Decisions<EGRESS> {
    fn run(&mut self) -> usize {
        let mut sum = 0;
        for (from, head) in &self.frames {
            let frame = Frame::new(black_box(head)).expect("the frame is longer than a header");
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

/// Consumes a verdict as far as that is possible without ports.
// Inlined, as the engine's only call is.
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

/// Hash table lookups and nothing else: the baseline of a decision.
struct BareLookup {
    table: HashMap<u64, u16>,
    keys: Vec<u64>,
}

impl Round for BareLookup {
    fn run(&mut self) -> usize {
        let found = |key| self.table.get(black_box(key)).map_or(1, |&id| usize::from(id));
        self.keys.iter().map(found).sum()
    }

    fn frames(&self) -> usize {
        self.keys.len()
    }
}

/// A switch full of sub-interfaces that are up.
struct FullSwitch {
    random: Rng,
    switch: Switch,
    ids: Vec<SubIndex>,
    macs: Vec<MacAddr>,
}

impl FullSwitch {
    fn new(subs: usize) -> Self {
        let mut random = random();
        let parent = ParentInfo { mac: random_mac(&mut random), mtu: 1500, promisc: true };
        let switch = Switch::new(parent, Semantics::Documented);
        let mut full = Self { random, switch, ids: Vec::new(), macs: Vec::new() };
        (0..subs).for_each(|_| full.add(Mode::Bridge, Vec::new()));
        full
    }

    fn add(&mut self, mode: Mode, sources: Vec<MacAddr>) {
        let mac = random_mac(&mut self.random);
        let settings = MacvlanSettings { sources, ..MacvlanSettings::new(mode) };
        let config = SubConfig { mac, mtu: None, settings };
        let id = self.switch.add(&config).expect("there is room");
        self.switch.set_up(id, true).expect("the address is new");
        self.ids.push(id);
        self.macs.push(mac);
    }

    fn any_sub(&mut self) -> MacAddr {
        self.macs[self.random.usize(..self.macs.len())]
    }

    /// A round of frames from the wire or from sub-interfaces.
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

    /// A round of frames from outside addresses to the sub-interfaces.
    fn outside_frames(self) -> Box<dyn Round> {
        self.frames::<false>(FRAMES, |full| (full.any_sub(), random_mac(&mut full.random)))
    }
}

pub(crate) fn bare_lookup(subs: usize) -> Box<dyn Round> {
    let mut full = FullSwitch::new(subs);
    let keys = (0..FRAMES).map(|_| full.any_sub().to_u64()).collect();
    let table = full.macs.iter().map(|mac| mac.to_u64()).zip(0..=u16::MAX).collect();
    Box::new(BareLookup { table, keys })
}

pub(crate) fn wire_to_sub(subs: usize) -> Box<dyn Round> {
    FullSwitch::new(subs).outside_frames()
}

pub(crate) fn sub_to_sub(subs: usize) -> Box<dyn Round> {
    FullSwitch::new(subs).frames::<true>(FRAMES, |full| (full.any_sub(), full.macs[0]))
}

pub(crate) fn sub_to_wire(subs: usize) -> Box<dyn Round> {
    FullSwitch::new(subs)
        .frames::<true>(FRAMES, |full| (random_mac(&mut full.random), full.macs[0]))
}

/// With a private sub-interface, so that the fast path is not used.
pub(crate) fn all_rules(subs: usize) -> Box<dyn Round> {
    let mut full = FullSwitch::new(subs - 1);
    full.add(Mode::Private, Vec::new());
    full.outside_frames()
}

pub(crate) fn broadcast(subs: usize) -> Box<dyn Round> {
    let full = FullSwitch::new(subs);
    full.frames::<false>(FLOODS, |full| (MacAddr::BROADCAST, random_mac(&mut full.random)))
}

/// Frames for a group without members.
pub(crate) fn multicast_unheard(subs: usize) -> Box<dyn Round> {
    let group = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
    FullSwitch::new(subs).frames::<false>(FRAMES, |full| (group, random_mac(&mut full.random)))
}

/// Frames from addresses on a source list to other sub-interfaces.
pub(crate) fn source_hit(subs: usize) -> Box<dyn Round> {
    let (full, listed) = with_source_list(subs);
    full.frames::<false>(FRAMES, |full| (full.any_sub(), listed[full.random.usize(..listed.len())]))
}

/// Frames from addresses on no source list.
pub(crate) fn source_miss(subs: usize) -> Box<dyn Round> {
    with_source_list(subs).0.outside_frames()
}

/// A switch with a source list of as many addresses as there are sub-interfaces.
fn with_source_list(subs: usize) -> (FullSwitch, Vec<MacAddr>) {
    let mut full = FullSwitch::new(subs - 1);
    let listed: Vec<_> = (0..subs).map(|_| random_mac(&mut full.random)).collect();
    full.add(Mode::Source, listed.clone());
    (full, listed)
}
