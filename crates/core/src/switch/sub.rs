//! [`Sub`]: the state of one sub-interface, and [`SubIndex`], which names it.

use crate::MacAddr;
use crate::limit::Limits;
use crate::rules::Rules;

use super::config::{Mode, MulticastFilter};
use super::settings::{MacvlanFlag, MacvlanSettings};

/// The dense table index of a sub-interface in one [`Switch`](super::Switch), below 65 536.
///
/// The switch chooses it, or the caller does ([`add_with_index`](super::Switch::add_with_index)).
/// The index of a removed sub-interface may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubIndex(pub(super) u16);

impl SubIndex {
    /// The index as a number below 65 536.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The index with this value, or `None` above 65 535.
    #[inline]
    pub fn from_index(index: usize) -> Option<Self> {
        u16::try_from(index).ok().map(Self)
    }
}

/// The state of one sub-interface.
///
/// Only [`Switch`](super::Switch) changes it, because each change updates the tables too.
#[derive(Clone, Debug)]
pub struct Sub {
    pub(super) mac: MacAddr,
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// The sources are sorted, without repetition.
    pub(super) settings: MacvlanSettings,
    /// Its groups are sorted, without repetition.
    pub(super) filter: MulticastFilter,
    /// The secondary addresses that it wants, sorted, without repetition.
    pub(super) wanted: Vec<MacAddr>,
    /// Those of them that it has.
    pub(super) secondary: Vec<MacAddr>,
}

impl Sub {
    /// Its address.
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its macvlan settings; the sources are in ascending order.
    pub const fn settings(&self) -> &MacvlanSettings {
        &self.settings
    }

    /// Its mode.
    pub const fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// True when it is up; forwarding ignores one that is down.
    pub const fn up(&self) -> bool {
        self.up
    }

    /// Its MTU in bytes, without the Ethernet header.
    pub const fn mtu(&self) -> u32 {
        self.mtu
    }

    /// True when frames from the addresses it lists go to source sub-interfaces only.
    pub const fn nodst(&self) -> bool {
        self.settings.flags.contains(MacvlanFlag::Nodst)
    }

    /// True when, in passthru mode, it leaves the parent's promiscuous setting alone.
    pub const fn nopromisc(&self) -> bool {
        self.settings.flags.contains(MacvlanFlag::Nopromisc)
    }

    /// True when frames that it sends from another address than its own are dropped.
    pub const fn checks_source(&self) -> bool {
        self.settings.flags.contains(MacvlanFlag::Spoofchk)
    }

    /// How much it sends and receives at most.
    pub const fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// What it exchanges frames with, and from where it sends.
    pub const fn rules(&self) -> &Rules {
        &self.settings.rules
    }

    /// True when what it sends is checked before anything else.
    pub fn checks_sent(&self) -> bool {
        self.checks_source() || !self.rules().is_empty()
    }

    /// The requested length of the broadcast queue, in frames.
    pub fn bc_queue_len(&self) -> u32 {
        self.settings.bc_queue_len()
    }

    /// The source addresses it receives from in source mode, in ascending order.
    pub fn sources(&self) -> &[MacAddr] {
        &self.settings.sources
    }

    /// Its multicast filter; the groups are in ascending order.
    pub const fn filter(&self) -> &MulticastFilter {
        &self.filter
    }

    /// How it treats frames from the addresses on its list.
    pub(super) const fn source_policy(&self) -> SourcePolicy {
        SourcePolicy { up: self.up, nodst: self.nodst() }
    }

    /// True when it joined this group.
    pub(super) fn joined(&self, group: MacAddr) -> bool {
        self.filter.groups.binary_search(&group).is_ok()
    }

    /// True when, while up, it makes the parent receive every group: macvlan passes `allmulti` on
    /// to the parent, and `promisc` too except in passthru mode, which sets it unless `nopromisc`.
    pub(super) const fn wants_all_multicast(&self) -> bool {
        match self.mode() {
            Mode::Passthru => !self.nopromisc() || self.filter.allmulti,
            _ => self.filter.accepts_all(),
        }
    }
}

/// How a sub-interface treats frames from the addresses on its source list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SourcePolicy {
    /// It is up, and gets copies.
    pub(super) up: bool,
    /// The frame goes to source sub-interfaces only.
    pub(super) nodst: bool,
}
