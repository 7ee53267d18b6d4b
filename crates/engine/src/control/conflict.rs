//! Addresses that two want: claims on an address, and sub-interfaces that are down until theirs is
//! free.
//!
//! As in the kernel, a sub-interface that is down may have an address in use, and is refused when it
//! comes up. A user who sets it up in its own namespace gets no refusal, because the kernel knows
//! nothing of the rule: the engine sets it down again, and up as soon as the address is free. The
//! namespace of a container that is started again may end some milliseconds after its successor has
//! begun.

use std::collections::BTreeMap;

use umacvlan_core::{MacAddr, Mode, SwitchError};

use super::Control;
use super::inventory::ParentId;
use super::sub::Sub;
use crate::control::engine::{Event, LinkAttribute, SubId};
use crate::control::error::Error;

/// Sub-interfaces that were set down because of their address, each with the number of changes of its
/// parent when that was in use last.
pub(super) type Held = BTreeMap<SubId, u64>;

impl Control {
    /// Checks that the sub-interface `id`, which may be one that does not exist yet, could come up
    /// with `mac` on a parent, and that no other one claims that address.
    pub(crate) fn check_claim(&self, parent: &str, mac: MacAddr) -> Result<(), Error> {
        self.check_claim_on(self.inventory.parent_named(parent)?, mac, None)
    }

    /// Checks that a sub-interface could come up, and that no other one claims its address.
    pub(crate) fn check_claim_of(&self, id: SubId) -> Result<(), Error> {
        let (sub, parent) = self.inventory.sub_and_parent(id)?;
        let (switch, index) = (parent.switch, sub.index);
        let allowed = parent.workers.ask(move |it| it.switch_at(switch).check_up(index, true))?;
        allowed.map_err(Error::refused(&sub.name))?;
        match sub.settings.mode {
            // It has its parent's, and its parent to itself.
            Mode::Passthru => Ok(()),
            _ => self.check_claim_on(sub.parent, sub.seen.mac, Some(id)),
        }
    }

    fn check_claim_on(&self, id: ParentId, mac: MacAddr, own: Option<SubId>) -> Result<(), Error> {
        let parent = &self.inventory[id];
        let switch = parent.switch;
        if parent.workers.ask(move |it| it.switch_at(switch).parent().mac)? == mac {
            return Err(Error::refused(&parent.name)(SwitchError::AddressOfParent(mac)));
        }
        let has = |sub: &&Sub| sub.seen.mac == mac && (sub.seen.up || sub.claims_mac);
        let mut others = self.inventory.subs_of(id).filter(|sub| Some(sub.id) != own);
        let Some(other) = others.find(has) else {
            return Ok(());
        };
        let refusal = SwitchError::AddressOfSub(mac);
        let name = other.name.clone();
        // The kernel refuses to open a namespace that nobody has any more. A veth pair ends with it.
        match other.tap().map(|tap| tap.namespace().map_err(|error| error.raw_os_error())) {
            Some(Err(Some(libc::EINVAL | libc::EBADFD))) => {
                Err(Error::RivalEnding { name, refusal })
            }
            _ => Err(Error::Refused { name, refusal }),
        }
    }

    /// Notes that a sub-interface was set down because its address is in use.
    pub(super) fn hold_down(&mut self, id: SubId) {
        if let Ok((_, parent)) = self.inventory.sub_and_parent(id) {
            let marks = parent.memberships.marks();
            self.held.insert(id, marks);
        }
    }

    /// Notes that an earlier engine has set a sub-interface down because its address was in use.
    pub(super) fn hold_down_again(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent(id) else {
            return;
        };
        if !sub.seen.up {
            // Not the present number of changes, because the address may be free by now.
            let before = parent.memberships.marks().wrapping_sub(1);
            self.held.entry(id).or_insert(before);
        }
    }

    /// Sets up the sub-interfaces that were down because of their address and whose address is free
    /// now.
    pub(crate) fn settle_held(&mut self) {
        if self.hold_adopted {
            // One that has the address may not be adopted yet.
            return;
        }
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            let Ok((_, parent)) = self.inventory.sub_and_parent(id) else {
                self.held.remove(&id);
                continue;
            };
            let marks = parent.memberships.marks();
            if self.held.insert(id, marks) != Some(marks) && self.may_come_up(id) {
                self.bring_up_again(id);
            }
        }
    }

    fn may_come_up(&self, id: SubId) -> bool {
        let Ok((sub, parent)) = self.inventory.sub_and_parent(id) else {
            return false;
        };
        let (switch, index) = (parent.switch, sub.index);
        // A worker that has stopped serves nobody.
        let allowed = parent.workers.ask(move |it| it.switch_at(switch).check_up(index, true));
        allowed.is_ok_and(|allowed| allowed.is_ok())
    }

    fn bring_up_again(&mut self, id: SubId) {
        let Some(handle) = self.inventory.sub(id).map(Sub::handle) else {
            return;
        };
        let up = match handle {
            // One that is gone has an event of its own.
            Some(handle) => {
                self.kernel.visit(&handle, |rtnl, index| rtnl.set_up(index, true)).is_ok()
                    && self.resync(id).is_none()
            }
            None => self.set_program_attribute(id, LinkAttribute::Up(true)).is_ok(),
        };
        if up && let Some(sub) = self.inventory.sub(id).filter(|sub| sub.seen.up) {
            self.events.send(Event::ConflictEnded { number: id, sub: sub.name.clone() });
        }
    }
}
