//! Frames of one flow that are written at once are merged and otherwise unchanged.

use proptest::prelude::*;
use umacvlan_core::offload::{Offloads, SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, segment};
use umacvlan_core::{MacAddr, Mode, SubConfig};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::uplink::Uplink;

use crate::bench::{Bench, bytes, frame, mac};
use crate::offload_frames::Packet;

/// Datagrams of one flow from the wire to port 0, numbered from `id` on.
fn datagrams(port: u16, id: u16, count: usize) -> Vec<Vec<u8>> {
    let packet = Packet {
        udp: true,
        id,
        payload: vec![u8::try_from(id % 251).unwrap(); 18 * count],
        gso_size: 18,
        ..Packet::default()
    };
    let (header, mut frame) = (packet.header(), packet.frame());
    frame[..6].copy_from_slice(&mac(1).octets());
    // A partial checksum does not cover the ports.
    frame[packet.transport()..packet.transport() + 2].copy_from_slice(&port.to_be_bytes());
    cut(header, &frame)
}

fn cut(header: VnetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
    let mut frames = Vec::new();
    segment(header, frame, &mut scratch, |unit| frames.push(unit[VNET_LEN..].to_vec())).unwrap();
    frames
}

/// The frames of a unit: those that it was merged from, or itself.
fn cut_again(unit: &[u8]) -> Vec<Vec<u8>> {
    let (header, frame) = unit.split_first_chunk().unwrap();
    let header = VnetHeader::parse(header);
    if header.is_gso() { cut(header, frame) } else { vec![frame.to_vec()] }
}

/// The frames that a port received, and the same with every GSO packet cut as its stack would.
fn got(bench: &Bench, place: usize) -> (usize, Vec<Vec<u8>>) {
    let units: Vec<_> = std::iter::from_fn(|| bench.ports[place].link.pop()).collect();
    (units.len(), units.iter().flat_map(|unit| cut_again(unit)).collect())
}

/// The units that the wire received, and the frames in them.
fn sent(bench: &Bench) -> (usize, Vec<Vec<u8>>) {
    let units: Vec<_> = std::iter::from_fn(|| bench.wire.pop()).collect();
    (units.len(), units.iter().flat_map(|unit| cut_again(unit)).collect())
}

/// A bench with one port, whose uplink takes GSO packets.
fn merging_wire() -> Bench {
    let mut bench = Bench::new();
    let (mut near, wire) = MemoryLink::pair(2048, 1 << 20);
    near.take_gso();
    bench.worker.attach(Uplink::Memory(near)).unwrap();
    bench.wire = wire;
    bench.add_as(SubConfig::new(MacAddr::ZERO, Mode::Vepa), Offloads::ALL, 2000);
    bench
}

/// The datagrams of a flow from port 0 to the wire.
fn to_wire(port: u16, id: u16, count: usize) -> Vec<Vec<u8>> {
    let mut frames = datagrams(port, id, count);
    for frame in &mut frames {
        frame[..6].copy_from_slice(&mac(200).octets());
    }
    frames
}

#[test]
fn datagrams_of_one_flow_are_sent_as_one_frame() {
    let mut bench = merging_wire();
    let frames = to_wire(7, 1, 40);
    frames.iter().for_each(|frame| assert!(bench.ports[0].link.push(frame)));
    bench.turn();
    assert_eq!(sent(&bench), (1, frames));
    let wire = bench.counters().wire;
    assert_eq!((wire.merged, wire.supers, wire.sent.frames, wire.sent.bytes), (40, 1, 40, 2400));
}

#[test]
fn flows_to_the_wire_that_alternate_are_merged_each_for_itself_in_order() {
    let mut bench = merging_wire();
    let flows: Vec<_> = (1..=4).map(|port| to_wire(port, 1, 10)).collect();
    for number in 0..10 {
        flows.iter().for_each(|flow| assert!(bench.ports[0].link.push(&flow[number])));
    }
    bench.turn();
    let (units, frames) = sent(&bench);
    assert_eq!((units, frames.len()), (4, 40));
    for flow in &flows {
        let got: Vec<_> = frames.iter().filter(|frame| flow.contains(frame)).collect();
        assert_eq!(got, flow.iter().collect::<Vec<_>>());
    }
}

#[test]
fn no_frame_to_the_wire_overtakes_one_that_may_be_of_its_flow() {
    let mut bench = merging_wire();
    let mut frames = to_wire(7, 1, 6);
    // A fragment tells no port.
    let mut fragment = frames[0].clone();
    fragment[20] |= 0x20;
    frames.insert(3, fragment);
    frames.iter().for_each(|frame| assert!(bench.ports[0].link.push(frame)));
    bench.turn();
    assert_eq!(sent(&bench), (3, frames));
}

#[test]
fn frames_to_the_wire_longer_than_its_mtu_are_not_merged() {
    let mut bench = merging_wire();
    bench.worker.switch_mut().set_parent_mtu(45);
    let frames = to_wire(7, 1, 4);
    frames.iter().for_each(|frame| assert!(bench.ports[0].link.push(frame)));
    bench.turn();
    assert_eq!(sent(&bench), (4, frames));
}

#[test]
fn merged_frames_that_the_wire_refuses_are_counted_one_by_one() {
    let mut bench = merging_wire();
    let (mut near, wire) = MemoryLink::pair(1, 1 << 20);
    near.take_gso();
    bench.worker.attach(Uplink::Memory(near)).unwrap();
    bench.wire = wire;
    let frames: Vec<_> = (7..10).flat_map(|port| to_wire(port, 1, 5)).collect();
    frames.iter().for_each(|frame| assert!(bench.ports[0].link.push(frame)));
    bench.turn();
    assert_eq!(sent(&bench), (1, frames[..5].to_vec()));
    let wire = bench.counters().wire;
    assert_eq!((wire.sent.frames, wire.sent.bytes, wire.unsent.total()), (5, 300, 10));
}

/// A bench with one port that takes 2000 frames.
fn one_port(offloads: Offloads) -> Bench {
    let mut bench = Bench::new();
    let config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    bench.add_as(config, offloads, 2000);
    bench
}

#[test]
fn datagrams_of_one_flow_are_written_as_one_frame() {
    let mut bench = one_port(Offloads::ALL);
    let frames = datagrams(7, 1, 40);
    frames.iter().for_each(|frame| assert!(bench.wire.push(frame)));
    bench.turn();
    assert_eq!(got(&bench, 0), (1, frames));
    let stats = bench.sub(0);
    assert_eq!((stats.merged, stats.supers, stats.delivered.frames), (40, 1, 40));
    assert_eq!(stats.delivered.bytes, 40 * 60);
}

#[test]
fn a_frame_in_between_keeps_its_place() {
    let mut bench = one_port(Offloads::ALL);
    let mut frames = datagrams(7, 1, 4);
    frames.insert(2, frame(mac(1), mac(9), 3));
    frames.extend(datagrams(8, 1, 3));
    frames.iter().for_each(|frame| assert!(bench.wire.push(frame)));
    bench.turn();
    assert_eq!(got(&bench, 0), (4, frames));
}

#[test]
fn frames_of_two_turns_are_not_merged() {
    let mut bench = one_port(Offloads::ALL);
    for frame in datagrams(7, 1, 2) {
        assert!(bench.wire.push(&frame));
        bench.turn();
    }
    assert_eq!(got(&bench, 0).0, 2);
    assert_eq!(bench.sub(0).merged, 0);
}

#[test]
fn copies_of_one_frame_for_two_ports_are_not_merged() {
    let mut bench = Bench::new();
    let listing = |sources| {
        let mut config = SubConfig::new(MacAddr::ZERO, Mode::Source);
        config.settings.sources = sources;
        config
    };
    bench.add_as(listing(vec![mac(9)]), Offloads::ALL, 8);
    bench.add_as(listing(vec![mac(8), mac(9)]), Offloads::ALL, 8);
    // The second port's frame is the only one of this turn, so it is the first in its list.
    assert!(bench.wire.push(&frame(mac(7), mac(8), 1)));
    bench.turn();
    assert_eq!((got(&bench, 0).0, got(&bench, 1).0), (0, 1));
    // IPv6 has no number that tells a datagram from its copy.
    let packet =
        Packet { udp: true, v6: true, payload: vec![1; 18], gso_size: 18, ..Packet::default() };
    let mut datagram = cut(packet.header(), &packet.frame()).remove(0);
    datagram[6..12].copy_from_slice(&mac(9).octets());
    assert!(bench.wire.push(&datagram));
    bench.turn();
    assert_eq!(got(&bench, 0), (1, vec![datagram.clone()]));
    assert_eq!(got(&bench, 1), (1, vec![datagram]));
}

#[test]
fn a_receiver_without_the_offload_gets_frames_unmerged() {
    let without = Offloads { uso4: false, ..Offloads::ALL };
    let mut bench = one_port(without);
    let frames = datagrams(7, 1, 4);
    frames.iter().for_each(|frame| assert!(bench.wire.push(frame)));
    bench.turn();
    assert_eq!(got(&bench, 0), (4, frames));
}

#[test]
fn a_refused_merged_frame_counts_as_all_its_frames() {
    let mut bench = Bench::new();
    // Room for one frame of 60 bytes; a merged one is longer.
    let config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
    bench.add_as(config, Offloads::ALL, 1);
    for frame in [vec![frame(mac(1), mac(9), 1)], datagrams(7, 1, 5)].concat() {
        assert!(bench.wire.push(&frame));
    }
    bench.turn();
    let stats = bench.sub(0);
    assert_eq!((stats.offered, stats.delivered.frames, stats.lost.total()), (6, 1, 5));
    assert_eq!(stats.delivered.bytes, 60);
}

proptest! {
    #[test]
    fn every_port_gets_the_same_frames_in_the_same_order(
        flows in prop::collection::vec((0..3_u16, 1..6_usize, any::<bool>()), 1..20),
    ) {
        let mut bench = one_port(Offloads::ALL);
        let mut sent = Vec::new();
        let mut ids = [1_u16; 3];
        for (flow, count, other) in flows {
            let id = &mut ids[usize::from(flow)];
            sent.extend(datagrams(flow, *id, count));
            *id += u16::try_from(count).unwrap();
            if other {
                sent.push(frame(mac(1), mac(9), 7));
            }
        }
        sent.iter().for_each(|frame| assert!(bench.wire.push_with_header(&bytes(VnetHeader::PLAIN), frame)));
        bench.turn_to_rest();
        prop_assert_eq!(got(&bench, 0).1, sent);
    }
}
