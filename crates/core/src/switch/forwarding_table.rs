//! The part of the table that a frame's way reads: who is up, under which address.
//!
//! Only sub-interfaces that are up are in here, as in the kernel, where one that is down does not
//! exist for forwarding. What one decision needs lies together: an address and its identifier are
//! one word of [`MacTable`], and all else that a frame's way asks of a sub-interface is a [`PortFlags`]
//! of eight bytes.

use hashbrown::HashMap;

use crate::MacAddr;

use super::SubIndex;
use super::config::Mode;
use super::mac_table::MacTable;
use super::sub::Sub;

/// The bits of a [`PortFlags`] that are a mode; none is set while the sub-interface is down.
const MODES: u8 = 0b1_1111;
/// Every group passes the sub-interface's filter.
const ALL_GROUPS: u8 = 1 << 5;

/// Who answers to an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpSub {
    /// The sub-interface.
    pub(super) id: SubIndex,
    /// Its mode.
    pub(super) mode: Mode,
}

/// What a frame's way has to know of one sub-interface, up or down, present or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PortFlags {
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// [`MODES`] and [`ALL_GROUPS`].
    flags: u8,
    /// Its mode, up or down.
    mode: Mode,
}

impl PortFlags {
    /// True when the sub-interface is up.
    #[inline]
    pub(super) const fn is_up(self) -> bool {
        self.flags & MODES != 0
    }

    /// True when the sub-interface is up and in one of these modes.
    #[inline]
    pub(super) const fn is_in(self, modes: u8) -> bool {
        self.flags & MODES & modes != 0
    }

    /// True when every group passes.
    #[inline]
    pub(super) const fn accepts_all_groups(self) -> bool {
        self.flags & ALL_GROUPS != 0
    }
}

/// Addresses, ports and listeners of the sub-interfaces that are up.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardingTable {
    macs: MacTable,
    /// By [`SubIndex::index`].
    ports: Vec<PortFlags>,
    /// No port before was ever used: among several switches with one set of numbers, those of the
    /// first ones are nobody's here.
    first: u32,
    /// By group as a number: how many sub-interfaces joined it.
    groups: HashMap<u64, u32>,
    /// How many listen to every group.
    all_groups: u32,
    /// How many of them make the parent listen to everything in the kernel.
    wants_all_multicast: u32,
    /// How many are in each mode, by its place in [`Mode::ALL`].
    modes: [u32; Mode::ALL.len()],
}

impl ForwardingTable {
    /// Who has this address, given as a number, and is up.
    #[inline(always)]
    pub(super) fn lookup(&self, key: u64) -> Option<SubIndex> {
        self.macs.get(key)
    }

    /// Who has this address, given as a number, and is up; with its mode.
    #[inline]
    pub(super) fn lookup_with_mode(&self, key: u64) -> Option<UpSub> {
        let id = self.lookup(key)?;
        Some(UpSub { id, mode: self.port(id).mode })
    }

    /// The port of a sub-interface; one that is down if there is no such.
    #[inline]
    pub(super) fn port(&self, id: SubIndex) -> PortFlags {
        self.ports.get(id.index()).copied().unwrap_or_default()
    }

    /// Every port, by [`SubIndex::index`].
    #[inline]
    pub(super) fn ports(&self) -> &[PortFlags] {
        &self.ports
    }

    /// The first port that is worth a look.
    #[inline]
    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    /// True when a private sub-interface is up.
    #[inline]
    pub(super) const fn has_private(&self) -> bool {
        self.modes[Mode::Private as usize] != 0
    }

    /// True when all sub-interfaces that are up are in one of these modes.
    pub(super) fn has_only(&self, modes: u8) -> bool {
        Mode::ALL.iter().all(|mode| mode.bit() & modes != 0 || self.modes[*mode as usize] == 0)
    }

    /// True when some sub-interface makes the parent receive every group.
    pub(super) const fn wants_all_multicast(&self) -> bool {
        self.wants_all_multicast != 0
    }

    /// How many sub-interfaces joined this very group.
    pub(super) fn members(&self, group: MacAddr) -> u32 {
        self.groups.get(&group.to_u64()).copied().unwrap_or(0)
    }

    /// True when somebody may want frames for this group: so a storm of frames that nobody
    /// joined costs one look-up each and not one filter each.
    pub(super) fn has_listeners(&self, group: MacAddr) -> bool {
        group.is_broadcast() || self.all_groups != 0 || self.members(group) != 0
    }

    /// Enters a sub-interface as it is now.
    pub(super) fn insert(&mut self, id: SubIndex, sub: &Sub) {
        let number = u32::from(id.0);
        self.first = if self.ports.is_empty() { number } else { self.first.min(number) };
        if self.ports.len() <= id.index() {
            self.ports.resize(id.index() + 1, PortFlags::default());
        }
        let mut flags = 0;
        if sub.up() {
            flags |= sub.mode().bit();
            if sub.filter().accepts_all() {
                flags |= ALL_GROUPS;
            }
            self.appear(id, sub);
        }
        self.ports[id.index()] = PortFlags { mtu: sub.mtu(), flags, mode: sub.mode() };
    }

    /// Takes out a sub-interface that was published as it is now.
    pub(super) fn remove(&mut self, id: SubIndex, sub: &Sub) {
        self.ports[id.index()] = PortFlags::default();
        if !sub.up() {
            return;
        }
        self.macs.remove(sub.mac().to_u64());
        self.modes[sub.mode() as usize] -= 1;
        self.all_groups -= u32::from(sub.filter().accepts_all());
        self.wants_all_multicast -= u32::from(sub.wants_all_multicast());
        for group in &sub.filter().groups {
            if let Some(members) = self.groups.get_mut(&group.to_u64()) {
                *members -= 1;
                if *members == 0 {
                    self.groups.remove(&group.to_u64());
                }
            }
        }
    }

    fn appear(&mut self, id: SubIndex, sub: &Sub) {
        let before = self.macs.insert(sub.mac().to_u64(), id);
        debug_assert!(before.is_none(), "two sub-interfaces are up as {}", sub.mac());
        self.modes[sub.mode() as usize] += 1;
        self.all_groups += u32::from(sub.filter().accepts_all());
        self.wants_all_multicast += u32::from(sub.wants_all_multicast());
        for group in &sub.filter().groups {
            *self.groups.entry(group.to_u64()).or_insert(0) += 1;
        }
    }
}
