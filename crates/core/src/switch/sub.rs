//! [`Sub`]: the state of one sub-interface.

use crate::MacAddr;

use super::config::{Mode, MulticastFilter};
use super::settings::{MacvlanFlag, MacvlanSettings};

/// One sub-interface, as the switch knows it.
///
/// Only the switch changes it: a change here has to show in the tables too.
#[derive(Clone, Debug)]
pub struct Sub {
    pub(super) mac: MacAddr,
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// The sources are sorted, without repetition.
    pub(super) settings: MacvlanSettings,
    /// Its groups are sorted, without repetition.
    pub(super) filter: MulticastFilter,
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

    /// True when it is up; otherwise it does not exist for forwarding.
    pub const fn up(&self) -> bool {
        self.up
    }

    /// Its MTU in bytes, without the Ethernet header.
    pub const fn mtu(&self) -> u32 {
        self.mtu
    }

    /// True when frames from the stations it lists go to source sub-interfaces only.
    pub const fn nodst(&self) -> bool {
        self.settings.flags.contains(MacvlanFlag::Nodst)
    }

    /// True when, being passthru, it leaves the parent's promiscuous setting alone.
    pub const fn nopromisc(&self) -> bool {
        self.settings.flags.contains(MacvlanFlag::Nopromisc)
    }

    /// The length of the broadcast queue it asks for, in frames.
    pub fn bc_queue_len(&self) -> u32 {
        self.settings.bc_queue_len()
    }

    /// The stations it hears in source mode, in ascending order.
    pub fn sources(&self) -> &[MacAddr] {
        &self.settings.sources
    }

    /// Which groups it listens to; the groups are in ascending order.
    pub const fn filter(&self) -> &MulticastFilter {
        &self.filter
    }

    /// How it stands towards the stations it lists.
    pub(super) const fn source_policy(&self) -> SourcePolicy {
        SourcePolicy { up: self.up, nodst: self.nodst() }
    }

    /// True when it joined this very group.
    pub(super) fn joined(&self, group: MacAddr) -> bool {
        self.filter.groups.binary_search(&group).is_ok()
    }

    /// True when, being up, it makes the parent receive every group: macvlan passes `allmulti` on
    /// to the parent, and `promisc` too except for passthru, which asks for it by itself.
    pub(super) const fn wants_all_multicast(&self) -> bool {
        match self.mode() {
            Mode::Passthru => !self.nopromisc() || self.filter.allmulti,
            _ => self.filter.accepts_all(),
        }
    }
}

/// How a sub-interface stands towards the stations it lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SourcePolicy {
    /// It gets copies.
    pub(super) up: bool,
    /// It takes the frame from all who are not on a list.
    pub(super) nodst: bool,
}
