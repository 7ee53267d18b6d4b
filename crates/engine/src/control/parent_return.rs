//! Parents whose interface goes away and returns.

use std::time::Instant;

use umacvlan_netlink::Link;

use super::Control;
use super::interface_identity::{InterfaceIdentity, Sameness};
use super::inventory::DeviceId;
use super::parent_device::ParentDevice;
use super::vlan_filter::VlanFilter;
use crate::control::engine::Event;
use umacvlan_datapath::worker::Worker;

impl ParentDevice {
    /// Whether an interface is the one that the device has lost. The first one of its name is.
    pub(super) fn sameness(&self, identity: &InterfaceIdentity) -> Sameness {
        let compare = |own: &InterfaceIdentity| own.compare(identity, self.newest);
        self.identity.as_ref().map_or(Sameness::Same, compare)
    }
}

impl Control {
    /// Notes that an interface is gone, to another namespace if it was `moved`. The sub-interfaces of a
    /// device that had it stay, without carrier.
    pub(super) fn lose_device(&mut self, index: u32, moved: bool) {
        let Some(id) = self.inventory.find_device(|device| device.index == Some(index)) else {
            return;
        };
        self.collect_ring_drops(id);
        let newest = self.newest_index(index);
        let parents = self.inventory.parents_on(id);
        let untagged =
            parents.iter().map(|&id| &self.inventory[id]).find(|it| it.path.is_untagged());
        let own_mac = untagged.map(|parent| parent.own_mac);
        let device = &mut self.inventory[id];
        device.index = None;
        device.lock = None;
        device.newest = newest;
        if let (Some(identity), Some(mac)) = (&mut device.identity, own_mac) {
            identity.mac = mac;
        }
        // A worker that has stopped has closed its socket.
        let _ = device.workers.tell(Worker::detach);
        device.attached = false;
        device.filter = None;
        device.uplink.reset();
        device.vlan_filter = VlanFilter::default();
        for id in parents {
            let parent = &mut self.inventory[id];
            parent.index = None;
            parent.memberships.forget();
            parent.host.forget();
            let name = parent.name.clone();
            self.set_carrier(id, false);
            self.events.send(Event::ParentGone { parent: name, moved });
        }
    }

    /// The highest index of an interface now, at least `index`.
    pub(super) fn newest_index(&mut self, index: u32) -> u32 {
        self.kernel.rtnl.highest_index().map_or(index, |highest| highest.max(index))
    }

    /// Gives an interface to the device that has lost it, if there is one. An interface that only
    /// has the name of a lost one is reported.
    pub(super) fn offer(&mut self, link: &Link) {
        let may_want = |device: &ParentDevice| {
            let had = device.identity.as_ref().is_some_and(|own| own.index == link.index);
            device.index.is_none() && (had || device.name == link.name)
        };
        if self.inventory.find_device(may_want).is_none() {
            return;
        }
        // An event has the state that was.
        let Ok(Some(link)) = self.kernel.rtnl.link_by_index(link.index) else {
            return;
        };
        let identity = self.identity(&link);
        let is = |device: &ParentDevice, wanted, named: bool| {
            device.index.is_none()
                && device.sameness(&identity) == wanted
                && (!named || device.name == link.name)
        };
        let known = |device: &ParentDevice| {
            let had = device.identity.as_ref().is_none_or(|own| own.index == link.index);
            is(device, Sameness::Same, !had)
        };
        let same = self.inventory.find_device(known);
        let possible = || self.inventory.find_device(|it| is(it, Sameness::Possible, true));
        match same.or_else(possible) {
            Some(id) => self.restore_device(id, &link, identity),
            None => {
                let lost = |it: &ParentDevice| is(it, Sameness::Other, true);
                for id in self.inventory.device_ids() {
                    if lost(&self.inventory[id]) {
                        self.note_another(id, &link);
                    }
                }
            }
        }
    }

    /// Reports, once, that the name of a lost device is that of another interface.
    fn note_another(&mut self, id: DeviceId, link: &Link) {
        let notice = another(link);
        let device = &mut self.inventory[id];
        if device.notice != notice {
            device.notice.clone_from(&notice);
            self.events.trouble(notice);
        }
    }

    /// Attaches a lost device to its interface.
    fn restore_device(&mut self, id: DeviceId, link: &Link, identity: InterfaceIdentity) {
        if self.inventory[id].attempts.is_paused(Instant::now()) {
            return;
        }
        // It may be unsuitable for a moment only: each event about it is a new attempt.
        if let Err(error) = self.check_attachable(link).and_then(|()| self.reattach(id, link)) {
            return self.report_attempt(id, format!("{} is back, but {error}", link.name));
        }
        let newest = self.newest_index(link.index);
        let device = &mut self.inventory[id];
        device.notice = doubt(device.identity.as_ref(), &identity, device.newest, link);
        (device.identity, device.newest) = (Some(identity), newest);
        let notice = device.notice.clone();
        if !notice.is_empty() {
            self.events.trouble(notice);
        }
        self.rename_device(id, &link.name);
        for parent in self.inventory.parents_on(id) {
            let parent = self.inventory[parent].name.clone();
            self.events.send(Event::ParentBack { parent });
        }
        self.follow_device(link);
        self.announce(id);
    }
}

/// The notice that the name of a parent is that of another interface.
pub(super) fn another(link: &Link) -> String {
    format!(
        "{} is another interface now (index {}, address {}): it is not used for the links of the \
         parent that had this name, which wait for theirs; to use it, make links on it",
        link.name,
        link.index,
        link.mac.unwrap_or_default()
    )
}

/// The notice that an interface is taken for the one before without a proof; empty if it is proven.
pub(super) fn doubt(
    before: Option<&InterfaceIdentity>,
    now: &InterfaceIdentity,
    newest: u32,
    link: &Link,
) -> String {
    match before {
        Some(before) if before.compare(now, newest) != Sameness::Same => format!(
            "{} has another index and address ({}, before {}): it is taken for the same interface, \
             because it has its name",
            link.name, now.mac, before.mac
        ),
        _ => String::new(),
    }
}
