//! The rules for the program that stands between parent and host say what the verdicts say.

use umacvlan_core::switch::HostRule;

use super::ops::Pair;
use super::{Outcome, Probe};

impl Pair {
    /// # Panics
    /// When the rules give the host another frame than the verdict does.
    pub(super) fn hides(&self, probe: Probe, outcome: &Outcome) {
        let view = self.switch.host_filter_rules();
        // As bpf/host.c reads them.
        let taken = view.rule(probe.src).contains(HostRule::ALL_FROM)
            || match probe.dst.is_group() {
                true => view.rule(probe.src).contains(HostRule::REFLECTED_GROUP),
                false => view.owned || view.rule(probe.dst).contains(HostRule::UNICAST_TO),
            };
        assert_eq!(taken, !outcome.host, "{probe:?} with {view:?}");
    }

    /// # Panics
    /// When what is hidden without a sub-interface is not what is hidden when it has gone.
    pub(super) fn hides_without_each(&self) {
        for (id, _) in self.switch.subs() {
            let mut without = self.switch.clone();
            without.remove(id).expect("it is there");
            assert_eq!(
                self.switch.host_filter_rules_without(Some(id)),
                without.host_filter_rules()
            );
        }
    }
}
