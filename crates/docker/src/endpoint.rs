//! [`Endpoint`]: the connection of a container to a network, which is a link.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::MacAddr;
use umacvlan_netlink::IpPrefix;

use super::DriverError;
use super::network::{Network, checked, wrong_prefix};
use super::options::OWN_IP;
use super::protocol::{CreateEndpointRequest, Interface};
use umacvlan_api::{Dhcp, LinkSpec, NewLink};

/// The beginning of a link's owner tag.
pub(crate) const OWNER: &str = "docker ";

/// The option of an endpoint, `--network name=NETWORK,driver-opt=KEY=NAME`, with its name for DHCP.
const HOSTNAME: &str = "umacvlan.hostname";

/// The beginning of a link's name, before as much of the endpoint's id as fits.
const LINK: &str = "um";

/// An endpoint, as in its file. Its link is the one with its owner tag.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Endpoint {
    #[serde(rename = "asked")]
    pub spec: EndpointSpec,
    /// The address of the link.
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
    pub stage: Stage,
}

/// How far Docker's calls for an endpoint have come.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The endpoint was created; Docker joins it next, or gives it up.
    Created,
    /// Docker moves the interface into the container, or has moved it.
    Joined,
    /// Docker moves the interface back and deletes the endpoint next.
    Left,
}

/// What Docker requests of an endpoint.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct EndpointSpec {
    pub id: String,
    pub network: String,
    #[serde_as(as = "Option<DisplayFromStr>")]
    pub ipv4: Option<IpPrefix>,
    #[serde_as(as = "Option<DisplayFromStr>")]
    pub ipv6: Option<IpPrefix>,
    /// The address that Docker has settled, if it has.
    #[serde_as(as = "Option<DisplayFromStr>")]
    pub mac: Option<MacAddr>,
    /// The container's name for DHCP servers, if the user has given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

impl EndpointSpec {
    pub(crate) fn read(request: &CreateEndpointRequest) -> Result<Self, DriverError> {
        let Interface { address, address_ipv6, mac } = &request.interface;
        let wrong = |_| DriverError::new(format!("MacAddress: {mac:?} is no MAC address"));
        Ok(Self {
            id: checked(&request.endpoint, "EndpointID")?,
            network: request.network.clone(),
            hostname: request.options.get(HOSTNAME).and_then(Value::as_str).map(str::to_owned),
            ipv4: prefix(address)?.filter(|prefix| !prefix.is_any()),
            ipv6: prefix(address_ipv6)?.filter(|prefix| !prefix.is_any()),
            mac: match mac.as_str() {
                "" => None,
                mac => Some(mac.parse().map_err(wrong)?),
            },
        })
    }

    /// Refuses a name for servers that are not asked.
    ///
    /// # Errors The network has no DHCP.
    pub(crate) fn check_hostname(&self, network: &Network) -> Result<(), DriverError> {
        match self.hostname.is_some() && !network.options.dhcp {
            true => {
                let why = "is for a network with umacvlan.dhcp=yes: leave it out";
                Err(DriverError::new(format!("{HOSTNAME} {why}")))
            }
            false => Ok(()),
        }
    }

    /// The owner tag of the link.
    pub(crate) fn owner(&self) -> String {
        format!("{OWNER}{}", self.id)
    }

    /// The name of the link until Docker renames it, and again when Docker brings it back.
    pub(crate) fn link(&self) -> String {
        format!("{LINK}{}", self.id.chars().take(13).collect::<String>())
    }

    /// The addresses that Docker gave it.
    fn addresses(&self) -> impl Iterator<Item = IpPrefix> {
        self.ipv4.into_iter().chain(self.ipv6)
    }

    /// The request for the link; `former` is the address that it had before, if any.
    ///
    /// # Errors The network's containers shall send from their own addresses, and this one has none.
    pub(crate) fn new_link(
        &self,
        network: &Network,
        former: Option<MacAddr>,
    ) -> Result<NewLink, DriverError> {
        let options = &network.options;
        let mut settings = options.settings();
        if options.own_ip {
            if self.addresses().next().is_none() {
                return Err(DriverError::new(format!(
                    "{OWN_IP}: Docker gives this container no address: leave the option out, or make \
                     the network with a --subnet"
                )));
            }
            let own = self.addresses().map(|address| address.ip());
            settings.rules.allow_ips(own).map_err(|full| DriverError::new(full.to_string()))?;
        }
        let stable = || self.ipv4.or(self.ipv6).map(stable).filter(|_| options.stable_mac);
        let spec = LinkSpec {
            parent: network.parent.clone(),
            address: self.mac.or(former).or_else(stable),
            settings,
            dhcp: options.dhcp.then(|| Dhcp {
                // The same each time the container starts, whatever its MAC address is by then.
                client_id: self.hostname.clone(),
                hostname: self.hostname.clone(),
            }),
            macnat: options.macnat,
            host: network.host_access(self.addresses()),
            mtu: options.mtu,
            interface: options.port,
            ..LinkSpec::default()
        };
        Ok(NewLink { name: self.link(), owner: Some(self.owner()), spec })
    }
}

fn prefix(text: &str) -> Result<Option<IpPrefix>, DriverError> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(wrong_prefix),
    }
}

/// A MAC address made of an IP address: of IPv4 the one that Docker's bridge driver makes, `02:42` and
/// the address; of IPv6 `06:42` and a hash of the address, since its last four bytes may be those of
/// another network on the same parent.
fn stable(prefix: IpPrefix) -> MacAddr {
    let (kind, bits) = match prefix.ip() {
        IpAddr::V4(address) => (0x02, address.octets()),
        IpAddr::V6(address) => (0x06, fnv1a(&address.octets()).to_be_bytes()),
    };
    let [a, b, c, d] = bits;
    MacAddr::new([kind, 0x42, a, b, c, d])
}

/// The 32-bit hash FNV-1a (draft-eastlake-fnv), which no release may change.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stable_mac_is_made_of_either_family_and_differs_between_networks() {
        let mac = |at: &str| stable(at.parse().unwrap()).to_string();
        assert_eq!(mac("10.1.0.2/24"), "02:42:0a:01:00:02");
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968, "the test vector of the draft");
        let all = ["fd00:1::5/64", "fd00:2::5/64", "fd00:1::6/64", "fd00:1:0:1::5/64"].map(mac);
        for (at, one) in all.iter().enumerate() {
            assert!(one.starts_with("06:42:") && !all[..at].contains(one), "{all:?}");
        }
    }

    #[test]
    fn the_file_of_an_endpoint_keeps_its_format() {
        let file = serde_json::json!({
            "asked": {
                "id": "e1", "network": "n1", "ipv4": "10.1.0.2/24", "ipv6": null, "mac": null,
            },
            "mac": "02:42:0a:01:00:02",
            "stage": "joined",
        });
        let endpoint: Endpoint = serde_json::from_value(file.clone()).unwrap();
        assert_eq!((endpoint.spec.id.as_str(), endpoint.stage), ("e1", Stage::Joined));
        assert_eq!(serde_json::to_value(&endpoint).unwrap(), file);
    }
}
