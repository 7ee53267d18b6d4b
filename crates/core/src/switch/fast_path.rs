//! The fast path: unicast on a parent where only the destination matters.
//!
//! Most parents have no source list, no private sub-interface and no passthru one. Then the lookup
//! of the destination address is the only rule that depends on the frame. [`FastPath`] says when
//! that is so; every update of the switch computes it again from the tables, so it cannot be stale.
//! The rules themselves are in [`Switch::decide_ingress`] and [`Switch::decide_egress`], and a
//! property test compares every verdict of the fast path with theirs.

use crate::Frame;

use super::flood::longest;
use super::{Action, Mode, Semantics, Switch};

/// For which unicast frames the destination alone decides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FastPath {
    /// For those from the wire.
    pub(super) ingress: bool,
    /// For those from a sub-interface that is up if they are shorter than this, in bytes: zero, or
    /// the shortest length that is too long for a sibling. A GSO packet counts as length zero.
    pub(super) egress_below: u32,
}

impl Switch {
    /// Computes the fast path again: the last step of every update.
    pub(super) fn rebuild_fast_path(&mut self) {
        let listed = !self.sources.is_empty();
        let isolates = self.table.has_private() && self.semantics == Semantics::Documented;
        let not_source = !Mode::Source.bit();
        let checks = self.table.checks_sent();
        let bridges = !listed && !checks && self.table.has_only(Mode::Bridge.bit());
        self.fast_path = FastPath {
            ingress: !listed
                && self.passthru.is_none()
                && !isolates
                && !self.table.checks_received()
                && self.table.has_only(not_source),
            egress_below: if bridges { longest(self.parent.mtu).saturating_add(1) } else { 0 },
        };
    }

    /// Decides about unicast from the wire where [`FastPath::ingress`] is true.
    ///
    /// The rules in their order: the source is on no list, so there are no copies and no `nodst`;
    /// there is no passthru sub-interface; none is in source mode; no rule restricts what one receives; and isolation does not apply, as
    /// there is no private sub-interface or the kernel's semantics are in force. The lookup of the
    /// destination remains.
    #[inline(always)]
    pub(super) fn ingress_fast(&self, frame: Frame<'_>) -> Action<'_> {
        match self.table.lookup(frame.dst_key()) {
            Some(id) => Action::Deliver(id),
            None => Action::Host,
        }
    }

    /// Decides about unicast that is shorter than [`FastPath::egress_below`], from a sub-interface
    /// that is up.
    ///
    /// The rules in their order: the sender is up, nothing that is sent is checked, so none has a rule, and all that are up are
    /// in bridge mode; so is the one with the destination address; the frame is not too long; and the source is on no
    /// list, so there are no copies and no `nodst`.
    #[inline(always)]
    pub(super) fn egress_fast(&self, frame: Frame<'_>) -> Action<'_> {
        match self.table.lookup(frame.dst_key()) {
            Some(id) => Action::Deliver(id),
            None => Action::Wire,
        }
    }
}
