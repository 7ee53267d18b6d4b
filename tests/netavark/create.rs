//! Checks of network definitions, and the plugin's description of itself. Neither needs privileges.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::podman::{PLUGIN, error, text};

/// Runs the command by its long name.
fn netavark(verb: &str, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    command.args(["netavark", verb]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The plugin does not read its input if the subcommand needs none.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Has the plugin check a network.
fn create(more: &Value) -> Output {
    let mut network = json!({
        "name": "lan",
        "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
        "driver": PLUGIN,
        "internal": false,
        "ipv6_enabled": false,
        "dns_enabled": true,
    });
    network.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    netavark("create", &network.to_string())
}

#[test]
fn create_returns_the_network_with_defaults_filled_in() {
    let output = create(&json!({
        "subnets": [{"subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}],
        "options": {"parent": "lo", "mode": "private"},
    }));
    assert!(output.status.success(), "{}", text(&output.stdout));
    let network: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({
        "name": "lan",
        "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
        "driver": PLUGIN,
        "network_interface": "lo",
        "subnets": [{"subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}],
        "options": {"mode": "private"},
        "ipam_options": {"driver": "host-local"},
        "internal": false,
        "ipv6_enabled": false,
        "dns_enabled": false,
    });
    assert_eq!(network, expected);
}

#[test]
fn create_refuses_an_unusable_network() {
    for (more, complaint) in [
        (json!({"options": {"parent": "nowhere0"}}), "parent interface nowhere0 does not exist"),
        (json!({"options": {"isolate": "true"}}), "unsupported network option \"isolate\""),
        (
            json!({"ipam_options": {"driver": "dhcp"}, "internal": true}),
            "ipam driver dhcp takes no",
        ),
    ] {
        let error = error(&create(&more));
        assert!(error.contains(complaint), "{more}: {error}");
    }
}

#[test]
fn the_plugin_tells_its_version_and_that_of_the_interface() {
    let output = netavark("info", "");
    assert!(output.status.success());
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info, json!({"version": env!("CARGO_PKG_VERSION"), "api_version": "1.0.0"}));
}
