//! GSO packets in tunnels are cut before anybody gets them.

use umacvlan_core::DropReason;
use umacvlan_core::offload::VnetHeader;

use crate::bench::{Bench, bytes, mac};
use crate::offload_frames::{Packet, sum};

/// Bytes of the tunnel: Ethernet, IPv4, UDP, VXLAN.
const OUTER: usize = 14 + 20 + 8 + 8;

/// A GSO packet of three segments in VXLAN, as Linux describes it, with `flags` in VXLAN's header.
fn vxlan(to: usize, flags: u8) -> (VnetHeader, Vec<u8>) {
    let packet = Packet::default();
    let inner = packet.frame();
    let len = |headers: usize| u16::try_from(inner.len() + headers).unwrap().to_be_bytes();
    let mut frame = [mac(to).octets(), mac(99).octets()].concat();
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(len(36));
    frame.extend([0, 9, 0, 0, 64, 17, 0, 0, 192, 0, 2, 8, 192, 0, 2, 9]);
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([0xc0, 1, 0x12, 0xb5]);
    frame.extend(len(16));
    frame.extend([0, 0, flags, 0, 0, 0, 0, 0, 5, 0]);
    frame.extend(inner);
    let header = packet.header();
    let more = u16::try_from(OUTER).unwrap();
    let (hdr_len, csum_start) = (header.hdr_len + more, header.csum_start + more);
    (VnetHeader { hdr_len, csum_start, ..header }, frame)
}

/// Asserts that these are the three segments of the packet, each complete.
fn assert_segments(got: &[Vec<u8>]) {
    let packet = Packet::default();
    assert_eq!(got.len(), 3);
    let headers = OUTER + packet.headers();
    let payload: Vec<u8> = got.iter().flat_map(|frame| frame[headers..].to_vec()).collect();
    assert_eq!(payload, packet.payload);
    for (frame, id) in got.iter().zip(9_u8..) {
        assert_eq!(sum(&frame[14..34]), 0xffff, "the outer IP header");
        assert_eq!(frame[18..20], [0, id]);
        let number = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        assert_eq!((number(16), number(38)), (frame.len() - 14, frame.len() - 34));
        assert_eq!(sum(&frame[OUTER + 14..OUTER + 34]), 0xffff, "the inner IP header");
        assert_eq!(number(OUTER + 16), frame.len() - OUTER - 14);
    }
}

#[test]
fn a_packet_in_a_tunnel_from_the_wire_is_cut() {
    let mut bench = Bench::with_bridges(1);
    let (header, frame) = vxlan(1, 8);
    assert!(bench.wire.push_with_header(&bytes(header), &frame));
    bench.turn();
    assert_segments(&bench.got(0));
    assert_eq!(bench.sub(0).delivered.frames, 3);
}

#[test]
fn a_packet_in_a_tunnel_from_a_link_is_cut() {
    let mut bench = Bench::with_bridges(2);
    for to in [2, 50] {
        let (header, frame) = vxlan(to, 8);
        assert!(bench.ports[0].link.push_with_header(&bytes(header), &frame));
        bench.turn();
    }
    assert_segments(&bench.got(1));
    assert_segments(&crate::bench::taken(&bench.wire));
    let sender = bench.sub(0);
    assert_eq!((sender.received.frames, sender.local, sender.wire), (6, 3, 3));
}

#[test]
fn a_packet_in_an_unknown_tunnel_is_dropped_for_a_reason_of_its_own() {
    let mut bench = Bench::with_bridges(1);
    let (header, frame) = vxlan(1, 0);
    assert!(bench.wire.push_with_header(&bytes(header), &frame));
    assert!(bench.ports[0].link.push_with_header(&bytes(header), &frame));
    bench.turn();
    assert!(bench.got(0).is_empty() && crate::bench::taken(&bench.wire).is_empty());
    let sub = bench.sub(0);
    assert_eq!(sub.lost[DropReason::TunnelGso], 1);
    assert_eq!(sub.dropped[DropReason::TunnelGso], 1);
}
