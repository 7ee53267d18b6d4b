//! Reading, changing and deleting interfaces of the socket's namespace.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoBridgePort,
    InfoPortData, InfoPortKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use umacvlan_core::{MacAddr, ifname};
use umacvlan_sys::netns::Netns;

use super::create::inside;
use super::{Error, Link, OperState, Result, Rtnl};

/// The alias (`linux/if_link.h`).
const IFLA_IFALIAS: u16 = 20;

impl Rtnl {
    /// The interface called `name`, if there is one. No interface has a name that is empty or too long
    /// for the kernel; the name of a VLAN without an interface may be that long.
    ///
    /// # Errors
    /// Any except `ENODEV`.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        if !(1..=ifname::MAX_LEN).contains(&name.len()) {
            return Ok(None);
        }
        self.one_link(&format!("read interface {name}"), named(name))
    }

    /// The interface with this index, if there is one.
    ///
    /// # Errors
    /// Any except `ENODEV`.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        self.one_link(&format!("read interface {index}"), indexed(index))
    }

    /// All interfaces, by index.
    ///
    /// # Errors
    /// The request failed.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.all_links("list the interfaces", LinkMessage::default())
    }

    /// The highest index of all interfaces.
    ///
    /// # Errors
    /// The request failed.
    pub fn highest_index(&mut self) -> Result<u32> {
        let mut message = LinkMessage::default();
        // Counters are most of what the kernel tells of an interface.
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let links = self.all_links("list the interfaces", message)?;
        Ok(links.iter().map(|link| link.index).max().unwrap_or_default())
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, `EOPNOTSUPP` if it is hardware.
    pub fn delete(&mut self, index: u32) -> Result<()> {
        self.delete_link(&format!("delete interface {index}"), indexed(index))
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// The error of the driver.
    pub fn set_up(&mut self, index: u32, on: bool) -> Result<()> {
        self.set_flag(index, LinkFlags::Up, on)
    }

    /// Switches promiscuous mode, as `ip link set promisc` does.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn set_promisc(&mut self, index: u32, on: bool) -> Result<()> {
        self.set_flag(index, LinkFlags::Promisc, on)
    }

    /// Switches reception of every multicast frame, as `ip link set allmulticast` does.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn set_allmulti(&mut self, index: u32, on: bool) -> Result<()> {
        self.set_flag(index, LinkFlags::Allmulti, on)
    }

    /// Switches address resolution (ARP) off or on, as `ip link set arp` does.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn set_arp(&mut self, index: u32, on: bool) -> Result<()> {
        self.set_flag(index, LinkFlags::Noarp, !on)
    }

    /// Has an interface get no IPv6 address by itself.
    ///
    /// # Errors
    /// The kernel has no IPv6.
    pub fn set_no_ipv6_addresses(&mut self, index: u32) -> Result<()> {
        let action = format!("keep interface {index} without IPv6 addresses");
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        self.set(&action, index, attribute)
    }

    /// Has an interface answer ARP only for neighbours to which packets leave through it, as the sysctl
    /// `arp_filter`, which a service may be unable to write.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn set_arp_filter(&mut self, index: u32) -> Result<()> {
        let mut settings = InetDevConf::default();
        settings.arpfilter = 1;
        let settings = vec![AfSpecInet::DevConfRequest(settings)];
        let attribute = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(settings)]);
        self.set(&format!("set arp_filter of interface {index}"), index, attribute)
    }

    /// Sets the largest payload, in bytes.
    ///
    /// # Errors
    /// `EINVAL` outside the driver's limits.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<()> {
        let action = format!("set the MTU of interface {index} to {mtu}");
        self.set(&action, index, LinkAttribute::Mtu(mtu))
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if it is not a unicast address, `EBUSY` if the driver requires the interface to
    /// be down.
    pub fn set_mac(&mut self, index: u32, mac: MacAddr) -> Result<()> {
        let action = format!("set the address of interface {index} to {mac}");
        let address = LinkAttribute::Address(mac.octets().to_vec());
        self.set(&action, index, address)
    }

    /// Renames an interface.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, `ERANGE` if it is longer than 15 bytes, `EBUSY` before
    /// Linux 6.2 if the interface is up.
    pub fn set_name(&mut self, index: u32, name: &str) -> Result<()> {
        let action = format!("rename interface {index} to {name}");
        self.set(&action, index, LinkAttribute::IfName(name.to_owned()))
    }

    /// Moves an interface to another namespace. It arrives down, without addresses, and perhaps
    /// with another index.
    ///
    /// # Errors
    /// `EEXIST` if its name is taken there, `EINVAL` if it cannot leave its namespace.
    pub fn set_netns(&mut self, index: u32, netns: &Netns) -> Result<()> {
        let action = format!("move interface {index} to another namespace");
        self.set(&action, index, inside(netns))
    }

    /// Moves an interface to another namespace as [`Rtnl::set_netns`] does, and renames it to `name` in
    /// the same request, so that `name` must be free only there.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken there, `EINVAL` if it cannot leave its namespace.
    pub fn set_netns_as(&mut self, index: u32, netns: &Netns, name: &str) -> Result<()> {
        let action = format!("move interface {index} to another namespace as {name}");
        let mut message = indexed(index);
        message.attributes = vec![inside(netns), LinkAttribute::IfName(name.to_owned())];
        self.request(&action, RouteNetlinkMessage::SetLink(message), 0)?;
        Ok(())
    }

    /// Makes an interface a port of another, or with `None` of none.
    ///
    /// # Errors
    /// `ENODEV` if there is no such master, `EOPNOTSUPP` if it cannot have ports.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<()> {
        let action = match master {
            Some(master) => format!("make interface {index} a port of {master}"),
            None => format!("take interface {index} from its master"),
        };
        self.set(&action, index, LinkAttribute::Controller(master.unwrap_or(0)))
    }

    /// Switches hairpin mode of a bridge port: the bridge sends frames back out of the port they came
    /// from.
    ///
    /// # Errors
    /// The interface is not a bridge port.
    pub fn set_hairpin(&mut self, index: u32, on: bool) -> Result<()> {
        let mut message = indexed(index);
        message.attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(on)])),
        ])];
        let action = format!("set the hairpin mode of bridge port {index}");
        self.request(&action, RouteNetlinkMessage::NewLink(message), 0)?;
        Ok(())
    }

    /// Sets the length of the transmit queue, in frames.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn set_txqlen(&mut self, index: u32, frames: u32) -> Result<()> {
        let action = format!("set the transmit queue of interface {index} to {frames}");
        // The driver of TAPs reports a lack of memory in this way (`NOTIFY_BAD`).
        let refused = |error: Error| match error.errno() {
            Some(libc::EPERM) => error.advised("it may be too long for the kernel's memory"),
            _ => error,
        };
        self.set(&action, index, LinkAttribute::TxQueueLen(frames)).map_err(refused)
    }

    /// Replaces the queueing discipline of an interface by `noqueue`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` from a kernel without queueing disciplines.
    pub fn set_noqueue(&mut self, index: u32) -> Result<()> {
        let mut message = TcMessage::default();
        message.header.index = index.cast_signed();
        message.header.parent = TcHandle::ROOT;
        message.attributes = vec![TcAttribute::Kind("noqueue".to_owned())];
        let action = format!("take the queueing discipline of interface {index} away");
        let message = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.request(&action, message, NLM_F_CREATE | NLM_F_REPLACE)?;
        Ok(())
    }

    /// Sets the RFC 2863 state of an interface whose driver reports none. The kernel accepts `Up` and
    /// `Dormant`, and ignores the request if the driver reports a state.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface.
    pub fn set_operstate(&mut self, index: u32, state: OperState) -> Result<()> {
        let action = format!("set interface {index} to state {state}");
        self.set(&action, index, LinkAttribute::OperState(state))
    }

    /// Sets the alias of an interface; an empty one removes it.
    ///
    /// # Errors
    /// `ERANGE` if it is longer than 255 bytes.
    pub fn set_alias(&mut self, index: u32, text: &str) -> Result<()> {
        let action = format!("set the alias of interface {index}");
        // The library would add a zero byte, which the kernel would keep.
        let alias = DefaultNla::new(IFLA_IFALIAS, text.as_bytes().to_vec());
        self.set(&action, index, LinkAttribute::Other(alias))
    }

    pub(super) fn one_link(&mut self, action: &str, message: LinkMessage) -> Result<Option<Link>> {
        match self.request(action, RouteNetlinkMessage::GetLink(message), 0) {
            Ok(answer) => Ok(links_of(answer).next()),
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn all_links(&mut self, action: &str, message: LinkMessage) -> Result<Vec<Link>> {
        let answer = self.dump(action, &RouteNetlinkMessage::GetLink(message))?;
        Ok(links_of(answer).collect())
    }

    pub(super) fn delete_link(&mut self, action: &str, message: LinkMessage) -> Result<()> {
        self.request(action, RouteNetlinkMessage::DelLink(message), 0)?;
        Ok(())
    }

    fn set_flag(&mut self, index: u32, flag: LinkFlags, on: bool) -> Result<()> {
        let mut message = indexed(index);
        message.header.change_mask = flag;
        if on {
            message.header.flags = flag;
        }
        let state = if on { "on" } else { "off" };
        let action = format!("switch {flag} of interface {index} {state}");
        self.request(&action, RouteNetlinkMessage::SetLink(message), 0)?;
        Ok(())
    }

    pub(super) fn set(&mut self, action: &str, index: u32, attribute: LinkAttribute) -> Result<()> {
        let mut message = indexed(index);
        message.attributes = vec![attribute];
        self.request(action, RouteNetlinkMessage::SetLink(message), 0)?;
        Ok(())
    }
}

pub(super) fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(super) fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    message
}

fn links_of(answer: Vec<RouteNetlinkMessage>) -> impl Iterator<Item = Link> {
    answer.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
        _ => None,
    })
}
