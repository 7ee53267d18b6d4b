//! [`Run`]: sends batch after batch through both networks, in topology after topology.

use std::fmt::Write as _;
use std::time::Instant;
use umacvlan_core::options::{Backend, PortKind};

use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::{MacAddr, Mode, Semantics};

use crate::changes::{GROUPS, Topology};
use crate::compare::{Comparison, Difference, Rules};
use crate::exchange::{Outcome, PATIENCE, Place, TestFrame, exchange};
use crate::frames::{Cast, batch, describe, ends_with_tag, untagged};
use crate::model::{Change, State};
use crate::network::{Driver, EXPERIMENT, Network, PARENT_MAC, group};
use crate::random::Random;
use crate::shrink::simpler;

/// Two networks and the history of changes to them.
pub(crate) struct Run {
    /// The reference.
    kernel: Network,
    /// The network under test.
    ours: Network,
    rules: Rules,
    /// The seed of this topology: a run with this seed starts with this topology.
    seed: u64,
    random: Random,
    /// The changes to the sub-interfaces of this topology, for the report.
    history: Vec<String>,
    pub(crate) tally: Tally,
}

/// Statistics of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) topologies: usize,
    pub(crate) changes: usize,
    /// Refused changes.
    pub(crate) refusals: usize,
    /// Random frames.
    pub(crate) frames: usize,
    /// Frames that left on the wire and entered again.
    pub(crate) reflected: usize,
    /// Frames that the kernel delivered to a sub-interface, the wire or the host.
    pub(crate) deliveries: usize,
    /// Deliveries of the kernel that the documents forbid and ours did not make.
    pub(crate) isolated: usize,
    /// Frames that the kernel's macvlan took from the host and ours could not.
    pub(crate) overheard: usize,
}

impl Run {
    /// A run of our engine, which hides from the host the frames of sub-interfaces.
    pub(crate) fn of_engine(seed: u64, semantics: Semantics) -> Self {
        Self::new_of_engine(seed, Rules::of(semantics), Backend::AfPacket, PortKind::Tap)
    }

    /// The same with programs at the far end of some sub-interfaces. The others are of this kind.
    pub(crate) fn of_engine_with_programs(
        seed: u64,
        semantics: Semantics,
        backend: Backend,
        port: PortKind,
    ) -> Self {
        let rules = Rules { programs: true, ..Rules::of(semantics) };
        Self::new_of_engine(seed, rules, backend, port)
    }

    /// The same with veth pairs, for which the kernel answers.
    #[cfg(feature = "af-xdp")]
    pub(crate) fn of_engine_with_veth(seed: u64, semantics: Semantics) -> Self {
        Self::new_of_engine(seed, Rules::of(semantics), Backend::AfPacket, PortKind::Veth)
    }

    /// The same with AF_XDP and veth pairs.
    #[cfg(feature = "af-xdp")]
    pub(crate) fn of_engine_by_xdp_with_veth(seed: u64, semantics: Semantics) -> Self {
        Self::new_of_engine(seed, Rules::of(semantics), Backend::AfXdp, PortKind::Veth)
    }

    /// The same with AF_XDP.
    #[cfg(feature = "af-xdp")]
    pub(crate) fn of_engine_by_xdp(seed: u64, semantics: Semantics) -> Self {
        Self::new_of_engine(seed, Rules::of(semantics), Backend::AfXdp, PortKind::Tap)
    }

    /// A run of our engine where no program may be loaded into the kernel.
    pub(crate) fn of_engine_without_filter(seed: u64) -> Self {
        let rules = Rules { host_gets_all: true, ..Rules::of(Semantics::Kernel) };
        Self::new_of_engine(seed, rules, Backend::AfPacket, PortKind::Tap)
    }

    fn new_of_engine(seed: u64, rules: Rules, backend: Backend, port: PortKind) -> Self {
        let rules = Rules { veth: port == PortKind::Veth, ..rules };
        let Rules { semantics, host_gets_all, .. } = rules;
        let network = Network::of_engine(semantics, host_gets_all, backend, port);
        Self::new(network.unwrap(), rules, seed)
    }

    /// A run of our engine on a VLAN, behind a peer that tags.
    pub(crate) fn of_vlan(
        seed: u64,
        semantics: Semantics,
        backend: Backend,
        port: PortKind,
    ) -> Self {
        let veth = port == PortKind::Veth;
        let rules = Rules { vlan: true, veth, ..Rules::of(semantics) };
        Self::new(Network::of_vlan(semantics, backend, port).unwrap(), rules, seed)
    }

    /// The same with programs at the far end of some sub-interfaces.
    pub(crate) fn of_vlan_with_programs(seed: u64) -> Self {
        let rules = Rules { vlan: true, programs: true, ..Rules::of(Semantics::Kernel) };
        let network = Network::of_vlan(rules.semantics, Backend::AfPacket, PortKind::Tap);
        Self::new(network.unwrap(), rules, seed)
    }

    /// A run of a second kernel, in which no difference can be found.
    pub(crate) fn of_kernel(seed: u64) -> Self {
        let rules = Rules::of(Semantics::Kernel);
        Self::new(Network::of_kernel().unwrap(), rules, seed)
    }

    fn new(ours: Network, rules: Rules, seed: u64) -> Self {
        let kernel = Network::of_kernel().unwrap();
        // From here on only: the engine's threads, which exist already, may use every core.
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let core = usize::try_from(seed).ok().and_then(|seed| cores.get(seed % cores.len().max(1)));
        assert!(core.copied().is_some_and(core_affinity::set_for_current), "no core to keep to");
        Self {
            kernel,
            ours,
            rules,
            seed,
            random: Random::new(seed),
            history: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Compares at least this many frames, or the number in `DIFF_FRAMES`.
    pub(crate) fn compare(&mut self, frames: usize) -> &Tally {
        let wanted = std::env::var("DIFF_FRAMES").ok();
        let frames = wanted.map_or(frames, |wanted| wanted.parse().unwrap());
        let started = Instant::now();
        let first = self.seed;
        while self.tally.frames < frames {
            self.random = Random::new(self.seed);
            let next = self.random.next();
            self.topology();
            self.seed = next;
        }
        if let Driver::Engine(engine) = &self.ours.driver {
            engine.assert_conserved();
        }
        println!("seed {first:#x}: {:?} in {:?}", self.tally, started.elapsed());
        &self.tally
    }

    fn topology(&mut self) {
        self.history.clear();
        self.clear();
        let topology = Topology::random(&mut self.random, self.rules.programs);
        for plan in &topology.plans {
            self.apply(&Change::Create(plan.clone()));
        }
        for sub in 0..self.kernel.subs.len() {
            self.apply(&Change::Up(sub, true));
            if self.random.chance(25) {
                let mtu = *self.random.pick(&[500, 1000, 1300]);
                self.apply(&Change::Mtu(sub, mtu));
            }
        }
        let cast = Cast { groups: self.fair_groups(), strangers: topology.strangers.clone() };
        for _ in 0..BATCHES {
            self.batch(&cast);
            for _ in 0..self.random.below(CHANGES) {
                let state = self.agreed();
                let change = topology.change(&mut self.random, &state);
                self.apply(&change);
            }
        }
        self.tally.topologies += 1;
    }

    /// Takes both networks back to a parent without sub-interfaces.
    fn clear(&mut self) {
        while !self.kernel.subs.is_empty() {
            self.apply(&Change::Remove(0));
        }
        if self.random.chance(20)
            && let Driver::Engine(engine) = &self.ours.driver
        {
            engine.assert_conserved();
            engine.detach();
            engine.attach();
        }
        self.apply(&Change::ParentMac(PARENT_MAC));
    }

    /// Changes both networks, and waits until their states are equal again.
    fn apply(&mut self, change: &Change) {
        let owned = |sub: &crate::model::SubState| sub.mode == Mode::Passthru;
        if self.rules.vlan
            && matches!(change, Change::ParentMac(_))
            && self.kernel.state().is_some_and(|state| state.subs.iter().any(owned))
        {
            // The address of a VLAN is its own then, and only its owner changes it.
            return;
        }
        let kernels = self.kernel.apply(change);
        let ours = self.ours.apply(change);
        self.history.push(format!("{change:?}: {kernels:?}"));
        self.tally.changes += 1;
        self.tally.refusals += usize::from(kernels.is_err());
        // The kernel's macvlan refuses some changes that a TAP allows. The engine reverts those.
        let undone = match change {
            Change::Mac(sub, _) | Change::Mtu(sub, _) | Change::Up(sub, _) => {
                matches!(self.ours.driver, Driver::Engine(_))
                    && ours.is_ok()
                    && self.ours.subs[*sub].has_interface()
            }
            _ => false,
        };
        if kernels != ours && !undone {
            panic!("{}", self.report(&format!("errno: kernel {kernels:?}, ours {ours:?}")));
        }
        self.agreed();
    }

    /// The state of both networks, once they are equal.
    fn agreed(&mut self) -> State {
        let wanted = self.kernel.state().expect("the kernel is never in doubt");
        let started = Instant::now();
        loop {
            let ours = self.ours.state();
            if ours.as_ref() == Some(&wanted) {
                return wanted;
            }
            if started.elapsed() > PATIENCE {
                let ours = ours.map_or_else(|| "not settled".to_owned(), |state| state.to_string());
                let status = match &self.ours.driver {
                    Driver::Engine(engine) => format!("{:#?}", engine.status().subs),
                    Driver::Kernel => String::new(),
                };
                let what = format!("not alike; ours says it is\n{ours}{status}");
                panic!("{}", self.report(&what));
            }
            if let Driver::Engine(engine) = &self.ours.driver {
                engine.await_event();
            }
        }
    }

    /// Sends a batch, and sends what leaves on the wire back in, as a hairpin does.
    fn batch(&mut self, cast: &Cast) {
        let state = self.agreed();
        // Without listeners nothing showed when the kernel's work queue had delivered the group
        // frames of the previous batch. If there are listeners now, these frames arrive first.
        if let Err(what) = self.both(&[], &state) {
            panic!("{}", self.report(&what));
        }
        let mut frames = batch(&mut self.random, &state, cast, FRAMES);
        if self.rules.vlan {
            frames.retain(may_be_tagged);
        }
        if self.rules.programs {
            frames.retain(|frame| !ends_with_tag(&frame.bytes));
        }
        self.tally.frames += frames.len();
        let outcome = self.judge(&frames, &state, "as sent");
        if self.random.chance(50) {
            return;
        }
        let out = outcome.deliveries.into_iter();
        let reflected: Vec<_> = out
            .filter(|delivery| delivery.place == Place::Wire)
            .map(|delivery| TestFrame { origin: Place::Wire, bytes: delivery.bytes })
            .collect();
        self.tally.reflected += reflected.len();
        self.judge(&reflected, &state, "come back by a hairpin");
    }

    /// Sends frames through both networks, and returns the kernel's outcome if ours is equal.
    fn judge(&mut self, frames: &[TestFrame], state: &State, how: &str) -> Outcome {
        let (outcome, comparison) = match self.both(frames, state) {
            Ok(both) => both,
            Err(what) => panic!("{}", self.report(&format!("frames {how}: {what}"))),
        };
        let found = comparison.differences;
        let Some(first) = found.first() else {
            self.tally.deliveries += outcome.deliveries.len();
            self.tally.isolated += comparison.isolated;
            self.tally.overheard += comparison.overheard;
            return outcome;
        };
        let mut what = format!("{} differences in a batch of frames {how}", found.len());
        for Difference { frame, what: difference } in found.iter().take(10) {
            let _ = write!(what, "\n- {difference}");
            if let Some(number) = frame {
                let _ = write!(what, "\n  {}", describe(&frames[*number], state));
            }
        }
        if let Some(number) = first.frame {
            let minimal = self.shrink(frames[number].clone(), state);
            let _ = write!(what, "\nminimal frame, alone: {minimal}");
        }
        panic!("{}", self.report(&what));
    }

    /// The kernel's outcome, and the result of comparing ours with it.
    fn both(&self, frames: &[TestFrame], state: &State) -> Result<(Outcome, Comparison), String> {
        let kernel = exchange(&self.kernel, frames, state)?;
        let ours = exchange(&self.ours, frames, state)?;
        let comparison = self.rules.compare(frames, state, &kernel, &ours);
        Ok((kernel, comparison))
    }

    /// The simplest frame like this one that still shows a difference.
    fn shrink(&self, mut frame: TestFrame, state: &State) -> String {
        let differs = |frame: &TestFrame| {
            let found = self.both(std::slice::from_ref(frame), state);
            let differences = found.map(|(_, comparison)| comparison.differences);
            match differences {
                Ok(differences) => differences.into_iter().next().map(|first| first.what),
                Err(what) => Some(what),
            }
        };
        let Some(mut difference) = differs(&frame) else {
            return "none: it shows in company only".to_owned();
        };
        while let Some((simple, what)) = simpler(&frame)
            .into_iter()
            .find_map(|simple| differs(&simple).map(|what| (simple, what)))
        {
            (frame, difference) = (simple, what);
        }
        format!("{difference}\n  {}", describe(&frame, state))
    }

    /// The groups that only their members hear: the kernel's filter is a hash, seeded by the
    /// address of the device in memory, and lets some others through.
    fn fair_groups(&mut self) -> Vec<MacAddr> {
        let joined = (GROUPS.0..=GROUPS.1).map(group);
        let others = [[1, 0, 0x5e, 0, 0, 1], [1, 0x80, 0xc2, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 9]];
        let all: Vec<_> = joined.chain(others.map(MacAddr::new)).collect();
        let mut fair = all.clone();
        for network in [&mut self.kernel, &mut self.ours] {
            if let Driver::Kernel = network.driver {
                let wrong = misheard(network, &fair);
                fair.retain(|group| !wrong.contains(group));
            }
        }
        assert!(!fair.is_empty(), "the kernel's filter lets every group through");
        // The number of draws is constant, so that the following numbers depend on the seed only.
        let stand_in = |(at, group)| match fair.contains(&group) {
            true => group,
            false => fair[at % fair.len()],
        };
        all.into_iter().enumerate().map(stand_in).collect()
    }

    fn report(&mut self, what: &str) -> String {
        let state = self.kernel.state().expect("the kernel is never in doubt");
        let mut text = format!(
            "DIFF_SEED={:#x} (topology {}): {what}\nthe kernel's side:\n{state}done so far:\n",
            self.seed, self.tally.topologies,
        );
        for line in &self.history {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// The groups that an interface of this kernel's macvlan receives without having joined them.
fn misheard(network: &mut Network, groups: &[MacAddr]) -> Vec<MacAddr> {
    let before = network.state().expect("the kernel is never in doubt");
    let by_list = |sub: &usize| before.subs[*sub].mode == Mode::Source;
    let changed: Vec<_> = (0..before.subs.len()).filter(by_list).collect();
    for &sub in &changed {
        network.apply(&Change::Mode(sub, Mode::Vepa)).unwrap();
    }
    let state = network.state().expect("the kernel is never in doubt");
    let frames: Vec<_> = groups
        .iter()
        .map(|group| {
            let mut bytes = [group.octets(), STATION].concat();
            bytes.extend(EXPERIMENT.to_be_bytes());
            bytes.resize(60, 0);
            TestFrame { origin: Place::Wire, bytes }
        })
        .collect();
    let heard = exchange(network, &frames, &state).unwrap().deliveries;
    for &sub in &changed {
        let sources = before.subs[sub].sources.clone();
        network.apply(&Change::Mode(sub, Mode::Source)).unwrap();
        network.apply(&Change::Sources(sub, sources)).unwrap();
    }
    let wrong = heard.into_iter().filter_map(|delivery| {
        let group = MacAddr::new(*delivery.bytes.first_chunk()?);
        match delivery.place {
            // One that stands for a program receives every group.
            Place::Sub(sub) if state.subs[sub].open => None,
            Place::Sub(sub) => (!state.subs[sub].groups.contains(&group)).then_some(group),
            Place::Host | Place::Wire => None,
        }
    });
    wrong.collect()
}

/// A host on no list.
const STATION: [u8; 6] = [2, 0xfe, 0, 0, 0, 3];

/// Whether the kernel lets the frame pass with one tag more as it does without: one that ends with
/// its tag is no frame (`skb_vlan_untag`), and one with two tags is four bytes longer than any.
fn may_be_tagged(frame: &TestFrame) -> bool {
    let len = frame.bytes.len();
    let short = (HEADER_LEN..HEADER_LEN + 2).contains(&len) || ends_with_tag(&frame.bytes);
    !short && (len <= LONGEST || untagged(&frame.bytes) == frame.bytes)
}

/// Length in bytes of the longest frame that may get a second tag.
const LONGEST: usize = 1500 + 14;

/// Batches for each topology, with changes in between.
const BATCHES: usize = 5;

/// Frames in a batch.
const FRAMES: usize = 128;

/// There are fewer changes than this between two batches.
const CHANGES: usize = 6;
