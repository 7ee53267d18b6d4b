//! [`Fate`]: what becomes of a frame on paper.

use umacvlan_core::switch::{Action, Replica, Verdict};
use umacvlan_core::{DropReason, ParentSide, SubIndex};

/// What the switch has said of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    Deliver,
    Drop(DropReason),
    Flood,
    Host,
    /// Nothing: too little of the frame was captured to ask.
    #[default]
    Nothing,
    Wire,
}

impl Said {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Drop(_) => "drop",
            Self::Flood => "flood",
            Self::Host => "host",
            Self::Nothing => "unknown",
            Self::Wire => "wire",
        }
    }
}

/// What becomes of one frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    pub said: Said,
    /// Source sub-interfaces that get a copy.
    pub copies: Vec<SubIndex>,
    /// Who gets the frame by the verdict.
    pub to: Vec<SubIndex>,
    /// Who would get it, had it fit.
    pub too_long: Vec<SubIndex>,
    pub host: bool,
    pub wire: bool,
    /// The flood takes the broadcast queue.
    pub queued: bool,
}

impl Fate {
    /// Forgets the frame before.
    pub(crate) fn clear(&mut self) {
        let Self { said, copies, to, too_long, host, wire, queued } = self;
        *said = Said::default();
        [copies, to, too_long].into_iter().for_each(Vec::clear);
        (*host, *wire, *queued) = (false, false, false);
    }

    /// What the engine does with a verdict; `queue` is the length of the broadcast queue.
    pub(crate) fn carry_out(&mut self, verdict: Verdict<'_>, queue: u32) {
        self.copies.extend(verdict.copies);
        match verdict.action {
            Action::Deliver(id) => {
                self.said = Said::Deliver;
                self.to.push(id);
            }
            Action::Drop(reason) => self.said = Said::Drop(reason),
            Action::Host => {
                self.said = Said::Host;
                self.host = true;
            }
            Action::Wire => {
                self.said = Said::Wire;
                self.wire = true;
            }
            Action::Flood(flood) => {
                let rule = flood.rule();
                self.host = rule.also() == ParentSide::Host;
                self.wire = rule.also() == ParentSide::Wire;
                self.queued = rule.deferred();
                if self.queued && queue == 0 {
                    self.said = Said::Drop(DropReason::BcQueueFull);
                    return;
                }
                self.said = Said::Flood;
                for replica in flood {
                    match replica {
                        Replica::Deliver(id) => self.to.push(id),
                        Replica::TooLong(id) => self.too_long.push(id),
                    }
                }
            }
        }
    }
}
