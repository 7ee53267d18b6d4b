//! A worker without a kernel: run by hand, with its wire and its ports in memory.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "worker/allocations.rs"]
mod allocations;
#[path = "worker/bench.rs"]
mod bench;
#[path = "worker/capture.rs"]
mod capture;
#[path = "worker/chaos.rs"]
mod chaos;
#[path = "worker/floods.rs"]
mod floods;
#[path = "worker/limits.rs"]
mod limits;
#[path = "worker/merging.rs"]
mod merging;
#[allow(dead_code, reason = "the tests of the offloads need more of it")]
#[path = "../../core/tests/offload_frames/mod.rs"]
mod offload_frames;
#[path = "worker/shares.rs"]
mod shares;
#[path = "worker/taps.rs"]
mod taps;
#[path = "worker/threads.rs"]
mod threads;
#[path = "worker/translation.rs"]
mod translation;
#[path = "worker/tunnels.rs"]
mod tunnels;
#[path = "worker/vlans.rs"]
mod vlans;

use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader, checksum};
use umacvlan_core::{DropReason, MacAddr, MacvlanFlag, MacvlanFlags, Mode, SubConfig};

use bench::{Bench, bytes, frame, mac, taken};
use offload_frames::Packet;

#[test]
fn unicast_goes_to_the_owner_of_its_address() {
    let mut bench = Bench::with_bridges(3);
    let [a, b, c] = [1, 2, 3].map(mac);
    let from_wire = frame(a, mac(9), 1);
    let local = frame(b, a, 2);
    let outward = frame(mac(9), c, 3);
    assert!(bench.wire.push(&from_wire));
    assert!(bench.wire.push(&frame(mac(9), mac(8), 4)), "nobody's");
    assert!(bench.ports[0].link.push(&local));
    assert!(bench.ports[2].link.push(&outward));
    let turn = bench.turn();
    assert_eq!(turn.frames, 4);
    assert_eq!(bench.got(0), [from_wire]);
    assert_eq!(bench.got(1), [local]);
    assert!(bench.got(2).is_empty());
    assert_eq!(taken(&bench.wire), [outward]);
    let counters = bench.counters();
    assert_eq!((counters.wire.delivered, counters.wire.host), (1, 1));
    assert_eq!((bench.sub(0).local, bench.sub(2).wire), (1, 1));
}

#[test]
fn a_frame_from_a_listed_source_is_copied_and_forwarded() {
    let mut bench = Bench::with_bridges(1);
    let mut config = SubConfig::new(MacAddr::ZERO, Mode::Source);
    config.settings.sources = vec![mac(9)];
    let list = bench.add_as(config, Offloads::ALL, 8);
    let (listed, other) = (frame(mac(1), mac(9), 1), frame(mac(1), mac(8), 2));
    assert!(bench.wire.push(&listed) && bench.wire.push(&other));
    bench.turn();
    assert_eq!(bench.got(0), [listed.clone(), other]);
    assert_eq!(bench.got(list), [listed]);
    assert_eq!(bench.counters().wire.copies, 1);
}

/// A bench whose second port takes complete frames only, and the frames that it receives for this
/// one.
fn finished(header: VnetHeader, mut unfinished: Vec<u8>) -> (Bench, Vec<Vec<u8>>) {
    let mut bench = Bench::with_bridges(1);
    let config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    let to = bench.add_as(config, Offloads::NONE, 64);
    unfinished[..6].copy_from_slice(&bench.ports[to].mac.octets());
    assert!(bench.ports[0].link.push_with_header(&bytes(header), &unfinished));
    bench.turn();
    let got: Vec<_> = std::iter::from_fn(|| bench.ports[to].link.pop()).collect();
    (bench, got)
}

/// True if the TCP checksum of this unit over IPv4 is right and its header is plain.
fn is_finished(unit: &[u8]) -> bool {
    let (header, frame) = unit.split_at(VNET_LEN);
    let (ip, tcp) = frame[14..].split_at(20);
    let len = u16::try_from(tcp.len()).unwrap().to_be_bytes();
    let pseudo = [&ip[12..20], &[0, 6], &len].concat();
    header == [0; VNET_LEN] && checksum(&[pseudo.as_slice(), tcp].concat()) == 0
}

#[test]
fn a_receiver_without_offloads_gets_a_finished_checksum() {
    let packet = Packet { payload: vec![5; 101], ..Packet::default() };
    let header = VnetHeader { gso_type: VnetHeader::GSO_NONE, gso_size: 0, ..packet.header() };
    let (bench, got) = finished(header, packet.frame());
    assert_eq!(got.len(), 1);
    assert!(is_finished(&got[0]), "{got:?}");
    assert_eq!(bench.sub(1).delivered.frames, 1);
}

#[test]
fn a_receiver_without_offloads_gets_the_segments_of_a_gso_packet() {
    let packet = Packet::default();
    let (bench, got) = finished(packet.header(), packet.frame());
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|unit| is_finished(unit)), "{got:?}");
    let payload = |unit: &Vec<u8>| unit[VNET_LEN + packet.headers()..].to_vec();
    assert_eq!(got.iter().flat_map(payload).collect::<Vec<_>>(), packet.payload);
    assert_eq!(bench.sub(1).delivered.frames, 3);
    assert_eq!(bench.sub(0).local, 1);
}

#[test]
fn a_receiver_with_offloads_gets_a_gso_packet_unchanged() {
    let mut bench = Bench::with_bridges(2);
    let packet = Packet::default();
    let mut sent = packet.frame();
    sent[..6].copy_from_slice(&mac(2).octets());
    let header = bytes(packet.header());
    assert!(bench.ports[0].link.push_with_header(&header, &sent));
    bench.turn();
    let got = bench.ports[1].link.pop().unwrap();
    assert_eq!(got, [&header[..], &sent].concat());
}

#[test]
fn a_bad_vnet_header_ends_its_frame_and_disturbs_nothing() {
    let mut bench = Bench::with_bridges(2);
    let good = frame(mac(2), mac(1), 1);
    let bad = [
        VnetHeader { gso_type: 0x77, ..VnetHeader::PLAIN },
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            csum_start: u16::MAX,
            csum_offset: u16::MAX,
            ..VnetHeader::PLAIN
        },
        VnetHeader { gso_size: 0, ..Packet::default().header() },
    ];
    for header in bad {
        assert!(bench.ports[0].link.push_with_header(&bytes(header), &good));
        assert!(bench.ports[0].link.push(&good));
    }
    bench.turn();
    assert_eq!(bench.got(1), [good.clone(), good.clone(), good]);
    let sender = bench.sub(0);
    assert_eq!(sender.dropped[DropReason::BadVnetHeader], 3);
    assert_eq!((sender.received.frames, sender.local), (6, 3));
}

#[test]
fn a_spoofed_frame_is_dropped_and_counted_with_its_reason() {
    let mut bench = Bench::with_bridges(1);
    let flags = MacvlanFlags::default().with(MacvlanFlag::Spoofchk, true);
    let mut config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    config.settings.flags = flags;
    let checked = bench.add_as(config, Offloads::ALL, 16);
    let own = bench.ports[checked].mac;
    for (source, mark) in [(own, 1), (mac(9), 2), (mac(1), 3)] {
        for to in [mac(1), mac(0x99), MacAddr::BROADCAST] {
            assert!(bench.ports[checked].link.push(&frame(to, source, mark)));
        }
    }
    bench.turn();
    assert_eq!(bench.got(0), [frame(mac(1), own, 1), frame(MacAddr::BROADCAST, own, 1)]);
    let sender = bench.sub(checked);
    assert_eq!((sender.received.frames, sender.dropped[DropReason::Spoofed]), (9, 6));
}

#[test]
fn a_runt_is_dropped_on_either_side() {
    let mut bench = Bench::with_bridges(1);
    assert!(bench.wire.push(&[1; 13]) && bench.wire.push(&[]));
    assert!(bench.ports[0].link.push(&[1; 13]));
    bench.turn();
    assert_eq!(bench.counters().wire.dropped[DropReason::Runt], 2);
    assert_eq!(bench.sub(0).dropped[DropReason::Runt], 1);
}

#[test]
fn frames_for_a_full_port_are_counted_and_others_are_served() {
    let mut bench = Bench::with_bridges(1);
    let config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    let small = bench.add_as(config, Offloads::ALL, 2);
    for mark in 0..5 {
        assert!(bench.wire.push(&frame(mac(2), mac(9), mark)));
        assert!(bench.wire.push(&frame(mac(1), mac(9), mark)));
    }
    bench.turn();
    assert_eq!((bench.got(small).len(), bench.got(0).len()), (2, 5));
    let stats = bench.sub(small);
    assert_eq!((stats.offered, stats.lost[DropReason::Full]), (5, 3));
    assert_eq!((stats.delivered.frames, stats.delivered.bytes), (2, 120));
}

#[test]
fn without_an_uplink_frames_for_the_wire_count_as_no_carrier() {
    let mut bench = Bench::with_bridges(2);
    bench.worker.detach();
    assert!(bench.ports[0].link.push(&frame(mac(9), mac(1), 1)));
    assert!(bench.ports[0].link.push(&frame(mac(2), mac(1), 2)));
    bench.turn();
    assert_eq!(bench.counters().wire.unsent[DropReason::NoCarrier], 1);
    assert_eq!(bench.got(1).len(), 1);
}

#[test]
fn a_noisy_port_leaves_the_turn_to_a_quiet_one() {
    let mut bench = Bench::with_bridges(2);
    for mark in 0..250 {
        assert!(bench.ports[0].link.push(&frame(mac(9), mac(1), mark)));
    }
    assert!(bench.ports[1].link.push(&frame(mac(9), mac(2), 255)));
    bench.turn();
    let sent = taken(&bench.wire);
    assert!(sent.iter().any(|frame| frame[14] == 255), "starved");
    assert!(sent.len() < 250, "one port had the turn to itself");
}

#[test]
fn many_noisy_ports_do_not_starve_a_quiet_one() {
    let mut bench = Bench::with_bridges(10);
    let quiet = 9;
    assert!(bench.ports[quiet].link.push(&frame(mac(99), mac(10), 255)));
    for _ in 0..4 {
        for port in &bench.ports[..quiet] {
            while port.link.push(&frame(mac(99), port.mac, 0)) {}
        }
        bench.turn();
        if taken(&bench.wire).iter().any(|frame| frame[14] == 255) {
            return;
        }
    }
    panic!("starved by nine that always have more");
}

#[test]
fn an_uplink_that_is_attached_while_ports_are_held_is_read_when_they_are() {
    let mut bench = Bench::with_bridges(1);
    let (near, wire) = umacvlan_datapath::memory_link::MemoryLink::pair(16, 4096);
    bench.worker.hold_rx();
    bench.worker.attach(umacvlan_datapath::uplink::Uplink::Memory(near)).unwrap();
    let first = frame(mac(1), mac(9), 1);
    assert!(wire.push(&first));
    assert_eq!(bench.turn().frames, 0);
    // What ports send leaves all the same.
    let sent = frame(mac(9), mac(1), 2);
    assert!(bench.ports[0].link.push(&sent));
    bench.turn();
    assert_eq!(taken(&wire), [sent]);
    bench.worker.release_rx();
    assert_eq!(bench.turn().frames, 1);
    assert_eq!(bench.got(0), [first]);
    // One that is in use is held at the end, and read once more when that is asked for.
    let (second, third) = (frame(mac(1), mac(9), 3), frame(mac(1), mac(9), 4));
    bench.worker.hold_uplink();
    assert!(wire.push(&second));
    assert_eq!(bench.turn().frames, 0);
    bench.worker.read_held_uplink(8);
    assert_eq!(bench.got(0), [second]);
    assert!(wire.push(&third));
    assert_eq!(bench.turn().frames, 0);
}
