//! Links behind the one MAC address of their parent, at a port of a bridge that drops all others.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use umacvlan_core::MacAddr;
use umacvlan_netlink::{Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::dhcp::{ACK, DISCOVER, OFFER, REQUEST, SERVER, Server};
use umacvlan_testkit::{Daemon, LIMIT, Machine, link_id, netns_path, root_or_skip};

use crate::keeper::{kill_keeper, until};

/// A network stack with an interface.
struct Stack {
    netns: Netns,
    v4: IpAddr,
    v6: IpAddr,
}

impl Stack {
    /// Gives an interface the addresses with this last number, and sets it up.
    fn new(netns: Netns, name: &str, number: u8) -> Self {
        let (v4, v6) = (format!("10.7.0.{number}"), format!("fd00:7::{number:x}"));
        let (v4, v6): (IpAddr, IpAddr) = (v4.parse().unwrap(), v6.parse().unwrap());
        set_sysctl(&netns, &format!("ipv6/conf/{name}/accept_dad"), "0").unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        let index = rtnl.link(name).unwrap().unwrap().index;
        rtnl.add_address(index, v4, 24).unwrap();
        rtnl.add_address(index, v6, 64).unwrap();
        rtnl.set_up(index, true).unwrap();
        // An IPv6 address is there a moment after its interface.
        until("the address", || netns.run(|| UdpSocket::bind((v6, 0))).unwrap().is_ok());
        Self { netns, v4, v6 }
    }

    fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// A number that the kernel counts here, of `/proc/net/snmp` or `/proc/net/snmp6`.
    fn counted(&self, protocol: &str, name: &str) -> u64 {
        let read = |file: &str| {
            let path = format!("/proc/thread-self/net/{file}");
            self.netns.run(|| std::fs::read_to_string(path)).unwrap().unwrap()
        };
        if protocol == "Ip6" {
            let text = read("snmp6");
            let mut lines = text.lines().map(str::split_whitespace);
            return lines
                .find_map(|mut it| (it.next() == Some(name)).then(|| it.next()))
                .flatten()
                .unwrap()
                .parse()
                .unwrap();
        }
        let text = read("snmp");
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{protocol}:")));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names.split_whitespace().position(|it| it == name).unwrap();
        values.split_whitespace().nth(at).unwrap().parse().unwrap()
    }
}

/// A machine whose parent is at a bridge port that passes its own address and no other, and a host
/// beyond.
struct World {
    machine: Machine,
    wire: Stack,
    host: Stack,
    /// The bridge, which ends with its namespace.
    _bridge: Netns,
}

impl World {
    fn new() -> Self {
        let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        let parent = machine.interface("p0").unwrap();
        let (bridge, beyond) = (Netns::create().unwrap(), Netns::create().unwrap());
        let port = machine.interface("q0").unwrap().index;
        machine.rtnl.set_netns(port, &bridge).unwrap();
        let mac = parent.mac.unwrap();
        for line in [
            "ip link add br0 type bridge mcast_snooping 0".to_owned(),
            "ip link add b1 type veth peer name w0".to_owned(),
            "ip link set q0 master br0".to_owned(),
            "ip link set b1 master br0".to_owned(),
            // What comes from an address that is not listed is dropped.
            "bridge link set dev q0 learning off locked on".to_owned(),
            format!("bridge fdb add {mac} dev q0 master static"),
            "ip link set br0 up".to_owned(),
            "ip link set q0 up".to_owned(),
            "ip link set b1 up".to_owned(),
        ] {
            shell(&bridge, &line);
        }
        let mut inside = Rtnl::open_in(&bridge).unwrap();
        let far = inside.link("w0").unwrap().unwrap().index;
        inside.set_netns(far, &beyond).unwrap();
        let host = Stack::new(machine.netns.try_clone().unwrap(), "p0", 9);
        for forwards in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            set_sysctl(&host.netns, forwards, "1").unwrap();
        }
        Self { machine, wire: Stack::new(beyond, "w0", 1), host, _bridge: bridge }
    }

    /// Fails if the host has forwarded what was for a link, or has told anybody a better way.
    fn host_is_no_router(&self) {
        let forwarded = [("Ip", "ForwDatagrams"), ("Ip6", "Ip6OutForwDatagrams")]
            .map(|(protocol, name)| self.host.counted(protocol, name));
        assert_eq!(forwarded, [0, 0], "forwarded by the host");
        let redirects = [
            self.host.counted("Icmp", "OutRedirects"),
            self.host.counted("Ip6", "Icmp6OutRedirects"),
            self.wire.counted("Icmp", "InRedirects"),
            self.wire.counted("Ip6", "Icmp6InRedirects"),
        ];
        assert_eq!(redirects, [0; 4], "redirects");
    }
}

fn shell(netns: &Netns, line: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    let done = netns.run(|| command.output()).unwrap().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

fn ping(from: &Stack, to: &Stack) {
    for address in to.addresses() {
        let mut command = Command::new("ping");
        command.args(["-q", "-c", "1", "-w", "20", &address.to_string()]);
        command.stdout(Stdio::null());
        let status = from.netns.run(|| command.status()).unwrap().unwrap();
        assert!(status.success(), "no echo of {address}");
    }
}

/// Sends some hundred kilobytes both ways through a TCP connection for each family.
fn tcp(from: &Stack, to: &Stack) {
    const BYTES: usize = 300_000;
    for address in to.addresses() {
        let listener = to.netns.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let at: SocketAddr = listener.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut all = vec![0; BYTES];
            stream.read_exact(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let connected = from.netns.run(|| TcpStream::connect_timeout(&at, LIMIT)).unwrap();
        let mut stream = connected.unwrap_or_else(|error| panic!("{at}: {error}"));
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let sent: Vec<u8> = (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
        stream.write_all(&sent).unwrap();
        let mut back = vec![0; BYTES];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "{address} has sent other bytes back");
        echo.join().unwrap();
    }
}

fn guest(daemon: &Daemon, number: u8) -> Stack {
    let netns = Netns::create().unwrap();
    daemon.add("eth0", json!({"netns": netns_path(&netns)})).ok();
    Stack::new(netns, "eth0", number)
}

fn parent(daemon: &Daemon) -> Value {
    daemon.ask("GET", "/v1/parents", Value::Null).ok()[0].clone()
}

/// The addresses of links as the daemon shows them, and the MAC address of each.
fn neighbours(daemon: &Daemon) -> Vec<(String, String)> {
    let parent = parent(daemon);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = parent["neighbours"].as_array().cloned().unwrap_or_default();
    all.iter().map(|it| (text(&it["address"]), text(&it["lladdr"]))).collect()
}

#[test]
fn links_and_host_are_reached_behind_one_address_also_after_a_restart() {
    if !root_or_skip() {
        return;
    }
    for keeper in [true, false] {
        let world = World::new();
        world.machine.configure("[parent.p0]\nmacnat = true\n");
        let mut daemon = world.machine.start(&[]);
        let guests = [guest(&daemon, 11), guest(&daemon, 12)];
        for round in 0..2 {
            for guest in &guests {
                // After the restart the wire is the first to speak: the addresses were written down.
                match round {
                    0 => ping(guest, &world.wire),
                    _ => ping(&world.wire, guest),
                }
                tcp(guest, &world.wire);
                tcp(&world.wire, guest);
                ping(&world.wire, guest);
            }
            ping(&guests[0], &guests[1]);
            ping(&world.host, &world.wire);
            tcp(&world.wire, &world.host);
            world.host_is_no_router();
            let known = neighbours(&daemon);
            for address in guests.iter().flat_map(Stack::addresses) {
                let found = known.iter().find(|(known, _)| *known == address.to_string());
                assert!(found.is_some(), "{address} is not among {known:?}");
            }
            let own = parent(&daemon)["address"].clone();
            assert!(known.iter().all(|(_, mac)| own != *mac), "{known:?}");
            if round == 0 {
                let record = world.machine.file("state/parent-p0.json");
                until("the addresses to be written down", || {
                    let text = std::fs::read_to_string(&record).unwrap();
                    known.iter().all(|(address, _)| text.contains(&format!("\"{address}\"")))
                });
                daemon.kill();
                if !keeper {
                    kill_keeper(&world.machine);
                }
                daemon = world.machine.start(&[]);
                let after = neighbours(&daemon);
                assert!(known.iter().all(|it| after.contains(it)), "{known:?} {after:?}");
            }
        }
    }
}

#[test]
fn without_it_the_port_drops_what_links_send() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let daemon = world.machine.start(&[]);
    let guest = guest(&daemon, 11);
    ping(&world.host, &world.wire);
    let socket = guest.netns.run(|| UdpSocket::bind((guest.v4, 0))).unwrap().unwrap();
    let receiver = world.wire.netns.run(|| UdpSocket::bind((world.wire.v4, 0))).unwrap().unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..3 {
        // The kernel may report that nobody has the address.
        let _ = socket.send_to(b"hello", receiver.local_addr().unwrap());
        assert!(receiver.recv(&mut [0; 16]).is_err(), "the port has let it pass");
    }
}

#[test]
fn a_link_cannot_have_an_address_of_another_or_of_the_host() {
    if !root_or_skip() {
        return;
    }
    let world = World::new();
    let daemon = world.machine.start(&[]);
    let first = Netns::create().unwrap();
    let place = netns_path(&first);
    daemon.add("eth0", json!({"netns": place, "macnat": true})).ok();
    let first = Stack::new(first, "eth0", 11);
    ping(&first, &world.wire);
    // Both claim what somebody has.
    let thief = guest(&daemon, 11);
    let second = guest(&daemon, 9);
    let send = |from: &Stack| {
        let socket = from.netns.run(|| UdpSocket::bind((from.v4, 0))).unwrap().unwrap();
        let _ = socket.send_to(b"hello", (world.wire.v4, 9));
    };
    let refused = || parent(&daemon)["wire"]["unsent"]["macnat_claimed"].as_u64().unwrap_or(0);
    for claimant in [&thief, &second] {
        let before = refused();
        until("the refusal", || {
            send(claimant);
            refused() > before
        });
    }
    ping(&world.wire, &first);
    ping(&world.wire, &world.host);
    world.host_is_no_router();
    // Once the first is gone, its address is free.
    let gone = daemon.ask("DELETE", &format!("/v1/links/eth0?netns={place}"), Value::Null);
    assert_eq!(gone.status, 204, "{}", gone.body);
    ping(&thief, &world.wire);
}

fn mac_of(netns: &Netns, name: &str) -> MacAddr {
    Rtnl::open_in(netns).unwrap().link(name).unwrap().unwrap().mac.unwrap()
}

#[test]
fn what_cannot_share_an_address_is_refused() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    daemon.add("own", json!({})).ok();
    let refused = daemon.add("shared", json!({"macnat": true}));
    let message = refused.json().to_string();
    assert!(message.contains("have their own addresses"), "{message}");
    assert_eq!(daemon.ask("DELETE", "/v1/links/own", Value::Null).status, 204);
    daemon.add("shared", json!({"macnat": true})).ok();
    for (more, words) in [
        (json!({"mode": "passthru"}), "mode passthru takes the parent's address"),
        (json!({"port": "veth"}), "use port tap"),
    ] {
        let refused = daemon.add("other", more);
        let message = refused.json().to_string();
        assert!(message.contains(words), "{message}");
    }
    // The parent still has it when its links have been found again.
    for _ in 0..2 {
        assert_eq!(parent(&daemon)["macnat"], true);
        daemon.kill();
        daemon = machine.start(&[]);
    }
    let saved = daemon.ask("GET", "/v1/config", Value::Null);
    assert!(saved.body.contains("[parent.p0]\nmacnat = true\n"), "{}", saved.body);
}

#[test]
fn a_link_gets_a_lease_through_the_address_of_its_parent() {
    const GIVEN: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 7, 0, 77);
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let server = Server::start(&mut machine);
    let daemon = machine.start(&[]);
    let netns = Netns::create().unwrap();
    let spec = json!({"netns": netns_path(&netns), "dhcp": true, "macnat": true});
    let id = link_id(&daemon.add("eth0", spec).ok());
    let discover = server.expect(DISCOVER);
    assert_eq!(discover.0[10] & 0x80, 0x80, "the server is to broadcast");
    assert_eq!(discover.0[28..34], mac_of(&netns, "eth0").octets());
    server.answer(&discover, OFFER, SERVER, GIVEN, &[(51, 3600)]);
    let request = server.expect(REQUEST);
    server.answer(&request, ACK, SERVER, GIVEN, &[(51, 3600)]);
    until("the lease", || daemon.link(id)["umacvlan"]["dhcp"]["address"] == "10.7.0.77/24");
    let gateway: IpAddr = SERVER.into();
    let mut command = Command::new("ping");
    command.args(["-q", "-c", "1", "-w", "20", &gateway.to_string()]).stdout(Stdio::null());
    assert!(netns.run(|| command.status()).unwrap().unwrap().success());
}
