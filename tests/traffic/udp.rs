//! UDP: segmentation on the receiving side, and the broadcasts that DHCP needs.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use umacvlan_core::stats::Counters;

use crate::sockets::{noise, receive, set_option};
use crate::tcp::{assert_as, during};
use crate::world::{Plan, Station, World, on_every_path, stats};

/// Bytes of a datagram, and the number that is sent at once; the last one is shorter.
const SEGMENT: usize = 1200;
const SEGMENTS: usize = 40;

#[test]
fn datagrams_sent_at_once_travel_whole_and_arrive_apart() {
    on_every_path(Plan::default(), |world| {
        for (from, to, counters) in [
            (&world.a, &world.b, from_a as fn(&World) -> Counters),
            (&world.a, &world.outside, from_a),
            (&world.outside, &world.b, from_wire),
        ] {
            let (sender, receiver) = (from.udp(0), to.udp(4000));
            // The first one triggers ARP or neighbour discovery.
            sender.send_to(b"hello", (to.ip, 4000)).unwrap();
            assert_eq!(receive(&receiver), b"hello");
            let sent = during(world, counters, || send_at_once(&sender, &receiver, to));
            assert_as(sent, from.name != world.outside.name || world.wire_is_whole());
        }
    });
}

fn from_a(world: &World) -> Counters {
    stats(&world.status(), "a0").received
}

fn from_wire(world: &World) -> Counters {
    world.status().counters.wire.received
}

/// Sends many datagrams by one call, and asserts that each arrives.
pub(crate) fn send_at_once(sender: &UdpSocket, receiver: &UdpSocket, to: &Station) {
    let size = i32::try_from(SEGMENT).unwrap();
    set_option(sender, libc::SOL_UDP, libc::UDP_SEGMENT, size);
    let bytes = noise(7, SEGMENT * SEGMENTS - 100);
    let sent = sender.send_to(&bytes, (to.ip, 4000)).unwrap();
    assert_eq!(sent, bytes.len());
    for (place, segment) in bytes.chunks(SEGMENT).enumerate() {
        assert!(receive(receiver) == segment, "datagram {place} is another");
    }
}

#[test]
fn dhcp_sized_broadcasts_reach_every_stack() {
    // A client has no address yet.
    let plan = Plan { a_addressed: false, ..Plan::default() };
    on_every_path(plan, |world| {
        let client = world.a.udp(68);
        let servers = [world.b.udp(67), world.outside.udp(67)];
        for (seed, length) in [(1, 576), (2, 1472)] {
            let question = noise(seed, length);
            let all = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
            assert_eq!(client.send_to(&question, all).unwrap(), length);
            for server in &servers {
                let mut buffer = vec![0; 2048];
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(from, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into());
                assert!(buffer[..length] == question);
                let answer = noise(seed + 10, length);
                let all = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
                server.send_to(&answer, all).unwrap();
                assert!(receive(&client) == answer);
            }
        }
    });
}
