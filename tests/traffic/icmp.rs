//! ARP and ICMP echo.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use socket2::{Domain, Protocol, Type};

use crate::sockets::noise;
use crate::world::{Plan, Station, on_every_path, stats};

#[test]
fn neighbours_are_found_by_arp_and_answer_echoes() {
    on_every_path(Plan::default(), |world| {
        for (from, to) in
            [(&world.a, &world.b), (&world.b, &world.outside), (&world.outside, &world.a)]
        {
            assert_echoes(from, to, 56);
            // In one fragment, and in several.
            assert_echoes(from, to, 1472);
            assert_echoes(from, to, 8000);
        }
        let status = world.status();
        // One ARP request each: nothing but ARP is flooded here.
        assert_eq!(stats(&status, "a0").flooded, 1, "of b");
        assert_eq!(stats(&status, "b0").flooded, 1, "of outside");
        assert_eq!(status.counters.wire.flooded, 1, "of a");
        let counters = status.counters;
        let lost = counters.subs.iter().map(|(_, sub)| sub.lost.total());
        assert_eq!(lost.sum::<u64>() + counters.wire.dropped.total(), 0);
    });
}

/// Sends an echo request with this many bytes and waits for them to come back.
pub(crate) fn assert_echoes(from: &Station, to: &Station, length: usize) {
    let socket = from.socket(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    // A raw socket also sends to addresses, and receives with the IP header in front.
    let socket = UdpSocket::from(socket);
    let mut request = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    request.extend(noise(length as u64, length));
    let checksum = internet_checksum(&request);
    request[2..4].copy_from_slice(&checksum.to_be_bytes());
    socket.send_to(&request, SocketAddrV4::new(to.ip, 0)).unwrap();
    let reply = answer(&socket, to.ip);
    assert_eq!(internet_checksum(&reply), 0, "a wrong checksum");
    assert_eq!(reply[..2], [0, 0], "no echo reply");
    assert!(reply[4..] == request[4..], "another echo");
}

fn answer(socket: &UdpSocket, from: Ipv4Addr) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, sender) = socket.recv_from(&mut buffer).expect("no answer");
        let header = usize::from(buffer[0] & 0xf) * 4;
        if sender.ip() == from {
            return buffer[header..length].to_vec();
        }
    }
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
