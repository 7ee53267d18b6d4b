//! [`ParentRecord`]: what a restarted daemon needs to know about a parent.

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::{MacAddr, VlanPath};
use umacvlan_engine::engine::{InterfaceIdentity, KnownParent};
use umacvlan_sys::ethtool::ReceiveOffloads;

use crate::neighbours::NeighbourRecord;

/// The record of a parent.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ParentRecord {
    /// Name of the parent in the records of its links. It stays when the interface is renamed.
    pub name: String,
    /// The address to restore after a passthru link.
    #[serde_as(as = "DisplayFromStr")]
    pub own_mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Broadcast limit (`bclim`).
    pub bc_cutoff: i32,
    /// Receive offloads of the NIC that the engine has switched off, to be restored.
    #[serde(default)]
    pub switched_off: SwitchedOff,
    /// Links have sent VLAN tags of their own, so the NIC has to pass them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
    /// Its links share its MAC address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub macnat: bool,
    /// The IP addresses that they have, if they share its MAC address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<NeighbourRecord>,
    /// The interface; absent in records of earlier versions, and if there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceRecord>,
}

/// [`KnownParent`] as a record.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct InterfaceRecord {
    /// Name of the interface.
    pub name: String,
    /// VLAN identifiers of the parent there, the outer one first.
    pub vlan: Vec<u16>,
    /// Index of the interface.
    pub index: u32,
    /// Highest index of any interface when this one was attached.
    pub newest: u32,
    /// Number of its namespace.
    pub netns: u64,
    /// Its address.
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
    /// Permanent address of its NIC.
    #[serde_as(as = "Option<DisplayFromStr>")]
    pub permanent_mac: Option<MacAddr>,
    /// Place of its NIC on a bus.
    pub bus: Option<String>,
}

impl From<KnownParent> for InterfaceRecord {
    fn from(known: KnownParent) -> Self {
        let KnownParent { link: name, vlan, identity, newest } = known;
        let InterfaceIdentity { index, netns, mac, permanent_mac, bus } = identity;
        let vlan = vlan.tags().map(|tag| tag.vid()).collect();
        Self { name, vlan, index, newest, netns, mac, permanent_mac, bus }
    }
}

impl InterfaceRecord {
    /// The parent; `None` if the record has a VLAN that does not exist.
    pub(crate) fn known(&self) -> Option<KnownParent> {
        let Self { name, vlan, index, newest, netns, mac, permanent_mac, bus } = self.clone();
        let vlan = match vlan[..] {
            [] => VlanPath::UNTAGGED,
            [vid] => VlanPath::single(vid.into()).ok()?,
            [outer, inner] => VlanPath::stacked(outer.into(), inner.into()).ok()?,
            _ => return None,
        };
        let identity = InterfaceIdentity { index, netns, mac, permanent_mac, bus };
        Some(KnownParent { link: name, vlan, identity, newest })
    }
}

/// [`ReceiveOffloads`] as a record.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct SwitchedOff {
    pub lro: bool,
    pub vlan: bool,
    /// Absent in records of earlier versions, as the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gro_hw: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stag: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vlan_filter: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stag_filter: bool,
}

impl From<ReceiveOffloads> for SwitchedOff {
    fn from(off: ReceiveOffloads) -> Self {
        let ReceiveOffloads { gro_hw, lro, stag_filter, stag, vlan, vlan_filter } = off;
        Self { lro, vlan, gro_hw, stag, vlan_filter, stag_filter }
    }
}

impl From<SwitchedOff> for ReceiveOffloads {
    fn from(off: SwitchedOff) -> Self {
        let SwitchedOff { lro, vlan, gro_hw, stag, vlan_filter, stag_filter } = off;
        Self { gro_hw, lro, stag_filter, stag, vlan, vlan_filter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_parent_keeps_its_shape() {
        let older = r#"{"name":"p0","own_mac":"02:00:00:00:00:01","mtu":1500,"bc_cutoff":1,"switched_off":{"lro":false,"vlan":false}}"#;
        let mut record: ParentRecord = serde_json::from_str(older).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), older);
        let interface = r#"{"name":"p0","vlan":[10,20],"index":2,"newest":5,"netns":1,"mac":"02:00:00:00:00:01","permanent_mac":"00:00:00:00:00:01","bus":"virtio0"}"#;
        let is: InterfaceRecord = serde_json::from_str(interface).unwrap();
        assert_eq!(InterfaceRecord::from(is.known().unwrap()), is);
        let neighbours = r#"[{"link":7,"address":"10.0.0.5","mac":"02:00:00:00:00:07"}]"#;
        let sharing = format!(
            "{},\"macnat\":true,\"neighbours\":{neighbours}}}",
            older.strip_suffix('}').unwrap()
        );
        let shared: ParentRecord = serde_json::from_str(&sharing).unwrap();
        assert_eq!(serde_json::to_string(&shared).unwrap(), sharing);
        record.interface = Some(is);
        let text = format!("{},\"interface\":{interface}}}", older.strip_suffix('}').unwrap());
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        assert_eq!(serde_json::from_str::<ParentRecord>(&text).unwrap(), record);
    }
}
