//! The rules of the host filter agree with the verdicts.

use umacvlan_core::switch::HostRule;

use super::ops::Pair;
use super::{Outcome, Probe};

impl Pair {
    /// # Panics
    /// When the rules and the verdict disagree on what the host gets.
    pub(super) fn hides(&self, probe: Probe, outcome: &Outcome) {
        let view = self.switch.host_filter_rules();
        // As crates/sys/bpf/host.c applies them.
        let hidden = view.rule(probe.src).contains(HostRule::ALL_FROM)
            || match probe.dst.is_group() {
                true => view.rule(probe.src).contains(HostRule::REFLECTED_GROUP),
                false => view.owned || view.rule(probe.dst).contains(HostRule::UNICAST_TO),
            };
        assert_eq!(hidden, !outcome.host, "{probe:?} with {view:?}");
    }

    /// # Panics
    /// When the rules without a sub-interface are not those after its removal.
    pub(super) fn hides_without_each(&self) {
        for (id, _) in self.switch.subs() {
            let mut without = self.switch.clone();
            // What nobody waits for, nobody gets by the removal.
            for (other, sub) in self.switch.subs() {
                without.set_secondary(other, sub.secondary().to_vec()).expect("it is there");
            }
            without.remove(id).expect("it is there");
            assert_eq!(
                self.switch.host_filter_rules_without(Some(id)),
                without.host_filter_rules()
            );
        }
    }
}
