//! [`ForwardingTable`]: what the fast path reads of the sub-interfaces that are up.
//!
//! As in the kernel, a sub-interface that is down does not exist for forwarding. The data of one
//! decision lies together: an address and its index are one word of [`MacTable`], and everything
//! else that a decision reads of a sub-interface is a [`PortFlags`] of eight bytes.

use hashbrown::HashMap;

use crate::MacAddr;

use super::SubIndex;
use super::config::Mode;
use super::mac_table::MacTable;
use super::sub::Sub;

/// The bits of a [`PortFlags`] that are a mode; none is set while the sub-interface is down.
const MODES: u16 = 0b1_1111;
/// Set when the filter accepts every group.
const ALL_GROUPS: u16 = 1 << 5;
/// Set when what it sends is checked before anything else.
const CHECKS_SENT: u16 = 1 << 6;
/// Where the mode is instead if a rule restricts what the sub-interface receives: so a flood finds those
/// without a rule with a single comparison.
const RULED: u32 = 8;

/// A sub-interface that is up, as found by its address.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpSub {
    /// Its index.
    pub(super) id: SubIndex,
    /// Its mode.
    pub(super) mode: Mode,
}

/// What a decision reads of one sub-interface, whether it is up, down or absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PortFlags {
    /// Its MTU in bytes.
    pub(super) mtu: u32,
    /// [`MODES`], [`ALL_GROUPS`] and [`CHECKS_SENT`].
    flags: u16,
    /// Its mode, up or down.
    mode: Mode,
}

impl PortFlags {
    /// True when the sub-interface is up.
    #[inline]
    pub(super) const fn is_up(self) -> bool {
        self.flags & (MODES | MODES << RULED) != 0
    }

    /// True when the sub-interface is up and in one of these modes.
    #[inline]
    pub(super) const fn is_in(self, modes: u8) -> bool {
        let modes = modes as u16;
        self.flags & (modes | modes << RULED) != 0
    }

    /// The same, if no rule restricts what it receives.
    #[inline]
    pub(super) const fn is_unruled_in(self, modes: u8) -> bool {
        self.flags & modes as u16 != 0
    }

    /// True when the filter accepts every group.
    #[inline]
    pub(super) const fn accepts_all_groups(self) -> bool {
        self.flags & ALL_GROUPS != 0
    }

    /// True when what it sends is checked before anything else.
    #[inline]
    pub(super) const fn checks_sent(self) -> bool {
        self.flags & CHECKS_SENT != 0
    }

    /// True when a rule restricts what it receives.
    #[inline]
    pub(super) const fn checks_received(self) -> bool {
        self.flags & MODES << RULED != 0
    }
}

/// Addresses, flags and multicast groups of the sub-interfaces that are up.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardingTable {
    macs: MacTable,
    /// By [`SubIndex::index`].
    ports: Vec<PortFlags>,
    /// The lowest index ever used. Several switches share one range of indexes, so the first ones
    /// may all belong to others.
    first: u32,
    /// How many sub-interfaces joined a group, by [`MacAddr::to_u64`].
    groups: HashMap<u64, u32>,
    /// How many accept every group.
    all_groups: u32,
    /// How many make the parent receive every group.
    wants_all_multicast: u32,
    /// How many are in each mode, by the index in [`Mode::ALL`].
    modes: [u32; Mode::ALL.len()],
    /// How many have what they send checked.
    checks_sent: u32,
    /// How many have a rule about what they receive.
    checks_received: u32,
}

impl ForwardingTable {
    /// The sub-interface that is up with this address, given as [`MacAddr::to_u64`].
    #[inline(always)]
    pub(super) fn lookup(&self, key: u64) -> Option<SubIndex> {
        self.macs.get(key)
    }

    /// As [`lookup`](Self::lookup), with the mode.
    #[inline]
    pub(super) fn lookup_with_mode(&self, key: u64) -> Option<UpSub> {
        let id = self.lookup(key)?;
        Some(UpSub { id, mode: self.port(id).mode })
    }

    /// The flags of a sub-interface; those of one that is down if there is none.
    #[inline]
    pub(super) fn port(&self, id: SubIndex) -> PortFlags {
        self.ports.get(id.index()).copied().unwrap_or_default()
    }

    /// The flags of all sub-interfaces, by [`SubIndex::index`].
    #[inline]
    pub(super) fn ports(&self) -> &[PortFlags] {
        &self.ports
    }

    /// The index at which a flood starts.
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

    /// True when what a sub-interface sends is checked.
    pub(super) const fn checks_sent(&self) -> bool {
        self.checks_sent != 0
    }

    /// True when a rule restricts what a sub-interface receives.
    #[inline]
    pub(super) const fn checks_received(&self) -> bool {
        self.checks_received != 0
    }

    /// True when a sub-interface makes the parent receive every group.
    pub(super) const fn wants_all_multicast(&self) -> bool {
        self.wants_all_multicast != 0
    }

    /// How many sub-interfaces joined this group.
    pub(super) fn members(&self, group: MacAddr) -> u32 {
        self.groups.get(&group.to_u64()).copied().unwrap_or(0)
    }

    /// True when a sub-interface may accept frames for this group. So a storm to a group that none
    /// joined costs one lookup a frame, and not one filter for each sub-interface.
    pub(super) fn has_listeners(&self, group: MacAddr) -> bool {
        group.is_broadcast() || self.all_groups != 0 || self.members(group) != 0
    }

    /// Adds a sub-interface in its current state.
    pub(super) fn insert(&mut self, id: SubIndex, sub: &Sub) {
        let number = u32::from(id.0);
        self.first = if self.ports.is_empty() { number } else { self.first.min(number) };
        if self.ports.len() <= id.index() {
            self.ports.resize(id.index() + 1, PortFlags::default());
        }
        let mut flags = 0;
        if sub.up() {
            let mode = u16::from(sub.mode().bit());
            flags |= if sub.rules().restricts_receiving() { mode << RULED } else { mode };
            if sub.filter().accepts_all() {
                flags |= ALL_GROUPS;
            }
            if sub.checks_sent() {
                flags |= CHECKS_SENT;
            }
            self.appear(id, sub);
        }
        self.ports[id.index()] = PortFlags { mtu: sub.mtu(), flags, mode: sub.mode() };
    }

    /// Removes a sub-interface, which has not changed since it was inserted.
    pub(super) fn remove(&mut self, id: SubIndex, sub: &Sub) {
        self.ports[id.index()] = PortFlags::default();
        if !sub.up() {
            return;
        }
        for mac in [sub.mac()].iter().chain(sub.secondary()) {
            self.macs.remove(mac.to_u64());
        }
        self.modes[sub.mode() as usize] -= 1;
        self.checks_sent -= u32::from(sub.checks_sent());
        self.checks_received -= u32::from(sub.rules().restricts_receiving());
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

    /// Adds secondary addresses of a sub-interface that is up, which nobody has.
    pub(super) fn add_secondary(&mut self, id: SubIndex, macs: &[MacAddr]) {
        for mac in macs {
            self.macs.insert(mac.to_u64(), id);
        }
    }

    fn appear(&mut self, id: SubIndex, sub: &Sub) {
        let before = self.macs.insert(sub.mac().to_u64(), id);
        debug_assert!(before.is_none(), "two sub-interfaces are up as {}", sub.mac());
        self.add_secondary(id, sub.secondary());
        self.modes[sub.mode() as usize] += 1;
        self.checks_sent += u32::from(sub.checks_sent());
        self.checks_received += u32::from(sub.rules().restricts_receiving());
        self.all_groups += u32::from(sub.filter().accepts_all());
        self.wants_all_multicast += u32::from(sub.wants_all_multicast());
        for group in &sub.filter().groups {
            *self.groups.entry(group.to_u64()).or_insert(0) += 1;
        }
    }
}
