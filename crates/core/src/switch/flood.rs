//! [`Flood`]: one frame for several sub-interfaces.
//!
//! A flood is an iterator over the forwarding table, so it allocates nothing. Its rule and cursor
//! are plain data, so the engine can queue a flood and resume it in a later turn.

use crate::MacAddr;
use crate::frame::{HEADER_LEN, TAG_LEN};

use super::forwarding_table::PortFlags;
use super::rule_checks::Seen;
use super::{DropReason, SubIndex, Switch};

/// The two sides of the parent. A flood reaches one of them beside the sub-interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentSide {
    /// The parent's own network stack.
    Host,
    /// The network beyond the parent.
    Wire,
}

/// Which sub-interfaces a flood reaches. Plain data, which can wait in a queue.
///
/// A rule outlives updates of the switch. The receivers are determined when the flood runs: a
/// sub-interface that came up meanwhile gets the frame, and one that was removed does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodRule {
    /// The destination group.
    dst: MacAddr,
    /// The modes that receive it, as [`Mode::bit`](super::Mode::bit)s.
    modes: u8,
    /// The sender, which does not get its own frame.
    except: Option<SubIndex>,
    /// The length of the frame in bytes for the MTU check of each receiver; zero fits any MTU.
    len: u32,
    /// The side of the parent that gets the frame too.
    also: ParentSide,
    /// Whether the flood takes the broadcast queue.
    deferred: bool,
    /// What rules of the receivers look at.
    seen: Seen,
}

impl FloodRule {
    /// The rule for a frame from the wire. Its length is not checked, as the wire delivered it.
    pub(super) const fn ingress(
        dst: MacAddr,
        modes: u8,
        except: Option<SubIndex>,
        deferred: bool,
    ) -> Self {
        Self { dst, modes, except, len: 0, also: ParentSide::Host, deferred, seen: Seen::NOTHING }
    }

    /// The rule for a frame from a sub-interface. `len` is in bytes; zero fits any MTU.
    pub(super) const fn egress(dst: MacAddr, modes: u8, from: SubIndex, len: u32) -> Self {
        let also = ParentSide::Wire;
        Self { dst, modes, except: Some(from), len, also, deferred: false, seen: Seen::NOTHING }
    }

    /// The same rule, for receivers that have rules of their own.
    pub(super) const fn seen(self, seen: Seen) -> Self {
        Self { seen, ..self }
    }

    /// The side that gets the frame beside the sub-interfaces: the host for a frame from the wire;
    /// the wire, after the sub-interfaces, for a frame from a sub-interface.
    pub const fn also(&self) -> ParentSide {
        self.also
    }

    /// True when the flood has to take the parent's bounded broadcast queue, by the rules of
    /// `bclim`. If the queue is full, the flood is dropped and only the [`also`](Self::also) side
    /// gets the frame.
    pub const fn deferred(&self) -> bool {
        self.deferred
    }

    /// The destination group.
    pub const fn dst(&self) -> MacAddr {
        self.dst
    }

    /// The sub-interface that sent the frame, if one did; it does not get its own frame.
    pub const fn except(&self) -> Option<SubIndex> {
        self.except
    }
}

/// One receiver of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It gets the frame.
    Deliver(SubIndex),
    /// The frame is too long for its MTU.
    TooLong(SubIndex),
}

/// What a flood does with one sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodDecision {
    /// It gets the frame.
    Deliver,
    /// Its filter does not accept the group.
    Filter,
    /// The rule excludes its mode, or it is down.
    Mode,
    /// It and the sender are in different isolation groups.
    Isolated,
    /// One of its rules does not allow the frame.
    NotAllowed,
    /// It is the sender.
    Sender,
    /// The frame is too long for its MTU.
    TooLong,
}

/// A flood in progress: an iterator over the remaining receivers, in ascending order of
/// [`SubIndex`].
#[must_use = "a flood does nothing until it is iterated"]
#[derive(Clone, Debug)]
pub struct Flood<'t> {
    switch: &'t Switch,
    rule: FloodRule,
    cursor: u32,
}

impl<'t> Flood<'t> {
    #[inline]
    pub(super) const fn new(switch: &'t Switch, rule: FloodRule, cursor: u32) -> Self {
        Self { switch, rule, cursor }
    }

    /// The rule of the flood, with which [`Switch::flood`] can resume it.
    #[inline]
    pub const fn rule(&self) -> FloodRule {
        self.rule
    }

    /// The position of the flood: every index below has been handled.
    #[inline]
    pub const fn cursor(&self) -> u32 {
        self.cursor
    }
}

impl Iterator for Flood<'_> {
    type Item = Replica;

    #[inline]
    fn next(&mut self) -> Option<Replica> {
        let ports = self.switch.table.ports();
        loop {
            let id = SubIndex::from_index(self.cursor as usize)?;
            let port = *ports.get(id.index())?;
            self.cursor += 1;
            match self.switch.flood_decision(self.rule, id, port) {
                FloodDecision::Deliver => return Some(Replica::Deliver(id)),
                FloodDecision::TooLong => return Some(Replica::TooLong(id)),
                FloodDecision::Filter
                | FloodDecision::Isolated
                | FloodDecision::Mode
                | FloodDecision::NotAllowed
                | FloodDecision::Sender => {}
            }
        }
    }
}

impl Switch {
    /// What a flood by this rule does with one sub-interface.
    #[inline(always)]
    pub(super) fn flood_decision(
        &self,
        rule: FloodRule,
        id: SubIndex,
        port: PortFlags,
    ) -> FloodDecision {
        if !port.is_unruled_in(rule.modes) {
            match port.is_in(rule.modes) {
                true => {
                    let FloodRule { dst, except, len, seen, .. } = rule;
                    self.checked_decision((id, port), dst, except, len, seen)
                }
                false => FloodDecision::Mode,
            }
        } else if rule.except == Some(id) {
            FloodDecision::Sender
        } else if !port.accepts_all_groups() && !self.accepts_group(id, rule.dst) {
            FloodDecision::Filter
        } else if fits(rule.len, port.mtu) {
            FloodDecision::Deliver
        } else {
            FloodDecision::TooLong
        }
    }

    /// The same for a sub-interface that has a rule about what it receives. The fields of a [`FloodRule`]
    /// are arguments of their own: as one, they would have to lie in memory for every receiver.
    #[cold]
    #[inline(never)]
    fn checked_decision(
        &self,
        (id, port): (SubIndex, PortFlags),
        dst: MacAddr,
        except: Option<SubIndex>,
        len: u32,
        seen: Seen,
    ) -> FloodDecision {
        if except == Some(id) {
            return FloodDecision::Sender;
        }
        if !port.accepts_all_groups() && !self.accepts_group(id, dst) {
            return FloodDecision::Filter;
        }
        match self.refuses_copy(seen, id) {
            Some(DropReason::Isolated) => FloodDecision::Isolated,
            Some(_) => FloodDecision::NotAllowed,
            None if fits(len, port.mtu) => FloodDecision::Deliver,
            None => FloodDecision::TooLong,
        }
    }
}

/// True when a frame of this many bytes fits an interface with this MTU. A VLAN tag may come on
/// top, as in `is_skb_forwardable()` of the kernel's `netdevice.h`.
#[inline]
pub(super) const fn fits(len: u32, mtu: u32) -> bool {
    len <= longest(mtu)
}

/// The longest frame, in bytes, that [`fits`] an interface with this MTU.
#[inline]
pub(super) const fn longest(mtu: u32) -> u32 {
    mtu.saturating_add(OVERHEAD)
}

/// Bytes of an Ethernet header and one tag.
#[allow(clippy::cast_possible_truncation, reason = "it is 18")]
const OVERHEAD: u32 = (HEADER_LEN + TAG_LEN) as u32;
