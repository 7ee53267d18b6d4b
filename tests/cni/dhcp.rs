//! Addresses from a DHCP server on the wire, with Debian's dhcp plugin and with the daemon's client.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use umacvlan_testkit::dhcp::{RELEASE, SERVER, Server};
use umacvlan_testkit::{LIMIT, Machine, root_or_skip};

use crate::runtime::{Container, Network, PLUGINS, Runtime};
use crate::world::{plugins_or_skip, told};

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 77);

/// The daemon of the dhcp plugin, which renews addresses; it is killed when this is dropped.
struct Renewer(Child);

impl Renewer {
    fn start(machine: &Machine, socket: &Path) -> Self {
        let mut command = Command::new(Path::new(PLUGINS).join("dhcp"));
        command.arg("daemon").arg("-socketpath").arg(socket);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = machine.netns.run(|| command.spawn()).unwrap().unwrap();
        Self(child)
    }
}

impl Drop for Renewer {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_address_comes_from_a_server_on_the_wire_and_is_given_back() {
    if !plugins_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let server = Server::start(&mut machine);
    let server = thread::spawn(move || server.serve_until_release(GIVEN));

    let _daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let socket = machine.file("dhcp.sock");
    let _renewer = Renewer::start(&machine, &socket);
    let ipam = json!({"type": "dhcp", "daemonSocketPath": socket});
    let network = runtime.network("1.0.0", json!({"ipam": ipam}));
    let container = Container::new("c1");
    // Only its socket shows that it is ready, so the test calls it until it answers.
    let end = Instant::now() + LIMIT;
    let result = loop {
        match runtime.add(&network, &container, "eth0", Value::Null) {
            Ok(result) => break result,
            Err(error) => {
                let msg = error["msg"].as_str().unwrap();
                assert!(msg.contains("error dialing DHCP daemon"), "{error}");
                assert!(Instant::now() < end, "it does not start");
                assert!(container.interface("eth0").is_none());
            }
        }
    };
    assert_eq!(result["ips"][0]["address"], format!("{GIVEN}/24"));
    assert_eq!(result["ips"][0]["gateway"], SERVER.to_string());
    let addresses = container.rtnl().addresses().unwrap();
    assert!(addresses.iter().any(|address| address.at.ip() == GIVEN), "{addresses:?}");
    runtime.del(&network, &container, "eth0").unwrap();
    server.join().unwrap();
    assert!(container.interface("eth0").is_none());
}

/// What the daemon is told to be.
fn by_daemon() -> Value {
    json!({"ipam": {"type": "umacvlan-dhcp"}})
}

#[test]
fn the_daemon_gets_the_address_of_a_pod_and_gives_it_back() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let server = Server::start(&mut machine);
    let server = thread::spawn(move || {
        let first = server.serve_until_release(GIVEN);
        (first, server.serve_until_release(GIVEN))
    });
    let daemon = machine.start(&[]);
    let mut runtime = Runtime::new(&machine);
    runtime.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0".to_owned();

    // The same pod in another container is the same client.
    let mut releases = Vec::new();
    for (id, version) in [("c1", "1.1.0"), ("c2", "0.2.0")] {
        let network = runtime.network(version, by_daemon());
        let container = Container::new(id);
        let result = runtime.add(&network, &container, "eth0", Value::Null).unwrap();
        let addresses = container.rtnl().addresses().unwrap();
        assert!(addresses.iter().any(|address| address.at.ip() == GIVEN), "{addresses:?}");
        if version == "0.2.0" {
            assert_eq!(result["ip4"]["ip"], "10.7.0.77/24");
            assert_eq!(result["ip4"]["gateway"], "10.7.0.1");
        } else {
            let ip = json!({"address": "10.7.0.77/24", "gateway": "10.7.0.1", "interface": 0});
            assert_eq!(result["ips"], json!([ip]));
            assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.7.0.1"}]));
            runtime.check(&network, &container, "eth0").unwrap();
            lose_the_address(&runtime, &network, &container);
        }
        assert_eq!(result["dns"]["nameservers"], json!(["10.7.0.1"]));
        runtime.del(&network, &container, "eth0").unwrap();
        assert!(container.interface("eth0").is_none());
        releases.push(daemon.links().len());
    }
    assert_eq!(releases, [0, 0]);
    let (first, second) = server.join().unwrap();
    for release in [first, second] {
        assert_eq!((release.kind(), release.own()), (RELEASE, GIVEN));
        assert_eq!(release.option(61), Some(&b"\0net/shop/web-0/eth0"[..]));
    }
}

/// Takes a pod's address off: `CHECK` says so.
fn lose_the_address(runtime: &Runtime<'_>, network: &Network, container: &Container) {
    let index = container.interface("eth0").unwrap().index;
    container.rtnl().del_address(index, GIVEN.into(), 24).unwrap();
    let (code, msg) = told(&runtime.check(network, container, "eth0").unwrap_err());
    assert!(code == 101 && msg.contains("10.7.0.77/24"), "{msg}");
    let mut rtnl = container.rtnl();
    rtnl.set_up(index, false).unwrap();
    let end = Instant::now() + LIMIT;
    loop {
        let (code, msg) = told(&runtime.check(network, container, "eth0").unwrap_err());
        assert_eq!(code, 101, "{msg}");
        if msg.contains("has no address by DHCP, state down") {
            break;
        }
        assert!(Instant::now() < end, "{msg}");
    }
    rtnl.set_up(index, true).unwrap();
    // It asks whether it may still have its address.
    let end = Instant::now() + LIMIT;
    while let Err(error) = runtime.check(network, container, "eth0") {
        assert!(Instant::now() < end, "{error}");
    }
}

#[test]
fn without_a_server_nothing_is_left() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let runtime = Runtime::new(&machine);
    let container = Container::new("c1");
    for (more, wanted, why) in [
        (
            json!({"ipam": {"type": "umacvlan-dhcp", "timeout": 1}}),
            11,
            "eth0 has no address by DHCP after 1 s",
        ),
        (json!({"ipam": {"type": "umacvlan-dhcp", "ranges": []}}), 7, "unknown key \"ranges\""),
        (json!({"ipam": {"type": "umacvlan-dhcp"}, "host": true}), 7, "may change"),
    ] {
        let network = runtime.network("1.0.0", more);
        let (code, msg) =
            told(&runtime.add(&network, &container, "eth0", Value::Null).unwrap_err());
        assert!(code == wanted && msg.contains(why), "{code} {msg}");
        assert!(container.interface("eth0").is_none());
        assert!(daemon.links().is_empty());
    }
}
