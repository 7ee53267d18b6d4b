//! Random topologies, and random changes to them.

use umacvlan_core::options::ProgramKind;
use umacvlan_core::{MacAddr, Mode};

use crate::model::{Change, Plan, State};
use crate::network::PARENT_MAC;
use crate::random::Random;

/// The parameters of one topology.
pub(crate) struct Topology {
    pub(crate) plans: Vec<Plan>,
    /// Hosts beyond the wire, some of them on source lists.
    pub(crate) strangers: Vec<MacAddr>,
    /// Some sub-interfaces have programs.
    programs: bool,
}

impl Topology {
    pub(crate) fn random(random: &mut Random, programs: bool) -> Self {
        let strangers: Vec<_> = (1..=5).map(stranger).collect();
        let owned = random.chance(10);
        let count = if owned { 1 } else { 1 + random.below(8) };
        let mut topology = Self { plans: Vec::new(), strangers, programs };
        for number in 0..count {
            let mode = if owned { Mode::Passthru } else { any_mode(random) };
            let plan = topology.plan(random, number, mode);
            topology.plans.push(plan);
        }
        topology
    }

    /// A change to a network that is like `state`. Some will be refused.
    pub(crate) fn change(&self, random: &mut Random, state: &State) -> Change {
        if state.subs.is_empty() {
            return Change::ParentMac(fresh_mac(random));
        }
        let sub = random.below(state.subs.len());
        let is_source = state.subs[sub].mode == Mode::Source;
        match random.below(32) {
            0..5 => Change::Mode(sub, self.any_mode_but_rarely_passthru(random)),
            5..9 => Change::Up(sub, !state.subs[sub].up),
            9 => Change::Up(sub, state.subs[sub].up),
            10..14 => Change::Mac(sub, self.any_address(random, state)),
            14 => Change::ParentMac(self.new_parent_mac(random, state)),
            15 => Change::Mtu(sub, *random.pick(&[68, 500, 1000, 1300, 1499, 1500, 1501])),
            16 => Change::Promisc(sub, random.chance(60)),
            17 => Change::Allmulti(sub, random.chance(60)),
            18..21 => Change::Nodst(sub, random.chance(60)),
            21 => Change::Create(self.refused_plan(random, state)),
            22 if random.chance(50) => Change::Remove(sub),
            22 => Change::Vanish(sub),
            _ if !is_source && !random.chance(10) => Change::Mode(sub, Mode::Source),
            23..26 => Change::AddSource(sub, self.any_source(random, state)),
            26..28 => Change::RemoveSource(sub, self.any_source(random, state)),
            28 => Change::Sources(sub, Vec::new()),
            _ => {
                let count = random.below(5);
                let some = (0..count).map(|_| self.any_station(random, state));
                Change::Sources(sub, some.collect())
            }
        }
    }

    fn plan(&self, random: &mut Random, number: usize, mode: Mode) -> Plan {
        let count = match mode {
            Mode::Source => random.below(4),
            _ => 0,
        };
        let mut groups = Vec::from_iter(GROUPS.0..GROUPS.1);
        groups.retain(|_| random.chance(35));
        Plan {
            name: format!("s{number}"),
            guest: random.chance(30),
            program: self.programs.then(|| program(number)).flatten(),
            groups,
            mac: sub_mac(number),
            mode,
            nodst: random.chance(20),
            sources: (0..count).map(|_| self.likely_source(random)).collect(),
        }
    }

    /// A sub-interface that the parent refuses: passthru requires a parent without other
    /// sub-interfaces.
    fn refused_plan(&self, random: &mut Random, state: &State) -> Plan {
        let owned = state.subs.iter().any(|sub| sub.mode == Mode::Passthru);
        let mode = if owned { any_mode(random) } else { Mode::Passthru };
        self.plan(random, 99, mode)
    }

    fn any_mode_but_rarely_passthru(&self, random: &mut Random) -> Mode {
        match random.chance(5) {
            true => Mode::Passthru,
            false => any_mode(random),
        }
    }

    /// An address for a source list, sometimes one that no interface has.
    fn any_source(&self, random: &mut Random, state: &State) -> MacAddr {
        match random.below(20) {
            0 => MacAddr::ZERO,
            1 => MacAddr::BROADCAST,
            _ => self.any_station(random, state),
        }
    }

    fn any_station(&self, random: &mut Random, state: &State) -> MacAddr {
        match random.below(6) {
            0..2 => random.pick(&state.subs).mac,
            2 => state.parent,
            _ => *random.pick(&self.strangers),
        }
    }

    fn likely_source(&self, random: &mut Random) -> MacAddr {
        match random.chance(40) {
            true => sub_mac(random.below(8)),
            false => *random.pick(&self.strangers),
        }
    }

    /// An address for an interface: a new one, one in use, or one that no interface can have.
    fn any_address(&self, random: &mut Random, state: &State) -> MacAddr {
        match random.below(12) {
            0..5 => fresh_mac(random),
            5..9 => random.pick(&state.subs).mac,
            9 => state.parent,
            10 => *random.pick(&self.strangers),
            _ => MacAddr::new([1, 0, 0x5e, 0, 0, 9]),
        }
    }

    fn new_parent_mac(&self, random: &mut Random, state: &State) -> MacAddr {
        match random.below(3) {
            0 => random.pick(&state.subs).mac,
            1 => PARENT_MAC,
            _ => fresh_mac(random),
        }
    }
}

fn any_mode(random: &mut Random) -> Mode {
    *random.pick(&[Mode::Bridge, Mode::Bridge, Mode::Private, Mode::Source, Mode::Vepa])
}

/// The program at the far end of a sub-interface with this number, if it has one: so each kind has
/// every other one beside it.
const fn program(number: usize) -> Option<ProgramKind> {
    match number % 5 {
        0 => Some(ProgramKind::VhostUser),
        1 => Some(ProgramKind::Stream),
        2 => None,
        3 => Some(ProgramKind::Tap),
        _ => Some(ProgramKind::Dgram),
    }
}

const fn stranger(number: u8) -> MacAddr {
    MacAddr::new([2, 0xee, 0, 0, 1, number])
}

fn sub_mac(number: usize) -> MacAddr {
    let number = u8::try_from(number).expect("there are few");
    MacAddr::new([2, 0, 0, 0, 0, number])
}

fn fresh_mac(random: &mut Random) -> MacAddr {
    MacAddr::new([2, 0x11, random.byte(), random.byte(), random.byte(), random.byte()])
}

/// The groups 224.0.0.x that may be joined, from and to.
pub(crate) const GROUPS: (u8, u8) = (100, 106);
