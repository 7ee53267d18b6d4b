//! [`Route`]: the IP routes of a namespace.

use std::net::IpAddr;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteProtocol, RouteScope, RouteType,
};

use super::address::family;
use super::{IpPrefix, Result, Rtnl};

/// A unicast route, through a next hop or directly on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination; its host bits are ignored.
    pub to: IpPrefix,
    /// The next hop; `None` if the hosts of `to` are on the link.
    pub via: Option<IpAddr>,
    /// The interface; `None` is that of the next hop's network.
    pub index: Option<u32>,
    /// The route with the smaller metric is preferred; `None` is the kernel's default: 0 for IPv4, 1024
    /// for IPv6.
    pub metric: Option<u32>,
    /// The path MTU, in bytes.
    pub mtu: Option<u32>,
    /// The segment size that TCP advertises, in bytes.
    pub advmss: Option<u32>,
    /// The routing table.
    pub table: u32,
    /// The scope (`RT_SCOPE_*`); `None` is universe with a next hop, and link without.
    pub scope: Option<u8>,
    /// The source address of packets whose sender has not chosen one; `None` is the kernel's choice.
    pub source: Option<IpAddr>,
    /// The maker of the route (`RTPROT_*`), of which the kernel knows the first few only.
    pub protocol: u8,
}

impl Route {
    /// The main routing table (linux/rtnetlink.h).
    pub const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;
    /// The maker of routes that an administrator adds (`RTPROT_STATIC` of linux/rtnetlink.h).
    pub const STATIC: u8 = 4;

    /// A route to `to` in the main table, with the kernel's defaults.
    pub const fn new(to: IpPrefix) -> Self {
        Self {
            to,
            via: None,
            index: None,
            metric: None,
            mtu: None,
            advmss: None,
            table: Self::MAIN_TABLE,
            scope: None,
            source: None,
            protocol: Self::STATIC,
        }
    }

    fn message(&self) -> RouteMessage {
        let to = self.to.network();
        let default_scope =
            if self.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(to.ip()),
            destination_prefix_length: to.prefix_len(),
            // The attribute below has the full number.
            table: u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
            protocol: RouteProtocol::from(self.protocol),
            scope: self.scope.map_or(default_scope, RouteScope::from),
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        if to.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(to.ip().into()));
        }
        attributes.extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        attributes.extend(self.index.map(RouteAttribute::Oif));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        attributes.extend(self.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
        let sizes = self.mtu.map(RouteMetric::Mtu).into_iter();
        let sizes: Vec<_> = sizes.chain(self.advmss.map(RouteMetric::Advmss)).collect();
        if !sizes.is_empty() {
            attributes.push(RouteAttribute::Metrics(sizes));
        }
        message
    }

    /// Decodes a message: one route for each next hop; none if it is not a unicast route, or not of IP.
    fn read(message: &RouteMessage) -> Vec<Self> {
        let Some(route) = Self::read_one(message) else { return Vec::new() };
        let hops = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
        hops.map_or_else(|| vec![route], |hops| hops.iter().map(|hop| route.through(hop)).collect())
    }

    /// The same route with this next hop.
    fn through(self, hop: &RouteNextHop) -> Self {
        let via = hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(via) => ip(via),
            _ => None,
        });
        Self { via, index: Some(hop.interface_index), ..self }
    }

    /// Decodes a message, without the next hops of a route that has several.
    fn read_one(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let unicast = header.kind == RouteType::Unicast;
        let unspecified = match header.address_family {
            family if family == super::address::family(V4) => V4,
            family if family == super::address::family(V6) => V6,
            _ => return None,
        };
        let mut route = Self::new(IpPrefix::any(unspecified));
        route.table = header.table.into();
        route.scope = Some(header.scope.into());
        route.protocol = header.protocol.into();
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => {
                    route.to = IpPrefix::new(ip(to)?, header.destination_prefix_length)?;
                }
                RouteAttribute::Gateway(via) => route.via = ip(via),
                RouteAttribute::Oif(index) => route.index = Some(*index),
                RouteAttribute::Priority(metric) => route.metric = Some(*metric),
                RouteAttribute::PrefSource(source) => route.source = ip(source),
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Metrics(sizes) => route.read_sizes(sizes),
                _ => {}
            }
        }
        unicast.then_some(route)
    }

    fn read_sizes(&mut self, sizes: &[RouteMetric]) {
        for size in sizes {
            match size {
                RouteMetric::Mtu(bytes) => self.mtu = Some(*bytes),
                RouteMetric::Advmss(bytes) => self.advmss = Some(*bytes),
                _ => {}
            }
        }
    }
}

impl Rtnl {
    /// Adds a route, beside those to the same network that exist: of equal metric the IPv4 route that
    /// was added last is taken, and IPv6 routes share the traffic.
    ///
    /// # Errors
    /// `ENETUNREACH` if the next hop is not on a network of the namespace, `EEXIST` if the very same
    /// route exists, `ENETDOWN` if the interface is down.
    // Without NLM_F_EXCL, as the reference plugins of CNI and netavark do: a container with two networks
    // has two default routes.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
        self.request(
            &format!("add a route to {}{via}", route.to),
            RouteNetlinkMessage::NewRoute(route.message()),
            NLM_F_CREATE,
        )?;
        Ok(())
    }

    /// Deletes the first route that matches `route`.
    ///
    /// # Errors
    /// `ESRCH` if there is none.
    pub fn del_route(&mut self, route: &Route) -> Result<()> {
        let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
        self.request(
            &format!("delete the route to {}{via}", route.to),
            RouteNetlinkMessage::DelRoute(route.message()),
            0,
        )?;
        Ok(())
    }

    /// Adds a default route through `via`.
    ///
    /// # Errors
    /// As [`add_route`](Self::add_route).
    pub fn add_default_route(&mut self, via: IpAddr) -> Result<()> {
        self.add_route(&Route { via: Some(via), ..Route::new(IpPrefix::any(via)) })
    }

    /// The unicast routes of all tables, IPv4 first. A route with several next hops is a route for each
    /// of them here, as the kernel makes one IPv6 route of all that differ in the next hop only.
    ///
    /// # Errors
    /// The request failed.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for any in [V4, V6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(any);
            let answer = self.dump("list the routes", &RouteNetlinkMessage::GetRoute(message))?;
            routes.extend(answer.iter().flat_map(|message| match message {
                RouteNetlinkMessage::NewRoute(message) => Route::read(message),
                _ => Vec::new(),
            }));
        }
        Ok(routes)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_and_decoding_a_route_are_inverse() {
        let to = |text: &str| Route::new(text.parse().unwrap());
        for route in [
            Route { scope: Some(253), ..to("10.1.0.0/16") },
            Route {
                via: Some("fd00::1".parse().unwrap()),
                index: Some(7),
                metric: Some(99),
                mtu: Some(1400),
                advmss: Some(1200),
                table: 1000,
                scope: Some(0),
                source: Some("fd00::7".parse().unwrap()),
                protocol: 200,
                ..to("::/0")
            },
        ] {
            assert_eq!(Route::read(&route.message()), [route]);
        }
    }

    #[test]
    fn a_route_without_a_next_hop_has_link_scope() {
        let scope = |route: Route| route.message().header.scope;
        let near = Route::new("10.1.2.0/24".parse().unwrap());
        assert_eq!(scope(near), RouteScope::Link);
        let far = Route { via: Some("10.1.2.9".parse().unwrap()), ..near };
        assert_eq!(scope(far), RouteScope::Universe);
        assert_eq!(scope(Route { scope: Some(200), ..far }), RouteScope::Site);
    }
}
