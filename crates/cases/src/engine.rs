//! A worker's turn, with uplink and ports in memory.

use umacvlan_core::offload::{Offloads, VNET_LEN};
use umacvlan_core::options::PortIo;
use umacvlan_core::rules::{RuleWord, Rules};
use umacvlan_core::{
    MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode, ParentInfo, Semantics, SubConfig,
    Switch,
};
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Worker, WorkerConfig};

use crate::Round;
use crate::frames::{UDP_HEADERS, head, random, random_mac, udp, udp_from};

/// Frames of a round: as many as a turn reads from the wire.
const BURST: usize = 64;

/// Bytes of a small frame: 64 with the FCS.
const SMALL: usize = 60;

/// Bytes of the datagrams that are merged.
const DATAGRAM: usize = UDP_HEADERS + 64;

/// The limit of sending sub-interfaces.
const SENDERS: usize = 8;

/// A worker and the far ends of its links.
struct Turns {
    worker: Worker,
    wire: MemoryLink,
    ports: Vec<MemoryLink>,
    /// Each with the index of its port; `None` for a frame from the wire.
    frames: Vec<(Option<usize>, Vec<u8>)>,
}

impl Round for Turns {
    fn prepare(&mut self) {
        for link in self.ports.iter().chain([&self.wire]) {
            link.drain();
        }
        for (from, frame) in &self.frames {
            let link = from.map_or(&self.wire, |from| &self.ports[from]);
            assert!(link.push(frame), "a ring has no room for a burst");
        }
    }

    fn run(&mut self) -> usize {
        let turn = self.worker.turn().expect("a turn in memory makes no failing system call");
        assert_eq!(turn.frames, self.frames.len(), "nothing would be measured");
        turn.frames
    }

    fn frames(&self) -> usize {
        self.frames.len()
    }
}

/// A worker with sub-interfaces, and the frames that `frame` makes of their addresses.
fn turns(
    subs: usize,
    egress: bool,
    frame: impl FnMut(&[MacAddr], usize) -> Vec<u8>,
) -> Box<dyn Round> {
    turns_with(Parent::Plain, &MacvlanSettings::new(Mode::Bridge), subs, egress, frame)
}

/// What is different about a parent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// Its uplink takes GSO packets.
    Merges,
    Plain,
    /// Its sub-interfaces share its address.
    Translates,
}

/// The same, with these settings of all.
fn turns_with(
    kind: Parent,
    settings: &MacvlanSettings,
    subs: usize,
    egress: bool,
    frame: impl FnMut(&[MacAddr], usize) -> Vec<u8>,
) -> Box<dyn Round> {
    Box::new(new_turns(kind, settings, subs, egress, frame))
}

fn new_turns(
    kind: Parent,
    settings: &MacvlanSettings,
    subs: usize,
    egress: bool,
    mut frame: impl FnMut(&[MacAddr], usize) -> Vec<u8>,
) -> Turns {
    let mut random = random();
    let parent = ParentInfo { mac: random_mac(&mut random), mtu: 1500, promisc: true };
    let config = WorkerConfig { io: PortIo::Plain, ..WorkerConfig::default() };
    let switch = Switch::new(parent, Semantics::Documented);
    let mut worker = Worker::new(switch, config).expect("a worker without a TAP can be created");
    let bytes = 2 * BURST * (VNET_LEN + DATAGRAM);
    let (mut near, wire) = MemoryLink::pair(2 * BURST, bytes);
    if kind == Parent::Merges {
        near.take_gso();
    }
    if kind == Parent::Translates {
        worker.translate(SwitchId::UNTAGGED);
    }
    worker.attach(Uplink::Memory(near)).expect("a link in memory can be attached");
    let (mut ports, mut macs) = (Vec::new(), Vec::new());
    for _ in 0..subs {
        let (near, far) = MemoryLink::pair(2 * BURST, bytes);
        let mac = random_mac(&mut random);
        let config = SubConfig { mac, mtu: None, settings: settings.clone() };
        let id = worker.add(&config, PortLink::Memory(near), Offloads::ALL);
        let id = id.expect("there is room");
        worker.set_up(id, true).expect("the address is new");
        ports.push(far);
        macs.push(mac);
    }
    let from = |number| egress.then_some(number % SENDERS.min(subs));
    let frames = (0..BURST).map(|number| (from(number), frame(&macs, number))).collect();
    Turns { worker, wire, ports, frames }
}

fn small(dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let mut frame = head(dst, src).to_vec();
    frame.resize(SMALL, 0);
    frame
}

pub(crate) fn wire_to_sub(subs: usize) -> Box<dyn Round> {
    let mut random = random();
    turns(subs, false, |macs, _| small(macs[random.usize(..macs.len())], random_mac(&mut random)))
}

pub(crate) fn sub_to_sub(subs: usize) -> Box<dyn Round> {
    let mut random = random();
    turns(subs, true, |macs, number| {
        small(macs[random.usize(..macs.len())], macs[number % SENDERS])
    })
}

pub(crate) fn sub_to_wire(subs: usize) -> Box<dyn Round> {
    let mut random = random();
    turns(subs, true, |macs, number| small(random_mac(&mut random), macs[number % SENDERS]))
}

/// A burst of datagrams of one flow, merged into one GSO packet.
pub(crate) fn merge_udp() -> Box<dyn Round> {
    let mut random = random();
    let src = random_mac(&mut random);
    turns(1, false, |macs, number| {
        let id = u16::try_from(number).expect("a burst is short");
        udp(DATAGRAM, macs[0], src, id)
    })
}

/// A burst of datagrams to the wire, each of the next of so many flows, merged by flow.
pub(crate) fn merge_to_wire(flows: usize) -> Box<dyn Round> {
    let mut random = random();
    let dst = random_mac(&mut random);
    turns_with(Parent::Merges, &MacvlanSettings::new(Mode::Bridge), 1, true, |macs, number| {
        let short = |number| u16::try_from(number).expect("a burst is short");
        udp_from(short(1 + number % flows), DATAGRAM, dst, macs[0], short(number / flows))
    })
}

/// Datagrams to the wire, from sub-interfaces with these settings.
fn to_wire_with(settings: &MacvlanSettings) -> Box<dyn Round> {
    let dst = outside();
    turns_with(Parent::Plain, settings, 64, true, |macs, number| {
        udp(DATAGRAM, dst, macs[number % SENDERS], u16::try_from(number).expect("a short burst"))
    })
}

/// A datagram from or to the IP address of the sub-interface of that number, at this offset of the frame.
fn datagram_of(number: usize, at: usize, dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let mut frame = udp(DATAGRAM, dst, src, 1);
    let last = u8::try_from(number).expect("few sub-interfaces");
    frame[at..at + 4].copy_from_slice(&[192, 0, 2, last]);
    frame
}

/// Offsets of the addresses in a frame with IPv4.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;

/// Datagrams to the wire from sub-interfaces that share the parent's address.
pub(crate) fn macnat_to_wire() -> Box<dyn Round> {
    let settings = MacvlanSettings::new(Mode::Bridge);
    turns_with(Parent::Translates, &settings, 64, true, |macs, number| {
        datagram_of(1 + number % SENDERS, SOURCE, outside(), macs[number % SENDERS])
    })
}

/// Datagrams from the wire to sub-interfaces that share the parent's address.
pub(crate) fn macnat_to_sub() -> Box<dyn Round> {
    let mut random = random();
    let parent = random_mac(&mut random);
    let settings = MacvlanSettings::new(Mode::Bridge);
    let mut macs_of_subs = Vec::new();
    let mut turns = new_turns(Parent::Translates, &settings, 64, false, |macs, number| {
        macs_of_subs = macs.to_vec();
        datagram_of(1 + number % SENDERS, DESTINATION, parent, outside())
    });
    // Each has an address once it has sent from there.
    for (number, mac) in macs_of_subs.iter().enumerate().take(SENDERS) {
        let frame = datagram_of(1 + number, SOURCE, outside(), *mac);
        assert!(turns.ports[number].push(&frame), "a ring has no room for a frame");
    }
    turns.worker.turn().expect("a turn in memory makes no failing system call");
    Box::new(turns)
}

fn outside() -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, 9])
}

fn with_rules(words: &[(RuleWord, &str)]) -> MacvlanSettings {
    let mut rules = Rules::default();
    for (word, text) in words {
        rules.add(*word, text).expect("a value of this rule");
    }
    MacvlanSettings { rules, ..MacvlanSettings::new(Mode::Bridge) }
}

/// Without any setting: the baseline of those below.
pub(crate) fn datagrams_to_wire() -> Box<dyn Round> {
    to_wire_with(&MacvlanSettings::new(Mode::Bridge))
}

pub(crate) fn spoofchk_to_wire() -> Box<dyn Round> {
    let flags = MacvlanFlags::default().with(MacvlanFlag::Spoofchk, true);
    to_wire_with(&MacvlanSettings { flags, ..MacvlanSettings::new(Mode::Bridge) })
}

pub(crate) fn isolation_to_wire() -> Box<dyn Round> {
    to_wire_with(&with_rules(&[(RuleWord::Isolation, "web")]))
}

pub(crate) fn allow_lists_to_wire() -> Box<dyn Round> {
    let mac = outside().to_string();
    to_wire_with(&with_rules(&[
        (RuleWord::AllowMac, &mac),
        (RuleWord::AllowEthertype, "ipv4"),
        (RuleWord::AllowEthertype, "arp"),
    ]))
}

pub(crate) fn allow_ip_to_wire() -> Box<dyn Round> {
    to_wire_with(&with_rules(&[(RuleWord::AllowIp, "192.0.2.7"), (RuleWord::AllowIp, "0.0.0.0/0")]))
}
