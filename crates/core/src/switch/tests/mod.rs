//! One test for each row of the tables of the kernel's behaviour, on a parent with two
//! sub-interfaces of every mode but passthru.

mod egress;
mod fast_path;
mod groups;
mod ingress;
mod rules;
mod sources;
mod update;

use super::group_frames::MAC_CONTROL;
use super::*;

/// A group that every sub-interface joined.
const JOINED: MacAddr = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
/// A group that no sub-interface joined.
const UNJOINED: MacAddr = MacAddr::new([1, 0, 0x5e, 0, 0, 99]);
/// The parent's address.
const PARENT: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 1]);
/// A host beyond the wire.
const OUTSIDE: MacAddr = MacAddr::new([2, 0xee, 0, 0, 0, 1]);
/// An address that no sub-interface has.
const UNKNOWN: MacAddr = MacAddr::new([2, 0xff, 0, 0, 0, 1]);

const MTU: u32 = 1500;

const SHARING_MODES: [Mode; 4] = [Mode::Private, Mode::Vepa, Mode::Bridge, Mode::Source];

/// Who got a frame.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    copies: Vec<SubIndex>,
    subs: Vec<SubIndex>,
    too_long: Vec<SubIndex>,
    host: bool,
    wire: bool,
    drop: Option<DropReason>,
}

impl From<Verdict<'_>> for Outcome {
    fn from(verdict: Verdict<'_>) -> Self {
        let mut outcome = Self { copies: verdict.copies.collect(), ..Self::default() };
        match verdict.action {
            Action::Deliver(id) => outcome.subs.push(id),
            Action::Drop(reason) => outcome.drop = Some(reason),
            Action::Host => outcome.host = true,
            Action::Wire => outcome.wire = true,
            Action::Flood(flood) => {
                match flood.rule().also() {
                    ParentSide::Host => outcome.host = true,
                    ParentSide::Wire => outcome.wire = true,
                }
                for replica in flood {
                    match replica {
                        Replica::Deliver(id) => outcome.subs.push(id),
                        Replica::TooLong(id) => outcome.too_long.push(id),
                    }
                }
            }
        }
        outcome
    }
}

fn to_sub(id: SubIndex) -> Outcome {
    to_subs(&[id])
}

fn to_subs(ids: &[SubIndex]) -> Outcome {
    Outcome { subs: ids.to_vec(), ..Outcome::default() }
}

fn dropped(reason: DropReason) -> Outcome {
    Outcome { drop: Some(reason), ..Outcome::default() }
}

impl Outcome {
    fn and_host(self) -> Self {
        Self { host: true, ..self }
    }

    fn and_wire(self) -> Self {
        Self { wire: true, ..self }
    }

    fn after_copies(self, copies: &[SubIndex]) -> Self {
        Self { copies: copies.to_vec(), ..self }
    }
}

fn host() -> Outcome {
    Outcome::default().and_host()
}

fn wire() -> Outcome {
    Outcome::default().and_wire()
}

/// A frame with this length in bytes.
fn bytes(dst: MacAddr, src: MacAddr, ethertype: u16, len: usize) -> Vec<u8> {
    let mut bytes = [dst.octets(), src.octets()].concat();
    bytes.extend(ethertype.to_be_bytes());
    bytes.resize(len, 0);
    bytes
}

/// The address of the n-th sub-interface.
fn mac(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, n])
}

fn parent() -> ParentInfo {
    ParentInfo { mac: PARENT, mtu: MTU, promisc: false }
}

fn config(mac: MacAddr, mode: Mode) -> SubConfig {
    SubConfig::new(mac, mode)
}

/// A switch with shorthands for tests.
struct TestSwitch {
    switch: Switch,
}

impl TestSwitch {
    fn new(semantics: Semantics) -> Self {
        let switch = Switch::new(parent(), semantics);
        Self { switch }
    }

    /// Two sub-interfaces of every mode but passthru, all up, all in [`JOINED`].
    fn mixed() -> (Self, [[SubIndex; 2]; 4]) {
        Self::mixed_with(Semantics::Documented)
    }

    fn mixed_with(semantics: Semantics) -> (Self, [[SubIndex; 2]; 4]) {
        let mut test = Self::new(semantics);
        let subs = SHARING_MODES.map(|mode| [test.up(mode), test.up(mode)]);
        (test, subs)
    }

    /// Adds a sub-interface, sets it up and lets it join [`JOINED`].
    fn up(&mut self, mode: Mode) -> SubIndex {
        let n = u8::try_from(self.switch.subs().count()).unwrap() + 1;
        let id = self.switch.add(&config(mac(n), mode)).unwrap();
        self.switch.set_up(id, true).unwrap();
        self.join(id, &[JOINED]);
        id
    }

    fn join(&mut self, id: SubIndex, groups: &[MacAddr]) {
        let groups = groups.to_vec();
        let filter = MulticastFilter { groups, ..MulticastFilter::default() };
        self.switch.set_filter(id, filter).unwrap();
    }

    fn down(&mut self, id: SubIndex) {
        self.switch.set_up(id, false).unwrap();
    }

    fn mac(&self, id: SubIndex) -> MacAddr {
        self.switch.sub(id).unwrap().mac()
    }

    fn ingress(&self, src: MacAddr, dst: MacAddr) -> Outcome {
        self.ingress_of(&bytes(dst, src, 0x88b5, 60))
    }

    fn ingress_of(&self, bytes: &[u8]) -> Outcome {
        self.switch.ingress(Frame::new(bytes).unwrap()).into()
    }

    /// A frame from a sub-interface with its own source address.
    fn egress(&self, from: SubIndex, dst: MacAddr) -> Outcome {
        self.egress_of(from, &bytes(dst, self.mac(from), 0x88b5, 60))
    }

    fn egress_of(&self, from: SubIndex, bytes: &[u8]) -> Outcome {
        let frame = Frame::new(bytes).unwrap();
        self.switch.egress(from, frame, false).into()
    }
}
