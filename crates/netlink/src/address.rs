//! IP addresses and neighbours of interfaces.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use umacvlan_core::MacAddr;

use super::{IpPrefix, Result, Rtnl};

/// An IP address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub index: u32,
    /// The address with its prefix length.
    pub at: IpPrefix,
    /// The kernel probes for duplicates and does not use the address yet.
    pub tentative: bool,
    /// Another host has the address, so the kernel does not use it.
    pub duplicate: bool,
}

impl Rtnl {
    /// Adds an address with a prefix of `prefix` bits to an interface. The kernel probes an IPv6 address
    /// for duplicates before it uses it, unless `accept_dad` is 0.
    ///
    /// # Errors
    /// `EEXIST` if the interface has the address.
    pub fn add_address(&mut self, index: u32, ip: IpAddr, prefix: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(ip);
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
        let broadcast = IpPrefix::new(ip, prefix).and_then(IpPrefix::broadcast);
        message.attributes.extend(broadcast.map(AddressAttribute::Broadcast));
        self.request(
            &format!("add {ip}/{prefix} to interface {index}"),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
    }

    /// Adds a single address, of which the prefix has all bits, to an interface. The kernel uses it
    /// at once, without a probe for duplicates, and makes no route to neighbours.
    ///
    /// # Errors
    /// `EEXIST` if the interface has the address.
    pub fn add_single_address(&mut self, index: u32, ip: IpAddr) -> Result<()> {
        let mut message = single(index, ip);
        message.attributes.push(AddressAttribute::Address(ip));
        if ip.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        self.request(
            &format!("add {ip} to interface {index}"),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
    }

    /// Deletes a single address of an interface, of which the prefix has all bits.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if the interface does not have it.
    pub fn del_single_address(&mut self, index: u32, ip: IpAddr) -> Result<()> {
        let action = format!("delete {ip} of interface {index}");
        self.request(&action, RouteNetlinkMessage::DelAddress(single(index, ip)), 0)?;
        Ok(())
    }

    /// Deletes an address with a prefix of `prefix` bits of an interface.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if the interface does not have it.
    pub fn del_address(&mut self, index: u32, ip: IpAddr, prefix: u8) -> Result<()> {
        let mut message = single(index, ip);
        message.header.prefix_len = prefix;
        self.request(
            &format!("delete {ip}/{prefix} of interface {index}"),
            RouteNetlinkMessage::DelAddress(message),
            0,
        )?;
        Ok(())
    }

    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// The request failed.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answer = self.dump("list the addresses", &message)?;
        let addresses = answer.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => address(message),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Adds the neighbour `ip` with the address `mac`, permanent or reachable.
    ///
    /// # Errors
    /// `ENODEV` if there is no such interface, `ENETDOWN` if it is down.
    pub fn add_neighbour(
        &mut self,
        index: u32,
        ip: IpAddr,
        mac: MacAddr,
        permanent: bool,
    ) -> Result<()> {
        let mut message = neighbour(index, ip);
        message.header.state =
            if permanent { NeighbourState::Permanent } else { NeighbourState::Reachable };
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
        self.request(
            &format!("add the neighbour {ip} at {mac} to interface {index}"),
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )?;
        Ok(())
    }

    /// Deletes the neighbour `ip`.
    ///
    /// # Errors
    /// `ENOENT` if there is none.
    pub fn del_neighbour(&mut self, index: u32, ip: IpAddr) -> Result<()> {
        self.request(
            &format!("delete the neighbour {ip} of interface {index}"),
            RouteNetlinkMessage::DelNeighbour(neighbour(index, ip)),
            0,
        )?;
        Ok(())
    }
}

pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut local, mut other) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            // On a point-to-point interface this is the address of the peer.
            AddressAttribute::Address(ip) => other = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Address {
        index: header.index,
        at: IpPrefix::new(local.or(other)?, header.prefix_len)?,
        tentative: flags.contains(AddressFlags::Tentative),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}

fn single(index: u32, ip: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(ip);
    message.header.prefix_len = if ip.is_ipv4() { 32 } else { 128 };
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(ip)];
    message
}

fn neighbour(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(ip.into())];
    message
}

pub(super) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
