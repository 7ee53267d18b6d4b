//! An explanation matches the decision: the same verdict, and a last step that leads to it.

use umacvlan_core::switch::{
    Explanation, FloodDecision, FloodRule, GroupListeners, Isolation, LengthCheck, Replica,
    SourceMatch, Step,
};
use umacvlan_core::{DropReason, Mode, ParentSide};

use super::Outcome;
use super::ops::Pair;

impl Pair {
    /// # Panics
    /// When the explanation of a frame does not match its outcome.
    pub(super) fn explains(&self, explanation: Explanation<'_>, outcome: &Outcome) {
        let Explanation { steps, verdict } = explanation;
        assert_eq!(&self.outcome(verdict, 0), outcome, "{steps:?}");
        let (last, before) = steps.split_last().expect("an explanation without a step");
        assert!(self.decides(*last, outcome), "{last:?} for {outcome:?}");
        assert!(before.iter().all(|step| continues(*step)), "decided before its end: {steps:?}");
    }

    /// Whether this step, as the last one, leads to this outcome.
    fn decides(&self, step: Step, outcome: &Outcome) -> bool {
        let dropped = |reason| outcome.drop == Some(reason);
        match step {
            Step::Sources(listed) | Step::LocalSources(listed) => {
                listed.consumed
                    && listed.copies == outcome.copies.len()
                    && dropped(DropReason::Nodst)
            }
            Step::Passthru(owner) => match owner {
                Some((id, true)) => outcome.subs == [id],
                Some((_, false)) => dropped(DropReason::Down),
                None => false,
            },
            Step::Target(target) => {
                outcome.host && target.is_none_or(|(_, mode)| mode == Mode::Source)
            }
            Step::SenderRules(check) | Step::ReceiverRules(check) => {
                check.reason().is_some_and(dropped)
            }
            Step::Isolation(isolation) => {
                matches!(isolation, Isolation::Blocked(_)) && dropped(DropReason::PrivateIsolation)
            }
            Step::Deliver(id) | Step::LocalDeliver(id) => outcome.subs == [id],
            Step::Sender(sender) => sender.is_some_and(|(id, _)| outcome.subs == [id]),
            Step::Listeners(heard) => outcome.host && heard != GroupListeners::Possible,
            Step::LocalListeners(heard) => outcome.wire && heard != GroupListeners::Possible,
            Step::Flood(rule) => rule.also() == ParentSide::Host && self.floods(rule, outcome),
            Step::LocalFlood(rule) => rule.also() == ParentSide::Wire && self.floods(rule, outcome),
            Step::Up(up) => !up && dropped(DropReason::Down),
            Step::Source(own) => !own && dropped(DropReason::Spoofed),
            Step::Bridge(bridge) => !bridge && outcome.wire,
            Step::Sibling(sibling) => {
                outcome.wire && sibling.is_none_or(|(_, mode)| mode != Mode::Bridge)
            }
            Step::Length(length) => length == LengthCheck::TooLong && dropped(DropReason::TooLong),
        }
    }

    /// Whether the decisions of a flood match its replicas.
    fn floods(&self, rule: FloodRule, outcome: &Outcome) -> bool {
        let replicas: Vec<_> = self.switch.flood(rule, 0).collect();
        let decisions: Vec<_> = self
            .switch
            .flood_decisions(rule)
            .filter_map(|(id, decision)| match decision {
                FloodDecision::Deliver => Some(Replica::Deliver(id)),
                FloodDecision::TooLong => Some(Replica::TooLong(id)),
                FloodDecision::Filter
                | FloodDecision::Isolated
                | FloodDecision::Mode
                | FloodDecision::NotAllowed
                | FloodDecision::Sender => None,
            })
            .collect();
        outcome.drop.is_none() && replicas == decisions
    }
}

/// Whether a decision continues after this step.
fn continues(step: Step) -> bool {
    match step {
        Step::Sources(SourceMatch { consumed, .. })
        | Step::LocalSources(SourceMatch { consumed, .. }) => !consumed,
        Step::Passthru(owner) => owner.is_none(),
        Step::Target(target) => target.is_some_and(|(_, mode)| mode != Mode::Source),
        Step::SenderRules(check) | Step::ReceiverRules(check) => check.reason().is_none(),
        Step::Isolation(isolation) => !matches!(isolation, Isolation::Blocked(_)),
        Step::Sender(sender) => {
            sender.is_none_or(|(_, mode)| matches!(mode, Mode::Bridge | Mode::Vepa))
        }
        Step::Listeners(heard) | Step::LocalListeners(heard) => heard == GroupListeners::Possible,
        Step::Up(up) => up,
        Step::Source(own) => own,
        Step::Bridge(bridge) => bridge,
        Step::Sibling(sibling) => sibling.is_some_and(|(_, mode)| mode == Mode::Bridge),
        Step::Length(length) => length != LengthCheck::TooLong,
        Step::Deliver(_) | Step::LocalDeliver(_) | Step::Flood(_) | Step::LocalFlood(_) => false,
    }
}
