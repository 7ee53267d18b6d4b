//! [`Endpoint`]: the end of a network in a container, which is a link.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::MacAddr;

use super::Refused;
use super::message::{CreateEndpoint, Interface};
use super::network::{Network, checked};
use super::prefix::Prefix;
use umacvlan_api::{LinkSpec, NewLink};

/// What begins the owner's name of a link.
pub(crate) const OWNER: &str = "docker ";

/// What begins the name of a link, before as much of the endpoint's id as fits.
const LINK: &str = "um";

/// An endpoint, as it is written down. Which link is its own, the link's record tells.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    pub asked: Asked,
    /// The address that its link was given.
    #[serde_as(as = "DisplayFromStr")]
    pub mac: MacAddr,
    pub stage: Stage,
}

/// How far Docker has come with it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// It was created. If Docker wants it, it is going to join.
    Created,
    /// Docker takes its interface, or has taken it.
    Joined,
    /// Docker brings its interface back, and is going to delete it.
    Left,
}

/// What Docker asks an endpoint to be.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub id: String,
    pub network: String,
    pub ipv4: Option<Prefix>,
    pub ipv6: Option<Prefix>,
    /// The address that Docker has settled, if it has.
    #[serde_as(as = "Option<DisplayFromStr>")]
    pub mac: Option<MacAddr>,
}

impl Asked {
    pub(crate) fn read(request: &CreateEndpoint) -> Result<Self, Refused> {
        let Interface { address, address_ipv6, mac } = &request.interface;
        let wrong = |_| Refused::new(format!("MacAddress: {mac:?} is no MAC address"));
        Ok(Self {
            id: checked(&request.endpoint, "EndpointID")?,
            network: request.network.clone(),
            ipv4: prefix(address)?.filter(|prefix| !prefix.is_nothing()),
            ipv6: prefix(address_ipv6)?.filter(|prefix| !prefix.is_nothing()),
            mac: match mac.as_str() {
                "" => None,
                mac => Some(mac.parse().map_err(wrong)?),
            },
        })
    }

    /// What its link has for an owner.
    pub(crate) fn owner(&self) -> String {
        format!("{OWNER}{}", self.id)
    }

    /// The name of its link until Docker gives it another one, and again when Docker is done with it.
    pub(crate) fn link(&self) -> String {
        format!("{LINK}{}", self.id.chars().take(13).collect::<String>())
    }

    /// What its link is to be; `former` is the address that it had, if there has been one.
    pub(crate) fn wish(&self, network: &Network, former: Option<MacAddr>) -> NewLink {
        let options = &network.options;
        let stable = || self.ipv4.and_then(stable).filter(|_| options.stable_mac);
        let spec = LinkSpec {
            parent: network.parent.clone(),
            address: self.mac.or(former).or_else(stable),
            settings: options.settings(),
            mtu: options.mtu,
            ..LinkSpec::default()
        };
        NewLink { name: self.link(), owner: Some(self.owner()), spec }
    }
}

fn prefix(text: &str) -> Result<Option<Prefix>, Refused> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(Refused),
    }
}

/// The MAC address that Docker's bridge driver makes of an IPv4 address.
fn stable(prefix: Prefix) -> Option<MacAddr> {
    let IpAddr::V4(address) = prefix.address else { return None };
    let [a, b, c, d] = address.octets();
    Some(MacAddr::new([0x02, 0x42, a, b, c, d]))
}
