//! What the [rules](crate::rules) of sub-interfaces say about a frame.
//!
//! All of it is out of line, and behind a flag of the sub-interface that has a rule.

use super::explain::{RuleCheck, Step};
use super::{DropReason, Sub, SubIndex, Switch};
use crate::rules::EtherType;
use crate::{Frame, MacAddr};

/// What rules look at of a frame that is flooded, in two words: a flood without rules has it, too, and
/// larger it would lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The source address, and above it the index of the sub-interface that sent it.
    source: u64,
    /// Both EtherTypes, and above them [`PRESENT`] and [`INSIDE`].
    types: u64,
}

/// There is something to look at.
const PRESENT: u64 = 1 << 63;

/// The sender is a sub-interface.
const INSIDE: u64 = 1 << 62;

impl Seen {
    /// Nothing: no sub-interface had a rule when the frame came.
    pub(super) const NOTHING: Self = Self { source: 0, types: 0 };

    fn new(sender: Option<SubIndex>, frame: Frame<'_>) -> Self {
        let [outer, inner] = EtherType::of(frame).map(EtherType::number).map(u64::from);
        let (index, inside) = sender.map_or((0, 0), |sender| (u64::from(sender.0), INSIDE));
        let source = frame.src().to_u64() | index << 48;
        Self { source, types: PRESENT | inside | outer << 16 | inner }
    }

    /// The sender if it is a sub-interface, the source address and the EtherTypes.
    fn parts(self) -> Option<(Option<SubIndex>, MacAddr, [EtherType; 2])> {
        if self.types & PRESENT == 0 {
            return None;
        }
        let [_, _, outer, inner] = words(self.types);
        let [index, ..] = words(self.source);
        let sender = (self.types & INSIDE != 0).then_some(SubIndex(index));
        let [_, _, src @ ..] = self.source.to_be_bytes();
        Some((sender, MacAddr::new(src), [outer, inner].map(EtherType::new)))
    }
}

/// The 16-bit words of a number, the highest first.
fn words(number: u64) -> [u16; 4] {
    [48, 32, 16, 0].map(|shift| (number >> shift & 0xffff) as u16)
}

impl Switch {
    /// Checks what a sub-interface sends: its source address, then its rules.
    #[inline(never)]
    pub(super) fn check_sent(
        &self,
        from: SubIndex,
        frame: Frame<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Option<DropReason> {
        let sub = self.sub(from)?;
        if sub.checks_source() {
            let owned = self.owns_source(from, sub, frame);
            trace(Step::Source(owned));
            if !owned {
                return Some(DropReason::Spoofed);
            }
        }
        if sub.rules().is_empty() {
            return None;
        }
        let check = self.sender_rules(from, sub, frame);
        trace(Step::SenderRules(check));
        check.reason()
    }

    /// Whether the source address of a frame is the sender's: its own, one that its stack has added, or
    /// one on its source list.
    fn owns_source(&self, from: SubIndex, sub: &Sub, frame: Frame<'_>) -> bool {
        self.table.lookup(frame.src_key()) == Some(from)
            || sub.sources().binary_search(&frame.src()).is_ok()
    }

    fn sender_rules(&self, from: SubIndex, sub: &Sub, frame: Frame<'_>) -> RuleCheck {
        let rules = sub.rules();
        if !rules.allows_source_ip(frame) {
            return RuleCheck::SourceIp;
        }
        if let Some(refused) = rules.refused_type(EtherType::of(frame)) {
            return RuleCheck::EtherType(refused);
        }
        // Whom a group reaches is decided for each receiver.
        if frame.dst().is_group() {
            return RuleCheck::Allowed;
        }
        match self.table.lookup(frame.dst_key()) {
            Some(sibling) if self.are_apart(from, sub, sibling) => RuleCheck::Isolated(sibling),
            None if !rules.allows_mac(frame.dst()) => RuleCheck::Mac(frame.dst()),
            _ => RuleCheck::Allowed,
        }
    }

    /// Checks a frame from the wire for a sub-interface that has a rule.
    #[cold]
    #[inline(never)]
    pub(super) fn check_ingress(
        &self,
        to: SubIndex,
        frame: Frame<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Option<DropReason> {
        let sender = self.table.lookup(frame.src_key());
        self.check_received(to, sender, frame, trace)
    }

    /// Checks a frame of a sibling for a sub-interface that has a rule.
    #[cold]
    #[inline(never)]
    pub(super) fn check_local(
        &self,
        to: SubIndex,
        from: SubIndex,
        frame: Frame<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Option<DropReason> {
        self.check_received(to, Some(from), frame, trace)
    }

    fn check_received(
        &self,
        to: SubIndex,
        sender: Option<SubIndex>,
        frame: Frame<'_>,
        trace: &mut impl FnMut(Step),
    ) -> Option<DropReason> {
        if !self.table.port(to).checks_received() {
            return None;
        }
        let check = self.receiver_rules(to, sender, frame.src(), EtherType::of(frame));
        trace(Step::ReceiverRules(check));
        check.reason()
    }

    /// What rules look at of a frame that is flooded, if any sub-interface has one.
    #[inline]
    pub(super) fn seen(&self, sender: Option<SubIndex>, frame: Frame<'_>) -> Seen {
        match self.table.checks_received() {
            true => Seen::new(sender, frame),
            false => Seen::NOTHING,
        }
    }

    /// Why a sub-interface that has a rule gets no copy of a flood, if so. A flood that began before
    /// any had one is not looked at.
    pub(super) fn refuses_copy(&self, seen: Seen, to: SubIndex) -> Option<DropReason> {
        let (sender, src, types) = seen.parts()?;
        self.receiver_rules(to, sender, src, types).reason()
    }

    fn receiver_rules(
        &self,
        to: SubIndex,
        sender: Option<SubIndex>,
        src: MacAddr,
        types: [EtherType; 2],
    ) -> RuleCheck {
        let Some(sub) = self.sub(to) else {
            return RuleCheck::Allowed;
        };
        if let Some(refused) = sub.rules().refused_type(types) {
            return RuleCheck::EtherType(refused);
        }
        match sender {
            Some(sender) if self.are_apart(to, sub, sender) => RuleCheck::Isolated(sender),
            None if !sub.rules().allows_mac(src) => RuleCheck::Mac(src),
            _ => RuleCheck::Allowed,
        }
    }

    /// Whether a sub-interface and another one are in different isolation groups.
    fn are_apart(&self, id: SubIndex, sub: &Sub, other: SubIndex) -> bool {
        let group = sub.rules().isolation();
        let apart = |other: &Sub| group.is_apart(other.rules().isolation());
        id != other && self.sub(other).is_some_and(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_look_at_survives_its_two_words() {
        let mut bytes = [0; 64];
        bytes[..6].fill(0xff);
        bytes[6..12].copy_from_slice(&[0xfe, 1, 2, 3, 4, 0xff]);
        bytes[12..16].copy_from_slice(&[0x81, 0, 0, 10]);
        bytes[16..18].copy_from_slice(&[0x86, 0xdd]);
        let frame = Frame::new(&bytes).unwrap();
        for sender in [None, Some(SubIndex(0)), Some(SubIndex(0xfffe))] {
            let (inside, src, types) = Seen::new(sender, frame).parts().unwrap();
            assert_eq!((inside, src, types), (sender, frame.src(), EtherType::of(frame)));
        }
        assert_eq!(Seen::NOTHING.parts(), None);
    }
}
