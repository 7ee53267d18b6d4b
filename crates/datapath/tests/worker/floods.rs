//! Floods are spread over turns, bounded, and never delay unicast.

use umacvlan_core::offload::Offloads;
use umacvlan_core::{DropReason, MacAddr, Mode, SubConfig};

use crate::bench::{Bench, frame, mac, taken};

const EVERYBODY: MacAddr = MacAddr::BROADCAST;

#[test]
fn a_broadcast_reaches_siblings_once_and_then_the_wire() {
    let mut bench = Bench::with_bridges(4);
    let vepa = bench.add(Mode::Vepa);
    let sent = frame(EVERYBODY, bench.ports[0].mac, 7);
    assert!(bench.ports[0].link.push(&sent));
    bench.turn();
    for place in 1..4 {
        assert_eq!(bench.got(place), [sent.as_slice()]);
    }
    assert!(bench.got(0).is_empty() && bench.got(vepa).is_empty());
    assert_eq!(taken(&bench.wire), [sent]);
}

#[test]
fn a_flood_to_many_lets_unicast_of_the_same_turn_through() {
    let mut bench = Bench::with_bridges(600);
    let last = bench.ports[599].mac;
    let broadcast = frame(EVERYBODY, mac(1000), 1);
    let unicast = frame(last, mac(1000), 2);
    assert!(bench.wire.push(&broadcast) && bench.wire.push(&unicast));
    assert!(bench.ports[0].link.push(&frame(last, bench.ports[0].mac, 3)));
    bench.turn();
    let marks: Vec<u8> = bench.got(599).iter().map(|frame| frame[14]).collect();
    assert_eq!(marks, [2, 3], "unicast waited for a flood");
    assert_eq!(bench.counters().pending_floods, 1);
    let groups = bench.counters().subs.iter().map(|(_, sub)| sub.groups).sum();
    assert!((1..600_u64).contains(&groups), "{groups} copies in a turn");

    let turns = bench.turn_to_rest();
    assert!(turns >= 2, "the rest was done in {turns}");
    for place in 0..600 {
        let copies = bench.sub(place).groups;
        assert_eq!(copies, 1, "{copies} copies at {place}");
    }
    assert_eq!(bench.counters().wire.replicas, 600);
}

#[test]
fn beside_unicast_a_turn_makes_fewer_copies() {
    let mut bench = Bench::with_bridges(300);
    let copies_of_a_turn = |bench: &mut Bench| {
        let before = bench.counters().wire.replicas;
        bench.turn();
        bench.counters().wire.replicas - before
    };
    let broadcast = frame(EVERYBODY, mac(1000), 1);
    assert!(bench.wire.push(&broadcast));
    let alone = copies_of_a_turn(&mut bench);
    bench.turn_to_rest();
    assert!(bench.wire.push(&frame(bench.ports[7].mac, mac(1000), 2)));
    bench.turn();
    assert!(bench.wire.push(&broadcast));
    let beside = copies_of_a_turn(&mut bench);
    assert!(beside > 0 && beside * 4 <= alone, "{beside} copies beside unicast, {alone} alone");
    bench.turn_to_rest();
    assert!((0..300).all(|place| bench.sub(place).groups == 2), "some copies were not made");
}

#[test]
fn a_storm_from_the_wire_is_limited_by_the_broadcast_queue() {
    let mut bench = Bench::new();
    for _ in 0..300 {
        let mut config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
        config.settings.bcqueuelen = Some(4);
        bench.add_as(config, Offloads::ALL, 8);
    }
    for mark in 0..60 {
        assert!(bench.wire.push(&frame(EVERYBODY, mac(1000), mark)));
    }
    bench.turn();
    assert_eq!(bench.counters().pending_floods, 4);
    bench.turn_to_rest();
    let wire = bench.counters().wire;
    assert_eq!(wire.flooded, 4);
    assert_eq!(wire.dropped[DropReason::BcQueueFull], 56);
    for place in 0..300 {
        let marks: Vec<u8> = bench.got(place).iter().map(|frame| frame[14]).collect();
        assert_eq!(marks, [0, 1, 2, 3], "at {place}");
    }
}

#[test]
fn a_broadcast_queue_of_length_zero_stops_only_floods_from_the_wire() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let mut config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
        config.settings.bcqueuelen = Some(0);
        bench.add_as(config, Offloads::ALL, 8);
    }
    let sent = frame(EVERYBODY, bench.ports[0].mac, 2);
    assert!(bench.wire.push(&frame(EVERYBODY, mac(1000), 1)));
    assert!(bench.ports[0].link.push(&sent));
    bench.turn();
    let wire = bench.counters().wire;
    assert_eq!((wire.flooded, wire.dropped[DropReason::BcQueueFull]), (0, 1));
    for place in 1..3 {
        assert_eq!(bench.got(place), [sent.as_slice()]);
    }
}

#[test]
fn a_local_storm_that_finds_no_room_still_reaches_the_wire() {
    let mut bench = Bench::with_bridges(300);
    let own = bench.ports[0].mac;
    let mut sent = 0;
    // The ports are never drained: most copies find them full, and all are counted.
    while bench.sub(1).lost[DropReason::BcQueueFull] == 0 {
        for mark in 0..64 {
            assert!(bench.ports[0].link.push(&frame(EVERYBODY, own, mark)));
            sent += 1;
        }
        bench.turn();
        assert!(sent < 10_000, "floods wait without limit");
    }
    assert!(bench.counters().pending_floods <= 1024);
    bench.turn_to_rest();
    assert_eq!(bench.sub(0).flooded, sent);
    assert_eq!(bench.counters().wire.sent.frames, sent);
    assert_eq!(bench.sub(1).offered, sent);
}
