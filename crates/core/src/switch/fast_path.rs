//! The short way through a decision, for parents on which nothing but the destination matters.
//!
//! Most parents have no source list, no private sub-interface and no passthru one. There, every
//! question of the rules but one has an answer that is known before the frame comes, so only that
//! one is asked: who has the destination address. [`FastPath`] says when that holds; it is made
//! anew with each change of the table, out of the table, so it cannot disagree with it. The rules
//! themselves are in [`Switch::decide_ingress`] and [`Switch::decide_egress`], and a property test
//! compares every verdict of the short way with theirs.

use crate::Frame;

use super::flood::longest;
use super::{Action, Mode, Semantics, Switch};

/// For which frames to a station the destination alone decides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FastPath {
    /// For those from the wire.
    pub(super) ingress: bool,
    /// For those from a sub-interface that is up, if they are shorter than this, in bytes: zero
    /// for none, and else what is too long for a sibling. A super-frame has no length.
    pub(super) egress_below: u32,
}

impl Switch {
    /// Makes the shortcuts anew: the last thing that every change does.
    pub(super) fn rebuild_fast_path(&mut self) {
        let listed = !self.sources.is_empty();
        let isolates = self.table.has_private() && self.semantics == Semantics::Documented;
        let not_source = !Mode::Source.bit();
        let bridges = !listed && self.table.has_only(Mode::Bridge.bit());
        self.fast_path = FastPath {
            ingress: !listed
                && self.passthru.is_none()
                && !isolates
                && self.table.has_only(not_source),
            egress_below: if bridges { longest(self.parent.mtu).saturating_add(1) } else { 0 },
        };
    }

    /// What becomes of a frame from the wire to a station, where [`FastPath::ingress`] holds.
    ///
    /// The rules, in their order: nobody lists the source, so there are no copies and nobody takes
    /// the frame; nobody owns the parent; who has the address is not in source mode, as nobody is;
    /// and nobody is kept apart, for want of private ones or by the kernel's semantics. What
    /// remains is whether somebody has the address.
    #[inline(always)]
    pub(super) fn ingress_fast(&self, frame: Frame<'_>) -> Action<'_> {
        match self.table.lookup(frame.dst_key()) {
            Some(id) => Action::Deliver(id),
            None => Action::Host,
        }
    }

    /// What becomes of a frame to a station from a sub-interface that is up, which is not too long
    /// for a sibling, where [`FastPath::egress_below`] holds.
    ///
    /// The rules, in their order: the sender is up, so it is in bridge mode, as all are that are
    /// up; who has the address is up too, and so in bridge mode; the frame is not too long; and
    /// nobody lists the source, so there are no copies and nobody takes the frame.
    #[inline(always)]
    pub(super) fn egress_fast(&self, frame: Frame<'_>) -> Action<'_> {
        match self.table.lookup(frame.dst_key()) {
            Some(id) => Action::Deliver(id),
            None => Action::Wire,
        }
    }
}
