//! One frame for several sub-interfaces: by which rule, and to whom.
//!
//! A flood is an iterator over the table, so it allocates nothing, and its rule is plain data
//! beside a cursor, so the engine can put it into a queue and go on in a later turn.

use crate::MacAddr;
use crate::frame::{HEADER_LEN, TAG_LEN};

use super::forwarding_table::PortFlags;
use super::{SubIndex, Switch};

/// The side that gets the frame beside the sub-interfaces of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentSide {
    /// The parent's own network stack.
    Host,
    /// The network beyond the parent.
    Wire,
}

/// Who takes part in a flood. Plain data: it can wait in a queue.
///
/// A rule outlives changes of the table. Who takes part is decided when the flood runs, so one
/// that has come up since hears the frame, and one that has gone does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodRule {
    /// The group the frame is for.
    dst: MacAddr,
    /// The modes that take part, as [`Mode::bit`](super::Mode::bit)s.
    modes: u8,
    /// The sender, which does not hear itself.
    except: Option<SubIndex>,
    /// The length of the frame in bytes as receivers check it: zero fits everybody.
    len: u32,
    also: ParentSide,
    deferred: bool,
}

impl FloodRule {
    /// A flood of a frame from the wire. It is never too long: its length was the wire's business.
    pub(super) const fn ingress(
        dst: MacAddr,
        modes: u8,
        except: Option<SubIndex>,
        deferred: bool,
    ) -> Self {
        Self { dst, modes, except, len: 0, also: ParentSide::Host, deferred }
    }

    /// A flood of a sub-interface's frame. Receivers check its length in bytes; zero fits all.
    pub(super) const fn egress(dst: MacAddr, modes: u8, from: SubIndex, len: u32) -> Self {
        Self { dst, modes, except: Some(from), len, also: ParentSide::Wire, deferred: false }
    }

    /// Who gets the frame beside the sub-interfaces: the host for one from the wire, and the wire,
    /// after the sub-interfaces, for one from a sub-interface.
    pub const fn also(&self) -> ParentSide {
        self.also
    }

    /// True when the flood has to take the port's bounded queue of group frames, by the rules of
    /// `bclim`; if that is full it is dropped, and only the [`also`](Self::also) side gets it.
    pub const fn deferred(&self) -> bool {
        self.deferred
    }

    /// The group the frame is for.
    pub const fn dst(&self) -> MacAddr {
        self.dst
    }

    /// The sub-interface that sent the frame, if it is one of ours; it does not hear itself.
    pub const fn except(&self) -> Option<SubIndex> {
        self.except
    }
}

/// What a flood does with one sub-interface that takes part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// It gets the frame.
    Deliver(SubIndex),
    /// It would get the frame, had that fit its MTU.
    TooLong(SubIndex),
}

/// What one sub-interface has to do with a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodDecision {
    /// It gets the frame.
    Deliver,
    /// Its filter does not let the group pass.
    Filter,
    /// The rule leaves out its mode, or it is down.
    Mode,
    /// It is the sender.
    Sender,
    /// It would get the frame, had that fit its MTU.
    TooLong,
}

/// A flood under way: the replicas still to come, in ascending order of [`SubIndex`].
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

    /// The rule of the flood, with which [`Switch::flood`] can go on later.
    #[inline]
    pub const fn rule(&self) -> FloodRule {
        self.rule
    }

    /// Where the flood stands: what is before has been served.
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
                FloodDecision::Filter | FloodDecision::Mode | FloodDecision::Sender => {}
            }
        }
    }
}

impl Switch {
    /// The part that the sub-interface with this port has in a flood.
    #[inline(always)]
    pub(super) fn flood_decision(
        &self,
        rule: FloodRule,
        id: SubIndex,
        port: PortFlags,
    ) -> FloodDecision {
        if !port.is_in(rule.modes) {
            FloodDecision::Mode
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
}

/// True when a frame of this many bytes may be handed to an interface with this MTU: a VLAN tag
/// may come on top, as in `is_skb_forwardable()` of the kernel's `netdevice.h`.
#[inline]
pub(super) const fn fits(len: u32, mtu: u32) -> bool {
    len <= longest(mtu)
}

/// The longest frame, in bytes, that [`fits`] an interface with this MTU.
#[inline]
pub(super) const fn longest(mtu: u32) -> u32 {
    mtu.saturating_add(OVERHEAD)
}

/// Bytes of a header and one tag.
#[allow(clippy::cast_possible_truncation, reason = "it is 18")]
const OVERHEAD: u32 = (HEADER_LEN + TAG_LEN) as u32;
