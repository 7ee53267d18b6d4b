//! A link for a container: made by the daemon in the container's namespace, and given addresses
//! and routes there by whoever asked for it.

mod link;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{self as netlink, IpPrefix, Route, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;

pub(crate) use link::{default_parent, make, remove};

/// How long the kernel may ask for other stations with the same IPv6 addresses: it takes about a
/// second.
const SETTLED: Duration = Duration::from_secs(10);

/// How often it is looked whether it has done so.
const LOOK: Duration = Duration::from_millis(20);

/// An interface in a namespace.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    netns: &'a Netns,
    rtnl: Rtnl,
    name: String,
    index: u32,
    mac: Option<MacAddr>,
}

impl<'a> Inside<'a> {
    /// The interface called `name` in `netns`.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn find(netns: &'a Netns, name: &str) -> Result<Self> {
        let mut rtnl = Rtnl::open_in(netns)?;
        let Some(link) = rtnl.link(name)? else {
            bail!("there is no interface {name} in the namespace any more");
        };
        let (index, mac) = (link.index, link.mac);
        Ok(Self { netns, rtnl, name: name.to_owned(), index, mac })
    }

    /// The address that it had when it was found.
    pub(crate) const fn mac(&self) -> Option<MacAddr> {
        self.mac
    }

    /// Gives it addresses, sets it up and adds routes, in the order in which the kernel takes
    /// them, and tells the neighbours of the addresses. Routes without an interface get this one.
    /// With `settle` it returns once no IPv6 address waits for its probe.
    ///
    /// # Errors
    /// The first thing that the kernel refuses, or that another station has an address.
    pub(crate) fn set_up(
        &mut self,
        addresses: &[IpPrefix],
        routes: &[Route],
        settle: bool,
    ) -> Result<()> {
        self.announce();
        if addresses.iter().any(|at| at.ip().is_ipv6()) {
            self.enable_ipv6()?;
        }
        for at in addresses {
            self.rtnl.add_address(self.index, at.ip(), at.prefix_len())?;
        }
        self.rtnl.set_up(self.index, true)?;
        if settle {
            self.settle()?;
        }
        for route in routes {
            let index = route.index.unwrap_or(self.index);
            self.rtnl.add_route(&Route { index: Some(index), ..*route })?;
        }
        Ok(())
    }

    /// Its addresses.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(crate) fn addresses(&mut self) -> netlink::Result<Vec<IpPrefix>> {
        let all = self.rtnl.addresses()?.into_iter();
        Ok(all.filter(|address| address.index == self.index).map(|address| address.at).collect())
    }

    /// The routes of the whole namespace.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(crate) fn all_routes(&mut self) -> netlink::Result<Vec<Route>> {
        self.rtnl.routes()
    }

    /// Has the kernel tell the neighbours of its addresses when it comes up or gets another MAC
    /// address: one that had them before may be in their tables. A kernel that cannot is as it
    /// was before.
    fn announce(&self) {
        for setting in ["ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify"] {
            let _ = set_sysctl(self.netns, &setting.replace("{}", &self.name), "1");
        }
    }

    /// Container runtimes switch IPv6 off for interfaces to come. Addresses stay while it is down.
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

    /// Waits until the kernel knows of every IPv6 address whether it is the only one.
    fn settle(&mut self) -> Result<()> {
        let end = Instant::now() + SETTLED;
        loop {
            let all = self.rtnl.addresses()?;
            let own = || all.iter().filter(|address| address.index == self.index);
            if let Some(taken) = own().find(|address| address.duplicate) {
                bail!(
                    "another station has the address {} already: give {} another one, or stop \
                     that station",
                    taken.at.ip(),
                    self.name
                );
            }
            match own().find(|address| address.tentative) {
                None => return Ok(()),
                Some(waiting) if Instant::now() >= end => bail!(
                    "the kernel does not come to an end with probing for {} on {}: has its parent \
                     a carrier?",
                    waiting.at.ip(),
                    self.name
                ),
                Some(_) => thread::sleep(LOOK),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_netlink::Address;
    use umacvlan_testkit::root_or_skip;

    use super::*;

    /// A namespace with the veth pair `a` and `b`, of which `b` is up.
    fn place() -> (Netns, Rtnl) {
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
        let (netns, mut rtnl) = place();
        // As a container runtime leaves it.
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
        let mut inside = Inside::find(&netns, "a").unwrap();
        inside.set_up(&addresses, &routes, true).unwrap();

        assert!(rtnl.link("a").unwrap().unwrap().is_up());
        let found = inside.addresses().unwrap();
        assert!(addresses.iter().all(|at| found.contains(at)), "{found:?}");
        let listed = rtnl.addresses().unwrap();
        let own = |address: &&Address| addresses.contains(&address.at);
        assert!(listed.iter().filter(own).all(|address| !address.tentative), "{listed:?}");
        let found = inside.all_routes().unwrap();
        for route in routes {
            let same = |other: &&Route| other.to == route.to && other.via == route.via;
            assert!(found.iter().any(|other| same(&other)), "{route:?}: {found:#?}");
        }
    }

    #[test]
    fn an_address_that_another_station_has_is_told() {
        if !root_or_skip() {
            return;
        }
        let (netns, mut rtnl) = place();
        let other = Netns::create().unwrap();
        let b = rtnl.link("b").unwrap().unwrap().index;
        rtnl.set_netns(b, &other).unwrap();
        let mut there = Rtnl::open_in(&other).unwrap();
        let b = there.link("b").unwrap().unwrap().index;
        set_sysctl(&other, "ipv6/conf/b/accept_dad", "0").unwrap();
        let taken: IpPrefix = "fd00::3/64".parse().unwrap();
        there.add_address(b, taken.ip(), 64).unwrap();
        there.set_up(b, true).unwrap();

        let error = Inside::find(&netns, "a").unwrap().set_up(&[taken], &[], true).unwrap_err();
        assert!(error.to_string().contains("has the address fd00::3 already"), "{error}");
    }

    #[test]
    fn what_is_not_there_and_what_is_refused_is_told() {
        if !root_or_skip() {
            return;
        }
        let (netns, _rtnl) = place();
        let error = Inside::find(&netns, "eth0").unwrap_err().to_string();
        assert!(error.contains("no interface eth0"), "{error}");
        let via = Some("192.0.2.1".parse().unwrap());
        let route = Route { via, ..Route::new("10.9.0.0/16".parse().unwrap()) };
        let error = Inside::find(&netns, "a").unwrap().set_up(&[], &[route], true).unwrap_err();
        assert!(error.to_string().contains("a route to 10.9.0.0/16 via 192.0.2.1"), "{error}");
    }
}
