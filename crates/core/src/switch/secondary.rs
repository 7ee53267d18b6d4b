//! Secondary unicast addresses: those that the stack behind a sub-interface has added to its
//! interface, for a macvlan of the kernel on top of it, say, or for VRRP.
//!
//! The kernel's macvlan puts a macvlan that is added on top of it beside it, on the same parent. So
//! each of these addresses is delivered as the sub-interface's own one is, and no address belongs to
//! two: it is the parent's, or that of the sub-interface which has had it first. Another one that
//! wants it waits, and the lowest index is the next. A passthru sub-interface gets all unicast
//! anyway.

use crate::MacAddr;

use super::config::Mode;
use super::{Sub, SubIndex, Switch, SwitchError};

/// The most secondary addresses of one sub-interface. VRRP has 255 for each version of IP.
pub const SECONDARY_MAX: usize = 512;

impl Sub {
    /// The secondary addresses that are delivered to it, in no order.
    pub fn secondary(&self) -> &[MacAddr] {
        &self.secondary
    }

    /// The secondary addresses that it wants, and that others have.
    pub fn secondary_in_use(&self) -> impl Iterator<Item = MacAddr> {
        let wanted: &[MacAddr] = if self.may_have_secondary() { &self.wanted } else { &[] };
        wanted.iter().copied().filter(|mac| *mac != self.mac && !self.secondary.contains(mac))
    }

    fn may_have_secondary(&self) -> bool {
        self.up && self.mode() != Mode::Passthru
    }

    /// Gives up the secondary addresses that it may not have any more.
    pub(super) fn release_secondary(&mut self, parent: MacAddr) {
        let mut before = std::mem::take(&mut self.secondary);
        if self.may_have_secondary() {
            let Self { mac, wanted, .. } = self;
            before.retain(|it| it != mac && *it != parent && wanted.binary_search(it).is_ok());
            self.secondary = before;
        }
    }
}

impl Switch {
    /// True when the sub-interface is up with this address, its own or a secondary one.
    #[inline]
    pub fn has_address(&self, id: SubIndex, mac: MacAddr) -> bool {
        self.table.lookup(mac.to_u64()) == Some(id)
    }

    /// Sets the secondary unicast addresses that a sub-interface wants: of those that are unicast,
    /// the first [`SECONDARY_MAX`] in ascending order. It gets each that nobody else has, now or as
    /// soon as that is so.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchSub`].
    pub fn set_secondary(
        &mut self,
        id: SubIndex,
        mut wanted: Vec<MacAddr>,
    ) -> Result<(), SwitchError> {
        wanted.retain(|mac| mac.is_valid_unicast());
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(SECONDARY_MAX);
        self.update_sub(id, |sub| sub.wanted = wanted)
    }

    /// Notes whether a sub-interface waits for an address, after a change to it.
    pub(super) fn note_waiting(&mut self, id: SubIndex) {
        if self.sub(id).is_some_and(|sub| sub.secondary_in_use().next().is_some()) {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
    }

    /// Gives addresses that are free to those that wait for them: a step of every change.
    pub(super) fn settle_secondary(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for id in self.waiting.clone() {
            let Some(sub) = self.subs.get_mut(id.index()).and_then(Option::as_deref_mut) else {
                continue;
            };
            let free = |mac: &MacAddr| {
                *mac != self.parent.mac && self.table.lookup(mac.to_u64()).is_none()
            };
            let free: Vec<_> = sub.secondary_in_use().filter(free).collect();
            self.table.add_secondary(id, &free);
            sub.secondary.extend(free);
            self.note_waiting(id);
        }
    }

    /// Takes the parent's address from a sub-interface that has it as a secondary one.
    pub(super) fn release_parent_mac(&mut self) {
        let mac = self.parent.mac;
        if let Some(id) = self.table.lookup(mac.to_u64())
            && self.sub(id).is_some_and(|sub| sub.secondary.contains(&mac))
        {
            // It exists: it was found just above.
            let _ = self.update_sub(id, |_| ());
        }
    }
}
