//! Group frames from the wire.

use umacvlan_core::{KernelRelease, MacAddr, Mode, Semantics};

use super::{Model, ModelSub, Outcome, Probe};

impl Model {
    /// True where a group frame from the address of a bridge sub-interface goes to all of them.
    fn returns_to_bridge(&self) -> bool {
        match self.semantics {
            Semantics::Kernel7_3 => true,
            Semantics::Kernel6_18 => false,
            Semantics::Documented | Semantics::Kernel => self.running == KernelRelease::V7_3,
        }
    }

    pub(super) fn ingress_group(&self, probe: Probe, outcome: &mut Outcome) {
        let sender = self.subs.iter().find(|sub| sub.is_up_as(probe.src));
        let reflected_to_sender = [Mode::Private, Mode::Source, Mode::Passthru];
        if let Some(sender) = sender.filter(|sender| reflected_to_sender.contains(&sender.mode)) {
            match self.refuses(sender, Some(sender), probe) {
                Some(reason) if sender.mode != Mode::Source => outcome.drop = Some(reason),
                _ => outcome.subs.push(sender.id),
            }
            return;
        }
        outcome.host = true;
        if probe.ethertype == 0x8808 {
            return;
        }
        let modes: &[Mode] = match sender.map(|sender| sender.mode) {
            Some(Mode::Vepa) => &[Mode::Vepa, Mode::Bridge],
            Some(Mode::Bridge) if self.returns_to_bridge() => &[Mode::Vepa, Mode::Bridge],
            Some(Mode::Bridge) => &[Mode::Vepa],
            _ => &[Mode::Private, Mode::Vepa, Mode::Bridge, Mode::Passthru],
        };
        for sub in &self.subs {
            let itself = sender.is_some_and(|sender| sender.id == sub.id)
                && !(sub.mode == Mode::Bridge && self.returns_to_bridge());
            if sub.up
                && !itself
                && modes.contains(&sub.mode)
                && sub.hears(probe.dst)
                && self.refuses(sub, sender, probe).is_none()
            {
                outcome.subs.push(sub.id);
            }
        }
        outcome.deferred = !outcome.subs.is_empty() && self.takes_queue(probe.dst);
    }

    fn takes_queue(&self, group: MacAddr) -> bool {
        let everything = self.parent.promisc || self.subs.iter().any(ModelSub::wants_all_multicast);
        let joined = |sub: &&ModelSub| sub.up && sub.filter.groups.contains(&group);
        let members = i64::try_from(self.subs.iter().filter(joined).count()).unwrap();
        let wide = group == MacAddr::BROADCAST || members > i64::from(self.bc_cutoff);
        self.bc_cutoff >= 0 && (everything || wide)
    }
}
