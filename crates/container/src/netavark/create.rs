//! `create`: validates and completes a network before Podman stores it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use umacvlan_netlink::Rtnl;

use super::network::{Ipam, Network};
use super::options::Options;
use super::routes;

/// Validates a network and returns it with defaults filled in; unknown fields are returned unchanged.
///
/// # Errors
/// The first invalid field.
pub(super) fn create(mut given: Map<String, Value>) -> Result<Map<String, Value>> {
    let network: Network = serde_json::from_value(Value::Object(given.clone()))
        .context("this is no network as Podman describes them")?;
    let options = Options::read(network.options.as_ref())?;
    let parent = parent(&network)?;
    network.check_subnets()?;
    routes::read(&network)?;
    let ipam = ipam(&network)?;
    network.check_dhcp(&options)?;

    if let Some(parent) = parent {
        check_parent(&parent)?;
        given.insert("network_interface".to_owned(), parent.into());
        if let Some(options) = given.get_mut("options").and_then(Value::as_object_mut) {
            options.remove("parent");
        }
    }
    // Podman's name server runs on the host, which links cannot reach.
    given.insert("dns_enabled".to_owned(), false.into());
    let options = given.entry("ipam_options").or_insert(Value::Null);
    if options.is_null() {
        *options = json!({});
    }
    options["driver"] = ipam.into();
    Ok(given)
}

/// The parent, if given: as the interface of the network, or as the option `parent` that Docker and
/// Podman's own drivers have.
fn parent(network: &Network) -> Result<Option<String>> {
    let option = network.options.as_ref().and_then(|options| options.get("parent"));
    match (&network.network_interface, option) {
        (Some(interface), Some(parent)) if interface != parent => {
            bail!("two parents are named: interface {interface}, and option parent={parent}")
        }
        (interface, option) => Ok(interface.clone().or_else(|| option.cloned())),
    }
}

/// The IPAM driver: the given one, else `host-local` with subnets and `none` without.
fn ipam(network: &Network) -> Result<&'static str> {
    let any = !network.subnets().is_empty();
    Ok(match network.ipam()? {
        Some(Ipam::HostLocal) => {
            ensure!(any, "ipam driver host-local needs a subnet: --subnet 192.0.2.0/24");
            "host-local"
        }
        Some(Ipam::Dhcp) => "dhcp",
        None if any => "host-local",
        Some(Ipam::None) | None => "none",
    })
}

/// Checks that the parent exists, or the interface below it if the name is that of a VLAN.
fn check_parent(parent: &str) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    let mut name = parent;
    loop {
        if rtnl.link(name)?.is_some() {
            return Ok(());
        }
        match name.rsplit_once('.') {
            Some((below, _)) if !below.is_empty() => name = below,
            _ => bail!(
                "parent interface {parent} does not exist: `umacvlan doctor` lists those that do"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(more: Value) -> Result<Value, String> {
        let mut whole = json!({"name": "net", "id": "1", "driver": "umacvlan-netavark"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Value::Object(whole) = whole else { panic!() };
        create(whole).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in_and_the_rest_is_unchanged() {
        let network = created(json!({
            "options": {"parent": "lo", "mtu": "1400"},
            "subnets": [{"subnet": "192.0.2.0/24", "lease_range": {"start_ip": "192.0.2.9"}}],
            "dns_enabled": true,
            "labels": {"a": "b"},
        }))
        .unwrap();
        assert_eq!(network["network_interface"], "lo");
        assert_eq!(network["options"], json!({"mtu": "1400"}));
        assert_eq!(network["ipam_options"], json!({"driver": "host-local"}));
        assert_eq!(network["dns_enabled"], false);
        assert_eq!(network["subnets"][0]["lease_range"]["start_ip"], "192.0.2.9");
        assert_eq!(network["labels"]["a"], "b");
    }

    #[test]
    fn without_subnets_the_ipam_driver_is_none() {
        let network = created(json!({"options": null, "ipam_options": null})).unwrap();
        assert_eq!(network["ipam_options"]["driver"], "none");
        assert!(network.get("network_interface").is_none());
    }

    #[test]
    fn with_dhcp_the_server_decides() {
        let dhcp = |more: Value| {
            let mut whole = json!({"ipam_options": {"driver": "dhcp"}});
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            created(whole)
        };
        assert_eq!(dhcp(json!({})).unwrap()["ipam_options"], json!({"driver": "dhcp"}));
        let options = |name: &str, value: &str| json!({"options": {name: value}});
        for (more, complaint) in [
            (json!({"subnets": [{"subnet": "192.0.2.0/24"}]}), "subnet"),
            (json!({"internal": true}), "--internal"),
            (options("no_default_route", "true"), "-o no_default_route"),
            (options("metric", "7"), "-o metric"),
            (options("host", "yes"), "-o host"),
        ] {
            let error = dhcp(more).unwrap_err();
            let whole = format!("ipam driver dhcp takes no {complaint}");
            assert!(error.starts_with(&whole), "{complaint}: {error}");
        }
        let error = created(options("dhcp_timeout", "5")).unwrap_err();
        assert!(error.contains("dhcp_timeout is for ipam driver dhcp"), "{error}");
    }

    #[test]
    fn a_vlan_needs_no_interface_of_its_own() {
        let network = created(json!({"network_interface": "lo.10.20"})).unwrap();
        assert_eq!(network["network_interface"], "lo.10.20");
    }

    #[test]
    fn invalid_networks_are_refused() {
        for (more, complaint) in [
            (
                json!({"options": {"parent": "nowhere0"}}),
                "parent interface nowhere0 does not exist",
            ),
            (json!({"network_interface": ".10"}), "parent interface .10 does not exist"),
            (json!({"network_interface": "lo", "options": {"parent": "p"}}), "two parents"),
            (json!({"options": {"speed": "9"}}), "unsupported network option \"speed\""),
            (json!({"ipam_options": {"driver": "host-local"}}), "needs a subnet"),
            (json!({"ipam_options": {"driver": "hosts"}}), "\"hosts\" is not one of"),
            (json!({"subnets": [{"subnet": "10.0.0/8"}]}), "as Podman describes them"),
            (json!({"routes": [{"destination": "10.9.0.0/16"}]}), "needs a gateway"),
        ] {
            let error = created(more.clone()).unwrap_err();
            assert!(error.contains(complaint), "{more}: {error}");
        }
    }
}
