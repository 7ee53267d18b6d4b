//! Groups joined and left by IP, and frames for them, whole and in fragments.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket};

use socket2::SockRef;
use umacvlan_core::MacAddr;

use crate::packets::Packets;
use crate::sockets::{noise, receive};
use crate::world::{Plan, Station, World, on_every_path, sub};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// RFC 1112, 6.4.
const GROUP_MAC: MacAddr = MacAddr::new([0x01, 0, 0x5e, 1, 2, 3]);

const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x1234, 0x5678);
/// RFC 2464, 7.
const GROUP_V6_MAC: MacAddr = MacAddr::new([0x33, 0x33, 0x12, 0x34, 0x56, 0x78]);

const PORT: u16 = 5000;

const IPV6: Plan = Plan { ipv6: true, ..Plan::USUAL };

#[test]
fn a_fragmented_datagram_for_a_group_is_reassembled() {
    on_every_path(Plan::default(), |world| {
        let member = world.a.udp(PORT);
        member.join_multicast_v4(&GROUP, &world.a.ip).unwrap();
        world.until_listens("a0", GROUP_MAC, true);
        for (seed, from) in [(1, &world.outside), (2, &world.b)] {
            let sender = from.udp(0);
            SockRef::from(&sender).set_multicast_if_v4(&from.ip).unwrap();
            let bytes = noise(seed, 3000);
            sender.send_to(&bytes, SocketAddrV4::new(GROUP, PORT)).unwrap();
            assert!(receive(&member) == bytes, "from {}", from.name);
        }
    });
}

#[test]
fn neighbours_are_found_by_ipv6() {
    on_every_path(IPV6, |world| {
        for name in ["a0", "b0"] {
            let [.., number] = sub_station(world, name).ipv6.octets();
            let solicited = MacAddr::new([0x33, 0x33, 0xff, 0, 0, number]);
            world.until_listens(name, solicited, true);
        }
        for (from, to) in
            [(&world.a, &world.b), (&world.b, &world.outside), (&world.outside, &world.a)]
        {
            let (sender, receiver) = (from.udp_v6(0), to.udp_v6(PORT));
            let bytes = noise(5, 1400);
            sender.send_to(&bytes, (to.ipv6, PORT)).unwrap();
            assert!(receive(&receiver) == bytes);
        }
    });
}

#[test]
fn link_local_addresses_reach_a_sibling() {
    on_every_path(IPV6, |world| {
        let [_, _, _, d, e, f] = world.b.mac().octets();
        let solicited = MacAddr::new([0x33, 0x33, 0xff, d, e, f]);
        world.until_listens("b0", solicited, true);
        let local = link_local(world.b.mac());
        let scope = world.a.link().index;
        let (sender, receiver) = (world.a.udp_v6(0), world.b.udp_v6(PORT));
        let there = SocketAddrV6::new(local, PORT, 0, scope);
        sender.send_to(b"over here", there).unwrap();
        assert_eq!(receive(&receiver), b"over here");
    });
}

#[test]
fn a_group_passes_from_joining_to_leaving() {
    on_every_path(IPV6, |world| {
        let scope = world.a.link().index;
        let seen = Packets::open(&mut world.a);
        let passed = |world: &mut World, mark| group_passes(world, &seen, mark);
        assert!(!passed(world, 1), "before anybody joins");
        // With a second member the group's frames are flooded, and only the filter holds them back.
        let other = world.b.udp_v6(PORT);
        let scope_of_b = world.b.link().index;
        other.join_multicast_v6(&GROUP_V6, scope_of_b).unwrap();
        world.until_listens("b0", GROUP_V6_MAC, true);
        assert!(!passed(world, 4), "before it joins");
        assert_eq!(receive(&other), [4; 40]);

        let member = world.a.udp_v6(PORT);
        member.join_multicast_v6(&GROUP_V6, scope).unwrap();
        world.until_listens("a0", GROUP_V6_MAC, true);
        assert!(passed(world, 2), "while it is a member");
        assert_eq!(receive(&member), [2; 40]);

        member.leave_multicast_v6(&GROUP_V6, scope).unwrap();
        world.until_listens("a0", GROUP_V6_MAC, false);
        assert!(!passed(world, 3), "after it has left");
    });
}

/// Sends a datagram for the group and then a broadcast from outside. Returns whether `a` received
/// the first before the second.
fn group_passes(world: &mut World, seen: &Packets, mark: u8) -> bool {
    let scope = world.outside.link().index;
    let sender = world.outside.udp_v6(0);
    let to_group = SocketAddrV6::new(GROUP_V6, PORT, 0, scope);
    SockRef::from(&sender).set_multicast_if_v6(scope).unwrap();
    sender.send_to(&[mark; 40], to_group).unwrap();
    let broadcast: UdpSocket = world.outside.udp(0);
    broadcast.send_to(&[mark; 50], (Ipv4Addr::BROADCAST, PORT)).unwrap();
    let frames = seen.until(|frame| frame.ends_with(&[mark; 50]));
    frames
        .iter()
        .any(|frame| frame.starts_with(&GROUP_V6_MAC.octets()) && frame.ends_with(&[mark; 40]))
}

fn sub_station<'w>(world: &'w World, name: &str) -> &'w Station {
    assert!(sub(&world.status(), name).up);
    [&world.a, &world.b].into_iter().find(|station| station.name == name).expect(name)
}

/// RFC 4291, appendix A.
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
