//! Addresses, neighbours and routes: what a namespace needs before it can talk IP.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use umacvlan_core::MacAddr;

use super::{Result, Rtnl};

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
        self.request(
            &format!("add {ip}/{prefix} to interface {index}"),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
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

    /// Sends everything without a better route to `via`.
    ///
    /// # Errors
    /// `ENETUNREACH` if `via` is in no network of the namespace, `EEXIST` if there is such a route.
    pub fn add_default_route(&mut self, via: IpAddr) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(via),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Gateway(via.into())];
        self.request(
            &format!("add a default route via {via}"),
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        Ok(())
    }
}

fn neighbour(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(ip.into())];
    message
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
