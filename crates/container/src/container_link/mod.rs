//! A link for a container: the daemon creates it in the container's namespace ([`create`]), and the
//! plugin configures addresses and routes there ([`ContainerLink`]).

mod lease;
mod link;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{self as netlink, IpPrefix, Route, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;

pub(crate) use lease::{Lease, NoLease, assigned, wait_for_lease};
pub(crate) use link::{change, create, default_parent, remove};

/// How long to wait for IPv6 duplicate address detection, which takes about a second.
const DAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between two looks at the state of the addresses.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// An interface in the namespace of a container.
#[derive(Debug)]
pub(crate) struct ContainerLink<'a> {
    netns: &'a Netns,
    rtnl: Rtnl,
    name: String,
    index: u32,
    mac: Option<MacAddr>,
}

impl<'a> ContainerLink<'a> {
    /// The interface called `name` in `netns`.
    ///
    /// # Errors
    /// The interface does not exist.
    pub(crate) fn find(netns: &'a Netns, name: &str) -> Result<Self> {
        let mut rtnl = Rtnl::open_in(netns)?;
        let Some(link) = rtnl.link(name)? else {
            bail!("there is no interface {name} in the namespace any more");
        };
        let (index, mac) = (link.index, link.mac);
        Ok(Self { netns, rtnl, name: name.to_owned(), index, mac })
    }

    /// The MAC address at the time of [`Self::find`].
    pub(crate) const fn mac(&self) -> Option<MacAddr> {
        self.mac
    }

    /// Adds addresses, sets the interface up, adds routes, and announces the addresses to the
    /// neighbours. Routes without an interface get this one. With `wait_for_dad` it returns once
    /// duplicate address detection has finished.
    ///
    /// # Errors
    /// The first refusal of the kernel, or an address that another host has.
    pub(crate) fn configure(
        &mut self,
        addresses: &[IpPrefix],
        routes: &[Route],
        wait_for_dad: bool,
    ) -> Result<()> {
        self.announce();
        if addresses.iter().any(|at| at.ip().is_ipv6()) {
            self.enable_ipv6()?;
        }
        for at in addresses {
            self.rtnl.add_address(self.index, at.ip(), at.prefix_len())?;
        }
        self.rtnl.set_up(self.index, true)?;
        if wait_for_dad {
            self.wait_for_dad()?;
        }
        for route in routes {
            let index = route.index.unwrap_or(self.index);
            self.rtnl.add_route(&Route { index: Some(index), ..*route })?;
        }
        Ok(())
    }

    /// The IP addresses of the interface.
    ///
    /// # Errors
    /// The netlink request failed.
    pub(crate) fn addresses(&mut self) -> netlink::Result<Vec<IpPrefix>> {
        let all = self.rtnl.addresses()?.into_iter();
        Ok(all.filter(|address| address.index == self.index).map(|address| address.at).collect())
    }

    /// The routes of the whole namespace.
    ///
    /// # Errors
    /// The netlink request failed.
    pub(crate) fn all_routes(&mut self) -> netlink::Result<Vec<Route>> {
        self.rtnl.routes()
    }

    /// Makes the kernel announce the addresses when the interface comes up or gets another MAC
    /// address: the neighbours may have a former owner in their tables. Without these settings
    /// nothing is announced.
    fn announce(&self) {
        for setting in ["ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify"] {
            let _ = set_sysctl(self.netns, &setting.replace("{}", &self.name), "1");
        }
    }

    /// Enables IPv6, which container runtimes disable for new interfaces, and keeps the addresses
    /// while the interface is down.
    fn enable_ipv6(&self) -> Result<()> {
        for (name, setting, value) in [
            ("lo", "disable_ipv6", "0"),
            (self.name.as_str(), "disable_ipv6", "0"),
            (self.name.as_str(), "keep_addr_on_down", "1"),
        ] {
            set_sysctl(self.netns, &format!("ipv6/conf/{name}/{setting}"), value)
                .context("cannot switch IPv6 on for the container")?;
        }
        Ok(())
    }

    /// Waits for IPv6 duplicate address detection.
    fn wait_for_dad(&mut self) -> Result<()> {
        let end = Instant::now() + DAD_TIMEOUT;
        loop {
            let all = self.rtnl.addresses()?;
            let own = || all.iter().filter(|address| address.index == self.index);
            if let Some(taken) = own().find(|address| address.duplicate) {
                bail!(
                    "another host has the address {} already: give {} another one, or stop that \
                     host",
                    taken.at.ip(),
                    self.name
                );
            }
            match own().find(|address| address.tentative) {
                None => return Ok(()),
                Some(waiting) if Instant::now() >= end => bail!(
                    "duplicate address detection of {} on {} does not finish: does the parent have \
                     a carrier?",
                    waiting.at.ip(),
                    self.name
                ),
                Some(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_netlink::Address;
    use umacvlan_testkit::root_or_skip;

    use super::*;

    /// A namespace with the veth pair `a` and `b`; `b` is up.
    fn veth_pair() -> (Netns, Rtnl) {
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("a", "b", None).unwrap();
        let b = rtnl.link("b").unwrap().unwrap().index;
        rtnl.set_up(b, true).unwrap();
        (netns, rtnl)
    }

    #[test]
    fn an_interface_gets_its_addresses_and_routes_and_is_up() {
        if !root_or_skip() {
            return;
        }
        let (netns, mut rtnl) = veth_pair();
        // Container runtimes leave it so.
        set_sysctl(&netns, "ipv6/conf/a/disable_ipv6", "1").unwrap();
        let addresses: Vec<IpPrefix> =
            ["10.1.2.3/24", "fd00::3/64"].map(|text| text.parse().unwrap()).into();
        let to = |to: &str, via: Option<&str>| Route {
            via: via.map(|via| via.parse().unwrap()),
            ..Route::new(to.parse().unwrap())
        };
        let routes = [
            to("0.0.0.0/0", Some("10.1.2.1")),
            to("::/0", Some("fd00::1")),
            to("10.9.0.0/16", None),
        ];
        let mut link = ContainerLink::find(&netns, "a").unwrap();
        link.configure(&addresses, &routes, true).unwrap();

        assert!(rtnl.link("a").unwrap().unwrap().is_up());
        let found = link.addresses().unwrap();
        assert!(addresses.iter().all(|at| found.contains(at)), "{found:?}");
        let listed = rtnl.addresses().unwrap();
        let own = |address: &&Address| addresses.contains(&address.at);
        assert!(listed.iter().filter(own).all(|address| !address.tentative), "{listed:?}");
        let found = link.all_routes().unwrap();
        for route in routes {
            let same = |other: &&Route| other.to == route.to && other.via == route.via;
            assert!(found.iter().any(|other| same(&other)), "{route:?}: {found:#?}");
        }
    }

    #[test]
    fn an_address_of_another_host_is_an_error() {
        if !root_or_skip() {
            return;
        }
        let (netns, mut rtnl) = veth_pair();
        let other = Netns::create().unwrap();
        let b = rtnl.link("b").unwrap().unwrap().index;
        rtnl.set_netns(b, &other).unwrap();
        let mut there = Rtnl::open_in(&other).unwrap();
        let b = there.link("b").unwrap().unwrap().index;
        set_sysctl(&other, "ipv6/conf/b/accept_dad", "0").unwrap();
        let taken: IpPrefix = "fd00::3/64".parse().unwrap();
        there.add_address(b, taken.ip(), 64).unwrap();
        there.set_up(b, true).unwrap();

        let error =
            ContainerLink::find(&netns, "a").unwrap().configure(&[taken], &[], true).unwrap_err();
        assert!(error.to_string().contains("has the address fd00::3 already"), "{error}");
    }

    #[test]
    fn a_missing_interface_and_a_refused_route_are_errors() {
        if !root_or_skip() {
            return;
        }
        let (netns, _rtnl) = veth_pair();
        let error = ContainerLink::find(&netns, "eth0").unwrap_err().to_string();
        assert!(error.contains("no interface eth0"), "{error}");
        let via = Some("192.0.2.1".parse().unwrap());
        let route = Route { via, ..Route::new("10.9.0.0/16".parse().unwrap()) };
        let error =
            ContainerLink::find(&netns, "a").unwrap().configure(&[], &[route], true).unwrap_err();
        assert!(error.to_string().contains("a route to 10.9.0.0/16 via 192.0.2.1"), "{error}");
    }
}
