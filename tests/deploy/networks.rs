//! The networks for Multus, and the pods that ask for them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::root_or_skip;

use crate::manifests::read;

/// The configurations of the networks, by name.
fn networks() -> BTreeMap<String, Value> {
    let config = |network: Value| {
        let name = network["metadata"]["name"].as_str().unwrap().to_owned();
        let config: Value =
            serde_json::from_str(network["spec"]["config"].as_str().unwrap()).expect(&name);
        (name, config)
    };
    read("networks.yaml").into_iter().map(config).collect()
}

#[test]
fn a_network_is_a_configuration_of_the_plugin_under_its_own_name() {
    let networks = networks();
    assert_eq!(networks.len(), 3);
    for (name, config) in networks {
        assert_eq!(config["name"], name);
        assert_eq!(config["type"], "umacvlan-cni");
        let known = ["capabilities", "cniVersion", "ipam", "master", "mode", "name", "type"];
        for key in config.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "{name}: {key}");
        }
        assert!(config["mode"].as_str().unwrap().parse::<umacvlan_core::Mode>().is_ok(), "{name}");
    }
}

#[test]
fn the_plugin_accepts_each_network_and_needs_only_a_daemon() {
    if !root_or_skip() {
        return;
    }
    let plugins = std::env::temp_dir().join(format!("umv-networks-{}", std::process::id()));
    fs::create_dir_all(&plugins).unwrap();
    symlink(env!("CARGO_BIN_EXE_umacvlan"), plugins.join("umacvlan-cni")).unwrap();
    for ipam in ["dhcp", "host-local", "static"] {
        fs::write(plugins.join(ipam), "").unwrap();
    }
    let later = 11;
    for (name, config) in networks() {
        assert_eq!(add(&plugins, &config)["code"], later, "{name}");
    }
    let wrong = 7;
    let network = &networks()["umacvlan-bridge"];
    for (key, value) in [("mode", json!("bride")), ("ipam", json!({"type": "statik"}))] {
        let mut config = network.clone();
        config[key] = value;
        assert_eq!(add(&plugins, &config)["code"], wrong, "{config}");
    }
    fs::remove_dir_all(&plugins).unwrap();
}

/// The plugin's output for a network where no daemon listens.
fn add(plugins: &Path, config: &Value) -> Value {
    let netns = Netns::create().unwrap();
    let path = umacvlan_testkit::netns_path(&netns);
    let mut command = Command::new(plugins.join("umacvlan-cni"));
    command.env("UMACVLAN_SOCKET", plugins.join("nobody")).env("CNI_COMMAND", "ADD");
    command.env("CNI_CONTAINERID", "pod").env("CNI_IFNAME", "net1");
    command.env("CNI_NETNS", path).env("CNI_PATH", plugins);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn pods_request_existing_networks_and_supported_capabilities() {
    let networks = networks();
    let mut asked = 0;
    for document in [read("examples/pods.yaml"), read("examples/deployment.yaml")].concat() {
        let pod = match document["kind"].as_str().unwrap() {
            "Pod" => &document,
            _ => &document["spec"]["template"],
        };
        let wanted = &pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"];
        for wanted in wishes(wanted.as_str().unwrap()) {
            let name = wanted["name"].as_str().unwrap();
            let network = networks.get(name).unwrap_or_else(|| panic!("no network {name}"));
            for key in ["ips", "mac"].into_iter().filter(|key| !wanted[key].is_null()) {
                assert_eq!(network["capabilities"][key], true, "{name} takes no {key}");
            }
            // With `static` IPAM a pod has only the addresses that it lists itself.
            assert!(network["ipam"]["type"] != "static" || wanted["ips"].is_array(), "{name}");
            asked += 1;
        }
    }
    assert_eq!(asked, 3);
}

/// The annotation of Multus: names with commas between them, or a list of objects.
fn wishes(text: &str) -> Vec<Value> {
    match serde_json::from_str(text) {
        Ok(list) => list,
        Err(_) => text.split(',').map(|name| json!({"name": name.trim()})).collect(),
    }
}
