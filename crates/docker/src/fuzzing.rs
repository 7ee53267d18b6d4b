//! Docker's requests and the driver's files as any bytes, for `umacvlan-fuzz`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::endpoint::{Endpoint, EndpointSpec};
use super::network::Network;
use super::protocol::{CreateEndpointRequest, CreateNetworkRequest, EndpointRequest};

/// Reads the body of each request; a network that is accepted is kept and read without a change.
pub fn body(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<CreateNetworkRequest>(bytes)
        && let Ok(network) = Network::read(&request)
    {
        kept(&network);
        // Addresses outside of the subnets are refused.
        let _ = network.gateway("e", network.subnets.first().map(|subnet| subnet.pool));
    }
    if let Ok(request) = serde_json::from_slice::<CreateEndpointRequest>(bytes)
        && let Ok(endpoint) = EndpointSpec::read(&request)
    {
        kept(&endpoint);
        assert!(endpoint.link().len() < 16, "{endpoint:?}");
    }
    drop(serde_json::from_slice::<EndpointRequest>(bytes));
}

/// Reads the driver's files.
pub fn state_file(bytes: &[u8]) {
    serde_json::from_slice::<Network>(bytes).iter().for_each(kept);
    drop(serde_json::from_slice::<Endpoint>(bytes));
}

fn kept<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(record: &T) {
    let text = serde_json::to_vec(record).unwrap_or_default();
    let again = serde_json::from_slice::<T>(&text).ok();
    assert_eq!(again.as_ref(), Some(record));
}
