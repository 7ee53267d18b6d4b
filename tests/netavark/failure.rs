//! A failed request leaves nothing behind.

use serde_json::{Value, json};
use umacvlan_testkit::root_or_skip;

use crate::podman::{Container, Podman, request, text};

#[test]
fn a_refused_setup_leaves_nothing_behind() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    let subnets = |all: &[&str]| {
        let all: Vec<_> = all.iter().map(|subnet| json!({"subnet": subnet})).collect();
        json!({"subnets": all})
    };
    let route = |via: &str| json!({"destination": "10.9.0.0/16", "gateway": via});
    let one = "10.88.0.5";
    for (ips, network, container, complaint) in [
        (one, json!({"options": {"mode": "bride"}}), Value::Null, "\"bride\" is not a mode"),
        (one, json!({"options": {"speed": "9"}}), Value::Null, "unsupported network option"),
        (one, json!({"options": {"mtu": "9000"}}), Value::Null, "eth0"),
        (one, json!({"network_interface": "nowhere"}), Value::Null, "nowhere"),
        (one, subnets(&["10.88.0.0/16", "10.88.0.0/16"]), Value::Null, "duplicate subnet"),
        (one, subnets(&["10.88.0.0/16", "10.88.0.0/24"]), Value::Null, "overlapping subnets"),
        ("10.90.0.5", Value::Null, Value::Null, "not all static IPs matched a subnet"),
        (one, json!({"ipam_options": {"driver": "dhcp"}}), Value::Null, "ipam driver dhcp"),
        (one, Value::Null, json!({"static_ips": null}), "no static ips"),
        (one, Value::Null, json!({"static_mac": "aa:bb"}), "MAC address aa:bb"),
        (one, Value::Null, json!({"static_mac": "01:00:5e:00:00:01"}), "eth0"),
        (one, Value::Null, json!({"interface_name": ""}), "no name for the interface"),
        (one, Value::Null, json!({"interface_name": "sixteen-letters-"}), "sixteen-letters-"),
        // These two fail only when the link exists already.
        (one, json!({"routes": [route("10.7.0.1")]}), Value::Null, "10.9.0.0/16"),
        (
            one,
            json!({"routes": [route("10.88.0.9"), route("10.88.0.9")]}),
            Value::Null,
            "10.9.0.0/16 via 10.88.0.9",
        ),
    ] {
        let mut place = Container::new();
        let error = podman.setup_refused(&place, &request(&[ips], network, container));
        assert!(error.contains(complaint), "{complaint}: {error}");
        assert_eq!(place.interfaces(), ["lo"], "{complaint}");
        podman.has_nothing();
    }
}

#[test]
fn an_address_in_use_is_refused() {
    if !root_or_skip() {
        return;
    }
    let mut podman = Podman::new();
    let parents = podman.machine.interface("p0").unwrap().mac.unwrap().to_string();
    let with = |ip: &str, mac: &str| request(&[ip], Value::Null, json!({"static_mac": mac}));
    let (mut one, mut two) = (Container::new(), Container::new());
    let taken = "02:00:00:00:00:09";
    podman.setup(&one, &with("10.88.0.5", taken));
    for mac in [taken, parents.as_str()] {
        let error = podman.setup_refused(&two, &with("10.88.0.6", mac));
        assert!(error.contains("address already in use"), "{error}");
        assert_eq!(two.interfaces(), ["lo"]);
    }
    assert!(one.link("eth0").unwrap().is_up());
}

#[test]
fn an_existing_interface_of_the_container_is_not_touched() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    container.add_other("eth0", "10.91.0.10/24");
    let before = container.link("eth0");
    let request = request(&["10.88.0.2"], Value::Null, Value::Null);
    let error = podman.setup_refused(&container, &request);
    assert!(error.contains("eth0"), "{error}");
    podman.has_nothing();
    // Nor is it touched by the teardown of a link that never existed.
    podman.teardown(&container, &request);
    assert_eq!(
        container.link("eth0").map(|link| (link.index, link.mac)),
        before.map(|link| (link.index, link.mac))
    );
    assert_eq!(container.addresses("eth0"), ["10.91.0.10/24"]);
}

#[test]
fn added_routes_are_removed_when_one_of_them_fails() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    container.add_other("other", "10.91.0.10/24");
    let network = json!({"routes": [
        {"destination": "10.92.0.0/24", "gateway": "10.91.0.1"},
        {"destination": "10.93.0.0/24", "gateway": "10.7.0.1"},
    ]});
    podman.setup_refused(&container, &request(&["10.88.0.2"], network, Value::Null));
    assert_eq!(container.routes(), [""; 0]);
    podman.has_nothing();
}

#[test]
fn without_a_daemon_nothing_is_set_up_and_everything_is_taken_down() {
    if !root_or_skip() {
        return;
    }
    let (mut podman, mut container) = (Podman::new(), Container::new());
    let request = request(&["10.88.0.2"], Value::Null, Value::Null);
    podman.setup(&container, &request);
    podman.daemon.kill();
    let mut other = Container::new();
    let error = podman.setup_refused(&other, &request);
    assert!(error.contains("no daemon listens on"), "{error}");
    podman.teardown(&container, &request);
    assert_eq!(container.interfaces(), ["lo"]);
    // A link that is not umacvlan's stays.
    other.add_other("eth0", "10.91.0.10/24");
    podman.teardown(&other, &request);
    assert!(other.link("eth0").is_some());
    podman.daemon = podman.machine.start(&[]);
    podman.has_nothing();
}

#[test]
fn a_container_whose_namespace_is_gone_is_taken_down_all_the_same() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    let request = request(&["10.88.0.2"], Value::Null, Value::Null);
    let container = Container::new();
    podman.setup(&container, &request);
    // The link is removed though it cannot be named there.
    assert_eq!(podman.ok(&["teardown", "/proc/does-not-exist/ns/net"], &request), Value::Null);
    podman.has_nothing();
    drop(container);
    assert_eq!(podman.ok(&["teardown", "/proc/does-not-exist/ns/net"], &request), Value::Null);
    let error = podman.refused(&["setup", "/proc/does-not-exist/ns/net"], &request.to_string());
    assert!(error.contains("no network namespace"), "{error}");
}

#[test]
fn an_invalid_request_is_refused_in_json() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    for (words, input, complaint) in [
        (&["setup", "/proc/self/ns/net"][..], "", "no request of netavark: EOF"),
        (&["setup", "/proc/self/ns/net"], "{}", "missing field `container_id`"),
        (&["setup"], "{}", "required arguments"),
        (&["teardown", "/proc/self/ns/net"], "[1]", "no request of netavark"),
        (&["create"], "null", "no request of netavark"),
        (&["create"], "{}", "no network as Podman describes them: missing field `name`"),
        (&["update"], "{}", "unrecognized subcommand 'update'"),
    ] {
        let error = podman.refused(words, input);
        assert!(error.contains(complaint), "{words:?} {input}: {error}");
    }
    let help = podman.call(&["--help"], "");
    assert!(help.status.success() && text(&help.stdout).contains("teardown"));
}
