//! Names of parents. A parent is an interface, or a VLAN of one: its name is looked up for each
//! request, and followed when the interface is renamed.

use umacvlan_core::{VlanName, VlanPath};
use umacvlan_netlink::Link;

use super::Control;
use super::interface_identity::{InterfaceIdentity, Sameness};
use super::inventory::DeviceId;
use crate::control::engine::{Event, KnownParent, ParentBinding};
use crate::control::error::Error;

impl Control {
    /// Resolves the name of a parent, as the interfaces are named now. An interface of that name
    /// comes first.
    pub(crate) fn lower(&mut self, name: &str) -> Result<ParentBinding, Error> {
        self.update_names();
        if self.exists(name)? {
            let device = self.device_named(name)?;
            return Ok(self.binding(name.to_owned(), VlanPath::UNTAGGED, device));
        }
        // A VLAN, or a parent without an interface.
        let known = self.inventory.parents().find(|(_, parent)| parent.name == name);
        if let Some((device, path)) = known.map(|(_, parent)| (parent.device, parent.path)) {
            let link = self.inventory[device].name.clone();
            return Ok(self.binding(link, path, Some(device)));
        }
        let (link, vlan) = self.resolve_vlan(name)?;
        let device = self.device_named(&link)?;
        Ok(self.binding(link, vlan, device))
    }

    /// Resolves a parent of an earlier engine, by its interface.
    pub(crate) fn lower_known(&mut self, known: &KnownParent) -> Result<ParentBinding, Error> {
        self.update_names();
        let KnownParent { link: name, vlan, identity, newest } = known;
        let by_index = self.kernel.rtnl.link_by_index(identity.index)?;
        let by_name = self.kernel.rtnl.link(name)?;
        let mut found = None;
        for (link, named) in [(by_index, false), (by_name, true)] {
            let Some(link) = link else {
                continue;
            };
            match identity.compare(&self.identity(&link), *newest) {
                Sameness::Same => found = found.or(Some(link)),
                Sameness::Possible if named => found = found.or(Some(link)),
                Sameness::Possible | Sameness::Other => {}
            }
        }
        let device = match &found {
            Some(link) => self.device_named(&link.name)?,
            None => self.inventory.find_device(|device| {
                device.index.is_none() && device.sameness(identity) == Sameness::Same
            }),
        };
        let link = found.map_or_else(|| name.clone(), |link| link.name);
        Ok(self.binding(link, *vlan, device))
    }

    fn binding(&self, link: String, vlan: VlanPath, device: Option<DeviceId>) -> ParentBinding {
        let on_device = device.map(|id| self.inventory.parents_on(id)).unwrap_or_default();
        let mut parents = on_device.iter().map(|&id| &self.inventory[id]);
        let parent = parents.find(|parent| parent.path == vlan);
        ParentBinding {
            link,
            vlan,
            parent: parent.map(|parent| parent.handle.clone()),
            workers: device.map(|id| self.inventory[id].configs.clone()).unwrap_or_default(),
            device,
        }
    }

    /// Resolves the name of a parent that is not an interface.
    fn resolve_vlan(&mut self, name: &str) -> Result<(String, VlanPath), Error> {
        for VlanName { link, vlan } in VlanName::readings(name) {
            if self.device_named(&link)?.is_some() || self.exists(&link)? {
                return Ok((link, vlan));
            }
        }
        match VlanName::parse(name) {
            Ok(VlanName { link, vlan }) => Ok((link, vlan)),
            // It can mean a VLAN only if there is an interface of the name before the dot.
            Err(why) if self.exists(name.rsplit_once('.').map_or("", |(link, _)| link))? => {
                Err(Error::ParentVlan(why))
            }
            Err(_) => Ok((name.to_owned(), VlanPath::UNTAGGED)),
        }
    }

    fn exists(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.kernel.rtnl.link(name)?.is_some())
    }

    /// The interface on which a sub-interface of `name` is made: for a macvlan of the kernel the one
    /// below it, if that is in this namespace, as the kernel does (`macvlan_common_newlink`); else
    /// `name` itself.
    pub(crate) fn flatten(&mut self, name: &str) -> Result<String, Error> {
        let link = self.kernel.rtnl.link(name)?;
        let macvlan = link.filter(|link| {
            matches!(link.kind.as_deref(), Some("macvlan" | "macvtap"))
                && link.link_netnsid.is_none()
        });
        let below = match macvlan.and_then(|link| link.lower) {
            Some(index) => self.kernel.rtnl.link_by_index(index)?,
            None => None,
        };
        Ok(below.map_or_else(|| name.to_owned(), |link| link.name))
    }

    /// The device whose interface has that name now, or had it when it went away.
    fn device_named(&mut self, name: &str) -> Result<Option<DeviceId>, Error> {
        let Some(link) = self.kernel.rtnl.link(name)? else {
            let lost = self.inventory.find_device(|it| it.index.is_none() && it.name == name);
            return Ok(lost);
        };
        let present = self.inventory.find_device(|device| device.index == Some(link.index));
        if present.is_some() {
            return Ok(present);
        }
        let identity = self.identity(&link);
        Ok(self.inventory.find_device(|device| {
            let lost = device.index.is_none() && device.name == name;
            lost && device.sameness(&identity) != Sameness::Other
        }))
    }

    /// The identity of an interface in the engine's own namespace.
    pub(super) fn identity(&self, link: &Link) -> InterfaceIdentity {
        InterfaceIdentity::of(link, self.kernel.cookie)
    }

    /// Follows renamed interfaces whose events are still to be read.
    fn update_names(&mut self) {
        for id in self.inventory.device_ids() {
            // One that is gone has an event of its own.
            if let Some(index) = self.inventory[id].index
                && let Ok(Some(link)) = self.kernel.rtnl.link_by_index(index)
            {
                self.rename_device(id, &link.name);
            }
        }
    }

    /// Notes the present name of the interface of a device.
    pub(super) fn rename_device(&mut self, id: DeviceId, name: &str) {
        let device = &mut self.inventory[id];
        if device.name == name {
            return;
        }
        device.uplink.rename(name);
        device.vlan_filter.rename(name);
        let before = std::mem::replace(&mut device.name, name.to_owned());
        for id in self.inventory.parents_on(id) {
            let parent = &mut self.inventory[id];
            let vlan = parent.name.strip_prefix(&before).unwrap_or_default();
            let to = format!("{name}{vlan}");
            let from = std::mem::replace(&mut parent.name, to.clone());
            let parent = parent.handle.clone();
            self.events.send(Event::ParentRenamed { parent, from, to });
        }
    }
}
