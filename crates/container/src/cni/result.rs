//! [`AddResult`]: the result of `ADD`, in the JSON of every version of the specification.

use std::fmt::Display;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_with::{DisplayFromStr, NoneAsEmptyString, serde_as, skip_serializing_none};
use umacvlan_netlink::{self as netlink, IpPrefix};

use super::error::{CniError, DECODING};
use super::version::Version;

/// The interfaces, addresses and routes that a plugin has configured.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct AddResult {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ips: Vec<Ip>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) dns: Dns,
}

/// A created interface.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: Option<String>,
    pub(super) mtu: Option<u32>,
    /// The path of its namespace; absent in the runtime's own.
    pub(super) sandbox: Option<String>,
}

/// An address of an interface.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Ip {
    #[serde_as(as = "DisplayFromStr")]
    pub(super) address: IpPrefix,
    #[serde_as(as = "NoneAsEmptyString")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    /// The index of its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<i64>,
}

/// An added route.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Route {
    #[serde_as(as = "DisplayFromStr")]
    pub(super) dst: IpPrefix,
    #[serde_as(as = "NoneAsEmptyString")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gw: Option<IpAddr>,
    #[serde(flatten)]
    pub(super) details: RouteDetails,
}

/// The fields of a route since 1.1.0.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct RouteDetails {
    pub(super) mtu: Option<u32>,
    pub(super) advmss: Option<u32>,
    pub(super) priority: Option<u32>,
    pub(super) table: Option<u32>,
    pub(super) scope: Option<u8>,
}

/// The configuration of a DNS resolver.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Dns {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) nameservers: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) search: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) options: Vec<String>,
}

/// An address with its routes, before 0.3.0.
#[serde_as]
#[derive(Deserialize, Serialize)]
struct LegacyIp {
    #[serde_as(as = "DisplayFromStr")]
    ip: IpPrefix,
    #[serde_as(as = "NoneAsEmptyString")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

/// A result before 0.3.0.
#[skip_serializing_none]
#[derive(Deserialize, Serialize)]
struct LegacyResult {
    ip4: Option<LegacyIp>,
    ip6: Option<LegacyIp>,
    #[serde(default)]
    dns: Dns,
}

impl AddResult {
    /// Reads a result of any version, which its fields reveal.
    ///
    /// # Errors
    /// It is malformed.
    pub(super) fn read(value: Value) -> Result<Self, CniError> {
        let wrong = |error: &dyn Display| {
            CniError::new(DECODING, format!("a result is not understood: {error}"))
        };
        // serde would read an array as the fields in their order.
        if !value.is_object() {
            return Err(wrong(&"it is no object"));
        }
        let old = value.get("ip4").is_some() || value.get("ip6").is_some();
        if !old {
            return serde_json::from_value(value).map_err(|error| wrong(&error));
        }
        let LegacyResult { ip4, ip6, dns } =
            serde_json::from_value(value).map_err(|error| wrong(&error))?;
        let mut result = Self { dns, ..Self::default() };
        for LegacyIp { ip, gateway, routes } in ip4.into_iter().chain(ip6) {
            result.ips.push(Ip { address: ip, gateway, interface: None });
            result.routes.extend(routes);
        }
        Ok(result)
    }

    /// The JSON of `version`; `name` is its text.
    pub(super) fn to_json(&self, version: Version, name: &str) -> Value {
        let mut shown =
            if version < Version::LISTS { self.legacy_json() } else { self.current_json(version) };
        shown.insert("cniVersion".to_owned(), name.into());
        Value::Object(shown)
    }

    /// The addresses and routes for the kernel. A route without a next hop takes the gateway of the
    /// first address of its family that has one.
    pub(super) fn addresses_and_routes(&self) -> (Vec<IpPrefix>, Vec<netlink::Route>) {
        let addresses = self.ips.iter().map(|ip| ip.address).collect();
        let gateway = |to: IpPrefix| {
            let mut gateways = self.ips.iter().filter_map(|ip| ip.gateway);
            gateways.find(|gateway| gateway.is_ipv6() == to.ip().is_ipv6())
        };
        let routes = self.routes.iter().map(|route| netlink::Route {
            via: route.gw.or_else(|| gateway(route.dst)),
            metric: route.details.priority.filter(|&metric| metric != 0),
            mtu: route.details.mtu,
            advmss: route.details.advmss,
            table: route.details.table.unwrap_or(netlink::Route::MAIN_TABLE),
            scope: route.details.scope,
            ..netlink::Route::new(route.dst)
        });
        (addresses, routes.collect())
    }

    fn current_json(&self, version: Version) -> Map<String, Value> {
        let mut shown = self.clone();
        if version < Version::DETAILS {
            shown.interfaces.iter_mut().for_each(|interface| interface.mtu = None);
            shown.routes.iter_mut().for_each(|route| route.details = RouteDetails::default());
        }
        let mut shown = object(json!(shown));
        if let Some(Value::Array(ips)) = shown.get_mut("ips")
            && version < Version::NO_FAMILY
        {
            for (shown, ip) in ips.iter_mut().zip(&self.ips) {
                shown["version"] = if ip.address.ip().is_ipv4() { "4" } else { "6" }.into();
            }
        }
        shown
    }

    fn legacy_json(&self) -> Map<String, Value> {
        let address = |ipv6: bool| {
            let ip = self.ips.iter().find(|ip| ip.address.ip().is_ipv6() == ipv6)?;
            let routes = self.routes.iter().filter(|route| route.dst.ip().is_ipv6() == ipv6);
            let plain = |route: &Route| Route { details: RouteDetails::default(), ..route.clone() };
            Some(LegacyIp {
                ip: ip.address,
                gateway: ip.gateway,
                routes: routes.map(plain).collect(),
            })
        };
        object(json!(LegacyResult {
            ip4: address(false),
            ip6: address(true),
            dns: self.dns.clone()
        }))
    }
}

/// The fields of a JSON object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::version::SUPPORTED;
    use super::*;

    fn whole() -> AddResult {
        AddResult::read(json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1400,
                "sandbox": "/run/netns/blue"}],
            "ips": [
                {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 0},
                {"address": "fd00::3/64", "interface": 0},
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/64", "gw": "fd00::1", "priority": 7}],
            "dns": {"nameservers": ["10.1.2.1"]},
        }))
        .unwrap()
    }

    fn shown(name: &str) -> Value {
        whole().to_json(Version::read(name).unwrap(), name)
    }

    #[test]
    fn each_version_has_its_own_fields() {
        let newest = shown("1.1.0");
        assert_eq!(newest["interfaces"][0]["mtu"], 1400);
        assert_eq!(newest["routes"][1]["priority"], 7);
        assert_eq!(newest["ips"][0].get("version"), None);
        let first = shown("1.0.0");
        assert_eq!(first["interfaces"][0].get("mtu"), None);
        assert_eq!(first["routes"][1].get("priority"), None);
        assert_eq!(first["ips"][0].get("version"), None);
        for name in ["0.3.0", "0.3.1", "0.4.0"] {
            let shown = shown(name);
            assert_eq!(
                (&shown["ips"][0]["version"], &shown["ips"][1]["version"]),
                (&"4".into(), &"6".into())
            );
            assert_eq!(shown["interfaces"][0]["name"], "eth0");
        }
        for name in ["0.1.0", "0.2.0"] {
            let expected = json!({
                "cniVersion": name,
                "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00::3/64", "routes": [{"dst": "fd01::/64", "gw": "fd00::1"}]},
                "dns": {"nameservers": ["10.1.2.1"]},
            });
            assert_eq!(shown(name), expected);
        }
    }

    #[test]
    fn addresses_routes_and_resolvers_survive_every_version() {
        for name in SUPPORTED {
            let again = AddResult::read(shown(name)).unwrap();
            let (addresses, routes) = again.addresses_and_routes();
            assert_eq!(addresses, whole().addresses_and_routes().0, "{name}");
            assert_eq!(routes[0], whole().addresses_and_routes().1[0], "{name}");
            assert_eq!(again.dns, whole().dns, "{name}");
        }
    }

    #[test]
    fn a_route_without_a_next_hop_takes_the_gateway_of_its_family() {
        let (_, routes) = whole().addresses_and_routes();
        assert_eq!(routes[0].via, Some("10.1.2.1".parse().unwrap()));
        assert_eq!((routes[1].via, routes[1].metric), (Some("fd00::1".parse().unwrap()), Some(7)));
        let mut without = whole();
        without.routes[1].gw = None;
        assert_eq!(without.addresses_and_routes().1[1].via, None);
    }

    #[test]
    fn malformed_results_are_refused_and_an_empty_gateway_is_none() {
        for wrong in [json!([]), json!({"ips": [{"address": "x"}]}), json!({"ip4": {"ip": 1}})] {
            assert_eq!(AddResult::read(wrong).unwrap_err().code, DECODING);
        }
        let empty = json!({"ips": [{"address": "10.0.0.1/8", "gateway": ""}]});
        assert_eq!(AddResult::read(empty).unwrap().ips[0].gateway, None);
    }
}
