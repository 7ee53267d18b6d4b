//! What Docker says and wants to hear, by `docs/remote.md` of its libnetwork. What is unknown is
//! passed over: every release adds something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::{DefaultOnNull, serde_as, skip_serializing_none};

/// `NetworkDriver.CreateNetwork`. What Go has no value for is `null`.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CreateNetworkRequest {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "Options")]
    #[serde_as(as = "DefaultOnNull")]
    pub options: Map<String, Value>,
    #[serde(rename = "IPv4Data")]
    #[serde_as(as = "DefaultOnNull")]
    pub ipv4: Vec<Pool>,
    #[serde(rename = "IPv6Data")]
    #[serde_as(as = "DefaultOnNull")]
    pub ipv6: Vec<Pool>,
}

/// Addresses that Docker gives out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pool {
    #[serde(rename = "Pool")]
    pub pool: String,
    /// The gateway's address with the length of the prefix.
    #[serde(rename = "Gateway")]
    pub gateway: Option<String>,
}

/// The requests about a network as a whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    #[serde(rename = "NetworkID")]
    pub network: String,
}

/// `NetworkDriver.CreateEndpoint`.
#[serde_as]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CreateEndpointRequest {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    #[serde(rename = "Interface")]
    #[serde_as(as = "DefaultOnNull")]
    pub interface: Interface,
    #[serde(rename = "Options")]
    #[serde_as(as = "DefaultOnNull")]
    pub options: Map<String, Value>,
}

/// Addresses of an endpoint, empty where Docker leaves them to the driver. In an answer everything
/// that Docker has settled is empty, or it takes that for a contradiction.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Interface {
    #[serde(rename = "Address", skip_serializing_if = "String::is_empty")]
    pub address: String,
    #[serde(rename = "AddressIPv6", skip_serializing_if = "String::is_empty")]
    pub address_ipv6: String,
    #[serde(rename = "MacAddress", skip_serializing_if = "String::is_empty")]
    pub mac: String,
}

/// The answer to [`CreateEndpointRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CreateEndpointResponse {
    #[serde(rename = "Interface")]
    pub interface: Interface,
}

/// The requests about an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
}

/// The answer to `NetworkDriver.Join`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JoinResponse {
    #[serde(rename = "InterfaceName")]
    pub name: InterfaceName,
    #[serde(rename = "Gateway")]
    pub gateway: Option<String>,
    #[serde(rename = "GatewayIPv6")]
    pub gateway_ipv6: Option<String>,
    /// Without this a container without gateway gets a second interface from Docker.
    #[serde(rename = "DisableGatewayService")]
    pub no_gateway_service: bool,
}

/// Which interface to take, and what to call it in the container, before a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InterfaceName {
    #[serde(rename = "SrcName")]
    pub source: String,
    #[serde(rename = "DstPrefix")]
    pub prefix: &'static str,
}

/// The answer to `NetworkDriver.EndpointOperInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InfoResponse {
    #[serde(rename = "Value")]
    pub value: BTreeMap<&'static str, Value>,
}
