//! [`Outcome`]: where one frame goes, and its JSON fields.

use serde::Serialize;
use umacvlan_core::switch::{Action, Replica, Verdict};
use umacvlan_core::{DropReason, ParentSide, SubIndex};

use super::OfflineSwitch;

/// The decision of the switch for one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Decision {
    Deliver,
    Drop(DropReason),
    Flood,
    Host,
    /// The capture has too little of the frame to ask the switch.
    #[default]
    Unknown,
    Wire,
}

impl Decision {
    /// The name in JSON and text output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Drop(_) => "drop",
            Self::Flood => "flood",
            Self::Host => "host",
            Self::Unknown => "unknown",
            Self::Wire => "wire",
        }
    }
}

/// Everyone that gets one frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub decision: Decision,
    /// Source-mode sub-interfaces that get a copy.
    pub copies: Vec<SubIndex>,
    /// Sub-interfaces that get the frame by the verdict.
    pub to: Vec<SubIndex>,
    /// Sub-interfaces whose MTU is too small for the frame.
    pub too_long: Vec<SubIndex>,
    pub host: bool,
    pub wire: bool,
    /// The flood goes through the broadcast queue.
    pub queued: bool,
}

/// An outcome in the JSON of `explain` and `replay`.
#[serde_with::skip_serializing_none]
#[derive(Debug, Serialize)]
pub(crate) struct OutcomeJson<'a> {
    pub verdict: &'static str,
    /// The drop reason.
    pub reason: Option<&'static str>,
    /// Links that get the frame by the verdict.
    pub to: Vec<&'a str>,
    /// Links that get a copy because they list the source.
    pub copies: Vec<&'a str>,
    pub too_long: Vec<&'a str>,
    pub host: bool,
    pub wire: bool,
    /// The flood goes through the broadcast queue.
    pub queued: bool,
}

impl Outcome {
    /// Resets it for the next frame, keeping the memory.
    pub(crate) fn clear(&mut self) {
        let Self { decision, copies, to, too_long, host, wire, queued } = self;
        *decision = Decision::default();
        [copies, to, too_long].into_iter().for_each(Vec::clear);
        (*host, *wire, *queued) = (false, false, false);
    }

    /// Does with a verdict what the engine does; `queue` is the length of the broadcast queue.
    pub(crate) fn apply(&mut self, verdict: Verdict<'_>, queue: u32) {
        self.copies.extend(verdict.copies);
        match verdict.action {
            Action::Deliver(id) => {
                self.decision = Decision::Deliver;
                self.to.push(id);
            }
            Action::Drop(reason) => self.decision = Decision::Drop(reason),
            Action::Host => {
                self.decision = Decision::Host;
                self.host = true;
            }
            Action::Wire => {
                self.decision = Decision::Wire;
                self.wire = true;
            }
            Action::Flood(flood) => {
                let rule = flood.rule();
                self.host = rule.also() == ParentSide::Host;
                self.wire = rule.also() == ParentSide::Wire;
                self.queued = rule.deferred();
                if self.queued && queue == 0 {
                    self.decision = Decision::Drop(DropReason::BcQueueFull);
                    return;
                }
                self.decision = Decision::Flood;
                for replica in flood {
                    match replica {
                        Replica::Deliver(id) => self.to.push(id),
                        Replica::TooLong(id) => self.too_long.push(id),
                    }
                }
            }
        }
    }

    /// The JSON fields, with the names that `offline` has for the sub-interfaces.
    pub(crate) fn json<'a>(&self, offline: &'a OfflineSwitch) -> OutcomeJson<'a> {
        OutcomeJson {
            verdict: self.decision.name(),
            reason: match self.decision {
                Decision::Drop(reason) => Some(reason.name()),
                _ => None,
            },
            to: offline.names(&self.to),
            copies: offline.names(&self.copies),
            too_long: offline.names(&self.too_long),
            host: self.host,
            wire: self.wire,
            queued: self.queued,
        }
    }
}
