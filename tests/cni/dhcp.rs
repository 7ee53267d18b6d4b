//! Addresses from a DHCP server on the wire, with Debian's dhcp plugin.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use umacvlan_netlink::{IpPrefix, Route};
use umacvlan_testkit::{LIMIT, Machine};

use crate::runtime::{Container, PLUGINS, Runtime};
use crate::world::plugins_or_skip;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 77);

/// Where the options begin: RFC 2131, section 2, and the magic number of its section 3.
const OPTIONS: usize = 240;

/// Kinds of messages: RFC 2132, section 9.6.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const RELEASE: u8 = 7;

/// The kind of a message.
fn kind(message: &[u8]) -> Option<u8> {
    let mut options = message.get(OPTIONS..)?;
    while let [code, len, rest @ ..] = options {
        if *code == 53 {
            return rest.first().copied();
        }
        options = rest.get(usize::from(*len)..)?;
    }
    None
}

/// The answer to a message: a client always gets the same address.
fn answer(message: &[u8], kind: u8) -> Vec<u8> {
    let mut answer = message[..OPTIONS].to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&GIVEN.octets());
    answer[20..24].copy_from_slice(&SERVER.octets());
    for (code, value) in [
        (53, &[kind][..]),
        (54, &SERVER.octets()),
        (51, &3600_u32.to_be_bytes()),
        (1, &[255, 255, 255, 0]),
        (3, &SERVER.octets()),
    ] {
        answer.extend([code, u8::try_from(value.len()).unwrap()]);
        answer.extend(value);
    }
    answer.push(255);
    answer
}

/// Serves until a client releases its address.
fn serve(socket: &UdpSocket) {
    let mut message = [0; 1500];
    loop {
        let (len, _) = socket.recv_from(&mut message).expect("a message of the client");
        let message = &message[..len];
        let reply = match kind(message) {
            Some(DISCOVER) => OFFER,
            Some(REQUEST) => ACK,
            Some(RELEASE) => return,
            other => panic!("a message of kind {other:?}"),
        };
        socket.send_to(&answer(message, reply), (Ipv4Addr::BROADCAST, 68)).unwrap();
    }
}

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
    let wire = machine.interface("q0").unwrap().index;
    machine.rtnl.add_address(wire, SERVER.into(), 24).unwrap();
    // Broadcast answers are sent to the broadcast address.
    let everybody = IpPrefix::new(Ipv4Addr::BROADCAST.into(), 32).unwrap();
    machine.rtnl.add_route(&Route { index: Some(wire), ..Route::new(everybody) }).unwrap();
    let server =
        machine.netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67))).unwrap().unwrap();
    server.set_broadcast(true).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let server = thread::spawn(move || serve(&server));

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
