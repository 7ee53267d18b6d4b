//! Events between ADD and DEL: daemons that end, namespaces that vanish, plugins that fail, and
//! many calls at once.

use std::fs;
use std::thread;

use serde_json::{Value, json};
use umacvlan_netlink::{Rtnl, set_sysctl};
use umacvlan_testkit::{Machine, events, root_or_skip};

use crate::runtime::{Container, FAKE, Network, Runtime};
use crate::world::{address, plugins_or_skip, talk, told};

/// Has the plugin for addresses of the tests give this one, with the routes.
fn fake(runtime: &Runtime<'_>, address: &str, routes: Value) -> Network {
    let result = json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": address, "gateway": "10.1.2.1"}],
        "routes": routes,
    });
    fs::write(runtime.fake("result"), result.to_string()).unwrap();
    runtime.network("1.1.0", json!({"ipam": {"type": FAKE}}))
}

#[test]
fn in_the_newest_version_results_have_mtu_and_route_metrics() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let routes = json!([{"dst": "0.0.0.0/0", "priority": 99, "mtu": 1300}]);
    let network = fake(&runtime, "10.1.2.3/24", routes.clone());
    runtime.about("STATUS", &network, Value::Null).unwrap();
    let container = Container::new("c1");
    let result = runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!((&result["interfaces"][0]["mtu"], &result["routes"]), (&json!(1500), &routes));
    let all = container.rtnl().routes().unwrap();
    let route = all.iter().find(|route| route.to.prefix_len() == 0).unwrap();
    assert_eq!((route.metric, route.mtu), (Some(99), Some(1300)));
    let link = &daemon.links()[0];
    assert_eq!(link["umacvlan"]["owner"], "cni/net/c1/eth0");
    assert_eq!(link["linkinfo"]["info_data"]["mode"], "bridge");
    runtime.check(&network, &container, "eth0").unwrap();
    runtime.del(&network, &container, "eth0").unwrap();
    assert_eq!(runtime.fake_log(), "STATUS ADD CHECK DEL ");
}

#[test]
fn the_host_reaches_a_container_if_the_configuration_says_so() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let mut network = fake(&runtime, "10.1.2.3/24", json!([]));
    let container = Container::new("c1");
    network.plugins[0]["host"] = json!(true);
    let (code, msg) = told(&runtime.add(&network, &container, "eth0", Value::Null).unwrap_err());
    assert_eq!(code, 100);
    assert!(msg.contains("interface p0 has none in that network"), "{msg}");
    assert!(daemon.links().is_empty());
    assert_eq!(runtime.fake_log(), "ADD DEL ");
    network.plugins[0]["mode"] = json!("private");
    let (code, msg) = told(&runtime.add(&network, &container, "eth0", Value::Null).unwrap_err());
    assert_eq!(code, 7);
    assert!(msg.contains("modes bridge and vepa"), "{msg}");
    assert_eq!(runtime.fake_log(), "ADD DEL ", "no address was asked for");

    network.plugins[0]["mode"] = json!("bridge");
    network.plugins[0]["host"] = json!(["10.1.2.9"]);
    runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    let own = Container { netns: machine.netns.try_clone().unwrap(), ..Container::new("host") };
    talk(&own, &container, "10.1.2.3".parse().unwrap());
    talk(&container, &own, "10.1.2.9".parse().unwrap());
    runtime.check(&network, &container, "eth0").unwrap();
    runtime.del(&network, &container, "eth0").unwrap();
    assert!(machine.interface("host-p0").is_none() && daemon.links().is_empty());
}

#[test]
fn a_container_sends_only_from_its_addresses_if_the_configuration_says_so() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let container = Container::new("c1");
    let mut network = runtime.network("1.1.0", json!({"own_ip": true}));
    for ipam in [json!({}), json!({"type": "umacvlan-dhcp"})] {
        network.plugins[0]["ipam"] = ipam;
        let refused = runtime.add(&network, &container, "eth0", Value::Null).unwrap_err();
        let (code, msg) = told(&refused);
        assert_eq!((code, msg.contains("invalid own_ip: it needs addresses that stay")), (7, true));
    }
    let mut network = fake(&runtime, "10.1.2.3/24", json!([]));
    network.plugins[0]["own_ip"] = json!(true);
    network.plugins[0]["rules"] = json!({"isolation": "web", "allow_ip": ["10.1.2.200"]});
    runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    let rules = &daemon.links()[0]["linkinfo"]["info_data"]["rules"];
    assert_eq!(rules, &json!({"isolation": "web", "allow_ip": ["10.1.2.200", "10.1.2.3"]}));
    runtime.check(&network, &container, "eth0").unwrap();
    runtime.del(&network, &container, "eth0").unwrap();
}

#[test]
fn whatever_fails_leaves_neither_a_link_nor_an_address() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let container = Container::new("c1");
    let nothing_is_left = |log: &str| {
        assert!(container.interface("eth0").is_none());
        assert!(daemon.links().is_empty());
        assert_eq!(runtime.fake_log(), log);
        let _ = fs::remove_file(runtime.fake("log"));
    };
    // The link cannot be made.
    let mut network = fake(&runtime, "10.1.2.3/24", json!([]));
    network.plugins[0]["mac"] = "01:00:5e:00:00:01".into();
    let error = runtime.add(&network, &container, "eth0", Value::Null).unwrap_err();
    assert_eq!(told(&error).0, 100);
    nothing_is_left("");
    // No addresses.
    let network = fake(&runtime, "10.1.2.3/24", json!([]));
    fs::write(runtime.fake("fails"), "ADD").unwrap();
    let error = runtime.add(&network, &container, "eth0", Value::Null).unwrap_err();
    assert_eq!(told(&error), (11, "no addresses left".to_owned()));
    nothing_is_left("ADD DEL ");
    fs::remove_file(runtime.fake("fails")).unwrap();
    // A route that cannot be.
    let network = fake(&runtime, "10.1.2.3/24", json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]));
    let (code, msg) = told(&runtime.add(&network, &container, "eth0", Value::Null).unwrap_err());
    assert_eq!(code, 100);
    assert!(msg.contains("10.9.0.0/16 via 192.0.2.1"), "{msg}");
    nothing_is_left("ADD DEL ");
}

#[test]
fn a_second_interface_of_the_same_name_is_refused_and_the_first_stays() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let _daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = fake(&runtime, "10.1.2.3/24", json!([]));
    let container = Container::new("c1");
    runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    let (code, msg) = told(&runtime.add(&network, &container, "eth0", Value::Null).unwrap_err());
    assert_eq!(code, 100);
    assert!(msg.contains("eth0"), "{msg}");
    assert_eq!(runtime.fake_log(), "ADD ");
    runtime.check(&network, &container, "eth0").unwrap();
}

#[test]
fn a_check_finds_what_was_changed() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = fake(&runtime, "10.1.2.3/24", json!([{"dst": "0.0.0.0/0"}]));
    let container = Container::new("c1");
    runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    let check = |network: &Network| runtime.check(network, &container, "eth0");
    check(&network).unwrap();
    let fails = |network: &Network, words: &str| {
        let (code, msg) = told(&check(network).unwrap_err());
        assert_eq!(code, 101, "{msg}");
        assert!(msg.contains(words), "{msg}");
    };
    for (key, value, words) in [
        ("mode", "private", "mode bridge does not match expected value: private"),
        ("master", "q0", "is on p0, not on q0"),
    ] {
        let mut other = network.clone();
        other.plugins[0][key] = value.into();
        fails(&other, words);
    }
    let index = container.interface("eth0").unwrap().index;
    let mut rtnl = container.rtnl();
    // Which takes the routes away, and leaves the address.
    rtnl.set_up(index, false).unwrap();
    rtnl.set_up(index, true).unwrap();
    fails(&network, "expected route 0.0.0.0/0 not found");
    rtnl.add_default_route("10.1.2.1".parse().unwrap()).unwrap();
    check(&network).unwrap();

    let mut daemon = daemon;
    daemon.kill();
    assert_eq!(told(&check(&network).unwrap_err()).0, 11);
    let _daemon = machine.start(&[]);
    check(&network).unwrap();
    let mac = container.interface("eth0").unwrap().mac.unwrap();
    rtnl.set_mac(index, "02:00:5e:00:00:09".parse().unwrap()).unwrap();
    fails(&network, "doesn't match container Mac: 02:00:5e:00:00:09");
    rtnl.set_mac(index, mac).unwrap();
    let mut happens = events(&machine.file("socket"));
    let mut home = Rtnl::open_in(&machine.netns).unwrap();
    let parent = home.link("p0").unwrap().unwrap().index;
    home.delete(parent).unwrap();
    assert!(happens.any(|event| event["event"] == "parent_lost"));
    fails(&network, "master \"p0\" is gone");
    let there = Container::new("c1");
    let error = runtime.check(&network, &there, "eth0").unwrap_err();
    assert!(told(&error).1.contains("doesn't match configured netns"), "{error}");
}

#[test]
fn without_a_daemon_nothing_is_added_and_everything_can_be_deleted() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = fake(&runtime, "10.1.2.3/24", json!([]));
    let (container, second) = (Container::new("c1"), Container::new("c2"));
    runtime.add(&network, &container, "eth0", Value::Null).unwrap();
    daemon.kill();

    for (outcome, code) in [
        (runtime.about("STATUS", &network, Value::Null), 50),
        (runtime.about("GC", &network, json!([])), 11),
        (runtime.add(&network, &second, "eth0", Value::Null).map(drop), 11),
    ] {
        let (told, msg) = told(&outcome.unwrap_err());
        assert_eq!(told, code, "{msg}");
        assert!(msg.contains("no daemon listens on"), "{msg}");
    }
    // Links of other programs are left alone, and so are links that do not match the result.
    second.rtnl().add_veth("eth0", "other", None).unwrap();
    runtime.del(&network, &second, "eth0").unwrap();
    assert!(second.interface("eth0").is_some());
    let link = container.interface("eth0").unwrap();
    let mut rtnl = container.rtnl();
    rtnl.set_mac(link.index, "02:00:5e:00:00:09".parse().unwrap()).unwrap();
    let known = runtime.result(&container, "eth0");
    runtime.del(&network, &container, "eth0").unwrap();
    assert!(container.interface("eth0").is_some());
    rtnl.set_mac(link.index, link.mac.unwrap()).unwrap();
    runtime.remember(&container, "eth0", known);
    runtime.del(&network, &container, "eth0").unwrap();
    assert!(container.interface("eth0").is_none());

    let daemon = machine.start(&[]);
    assert!(daemon.links().is_empty());
}

#[test]
fn an_attachment_can_be_deleted_when_its_namespace_is_gone_or_unknown() {
    if !plugins_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let more = json!({"ipam": runtime.host_local("10.1.2.0/24")});
    let network = runtime.network("1.0.0", more);
    let mut unknown = Container::new("c1");
    runtime.add(&network, &unknown, "eth0", Value::Null).unwrap();
    unknown.path = String::new();
    runtime.del(&network, &unknown, "eth0").unwrap();
    assert!(unknown.interface("eth0").is_none() && daemon.links().is_empty());

    let mut gone = Container::new("c2");
    runtime.add(&network, &gone, "eth0", Value::Null).unwrap();
    assert_eq!(runtime.given_away().len(), 1);
    gone.netns = Container::new("c3").netns;
    runtime.del(&network, &gone, "eth0").unwrap();
    assert!(runtime.given_away().is_empty());
    assert!(daemon.links().is_empty());
}

#[test]
fn gc_removes_unknown_attachments_only() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = fake(&runtime, "10.1.2.3/24", json!([]));
    let other = Network { name: "net2".to_owned(), ..network.clone() };
    let containers = ["c1", "c2", "c3"].map(Container::new);
    for container in &containers {
        runtime.add(&network, container, "eth0", Value::Null).unwrap();
    }
    runtime.add(&other, &containers[0], "net1", Value::Null).unwrap();
    assert_eq!(daemon.add("mac1", json!({})).status, 201);
    // A link is its owner's under any name.
    let index = containers[1].interface("eth0").unwrap().index;
    containers[1].rtnl().set_name(index, "renamed").unwrap();

    runtime.about("GC", &network, json!([{"containerID": "c3", "ifname": "eth0"}])).unwrap();
    assert!(containers[0].interface("eth0").is_none());
    assert!(containers[1].interface("renamed").is_none());
    let owners: Vec<Value> =
        daemon.links().iter().map(|link| link["umacvlan"]["owner"].clone()).collect();
    assert_eq!(owners, [json!("cni/net/c3/eth0"), json!("cni/net2/c1/net1"), Value::Null]);
    assert!(runtime.fake_log().ends_with("GC "));
}

#[test]
fn twenty_containers_at_once_get_links_that_hear_each_other() {
    if !plugins_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = runtime.network("1.0.0", json!({"ipam": runtime.host_local("10.1.2.0/24")}));
    let containers: Vec<_> = (0..20).map(|n| Container::new(&format!("c{n}"))).collect();
    let all = |act: &(dyn Fn(&Container) -> Value + Sync)| -> Vec<Value> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                containers.iter().map(|container| scope.spawn(move || act(container))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let results = all(&|container| runtime.add(&network, container, "eth0", Value::Null).unwrap());
    assert_eq!(daemon.links().len(), 20);
    let mut addresses: Vec<_> = results.iter().map(address).collect();
    talk(&containers[0], &containers[19], addresses[19]);
    talk(&containers[19], &containers[7], addresses[7]);
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 20);
    all(&|container| runtime.del(&network, container, "eth0").map(|()| Value::Null).unwrap());
    assert!(daemon.links().is_empty() && runtime.given_away().is_empty());
}

#[test]
fn a_container_without_ipv6_gets_it_with_an_address_that_nobody_else_has() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let _daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let network = runtime.network("1.1.0", json!({"ipam": {"type": FAKE}}));
    // With a gateway it is asked for, so the first one has it before there is a second.
    let result = json!({"ips": [{"address": "fd00::3/64", "gateway": "fd00::1"}]});
    fs::write(runtime.fake("result"), result.to_string()).unwrap();
    let (one, other) = (Container::new("c1"), Container::new("c2"));
    for container in [&one, &other] {
        set_sysctl(&container.netns, "ipv6/conf/default/disable_ipv6", "1").unwrap();
    }
    runtime.add(&network, &one, "eth0", Value::Null).unwrap();
    runtime.check(&network, &one, "eth0").unwrap();
    let (code, msg) = told(&runtime.add(&network, &other, "eth0", Value::Null).unwrap_err());
    assert_eq!(code, 100, "{msg}");
    assert!(msg.contains("another host has the address fd00::3"), "{msg}");
}
