//! [`Attached`]: the result of a plugin, in every shape that it has had.

use std::fmt::Display;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_with::{DisplayFromStr, NoneAsEmptyString, serde_as, skip_serializing_none};
use umacvlan_netlink::{self as netlink, IpPrefix};

use super::error::{CniError, DECODING};
use super::version::Version;

/// What a plugin has made of a container's network.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Attached {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ips: Vec<Ip>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) dns: Dns,
}

/// An interface that was made.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: Option<String>,
    pub(super) mtu: Option<u32>,
    /// The file of its namespace; absent in the runtime's own.
    pub(super) sandbox: Option<String>,
}

/// An address that an interface was given.
#[serde_as]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Ip {
    #[serde_as(as = "DisplayFromStr")]
    pub(super) address: IpPrefix,
    #[serde_as(as = "NoneAsEmptyString")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<i64>,
}

/// A route that was added.
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

/// What can be said of a route since 1.1.0.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct RouteDetails {
    pub(super) mtu: Option<u32>,
    pub(super) advmss: Option<u32>,
    pub(super) priority: Option<u32>,
    pub(super) table: Option<u32>,
    pub(super) scope: Option<u8>,
}

/// What a resolver has to know.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Dns {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nameservers: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    search: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

/// One address with its routes, as before 0.3.0.
#[serde_as]
#[derive(Deserialize, Serialize)]
struct Single {
    #[serde_as(as = "DisplayFromStr")]
    ip: IpPrefix,
    #[serde_as(as = "NoneAsEmptyString")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

/// The result as before 0.3.0.
#[skip_serializing_none]
#[derive(Deserialize, Serialize)]
struct Singles {
    ip4: Option<Single>,
    ip6: Option<Single>,
    #[serde(default)]
    dns: Dns,
}

impl Attached {
    /// Reads a result of any edition: it shows by itself which.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read(value: Value) -> Result<Self, CniError> {
        let wrong = |error: &dyn Display| {
            CniError::new(DECODING, format!("a result is not understood: {error}"))
        };
        // A list would be read as the fields in their order.
        if !value.is_object() {
            return Err(wrong(&"it is no object"));
        }
        let old = value.get("ip4").is_some() || value.get("ip6").is_some();
        if !old {
            return serde_json::from_value(value).map_err(|error| wrong(&error));
        }
        let Singles { ip4, ip6, dns } =
            serde_json::from_value(value).map_err(|error| wrong(&error))?;
        let mut attached = Self { dns, ..Self::default() };
        for Single { ip, gateway, routes } in ip4.into_iter().chain(ip6) {
            attached.ips.push(Ip { address: ip, gateway, interface: None });
            attached.routes.extend(routes);
        }
        Ok(attached)
    }

    /// As the edition has it, which `name` names.
    pub(super) fn shown(&self, version: Version, name: &str) -> Value {
        let mut shown = if version < Version::LISTS { self.singles() } else { self.lists(version) };
        shown.insert("cniVersion".to_owned(), name.into());
        Value::Object(shown)
    }

    /// What the kernel is to be told: the addresses, and the routes with their next hops. A route
    /// without one takes the gateway of the first address of its family.
    pub(super) fn wanted(&self) -> (Vec<IpPrefix>, Vec<netlink::Route>) {
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

    fn lists(&self, version: Version) -> Map<String, Value> {
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

    fn singles(&self) -> Map<String, Value> {
        let single = |ipv6: bool| {
            let ip = self.ips.iter().find(|ip| ip.address.ip().is_ipv6() == ipv6)?;
            let routes = self.routes.iter().filter(|route| route.dst.ip().is_ipv6() == ipv6);
            let plain = |route: &Route| Route { details: RouteDetails::default(), ..route.clone() };
            Some(Single {
                ip: ip.address,
                gateway: ip.gateway,
                routes: routes.map(plain).collect(),
            })
        };
        object(json!(Singles { ip4: single(false), ip6: single(true), dns: self.dns.clone() }))
    }
}

/// The object that a struct becomes.
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

    fn whole() -> Attached {
        Attached::read(json!({
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
        whole().shown(Version::read(name).unwrap(), name)
    }

    #[test]
    fn each_edition_has_its_own_shape() {
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
    fn addresses_routes_and_resolvers_survive_every_edition() {
        for name in SUPPORTED {
            let again = Attached::read(shown(name)).unwrap();
            let (addresses, routes) = again.wanted();
            assert_eq!(addresses, whole().wanted().0, "{name}");
            assert_eq!(routes[0], whole().wanted().1[0], "{name}");
            assert_eq!(again.dns, whole().dns, "{name}");
        }
    }

    #[test]
    fn a_route_without_a_next_hop_takes_the_gateway_of_its_family() {
        let (_, routes) = whole().wanted();
        assert_eq!(routes[0].via, Some("10.1.2.1".parse().unwrap()));
        assert_eq!((routes[1].via, routes[1].metric), (Some("fd00::1".parse().unwrap()), Some(7)));
        let mut without = whole();
        without.routes[1].gw = None;
        assert_eq!(without.wanted().1[1].via, None);
    }

    #[test]
    fn what_is_no_result_is_refused_and_empty_text_is_no_gateway() {
        for wrong in [json!([]), json!({"ips": [{"address": "x"}]}), json!({"ip4": {"ip": 1}})] {
            assert_eq!(Attached::read(wrong).unwrap_err().code, DECODING);
        }
        let empty = json!({"ips": [{"address": "10.0.0.1/8", "gateway": ""}]});
        assert_eq!(Attached::read(empty).unwrap().ips[0].gateway, None);
    }
}
