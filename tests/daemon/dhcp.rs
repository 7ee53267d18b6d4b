//! Links get their addresses from servers on the wire and in a sibling.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use umacvlan_netlink::{IpPrefix, Route, Rtnl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::dhcp::{
    ACK, DISCOVER, Message, NAK, OFFER, OTHER_SERVER, RELEASE, REQUEST, SERVER, Server,
};
use umacvlan_testkit::{BpfFs, Daemon, Machine, link_id, netns_path, root_or_skip, skip};

use crate::keeper::until;

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 77);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 78);

/// A lease of a minute that is renewed after a second.
const MINUTE: [(u8, u32); 3] = [(51, 60), (58, 1), (59, 10)];

/// A lease that ends after two seconds.
const MOMENT: [(u8, u32); 1] = [(51, 2)];

/// A container with a link that gets its address by DHCP.
struct Guest {
    netns: Netns,
    rtnl: Rtnl,
    id: u64,
}

impl Guest {
    fn new(daemon: &Daemon, more: Value) -> Self {
        let netns = Netns::create().unwrap();
        let mut spec = json!({"netns": netns_path(&netns), "dhcp": true});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = link_id(&daemon.add("eth0", spec).ok());
        Self { rtnl: Rtnl::open_in(&netns).unwrap(), netns, id }
    }

    fn addresses(&mut self) -> Vec<IpPrefix> {
        let all = self.rtnl.addresses().unwrap().into_iter().map(|address| address.at);
        all.filter(|at| at.ip().is_ipv4()).collect()
    }

    fn has(&mut self, address: Ipv4Addr) -> bool {
        self.addresses() == [IpPrefix::new(address.into(), 24).unwrap()]
    }

    /// The way out.
    fn gateway(&mut self) -> Option<IpAddr> {
        let routes = self.rtnl.routes().unwrap();
        let default = |route: &&Route| route.to.prefix_len() == 0 && route.to.ip().is_ipv4();
        routes.iter().find(default).and_then(|route| route.via)
    }

    fn lease(&self, daemon: &Daemon) -> Value {
        daemon.link(self.id)["umacvlan"]["dhcp"].clone()
    }
}

#[test]
fn a_lease_lives_as_long_as_its_link_and_over_restarts() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let server = Server::start(&mut machine);
    let mut daemon = machine.start(&[]);
    let who = json!({"dhcp_client_id": "lan/web", "dhcp_hostname": "web"});
    let mut guest = Guest::new(&daemon, who);

    // Two servers: the first offer is taken.
    let discover = server.expect(DISCOVER);
    assert_eq!(discover.option(61), Some(&b"\0lan/web"[..]));
    assert_eq!(discover.option(12), Some(&b"web"[..]));
    server.answer(&discover, OFFER, SERVER, FIRST, &MINUTE);
    server.answer(&discover, OFFER, OTHER_SERVER, SECOND, &MINUTE);
    let request = server.expect(REQUEST);
    assert_eq!(request.option(54), Some(&SERVER.octets()[..]));
    server.answer(&request, ACK, OTHER_SERVER, SECOND, &MINUTE);
    server.answer(&request, ACK, SERVER, FIRST, &MINUTE);
    until("the address", || guest.has(FIRST));
    until("the way out", || guest.gateway() == Some(SERVER.into()));
    until("the lease", || guest.lease(&daemon)["server"] == SERVER.to_string());
    let lease = guest.lease(&daemon);
    assert_eq!((&lease["address"], &lease["dns"][0]), (&json!("10.7.0.77/24"), &json!("10.7.0.1")));
    assert!(lease["expires"].as_u64().unwrap() <= 60, "{lease}");

    // The next daemon goes on with it, without looking for another one.
    daemon.kill();
    daemon = machine.start(&[]);
    assert!(guest.has(FIRST) && guest.gateway() == Some(SERVER.into()));
    assert_eq!(guest.lease(&daemon)["address"], "10.7.0.77/24");

    // Another address after a refusal. Answers to messages of the first daemon are ignored.
    let mut renewals = 0;
    let discover = loop {
        let message = server.next();
        match message.kind() {
            REQUEST => {
                renewals += usize::from(message.own() == FIRST);
                server.answer(&message, NAK, SERVER, Ipv4Addr::UNSPECIFIED, &[]);
            }
            // It looks again when it has given the address up.
            _ if guest.addresses().is_empty() => break message,
            _ => {}
        }
    };
    assert!(renewals > 0);
    assert_eq!((discover.kind(), discover.option(61)), (DISCOVER, Some(&b"\0lan/web"[..])));
    assert_eq!(guest.gateway(), None);
    server.answer(&discover, OFFER, SERVER, SECOND, &MINUTE);
    server.serve(SECOND, &MINUTE, || guest.has(SECOND));

    // The address is given back with the link.
    assert_eq!(daemon.ask("DELETE", "/v1/links/eth0", Value::Null).status, 204);
    let release = server.expect(RELEASE);
    assert_eq!((release.own(), release.option(61)), (SECOND, Some(&b"\0lan/web"[..])));
}

#[test]
fn an_address_ends_with_its_lease_when_all_servers_have_vanished() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let server = Server::start(&mut machine);
    let daemon = machine.start(&[]);
    let mut guest = Guest::new(&daemon, json!({}));
    let discover = server.expect(DISCOVER);
    let mac = &discover.0[28..34];
    assert_eq!(discover.option(61), Some(&[&[1], mac].concat()[..]));
    server.answer(&discover, OFFER, SERVER, FIRST, &MOMENT);
    let request = server.expect(REQUEST);
    server.answer(&request, ACK, SERVER, FIRST, &MOMENT);
    // It asks its server, and then any, and gives up.
    server.expect(DISCOVER);
    until("the end of the address", || guest.addresses().is_empty());
    // It goes on looking.
    server.serve(SECOND, &MINUTE, || guest.has(SECOND));
    // Down and up again, it asks whether it may still have its address.
    let index = guest.rtnl.link("eth0").unwrap().unwrap().index;
    guest.rtnl.set_up(index, false).unwrap();
    until("the end", || guest.lease(&daemon)["state"] == "down");
    guest.rtnl.set_up(index, true).unwrap();
    let asked = |message: &Message| message.option(50) == Some(&SECOND.octets()[..]);
    let request = loop {
        let message = server.expect(REQUEST);
        if asked(&message) && message.option(54).is_none() {
            break message;
        }
    };
    server.answer(&request, ACK, SERVER, SECOND, &MINUTE);
    until("the way out", || guest.gateway() == Some(SERVER.into()));
}

/// `udhcpd` of busybox, which is killed when this is dropped.
struct Udhcpd(Child);

impl Udhcpd {
    fn start(machine: &Machine, netns: &Netns) -> Self {
        let (config, leases) = (machine.file("udhcpd.conf"), machine.file("leases"));
        std::fs::write(&leases, "").unwrap();
        let text = format!(
            "interface srv\nstart 10.7.0.50\nend 10.7.0.60\nmax_leases 9\nlease_file {0}\n\
             pidfile {1}\noption subnet 255.255.255.0\noption router 10.7.0.1\noption lease 60\n",
            leases.display(),
            machine.file("udhcpd.pid").display(),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("busybox");
        command.args(["udhcpd", "-f"]).arg(&config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(netns.run(|| command.spawn()).unwrap().unwrap())
    }
}

impl Drop for Udhcpd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_sibling_can_be_the_server() {
    if !root_or_skip() {
        return;
    }
    if Command::new("busybox").arg("true").output().is_err() {
        skip("there is no busybox");
        return;
    }
    let (machine, bpf) = (Machine::new(env!("CARGO_BIN_EXE_umacvlan")), BpfFs::new());
    let daemon = machine.start(&["--bpf-dir", bpf.path().join("umacvlan").to_str().unwrap()]);
    let netns = Netns::create().unwrap();
    daemon.add("srv", json!({"netns": netns_path(&netns)})).ok();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    let index = rtnl.link("srv").unwrap().unwrap().index;
    rtnl.add_address(index, SERVER.into(), 24).unwrap();
    let _udhcpd = Udhcpd::start(&machine, &netns);
    // The second one is one end of a veth pair where the kernel can do that.
    for port in ["tap", "auto"] {
        let mut guest = Guest::new(&daemon, json!({"port": port}));
        until("an address", || !guest.addresses().is_empty());
        until("the way out", || guest.gateway() == Some(SERVER.into()));
        let lease = guest.lease(&daemon);
        assert_eq!((&lease["state"], &lease["server"]), (&json!("bound"), &json!("10.7.0.1")));
        let metrics = daemon.ask("GET", "/metrics", Value::Null).body;
        assert!(metrics.contains("umacvlan_dhcp_links{state=\"bound\"} 1"), "{metrics}");
        assert_eq!(daemon.ask("DELETE", "/v1/links/eth0", Value::Null).status, 204);
        drop(guest.netns);
    }
}

#[test]
fn what_no_server_can_be_told_is_refused() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    for (spec, why) in [
        (json!({"dhcp": true, "dhcp_hostname": "a b"}), "expected letters, digits"),
        (json!({"dhcp": true, "dhcp_client_id": ""}), "of 0 bytes: expected 1 to 63"),
        (json!({"dhcp_hostname": "web"}), "are for a link with dhcp: true"),
        (json!({"dhcp": true, "port": "stream"}), "a program has its own client"),
    ] {
        let answer = daemon.add("mac0", spec.clone());
        assert!(answer.status >= 400 && answer.body.contains(why), "{spec}: {}", answer.body);
    }
    assert!(daemon.links().is_empty());
}
