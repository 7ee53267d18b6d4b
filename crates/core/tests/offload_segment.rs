//! Software segmentation, checked by reassembly and with etherparse.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use umacvlan_core::offload::{
    SEGMENT_BUFFER_LEN, VNET_LEN, VnetError, VnetHeader, complete_checksum, insert_tag, segment,
    segment_count,
};

use offload_frames::{Packet, sum};

mod offload_frames;

/// The segments of a GSO packet, after checks that hold for every unit.
fn cut(header: VnetHeader, frame: &[u8]) -> Result<Vec<Vec<u8>>, VnetError> {
    let mut scratch = Box::new([0xee; SEGMENT_BUFFER_LEN]);
    let mut frames = Vec::new();
    let count = segment(header, frame, &mut scratch, |unit| {
        assert_eq!(unit[..VNET_LEN], [0; VNET_LEN], "the header is plain");
        frames.push(unit[VNET_LEN..].to_vec());
    })?;
    assert_eq!(count, frames.len());
    assert_eq!(segment_count(header, frame), count, "the count without segmentation");
    Ok(frames)
}

/// Asserts that all checksums and lengths are right, as etherparse computes them.
fn assert_finished(frame: &[u8]) {
    let packet = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let payload = packet.payload.slice();
    let transport = packet.transport.unwrap();
    let (is, should) = match (packet.net.unwrap(), &transport) {
        (NetHeaders::Ipv4(ip, _), transport) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            match transport {
                TransportHeader::Tcp(tcp) => {
                    (tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap())
                }
                TransportHeader::Udp(udp) => {
                    (udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap())
                }
                other => panic!("{other:?}"),
            }
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv6(&ip, payload).unwrap())
        }
        (NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv6(&ip, payload).unwrap())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(is, should, "transport checksum");
    if let TransportHeader::Udp(udp) = transport {
        assert_eq!(usize::from(udp.length), 8 + payload.len());
    }
}

fn number(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn packets() -> impl Strategy<Value = Packet> {
    let tags = prop_oneof![Just(vec![]), Just(vec![0x8100]), Just(vec![0x88a8, 0x8100])];
    let shape = (tags, any::<bool>(), any::<bool>(), 0..4_usize, 0..10_usize);
    let fields = (any::<u8>(), any::<u32>(), any::<u16>());
    let data = (proptest::collection::vec(any::<u8>(), 0..4000), 32..1500_u16);
    (shape, fields, data).prop_map(|(shape, fields, data)| {
        let (tags, v6, udp, ip_options, tcp_options) = shape;
        let (tcp_flags, sequence, id) = fields;
        let (payload, gso_size) = data;
        Packet {
            tags,
            v6,
            udp,
            ip_options: ip_options * 8,
            tcp_options: tcp_options * 4,
            tcp_flags,
            sequence,
            id,
            payload,
            gso_size,
            gso_bits: 0,
        }
    })
}

proptest! {
    #[test]
    fn segments_reassemble_to_the_payload(packet in packets()) {
        let frames = cut(packet.header(), &packet.frame()).unwrap();
        let headers = packet.headers();
        let payload: Vec<u8> = frames.iter().flat_map(|frame| &frame[headers..]).copied().collect();
        prop_assert_eq!(&payload, &packet.payload);
        let size = usize::from(packet.gso_size);
        let (last, full) = frames.split_last().unwrap();
        prop_assert!(full.iter().all(|frame| frame.len() == headers + size));
        prop_assert!(last.len() <= headers + size);
    }

    #[test]
    fn every_checksum_of_every_segment_verifies(packet in packets()) {
        for frame in cut(packet.header(), &packet.frame()).unwrap() {
            assert_finished(&frame);
        }
    }

    #[test]
    fn headers_differ_only_in_the_counting_fields(packet in packets()) {
        let original = packet.frame();
        let (network, transport) = (packet.network(), packet.transport());
        for (index, mut frame) in cut(packet.header(), &original).unwrap().into_iter().enumerate() {
            let counting: [_; 2] = if packet.v6 { [4..6, 0..0] } else { [2..6, 10..12] };
            for field in counting {
                let field = network + field.start..network + field.end;
                frame[field.clone()].copy_from_slice(&original[field]);
            }
            let counting: [_; 2] = if packet.udp { [4..8, 0..0] } else { [4..8, 16..18] };
            for field in counting {
                let field = transport + field.start..transport + field.end;
                frame[field.clone()].copy_from_slice(&original[field]);
            }
            if !packet.udp {
                frame[transport + 13] = original[transport + 13];
            }
            let headers = packet.headers();
            prop_assert_eq!(&frame[..headers], &original[..headers], "segment {}", index);
        }
    }

    #[test]
    fn etherparse_agrees_with_completion(packet in packets()) {
        let mut frame = packet.frame();
        let mut header = packet.header();
        header.gso_type = VnetHeader::GSO_NONE;
        complete_checksum(&mut header, &mut frame).unwrap();
        prop_assert!(header.is_plain());
        assert_finished(&frame);
    }

    #[test]
    fn a_tag_put_back_before_segmentation_is_in_every_segment(packet in packets(), tci: u16) {
        prop_assume!(packet.tags.len() < 2);
        let mut slot = vec![0; 4 + VNET_LEN];
        packet.header().write_to(slot[4..].first_chunk_mut().unwrap());
        slot.extend(packet.frame());
        let at = insert_tag(&mut slot, 4, 0x88a8, tci).unwrap();
        let (header, frame) = slot[at..].split_first_chunk().unwrap();
        let tagged = cut(VnetHeader::parse(header), frame).unwrap();
        let bare = cut(packet.header(), &packet.frame()).unwrap();
        prop_assert_eq!(tagged.len(), bare.len());
        for (mut tagged, bare) in tagged.into_iter().zip(bare) {
            let tag: Vec<u8> = tagged.drain(12..16).collect();
            prop_assert_eq!((number(&tag, 0), number(&tag, 2)), (0x88a8, tci));
            prop_assert_eq!(tagged, bare);
        }
    }

    #[test]
    fn hostile_headers_never_panic(
        packet in packets(),
        pokes in proptest::collection::vec((0..120_usize, any::<u8>()), 0..4),
        len in 0..4000_usize,
        header in any::<[u8; VNET_LEN]>(),
        keep in any::<[bool; VNET_LEN]>(),
    ) {
        let mut frame = packet.frame();
        frame.truncate(if len < 200 { len } else { usize::MAX });
        let mut bytes = [0; VNET_LEN];
        packet.header().write_to(&mut bytes);
        for (at, byte) in bytes.iter_mut().enumerate() {
            if !keep[at] {
                *byte = header[at];
            }
        }
        for (at, value) in pokes {
            if let Some(byte) = bytes.iter_mut().chain(&mut frame).nth(at) {
                *byte = value;
            }
        }
        let mut header = VnetHeader::parse(&bytes);
        let good = header.validate(&frame);
        let _ = segment_count(header, &frame);
        if header.is_gso() {
            prop_assert_eq!(cut(header, &frame).map(drop), good);
        } else if good.is_ok() {
            prop_assert_eq!(complete_checksum(&mut header, &mut frame), Ok(()));
        }
    }
}

#[test]
fn sequence_numbers_and_identifications_advance_and_wrap() {
    let packet = Packet { sequence: u32::MAX - 999, id: u16::MAX, ..Packet::default() };
    let frames = cut(packet.header(), &packet.frame()).unwrap();
    let sequences: Vec<_> =
        frames.iter().map(|f| number(f, 38) as u32 * 65_536 + number(f, 40) as u32).collect();
    assert_eq!(sequences, [u32::MAX - 999, 0, 1000]);
    let ids: Vec<_> = frames.iter().map(|frame| number(frame, 18)).collect();
    assert_eq!(ids, [u16::MAX, 0, 1]);
}

/// The TCP flags of three segments of a frame with all of them set.
fn flags(gso_bits: u8) -> Vec<u8> {
    let packet = Packet { tcp_flags: 0xff, gso_bits, ..Packet::default() };
    let frames = cut(packet.header(), &packet.frame()).unwrap();
    frames.iter().map(|frame| frame[47]).collect()
}

#[test]
fn fin_and_psh_are_on_the_last_segment_and_cwr_on_the_first() {
    assert_eq!(flags(VnetHeader::GSO_ECN), [0xf6, 0x76, 0x7f]);
    assert_eq!(flags(0), [0xf6, 0x76, 0x7f], "the ECN bit is only a hint");
}

#[test]
fn accurate_ecn_keeps_cwr_on_all() {
    assert_eq!(flags(VnetHeader::GSO_ACCECN), [0xf6, 0xf6, 0xff]);
}

#[test]
fn a_packet_of_one_segment_keeps_its_headers() {
    let packet = Packet { tcp_flags: 0xff, payload: vec![5; 1000], ..Packet::default() };
    let mut expected = packet.frame();
    let checksum = !sum(&expected[34..]);
    expected[50..52].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(cut(packet.header(), &packet.frame()), Ok(vec![expected]));
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_all_ones() {
    let mut packet = Packet { udp: true, payload: vec![0; 20], gso_size: 10, ..Packet::default() };
    let frame = cut(packet.header(), &packet.frame()).unwrap().remove(0);
    // Two bytes of payload that make the sum zero.
    packet.payload[..2].copy_from_slice(&number(&frame, 40).to_be_bytes());
    let frames = cut(packet.header(), &packet.frame()).unwrap();
    assert_eq!(number(&frames[0], 40), 0xffff);
    assert_ne!(number(&frames[1], 40), 0xffff);
}

#[test]
fn the_longest_packet_fits_the_buffer() {
    let packet = Packet {
        tags: vec![0x88a8, 0x8100],
        v6: true,
        payload: vec![7; 65_515],
        gso_size: 65_475,
        ..Packet::default()
    };
    let frames = cut(packet.header(), &packet.frame()).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(VNET_LEN + frames[0].len(), SEGMENT_BUFFER_LEN);
}

#[test]
fn a_frame_that_is_no_gso_packet_is_an_error() {
    let packet = Packet::default();
    let header = VnetHeader { gso_type: VnetHeader::GSO_NONE, ..packet.header() };
    assert_eq!(cut(header, &packet.frame()), Err(VnetError::UnknownGsoType(0)));
    assert_eq!(segment_count(header, &packet.frame()), 1);
    assert_eq!(segment_count(VnetHeader::PLAIN, &[]), 1);
}
