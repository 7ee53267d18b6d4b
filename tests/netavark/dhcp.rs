//! Networks whose IPAM driver is `dhcp`, with a server on the wire.

use std::net::Ipv4Addr;
use std::thread;

use serde_json::{Value, json};
use umacvlan_testkit::dhcp::{RELEASE, Server};
use umacvlan_testkit::root_or_skip;

use crate::podman::{Container, Podman, request};

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 77);
const MAC: &str = "02:00:5e:10:00:01";

/// The request for a container in a network with DHCP; `network` overrides fields of it.
fn by_dhcp(network: Value, container: Value) -> Value {
    let mut whole = json!({"subnets": null, "ipam_options": {"driver": "dhcp"}});
    whole.as_object_mut().unwrap().extend(network.as_object().cloned().unwrap_or_default());
    let mut request = request(&[], whole, container);
    request["network_options"].as_object_mut().unwrap().remove("static_ips");
    request
}

#[test]
fn a_container_gets_its_address_from_a_server_and_gives_it_back() {
    if !root_or_skip() {
        return;
    }
    let (mut podman, mut container) = (Podman::new(), Container::new());
    let server = Server::start(&mut podman.machine);
    let server = thread::spawn(move || server.serve_until_release(GIVEN));
    let route = json!({"destination": "10.9.0.0/16", "gateway": "10.7.0.9"});
    let request = by_dhcp(json!({"routes": [route]}), json!({"static_mac": MAC}));
    let status = podman.setup(&container, &request);
    let subnet = json!({"gateway": "10.7.0.1", "ipnet": "10.7.0.77/24"});
    let expected = json!({
        "dns_search_domains": [],
        "dns_server_ips": ["10.7.0.1"],
        "interfaces": {"eth0": {"mac_address": MAC, "subnets": [subnet]}},
    });
    assert_eq!(status, expected);
    assert_eq!(container.addresses("eth0"), ["10.7.0.77/24"]);
    let mut routes = container.routes();
    routes.sort();
    assert_eq!(routes, ["0.0.0.0/0 via 10.7.0.1 metric 0", "10.9.0.0/16 via 10.7.0.9 metric 0"]);

    podman.teardown(&container, &request);
    assert_eq!(container.interfaces(), ["lo"]);
    podman.has_nothing();
    let release = server.join().unwrap();
    assert_eq!((release.kind(), release.own()), (RELEASE, GIVEN));
    assert_eq!(release.option(61), Some(&[1, 2, 0, 0x5e, 0x10, 0, 1][..]));
}

#[test]
fn without_a_server_nothing_is_left() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    let wait = |seconds: &str| json!({"options": {"dhcp_timeout": seconds}});
    for (network, options, why) in [
        (wait("1"), Value::Null, "eth0 has no address by DHCP after 1 s"),
        (wait("0"), Value::Null, "dhcp_timeout \"0\": expected 1 to 100"),
        (json!({"internal": true}), Value::Null, "takes no --internal"),
        (Value::Null, json!({"static_ips": ["10.7.0.9"]}), "the server chooses the address"),
    ] {
        let mut request = by_dhcp(network, Value::Null);
        let options = options.as_object().cloned().unwrap_or_default();
        request["network_options"].as_object_mut().unwrap().extend(options);
        let error = podman.setup_refused(&container, &request);
        assert!(error.contains(why), "{why}: {error}");
        assert_eq!(container.interfaces(), ["lo"]);
        podman.has_nothing();
    }
}
