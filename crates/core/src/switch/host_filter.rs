//! [`HostFilterRules`]: which frames from the wire the host does not get.
//!
//! Where the engine cannot take a frame away from the host's stack by itself, a program in the
//! kernel does, by these few rules. They say of every frame what its [`Verdict`](super::Verdict)
//! says: the host gets it, or does not.

use std::ops::BitOr;

use hashbrown::HashMap;

use crate::MacAddr;

use super::config::Mode;
use super::{SubIndex, Switch};

/// What the host does not get of the frames of one station; the bits are those of `bpf/host.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostRule(u8);

impl HostRule {
    /// No unicast to it: it is a sub-interface that is up and hears by its address.
    pub const UNICAST_TO: Self = Self(1);
    /// Nothing from it: a sub-interface with `nodst` lists it.
    pub const ALL_FROM: Self = Self(2);
    /// No group frames from it: those of private, source and passthru sub-interfaces that come back
    /// are theirs.
    pub const REFLECTED_GROUP: Self = Self(4);

    /// The bits of all rules that hold.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True when all of `other` holds.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for HostRule {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which frames from the wire the host does not get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFilterRules {
    /// A passthru sub-interface has the parent: the host gets no unicast at all.
    pub owned: bool,
    /// By station; none of the rules is empty.
    rules: HashMap<MacAddr, HostRule>,
}

impl HostFilterRules {
    /// What holds for a station; nothing for most.
    pub fn rule(&self, station: MacAddr) -> HostRule {
        self.rules.get(&station).copied().unwrap_or_default()
    }

    /// The stations for which something holds, in no order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (MacAddr, HostRule)> {
        self.rules.iter().map(|(&station, &rule)| (station, rule))
    }

    fn add(&mut self, station: MacAddr, rule: HostRule) {
        let before = self.rules.entry(station).or_default();
        *before = *before | rule;
    }
}

impl Switch {
    /// Which frames from the wire the host does not get, as things are.
    pub fn host_filter_rules(&self) -> HostFilterRules {
        self.host_filter_rules_without(None)
    }

    /// The same as if one sub-interface were not there: what is left to the host before that one
    /// goes.
    pub fn host_filter_rules_without(&self, gone: Option<SubIndex>) -> HostFilterRules {
        let mut view = HostFilterRules::default();
        view.rules.reserve(self.subs.len());
        for (_, sub) in self.subs().filter(|&(id, _)| Some(id) != gone) {
            // Down or not: it swallows what it does not hear.
            view.owned |= sub.mode() == Mode::Passthru;
            if sub.nodst() {
                sub.sources().iter().for_each(|&source| view.add(source, HostRule::ALL_FROM));
            }
            if sub.up {
                view.add(
                    sub.mac,
                    match sub.mode() {
                        Mode::Bridge | Mode::Vepa => HostRule::UNICAST_TO,
                        Mode::Private => HostRule::UNICAST_TO | HostRule::REFLECTED_GROUP,
                        Mode::Passthru | Mode::Source => HostRule::REFLECTED_GROUP,
                    },
                );
            }
        }
        view
    }

    /// The stations whose frames sub-interfaces get copies of because they list them, whatever else
    /// happens to these; one may come more than once.
    pub fn listed_sources(&self) -> impl Iterator<Item = MacAddr> {
        self.subs().filter(|(_, sub)| sub.up).flat_map(|(_, sub)| sub.sources().iter().copied())
    }
}
