//! What the kernel answers by itself is what the verdict says.

use umacvlan_core::SubIndex;
use umacvlan_core::limit::Limiter;
use umacvlan_core::switch::KernelAnswer;

use super::ops::Pair;
use super::{Outcome, Probe};

impl Pair {
    /// # Panics
    /// When a frame from the wire has an answer that is not its verdict.
    pub(super) fn answers_ingress(&self, probe: Probe, outcome: &Outcome) {
        let answers = self.switch.kernel_answers();
        if let Some(answer) = answers.ingress(probe.src, probe.dst) {
            assert_eq!(*outcome, wanted(answer), "{probe:?} with {answers:?}");
            self.unlimited(None, answer);
        }
    }

    /// # Panics
    /// When a frame of a sub-interface has an answer that is not its verdict, or has none although
    /// it is ordinary unicast.
    pub(super) fn answers_egress(&self, from: SubIndex, probe: Probe, outcome: &Outcome) {
        let answers = self.switch.kernel_answers();
        let len = if probe.gso { 0 } else { u32::try_from(probe.len).expect("a short frame") };
        let answer = answers.egress(from, probe.dst, len);
        if let Some(answer) = answer {
            assert_eq!(*outcome, wanted(answer), "{probe:?} with {answers:?}");
            self.unlimited(Some(from), answer);
        }
        let checked =
            self.switch.sub(from).is_some_and(|sub| sub.checks_sent() || !sub.limits().is_empty());
        let ordinary = outcome.wire && !probe.dst.is_group() && len <= answers.longest_wire;
        let plain = ordinary && !checked;
        assert!(answer.is_some() || !plain, "no answer: {probe:?} with {answers:?}");
    }

    /// # Panics
    /// When a limit applies to a frame that the kernel answers.
    fn unlimited(&self, from: Option<SubIndex>, answer: KernelAnswer) {
        let limiter =
            |id| Limiter::new(*self.switch.sub(id).expect("an answer names one").limits());
        assert!(!from.is_some_and(|id| limiter(id).limits_tx()), "{from:?} is limited");
        if let KernelAnswer::Deliver(to) = answer {
            assert!(!limiter(to).limits_rx(), "{to:?} is limited");
            let restricted = self.switch.sub(to).is_some_and(|sub| !sub.rules().is_empty());
            assert!(!restricted, "{to:?} has rules");
        }
    }
}

fn wanted(answer: KernelAnswer) -> Outcome {
    match answer {
        KernelAnswer::Deliver(to) => Outcome { subs: vec![to], ..Outcome::default() },
        KernelAnswer::Wire => Outcome { wire: true, ..Outcome::default() },
    }
}
