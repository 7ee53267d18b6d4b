//! [`HostPlan`]: which addresses, routes and neighbours the host's link on a parent is to have. Pure
//! computation, from the addresses of the host.
//!
//! The source of a route is an address that was given, or a derived one:
//!
//! * IPv4: the parent's address in the network of the destination. The link does not get it, since
//!   the host would announce it with two MAC addresses; and its ARP requests, which all hosts on the
//!   wire hear, would teach them the wrong one. So destinations are permanent neighbours, and the
//!   link answers ARP for them only (`arp_filter`).
//! * IPv6: an address of the link's own in the parent's network, of its MAC address (modified EUI-64 of
//!   RFC 4291), as IPAM plugins do not choose any.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use umacvlan_api::HostAccess;
use umacvlan_core::{Destination, IpPrefix, MacAddr};

/// The longest IPv6 prefix in which an address has room for a MAC address.
const EUI64_PREFIX: u8 = 64;

/// A link that the host reaches.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) access: HostAccess,
    /// The address of the link.
    pub(super) mac: MacAddr,
}

/// The host, as far as it matters for its link on a parent.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The present name of the parent.
    pub(super) parent: String,
    /// Addresses of the parent's interface; none if it is a VLAN without an interface.
    pub(super) addresses: Vec<IpPrefix>,
    /// The address of the host's link.
    pub(super) mac: MacAddr,
}

/// What the host's link on a parent is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostPlan {
    /// Its addresses, each with all bits as prefix.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Destinations, each with the source of packets to it.
    pub(super) routes: Vec<(IpPrefix, IpAddr)>,
    /// Permanent neighbours.
    pub(super) neighbours: Vec<(IpAddr, MacAddr)>,
}

/// A source for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// An address of the link's own.
    Own(IpAddr),
    /// The parent's address.
    Parent(IpAddr),
}

impl HostPlan {
    /// The plan for these links, and a text for each destination that has no source by now.
    pub(super) fn new(host: &Host, links: &[Reached]) -> (Self, Vec<String>) {
        let (mut plan, mut problems) = (Self::default(), Vec::new());
        for Reached { access, mac } in links {
            for &to in &access.to {
                match host.source(to, access) {
                    Ok(source) => plan.add(to, source, *mac),
                    Err(why) => problems.push(why),
                }
            }
        }
        (plan, problems)
    }

    fn add(&mut self, to: Destination, source: Source, mac: MacAddr) {
        if self.routes.iter().any(|(other, _)| *other == to.prefix()) {
            return;
        }
        let (Source::Own(ip) | Source::Parent(ip)) = source;
        match source {
            Source::Own(ip) => drop(self.addresses.insert(ip)),
            Source::Parent(_) => self.neighbours.extend(to.address().map(|ip| (ip, mac))),
        }
        self.routes.push((to.prefix(), ip));
    }
}

impl Host {
    /// Checks that the host can have access of this kind. `all` has the addresses of all its
    /// interfaces, `others` the access to other links of the parent.
    ///
    /// # Errors The first reason why not.
    pub(super) fn check(
        &self,
        access: &HostAccess,
        all: &[IpPrefix],
        others: &[Reached],
    ) -> Result<(), String> {
        let HostAccess { to, from } = access;
        if to.is_empty() && !from.is_empty() {
            return Err("the host has addresses for this link, which has none that it could \
                        reach: name the link's own, too"
                .to_owned());
        }
        let named = to.iter().map(|to| to.prefix().ip()).chain(from.iter().copied());
        if let Some(ip) = named.into_iter().find(|&ip| !is_unicast(ip)) {
            return Err(format!("{ip} is not the address of a host"));
        }
        let froms = others.iter().flat_map(|other| &other.access.from).chain(from);
        let hosts = all.iter().map(|at| at.ip()).chain(froms.copied());
        for ip in hosts {
            if let Some(to) = to.iter().find(|to| to.prefix().contains(ip)) {
                return Err(format!(
                    "the host itself has the address {ip}, so {to} cannot be the link's: choose \
                     another one for either"
                ));
            }
        }
        let theirs = others.iter().flat_map(|other| &other.access.to);
        for to in theirs {
            if let Some(ip) = from.iter().find(|&&ip| to.prefix().contains(ip)) {
                return Err(format!(
                    "the host cannot have the address {ip}, since a link has {to}: choose another \
                     one, which containers do not get"
                ));
            }
        }
        to.iter().try_for_each(|&to| self.source(to, access).map(drop))
    }

    /// Checks that there is a source of packets to addresses in a network.
    ///
    /// # Errors There is none.
    pub(super) fn check_network(&self, network: IpPrefix, from: &[IpAddr]) -> Result<(), String> {
        let here = self.addresses.iter().find(|at| network.contains(at.ip()));
        // Another address of the network does as an example.
        let example = here.map_or_else(|| network.ip(), |at| at.ip());
        let access = HostAccess { to: Vec::new(), from: from.to_vec() };
        self.source(example.into(), &access).map(drop).map_err(|why| match here {
            Some(_) => why,
            None => format!(
                "the host has no address in {network}: interface {} has none, and none is given",
                self.parent
            ),
        })
    }

    /// The source of packets to `to`.
    fn source(&self, to: Destination, access: &HostAccess) -> Result<Source, String> {
        let first = to.prefix().ip();
        let given = access.from.iter().find(|ip| ip.is_ipv4() == first.is_ipv4());
        if let Some(&ip) = given {
            return Ok(Source::Own(ip));
        }
        let parent = &self.parent;
        let near = |at: &&IpPrefix| at.prefix_len() <= to.prefix().prefix_len();
        let mut near = self.addresses.iter().filter(near).filter(|at| at.contains(first));
        let Some(at) = near.next() else {
            return Err(format!(
                "the host has no address for {to}: interface {parent} has none in that network; \
                 give the host an address of its own"
            ));
        };
        match at.ip() {
            IpAddr::V4(_) if to.address().is_none() => Err(format!(
                "the host needs an address of its own to reach a network, {to}, and not single \
                 addresses: give it one"
            )),
            IpAddr::V4(ip) => Ok(Source::Parent(ip.into())),
            IpAddr::V6(_) if at.prefix_len() > EUI64_PREFIX => Err(format!(
                "the host's address for {to} cannot be derived from {at} of {parent}, whose prefix \
                 is longer than {EUI64_PREFIX} bits: give the host an address of its own"
            )),
            IpAddr::V6(ip) => Ok(Source::Own(eui64(ip, self.mac).into())),
        }
    }
}

/// The address of a MAC address in the network of the first 64 bits of `network` (RFC 4291, appendix A).
fn eui64(network: Ipv6Addr, mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let network = network.to_bits() >> 64 << 64;
    Ipv6Addr::from_bits(network | u128::from(id))
}

fn is_unicast(ip: IpAddr) -> bool {
    let own_link = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !own_link && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(to: &[&str], from: &[&str]) -> HostAccess {
        HostAccess {
            to: to.iter().map(|text| text.parse().unwrap()).collect(),
            from: from.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    fn reached(last: u8, to: &[&str], from: &[&str]) -> Reached {
        Reached { access: access(to, from), mac: MacAddr::new([2, 0, 0, 0, 0, last]) }
    }

    fn host(addresses: &[&str]) -> Host {
        Host {
            parent: "p0".to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            mac: MacAddr::new([2, 0, 0, 0, 0, 0xaa]),
        }
    }

    fn shown(plan: &HostPlan) -> Vec<String> {
        let addresses = plan.addresses.iter().map(|ip| format!("address {ip}"));
        let routes = plan.routes.iter().map(|(to, from)| format!("route {to} from {from}"));
        let neighbours = plan.neighbours.iter().map(|(ip, mac)| format!("neighbour {ip} {mac}"));
        addresses.chain(routes).chain(neighbours).collect()
    }

    #[test]
    fn the_source_is_derived_from_the_parents_addresses() {
        let host = host(&["10.1.0.1/24", "10.2.0.1/24", "fd00:1::1/64"]);
        let links = [
            reached(1, &["10.2.0.5", "fd00:1::5"], &[]),
            reached(2, &["10.1.0.6"], &[]),
            // Named by two links: the first has it.
            reached(3, &["10.1.0.6"], &[]),
        ];
        let (plan, problems) = HostPlan::new(&host, &links);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            shown(&plan),
            [
                "address fd00:1::ff:fe00:aa",
                "route 10.2.0.5/32 from 10.2.0.1",
                "route fd00:1::5/128 from fd00:1::ff:fe00:aa",
                "route 10.1.0.6/32 from 10.1.0.1",
                "neighbour 10.2.0.5 02:00:00:00:00:01",
                "neighbour 10.1.0.6 02:00:00:00:00:02",
            ]
        );
    }

    #[test]
    fn a_given_address_is_the_links_own_and_serves_networks_as_well() {
        let links = [reached(1, &["10.1.0.64/26", "fd00::5"], &["10.1.0.9", "fd00::9"])];
        let (plan, problems) = HostPlan::new(&host(&[]), &links);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            shown(&plan),
            [
                "address 10.1.0.9",
                "address fd00::9",
                "route 10.1.0.64/26 from 10.1.0.9",
                "route fd00::5/128 from fd00::9",
            ]
        );
    }

    #[test]
    fn a_destination_without_a_source_is_left_out_and_told() {
        let links = [reached(1, &["10.9.0.5", "10.1.0.5"], &[])];
        let (plan, problems) = HostPlan::new(&host(&["10.1.0.1/24"]), &links);
        assert_eq!(plan.routes.len(), 1);
        assert!(problems[0].contains("no address for 10.9.0.5: interface p0"), "{problems:?}");
    }

    #[test]
    fn a_network_needs_an_address_of_the_host() {
        let host = host(&["10.1.0.1/24", "fd00:2::1/96"]);
        let check = |network: &str, from: &[&str]| {
            host.check_network(network.parse().unwrap(), &access(&[], from).from)
        };
        assert_eq!(check("10.1.0.0/24", &[]), Ok(()));
        assert_eq!(check("10.1.0.0/16", &[]), Ok(()));
        assert_eq!(check("10.9.0.0/24", &["10.9.0.1"]), Ok(()));
        for (network, from, why) in [
            ("10.9.0.0/24", &[][..], "no address in 10.9.0.0/24: interface p0 has none"),
            ("fd00:1::/64", &["10.9.0.1"], "no address in fd00:1::/64"),
            ("fd00:2::/96", &[], "longer than 64 bits"),
        ] {
            let refused = check(network, from).unwrap_err();
            assert!(refused.contains(why), "{network}: {refused}");
        }
    }

    #[test]
    fn access_that_cannot_work_is_refused_with_the_reason() {
        let host = host(&["10.1.0.1/24", "fd00:1::1/64", "fd00:2::1/96"]);
        let all: Vec<IpPrefix> =
            host.addresses.iter().copied().chain(["10.7.0.1/24".parse().unwrap()]).collect();
        let others = [reached(1, &["10.1.0.5", "10.1.0.64/26"], &["10.1.0.9"])];
        let check = |to: &[&str], from: &[&str]| host.check(&access(to, from), &all, &others);
        for (to, from) in [
            (&["10.1.0.6"][..], &[][..]),
            (&["10.1.0.128/26"], &["10.1.0.10"]),
            (&["fd00:1::6"], &[]),
            // The same address of the host for several links.
            (&["10.1.0.6"], &["10.1.0.9"]),
        ] {
            assert_eq!(check(to, from), Ok(()), "{to:?} {from:?}");
        }
        for (to, from, why) in [
            (&["10.1.0.1"][..], &[][..], "the host itself has the address 10.1.0.1"),
            (&["10.1.0.0/24"], &["10.1.0.10"], "the host itself has the address 10.1.0.1"),
            (&["0.0.0.0/0"], &["10.1.0.10"], "0.0.0.0 is not the address of a host"),
            (&["10.7.0.1"], &["10.1.0.10"], "the host itself has the address 10.7.0.1"),
            (&["10.1.0.9"], &["10.1.0.10"], "the host itself has the address 10.1.0.9"),
            (&["10.1.0.7"], &["10.1.0.7"], "the host itself has the address 10.1.0.7"),
            (&["10.1.0.7"], &["10.1.0.5"], "since a link has 10.1.0.5"),
            (&["10.1.0.7"], &["10.1.0.70"], "since a link has 10.1.0.64/26"),
            (&["10.1.0.128/26"], &[], "an address of its own to reach a network"),
            (&["10.9.0.1"], &[], "interface p0 has none in that network"),
            (&["fd00:2::5"], &[], "longer than 64 bits"),
            (&["fd00:1::5"], &["10.1.0.10", "fe80::1"], "fe80::1 is not"),
            (&["224.0.0.1"], &[], "224.0.0.1 is not"),
            (&[], &["10.1.0.10"], "name the link's own, too"),
        ] {
            let refused = check(to, from).unwrap_err();
            assert!(refused.contains(why), "{to:?} {from:?}: {refused}");
        }
    }
}
