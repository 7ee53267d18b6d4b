//! Creating interfaces: veth pairs, bridges, and the kernel's macvlan for comparison.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoMacVtap, InfoVeth,
    LinkAttribute, LinkInfo, LinkMessage, MacVlanFlags, MacVlanMacAddressMode, MacVtapMode,
};
use umacvlan_core::MacAddr;
use umacvlan_sys::netns::Netns;

use super::{Result, Rtnl};

/// Options of a new bridge. The default learns addresses and floods multicast. Spanning tree is off, and
/// ports forward at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Ageing time of learnt addresses, in hundredths of a second; 0 makes the bridge a hub, `None` is
    /// the kernel's default of five minutes.
    pub ageing: Option<u32>,
    /// Forward multicast only to ports with listeners.
    pub multicast_snooping: bool,
}

/// Settings of an interface of the kernel's macvlan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macvlan {
    /// `MACVLAN_MODE_*`: 1 private, 2 vepa, 4 bridge, 8 passthru, 16 source.
    pub mode: u32,
    /// `MACVLAN_FLAG_*`: 1 nopromisc, 2 nodst.
    pub flags: u16,
    /// Source addresses that mode source accepts.
    pub macaddrs: Vec<MacAddr>,
    /// Length of the broadcast queue, in frames; `None` is the kernel's default of 1000.
    pub bc_queue_len: Option<u32>,
    /// Frames to groups with more receivers than this are queued; `None` is the kernel's default of 1.
    pub bc_cutoff: Option<i32>,
}

/// A change to an interface of the kernel's macvlan; `None` keeps a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacvlanChange {
    /// `MACVLAN_MODE_*`.
    pub mode: Option<u32>,
    /// `MACVLAN_FLAG_*`.
    pub flags: Option<u16>,
    /// The change to the list of source addresses.
    pub macaddr: Option<MacaddrChange>,
    /// Length of the broadcast queue, in frames.
    pub bc_queue_len: Option<u32>,
}

/// A change to the list of source addresses that mode source accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MacaddrChange {
    /// Add an address.
    Add(MacAddr),
    /// Remove an address.
    Del(MacAddr),
    /// Remove all addresses.
    Flush,
    /// Replace the list.
    Set(Vec<MacAddr>),
}

impl Macvlan {
    /// Settings with this mode (`MACVLAN_MODE_*`) and the kernel's defaults.
    pub fn new(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }

    fn attributes(&self) -> Vec<InfoMacVlan> {
        let mut data = vec![InfoMacVlan::Mode(self.mode.into())];
        if self.flags != 0 {
            data.push(flags(self.flags));
        }
        if !self.macaddrs.is_empty() {
            data.extend(MacaddrChange::Set(self.macaddrs.clone()).attributes());
        }
        data.extend(self.bc_queue_len.map(InfoMacVlan::BcQueueLen));
        data.extend(self.bc_cutoff.map(InfoMacVlan::BcCutoff));
        data
    }
}

impl MacvlanChange {
    fn attributes(&self) -> Vec<InfoMacVlan> {
        let mut data = Vec::new();
        data.extend(self.mode.map(|mode| InfoMacVlan::Mode(mode.into())));
        data.extend(self.flags.map(flags));
        data.extend(self.macaddr.iter().flat_map(MacaddrChange::attributes));
        data.extend(self.bc_queue_len.map(InfoMacVlan::BcQueueLen));
        data
    }
}

impl MacaddrChange {
    fn attributes(&self) -> Vec<InfoMacVlan> {
        let entry = |mac: &MacAddr| InfoMacVlan::MacAddr(mac.octets());
        let mode = InfoMacVlan::MacAddrMode;
        match self {
            Self::Add(mac) => vec![mode(MacVlanMacAddressMode::Add), entry(mac)],
            Self::Del(mac) => vec![mode(MacVlanMacAddressMode::Del), entry(mac)],
            Self::Flush => vec![mode(MacVlanMacAddressMode::Flush)],
            Self::Set(macs) => vec![
                mode(MacVlanMacAddressMode::Set),
                InfoMacVlan::MacAddrData(macs.iter().map(entry).collect()),
            ],
        }
    }
}

impl Rtnl {
    /// Creates a veth pair: `name` here, and `peer` in the namespace `netns` or, without one, here.
    ///
    /// # Errors
    /// `EEXIST` if a name is taken in its namespace.
    pub fn add_veth(&mut self, name: &str, peer: &str, netns: Option<&Netns>) -> Result<()> {
        let mut end = LinkMessage::default();
        end.attributes = vec![LinkAttribute::IfName(peer.to_owned())];
        end.attributes.extend(netns.map(inside));
        self.create(
            &format!("make the veth pair {name} and {peer}"),
            vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Veth),
                    LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end))),
                ]),
            ],
        )
    }

    /// Creates a bridge without ports.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, `EOPNOTSUPP` if the kernel has no bridge.
    pub fn add_bridge(&mut self, name: &str, options: &BridgeOptions) -> Result<()> {
        let mut data = vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(options.multicast_snooping),
        ];
        data.extend(options.ageing.map(InfoBridge::AgeingTime));
        self.create(
            &format!("make the bridge {name}"),
            vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Bridge),
                    LinkInfo::Data(InfoData::Bridge(data)),
                ]),
            ],
        )
    }

    /// Creates an interface of the kernel's macvlan on the interface with index `parent`, here or in
    /// the namespace `netns`.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, `EOPNOTSUPP` if the kernel has no macvlan, `EINVAL` if the
    /// parent does not allow this mode.
    pub fn add_macvlan(
        &mut self,
        name: &str,
        parent: u32,
        macvlan: &Macvlan,
        netns: Option<&Netns>,
    ) -> Result<()> {
        let mut attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(parent),
            LinkAttribute::LinkInfo(macvlan_info(macvlan.attributes())),
        ];
        attributes.extend(netns.map(inside));
        self.create(&format!("make the macvlan {name} on interface {parent}"), attributes)
    }

    /// Creates a macvtap of the kernel in mode bridge, here, on the interface with index `parent`.
    ///
    /// # Errors
    /// As [`Rtnl::add_macvlan`].
    pub fn add_macvtap(&mut self, name: &str, parent: u32) -> Result<()> {
        let data = vec![InfoMacVtap::Mode(MacVtapMode::Bridge)];
        let attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(parent),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVtap),
                LinkInfo::Data(InfoData::MacVtap(data)),
            ]),
        ];
        self.create(&format!("make the macvtap {name} on interface {parent}"), attributes)
    }

    /// Changes an interface of the kernel's macvlan.
    ///
    /// # Errors
    /// `EINVAL` for a change that the mode does not allow, `EADDRNOTAVAIL` for a source that is not
    /// a unicast address.
    pub fn change_macvlan(&mut self, index: u32, change: &MacvlanChange) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::LinkInfo(macvlan_info(change.attributes()))];
        self.request(
            &format!("change the macvlan with index {index}"),
            RouteNetlinkMessage::NewLink(message),
            0,
        )?;
        Ok(())
    }

    fn create(&mut self, action: &str, attributes: Vec<LinkAttribute>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = attributes;
        self.request(action, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
        Ok(())
    }
}

/// The attribute that puts an interface into `netns`, which must stay open until the request is sent.
pub(super) fn inside(netns: &Netns) -> LinkAttribute {
    LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())
}

fn flags(bits: u16) -> InfoMacVlan {
    InfoMacVlan::Flags(MacVlanFlags::from_bits_retain(bits))
}

fn macvlan_info(data: Vec<InfoMacVlan>) -> Vec<LinkInfo> {
    vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(InfoData::MacVlan(data))]
}
