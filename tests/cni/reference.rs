//! The same networks with our plugin and with the reference plugin on the kernel's macvlan: the
//! results have to be the same but for the random address and the file of the namespace.

use std::thread;

use serde_json::{Value, json};
use umacvlan_netlink::{IpPrefix, Macvlan, Route};
use umacvlan_testkit::{Machine, skip};

use crate::runtime::{Container, Network, OURS, Runtime};
use crate::world::{plugins_or_skip, talk, told};

/// Versions of the specification that both plugins support.
const BOTH: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// True where the kernel has the driver that the reference plugin needs.
fn kernel_or_skip(machine: &mut Machine) -> bool {
    let parent = machine.interface("p0").unwrap().index;
    let made = machine.rtnl.add_macvlan("probe", parent, &Macvlan::new(4), None);
    if let Err(error) = &made {
        skip(&format!("the kernel has no macvlan: {error}"));
        return false;
    }
    let probe = machine.interface("probe").unwrap().index;
    machine.rtnl.delete(probe).unwrap();
    true
}

/// A machine where the default route leads out of `p0`.
fn machine() -> Machine {
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let parent = machine.interface("p0").unwrap().index;
    machine.rtnl.add_address(parent, "10.0.0.2".parse().unwrap(), 24).unwrap();
    machine.rtnl.add_default_route("10.0.0.1".parse().unwrap()).unwrap();
    machine
}

/// Runs `side` with our plugin and with the reference plugin, and returns what each returned.
fn both<T: Send>(side: impl Fn(&Machine, &str) -> T + Sync) -> Option<(T, T)> {
    if !plugins_or_skip() {
        return None;
    }
    let mut kernel = machine();
    if !kernel_or_skip(&mut kernel) {
        return None;
    }
    let ours = machine();
    let _daemon = ours.start(&[]);
    Some(thread::scope(|scope| {
        let reference = scope.spawn(|| side(&kernel, "macvlan"));
        (side(&ours, OURS), reference.join().unwrap())
    }))
}

/// The comparable part of a result.
fn comparable(mut result: Value, container: &Container) -> Value {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        interface["mac"] = interface["mac"].as_str().unwrap().len().into();
        assert_eq!(interface["sandbox"], container.path.as_str());
        interface["sandbox"] = "there".into();
    }
    if result["dns"] == json!({}) {
        result.as_object_mut().unwrap().remove("dns");
    }
    result
}

/// The comparable results of an attachment, from ADD to DEL.
fn life(runtime: &Runtime<'_>, network: &Network, ifname: &str) -> Value {
    let container = Container::new("c1");
    // Nothing has been added: no error.
    runtime.del(network, &container, ifname).unwrap();
    let result = runtime.add(network, &container, ifname, Value::Null).unwrap();
    let link = container.interface(ifname).unwrap();
    assert!(link.is_up());
    if let Some(mac) = result["interfaces"][0]["mac"].as_str() {
        assert_eq!(mac, link.mac.unwrap().to_string());
    }
    let mut rtnl = container.rtnl();
    let own = rtnl.addresses().unwrap().into_iter().filter(|address| address.index == link.index);
    let mut own: Vec<IpPrefix> = own.map(|address| address.at).collect();
    // Made from the random address.
    own.retain(|at| !at.to_string().starts_with("fe80:"));
    let routes = rtnl.routes().unwrap().into_iter().filter(|route| route.index == Some(link.index));
    // Neither whether the kernel has its own for an address yet, nor who has added one.
    let mut routes: Vec<_> = routes
        .filter(|route| route.table == Route::MAIN_TABLE && route.via.is_some())
        .map(|route| format!("{} {:?} {:?}", route.to, route.via, route.metric))
        .collect();
    routes.sort();
    let check = runtime.check(network, &container, ifname).map_err(|error| told(&error));
    runtime.del(network, &container, ifname).unwrap();
    assert!(container.interface(ifname).is_none());
    runtime.del(network, &container, ifname).unwrap();
    assert!(runtime.given_away().is_empty());
    json!({
        "result": comparable(result, &container),
        "mtu": link.mtu,
        "addresses": own.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "routes": routes,
        "check": format!("{check:?}"),
    })
}

#[test]
fn in_every_version_an_attachment_equals_the_reference_plugins() {
    let lives = both(|machine, plugin| {
        let runtime = Runtime::new(machine);
        let mut ipam = runtime.host_local("10.1.2.0/24");
        ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.2.9"}]);
        let dns = json!({"nameservers": ["10.1.2.1"], "search": ["example.org"]});
        let mut lives = Vec::new();
        for version in BOTH {
            let more = json!({"type": plugin, "mtu": 1400, "ipam": ipam, "dns": dns});
            lives.push(life(&runtime, &runtime.network(version, more), "eth0"));
            // Before there were lists a result had to have an address.
            if version >= "0.3.0" {
                let more = json!({"type": plugin, "ipam": {}});
                lives.push(life(&runtime, &runtime.network(version, more), "foobar0"));
            }
        }
        lives
    });
    let Some((ours, reference)) = lives else { return };
    for (ours, reference) in ours.iter().zip(&reference) {
        assert_eq!(ours, reference, "ours first");
    }
    assert_eq!(ours.len(), 10);
    assert_eq!((&ours[0]["mtu"], &ours[3]["mtu"]), (&json!(1400), &json!(1500)));
}

#[test]
fn two_families_and_any_parent_are_as_with_the_reference_plugin() {
    let lives = both(|machine, plugin| {
        let runtime = Runtime::new(machine);
        let mut ipam = runtime.host_local("10.1.2.0/24");
        ipam["ranges"] = json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1::/64"}]]);
        ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        // The parent is the one of the default route.
        let more = json!({"type": plugin, "master": "", "mode": "private", "ipam": ipam});
        let family = life(&runtime, &runtime.network("1.0.0", more), "eth0");
        let ipam = json!({"type": "static", "addresses": [
            {"address": "10.1.2.7/24", "gateway": "10.1.2.1"}, {"address": "10.1.3.7/24"},
        ], "routes": [{"dst": "10.8.0.0/16", "gw": "10.1.2.9"}]});
        let more = json!({"type": plugin, "mode": "passthru", "ipam": ipam});
        [family, life(&runtime, &runtime.network("0.4.0", more), "net1")]
    });
    let Some((ours, reference)) = lives else { return };
    assert_eq!(ours, reference, "ours first");
    let ips = ours[0]["result"]["ips"].as_array().unwrap();
    assert_eq!((ips.len(), &ips[0]["interface"]), (2, &json!(0)));
}

#[test]
fn with_both_plugins_the_runtimes_address_wins() {
    let macs = both(|machine, plugin| {
        let mut runtime = Runtime::new(machine);
        let mut macs = Vec::new();
        let mac = |last: u8| format!("02:00:5e:00:00:{last:02x}");
        for (number, (args, capability)) in [
            ("", false),
            ("IgnoreUnknown=1;K8S_POD_NAME=p;MAC=02:00:5e:00:00:02", false),
            ("IgnoreUnknown=1;MAC=02:00:5e:00:00:02", true),
        ]
        .into_iter()
        .enumerate()
        {
            runtime.args = args.to_owned();
            let more = json!({
                "type": plugin,
                "mac": mac(1),
                "capabilities": {"mac": true, "ips": true},
                "ipam": runtime.host_local("10.1.2.0/24"),
            });
            let network = runtime.network("1.0.0", more);
            let container = Container::new(&format!("c{number}"));
            let given = json!({"mac": mac(3), "ips": ["10.1.2.99/24"]});
            let given = if capability { given } else { Value::Null };
            let result = runtime.add(&network, &container, "eth0", given).unwrap();
            assert_eq!(result["interfaces"][0]["mac"], mac(u8::try_from(number).unwrap() + 1));
            macs.push(result["ips"][0]["address"].to_string());
            macs.push(container.interface("eth0").unwrap().mac.unwrap().to_string());
            runtime.del(&network, &container, "eth0").unwrap();
        }
        macs
    });
    let Some((ours, reference)) = macs else { return };
    assert_eq!(ours, reference, "ours first");
    assert_eq!(ours[4], "\"10.1.2.99/24\"", "the runtime's address goes to the plugin for them");
}

#[test]
fn a_plugin_that_comes_after_may_change_the_address_and_frames_follow() {
    let results = both(|machine, plugin| {
        let runtime = Runtime::new(machine);
        let ipam = runtime.host_local("10.1.2.0/24");
        let mut network = runtime.network("1.0.0", json!({"type": plugin, "ipam": ipam}));
        let plain = network.clone();
        network.plugins.push(json!({"type": "tuning", "mac": "02:00:5e:00:00:77"}));
        let (one, other) = (Container::new("c1"), Container::new("c2"));
        let result = runtime.add(&network, &one, "eth0", Value::Null).unwrap();
        assert_eq!(result["interfaces"][0]["mac"], "02:00:5e:00:00:77");
        runtime.add(&plain, &other, "eth0", Value::Null).unwrap();
        talk(&other, &one, crate::world::address(&result));
        runtime.check(&network, &one, "eth0").unwrap();
        for (network, container) in [(&network, &one), (&plain, &other)] {
            runtime.del(network, container, "eth0").unwrap();
            assert!(container.interface("eth0").is_none());
        }
        comparable(result, &one)
    });
    let Some((ours, reference)) = results else { return };
    assert_eq!(ours, reference, "ours first");
}
