//! [`Link`]: what the kernel tells about an interface.

use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoMacVlan, InfoPortData, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, State, Stats64,
};
use umacvlan_core::MacAddr;

use super::create::{BridgeOptions, Macvlan};

/// One interface, as it was when the kernel told.
#[derive(Clone, Debug)]
pub struct Link {
    /// Number of the interface in its namespace.
    pub index: u32,
    /// Name in its namespace.
    pub name: String,
    /// Address; `None` for a kind that has no address of six bytes.
    pub mac: Option<MacAddr>,
    /// Broadcast address; `None` for a kind that has none of six bytes.
    pub broadcast: Option<MacAddr>,
    /// Largest payload of a frame, in bytes.
    pub mtu: u32,
    /// Smallest MTU that the driver takes.
    pub min_mtu: u32,
    /// Largest MTU that the driver takes; 0 if it has no limit.
    pub max_mtu: u32,
    /// What the administrator set (`Up`, `Promisc`, `Allmulti`) and what the driver reports
    /// (`Running`, `LowerUp`). A packet socket's promiscuity is not among them: ask
    /// [`Link::is_promiscuous`].
    pub flags: LinkFlags,
    /// Whether the cable is in; `None` while the interface is down and has no opinion.
    pub carrier: Option<bool>,
    /// RFC 2863 state; displays as `ip` prints it.
    pub operstate: State,
    /// 0, or 1 if the interface becomes dormant rather than up (`IF_LINK_MODE_*`).
    pub mode: u8,
    /// Driver by the name that creates it (`veth`, `tun`, `bridge`, `macvlan`); `None` for
    /// hardware.
    pub kind: Option<String>,
    /// `ARPHRD_*`: 1 for Ethernet.
    pub link_type: u16,
    /// Index of the interface that this one is a port of.
    pub master: Option<u32>,
    /// Index of the interface below, or of a veth's other end; in the namespace
    /// [`Self::link_netnsid`] if that is there.
    pub lower: Option<u32>,
    /// Namespace of [`Self::lower`] if it is another one, by the id that this one's has for it.
    pub link_netnsid: Option<i32>,
    /// Name of the queueing discipline.
    pub qdisc: Option<String>,
    /// Length of the transmit queue, in frames.
    pub txqlen: u32,
    /// Group number of `ip link ... group`.
    pub group: u32,
    /// How many want all unicast: the administrator, packet sockets, a bridge.
    pub promiscuity: u32,
    /// How many want all multicast; `None` from a kernel too old to tell.
    pub allmulti: Option<u32>,
    /// What a bridge is like.
    pub bridge: Option<BridgeOptions>,
    /// Whether the bridge that this is a port of may send a frame back out of it.
    pub hairpin: Option<bool>,
    /// What the kernel's own macvlan says of its sub-interface.
    pub macvlan: Option<Macvlan>,
    /// Counters.
    pub stats: Stats64,
}

impl Link {
    /// Reads an `RTM_NEWLINK` or `RTM_DELLINK` message. What the kernel left out is zero, empty
    /// or `None`.
    pub fn from_message(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            broadcast: None,
            mtu: 0,
            min_mtu: 0,
            max_mtu: 0,
            flags: message.header.flags,
            carrier: None,
            operstate: State::Unknown,
            mode: 0,
            kind: None,
            link_type: message.header.link_layer_type.into(),
            master: None,
            lower: None,
            link_netnsid: None,
            qdisc: None,
            txqlen: 0,
            group: 0,
            promiscuity: 0,
            allmulti: None,
            bridge: None,
            hairpin: None,
            macvlan: None,
            stats: Stats64::default(),
        };
        for attribute in message.attributes {
            link.read(attribute);
        }
        link
    }

    /// The administrator has set it up.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// It is up and can carry frames.
    pub fn is_running(&self) -> bool {
        self.flags.contains(LinkFlags::Running)
    }

    /// Somebody wants every unicast frame: the administrator (`ip link set promisc on`), or a
    /// packet socket, of which the flag `Promisc` says nothing.
    pub fn is_promiscuous(&self) -> bool {
        self.promiscuity > 0 || self.flags.contains(LinkFlags::Promisc)
    }

    /// Somebody wants every multicast frame; an old kernel shows only the administrator's wish.
    pub fn is_allmulti(&self) -> bool {
        self.allmulti.is_some_and(|count| count > 0) || self.flags.contains(LinkFlags::Allmulti)
    }

    fn read(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Address(bytes) => self.mac = mac(&bytes),
            LinkAttribute::Broadcast(bytes) => self.broadcast = mac(&bytes),
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::MinMtu(mtu) => self.min_mtu = mtu,
            LinkAttribute::MaxMtu(mtu) => self.max_mtu = mtu,
            LinkAttribute::Carrier(carrier) => self.carrier = Some(carrier != 0),
            LinkAttribute::OperState(state) => self.operstate = state,
            LinkAttribute::Mode(mode) => self.mode = mode.into(),
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::Link(index) => self.lower = Some(index),
            LinkAttribute::LinkNetNsId(nsid) => self.link_netnsid = Some(nsid),
            LinkAttribute::Qdisc(name) => self.qdisc = Some(name),
            LinkAttribute::TxQueueLen(len) => self.txqlen = len,
            LinkAttribute::Group(group) => self.group = group,
            LinkAttribute::Promiscuity(count) => self.promiscuity = count,
            LinkAttribute::AllMulticast(count) => self.allmulti = Some(count),
            LinkAttribute::Stats64(stats) => self.stats = stats,
            LinkAttribute::LinkInfo(infos) => self.read_info(infos),
            _ => {}
        }
    }

    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Bridge(data)) => self.bridge = Some(bridge(&data)),
                LinkInfo::Data(InfoData::MacVlan(data)) => self.macvlan = Some(macvlan(data)),
                LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
                    self.hairpin = data.iter().find_map(|info| match info {
                        InfoBridgePort::HairpinMode(on) => Some(*on),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddr::new)
}

fn bridge(data: &[InfoBridge]) -> BridgeOptions {
    let mut bridge = BridgeOptions::default();
    for info in data {
        match info {
            InfoBridge::AgeingTime(time) => bridge.ageing = Some(*time),
            InfoBridge::MulticastSnooping(on) => bridge.multicast_snooping = *on,
            _ => {}
        }
    }
    bridge
}

fn macvlan(data: Vec<InfoMacVlan>) -> Macvlan {
    let mut macvlan = Macvlan::new(0);
    for info in data {
        match info {
            InfoMacVlan::Mode(mode) => macvlan.mode = mode.into(),
            InfoMacVlan::Flags(flags) => macvlan.flags = flags.bits(),
            InfoMacVlan::BcQueueLen(len) => macvlan.bc_queue_len = Some(len),
            InfoMacVlan::BcCutoff(limit) => macvlan.bc_cutoff = Some(limit),
            InfoMacVlan::MacAddrData(list) => {
                macvlan.macaddrs = list
                    .into_iter()
                    .filter_map(|entry| match entry {
                        InfoMacVlan::MacAddr(octets) => Some(MacAddr::new(octets)),
                        _ => None,
                    })
                    .collect();
            }
            _ => {}
        }
    }
    macvlan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_left_out_is_empty() {
        let link = Link::from_message(LinkMessage::default());
        assert_eq!((link.name.as_str(), link.mac, link.mtu), ("", None, 0));
        assert!(!link.is_up() && !link.is_promiscuous() && !link.is_allmulti());
    }

    #[test]
    fn promiscuity_of_a_packet_socket_counts_though_the_flag_is_clear() {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::Promiscuity(1), LinkAttribute::AllMulticast(2)];
        let link = Link::from_message(message);
        assert!(link.is_promiscuous() && link.is_allmulti());
        assert!(!link.flags.contains(LinkFlags::Promisc));
    }

    #[test]
    fn only_six_bytes_are_a_mac_address() {
        for (bytes, expected) in [
            (vec![2, 0, 0, 0, 0, 1], Some(MacAddr::new([2, 0, 0, 0, 0, 1]))),
            (vec![10, 0, 0, 1], None),
            (vec![], None),
            (vec![0; 20], None),
        ] {
            let mut message = LinkMessage::default();
            message.attributes = vec![LinkAttribute::Address(bytes)];
            assert_eq!(Link::from_message(message).mac, expected);
        }
    }
}
