//! Stacks that talk through a VLAN of the parent, and one inside another, to stacks behind another
//! engine at the end of the wire. The kernel in between knows nothing of VLANs.

use crate::icmp::assert_echoes;
use crate::sockets::receive;
use crate::tcp::{assert_as, assert_whole, bulk, during};
use crate::udp::send_at_once;
use crate::world::{Plan, World, on_every_path};

/// The same through a parent with one VLAN tag and one with two.
fn in_each_vlan(plan: Plan, run: impl Fn(&mut World)) {
    for vlan in ["10", "10.20"] {
        on_every_path(Plan { vlan: Some(vlan), ..plan }, &run);
    }
}

#[test]
fn neighbours_in_a_vlan_answer_echoes_of_every_length() {
    in_each_vlan(Plan::default(), |world| {
        for (from, to) in
            [(&world.a, &world.b), (&world.b, &world.outside), (&world.outside, &world.a)]
        {
            // The longest datagram that fits both in one fragment, and one that needs several.
            [56, 1464, 8000].into_iter().for_each(|length| assert_echoes(from, to, length));
        }
    });
}

#[test]
fn bulk_through_a_vlan_travels_in_gso_packets() {
    in_each_vlan(Plan::default(), |world| {
        let up = |world: &World| world.status().counters.wire.sent;
        let up = during(world, up, || bulk(&world.a, &world.outside));
        assert_whole(up);
        let down = |world: &World| world.status().counters.wire.received;
        let down = during(world, down, || bulk(&world.outside, &world.b));
        assert_as(down, world.wire_is_whole());
        bulk(&world.a, &world.b);
    });
}

#[test]
fn datagrams_sent_at_once_arrive_apart_through_a_vlan() {
    in_each_vlan(Plan::default(), |world| {
        for (from, to) in [(&world.a, &world.outside), (&world.outside, &world.b)] {
            let (sender, receiver) = (from.udp(0), to.udp(4000));
            sender.send_to(b"hello", (to.ip, 4000)).unwrap();
            assert_eq!(receive(&receiver), b"hello");
            send_at_once(&sender, &receiver, to);
        }
    });
}
