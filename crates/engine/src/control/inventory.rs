//! [`Inventory`]: the parents, the devices that carry them, and their sub-interfaces.
//!
//! It is data with the indexes to find it by. Nothing here calls the kernel or a worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, Index, IndexMut};

use umacvlan_core::SubIndex;

use super::parent::Parent;
use super::parent_device::ParentDevice;
use super::sub::Sub;
use crate::control::engine::SubId;
use crate::control::error::Error;
use umacvlan_datapath::worker::Remains;

/// An attached parent. No other one ever has the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ParentId(u64);

/// A [`ParentDevice`]. No other one ever has the same id, which stands on the notices of its
/// workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceId(pub(super) u64);

/// An interface of some namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interface {
    /// The id of the namespace, or `None` for the engine's own.
    pub(super) nsid: Option<i32>,
    /// Its index there.
    pub(super) index: u32,
}

/// Everything that an engine has made and follows. Ids grow, so iteration is in the order of
/// attaching and making.
#[derive(Default)]
pub(super) struct Inventory {
    parents: BTreeMap<ParentId, Parent>,
    devices: BTreeMap<DeviceId, ParentDevice>,
    subs: BTreeMap<SubId, Sub>,
    /// The sub-interfaces by their index in the switches of a device.
    by_index: HashMap<(DeviceId, SubIndex), SubId>,
    /// The sub-interfaces by their interface. Two have the same one while the event that moved one
    /// of them away is still to be read.
    by_interface: BTreeSet<(Interface, SubId)>,
    next_parent: u64,
    next_device: u64,
    /// Above the number of every sub-interface that there ever was.
    next_sub: u64,
}

/// The parents.
impl Inventory {
    pub(super) fn add_parent(&mut self, parent: Parent) -> ParentId {
        let id = ParentId(self.next_parent);
        self.parents.insert(id, parent);
        self.next_parent += 1;
        id
    }

    /// Removes a parent that has no sub-interfaces any more.
    pub(super) fn remove_parent(&mut self, id: ParentId) -> Option<Parent> {
        self.parents.remove(&id)
    }

    pub(super) fn parents(&self) -> impl Iterator<Item = (ParentId, &Parent)> {
        self.parents.iter().map(|(&id, parent)| (id, parent))
    }

    pub(super) fn parents_mut(&mut self) -> impl Iterator<Item = &mut Parent> {
        self.parents.values_mut()
    }

    pub(super) fn parent_ids(&self) -> Vec<ParentId> {
        self.parents.keys().copied().collect()
    }

    /// The parent with that handle.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn parent_named(&self, name: &str) -> Result<ParentId, Error> {
        let found = self.parents().find(|(_, parent)| parent.handle == name);
        found.map(|(id, _)| id).ok_or_else(|| Error::NoSuchParent(name.to_owned()))
    }

    /// The parents on a device.
    pub(super) fn parents_on(&self, device: DeviceId) -> Vec<ParentId> {
        let on = self.parents().filter(|(_, parent)| parent.device == device);
        on.map(|(id, _)| id).collect()
    }
}

/// The devices.
impl Inventory {
    /// Takes the id for a new device.
    pub(super) fn claim_device(&mut self) -> DeviceId {
        self.next_device += 1;
        DeviceId(self.next_device)
    }

    pub(super) fn add_device(&mut self, id: DeviceId, device: ParentDevice) {
        self.devices.insert(id, device);
    }

    /// Removes a device that carries no parent any more.
    pub(super) fn remove_device(&mut self, id: DeviceId) -> Option<ParentDevice> {
        self.devices.remove(&id)
    }

    pub(super) fn device_ids(&self) -> Vec<DeviceId> {
        self.devices.keys().copied().collect()
    }

    /// The indexes of the interfaces of all devices that have one.
    pub(super) fn device_indexes(&self) -> Vec<u32> {
        self.devices.values().filter_map(|device| device.index).collect()
    }

    pub(super) fn device_mut(&mut self, id: DeviceId) -> Option<&mut ParentDevice> {
        self.devices.get_mut(&id)
    }

    pub(super) fn devices_mut(&mut self) -> impl Iterator<Item = &mut ParentDevice> {
        self.devices.values_mut()
    }

    /// The first device that is such a one.
    pub(super) fn find_device(&self, wanted: impl Fn(&ParentDevice) -> bool) -> Option<DeviceId> {
        self.devices.iter().find(|(_, device)| wanted(device)).map(|(&id, _)| id)
    }
}

/// The sub-interfaces.
impl Inventory {
    /// Takes the number for a new sub-interface: the wanted one, or the next that is free.
    ///
    /// # Errors
    /// Another one has the wanted number.
    pub(super) fn claim_sub(&mut self, wanted: Option<SubId>) -> Result<SubId, Error> {
        let id = wanted.unwrap_or_else(|| SubId(self.next_sub.max(1)));
        if self.subs.contains_key(&id) {
            return Err(Error::NumberTaken(id));
        }
        self.next_sub = self.next_sub.max(id.0.saturating_add(1));
        Ok(id)
    }

    pub(super) fn add_sub(&mut self, sub: Sub) {
        let device = self[sub.parent].device;
        self[sub.parent].subs.insert(sub.id);
        self.by_index.insert((device, sub.index), sub.id);
        self.by_interface.insert((sub.interface, sub.id));
        self.subs.insert(sub.id, sub);
    }

    pub(super) fn remove_sub(&mut self, id: SubId) -> Option<Sub> {
        let sub = self.subs.remove(&id)?;
        let device = self[sub.parent].device;
        self[sub.parent].subs.remove(&id);
        self[sub.parent].carried.removed += sub.carried;
        if self.sub_with_index(device, sub.index) == Some(id) {
            self.by_index.remove(&(device, sub.index));
        }
        self.by_interface.remove(&(sub.interface, id));
        Some(sub)
    }

    pub(super) fn sub(&self, id: SubId) -> Option<&Sub> {
        self.subs.get(&id)
    }

    pub(super) fn subs(&self) -> impl Iterator<Item = &Sub> {
        self.subs.values()
    }

    pub(super) fn sub_mut(&mut self, id: SubId) -> Option<&mut Sub> {
        self.subs.get_mut(&id)
    }

    /// A sub-interface of that number, and its parent.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn sub_and_parent(&self, id: SubId) -> Result<(&Sub, &Parent), Error> {
        let sub = self.subs.get(&id).ok_or_else(|| no_such(id))?;
        Ok((sub, &self[sub.parent]))
    }

    /// As [`sub_and_parent`](Self::sub_and_parent), to change both.
    ///
    /// # Errors
    /// The same.
    pub(super) fn sub_and_parent_mut(
        &mut self,
        id: SubId,
    ) -> Result<(&mut Sub, &mut Parent), Error> {
        let sub = self.subs.get_mut(&id).ok_or_else(|| no_such(id))?;
        let parent = self.parents.get_mut(&sub.parent).ok_or_else(|| no_such(id))?;
        Ok((sub, parent))
    }

    /// The sub-interfaces of a parent.
    pub(super) fn subs_of(&self, parent: ParentId) -> impl Iterator<Item = &Sub> {
        self[parent].subs.iter().filter_map(|id| self.subs.get(id))
    }

    pub(super) fn sub_ids(&self) -> Vec<SubId> {
        self.subs.keys().copied().collect()
    }

    /// At most `count` sub-interfaces, from the one after `last`, and round again.
    pub(super) fn next_subs(&self, last: SubId, count: usize) -> Vec<SubId> {
        let after = self.subs.range((Bound::Excluded(last), Bound::Unbounded));
        after.chain(self.subs.range(..=last)).map(|(&id, _)| id).take(count).collect()
    }

    /// The sub-interface with this index in the switches of a device.
    pub(super) fn sub_with_index(&self, device: DeviceId, index: SubIndex) -> Option<SubId> {
        self.by_index.get(&(device, index)).copied()
    }

    /// Forgets the indexes of the sub-interfaces of a device, whose workers are replaced.
    pub(super) fn forget_indexes(&mut self, device: DeviceId) {
        self.by_index.retain(|&(of, _), _| of != device);
    }

    /// Notes the index of a sub-interface in the switches of new workers.
    pub(super) fn set_index(&mut self, id: SubId, index: SubIndex) {
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.index = index;
            let device = self.parents[&sub.parent].device;
            self.by_index.insert((device, index), id);
        }
    }

    /// Keeps what the workers of a parent have counted that are replaced.
    pub(super) fn keep_counters(&mut self, id: ParentId, remains: &[Option<Remains>]) {
        let (switch, device) = (self[id].switch, self[id].device);
        self[id].carried.workers.resize_with(remains.len(), Default::default);
        for (number, remains) in remains.iter().enumerate() {
            let counters = remains.iter().flat_map(|remains| &remains.counters);
            let Some((_, counters)) = counters.into_iter().find(|(id, _)| *id == switch) else {
                continue;
            };
            let carried = &mut self[id].carried;
            let (wire, turns) = &mut carried.workers[number];
            *wire += counters.wire;
            *turns += counters.turns;
            carried.removed += counters.removed;
            for &(index, stats) in &counters.subs {
                let sub = self.sub_with_index(device, index);
                if let Some(sub) = sub.and_then(|sub| self.subs.get_mut(&sub)) {
                    sub.carried += stats;
                }
            }
        }
    }

    /// The sub-interface of an interface. There may be another one that was there before and has
    /// moved; then all of them.
    pub(super) fn subs_at(&self, interface: Interface) -> Vec<SubId> {
        self.between(interface, interface)
    }

    /// The sub-interfaces in a namespace.
    pub(super) fn subs_in(&self, nsid: i32) -> Vec<SubId> {
        let at = |index| Interface { nsid: Some(nsid), index };
        self.between(at(0), at(u32::MAX))
    }

    fn between(&self, first: Interface, last: Interface) -> Vec<SubId> {
        let range = (first, SubId(0))..=(last, SubId(u64::MAX));
        self.by_interface.range(range).map(|&(_, id)| id).collect()
    }

    /// Notes that the interface of a sub-interface is there now.
    pub(super) fn relocate(&mut self, id: SubId, interface: Interface) {
        if let Some(sub) = self.subs.get_mut(&id) {
            self.by_interface.remove(&(sub.interface, id));
            self.by_interface.insert((interface, id));
            sub.interface = interface;
        }
    }
}

fn no_such(id: SubId) -> Error {
    Error::NoSuchSub(format!("number {id}"))
}

impl Index<ParentId> for Inventory {
    type Output = Parent;

    /// # Panics
    /// If the parent is detached. An id is used in the request that has looked it up, and a
    /// sub-interface is removed before its parent.
    fn index(&self, id: ParentId) -> &Parent {
        &self.parents[&id]
    }
}

impl IndexMut<ParentId> for Inventory {
    /// # Panics
    /// As [`Index`].
    #[expect(clippy::expect_used, reason = "as of `Index`, which maps have and `IndexMut` not")]
    fn index_mut(&mut self, id: ParentId) -> &mut Parent {
        self.parents.get_mut(&id).expect("the parent is attached")
    }
}

impl Index<DeviceId> for Inventory {
    type Output = ParentDevice;

    /// # Panics
    /// If there is no such device. One exists as long as a parent is on it.
    fn index(&self, id: DeviceId) -> &ParentDevice {
        &self.devices[&id]
    }
}

impl IndexMut<DeviceId> for Inventory {
    /// # Panics
    /// As [`Index`].
    #[expect(clippy::expect_used, reason = "as of `Index`, which maps have and `IndexMut` not")]
    fn index_mut(&mut self, id: DeviceId) -> &mut ParentDevice {
        self.devices.get_mut(&id).expect("the device exists")
    }
}
