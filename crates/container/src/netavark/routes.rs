//! The routes of a network: default routes to its gateways, and static routes.

use anyhow::{Result, bail, ensure};
use umacvlan_netlink::{IpPrefix, Route};

use super::network::{Address, Network, StaticRoute};

/// The static routes.
///
/// # Errors
/// The first invalid one.
pub(super) fn read(network: &Network) -> Result<Vec<Route>> {
    network.routes.iter().flatten().map(route).collect()
}

fn route(given: &StaticRoute) -> Result<Route> {
    let to = given.destination;
    match given.route_type.as_deref() {
        None | Some("" | "unicast") => {}
        Some(other) => {
            bail!("route to {to}: its type may be unicast and nothing else, not {other}")
        }
    }
    let Some(via) = given.gateway else {
        bail!("route to {to}: it needs a gateway");
    };
    let same = to.ip().is_ipv4() == via.is_ipv4();
    ensure!(same, "route to {to}: its gateway {via} is of another family");
    Ok(Route { via: Some(via), metric: given.metric, ..Route::new(to.network()) })
}

/// One default route per address family, to its first gateway.
pub(super) fn defaults(addresses: &[Address], metric: u32) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for via in addresses.iter().filter_map(|address| address.gateway) {
        let to = IpPrefix::any(via);
        if routes.iter().all(|route| route.to != to) {
            routes.push(Route { via: Some(via), metric: Some(metric), ..Route::new(to) });
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::netavark::network::tests::network;

    #[test]
    fn there_is_one_default_route_per_family() {
        let address = |ipnet: &str, gateway: Option<&str>| Address {
            ipnet: ipnet.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        let all = [
            address("10.1.0.5/16", None),
            address("10.2.0.5/16", Some("10.2.0.1")),
            address("10.3.0.5/16", Some("10.3.0.1")),
            address("fd00::5/64", Some("fd00::1")),
        ];
        let found = defaults(&all, 7);
        let shown: Vec<String> =
            found.iter().map(|route| format!("{} {:?}", route.to, route.via.unwrap())).collect();
        assert_eq!(shown, ["0.0.0.0/0 10.2.0.1", "::/0 fd00::1"]);
        assert!(found.iter().all(|route| route.metric == Some(7)));
    }

    #[test]
    fn invalid_routes_are_refused() {
        for (given, complaint) in [
            (json!({"destination": "10.9.0.0/16"}), "needs a gateway"),
            (json!({"destination": "10.9.0.0/16", "gateway": "fd00::1"}), "another family"),
            (json!({"destination": "10.9.0.0/16", "route_type": "blackhole"}), "not blackhole"),
        ] {
            let error = read(&network(json!({"routes": [given]}))).unwrap_err().to_string();
            assert!(error.starts_with("route to 10.9.0.0/16: "), "{error}");
            assert!(error.contains(complaint), "{error}");
        }
    }
}
