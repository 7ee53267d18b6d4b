//! Setup gives a container the requested interface, addresses and routes, and teardown removes
//! them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};
use umacvlan_netlink::{Rtnl, set_sysctl};
use umacvlan_testkit::{LIMIT, root_or_skip};

use crate::podman::{Container, Podman, request, text};

#[test]
fn a_container_gets_a_link_with_address_and_route_and_gives_it_back() {
    if !root_or_skip() {
        return;
    }
    let (mut podman, mut container) = (Podman::new(), Container::new());
    let request = request(&["10.88.0.2"], Value::Null, Value::Null);
    let status = podman.setup(&container, &request);
    let link = container.link("eth0").unwrap();
    assert!(link.is_up());
    let expected = json!({
        "dns_search_domains": [],
        "dns_server_ips": [],
        "interfaces": {"eth0": {
            "mac_address": link.mac.unwrap().to_string(),
            "subnets": [{"gateway": "10.88.0.1", "ipnet": "10.88.0.2/16"}],
        }},
    });
    assert_eq!(status, expected);
    assert_eq!(container.addresses("eth0"), ["10.88.0.2/16"]);
    assert_eq!(container.routes(), ["0.0.0.0/0 via 10.88.0.1 metric 100"]);
    assert_eq!(container.sysctl("ipv6/conf/eth0/autoconf"), "0");
    let [shown] = podman.daemon.links().try_into().unwrap();
    assert_eq!(shown["linkinfo"]["info_data"]["mode"], "bridge");

    // A second daemon knows the owner of the link.
    podman.restart_daemon();
    podman.teardown(&container, &request);
    assert_eq!(container.interfaces(), ["lo"]);
    podman.has_nothing();
    podman.teardown(&container, &request);
}

#[test]
fn static_routes_are_added_and_go_with_the_link() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    container.add_other("other", "10.91.0.10/24");
    let network = json!({
        "subnets": [
            {"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"},
            {"subnet": "fd1f:1f::/64", "gateway": "fd1f:1f::1"},
        ],
        "routes": [
            {"destination": "10.89.0.0/24", "gateway": "10.88.0.2"},
            {"destination": "10.90.0.0/24", "gateway": "10.88.0.3", "metric": 7},
            {"destination": "10.92.0.0/24", "gateway": "10.91.0.1"},
            {"destination": "fd2f:2f::/64", "gateway": "fd1f:1f::20"},
        ],
    });
    let request = request(&["10.88.0.5", "fd1f:1f::2"], network, Value::Null);
    podman.setup(&container, &request);
    let mut routes = container.routes();
    routes.sort();
    let expected = [
        "0.0.0.0/0 via 10.88.0.1 metric 100",
        "10.89.0.0/24 via 10.88.0.2 metric 0",
        "10.90.0.0/24 via 10.88.0.3 metric 7",
        "10.92.0.0/24 via 10.91.0.1 metric 0",
        "::/0 via fd1f:1f::1 metric 100",
        "fd2f:2f::/64 via fd1f:1f::20 metric 1024",
    ];
    assert_eq!(routes, expected);
    podman.teardown(&container, &request);
    assert_eq!(container.routes(), [""; 0]);
    assert_eq!(container.addresses("other"), ["10.91.0.10/24"]);
}

#[test]
fn there_is_no_default_route_where_none_is_wanted() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    for (network, gateway) in [
        (json!({"options": {"no_default_route": "true"}}), json!("10.88.0.1")),
        (json!({"internal": true}), Value::Null),
    ] {
        let mut container = Container::new();
        let request = request(&["10.88.0.2"], network, Value::Null);
        let status = podman.setup(&container, &request);
        assert_eq!(container.addresses("eth0"), ["10.88.0.2/16"]);
        assert_eq!(container.routes(), [""; 0]);
        assert_eq!(status["interfaces"]["eth0"]["subnets"][0]["gateway"], gateway);
        podman.teardown(&container, &request);
    }
}

#[test]
fn a_container_sends_only_from_its_addresses_if_the_network_says_so() {
    if !root_or_skip() {
        return;
    }
    let (podman, container) = (Podman::new(), Container::new());
    let network = json!({
        "subnets": [{"subnet": "10.88.0.0/16"}, {"subnet": "fd1f:1f::/64"}],
        "options": {"own_ip": "true"},
    });
    let request = request(&["10.88.0.5", "fd1f:1f::2"], network, Value::Null);
    podman.setup(&container, &request);
    let rules = &podman.daemon.links()[0]["linkinfo"]["info_data"]["rules"];
    assert_eq!(rules, &json!({"allow_ip": ["10.88.0.5", "fd1f:1f::2"]}));
    podman.teardown(&container, &request);
}

#[test]
fn mtu_metric_and_mac_address_are_as_asked_for() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    let network = json!({
        "options": {"mtu": "1400", "metric": "200", "bclim": "5"},
        "subnets": [
            {"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"},
            {"subnet": "fd1f:1f::/64", "gateway": "fd1f:1f::1"},
        ],
    });
    let mac = "aa:bb:cc:dd:ee:00";
    let request = request(&["10.88.0.2", "fd1f:1f::2"], network, json!({"static_mac": mac}));
    let status = podman.setup(&container, &request);
    assert_eq!(status["interfaces"]["eth0"]["mac_address"], mac);
    let link = container.link("eth0").unwrap();
    assert_eq!((link.mtu, link.mac.unwrap().to_string()), (1400, mac.to_owned()));
    let expected = ["0.0.0.0/0 via 10.88.0.1 metric 200", "::/0 via fd1f:1f::1 metric 200"];
    assert_eq!(container.routes(), expected);
    let [shown] = podman.daemon.links().try_into().unwrap();
    assert_eq!(shown["linkinfo"]["info_data"]["bclim"], 5);
}

#[test]
fn every_mode_works() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    for mode in ["bridge", "private", "vepa", "passthru", "source"] {
        let container = Container::new();
        let mut options = json!({"mode": mode});
        if mode == "source" {
            options["macaddr"] = json!("02:00:00:00:00:01,02:00:00:00:00:02");
        }
        let request = request(&["10.88.0.2"], json!({"options": options}), Value::Null);
        podman.setup(&container, &request);
        let [shown] = podman.daemon.links().try_into().unwrap();
        let data = &shown["linkinfo"]["info_data"];
        assert_eq!((&data["mode"], &shown["mtu"]), (&json!(mode), &json!(1500)));
        assert_eq!(data["macaddr_count"] == 2, mode == "source", "{data}");
        podman.teardown(&container, &request);
    }
    podman.has_nothing();
}

#[test]
fn without_ipam_a_link_has_no_addresses() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    let network = json!({"subnets": [], "ipam_options": {"driver": "none"}});
    let mut request = request(&[], network, Value::Null);
    request["network_options"].as_object_mut().unwrap().remove("static_ips");
    let status = podman.setup(&container, &request);
    assert_eq!(status["interfaces"]["eth0"]["subnets"], json!([]));
    assert!(container.link("eth0").unwrap().is_up());
    assert_eq!((container.addresses("eth0").len(), container.routes().len()), (0, 0));
}

#[test]
fn a_container_has_as_many_addresses_as_are_given_each_with_its_subnet() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    let two = json!([
        {"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"},
        {"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"},
    ]);
    for (subnets, ips, expected) in [
        (json!([two[0]]), ["10.88.0.5", "10.88.0.10"], ["10.88.0.5/16", "10.88.0.10/16"]),
        (two.clone(), ["10.89.0.10", "10.88.0.5"], ["10.88.0.5/16", "10.89.0.10/24"]),
    ] {
        let mut container = Container::new();
        let request = request(&ips, json!({"subnets": subnets}), Value::Null);
        let status = podman.setup(&container, &request);
        assert_eq!(container.addresses("eth0"), expected);
        let told = status["interfaces"]["eth0"]["subnets"].as_array().unwrap();
        let told: Vec<_> = told.iter().map(|subnet| subnet["ipnet"].as_str().unwrap()).collect();
        assert_eq!(told, expected);
        podman.teardown(&container, &request);
    }
}

#[test]
fn the_host_may_have_an_interface_of_the_same_name() {
    if !root_or_skip() {
        return;
    }
    let (mut podman, mut container) = (Podman::new(), Container::new());
    let index = podman.machine.interface("p0").unwrap().index;
    podman.machine.rtnl.set_name(index, "eth0").unwrap();
    let request = request(&["10.88.0.2"], json!({"network_interface": "eth0"}), Value::Null);
    podman.setup(&container, &request);
    assert!(container.link("eth0").is_some());
    podman.teardown(&container, &request);
    assert!(podman.machine.interface("eth0").is_some());
}

#[test]
fn without_a_parent_the_interface_of_the_default_route_is_used() {
    if !root_or_skip() {
        return;
    }
    let mut podman = Podman::new();
    let container = Container::new();
    let request = request(&["10.88.0.2"], json!({"network_interface": null}), Value::Null);
    let error = podman.setup_refused(&container, &request);
    assert!(error.contains("no default route"), "{error}");

    let host = &mut podman.machine;
    let index = host.interface("p0").unwrap().index;
    host.rtnl.add_address(index, [192, 0, 2, 5].into(), 24).unwrap();
    host.rtnl.add_default_route([192, 0, 2, 1].into()).unwrap();
    podman.setup(&container, &request);
    assert_eq!(podman.daemon.links()[0]["umacvlan"]["parent"], "p0");
}

#[test]
fn containers_of_a_bridge_reach_each_other_and_private_ones_do_not() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    for (mode, reached) in [("bridge", true), ("private", false)] {
        let pair = [("a", "10.88.0.2"), ("b", "10.88.0.3")].map(|(id, ip)| {
            let container = Container::new();
            let network = json!({"options": {"mode": mode}});
            let mut request = request(&[ip], network, Value::Null);
            request["container_id"] = json!(id);
            podman.setup(&container, &request);
            (container, request)
        });
        let [(server, _), (client, _)] = &pair;
        let at = SocketAddr::new(IpAddr::from([10, 88, 0, 2]), 7);
        let listener = server.netns.run(|| TcpListener::bind(at)).unwrap().unwrap();
        if reached {
            let served = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"here").unwrap();
            });
            let connect = || TcpStream::connect_timeout(&at, LIMIT);
            let mut stream = client.netns.run(connect).unwrap().unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "here");
            served.join().unwrap();
        } else {
            // No host has the address, so the kernel reports it unreachable after one request.
            set_sysctl(&client.netns, "ipv4/neigh/eth0/mcast_solicit", "1").unwrap();
            let connected = client.netns.run(|| TcpStream::connect_timeout(&at, LIMIT)).unwrap();
            let error = connected.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable, "{error}");
        }
        pair.iter().for_each(|(container, request)| podman.teardown(container, request));
    }
    podman.has_nothing();
}

#[test]
fn published_ports_are_ignored_with_a_warning() {
    if !root_or_skip() {
        return;
    }
    let (podman, container) = (Podman::new(), Container::new());
    let mut request = request(&["10.88.0.2"], Value::Null, Value::Null);
    request["port_mappings"] = json!([{
        "container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1,
    }]);
    let output = podman.call(&["setup", &container.path()], &request.to_string());
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("published ports are ignored"));
}

#[test]
fn the_default_routes_of_two_networks_exist_beside_each_other() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    let network = |id: &str, at: [&str; 2], via: [&str; 2]| {
        let subnets = [0, 1].map(|family| json!({"subnet": at[family], "gateway": via[family]}));
        json!({"id": id, "subnets": subnets})
    };
    let first = network("1", ["10.88.0.0/16", "fd88::/64"], ["10.88.0.1", "fd88::1"]);
    let second = network("2", ["10.89.0.0/16", "fd89::/64"], ["10.89.0.1", "fd89::1"]);
    podman.setup(&container, &request(&["10.88.0.2", "fd88::2"], first, Value::Null));
    let name = json!({"interface_name": "eth1"});
    podman.setup(&container, &request(&["10.89.0.2", "fd89::2"], second, name));
    let routes = container.routes();
    for via in ["10.88.0.1", "10.89.0.1", "fd88::1", "fd89::1"] {
        let family = if via.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let wanted = format!("{family} via {via} metric 100");
        assert!(routes.contains(&wanted), "{wanted}: {routes:?}");
    }
}

#[test]
fn the_host_reaches_a_container_with_the_option() {
    if !root_or_skip() {
        return;
    }
    let (mut podman, mut container) = (Podman::new(), Container::new());
    let network = |host: &str| json!({"options": {"host": host}});
    let derived = request(&["10.88.0.2"], network("yes"), Value::Null);
    let refused = podman.setup_refused(&container, &derived);
    assert!(refused.contains("interface p0 has none in that network"), "{refused}");
    assert_eq!(container.interfaces(), ["lo"]);
    podman.has_nothing();
    let index = podman.machine.interface("p0").unwrap().index;
    podman.machine.rtnl.add_address(index, "10.88.0.9".parse().unwrap(), 16).unwrap();
    for (host, from) in [("yes", "10.88.0.9"), ("10.88.0.10", "10.88.0.10")] {
        let request = request(&["10.88.0.2"], network(host), Value::Null);
        podman.setup(&container, &request);
        let to = SocketAddr::new("10.88.0.2".parse().unwrap(), 7);
        let listener = container.netns.run(|| TcpListener::bind(to)).unwrap().unwrap();
        let connect = || TcpStream::connect_timeout(&to, LIMIT);
        let stream = podman.machine.netns.run(connect).unwrap().unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), from);
        listener.accept().unwrap();
        podman.teardown(&container, &request);
        assert!(podman.machine.interface("host-p0").is_none());
        podman.has_nothing();
    }
}

#[test]
fn each_network_of_a_container_has_a_link_of_its_own() {
    if !root_or_skip() {
        return;
    }
    let (podman, mut container) = (Podman::new(), Container::new());
    let first = request(&["10.88.0.2"], Value::Null, Value::Null);
    let other = json!({"id": "other", "subnets": [{"subnet": "10.89.0.0/16"}]});
    let second = request(&["10.89.0.2"], other, json!({"interface_name": "eth1"}));
    podman.setup(&container, &first);
    podman.setup(&container, &second);
    podman.teardown(&container, &first);
    assert_eq!(container.interfaces(), ["lo", "eth1"]);
    let inside = Rtnl::open_in(&container.netns).unwrap().link("eth1").unwrap().unwrap();
    assert!(inside.is_up());
}

#[test]
fn twenty_containers_start_and_end_at_once() {
    if !root_or_skip() {
        return;
    }
    let podman = Podman::new();
    let start = &|number: u8| {
        let container = Container::new();
        let mut request = request(&[&format!("10.88.0.{number}")], Value::Null, Value::Null);
        request["container_id"] = json!(number.to_string());
        let status = podman.setup(&container, &request);
        let mac = status["interfaces"]["eth0"]["mac_address"].as_str().unwrap().to_owned();
        (container, request, mac)
    };
    let all: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (2..22).map(|number| scope.spawn(move || start(number))).collect();
        started.into_iter().map(|started| started.join().unwrap()).collect()
    });
    let macs: BTreeSet<_> = all.iter().map(|(_, _, mac)| mac).collect();
    assert_eq!((macs.len(), podman.daemon.links().len()), (20, 20));
    thread::scope(|scope| {
        for (container, request, _) in &all {
            let podman = &podman;
            scope.spawn(move || podman.teardown(container, request));
        }
    });
    podman.has_nothing();
}
