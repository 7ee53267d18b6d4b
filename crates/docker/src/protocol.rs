//! Requests and responses of the remote driver protocol (`docs/remote.md` of Docker's libnetwork).
//! Unknown fields are ignored, because every release of Docker adds some.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::{DefaultOnNull, serde_as, skip_serializing_none};

/// `NetworkDriver.CreateNetwork`. Empty values of Go are `null`.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateNetworkRequest {
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// Options: the user's are below `com.docker.network.generic`.
    #[serde(rename = "Options")]
    #[serde_as(as = "DefaultOnNull")]
    pub options: Map<String, Value>,
    /// IPv4 address pools.
    #[serde(rename = "IPv4Data")]
    #[serde_as(as = "DefaultOnNull")]
    pub ipv4: Vec<Pool>,
    /// IPv6 address pools.
    #[serde(rename = "IPv6Data")]
    #[serde_as(as = "DefaultOnNull")]
    pub ipv6: Vec<Pool>,
}

/// An address pool, from which Docker assigns addresses.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    /// The subnet in CIDR notation.
    #[serde(rename = "Pool")]
    pub pool: String,
    /// The gateway's address with the prefix length.
    #[serde(rename = "Gateway")]
    pub gateway: Option<String>,
    /// Addresses that Docker gives to no container, with the prefix length, by the user's names.
    #[serde(rename = "AuxAddresses")]
    #[serde_as(as = "DefaultOnNull")]
    pub aux: BTreeMap<String, String>,
}

/// `NetworkDriver.GwAllocCheck`, since Docker 28: a network that is about to be created.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayRequest {
    /// Options, as of [`CreateNetworkRequest`].
    #[serde(rename = "Options")]
    #[serde_as(as = "DefaultOnNull")]
    pub options: Map<String, Value>,
}

/// Response to [`GatewayRequest`]: the families for which Docker reserves no gateway of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GatewayResponse {
    #[serde(rename = "SkipIPv4")]
    pub skip_ipv4: bool,
    #[serde(rename = "SkipIPv6")]
    pub skip_ipv6: bool,
}

/// A request about a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRequest {
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network: String,
}

/// `NetworkDriver.CreateEndpoint`.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateEndpointRequest {
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// Addresses that Docker has chosen.
    #[serde(rename = "Interface")]
    #[serde_as(as = "DefaultOnNull")]
    pub interface: Interface,
    /// Options, such as ports to be published.
    #[serde(rename = "Options")]
    #[serde_as(as = "DefaultOnNull")]
    pub options: Map<String, Value>,
}

/// Addresses of an endpoint; empty where the driver chooses. In a response, addresses that Docker
/// has chosen must be empty, or Docker reports a conflict.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Interface {
    /// IPv4 address with the prefix length.
    #[serde(rename = "Address", skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// IPv6 address with the prefix length.
    #[serde(rename = "AddressIPv6", skip_serializing_if = "String::is_empty")]
    pub address_ipv6: String,
    /// MAC address.
    #[serde(rename = "MacAddress", skip_serializing_if = "String::is_empty")]
    pub mac: String,
}

/// Response to [`CreateEndpointRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CreateEndpointResponse {
    /// Addresses that the driver has chosen.
    #[serde(rename = "Interface")]
    pub interface: Interface,
}

/// A request about an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointRequest {
    /// Id of the network.
    #[serde(rename = "NetworkID")]
    pub network: String,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
}

/// Response to `NetworkDriver.Join`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct JoinResponse {
    /// The interface to move, and its name in the container.
    #[serde(rename = "InterfaceName")]
    pub name: InterfaceName,
    /// IPv4 gateway.
    #[serde(rename = "Gateway")]
    pub gateway: Option<String>,
    /// IPv6 gateway.
    #[serde(rename = "GatewayIPv6")]
    pub gateway_ipv6: Option<String>,
    /// Keeps Docker from adding a second interface to a container without a gateway.
    #[serde(rename = "DisableGatewayService")]
    pub no_gateway_service: bool,
}

/// The interface to move, and the beginning of its name in the container, before a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct InterfaceName {
    /// Name of the interface in the daemon's namespace.
    #[serde(rename = "SrcName")]
    pub source: String,
    /// Beginning of the name in the container.
    #[serde(rename = "DstPrefix")]
    pub prefix: &'static str,
}

/// Response to `NetworkDriver.EndpointOperInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct InfoResponse {
    /// Values that `docker inspect` shows.
    #[serde(rename = "Value")]
    pub value: BTreeMap<&'static str, Value>,
}
