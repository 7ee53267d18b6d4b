//! Values that the tests of several modules share.

use umacvlan_api::HostAccess;
use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_core::{
    KernelRelease, MacAddr, MacvlanFlag, MacvlanFlags, MacvlanSettings, Mode, Semantics,
};
use umacvlan_datapath::worker::Snapshot;
use umacvlan_engine::engine::{
    HostFilterStatus, ParentStatus, PortStatus, SubId, SubStatus, UplinkKind, UplinkStatus,
    VlanFilterStatus, WorkerStatus,
};
use umacvlan_netlink::{Link, LinkFlags};
use umacvlan_sys::ethtool::ReceiveOffloads;
use umacvlan_sys::netns::NetnsId;

use super::link_record::LinkRecord;

const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const HOME: NetnsId = NetnsId { dev: 4, ino: 4_026_531_840 };

/// A link that is down, on `p0`.
pub(crate) fn sub_status(number: u64, name: &str) -> SubStatus {
    SubStatus {
        number: SubId(number),
        name: name.to_owned(),
        parent: "p0".to_owned(),
        mac: MAC,
        settings: MacvlanSettings::new(Mode::Vepa),
        mtu: 1500,
        up: false,
        conflict: None,
        index: 7,
        nsid: None,
        netns: HOME,
        netns_cookie: None,
        held: false,
        parent_nsid: None,
        txqlen_max: TAP_QUEUE_LEN,
        kept: true,
        port: PortStatus::default(),
        all_groups: false,
        groups: Vec::new(),
        secondary: Vec::new(),
        extra_queues: 0,
        program: None,
        queue_drops: 0,
        link: Link {
            index: 7,
            name: name.to_owned(),
            mac: Some(MAC),
            mtu: 1500,
            flags: LinkFlags::Broadcast | LinkFlags::Multicast,
            kind: Some("tun".to_owned()),
            link_type: 1,
            persist: Some(true),
            owner: Some(0),
            ..Link::default()
        },
    }
}

/// A parent without links.
pub(crate) fn parent_status(name: &str) -> ParentStatus {
    ParentStatus {
        handle: name.to_owned(),
        name: name.to_owned(),
        known: None,
        notice: String::new(),
        link: name.to_owned(),
        vlan: umacvlan_core::VlanPath::UNTAGGED,
        index: Some(2),
        mac: MAC,
        own_mac: MAC,
        mtu: 1500,
        all_groups: false,
        present: true,
        carrier: true,
        uplink: UplinkStatus { kind: UplinkKind::AfPacket, ..UplinkStatus::default() },
        switched_off: ReceiveOffloads::default(),
        vlan_filter: VlanFilterStatus::Untouched,
        semantics: Semantics::Documented,
        release: KernelRelease::V6_18,
        workers: vec![WorkerStatus::default()],
        bc_queue_used: 1000,
        bc_cutoff: 1,
        subs: Vec::new(),
        counters: Snapshot::default(),
        ring_drops: 0,
        host_filter: HostFilterStatus::Idle,
        neighbours: None,
    }
}

/// The record of a source link.
pub(crate) fn link_record(id: u64) -> LinkRecord {
    LinkRecord {
        id,
        config: None,
        owner: Some("somebody".to_owned()),
        parent: "p0".to_owned(),
        name: "mac1".to_owned(),
        given_name: None,
        netns: (HOME.dev, HOME.ino),
        netns_cookie: None,
        txqueuelen: None,
        index: 7,
        mac: MAC,
        mode: Mode::Source,
        flags: MacvlanFlags::default().with(MacvlanFlag::Nodst, true),
        bc_queue_len: 1000,
        limits: Default::default(),
        rules: Default::default(),
        sources: vec![MacAddr::new([2, 0, 0, 0, 0, 9])],
        groups: None,
        held: false,
        program: None,
        dhcp: None,
        host: HostAccess::default(),
        veth: None,
    }
}
