//! Every port has its share of each turn, whatever the others send.

use umacvlan_core::MacAddr;

use crate::bench::{Bench, frame, mac, taken};

/// Ports that always have more frames than a turn reads.
const FLOODED: usize = 40;

/// Fills the queues of the flooded ports, which send to a host on the wire.
fn flood(bench: &Bench) {
    for port in &bench.ports[..FLOODED] {
        while port.link.push(&frame(mac(9_999), port.mac, 0)) {}
    }
}

#[test]
fn every_turn_serves_a_light_port_and_the_wire_beside_flooded_ports() {
    let mut bench = Bench::with_bridges(FLOODED + 2);
    let (light, other) = (FLOODED, FLOODED + 1);
    for mark in 0..100 {
        flood(&bench);
        let (sent, answer) =
            (frame(mac(other + 1), mac(light + 1), mark), frame(mac(light + 1), mac(9_998), mark));
        assert!(bench.ports[light].link.push(&sent) && bench.wire.push(&answer));
        bench.turn();
        assert_eq!(bench.got(other), [sent], "turn {mark}");
        assert_eq!(bench.got(light), [answer], "turn {mark}");
        taken(&bench.wire);
    }
    let frames = (0..FLOODED).map(|place| bench.sub(place).received.frames);
    let (least, most) = (frames.clone().min().unwrap(), frames.max().unwrap());
    assert!(least > 0 && most - least <= 64, "from {least} to {most} frames of a flooded port");
}

#[test]
fn frames_that_a_link_sends_to_itself_cost_that_link() {
    let mut bench = Bench::with_bridges(3);
    let own = bench.ports[0].mac;
    for mark in 0..50 {
        while bench.ports[0].link.push(&frame(own, own, 0)) {}
        let sent = frame(mac(3), mac(2), mark);
        assert!(bench.ports[1].link.push(&sent));
        bench.turn();
        assert_eq!(bench.got(2), [sent], "turn {mark}");
    }
}

#[test]
fn a_broadcast_finds_room_beside_a_storm_of_another_port() {
    let mut bench = Bench::with_bridges(300);
    let storm = frame(MacAddr::BROADCAST, bench.ports[0].mac, 0);
    for _ in 0..40 {
        while bench.ports[0].link.push(&storm) {}
        bench.turn();
    }
    let lost = bench.sub(5).lost[umacvlan_core::DropReason::BcQueueFull];
    assert!(lost > 0, "the storm was no storm");
    (1..300).for_each(|place| drop(bench.got(place)));
    bench.ports[0].link.drain();
    let asked = frame(MacAddr::BROADCAST, bench.ports[1].mac, 7);
    assert!(bench.ports[1].link.push(&asked));
    let mut found = false;
    for _ in 0..20_000 {
        bench.turn();
        found |= bench.got(2).contains(&asked);
        (3..300).for_each(|place| drop(bench.got(place)));
        if found {
            break;
        }
    }
    assert!(found, "it found no room");
}
