//! [`Switch`]: the forwarding rules and tables of one parent.
//!
//! A switch holds the sub-interfaces of a parent with their modes, addresses, filters and source
//! lists. [`Switch::ingress`] and [`Switch::egress`] read these tables and return a [`Verdict`];
//! they change nothing, allocate nothing and send nothing. All other methods update the tables, or
//! fail with the kernel's error number and a reason.
//!
//! The rules are those of the kernel's `drivers/net/macvlan.c`, with one deliberate difference
//! that [`Semantics`] switches off, and what is off unless it is set: the check of source addresses
//! ([`Spoofchk`](MacvlanFlag::Spoofchk)) and the [rules](crate::rules) of a sub-interface. They apply in this order: the source lists; the sender's mode,
//! for group frames; the destination address.
//!
//! # Threads
//! A switch has one owner. Each further worker has a clone, and all clones get the same updates in
//! the same order.

mod config;
mod error;
mod explain;
mod fast_path;
mod flood;
mod forwarding_table;
mod group_frames;
mod host_filter;
mod kernel_answers;
mod mac_table;
mod rule_checks;
mod secondary;
mod settings;
mod sources;
mod sub;
#[cfg(test)]
mod tests;
mod update;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Frame, MacAddr};

pub use config::{
    KernelRelease, MIN_MTU, Mode, MulticastFilter, ParentInfo, ParseModeError, ParseSemanticsError,
    Semantics, SubConfig,
};
pub use error::SwitchError;
pub use explain::{
    Explanation, GroupListeners, Isolation, LengthCheck, RuleCheck, SourceMatch, Step,
};
pub use flood::{Flood, FloodDecision, FloodRule, ParentSide, Replica};
pub use host_filter::{HostFilterRules, HostRule};
pub use kernel_answers::{AddressOwner, KernelAnswer, KernelAnswers};
pub use secondary::SECONDARY_MAX;
pub use settings::{
    DEFAULT_BC_CUTOFF, DEFAULT_BC_QUEUE_LEN, MacvlanFlag, MacvlanFlags, MacvlanSettings,
};
pub use sources::Copies;
pub use sub::{Sub, SubIndex};
pub use verdict::{Action, DropReason, Verdict};

use fast_path::FastPath;
use flood::fits;
use forwarding_table::{ForwardingTable, UpSub};
use sources::Sources;

/// The switch of one parent: it decides about frames, and the engine acts on its verdicts.
///
/// ```
/// use umacvlan_core::*;
///
/// let parent = ParentInfo { mac: "02:00:00:00:00:ff".parse()?, mtu: 1500, promisc: false };
/// let mut switch = Switch::new(parent, Semantics::default());
/// let sub = SubConfig::new("02:00:00:00:00:01".parse()?, Mode::Bridge);
/// let index = switch.add(&sub)?;
/// switch.set_up(index, true)?;
///
/// let mut bytes = [0; 60];
/// bytes[..6].copy_from_slice(&sub.mac.octets());
/// let frame = Frame::new(&bytes).expect("60 bytes are no runt");
/// assert!(matches!(switch.ingress(frame).action, Action::Deliver(to) if to == index));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Switch {
    // Read by every frame.
    /// Which frames need the destination lookup only.
    fast_path: FastPath,
    /// The sub-interfaces that are up.
    table: ForwardingTable,
    /// The source lists of all sub-interfaces, up or down.
    sources: Sources,
    /// The passthru sub-interface, which is then the only one.
    passthru: Option<SubIndex>,
    /// The rules where ip-link(8) and releases of the kernel differ.
    semantics: Semantics,
    /// The rules that the running kernel has.
    running: KernelRelease,
    /// The parent's own properties.
    parent: ParentInfo,
    /// `bclim`: frames for a group with more members take the broadcast queue; below zero none do.
    bc_cutoff: i32,

    // Read by changes, and by floods of groups.
    /// By [`SubIndex::index`]. Boxed, because several switches share one range of indexes, so each
    /// has many empty entries.
    subs: Vec<Option<Box<Sub>>>,
    /// No index below this one is free.
    vacant_from: usize,
    /// Each requested length of the broadcast queue, in frames, and how many request it.
    bc_requests: BTreeMap<u32, usize>,
    /// The sub-interfaces that want a secondary address which somebody else has.
    waiting: BTreeSet<SubIndex>,
    /// The parent's original address, while a passthru sub-interface has replaced it.
    replaced_mac: Option<MacAddr>,
}

impl Switch {
    /// Decides about a frame from the wire.
    // Inlined: a worker calls it in one place, and a verdict in registers costs half of one that is
    // returned through memory (bench `decision/wire-to-sub`).
    #[inline(always)]
    pub fn ingress(&self, frame: Frame<'_>) -> Verdict<'_> {
        if self.fast_path.ingress && !frame.dst().is_group() {
            return self.ingress_fast(frame).into();
        }
        self.decide_ingress(frame, |_| ())
    }

    /// Decides about a frame from a sub-interface. `gso` marks a GSO packet, which is segmented
    /// later and so exempt from length checks.
    ///
    /// Without [`Spoofchk`](MacvlanFlag::Spoofchk) the source address is not checked: macvlan lets a
    /// sub-interface send with any.
    // Inlined: as `ingress`.
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

    /// Decides about a frame from the wire, and calls `trace` with each step.
    #[inline(always)]
    fn decide_ingress(&self, frame: Frame<'_>, mut trace: impl FnMut(Step)) -> Verdict<'_> {
        // Each verdict is built where it is returned: one that is collected in a variable first has
        // its unused half copied too.
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
            let action = self.passthru_unicast(owner, frame, trace);
            return Verdict { copies, action };
        }
        trace(Step::Passthru(None));
        let target = self.table.lookup_with_mode(frame.dst_key());
        trace(Step::Target(target.map(|UpSub { id, mode }| (id, mode))));
        match target {
            // A source sub-interface receives by its list only.
            Some(target) if target.mode != Mode::Source => {
                let isolation = self.isolation(target, frame);
                trace(Step::Isolation(isolation));
                if let Isolation::Blocked(_) = isolation {
                    let action = Action::Drop(DropReason::PrivateIsolation);
                    return Verdict { copies, action };
                }
                if self.table.checks_received()
                    && let Some(reason) = self.check_ingress(target.id, frame, &mut trace)
                {
                    let action = Action::Drop(reason);
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

    /// Decides about a frame from a sub-interface, and calls `trace` with each step.
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
        if port.checks_sent()
            && let Some(reason) = self.check_sent(from, frame, &mut trace)
        {
            return Action::Drop(reason).into();
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
            Some(UpSub { id, mode: Mode::Bridge }) => {
                if self.table.checks_received()
                    && let Some(reason) = self.check_local(id, from, frame, &mut trace)
                {
                    return Action::Drop(reason).into();
                }
                self.bridge_local(id, frame, gso, trace)
            }
            _ => Action::Wire.into(),
        }
    }

    /// Resumes a flood at its [`cursor`](Flood::cursor); zero is the start.
    #[inline]
    pub fn flood(&self, rule: FloodRule, from: u32) -> Flood<'_> {
        Flood::new(self, rule, from.max(self.table.first()))
    }

    /// One sub-interface, or `None` if there is none.
    #[inline]
    pub fn sub(&self, id: SubIndex) -> Option<&Sub> {
        self.subs.get(id.index())?.as_deref()
    }

    /// Every sub-interface, in ascending order of index.
    pub fn subs(&self) -> impl Iterator<Item = (SubIndex, &Sub)> {
        let ids = (0..).map_while(SubIndex::from_index);
        ids.zip(&self.subs).filter_map(|(id, sub)| Some((id, sub.as_deref()?)))
    }

    /// The properties of the parent.
    pub const fn parent(&self) -> &ParentInfo {
        &self.parent
    }

    /// The rules where ip-link(8) and releases of the kernel differ.
    pub const fn semantics(&self) -> Semantics {
        self.semantics
    }

    /// The release of the kernel whose rules are followed.
    pub const fn release(&self) -> KernelRelease {
        self.semantics.release(self.running)
    }

    /// The length of the broadcast queue in frames: the longest request of a sub-interface, up or
    /// down.
    pub fn bc_queue_len(&self) -> u32 {
        self.bc_requests.last_key_value().map_or(0, |(&frames, _)| frames)
    }

    /// The parent's `bclim`: see [`MacvlanSettings::bclim`].
    pub const fn bc_cutoff(&self) -> i32 {
        self.bc_cutoff
    }

    /// Delivers unicast to the passthru sub-interface whatever the destination, and drops it while
    /// that is down.
    fn passthru_unicast(
        &self,
        owner: SubIndex,
        frame: Frame<'_>,
        mut trace: impl FnMut(Step),
    ) -> Action<'_> {
        let port = self.table.port(owner);
        if port.checks_received()
            && let Some(reason) = self.check_ingress(owner, frame, &mut trace)
        {
            return Action::Drop(reason);
        }
        let up = port.is_up();
        trace(Step::Passthru(Some((owner, up))));
        if up { Action::Deliver(owner) } else { Action::Drop(DropReason::Down) }
    }

    /// Whether the frame is reflected unicast between a private sub-interface and a sibling.
    #[inline]
    fn isolation(&self, target: UpSub, frame: Frame<'_>) -> Isolation {
        if !self.table.has_private() {
            return Isolation::NoPrivate;
        }
        match self.semantics {
            Semantics::Documented => self.isolation_between(target, frame.src_key()),
            _ => Isolation::KernelSemantics,
        }
    }

    /// Kept out of line: most parents have no private sub-interface.
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

    /// Decides about unicast from one bridge sub-interface to another, or to itself.
    ///
    /// The kernel sends such a frame through the parent's receive path. So the parent's MTU applies
    /// and not the receiver's, and the source lists apply. Isolation does not: neither end is
    /// private.
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

    /// True when a sub-interface that does not accept all groups accepts this one.
    #[inline]
    fn accepts_group(&self, id: SubIndex, group: MacAddr) -> bool {
        group.is_broadcast() || self.sub(id).is_some_and(|sub| sub.joined(group))
    }
}

impl<'t> From<Action<'t>> for Verdict<'t> {
    /// A verdict without copies.
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
