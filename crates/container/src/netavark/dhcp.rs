//! `ipam_options.driver = "dhcp"`: the daemon gets the address, and `setup` waits for it.

use anyhow::{Result, bail, ensure};
use umacvlan_api::Dhcp;

use super::network::{Address, Interface, Ipam, Network, Status};
use super::options::Options;
use crate::container_link::Lease;

impl Network {
    /// Who a container is to DHCP servers: its MAC address. `None` if none is asked.
    ///
    /// # Errors
    /// The IPAM driver is unknown.
    pub(super) fn dhcp(&self) -> Result<Option<Dhcp>> {
        Ok((self.ipam()? == Some(Ipam::Dhcp)).then(Dhcp::default))
    }

    /// Refuses what an IPAM driver `dhcp` cannot do, or another one.
    ///
    /// # Errors
    /// The first such option.
    pub(super) fn check_dhcp(&self, options: &Options) -> Result<()> {
        let given = |name| self.options.as_ref().is_some_and(|options| options.contains_key(name));
        if self.dhcp()?.is_none() {
            ensure!(!given("dhcp_timeout"), "network option dhcp_timeout is for ipam driver dhcp");
            return Ok(());
        }
        for (given, what, why) in [
            (!self.subnets().is_empty(), "subnet", "the server names it"),
            (self.internal, "--internal", "the server names the routes"),
            (options.no_default_route, "-o no_default_route", "the server names the routes"),
            (given("metric"), "-o metric", "the daemon adds the routes"),
            (options.host.is_some(), "-o host", "the address may change"),
        ] {
            if given {
                bail!("ipam driver dhcp takes no {what}: {why}");
            }
        }
        Ok(())
    }
}

/// The answer to `setup`: the interface `name` has what a server gave.
pub(super) fn status(name: &str, mac_address: String, lease: Lease) -> Status {
    let Lease { address: ipnet, gateway, dns, domain, .. } = lease;
    let interface = Interface { mac_address, subnets: vec![Address { gateway, ipnet }] };
    Status {
        dns_search_domains: domain.into_iter().collect(),
        dns_server_ips: dns,
        interfaces: [(name.to_owned(), interface)].into(),
    }
}
