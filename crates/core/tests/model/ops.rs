//! Operations on switch and model side by side.
//!
//! Any six bytes decode to an operation, so a fuzzer can mutate it and a property test can shrink
//! it. Addresses, groups and lengths come from short lists: most bugs need two of them to be equal.

use std::collections::BTreeSet;

use umacvlan_core::limit::Limits;
use umacvlan_core::rules::Rules;
use umacvlan_core::{
    Action, Frame, KernelRelease, MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode,
    MulticastFilter, ParentInfo, ParentSide, Replica, Semantics, SubConfig, SubIndex, Switch,
    Verdict,
};

use super::limits::limits;
use super::rules::rules;
use super::{Model, Outcome, Probe};

const PARENT: ParentInfo = ParentInfo { mac: unicast(0), mtu: 1500, promisc: false };

pub(super) const fn unicast(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, n])
}

const fn group(n: u8) -> MacAddr {
    MacAddr::new([1, 0, 0x5e, 0, 0, n])
}

/// Mostly unicast, the parent's first; some groups, and addresses that are always invalid.
fn address(code: u8) -> MacAddr {
    match code % 16 {
        n @ 0..=8 => unicast(n),
        n @ 9..=12 => group(n),
        13 | 14 => MacAddr::BROADCAST,
        _ => MacAddr::ZERO,
    }
}

/// The addresses that these bits select.
fn addresses(bits: u8) -> Vec<MacAddr> {
    let set = (0..8).filter(|bit| bits >> bit & 1 == 1);
    set.map(|bit| address(bit + 1)).collect()
}

fn groups(bits: u8) -> Vec<MacAddr> {
    let set = (0..4).filter(|bit| bits >> bit & 1 == 1);
    set.map(|bit| group(bit + 9)).collect()
}

fn mtu(code: u8) -> u32 {
    [60, 68, 300, 576, 1000, 1400, 1500, 1600][usize::from(code % 8)]
}

fn len(code: u8) -> usize {
    [14, 60, 318, 319, 1018, 1019, 1518, 1519][usize::from(code % 8)]
}

fn mode(code: u8) -> Mode {
    // Passthru is rare, because it excludes all others.
    match code % 16 {
        15 => Mode::Passthru,
        n => [Mode::Bridge, Mode::Private, Mode::Source, Mode::Vepa][usize::from(n % 4)],
    }
}

/// One operation. A first `u8` picks one of all sub-interfaces ever added.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Add(SubConfig),
    Remove(u8),
    Up(u8, bool),
    Mac(u8, MacAddr),
    Mode(u8, Mode),
    Nodst(u8, bool),
    Nopromisc(u8, bool),
    Spoofchk(u8, bool),
    Limits(u8, Limits),
    Rules(u8, Rules),
    Mtu(u8, u32),
    BcQueueLen(u8, u32),
    Filter(u8, MulticastFilter),
    AddSource(u8, MacAddr),
    RemoveSource(u8, MacAddr),
    SetSources(u8, Vec<MacAddr>),
    FlushSources(u8),
    Secondary(u8, Vec<MacAddr>),
    BcCutoff(i32),
    ParentMac(MacAddr),
    ParentMtu(u32),
    ParentPromisc(bool),
    Semantics(Semantics),
    RunningKernel(KernelRelease),
    Ingress(Probe, u8),
    Egress(u8, Probe, u8),
}

impl Op {
    /// Decodes an operation.
    pub(crate) fn decode([code, a, b, c, d, e]: [u8; 6]) -> Self {
        let odd = b & 1 == 1;
        let probe = |gso| Probe {
            dst: address(b),
            src: address(c),
            ethertype: if d >= 240 { 0x8808 } else { 0x88b5 },
            len: len(d),
            gso,
        };
        match code % 32 {
            0..=4 => Self::Add(SubConfig {
                mac: address(a),
                mtu: (c < 128).then(|| mtu(c)),
                settings: MacvlanSettings {
                    mode: mode(b),
                    flags: MacvlanFlags::default()
                        .with(MacvlanFlag::Nodst, d & 7 == 7)
                        .with(MacvlanFlag::Nopromisc, d & 8 == 8)
                        .with(MacvlanFlag::Spoofchk, e & 7 == 7),
                    bcqueuelen: (d >= 16).then(|| u32::from(d >> 4)),
                    bclim: (e >= 240).then(|| i32::from(e % 4) - 1),
                    limits: limits(e),
                    rules: rules(c.wrapping_mul(7)),
                    sources: if b % 4 == 2 { addresses(e) } else { Vec::new() },
                },
            }),
            5 => Self::Remove(a),
            6..=9 => Self::Up(a, b & 7 != 0),
            10 => Self::Mac(a, address(b)),
            11 => Self::Mode(a, mode(b)),
            12 => Self::Nodst(a, odd),
            13 if c & 1 == 1 => Self::Spoofchk(a, odd),
            13 => Self::Nopromisc(a, odd),
            14 if c & 3 == 3 => Self::Limits(a, limits(d)),
            14 => Self::Mtu(a, mtu(b)),
            15 if c & 1 == 1 => Self::Rules(a, rules(d)),
            15 => Self::BcQueueLen(a, u32::from(b)),
            16 | 17 => Self::Filter(
                a,
                MulticastFilter { groups: groups(b), allmulti: c & 7 == 7, promisc: d & 7 == 7 },
            ),
            18 => Self::AddSource(a, address(b)),
            19 => Self::RemoveSource(a, address(b)),
            20 => Self::SetSources(a, addresses(b)),
            21 if odd => Self::FlushSources(a),
            21 => Self::BcCutoff(i32::from(a % 4) - 1),
            22 => match a % 8 {
                0 | 1 => Self::ParentMac(address(b % 9)),
                2 | 3 => Self::ParentMtu(mtu(b)),
                4 | 5 => Self::ParentPromisc(odd),
                6 if odd => Self::RunningKernel(KernelRelease::V7_3),
                6 => Self::RunningKernel(KernelRelease::V6_18),
                _ => Self::Semantics(Semantics::ALL[usize::from(b % 4)]),
            },
            23 | 24 => Self::Secondary(a, addresses(b)),
            25..=28 => Self::Ingress(probe(false), e),
            _ => Self::Egress(a, probe(e & 1 == 1), e >> 1),
        }
    }
}

/// A switch and its model.
pub(crate) struct Pair {
    pub(super) switch: Switch,
    model: Model,
    /// Every index ever used.
    ids: Vec<SubIndex>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self {
            switch: Switch::new(PARENT, Semantics::Documented),
            model: Model::new(PARENT, Semantics::Documented),
            ids: Vec::new(),
        }
    }

    /// Applies one operation to both.
    ///
    /// # Panics
    /// When they differ, or an invariant is broken.
    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Ingress(probe, pause) => self.ingress(*probe, *pause),
            Op::Egress(pick, probe, pause) => {
                if let Some(from) = self.pick(*pick) {
                    self.egress(from, *probe, *pause);
                }
            }
            change => {
                self.change(change);
                self.model.share_secondary();
                self.compare();
                self.hides_without_each();
            }
        }
    }

    fn pick(&self, pick: u8) -> Option<SubIndex> {
        let place = usize::from(pick) % self.ids.len().max(1);
        self.ids.get(place).copied()
    }

    fn change(&mut self, op: &Op) {
        let (switch, model) = (&mut self.switch, &mut self.model);
        match op {
            Op::Add(config) => {
                let id = switch.add(config);
                assert_eq!(id.map(drop), model.add(config, id.ok()));
                if let Some(id) = id.ok().filter(|id| !self.ids.contains(id)) {
                    self.ids.push(id);
                }
            }
            Op::BcCutoff(cutoff) => {
                switch.set_bc_cutoff(*cutoff);
                model.bc_cutoff = *cutoff;
            }
            Op::ParentMac(mac) => {
                switch.set_parent_mac(*mac);
                model.set_parent_mac(*mac);
            }
            Op::ParentMtu(mtu) => {
                let cut = model.subs.iter().filter(|sub| sub.mtu > *mtu);
                let cut: Vec<_> = cut.map(|sub| sub.id).collect();
                assert_eq!(switch.set_parent_mtu(*mtu), cut);
                model.set_parent_mtu(*mtu);
            }
            Op::ParentPromisc(promisc) => {
                switch.set_parent_promisc(*promisc);
                model.parent.promisc = *promisc;
            }
            Op::Semantics(semantics) => {
                switch.set_semantics(*semantics);
                model.semantics = *semantics;
            }
            Op::RunningKernel(running) => {
                switch.set_running_kernel(*running);
                model.running = *running;
            }
            _ => self.change_sub(op),
        }
    }

    #[rustfmt::skip]
    fn change_sub(&mut self, op: &Op) {
        let (Op::Remove(pick) | Op::Up(pick, _) | Op::Mac(pick, _) | Op::Mode(pick, _)
        | Op::Nodst(pick, _) | Op::Nopromisc(pick, _) | Op::Spoofchk(pick, _) | Op::Limits(pick, _) | Op::Rules(pick, _) | Op::Mtu(pick, _) | Op::BcQueueLen(pick, _)
        | Op::Filter(pick, _) | Op::AddSource(pick, _) | Op::RemoveSource(pick, _)
        | Op::SetSources(pick, _) | Op::FlushSources(pick) | Op::Secondary(pick, _)) = op
        else {
            return;
        };
        let Some(id) = self.pick(*pick) else {
            return;
        };
        let (switch, model) = (&mut self.switch, &mut self.model);
        let (ours, theirs) = match op {
            Op::Remove(_) => {
                assert_eq!(switch.remove(id).is_some(), model.remove(id));
                return;
            }
            Op::Up(_, up) => (switch.set_up(id, *up), model.set_up(id, *up)),
            Op::Mac(_, mac) => (switch.set_mac(id, *mac), model.set_mac(id, *mac)),
            Op::Mode(_, mode) => (switch.set_mode(id, *mode), model.set_mode(id, *mode)),
            Op::Mtu(_, mtu) => (switch.set_mtu(id, *mtu), model.set_mtu(id, *mtu)),
            Op::Nodst(_, on) => (switch.set_flag(id, MacvlanFlag::Nodst, *on), model.sub(id).map(|sub| sub.nodst = *on)),
            Op::Nopromisc(_, on) => (
                switch.set_flag(id, MacvlanFlag::Nopromisc, *on),
                model.sub(id).map(|sub| sub.nopromisc = *on),
            ),
            Op::Spoofchk(_, on) => (
                switch.set_flag(id, MacvlanFlag::Spoofchk, *on),
                model.sub(id).map(|sub| sub.spoofchk = *on),
            ),
            Op::Limits(_, limits) => (
                switch.set_limits(id, *limits),
                model.set_limits(id, *limits),
            ),
            Op::Rules(_, rules) => (
                switch.set_rules(id, rules.clone()),
                model.set_rules(id, rules.clone()),
            ),
            Op::BcQueueLen(_, frames) => (
                switch.set_bc_queue_len(id, *frames),
                model.sub(id).map(|sub| sub.bc_queue_len = *frames),
            ),
            Op::Filter(_, filter) => (
                switch.set_filter(id, filter.clone()),
                model.sub(id).map(|sub| sub.filter = filter.clone()),
            ),
            Op::AddSource(_, mac) => (
                switch.add_source(id, *mac),
                model.edit_sources(id, &[*mac], |list| list.push(*mac)),
            ),
            Op::RemoveSource(_, mac) => (
                switch.remove_source(id, *mac),
                model.edit_sources(id, &[*mac], |list| list.retain(|other| other != mac)),
            ),
            Op::SetSources(_, macs) => (
                switch.set_sources(id, macs),
                model.edit_sources(id, macs, |list| *list = macs.clone()),
            ),
            Op::Secondary(_, macs) => (
                switch.set_secondary(id, macs.clone()),
                model.sub(id).map(|sub| sub.wanted = macs.clone()),
            ),
            Op::FlushSources(_) => (
                switch.flush_sources(id),
                model.edit_sources(id, &[], Vec::clear),
            ),
            _ => return,
        };
        assert_eq!(ours, theirs);
    }

    /// Compares the states of both.
    fn compare(&self) {
        let (switch, model) = (&self.switch, &self.model);
        assert_eq!(*switch.parent(), model.parent);
        assert_eq!(switch.bc_cutoff(), model.bc_cutoff);
        let longest = model.subs.iter().map(|sub| sub.bc_queue_len).max();
        assert_eq!(switch.bc_queue_len(), longest.unwrap_or(0));
        let ids: Vec<_> = switch.subs().map(|(id, _)| id).collect();
        let expected: Vec<_> = model.subs.iter().map(|sub| sub.id).collect();
        assert_eq!(ids, expected);
        for ((_, ours), theirs) in switch.subs().zip(&model.subs) {
            assert_eq!((ours.mac(), ours.mode()), (theirs.mac, theirs.mode));
            assert_eq!((ours.up(), ours.mtu()), (theirs.up, theirs.mtu));
            assert_eq!(ours.nodst(), theirs.nodst);
            assert_eq!(ours.nopromisc(), theirs.nopromisc);
            assert_eq!(ours.checks_source(), theirs.spoofchk);
            assert_eq!(*ours.limits(), theirs.limits);
            assert_eq!(*ours.rules(), theirs.rules);
            assert_eq!(ours.bc_queue_len(), theirs.bc_queue_len);
            assert_eq!(ours.filter(), &theirs.filter);
            let mut sources = theirs.sources.clone();
            sources.sort();
            sources.dedup();
            assert_eq!(ours.sources(), sources);
            let sorted = |macs: &[MacAddr]| macs.iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(sorted(ours.secondary()), sorted(&theirs.secondary));
        }
    }

    fn ingress(&self, probe: Probe, pause: u8) {
        let bytes = bytes(probe);
        let frame = Frame::new(&bytes).expect("14 bytes or more");
        let outcome = self.outcome(self.switch.ingress(frame), pause);
        self.explains(self.switch.explain_ingress(frame), &outcome);
        assert_eq!(outcome, self.model.ingress(probe), "{probe:?}");
        self.check_invariants(&outcome, None);
        assert!(!outcome.wire, "a frame from the wire is sent back to it");
        self.check_isolation(&outcome, probe);
        self.hides(probe, &outcome);
        self.answers_ingress(probe, &outcome);
    }

    fn egress(&self, from: SubIndex, probe: Probe, pause: u8) {
        let bytes = bytes(probe);
        let frame = Frame::new(&bytes).expect("14 bytes or more");
        let outcome = self.outcome(self.switch.egress(from, frame, probe.gso), pause);
        self.explains(self.switch.explain_egress(from, frame, probe.gso), &outcome);
        assert_eq!(outcome, self.model.egress(from, probe), "{probe:?}");
        self.check_invariants(&outcome, Some(from));
        assert!(!outcome.host, "the host gets a frame of a sub-interface without a hairpin");
        assert!(!outcome.deferred, "a flood among siblings takes the broadcast queue");
        self.answers_egress(from, probe, &outcome);
    }

    /// Carries out a verdict, pausing a flood in the middle as the engine may.
    pub(super) fn outcome(&self, verdict: Verdict<'_>, pause: u8) -> Outcome {
        let mut outcome = Outcome { copies: verdict.copies.collect(), ..Outcome::default() };
        outcome.copies.sort();
        match verdict.action {
            Action::Deliver(id) => outcome.subs.push(id),
            Action::Drop(reason) => outcome.drop = Some(reason),
            Action::Host => outcome.host = true,
            Action::Wire => outcome.wire = true,
            Action::Flood(mut flood) => {
                let rule = flood.rule();
                match rule.also() {
                    ParentSide::Host => outcome.host = true,
                    ParentSide::Wire => outcome.wire = true,
                }
                let mut replicas: Vec<_> = flood.by_ref().take(usize::from(pause % 8)).collect();
                replicas.extend(self.switch.flood(rule, flood.cursor()));
                for replica in replicas {
                    match replica {
                        Replica::Deliver(id) => outcome.subs.push(id),
                        Replica::TooLong(id) => outcome.too_long.push(id),
                    }
                }
                let served = outcome.subs.len() + outcome.too_long.len();
                outcome.deferred = rule.deferred() && served != 0;
            }
        }
        outcome
    }

    /// Asserts what holds for any rules.
    fn check_invariants(&self, outcome: &Outcome, from: Option<SubIndex>) {
        let up = |id: &SubIndex| self.switch.sub(*id).is_some_and(|sub| sub.up());
        assert!(outcome.subs.iter().all(up), "a down sub gets the frame");
        assert!(outcome.copies.iter().all(up), "a down sub gets a copy");
        let once = |ids: &[SubIndex]| ids.is_sorted_by(|a, b| a < b);
        assert!(once(&outcome.subs), "delivered twice: {outcome:?}");
        assert!(once(&outcome.copies), "copied twice: {outcome:?}");
        let flooded = outcome.wire && !outcome.subs.is_empty();
        let itself = from.is_some_and(|from| outcome.subs.contains(&from));
        assert!(!(flooded && itself), "a sender gets its own frame: {outcome:?}");
        let ends = outcome.host || outcome.wire || !outcome.subs.is_empty();
        assert_ne!(ends, outcome.drop.is_some(), "no outcome, or two: {outcome:?}");
    }

    /// Asserts that with the documented semantics no private sub-interface gets a sibling's frame.
    fn check_isolation(&self, outcome: &Outcome, probe: Probe) {
        let mut up = self.switch.subs().filter(|(_, sub)| sub.up());
        let sender =
            up.find(|(_, sub)| sub.mac() == probe.src || sub.secondary().contains(&probe.src));
        let Some((sender, _)) = sender else {
            return;
        };
        if self.switch.semantics() != Semantics::Documented && !probe.dst.is_group() {
            return;
        }
        for &id in outcome.subs.iter().filter(|&&id| id != sender) {
            let private = self.switch.sub(id).map(|sub| sub.mode()) == Some(Mode::Private);
            assert!(!private, "{id:?} is private and gets a frame of {sender:?}");
        }
    }
}

fn bytes(probe: Probe) -> Vec<u8> {
    let mut bytes = [probe.dst.octets(), probe.src.octets()].concat();
    bytes.extend(probe.ethertype.to_be_bytes());
    bytes.resize(probe.len, 0);
    bytes
}
