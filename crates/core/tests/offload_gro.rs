//! GRO, checked by segmentation: a merged packet is segmented into the same bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use proptest::prelude::*;
use umacvlan_core::offload::{GroBuilder, SEGMENT_BUFFER_LEN, VNET_LEN, VnetHeader, segment};

use offload_frames::Packet;

mod offload_frames;

type Unit = (VnetHeader, Vec<u8>);

/// The segments of a GSO packet.
fn cut(header: VnetHeader, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut scratch = Box::new([0; SEGMENT_BUFFER_LEN]);
    let mut frames = Vec::new();
    segment(header, frame, &mut scratch, |unit| frames.push(unit[VNET_LEN..].to_vec())).unwrap();
    frames
}

/// Merges the first frame with as many of the next as possible, and returns the packet and the
/// number of merged frames.
fn merge(frames: &[Unit]) -> (Unit, usize) {
    let (first, rest) = frames.split_first().unwrap();
    let mut unit = vec![0xee; 70_000];
    let Some(mut gro) = GroBuilder::of(first.0, &first.1) else {
        return (first.clone(), 1);
    };
    let taken = rest
        .iter()
        .take_while(|(header, frame)| gro.push(&mut unit, (first.0, &first.1), *header, frame))
        .count();
    assert_eq!(gro.frames() as usize, 1 + taken);
    if taken == 0 {
        return (first.clone(), 1);
    }
    let len = gro.finish(&mut unit);
    let header = VnetHeader::parse(unit[..VNET_LEN].first_chunk().unwrap());
    ((header, unit[VNET_LEN..len].to_vec()), 1 + taken)
}

fn plain(frames: Vec<Vec<u8>>) -> Vec<Unit> {
    frames.into_iter().map(|frame| (VnetHeader::PLAIN, frame)).collect()
}

fn stream(packet: &Packet) -> Vec<Unit> {
    plain(cut(packet.header(), &packet.frame()))
}

fn packets() -> impl Strategy<Value = Packet> {
    let tags = prop_oneof![Just(vec![]), Just(vec![0x8100]), Just(vec![0x88a8, 0x8100])];
    let shape = (tags, any::<bool>(), any::<bool>(), 0..10_usize);
    let flags = prop_oneof![Just(0x10), Just(0x18), Just(0x50), Just(0x58)];
    let fields = (flags, any::<u32>(), any::<u16>());
    let data = (proptest::collection::vec(any::<u8>(), 1..4000), 64..1500_u16);
    (shape, fields, data).prop_map(|(shape, fields, data)| {
        let (tags, v6, udp, tcp_options) = shape;
        let (tcp_flags, sequence, id) = fields;
        let (payload, gso_size) = data;
        let tcp_options = tcp_options * 4;
        Packet {
            tags,
            v6,
            udp,
            tcp_options,
            tcp_flags,
            sequence,
            id,
            payload,
            gso_size,
            ..Packet::default()
        }
    })
}

proptest! {
    #[test]
    fn merging_inverts_segmentation(packet in packets()) {
        let frames = stream(&packet);
        let ((header, frame), count) = merge(&frames);
        prop_assert_eq!(count, frames.len());
        if count > 1 {
            prop_assert_eq!(header, packet.header());
            prop_assert_eq!(frame, packet.frame());
        }
    }

    #[test]
    fn a_changed_byte_anywhere_survives_merging(
        packet in packets(), which: prop::sample::Index, at: prop::sample::Index, by in 1..=255_u8,
    ) {
        let mut frames = stream(&packet);
        let (_, frame) = &mut frames[which.index(usize::MAX) % stream(&packet).len()];
        let at = at.index(frame.len());
        frame[at] ^= by;
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let ((header, frame), count) = merge(rest);
            if count > 1 {
                prop_assert!(header.validate(&frame).is_ok());
                prop_assert_eq!(plain(cut(header, &frame)), &rest[..count]);
            }
            rest = &rest[count..];
        }
    }

    #[test]
    fn any_bytes_are_unmerged_or_segmented_into_the_same_bytes(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 14..200), 1..4),
    ) {
        let frames = plain(frames);
        let ((header, frame), count) = merge(&frames);
        if count > 1 {
            prop_assert_eq!(plain(cut(header, &frame)), &frames[..count]);
        }
    }
}

#[test]
fn partial_checksums_are_merged_if_they_hold_the_sum_of_the_pseudo_header() {
    for udp in [false, true] {
        let whole = Packet { udp, payload: vec![7; 2000], gso_size: 1000, ..Packet::default() };
        let piece = |id, sequence| {
            let payload = vec![7; 1000];
            let packet = Packet { udp, payload, id, sequence, ..Packet::default() };
            let header = VnetHeader { gso_type: 0, gso_size: 0, ..packet.header() };
            (header, packet.frame())
        };
        let mut frames = [piece(1, 1), piece(2, 1001)];
        let ((header, frame), count) = merge(&frames);
        assert_eq!((count, header, frame), (2, whole.header(), whole.frame()));
        let at = whole.transport() + usize::from(header.csum_offset);
        frames[1].1[at] ^= 1;
        assert_eq!(merge(&frames).1, 1, "udp {udp}");
    }
}

#[test]
fn a_short_frame_or_one_with_psh_is_the_last() {
    let packet = Packet { payload: vec![1; 2500], gso_size: 1000, ..Packet::default() };
    let next = Packet { payload: vec![1; 1000], sequence: 2501, id: 4, ..Packet::default() };
    let mut frames = stream(&packet);
    frames.extend(stream(&Packet { gso_size: 500, ..next.clone() }));
    assert_eq!(merge(&frames).1, 3);

    let pushed = Packet { payload: vec![1; 2000], tcp_flags: 0x18, ..Packet::default() };
    let mut frames = stream(&pushed);
    frames.extend(stream(&Packet { sequence: 2001, id: 3, gso_size: 500, ..next }));
    assert_eq!(merge(&frames).1, 2);
}

#[test]
fn at_most_64_frames_and_64_kilobytes_are_merged() {
    let small = Packet { udp: true, payload: vec![1; 100 * 18], gso_size: 18, ..Packet::default() };
    assert_eq!(merge(&stream(&small)).1, 64);
    let large = Packet { payload: vec![1; 65_000], gso_size: 9000, ..Packet::default() };
    let mut frames = stream(&large);
    frames.push(frames[0].clone());
    let ((_, frame), count) = merge(&frames);
    assert!(count < frames.len() && frame.len() <= 14 + 65_535);
}

#[test]
fn tcp_control_segments_and_datagrams_without_checksum_are_not_merged() {
    for tcp_flags in [0x02, 0x11, 0x14, 0x30, 0x90] {
        let packet = Packet { tcp_flags, payload: vec![1; 500], ..Packet::default() };
        let frames = stream(&packet);
        assert!(GroBuilder::of(frames[0].0, &frames[0].1).is_none(), "flags {tcp_flags:#x}");
    }
    let packet = Packet { udp: true, payload: vec![1; 500], ..Packet::default() };
    let (header, mut frame) = stream(&packet).remove(0);
    let at = packet.transport() + 6;
    frame[at..at + 2].fill(0);
    assert!(GroBuilder::of(header, &frame).is_none());
}
