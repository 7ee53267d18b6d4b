//! The VLAN filter of a NIC, which drops tagged frames whose VLAN is not registered with it.
//!
//! The kernel's macvlan registers the VLAN of a device on top of it. Only the kernel can do that, and
//! only for its own VLAN devices, so here the filter is opened as a whole: switched off, or passed by
//! a promiscuous NIC where the driver cannot switch it. This is done for the first parent that is a
//! VLAN, and for the first link that sends tags of its own; links without tags change nothing.

use umacvlan_netlink::Link;
use umacvlan_sys::ethtool::{Ethtool, ReceiveOffloads, SwitchedOff};

use super::Control;
use super::inventory::DeviceId;
use crate::control::engine::{Event, VlanFilterStatus};

/// The filter of one interface.
#[derive(Debug, Default)]
pub(super) enum VlanFilter {
    /// Nobody needs tags, so it is as it was.
    #[default]
    Untouched,
    /// There is none, or it was off.
    Passes,
    /// It cannot be switched off, so the interface has to be promiscuous.
    Promiscuous,
    /// It was on and is off.
    SwitchedOff(SwitchedOff),
}

impl VlanFilter {
    /// Opens the filter of an interface.
    fn open(link: &Link) -> Self {
        let Ok(ethtool) = Ethtool::open() else {
            return Self::Promiscuous;
        };
        let filters = || ethtool.filters_vlans(&link.name).unwrap_or_else(|_| is_nic(link));
        if !filters() {
            return Self::Passes;
        }
        // A bond or a team registers VLANs with its NICs by means of its own filter.
        if is_nic(link) {
            let off = SwitchedOff::switch_off(&link.name, ReceiveOffloads::FILTER_VLANS);
            if !filters() {
                return Self::SwitchedOff(off);
            }
        }
        Self::Promiscuous
    }

    pub(super) fn status(&self) -> VlanFilterStatus {
        match self {
            Self::Untouched => VlanFilterStatus::Untouched,
            Self::Passes => VlanFilterStatus::Passes,
            Self::Promiscuous => VlanFilterStatus::Promiscuous,
            Self::SwitchedOff(_) => VlanFilterStatus::SwitchedOff,
        }
    }

    /// The features that are off on the NIC.
    pub(super) fn switched_off(&self) -> ReceiveOffloads {
        match self {
            Self::SwitchedOff(off) => off.which(),
            Self::Untouched | Self::Passes | Self::Promiscuous => ReceiveOffloads::default(),
        }
    }

    /// Notes that the interface has another name now.
    pub(super) fn rename(&mut self, name: &str) {
        if let Self::SwitchedOff(off) = self {
            off.rename(name);
        }
    }
}

/// True for a NIC. Everything else has a kind.
fn is_nic(link: &Link) -> bool {
    link.kind.is_none()
}

impl Control {
    /// Notes that a link of a device sends tags.
    pub(super) fn note_tags(&mut self, id: DeviceId) {
        self.inventory[id].tags = true;
        for parent in self.inventory.parents_on(id) {
            self.inventory[parent].memberships.mark_stale();
        }
    }

    /// Opens the filter of a device that needs it, once. Returns true if the interface has to be
    /// promiscuous for it.
    pub(super) fn open_vlan_filter(&mut self, id: DeviceId, tagged: bool) -> bool {
        let device = &self.inventory[id];
        let needed = tagged || device.tags;
        if needed
            && matches!(device.vlan_filter, VlanFilter::Untouched)
            && let Some(index) = device.index
            && let Ok(Some(link)) = self.kernel.rtnl.link_by_index(index)
        {
            let filter = VlanFilter::open(&link);
            let status = filter.status();
            self.inventory[id].vlan_filter = filter;
            let opened = match status {
                VlanFilterStatus::Promiscuous => {
                    "it is promiscuous, because its VLAN filter is fixed"
                }
                VlanFilterStatus::SwitchedOff => "its VLAN filter (rx-vlan-filter) is off",
                VlanFilterStatus::Passes | VlanFilterStatus::Untouched => {
                    "its VLAN filter was not changed, because it lets them pass"
                }
            };
            let what = format!("tags are in use on {name}: {opened}", name = link.name);
            self.events.send(Event::VlanFilter { parent: link.name, what });
        }
        needed && matches!(self.inventory[id].vlan_filter, VlanFilter::Promiscuous)
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_netlink::Rtnl;
    use umacvlan_sys::netns::Netns;
    use umacvlan_testkit::root_or_skip;

    use super::*;

    #[test]
    fn an_interface_without_a_filter_stays_as_it_is_and_an_unknown_nic_becomes_promiscuous() {
        if !root_or_skip() {
            return;
        }
        let netns = Netns::create().unwrap();
        let opened = || {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.add_veth("p0", "q0", None).unwrap();
            let veth = rtnl.link("p0").unwrap().unwrap();
            // A NIC whose driver does not answer.
            let nic = Link { name: "gone".to_owned(), kind: None, ..veth.clone() };
            [VlanFilter::open(&veth).status(), VlanFilter::open(&nic).status()]
        };
        let seen = netns.run(opened).unwrap();
        assert_eq!(seen, [VlanFilterStatus::Passes, VlanFilterStatus::Promiscuous]);
    }
}
