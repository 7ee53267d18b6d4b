//! A turn allocates nothing once everything has grown to its size.

use std::hint::black_box;

use allocation_counter::measure;
use umacvlan_core::offload::Offloads;
use umacvlan_core::{MacAddr, Mode, SubConfig};

use crate::bench::{Bench, bytes, frame, mac};
use crate::offload_frames::Packet;

/// Puts one frame of every kind on its way.
fn feed(bench: &Bench, packet: &Packet) {
    let [one, other, finished] = [&bench.ports[0], &bench.ports[1], &bench.ports[302]];
    for mark in 0..8 {
        assert!(bench.wire.push(&frame(one.mac, mac(1000), mark)));
        assert!(one.link.push(&frame(other.mac, one.mac, mark)));
        assert!(one.link.push(&frame(mac(1000), one.mac, mark)));
        assert!(one.link.push(&frame(finished.mac, one.mac, mark)));
    }
    // Broadcasts, from a listed address, with more copies than one turn can make.
    assert!(bench.wire.push(&frame(MacAddr::BROADCAST, mac(1001), 1)));
    assert!(one.link.push(&frame(MacAddr::BROADCAST, one.mac, 2)));
    let mut unfinished = packet.frame();
    unfinished[..6].copy_from_slice(&finished.mac.octets());
    assert!(other.link.push_with_header(&bytes(packet.header()), &unfinished));
}

#[test]
fn a_turn_allocates_nothing() {
    let mut bench = Bench::with_bridges(301);
    let mut listing = SubConfig::new(MacAddr::ZERO, Mode::Source);
    listing.settings.sources = vec![mac(1001)];
    bench.add_as(listing, Offloads::ALL, 64);
    let bridge = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    bench.add_as(bridge, Offloads::NONE, 128);
    let packet = Packet::default();
    let mut made = 0;
    for round in 0..8 {
        feed(&bench, &packet);
        let allocated = measure(|| {
            // Enough turns to finish the floods.
            for _ in 0..80 {
                bench.worker.turn().unwrap();
            }
        });
        assert_eq!(bench.counters().pending_floods, 0);
        let got: usize = bench.ports.iter().map(|port| port.link.drain()).sum();
        assert!(got > 600 && bench.wire.drain() > 8, "nothing was delivered");
        // In the first round lists grow to their size.
        made += if round == 0 { 0 } else { allocated.count_total };
    }
    assert!(bench.counters().is_balanced());
    assert_eq!(made, 0);
}

#[test]
fn the_counter_sees_an_allocation() {
    assert_eq!(measure(|| drop(black_box(Box::new(1_u8)))).count_total, 1);
}
