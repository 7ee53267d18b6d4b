//! The host reaches links through a link of its own.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{Route, Rtnl, set_sysctl, sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{Daemon, Machine, netns_path, root_or_skip};

use crate::keeper::{kill_keeper, until};

/// The host's link on `p0`.
const HOST_LINK: &str = "host-p0";

/// How long an answer may take before the question is sent again.
const ANSWER: Duration = Duration::from_millis(200);

/// A container, which has an interface `eth0` with these addresses.
struct Guest {
    netns: Netns,
    rtnl: Rtnl,
}

impl Guest {
    /// Makes the link, and has the host reach it.
    fn new(daemon: &Daemon, addresses: [&str; 2], more: Value) -> Self {
        let netns = Netns::create().unwrap();
        let mut spec = json!({"mode": "bridge", "netns": netns_path(&netns), "host": addresses});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.add("eth0", spec).ok();
        let mut guest = Self { rtnl: Rtnl::open_in(&netns).unwrap(), netns };
        guest.configure("eth0", addresses);
        guest
    }

    fn configure(&mut self, name: &str, addresses: [&str; 2]) {
        let own = format!("ipv6/conf/{name}/accept_dad");
        set_sysctl(&self.netns, &own, "0").unwrap();
        let index = self.rtnl.link(name).unwrap().unwrap().index;
        for (address, len) in addresses.iter().zip([24, 64]) {
            self.rtnl.add_address(index, address.parse().unwrap(), len).unwrap();
        }
        self.rtnl.set_up(index, true).unwrap();
    }
}

/// A machine whose parent has an address of each family, and the wire with another host.
fn machine() -> (Machine, Guest) {
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let netns = Netns::create().unwrap();
    let wire = machine.interface("q0").unwrap().index;
    machine.rtnl.set_netns(wire, &netns).unwrap();
    let mut wire = Guest { rtnl: Rtnl::open_in(&netns).unwrap(), netns };
    // Whatever it hears last counts, without the usual second in which a first answer is kept.
    set_sysctl(&wire.netns, "ipv4/neigh/q0/locktime", "0").unwrap();
    wire.configure("q0", ["10.1.0.200", "fd00:1::200"]);
    let host = Netns::try_clone(&machine.netns).unwrap();
    Guest { rtnl: Rtnl::open_in(&host).unwrap(), netns: host }
        .configure("p0", ["10.1.0.1", "fd00:1::1"]);
    (machine, wire)
}

/// Sends a datagram from one namespace to an address of another until it is answered.
fn reaches(from: &Netns, to: &Netns, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // An IPv6 address is there a moment after its interface.
    let mut server = None;
    until("the address", || {
        server = to.run(|| UdpSocket::bind((address, 0))).unwrap().ok();
        server.is_some()
    });
    let server = server.unwrap();
    let client = from.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    client.connect((address, server.local_addr().unwrap().port())).unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(ANSWER)).unwrap();
    }
    until(&format!("an answer of {address}"), || {
        let mut buffer = [0; 16];
        // The network may be unreachable for a moment.
        let asked = client.send(b"who").and_then(|_| server.recv_from(&mut buffer));
        let Ok((_, back)) = asked else { return false };
        server.send_to(b"me", back).and_then(|_| client.recv(&mut buffer)).is_ok()
    });
}

/// The routes of the host's link, each with its source.
fn routes(machine: &mut Machine) -> Vec<String> {
    let Some(link) = machine.interface(HOST_LINK) else { return Vec::new() };
    let all = machine.rtnl.routes().unwrap();
    let ours = |route: &&Route| route.index == Some(link.index) && route.protocol == 117;
    let shown = |route: &Route| format!("{} from {}", route.to, route.source.unwrap());
    let mut shown: Vec<_> = all.iter().filter(ours).map(shown).collect();
    shown.sort();
    shown
}

/// The addresses of the host's link that are the daemon's.
fn addresses(machine: &mut Machine) -> Vec<IpAddr> {
    let index = machine.interface(HOST_LINK).unwrap().index;
    let all = machine.rtnl.addresses().unwrap().into_iter();
    let own = all.filter(|address| address.index == index && address.at.is_single());
    own.map(|address| address.at.ip()).collect()
}

/// The MAC address that the wire's host has learnt for an IPv4 address.
fn learnt(wire: &Guest, address: &str) -> MacAddr {
    let table = wire.netns.run(|| std::fs::read_to_string("/proc/thread-self/net/arp"));
    let table = table.unwrap().unwrap();
    let line = table.lines().find(|line| line.split(' ').next() == Some(address));
    line.unwrap().split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn the_host_and_a_link_reach_each_other_over_restarts() {
    if !root_or_skip() {
        return;
    }
    let (mut machine, wire) = machine();
    let mut daemon = machine.start(&[]);
    let guest = Guest::new(&daemon, ["10.1.0.5", "fd00:1::5"], json!({}));
    let second = Guest::new(&daemon, ["10.1.0.6", "fd00:1::6"], json!({}));
    let own = addresses(&mut machine);
    assert_eq!(own.len(), 1, "of IPv6, made of the MAC address: {own:?}");
    let expected = [
        "10.1.0.5/32 from 10.1.0.1".to_owned(),
        "10.1.0.6/32 from 10.1.0.1".to_owned(),
        format!("fd00:1::5/128 from {}", own[0]),
        format!("fd00:1::6/128 from {}", own[0]),
    ];
    let mac = machine.interface(HOST_LINK).unwrap().mac;
    let check = |machine: &mut Machine| {
        assert_eq!(routes(machine), expected);
        let host = &machine.netns;
        reaches(&wire.netns, host, "10.1.0.1");
        reaches(&wire.netns, host, "fd00:1::1");
        reaches(host, &guest.netns, "10.1.0.5");
        reaches(host, &guest.netns, "fd00:1::5");
        reaches(host, &second.netns, "10.1.0.6");
        reaches(&guest.netns, host, "10.1.0.1");
        reaches(&guest.netns, host, &own[0].to_string());
        // The others on the wire know one MAC address of the host, which is the parent's.
        assert_eq!(Some(learnt(&wire, "10.1.0.1")), machine.interface("p0").unwrap().mac);
    };
    check(&mut machine);
    let setting = |name: &str| sysctl(&machine.netns, name).unwrap();
    assert_eq!(setting("ipv6/conf/host-p0/accept_ra"), "0");
    // Another answer than the parent's may come before or after it.
    assert_eq!(setting("ipv4/conf/host-p0/arp_filter"), "1");
    for keeper in [true, false] {
        daemon.kill();
        if !keeper {
            kill_keeper(&machine);
        }
        daemon = machine.start(&[]);
        check(&mut machine);
    }
    // An interface that somebody deletes or sets down is brought in order.
    let link = machine.interface(HOST_LINK).unwrap();
    machine.rtnl.set_up(link.index, false).unwrap();
    until("the routes to be back", || routes(&mut machine) == expected);
    machine.rtnl.delete(link.index).unwrap();
    until("the link to be back", || routes(&mut machine) == expected);
    check(&mut machine);
    assert_eq!(machine.interface(HOST_LINK).unwrap().mac, mac);

    let refused = daemon.ask("DELETE", "/v1/links/host-p0", Value::Null);
    assert_eq!(refused.code(), "refused");
    assert!(refused.json()["message"].as_str().unwrap().contains("way to 2 of the links of p0"));
    // A container that ends without a word takes its routes along, and the last one the link.
    let third = Guest::new(&daemon, ["10.1.0.7", "fd00:1::7"], json!({}));
    assert_eq!(routes(&mut machine).len(), 6);
    drop(third);
    until("the routes to go", || routes(&mut machine) == expected);
    for guest in [&guest, &second] {
        let path = format!("/v1/links/eth0?netns={}", netns_path(&guest.netns));
        daemon.ask("DELETE", &path, Value::Null);
    }
    assert!(machine.interface(HOST_LINK).is_none());
    assert_eq!(daemon.links(), [] as [Value; 0]);
    daemon.terminate();
}

#[test]
fn the_hosts_address_can_be_given_and_access_be_changed() {
    if !root_or_skip() {
        return;
    }
    let (mut machine, _wire) = machine();
    let daemon = machine.start(&[]);
    // The parent is a VLAN without an interface, whose addresses nothing could be derived from.
    let given = json!({"parent": "p0.7", "host_address": ["10.7.0.9", "fd00:7::9"]});
    let guest = Guest::new(&daemon, ["10.7.0.5", "fd00:7::5"], given);
    let name = "host-p0.7";
    assert!(machine.interface(name).is_some());
    reaches(&machine.netns, &guest.netns, "10.7.0.5");
    reaches(&guest.netns, &machine.netns, "10.7.0.9");
    reaches(&machine.netns, &guest.netns, "fd00:7::5");
    let path = format!("/v1/links/eth0?netns={}", netns_path(&guest.netns));
    let shown = daemon.ask("GET", &path, Value::Null).ok();
    assert_eq!(shown["umacvlan"]["host"], json!(["10.7.0.5", "fd00:7::5"]));
    assert_eq!(shown["umacvlan"]["host_address"], json!(["10.7.0.9", "fd00:7::9"]));

    let change = |host: Value| daemon.ask("PATCH", &path, json!({"host": host}));
    let network = json!({"to": ["10.7.0.0/29"], "from": ["10.7.0.10"]});
    assert_eq!(change(network).ok()["umacvlan"]["host"], json!(["10.7.0.0/29"]));
    reaches(&guest.netns, &machine.netns, "10.7.0.10");
    let refused = change(json!({"to": ["10.7.0.5"]}));
    assert_eq!(refused.code(), "refused", "no address is given, and none can be derived");
    reaches(&machine.netns, &guest.netns, "10.7.0.5");
    change(json!({})).ok();
    assert!(machine.interface(name).is_none());
}

#[test]
fn access_that_cannot_be_had_is_refused_and_leaves_nothing() {
    if !root_or_skip() {
        return;
    }
    let (mut machine, _wire) = machine();
    let daemon = machine.start(&[]);
    let bridge = |host: &str| json!({"mode": "bridge", "host": [host]});
    for (spec, why) in [
        (json!({"mode": "private", "host": ["10.1.0.5"]}), "in mode private reaches no other"),
        (json!({"mode": "passthru", "host": ["10.1.0.5"]}), "its parent to itself"),
        (json!({"mode": "source", "host": ["10.1.0.5"]}), "in mode source"),
        (bridge("10.9.0.5"), "interface p0 has none in that network"),
        (bridge("10.1.0.1"), "the host itself has the address 10.1.0.1"),
        (bridge("10.1.0.0/24"), "the host itself has the address 10.1.0.1"),
    ] {
        let refused = daemon.add("mac1", spec);
        assert_eq!(refused.code(), "refused", "{why}");
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{message}");
    }
    // The name of the host's link is taken.
    machine.rtnl.add_veth(HOST_LINK, "other", None).unwrap();
    let refused = daemon.add("mac1", bridge("10.1.0.5"));
    assert_eq!(refused.code(), "refused", "{:?}", refused.json());
    assert_eq!(daemon.links(), [] as [Value; 0]);
    assert_eq!(daemon.ask("GET", "/v1/parents", Value::Null).ok(), json!([]));
    let taken = machine.interface(HOST_LINK).unwrap().index;
    machine.rtnl.delete(taken).unwrap();

    daemon.add("mac1", bridge("10.1.0.5")).ok();
    let mode = json!({"macvlan": {"mode": "private"}});
    assert_eq!(daemon.ask("PATCH", "/v1/links/mac1", mode).code(), "refused");
    let off = json!({"macvlan": {"mode": "private"}, "host": {}});
    daemon.ask("PATCH", "/v1/links/mac1", off).ok();
    assert!(machine.interface(HOST_LINK).is_none());
}

#[test]
fn the_address_of_the_parent_may_come_later_and_the_configuration_has_access_too() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    machine.configure(
        "[link.web]\nparent = \"p0\"\nmode = \"bridge\"\nhost = [\"10.1.0.5\"]\n\
         host_address = [\"10.1.0.9\"]\n",
    );
    let mut daemon = machine.start(&[]);
    until("the route", || routes(&mut machine) == ["10.1.0.5/32 from 10.1.0.9"]);
    machine.configure("[link.web]\nparent = \"p0\"\nmode = \"bridge\"\nhost = [\"10.1.0.6\"]\n");
    let refused = daemon.ask("POST", "/v1/config/reload", Value::Null);
    assert_eq!(refused.code(), "refused", "p0 has no address");
    assert_eq!(routes(&mut machine), ["10.1.0.5/32 from 10.1.0.9"]);
    let index = machine.interface("p0").unwrap().index;
    machine.rtnl.add_address(index, "10.1.0.1".parse().unwrap(), 24).unwrap();
    daemon.ask("POST", "/v1/config/reload", Value::Null).ok();
    assert_eq!(routes(&mut machine), ["10.1.0.6/32 from 10.1.0.1"]);
    let saved = daemon.ask("GET", "/v1/config", Value::Null);
    assert!(saved.body.contains("host = [\"10.1.0.6\"]"), "{}", saved.body);
    assert!(saved.body.contains("# link host-p0 is left out"), "{}", saved.body);
    machine.configure("");
    daemon.ask("POST", "/v1/config/reload", Value::Null).ok();
    assert!(machine.interface(HOST_LINK).is_none());
    daemon.terminate();
}
