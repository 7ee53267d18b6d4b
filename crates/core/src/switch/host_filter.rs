//! [`HostFilterRules`]: which frames from the wire the host's stack must not see.
//!
//! The kernel's macvlan consumes frames that an AF_PACKET socket can only copy. A BPF program on
//! the parent hides these from the host by the rules here, which agree with the
//! [`Verdict`](super::Verdict) of every frame.

use std::ops::BitOr;

use hashbrown::HashMap;

use crate::MacAddr;

use super::config::Mode;
use super::{SubIndex, Switch};

/// What is hidden from the host of the frames from and to one address; the bits are those of
/// `crates/sys/bpf/host.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostRule(u8);

impl HostRule {
    /// Unicast to it: a sub-interface is up with this address.
    pub const UNICAST_TO: Self = Self(1);
    /// Everything from it: a sub-interface with `nodst` lists it.
    pub const ALL_FROM: Self = Self(2);
    /// Group frames from it: it is a private, source or passthru sub-interface, which alone gets
    /// its reflected group frames.
    pub const REFLECTED_GROUP: Self = Self(4);
    /// Unicast to it for the IP address of a sub-interface: with MAC-NAT it is the parent's own address,
    /// which all share.
    pub const SHARED: Self = Self(16);

    /// The rules as bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True when all rules of `other` are among these.
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

/// Which frames from the wire the host's stack must not see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFilterRules {
    /// The parent has a passthru sub-interface: all unicast is hidden.
    pub owned: bool,
    /// By address; only those with a rule.
    rules: HashMap<MacAddr, HostRule>,
}

impl HostFilterRules {
    /// The rules for an address, which are empty for most.
    pub fn rule(&self, address: MacAddr) -> HostRule {
        self.rules.get(&address).copied().unwrap_or_default()
    }

    /// Every address with a rule, in no order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = (MacAddr, HostRule)> {
        self.rules.iter().map(|(&address, &rule)| (address, rule))
    }

    /// Hides from the host the frames for IP addresses of sub-interfaces among those for its own address.
    pub fn share(&mut self, parent: MacAddr) {
        self.add(parent, HostRule::SHARED);
    }

    /// True if an address is [shared](HostRule::SHARED).
    pub fn is_shared(&self) -> bool {
        self.rules.values().any(|rule| rule.contains(HostRule::SHARED))
    }

    fn add(&mut self, address: MacAddr, rule: HostRule) {
        let before = self.rules.entry(address).or_default();
        *before = *before | rule;
    }
}

impl Switch {
    /// Which frames from the wire are hidden from the host now.
    pub fn host_filter_rules(&self) -> HostFilterRules {
        self.host_filter_rules_without(None)
    }

    /// The rules without one sub-interface, to apply before that one is removed.
    pub fn host_filter_rules_without(&self, gone: Option<SubIndex>) -> HostFilterRules {
        let mut view = HostFilterRules::default();
        view.rules.reserve(self.subs.len());
        for (_, sub) in self.subs().filter(|&(id, _)| Some(id) != gone) {
            // Up or down: the switch drops its unicast while it is down.
            view.owned |= sub.mode() == Mode::Passthru;
            if sub.nodst() {
                sub.sources().iter().for_each(|&source| view.add(source, HostRule::ALL_FROM));
            }
            if sub.up {
                let rule = match sub.mode() {
                    Mode::Bridge | Mode::Vepa => HostRule::UNICAST_TO,
                    Mode::Private => HostRule::UNICAST_TO | HostRule::REFLECTED_GROUP,
                    Mode::Passthru | Mode::Source => HostRule::REFLECTED_GROUP,
                };
                [sub.mac].iter().chain(sub.secondary()).for_each(|&mac| view.add(mac, rule));
            }
        }
        view
    }

    /// The addresses on the source lists of sub-interfaces that are up; one may come more than
    /// once.
    pub fn listed_sources(&self) -> impl Iterator<Item = MacAddr> {
        self.subs().filter(|(_, sub)| sub.up).flat_map(|(_, sub)| sub.sources().iter().copied())
    }
}
