//! Addresses and neighbours: what a namespace needs before it can talk IP.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use umacvlan_core::MacAddr;

use super::{IpPrefix, Result, Rtnl};

/// An address that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Number of the interface.
    pub index: u32,
    /// The address and its network.
    pub at: IpPrefix,
    /// The kernel still asks whether another station has it, and does not use it yet.
    pub tentative: bool,
    /// Another station has it, so the kernel does not use it.
    pub duplicate: bool,
}

impl Rtnl {
    /// Gives an interface an address and the network of its first `prefix` bits. The kernel
    /// probes an IPv6 address for duplicates before it uses it, unless `accept_dad` is 0.
    ///
    /// # Errors
    /// `EEXIST` if it has the address.
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

    /// Every address of every interface.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answer = self.dump("list the addresses", &message)?;
        let addresses = answer.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => address(message),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Tells the namespace that `ip` has the address `mac`, for good or until it is doubted.
    ///
    /// # Errors
    /// `ENODEV` if the interface is gone, `ENETDOWN` if it is down.
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

    /// Makes the namespace forget the neighbour `ip`.
    ///
    /// # Errors
    /// `ENOENT` if it knew none.
    pub fn del_neighbour(&mut self, index: u32, ip: IpAddr) -> Result<()> {
        self.request(
            &format!("delete the neighbour {ip} of interface {index}"),
            RouteNetlinkMessage::DelNeighbour(neighbour(index, ip)),
            0,
        )?;
        Ok(())
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let header = &message.header;
    let (mut near, mut any) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => near = Some(*ip),
            // That of the other end, on an interface between two.
            AddressAttribute::Address(ip) => any = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Address {
        index: header.index,
        at: IpPrefix::new(near.or(any)?, header.prefix_len)?,
        tentative: flags.contains(AddressFlags::Tentative),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    })
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
