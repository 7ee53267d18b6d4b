//! The JSON types of netavark's plugin API, with the fields that this plugin uses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as, skip_serializing_none};
use umacvlan_netlink::IpPrefix;

/// Standard input of `setup` and `teardown`.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) container_id: String,
    pub(super) port_mappings: Option<Vec<IgnoredAny>>,
    pub(super) network: Network,
    pub(super) network_options: Attachment,
}

/// A network in Podman's configuration.
#[derive(Debug, Deserialize)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) internal: bool,
    /// The parent.
    pub(super) network_interface: Option<String>,
    pub(super) options: Option<BTreeMap<String, String>>,
    pub(super) ipam_options: Option<BTreeMap<String, String>>,
    pub(super) subnets: Option<Vec<Subnet>>,
    pub(super) routes: Option<Vec<StaticRoute>>,
}

/// A subnet of a network.
#[serde_as]
#[derive(Debug, Deserialize)]
pub(super) struct Subnet {
    #[serde_as(as = "DisplayFromStr")]
    pub(super) subnet: IpPrefix,
    pub(super) gateway: Option<IpAddr>,
}

/// A static route for every container of the network.
#[serde_as]
#[derive(Debug, Deserialize)]
pub(super) struct StaticRoute {
    #[serde_as(as = "DisplayFromStr")]
    pub(super) destination: IpPrefix,
    pub(super) gateway: Option<IpAddr>,
    pub(super) metric: Option<u32>,
    pub(super) route_type: Option<String>,
}

/// The options of one container in a network.
#[derive(Debug, Deserialize)]
pub(super) struct Attachment {
    /// The link's name in the container.
    pub(super) interface_name: String,
    pub(super) static_ips: Option<Vec<IpAddr>>,
    pub(super) static_mac: Option<String>,
}

/// Standard output of `setup`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) dns_search_domains: Vec<String>,
    pub(super) dns_server_ips: Vec<IpAddr>,
    pub(super) interfaces: BTreeMap<String, Interface>,
}

/// The configured link.
#[derive(Debug, Serialize)]
pub(super) struct Interface {
    pub(super) mac_address: String,
    pub(super) subnets: Vec<Address>,
}

/// An address of a container and its gateway.
#[serde_as]
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Address {
    pub(super) gateway: Option<IpAddr>,
    #[serde_as(as = "DisplayFromStr")]
    pub(super) ipnet: IpPrefix,
}

/// The IPAM driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipam {
    /// Podman chooses the addresses and passes them on.
    HostLocal,
    /// The daemon gets an address by DHCP.
    Dhcp,
    /// No addresses.
    None,
}

impl Network {
    /// The IPAM driver; `None` if the network names none.
    ///
    /// # Errors
    /// The driver is unknown or not supported.
    pub(super) fn ipam(&self) -> Result<Option<Ipam>> {
        let driver = self.ipam_options.as_ref().and_then(|options| options.get("driver"));
        Ok(match driver.map(String::as_str) {
            None | Some("") => None,
            Some("host-local") => Some(Ipam::HostLocal),
            Some("none") => Some(Ipam::None),
            Some("dhcp") => Some(Ipam::Dhcp),
            Some(other) => bail!("ipam driver \"{other}\" is not one of host-local, dhcp, none"),
        })
    }

    /// The subnets of the network.
    pub(super) fn subnets(&self) -> &[Subnet] {
        self.subnets.as_deref().unwrap_or_default()
    }

    /// Checks that subnets do not overlap and that each gateway is in its subnet.
    ///
    /// # Errors
    /// Names the subnets that fail the check.
    pub(super) fn check_subnets(&self) -> Result<()> {
        for (number, Subnet { subnet, gateway }) in self.subnets().iter().enumerate() {
            for other in self.subnets().iter().skip(number + 1).map(|other| other.subnet) {
                ensure!(subnet.network() != other.network(), "duplicate subnet: {subnet}");
                let overlap = subnet.contains(other.ip()) || other.contains(subnet.ip());
                ensure!(!overlap, "overlapping subnets: {subnet} and {other}");
            }
            if let Some(gateway) = gateway {
                ensure!(subnet.contains(*gateway), "gateway {gateway} is not in subnet {subnet}");
            }
        }
        Ok(())
    }

    /// The addresses of a container, in the order of their subnets.
    ///
    /// # Errors
    /// The IPAM driver needs addresses and there are none, or one is in none of the subnets.
    pub(super) fn addresses(&self, wanted: &Attachment) -> Result<Vec<Address>> {
        match self.ipam()? {
            Some(Ipam::None) => return Ok(Vec::new()),
            Some(Ipam::Dhcp) => {
                let none = wanted.static_ips.as_ref().is_none_or(Vec::is_empty);
                ensure!(none, "ipam driver dhcp: the server chooses the address: give none");
                return Ok(Vec::new());
            }
            Some(Ipam::HostLocal) | None => {}
        }
        let Some(ips) = &wanted.static_ips else {
            bail!("network {}: no static ips given, and no other address to take", self.name);
        };
        self.check_subnets()?;
        if let Some(other) =
            ips.iter().find(|ip| !self.subnets().iter().any(|at| at.contains(**ip)))
        {
            bail!(
                "not all static IPs matched a subnet: {other} is in none of network {}",
                self.name
            );
        }
        let of = |at: &Subnet| {
            let gateway = at.gateway.filter(|_| !self.internal);
            let len = at.subnet.prefix_len();
            let own = ips.iter().filter(|ip| at.contains(**ip));
            own.filter_map(|ip| IpPrefix::new(*ip, len))
                .map(|ipnet| Address { gateway, ipnet })
                .collect::<Vec<_>>()
        };
        Ok(self.subnets().iter().flat_map(of).collect())
    }
}

impl Subnet {
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.subnet.contains(ip)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A network with these fields and the required ones.
    pub(crate) fn network(more: serde_json::Value) -> Network {
        let mut whole = json!({"name": "net", "id": "1"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn addresses(more: serde_json::Value, ips: &[&str]) -> Result<Vec<Address>, String> {
        let wanted = json!({"interface_name": "eth0", "static_ips": ips});
        let wanted = serde_json::from_value(wanted).unwrap();
        network(more).addresses(&wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn each_address_is_assigned_to_its_subnet() {
        let two = json!({"subnets": [
            {"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}, {"subnet": "fd00:1::/64"},
        ]});
        let found = addresses(two, &["fd00:1::5", "10.88.0.5", "10.88.0.6"]).unwrap();
        let shown: Vec<String> =
            found.iter().map(|at| format!("{} {}", at.ipnet, at.gateway.is_some())).collect();
        assert_eq!(shown, ["10.88.0.5/16 true", "10.88.0.6/16 true", "fd00:1::5/64 false"]);
    }

    #[test]
    fn an_internal_network_has_no_gateway_and_one_without_ipam_no_address() {
        let subnets = json!([{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]);
        let found = addresses(json!({"internal": true, "subnets": subnets}), &["10.88.0.5"]);
        assert_eq!(found.unwrap()[0].gateway, None);
        for driver in ["none", "dhcp"] {
            let without = json!({"ipam_options": {"driver": driver}, "subnets": []});
            assert_eq!(addresses(without, &[]), Ok(Vec::new()));
        }
    }

    #[test]
    fn overlapping_subnets_and_addresses_outside_of_them_are_refused() {
        let subnets = |all: &[&str]| {
            let all: Vec<_> = all.iter().map(|subnet| json!({"subnet": subnet})).collect();
            json!({"subnets": all})
        };
        for (more, ips, complaint) in [
            (subnets(&["10.1.0.0/16", "10.1.0.0/16"]), "10.1.0.5", "duplicate subnet"),
            (subnets(&["10.1.0.0/16", "10.1.9.0/16"]), "10.1.0.5", "duplicate subnet"),
            (subnets(&["10.1.2.0/23", "10.1.3.248/30"]), "10.1.2.5", "overlapping subnets"),
            (subnets(&["10.1.3.248/30", "10.1.2.0/23"]), "10.1.2.5", "overlapping subnets"),
            (
                subnets(&["10.1.0.0/16"]),
                "10.2.0.5",
                "not all static IPs matched a subnet: 10.2.0.5",
            ),
            (subnets(&["::/0"]), "10.2.0.5", "not all static IPs matched a subnet"),
            (
                json!({"subnets": [{"subnet": "10.1.0.0/16", "gateway": "10.2.0.1"}]}),
                "10.1.0.5",
                "gateway 10.2.0.1",
            ),
            (json!({"ipam_options": {"driver": "dhcp"}}), "10.1.0.5", "the server chooses"),
            (json!({"ipam_options": {"driver": "hosts"}}), "10.1.0.5", "\"hosts\" is not one of"),
        ] {
            let error = addresses(more, &[ips]).unwrap_err();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
    }
}
