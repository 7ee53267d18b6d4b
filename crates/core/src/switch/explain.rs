//! Why a frame gets its verdict: the steps of a decision and their results.
//!
//! Nothing here decides. [`Switch::ingress`] and [`Switch::egress`] run the decision with a `trace`
//! closure that does nothing; an explanation runs the same code with one that records. So an
//! explanation always matches the verdict, and the empty closure leaves no instruction in the
//! compiled decision.

use crate::Frame;

use super::flood::{FloodDecision, FloodRule};
use super::{DropReason, Mode, SubIndex, Switch, Verdict};
use crate::MacAddr;
use crate::rules::EtherType;

/// A step of a decision and its result, in the order of the decision. The last step decides. Each
/// follows a [`section`](Self::section) of docs/semantics.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    // From the wire.
    /// How many source sub-interfaces list the source address, and whether that ends the decision.
    Sources(SourceMatch),
    /// Unicast: the passthru sub-interface of the parent, and whether it is up.
    Passthru(Option<(SubIndex, bool)>),
    /// Unicast: the sub-interface that is up with this destination address.
    Target(Option<(SubIndex, Mode)>),
    /// What the rules of the receiver say, if it has any.
    ReceiverRules(RuleCheck),
    /// Unicast: whether a private sub-interface and a sibling are kept apart.
    Isolation(Isolation),
    /// No other rule applies: this sub-interface gets the frame.
    Deliver(SubIndex),
    /// Group: the sub-interface that is up with this source address.
    Sender(Option<(SubIndex, Mode)>),
    /// Group: whether it has listeners.
    Listeners(GroupListeners),
    /// Group: the frame is flooded by this rule.
    Flood(FloodRule),

    // From a sub-interface.
    /// Whether the sender is up.
    Up(bool),
    /// Whether the source address is the sender's, where that is checked.
    Source(bool),
    /// What the rules of the sender say, if it has any.
    SenderRules(RuleCheck),
    /// Whether the sender is in bridge mode.
    Bridge(bool),
    /// Unicast: the sub-interface that is up with this destination address.
    Sibling(Option<(SubIndex, Mode)>),
    /// Whether a frame for a sibling fits the parent's MTU.
    Length(LengthCheck),
    /// How many source sub-interfaces list the source address, and whether that ends the decision.
    LocalSources(SourceMatch),
    /// No other rule applies: this sibling gets the frame.
    LocalDeliver(SubIndex),
    /// Group: whether it has listeners.
    LocalListeners(GroupListeners),
    /// Group: the frame is flooded by this rule.
    LocalFlood(FloodRule),
}

/// The result of the source lists for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMatch {
    /// How many sub-interfaces list its source address and are up: each gets a copy.
    pub copies: usize,
    /// One of those that list it has `nodst`, so the copies are all that is delivered.
    pub consumed: bool,
}

/// Whether a private sub-interface and a sibling are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// They are: this sibling is the sender, and it or the target is private.
    Blocked(SubIndex),
    /// They are not, by [`Semantics::Kernel`](super::Semantics::Kernel).
    KernelSemantics,
    /// No private sub-interface is up.
    NoPrivate,
    /// The sender is no sibling that is up, or neither of the two is private.
    Allowed,
}

/// What the [rules](crate::rules) of a sub-interface say about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleCheck {
    /// Nothing is against it.
    Allowed,
    /// This EtherType is not on the list.
    EtherType(EtherType),
    /// This sibling, at the other end, is in another isolation group.
    Isolated(SubIndex),
    /// This address, which no sibling has, is not on the list.
    Mac(MacAddr),
    /// An IP address of which the frame says that it is the sender's is not on the list.
    SourceIp,
}

impl RuleCheck {
    /// The section of docs/semantics.md with the rule that decided, or with all of them.
    const fn section(self) -> &'static str {
        match self {
            Self::Allowed => "15",
            Self::EtherType(_) | Self::Mac(_) => "15.4",
            Self::Isolated(_) => "15.3",
            Self::SourceIp => "15.5",
        }
    }

    /// Why the frame is dropped, if it is.
    pub const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Allowed => None,
            Self::EtherType(_) | Self::Mac(_) => Some(DropReason::NotAllowed),
            Self::Isolated(_) => Some(DropReason::Isolated),
            Self::SourceIp => Some(DropReason::Spoofed),
        }
    }
}

/// Whether a group has listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupListeners {
    /// The frame is MAC control, which ends at the first hop.
    MacControl,
    /// No sub-interface accepts this group.
    None,
    /// A sub-interface may accept it.
    Possible,
}

/// Whether a frame fits an MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthCheck {
    /// It fits.
    Fits,
    /// It is a GSO packet, which is segmented later.
    Gso,
    /// It does not fit.
    TooLong,
}

impl Step {
    /// The section of docs/semantics.md with the rule.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Sources(_) => "2.1",
            Self::Passthru(_) => "2.2.1",
            Self::Target(_) => "2.2.2",
            Self::Isolation(_) => "2.2.3",
            Self::Deliver(_) => "2.2.4",
            Self::Sender(_) => "2.3.1",
            Self::Listeners(_) => "2.3.2",
            Self::Flood(_) => "2.3.3",
            Self::Up(_) => "1",
            Self::Source(_) => "15.1",
            Self::SenderRules(check) | Self::ReceiverRules(check) => check.section(),
            Self::Sibling(_) | Self::Length(_) => "3.1",
            Self::LocalSources(_) | Self::LocalDeliver(_) => "3.1",
            Self::LocalListeners(_) | Self::LocalFlood(_) => "3.2",
            Self::Bridge(_) => "3.3",
        }
    }
}

/// A verdict with the steps that led to it.
#[must_use = "an explanation has no effect on the frame"]
#[derive(Clone, Debug)]
pub struct Explanation<'t> {
    /// The steps, the deciding one last. There is at least one.
    pub steps: Vec<Step>,
    /// The verdict, as [`Switch::ingress`] or [`Switch::egress`] returns it.
    pub verdict: Verdict<'t>,
}

impl Switch {
    /// Decides as [`ingress`](Self::ingress) does, and records the steps.
    pub fn explain_ingress(&self, frame: Frame<'_>) -> Explanation<'_> {
        let mut steps = Vec::new();
        let verdict = self.decide_ingress(frame, |step| steps.push(step));
        Explanation { steps, verdict }
    }

    /// Decides as [`egress`](Self::egress) does, and records the steps.
    pub fn explain_egress(&self, from: SubIndex, frame: Frame<'_>, gso: bool) -> Explanation<'_> {
        let mut steps = Vec::new();
        let verdict = self.decide_egress(from, frame, gso, |step| steps.push(step));
        Explanation { steps, verdict }
    }

    /// What a flood by this rule does with each sub-interface, in ascending order of index.
    pub fn flood_decisions(
        &self,
        rule: FloodRule,
    ) -> impl Iterator<Item = (SubIndex, FloodDecision)> {
        self.subs().map(move |(id, _)| (id, self.flood_decision(rule, id, self.table.port(id))))
    }
}
