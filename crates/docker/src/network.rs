//! [`Network`]: a parent, and the settings and subnets of the links on it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::{DisplayFromStr, serde_as};
use umacvlan_core::{Mode, VlanName};
use umacvlan_netlink::{IpPrefix, IpPrefixError, LinkFlags};

use super::DriverError;
use super::options::{DHCP, HOST, Options};
use super::protocol::{CreateNetworkRequest, Pool};
use umacvlan_api::HostAccess;
use umacvlan_daemon::Service;

const INTERNAL: &str = "com.docker.network.internal";
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

/// The name of the `--aux-address` that is the host's.
const HOST_ADDRESS: &str = "host";

/// The beginning of the name of a parent that the driver makes, as of the dummy that Docker's
/// macvlan driver makes.
const OWN_PARENT: &str = "dm-";

/// A network, as in its file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Network {
    pub id: String,
    /// The name of its parent.
    pub parent: String,
    /// Whether the driver has made the parent, which has no wire.
    pub own_parent: bool,
    /// Whether the network has no gateway.
    pub internal: bool,
    pub options: Options,
    pub subnets: Vec<Subnet>,
    /// The host's addresses on the network, if the user has reserved any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<IpAddr>,
}

/// Addresses of a network, and the way out.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Subnet {
    #[serde_as(as = "DisplayFromStr")]
    pub pool: IpPrefix,
    pub gateway: Option<IpAddr>,
}

impl Network {
    /// The network that Docker requests.
    ///
    /// # Errors An option or a value is invalid.
    pub(crate) fn read(request: &CreateNetworkRequest) -> Result<Self, DriverError> {
        let id = checked(&request.network, "NetworkID")?;
        let options = Options::read(&request.options)?;
        let says = |key: &str| request.options.get(key).and_then(Value::as_bool);
        let ipv4 = says(ENABLE_IPV4).unwrap_or(request.ipv6.is_empty());
        if ipv4 && request.ipv4.is_empty() {
            return Err(DriverError::new("ipv4 pool is empty"));
        }
        if says(ENABLE_IPV6).unwrap_or(false) && request.ipv6.is_empty() {
            return Err(DriverError::new("ipv6 pool is empty"));
        }
        let subnets: Result<Vec<_>, DriverError> =
            request.ipv4.iter().chain(&request.ipv6).map(Subnet::read).collect();
        let subnets: Vec<_> = subnets?.into_iter().filter(|net| !net.pool.is_any()).collect();
        if options.dhcp && subnets.iter().any(|net| net.pool.ip().is_ipv4()) {
            return Err(DriverError::new(format!(
                "{DHCP}=yes: Docker must not choose IPv4 addresses as well: add --ipam-driver null, and \
                 no --subnet"
            )));
        }
        let host = match options.host {
            true => host_addresses(request)?,
            false => Vec::new(),
        };
        let own_parent = options.parent.is_none();
        let own = || format!("{OWN_PARENT}{}", id.chars().take(12).collect::<String>());
        Ok(Self {
            parent: options.parent.clone().unwrap_or_else(own),
            own_parent,
            internal: own_parent || is_internal(&request.options),
            options,
            subnets,
            host,
            id,
        })
    }

    /// How the host reaches a container with these addresses.
    pub(crate) fn host_access(&self, addresses: impl Iterator<Item = IpPrefix>) -> HostAccess {
        let to: Vec<_> = addresses.map(|at| at.ip().into()).collect();
        match self.options.host && !to.is_empty() {
            true => HostAccess { to, from: self.host.clone() },
            false => HostAccess::default(),
        }
    }

    /// Checks that the host can reach the containers, if it shall.
    ///
    /// # Errors The mode forbids it, or the host has no address on the network.
    pub(crate) fn check_host(&self, service: &mut Service) -> Result<(), DriverError> {
        if !self.options.host {
            return Ok(());
        }
        let pools: Vec<_> = self.subnets.iter().map(|subnet| subnet.pool).collect();
        let checked =
            service.check_host_network(&self.parent, self.options.mode, &self.host, &pools);
        let hint = match self.options.mode {
            Mode::Bridge | Mode::Vepa => {
                format!("; --aux-address {HOST_ADDRESS}=IP reserves one and gives it to the host")
            }
            Mode::Passthru | Mode::Private | Mode::Source => String::new(),
        };
        checked.map_err(|why| {
            DriverError::new(format!("{HOST}=yes: {}{hint}", DriverError::from(why)))
        })
    }

    /// Checks the parent, as far as that is possible before there is a link.
    ///
    /// # Errors The parent does not exist or cannot be one.
    pub(crate) fn check_parent(&self, service: &mut Service) -> Result<(), DriverError> {
        let parent = &self.parent;
        match service.interface_named(parent)? {
            Some(link) if link.flags.contains(LinkFlags::Loopback) => {
                Err(DriverError::new("loopback interface is not a valid macvlan parent link"))
            }
            Some(link) => Ok(service.check_parent(&link)?),
            None => self.check_vlan(service),
        }
    }

    /// Checks a parent that is a VLAN without an interface of its own.
    fn check_vlan(&self, service: &mut Service) -> Result<(), DriverError> {
        let name =
            VlanName::parse(&self.parent).map_err(|why| DriverError::new(why.to_string()))?;
        for reading in VlanName::readings(&self.parent) {
            if service.interface_named(&reading.link)?.is_some() {
                return Ok(());
            }
        }
        let why = format!("-o parent interface was not found on the host: {}", name.link);
        Err(DriverError::new(why))
    }

    /// Checks that the networks can both exist: one in mode passthru is the only one of its parent.
    pub(crate) fn check_beside(&self, other: &Self) -> Result<(), DriverError> {
        let (parent, id) = (&self.parent, &other.id);
        match () {
            () if *parent != other.parent || self.id == *id => Ok(()),
            () if self.options.mode == Mode::Passthru => Err(DriverError::new(format!(
                "cannot use mode passthru, macvlan network {id} is already using parent interface \
                 {parent}"
            ))),
            () if other.options.mode == Mode::Passthru => Err(DriverError::new(format!(
                "macvlan network {id} is already using parent interface {parent} in mode passthru"
            ))),
            () => Ok(()),
        }
    }

    /// The gateway for an address; `None` without an address.
    ///
    /// # Errors The address is in no subnet.
    pub(crate) fn gateway(
        &self,
        endpoint: &str,
        address: Option<IpPrefix>,
    ) -> Result<Option<IpAddr>, DriverError> {
        let Some(address) = address else { return Ok(None) };
        let Some(subnet) = self.subnets.iter().find(|subnet| subnet.has(address)) else {
            let family = if address.ip().is_ipv4() { "ipv4" } else { "ipv6" };
            return Err(DriverError::new(format!(
                "could not find a valid {family} subnet for endpoint {endpoint}"
            )));
        };
        Ok(subnet.gateway.filter(|_| !self.internal))
    }
}

impl Subnet {
    fn read(pool: &Pool) -> Result<Self, DriverError> {
        let prefix: IpPrefix = pool.pool.parse().map_err(wrong_prefix)?;
        let gateway = match pool.gateway.as_deref() {
            None | Some("") => None,
            Some(gateway) => {
                let read = gateway.parse::<IpPrefix>().map(IpPrefix::ip);
                Some(read.map_err(|why| DriverError::new(format!("gateway: {why}")))?)
            }
        };
        Ok(Self { pool: prefix, gateway })
    }

    /// True if `address` is in the subnet, with the prefix length of the subnet.
    fn has(&self, address: IpPrefix) -> bool {
        address.prefix_len() == self.pool.prefix_len() && self.pool.contains(address.ip())
    }
}

/// Whether these options of Docker's describe a network without a gateway.
pub(crate) fn is_internal(options: &Map<String, Value>) -> bool {
    options.get(INTERNAL).and_then(Value::as_bool).unwrap_or(false)
}

/// The addresses that the user has reserved for the host.
fn host_addresses(request: &CreateNetworkRequest) -> Result<Vec<IpAddr>, DriverError> {
    let pools = request.ipv4.iter().chain(&request.ipv6);
    let named = pools.filter_map(|pool| pool.aux.get(HOST_ADDRESS));
    let read = |text: &String| match text.parse::<IpPrefix>() {
        Ok(prefix) => Ok(prefix.ip()),
        Err(why) => text
            .parse()
            .map_err(|_| DriverError::new(format!("--aux-address {HOST_ADDRESS}: {why}"))),
    };
    named.map(read).collect()
}

pub(crate) fn wrong_prefix(error: IpPrefixError) -> DriverError {
    DriverError::new(error.to_string())
}

/// Checks an id of Docker's, which becomes a part of a file's name.
pub(crate) fn checked(id: &str, what: &str) -> Result<String, DriverError> {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_');
    match (1..=128).contains(&id.len()) && id.chars().all(plain) {
        true => Ok(id.to_owned()),
        false => {
            let shown: String = id.chars().take(128).collect();
            Err(DriverError::new(format!(
                "{what} {shown:?} is no id of 1 to 128 letters and digits"
            )))
        }
    }
}
