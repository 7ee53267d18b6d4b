//! A DHCP server that does what a test says, at the other end of a machine's wire.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_netlink::{IpPrefix, Route, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::{LIMIT, Machine};

/// The server, router and name server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// Another server at the same place.
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);

/// Kinds of messages: RFC 2132, section 9.6.
pub const DISCOVER: u8 = 1;
/// A server offers an address.
pub const OFFER: u8 = 2;
/// A client takes an address, or wants to keep one.
pub const REQUEST: u8 = 3;
/// A server has assigned an address.
pub const ACK: u8 = 5;
/// A server refuses an address.
pub const NAK: u8 = 6;
/// A client gives its address back.
pub const RELEASE: u8 = 7;

/// Where the options begin: RFC 2131, section 2, and the magic number of its section 3.
const OPTIONS: usize = 240;

/// A message of a client.
#[derive(Debug)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// The value of an option.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        let mut options = &self.0[OPTIONS..];
        while let [found, len, rest @ ..] = options {
            let (value, rest) = rest.split_at(usize::from(*len));
            if *found == code {
                return Some(value);
            }
            options = rest;
        }
        None
    }

    /// What it is.
    pub fn kind(&self) -> u8 {
        self.option(53).unwrap()[0]
    }

    /// The address that the client has.
    pub fn own(&self) -> Ipv4Addr {
        <[u8; 4]>::try_from(&self.0[12..16]).unwrap().into()
    }
}

/// Servers that do what a test says, at the other end of the wire.
#[derive(Debug)]
pub struct Server(UdpSocket);

impl Server {
    /// Moves the other end of the machine's wire into a namespace of its own, and listens there.
    pub fn start(machine: &mut Machine) -> Self {
        let netns = Netns::create().unwrap();
        let index = machine.interface("q0").unwrap().index;
        machine.rtnl.set_netns(index, &netns).unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        for address in [SERVER, OTHER_SERVER] {
            rtnl.add_address(index, address.into(), 24).unwrap();
        }
        rtnl.set_up(index, true).unwrap();
        // Answers are sent to the broadcast address.
        let everybody = IpPrefix::new(Ipv4Addr::BROADCAST.into(), 32).unwrap();
        rtnl.add_route(&Route { index: Some(index), ..Route::new(everybody) }).unwrap();
        let socket = netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67))).unwrap().unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    /// The next message.
    pub fn next(&self) -> Message {
        let mut message = [0; 1500];
        let (len, _) = self.0.recv_from(&mut message).expect("a message of the client");
        Message(message[..len].to_vec())
    }

    /// The next message of this kind; others are not answered.
    pub fn expect(&self, kind: u8) -> Message {
        loop {
            let message = self.next();
            if message.kind() == kind {
                return message;
            }
        }
    }

    /// Answers a message; `times` are options with a number of seconds.
    pub fn answer(
        &self,
        to: &Message,
        kind: u8,
        server: Ipv4Addr,
        given: Ipv4Addr,
        times: &[(u8, u32)],
    ) {
        let mut answer = to.0[..OPTIONS].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&given.octets());
        let times: Vec<_> = times.iter().map(|(code, time)| (*code, time.to_be_bytes())).collect();
        let times = times.iter().map(|(code, time)| (*code, &time[..]));
        let own = SERVER.octets();
        let usual: [(u8, &[u8]); 5] =
            [(53, &[kind]), (54, &server.octets()), (1, &[255, 255, 255, 0]), (3, &own), (6, &own)];
        for (code, value) in usual.into_iter().chain(times) {
            answer.extend([code, u8::try_from(value.len()).unwrap()]);
            answer.extend(value);
        }
        answer.push(255);
        self.0.send_to(&answer, (Ipv4Addr::BROADCAST, 68)).unwrap();
    }

    /// Serves until `done`, and gives this address.
    pub fn serve(&self, given: Ipv4Addr, times: &[(u8, u32)], mut done: impl FnMut() -> bool) {
        while !done() {
            let message = self.next();
            match message.kind() {
                DISCOVER => self.answer(&message, OFFER, SERVER, given, times),
                REQUEST => {
                    self.answer(&message, ACK, SERVER, given, times);
                    // What it does now needs no further message.
                    let end = Instant::now() + LIMIT;
                    while !done() {
                        assert!(Instant::now() < end, "the address is not assigned");
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                kind => panic!("a message of kind {kind}"),
            }
        }
    }

    /// Gives this address to whoever asks, for an hour, until a client gives it back; returns that
    /// message.
    pub fn serve_until_release(&self, given: Ipv4Addr) -> Message {
        const HOUR: [(u8, u32); 1] = [(51, 3600)];
        loop {
            let message = self.next();
            match message.kind() {
                DISCOVER => self.answer(&message, OFFER, SERVER, given, &HOUR),
                REQUEST => self.answer(&message, ACK, SERVER, given, &HOUR),
                RELEASE => return message,
                kind => panic!("a message of kind {kind}"),
            }
        }
    }
}
