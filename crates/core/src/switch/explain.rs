//! Why a frame gets its verdict: the questions that a decision asks, and the answers.
//!
//! Nothing here decides. [`Switch::ingress`] and [`Switch::egress`] are the decision with somebody
//! listening who does nothing; here somebody listens who writes down. So an explanation cannot say
//! other than what is done, and who does not ask for one does not pay for it: the listener is a
//! closure, and one that does nothing leaves nothing behind in the compiled decision.

use crate::Frame;

use super::flood::{FloodDecision, FloodRule};
use super::{Mode, SubIndex, Switch, Verdict};

/// One question of a decision and its answer, in the order in which they are asked. The last one
/// decides. Each follows a [`section`](Self::section) of docs/semantics.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    // From the wire.
    /// Who lists the source, and is the frame theirs alone?
    Sources(SourceMatch),
    /// For a station: does a passthru sub-interface own the parent, and is it up?
    Passthru(Option<(SubIndex, bool)>),
    /// For a station: who that is up has this address?
    Target(Option<(SubIndex, Mode)>),
    /// Is it a sibling's frame that a private sub-interface must not meet?
    Isolation(Isolation),
    /// Nothing else holds: the frame belongs to this one.
    Deliver(SubIndex),
    /// For a group: who that is up is the source?
    Sender(Option<(SubIndex, Mode)>),
    /// For a group: does anybody listen?
    Listeners(GroupListeners),
    /// For a group: it is flooded by this rule.
    Flood(FloodRule),

    // From a sub-interface.
    /// Is the sender up?
    Up(bool),
    /// Is the sender a bridge sub-interface?
    Bridge(bool),
    /// For a station: who that is up has this address?
    Sibling(Option<(SubIndex, Mode)>),
    /// Does a frame for a sibling fit the parent's MTU?
    Length(LengthCheck),
    /// Who lists the source, and is the frame theirs alone?
    LocalSources(SourceMatch),
    /// Nothing else holds: the frame belongs to this sibling.
    LocalDeliver(SubIndex),
    /// For a group: does anybody listen?
    LocalListeners(GroupListeners),
    /// For a group: it is flooded by this rule.
    LocalFlood(FloodRule),
}

/// What the source lists say of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMatch {
    /// How many sub-interfaces that are up list its source, and get a copy.
    pub copies: usize,
    /// One that lists it has `nodst`, so it ends here.
    pub consumed: bool,
}

/// Whether a private sub-interface and a sibling are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// They are: this sibling is the source, and it or the target is private.
    Blocked(SubIndex),
    /// They are not: the kernel's semantics were chosen.
    KernelSemantics,
    /// No private sub-interface is up, so nobody looked further.
    NoPrivate,
    /// The source is no sibling that is up, or neither of the two is private.
    Allowed,
}

/// Whether a group has listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupListeners {
    /// It is MAC control, which ends at the first hop.
    MacControl,
    /// Nobody listens to this group.
    None,
    /// Somebody may.
    Possible,
}

/// Whether a frame fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthCheck {
    /// It does.
    Fits,
    /// It is a super-frame, and will be cut to size later.
    Gso,
    /// It does not.
    TooLong,
}

impl Step {
    /// Where docs/semantics.md has the rule: section and step.
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
            Self::Sibling(_) | Self::Length(_) => "3.1",
            Self::LocalSources(_) | Self::LocalDeliver(_) => "3.1",
            Self::LocalListeners(_) | Self::LocalFlood(_) => "3.2",
            Self::Bridge(_) => "3.3",
        }
    }
}

/// A verdict and how it came about.
#[must_use = "the verdict in it is one nobody carries out yet"]
#[derive(Clone, Debug)]
pub struct Explanation<'t> {
    /// What was asked, the deciding question last. There is always one.
    pub steps: Vec<Step>,
    /// What [`Switch::ingress`] or [`Switch::egress`] says of the frame.
    pub verdict: Verdict<'t>,
}

impl Switch {
    /// Decides as [`ingress`](Self::ingress) does, and says how it came to it.
    pub fn explain_ingress(&self, frame: Frame<'_>) -> Explanation<'_> {
        let mut steps = Vec::new();
        let verdict = self.decide_ingress(frame, |step| steps.push(step));
        Explanation { steps, verdict }
    }

    /// Decides as [`egress`](Self::egress) does, and says how it came to it.
    pub fn explain_egress(&self, from: SubIndex, frame: Frame<'_>, gso: bool) -> Explanation<'_> {
        let mut steps = Vec::new();
        let verdict = self.decide_egress(from, frame, gso, |step| steps.push(step));
        Explanation { steps, verdict }
    }

    /// The part of each sub-interface in a flood, in ascending order of identifier, with those
    /// that have none.
    pub fn flood_decisions(
        &self,
        rule: FloodRule,
    ) -> impl Iterator<Item = (SubIndex, FloodDecision)> {
        self.subs().map(move |(id, _)| (id, self.flood_decision(rule, id, self.table.port(id))))
    }
}
