//! [`Switch`]: the whole of macvlan, as a table.
//!
//! The table is one parent's: its sub-interfaces, their modes, addresses, filters and source
//! lists. [`Switch::ingress`] and [`Switch::egress`] read it and answer with a [`Verdict`]; they
//! change nothing, allocate nothing and send nothing. Everything else changes the table, or
//! refuses with the kernel's error number and a reason.
//!
//! The rules are those of the kernel's `drivers/net/macvlan.c`, with one deliberate difference
//! that [`Semantics`] switches off. A frame on its way meets, in this order: the source lists; the
//! sender's mode, for group frames; the destination.
//!
//! # Threads
//! One owner: a worker keeps its switch to itself. More workers have a clone each, and whoever
//! changes one changes all, in the same order.

mod config;
mod error;
mod explain;
mod fast_path;
mod flood;
mod forwarding_table;
mod host_filter;
mod mac_table;
mod settings;
mod sources;
mod sub;
#[cfg(test)]
mod tests;
mod update;
mod verdict;

use std::collections::BTreeMap;

use crate::{Frame, MacAddr};

pub use config::{
    MIN_MTU, Mode, MulticastFilter, ParentInfo, ParseModeError, ParseSemanticsError, Semantics,
    SubConfig,
};
pub use error::SwitchError;
pub use explain::{Explanation, GroupListeners, Isolation, LengthCheck, SourceMatch, Step};
pub use flood::{Flood, FloodDecision, FloodRule, ParentSide, Replica};
pub use host_filter::{HostFilterRules, HostRule};
pub use settings::{
    DEFAULT_BC_CUTOFF, DEFAULT_BC_QUEUE_LEN, MacvlanFlag, MacvlanFlags, MacvlanSettings,
};
pub use sources::Copies;
pub use sub::Sub;
pub use verdict::{Action, DropReason, Verdict};

use fast_path::FastPath;
use flood::fits;
use forwarding_table::{ForwardingTable, UpSub};
use sources::Sources;

/// EtherType of MAC control, PAUSE above all (IEEE 802.3 annex 31). It ends at the first hop, so
/// such group frames are never flooded.
const MAC_CONTROL: u16 = 0x8808;

/// The modes that hear the group frames of a station that is none of ours.
const LISTENERS: u8 =
    Mode::Bridge.bit() | Mode::Passthru.bit() | Mode::Private.bit() | Mode::Vepa.bit();

/// A sub-interface of one [`Switch`]: a small dense number, which the switch chooses, or its owner
/// ([`Switch::add_as`]). That of a removed sub-interface may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubIndex(u16);

impl SubIndex {
    /// The number, to index tables with: below 65 536.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The identifier with this number; `None` if there are not so many.
    #[inline]
    pub fn from_index(index: usize) -> Option<Self> {
        u16::try_from(index).ok().map(Self)
    }
}

/// The table of one parent: it decides, and leaves the doing to its owner.
#[derive(Clone, Debug)]
pub struct Switch {
    // Read by every frame.
    /// Which frames need not be asked all questions.
    fast_path: FastPath,
    /// Those that are up.
    table: ForwardingTable,
    /// The source lists of all sub-interfaces, up or down.
    sources: Sources,
    /// The passthru sub-interface, which is then the only one.
    passthru: Option<SubIndex>,
    /// Which promise about private sub-interfaces is kept.
    semantics: Semantics,
    /// The parent as the world sees it.
    parent: ParentInfo,
    /// A group that more than this many joined takes the broadcast queue; below zero none does.
    bc_cutoff: i32,

    // Read by changes, and by floods of groups.
    /// By [`SubIndex::index`]. Boxed, because of several switches with one set of numbers each has
    /// many that are not its own.
    subs: Vec<Option<Box<Sub>>>,
    /// No number below is free.
    vacant_from: usize,
    /// The lengths asked for of the broadcast queue, in frames, and how often each.
    bc_requests: BTreeMap<u32, usize>,
    /// The parent's own address, while a passthru sub-interface has replaced it.
    replaced_mac: Option<MacAddr>,
}

impl Switch {
    /// Decides about a frame from the wire.
    // Always: a worker calls it in one place, and a verdict that stays in registers costs half of
    // one that is returned through memory (bench `decision/wire-to-sub`).
    #[inline(always)]
    pub fn ingress(&self, frame: Frame<'_>) -> Verdict<'_> {
        if self.fast_path.ingress && !frame.dst().is_group() {
            return self.ingress_fast(frame).into();
        }
        self.decide_ingress(frame, |_| ())
    }

    /// Decides about a frame from a sub-interface. `gso` marks a super-frame, which will be cut to
    /// size later and so is exempt from length checks.
    ///
    /// The source address is not checked: in macvlan a sub-interface may send as anybody.
    // Always: as for `ingress`.
    #[inline(always)]
    pub fn egress(&self, from: SubIndex, frame: Frame<'_>, gso: bool) -> Verdict<'_> {
        let len = if gso { 0 } else { length(frame) };
        if len < self.fast_path.egress_below
            && !frame.dst().is_group()
            && self.table.port(from).is_up()
        {
            return self.egress_fast(frame).into();
        }
        self.decide_egress(from, frame, gso, |_| ())
    }

    /// The decision about a frame from the wire; each question is told with its answer.
    #[inline(always)]
    fn decide_ingress(&self, frame: Frame<'_>, mut trace: impl FnMut(Step)) -> Verdict<'_> {
        // Each verdict is made where it is returned: gathered in a variable first, its unused half
        // is copied too.
        let (copies, consumed) = self.sources.lookup(frame.src_key());
        trace(Step::Sources(SourceMatch { copies: copies.len(), consumed }));
        if consumed {
            let action = Action::Drop(DropReason::Nodst);
            return Verdict { copies, action };
        }
        if frame.dst().is_group() {
            let action = self.ingress_group(frame, trace);
            return Verdict { copies, action };
        }
        if let Some(owner) = self.passthru {
            let action = self.passthru_unicast(owner, trace);
            return Verdict { copies, action };
        }
        trace(Step::Passthru(None));
        let target = self.table.lookup_with_mode(frame.dst_key());
        trace(Step::Target(target.map(|UpSub { id, mode }| (id, mode))));
        match target {
            // A source sub-interface hears by list only.
            Some(target) if target.mode != Mode::Source => {
                let isolation = self.isolation(target, frame);
                trace(Step::Isolation(isolation));
                if let Isolation::Blocked(_) = isolation {
                    let action = Action::Drop(DropReason::PrivateIsolation);
                    return Verdict { copies, action };
                }
                trace(Step::Deliver(target.id));
                let action = Action::Deliver(target.id);
                Verdict { copies, action }
            }
            _ => {
                let action = Action::Host;
                Verdict { copies, action }
            }
        }
    }

    /// The decision about a frame from a sub-interface; each question is told with its answer.
    #[inline(always)]
    fn decide_egress(
        &self,
        from: SubIndex,
        frame: Frame<'_>,
        gso: bool,
        mut trace: impl FnMut(Step),
    ) -> Verdict<'_> {
        let port = self.table.port(from);
        trace(Step::Up(port.is_up()));
        if !port.is_up() {
            return Action::Drop(DropReason::Down).into();
        }
        let bridge = port.is_in(Mode::Bridge.bit());
        trace(Step::Bridge(bridge));
        if !bridge {
            return Action::Wire.into();
        }
        if frame.dst().is_group() {
            return self.egress_group(from, frame, gso, trace).into();
        }
        let sibling = self.table.lookup_with_mode(frame.dst_key());
        trace(Step::Sibling(sibling.map(|UpSub { id, mode }| (id, mode))));
        match sibling {
            Some(UpSub { id, mode: Mode::Bridge }) => self.bridge_local(id, frame, gso, trace),
            _ => Action::Wire.into(),
        }
    }

    /// Goes on with a flood from where its [`cursor`](Flood::cursor) stood; zero is the start.
    #[inline]
    pub fn flood(&self, rule: FloodRule, from: u32) -> Flood<'_> {
        Flood::new(self, rule, from.max(self.table.first()))
    }

    /// One sub-interface, or `None` if there is none.
    #[inline]
    pub fn sub(&self, id: SubIndex) -> Option<&Sub> {
        self.subs.get(id.index())?.as_deref()
    }

    /// Every sub-interface, in ascending order of identifier.
    pub fn subs(&self) -> impl Iterator<Item = (SubIndex, &Sub)> {
        let ids = (0..).map_while(SubIndex::from_index);
        ids.zip(&self.subs).filter_map(|(id, sub)| Some((id, sub.as_deref()?)))
    }

    /// The parent as it is now.
    pub const fn parent(&self) -> &ParentInfo {
        &self.parent
    }

    /// Whose promise about private sub-interfaces is kept.
    pub const fn semantics(&self) -> Semantics {
        self.semantics
    }

    /// The length of the port's broadcast queue in frames: the longest that a sub-interface asks
    /// for, up or down.
    pub fn bc_queue_len(&self) -> u32 {
        self.bc_requests.last_key_value().map_or(0, |(&frames, _)| frames)
    }

    /// The port's `bclim`.
    pub const fn bc_cutoff(&self) -> i32 {
        self.bc_cutoff
    }

    /// Passthru takes all unicast, whoever it is for, and swallows it while it is down.
    fn passthru_unicast(&self, owner: SubIndex, mut trace: impl FnMut(Step)) -> Action<'_> {
        let up = self.table.port(owner).is_up();
        trace(Step::Passthru(Some((owner, up))));
        if up { Action::Deliver(owner) } else { Action::Drop(DropReason::Down) }
    }

    /// Whether it is a frame between a private sub-interface and a sibling: a hairpin reflected it.
    #[inline]
    fn isolation(&self, target: UpSub, frame: Frame<'_>) -> Isolation {
        if !self.table.has_private() {
            return Isolation::NoPrivate;
        }
        match self.semantics {
            Semantics::Documented => self.isolation_between(target, frame.src_key()),
            Semantics::Kernel => Isolation::KernelSemantics,
        }
    }

    /// Out of line, as most parents have no private sub-interface.
    #[inline(never)]
    fn isolation_between(&self, target: UpSub, src: u64) -> Isolation {
        match self.table.lookup_with_mode(src) {
            Some(sender)
                if sender.id != target.id
                    && (sender.mode == Mode::Private || target.mode == Mode::Private) =>
            {
                Isolation::Blocked(sender.id)
            }
            _ => Isolation::Allowed,
        }
    }

    #[inline(never)]
    fn ingress_group(&self, frame: Frame<'_>, mut trace: impl FnMut(Step)) -> Action<'_> {
        let dst = frame.dst();
        let sender = self.table.lookup_with_mode(frame.src_key());
        trace(Step::Sender(sender.map(|UpSub { id, mode }| (id, mode))));
        let (modes, except) = match sender {
            None => (LISTENERS, None),
            Some(UpSub { id, mode }) => match mode {
                // Back to its sender, and to nobody else. VRRP relies on hearing a peer that
                // sends from the same virtual address.
                Mode::Passthru | Mode::Private | Mode::Source => return Action::Deliver(id),
                Mode::Vepa => (Mode::Vepa.bit() | Mode::Bridge.bit(), Some(id)),
                // Bridge siblings heard it when it was sent.
                Mode::Bridge => (Mode::Vepa.bit(), Some(id)),
            },
        };
        // The kernel has consumed the outer tag off when macvlan looks at a frame from the wire.
        let listeners = self.group_listeners(dst, frame.ethertype_untagged());
        trace(Step::Listeners(listeners));
        if listeners != GroupListeners::Possible {
            return Action::Host;
        }
        let rule = FloodRule::ingress(dst, modes, except, self.defers(dst));
        trace(Step::Flood(rule));
        Action::Flood(self.flood(rule, 0))
    }

    /// Whether somebody may want a frame of this EtherType for this group.
    #[inline]
    fn group_listeners(&self, group: MacAddr, ethertype: u16) -> GroupListeners {
        match ethertype {
            MAC_CONTROL => GroupListeners::MacControl,
            _ if self.table.has_listeners(group) => GroupListeners::Possible,
            _ => GroupListeners::None,
        }
    }

    /// True when frames for this group take the broadcast queue.
    fn defers(&self, group: MacAddr) -> bool {
        let Ok(cutoff) = u32::try_from(self.bc_cutoff) else {
            return false;
        };
        self.parent.promisc
            || self.table.wants_all_multicast()
            || group.is_broadcast()
            || self.table.members(group) > cutoff
    }

    fn egress_group(
        &self,
        from: SubIndex,
        frame: Frame<'_>,
        gso: bool,
        mut trace: impl FnMut(Step),
    ) -> Action<'_> {
        let dst = frame.dst();
        let listeners = self.group_listeners(dst, frame.ethertype());
        trace(Step::LocalListeners(listeners));
        if listeners != GroupListeners::Possible {
            return Action::Wire;
        }
        let len = if gso { 0 } else { length(frame) };
        let rule = FloodRule::egress(dst, Mode::Bridge.bit(), from, len);
        trace(Step::LocalFlood(rule));
        Action::Flood(self.flood(rule, 0))
    }

    /// From one bridge sub-interface to another, or to itself: the kernel sends such a frame
    /// through the parent's receive path. So the parent's MTU holds and not the receiver's, and
    /// the source lists have their say. Isolation has not: neither end is private.
    #[inline]
    fn bridge_local(
        &self,
        target: SubIndex,
        frame: Frame<'_>,
        gso: bool,
        mut trace: impl FnMut(Step),
    ) -> Verdict<'_> {
        let length = match gso {
            true => LengthCheck::Gso,
            false if fits(length(frame), self.parent.mtu) => LengthCheck::Fits,
            false => LengthCheck::TooLong,
        };
        trace(Step::Length(length));
        if length == LengthCheck::TooLong {
            return Action::Drop(DropReason::TooLong).into();
        }
        let (copies, consumed) = self.sources.lookup(frame.src_key());
        trace(Step::LocalSources(SourceMatch { copies: copies.len(), consumed }));
        if consumed {
            let action = Action::Drop(DropReason::Nodst);
            return Verdict { copies, action };
        }
        trace(Step::LocalDeliver(target));
        let action = Action::Deliver(target);
        Verdict { copies, action }
    }

    /// True when a frame for this group passes the filter of a sub-interface, which is not open.
    #[inline]
    fn accepts_group(&self, id: SubIndex, group: MacAddr) -> bool {
        group.is_broadcast() || self.sub(id).is_some_and(|sub| sub.joined(group))
    }
}

impl<'t> From<Action<'t>> for Verdict<'t> {
    /// The verdict without copies.
    #[inline]
    fn from(action: Action<'t>) -> Self {
        let copies = Copies::NONE;
        Self { copies, action }
    }
}

/// The length of a frame in bytes, header included.
#[inline]
fn length(frame: Frame<'_>) -> u32 {
    u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX)
}
