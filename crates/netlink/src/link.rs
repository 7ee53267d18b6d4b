//! [`Link`]: the attributes of an interface, from the kernel.

use netlink_packet_core::Nla;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoBridge, InfoBridgePort, InfoData, InfoMacVlan, InfoPortData,
    InfoTun, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, State, Stats64,
    XdpAttached,
};
use umacvlan_core::MacAddr;
use umacvlan_sys::netns::effective_ids;

use super::create::{BridgeOptions, Macvlan};

/// The owner of a TAP: `IFLA_TUN_OWNER` of `linux/if_link.h`.
const TUN_OWNER: u16 = 1;

/// Whether a TAP outlives its descriptors: `IFLA_TUN_PERSIST`.
const TUN_PERSIST: u16 = 6;

/// Whether a TAP is multi-queue: `IFLA_TUN_MULTI_QUEUE`.
const TUN_MULTI_QUEUE: u16 = 7;

/// The number of attached queues: `IFLA_TUN_NUM_QUEUES`.
const TUN_NUM_QUEUES: u16 = 8;

/// The number of queues that are attached and take no part: `IFLA_TUN_NUM_DISABLED_QUEUES`.
const TUN_NUM_DISABLED_QUEUES: u16 = 9;

/// The state of one interface when the kernel sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the interface in its namespace.
    pub index: u32,
    /// Name in its namespace. Bytes that are not UTF-8 are `?` here.
    pub name: String,
    /// MAC address; `None` for a kind without an address of six bytes.
    pub mac: Option<MacAddr>,
    /// The address that its hardware was made with (Linux 5.6); `None` for a virtual interface.
    pub permanent_mac: Option<MacAddr>,
    /// Broadcast address; `None` for a kind without one of six bytes.
    pub broadcast: Option<MacAddr>,
    /// Largest payload of a frame, in bytes.
    pub mtu: u32,
    /// Smallest MTU that the driver accepts.
    pub min_mtu: u32,
    /// Largest MTU that the driver accepts; 0 without a limit.
    pub max_mtu: u32,
    /// Flags that the administrator set (`Up`, `Promisc`, `Allmulti`) and that the driver reports
    /// (`Running`, `LowerUp`). They do not show the promiscuity of packet sockets:
    /// [`Link::is_promiscuous`] does.
    pub flags: LinkFlags,
    /// Whether the interface has a carrier; `None` while it is down.
    pub carrier: Option<bool>,
    /// RFC 2863 state; `Display` is the text of `ip`.
    pub operstate: State,
    /// `IF_LINK_MODE_*`: 0, or 1 if the interface becomes dormant before it is up.
    pub mode: u8,
    /// Link kind (`veth`, `tun`, `bridge`, `macvlan`); `None` for hardware.
    pub kind: Option<String>,
    /// `ARPHRD_*`: 1 for Ethernet.
    pub link_type: u16,
    /// Index of the interface that this one is a port of.
    pub master: Option<u32>,
    /// Index of the lower interface, or of a veth's peer, in the namespace [`Self::link_netnsid`] if it
    /// has a value.
    pub lower: Option<u32>,
    /// Namespace of [`Self::lower`] if it is another one, by its id in this namespace.
    pub link_netnsid: Option<i32>,
    /// Name of the queueing discipline.
    pub qdisc: Option<String>,
    /// Length of the transmit queue, in frames.
    pub txqlen: u32,
    /// Group number of `ip link ... group`.
    pub group: u32,
    /// Number of users that want all unicast: the administrator, packet sockets, a bridge.
    pub promiscuity: u32,
    /// Number of users that want all multicast; `None` from an old kernel.
    pub allmulti: Option<u32>,
    /// Options of a bridge.
    pub bridge: Option<BridgeOptions>,
    /// Whether a bridge port sends frames back out of the port they came from.
    pub hairpin: Option<bool>,
    /// VLAN id of a VLAN interface.
    pub vlan: Option<u16>,
    /// Settings of an interface of the kernel's macvlan.
    pub macvlan: Option<Macvlan>,
    /// Alias, empty if there is none.
    pub alias: String,
    /// Number of TX queues.
    pub num_tx_queues: Option<u32>,
    /// Number of RX queues.
    pub num_rx_queues: Option<u32>,
    /// Largest GSO packet that the stack passes to it, in bytes.
    pub gso_max_size: Option<u32>,
    /// Most segments of a GSO packet that the stack passes to it.
    pub gso_max_segs: Option<u32>,
    /// Largest packet that the driver can segment, in bytes.
    pub tso_max_size: Option<u32>,
    /// Most segments of a packet that the driver can segment.
    pub tso_max_segs: Option<u32>,
    /// Largest packet that GRO makes of received frames, in bytes.
    pub gro_max_size: Option<u32>,
    /// How it generates IPv6 addresses (`IN6_ADDR_GEN_MODE_*`: 0 eui64, 1 none, 2 stable_secret,
    /// 3 random); `None` without IPv6.
    pub addr_gen_mode: Option<u8>,
    /// Number of carrier changes.
    pub carrier_changes: Option<u32>,
    /// Whether a TAP outlives its descriptors; `None` for other kinds.
    pub persist: Option<bool>,
    /// Whether a TAP is multi-queue; `None` for other kinds.
    pub multi_queue: Option<bool>,
    /// Number of attached queues of a multi-queue TAP, disabled ones included; `None` for others.
    pub queues: Option<u32>,
    /// User id of the owner of a TAP; `None` for other kinds and without an owner.
    pub owner: Option<u32>,
    /// Whether an XDP program is attached, in any mode.
    pub xdp: bool,
    /// Counters.
    pub stats: Stats64,
}

impl Default for Link {
    /// An interface without any attribute.
    fn default() -> Self {
        Self {
            index: 0,
            name: String::new(),
            mac: None,
            permanent_mac: None,
            broadcast: None,
            mtu: 0,
            min_mtu: 0,
            max_mtu: 0,
            flags: LinkFlags::empty(),
            carrier: None,
            operstate: State::Unknown,
            mode: 0,
            kind: None,
            link_type: 0,
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
            vlan: None,
            macvlan: None,
            alias: String::new(),
            num_tx_queues: None,
            num_rx_queues: None,
            gso_max_size: None,
            gso_max_segs: None,
            tso_max_size: None,
            tso_max_segs: None,
            gro_max_size: None,
            addr_gen_mode: None,
            carrier_changes: None,
            persist: None,
            multi_queue: None,
            queues: None,
            owner: None,
            xdp: false,
            stats: Stats64::default(),
        }
    }
}

impl Link {
    /// Decodes an `RTM_NEWLINK` or `RTM_DELLINK` message. Missing attributes are zero, empty or `None`.
    pub fn from_message(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            flags: message.header.flags,
            link_type: message.header.link_layer_type.into(),
            ..Self::default()
        };
        for attribute in message.attributes {
            link.read(attribute);
        }
        link
    }

    /// True if the administrator has set it up.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// True for a TAP that [`Tap::set_persistent`](umacvlan_sys::tap::Tap::set_persistent) has made
    /// persistent in a process of this user; false for persistent TAPs of other users.
    pub fn is_own_persistent_tap(&self) -> bool {
        let ethernet = u32::from(self.link_type) == u32::from(libc::ARPHRD_ETHER);
        let (user, _) = effective_ids();
        ethernet && self.persist == Some(true) && self.owner == Some(user)
    }

    /// True if it is up and can carry frames.
    pub fn is_running(&self) -> bool {
        self.flags.contains(LinkFlags::Running)
    }

    /// True if it receives every unicast frame, for the administrator (`ip link set promisc on`) or for a
    /// packet socket, which the flag `Promisc` does not show.
    pub fn is_promiscuous(&self) -> bool {
        self.promiscuity > 0 || self.flags.contains(LinkFlags::Promisc)
    }

    /// True if it receives every multicast frame; an old kernel shows only the administrator's setting.
    pub fn is_allmulti(&self) -> bool {
        self.allmulti.is_some_and(|count| count > 0) || self.flags.contains(LinkFlags::Allmulti)
    }

    fn read(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Address(bytes) => self.mac = mac(&bytes),
            LinkAttribute::PermAddress(bytes) => self.permanent_mac = mac(&bytes),
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
            LinkAttribute::AfSpecUnspec(families) => self.addr_gen_mode = addr_gen_mode(&families),
            LinkAttribute::IfAlias(text) => self.alias = text,
            other => self.read_detail(&other),
        }
    }

    /// Reads the attributes that only `ip -d` shows.
    fn read_detail(&mut self, attribute: &LinkAttribute) {
        match *attribute {
            LinkAttribute::Xdp(ref infos) => {
                let none = LinkXdp::Attached(XdpAttached::None);
                let attached = |info: &LinkXdp| matches!(info, LinkXdp::Attached(_));
                self.xdp = infos.iter().any(|info| attached(info) && *info != none);
            }
            LinkAttribute::NumTxQueues(count) => self.num_tx_queues = Some(count),
            LinkAttribute::NumRxQueues(count) => self.num_rx_queues = Some(count),
            LinkAttribute::GsoMaxSize(bytes) => self.gso_max_size = Some(bytes),
            LinkAttribute::GsoMaxSegs(count) => self.gso_max_segs = Some(count),
            LinkAttribute::TsoMaxSize(bytes) => self.tso_max_size = Some(bytes),
            LinkAttribute::TsoMaxSegs(count) => self.tso_max_segs = Some(count),
            LinkAttribute::GroMaxSize(bytes) => self.gro_max_size = Some(bytes),
            LinkAttribute::CarrierChanges(count) => self.carrier_changes = Some(count),
            _ => {}
        }
    }

    fn read_info(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
                LinkInfo::Data(InfoData::Bridge(data)) => self.bridge = Some(bridge(&data)),
                LinkInfo::Data(InfoData::MacVlan(data)) => self.macvlan = Some(macvlan(data)),
                LinkInfo::Data(InfoData::Vlan(data)) => {
                    self.vlan = data.iter().find_map(|info| match info {
                        InfoVlan::Id(vid) => Some(*vid),
                        _ => None,
                    });
                }
                LinkInfo::Data(InfoData::Tun(data)) => {
                    self.persist = tun(&data, TUN_PERSIST).map(|on: [u8; 1]| on != [0]);
                    self.multi_queue = tun(&data, TUN_MULTI_QUEUE).map(|on: [u8; 1]| on != [0]);
                    let disabled =
                        tun(&data, TUN_NUM_DISABLED_QUEUES).map_or(0, u32::from_ne_bytes);
                    self.queues = tun(&data, TUN_NUM_QUEUES)
                        .map(|bytes| u32::from_ne_bytes(bytes).saturating_add(disabled));
                    self.owner = tun(&data, TUN_OWNER).map(u32::from_ne_bytes);
                }
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

fn addr_gen_mode(families: &[AfSpecUnspec]) -> Option<u8> {
    let inet6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(infos) => Some(infos),
        _ => None,
    });
    inet6?.iter().find_map(|info| match info {
        AfSpecInet6::AddrGenMode(mode) => Some(mode.into()),
        _ => None,
    })
}

/// The value of an attribute of a TAP, which the library does not decode.
fn tun<const LEN: usize>(data: &[InfoTun], kind: u16) -> Option<[u8; LEN]> {
    let info = data.iter().find(|info| info.kind() == kind)?;
    let mut value = vec![0; info.value_len()];
    info.emit_value(&mut value);
    value.try_into().ok()
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
    fn missing_attributes_are_empty() {
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
