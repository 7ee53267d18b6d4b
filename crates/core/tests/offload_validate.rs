//! The validation of an untrusted virtio_net header, rule by rule.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use umacvlan_core::offload::{VNET_LEN, VnetError, VnetHeader};

use offload_frames::Packet;

mod offload_frames;

/// The result of `validate` for this packet after `tamper` changed header and frame.
fn validate(
    packet: &Packet,
    tamper: impl Fn(&mut VnetHeader, &mut Vec<u8>),
) -> Result<(), VnetError> {
    let mut header = packet.header();
    let mut frame = packet.frame();
    tamper(&mut header, &mut frame);
    header.validate(&frame)
}

fn tcp4() -> Packet {
    Packet::default()
}

fn tcp6() -> Packet {
    Packet { v6: true, ..Packet::default() }
}

fn udp4() -> Packet {
    Packet { udp: true, ..Packet::default() }
}

fn udp6() -> Packet {
    Packet { udp: true, ..tcp6() }
}

#[test]
fn a_header_is_parsed_as_it_was_written() {
    let header = tcp4().header();
    let mut bytes = [0; VNET_LEN];
    header.write_to(&mut bytes);
    assert_eq!(VnetHeader::parse(&bytes), header);
    // Seen from an AF_PACKET ring with this very TCP frame on a little-endian machine.
    if cfg!(target_endian = "little") {
        let bytes = [1, 1, 0x36, 0, 0xa8, 0x05, 0x22, 0, 0x10, 0];
        let header = VnetHeader { gso_size: 1448, ..header };
        assert_eq!(VnetHeader::parse(&bytes), header);
    }
}

#[test]
fn a_plain_header_is_plain_whatever_the_other_fields() {
    assert!(VnetHeader::PLAIN.is_plain());
    assert!(VnetHeader::parse(&[2, 0, 9, 9, 9, 9, 9, 9, 9, 9]).is_plain());
    for flags in [1, 3, 4, 0x80] {
        assert!(!VnetHeader::parse(&[flags, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_plain());
    }
    assert!(!VnetHeader::parse(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_plain());
}

#[test]
fn headers_as_linux_sends_them_are_valid() {
    let tagged = |packet: Packet| Packet { tags: vec![0x88a8, 0x8100], ..packet };
    let options = |packet: Packet| Packet { ip_options: 24, tcp_options: 12, ..packet };
    for packet in [tcp4(), tcp6(), udp4(), udp6()] {
        for packet in [packet.clone(), tagged(packet.clone()), options(tagged(packet))] {
            assert_eq!(validate(&packet, |_, _| ()), Ok(()), "{packet:?}");
        }
    }
    let ecn = Packet { gso_bits: VnetHeader::GSO_ECN, ..tcp4() };
    assert_eq!(validate(&ecn, |_, _| ()), Ok(()));
}

#[test]
fn a_partial_checksum_without_segmentation_is_valid_for_any_protocol() {
    let partial = |header: &mut VnetHeader, frame: &mut Vec<u8>| {
        header.gso_type = VnetHeader::GSO_NONE;
        frame[23] = 132;
    };
    assert_eq!(validate(&tcp4(), partial), Ok(()));
}

#[test]
fn the_header_length_is_a_hint_that_must_lie_in_the_frame() {
    assert_eq!(validate(&tcp4(), |header, _| header.hdr_len = 0), Ok(()));
    let whole = |header: &mut VnetHeader, frame: &mut Vec<u8>| {
        header.hdr_len = u16::try_from(frame.len()).unwrap();
    };
    assert_eq!(validate(&tcp4(), whole), Ok(()));
    let beyond = |header: &mut VnetHeader, frame: &mut Vec<u8>| {
        header.hdr_len = u16::try_from(frame.len() + 1).unwrap();
    };
    assert_eq!(validate(&tcp4(), beyond), Err(VnetError::HdrLenOutside));
}

#[test]
fn unknown_flags_and_types_are_errors() {
    use VnetError::{Ufo, UnknownFlags, UnknownGsoType};

    let with_flags = |flags| validate(&tcp4(), |header, _| header.flags = flags);
    assert_eq!(with_flags(5), Err(UnknownFlags(5)));
    assert_eq!(with_flags(0x80), Err(UnknownFlags(0x80)));
    let with_type =
        |packet: Packet, gso_type| validate(&packet, |header, _| header.gso_type = gso_type);
    assert_eq!(with_type(udp4(), 3), Err(Ufo));
    for gso_type in [2, 6, 0x21, 0x80, 0x10, 0xff] {
        assert_eq!(with_type(tcp4(), gso_type), Err(UnknownGsoType(gso_type)));
    }
    assert_eq!(with_type(udp4(), 0x85), Err(UnknownGsoType(0x85)), "ECN is of TCP");
}

#[test]
fn a_checksum_must_lie_behind_the_ethernet_header_and_in_the_frame() {
    let at = |start, offset| {
        validate(&tcp4(), |header, frame| {
            header.gso_type = VnetHeader::GSO_NONE;
            header.hdr_len = 0;
            frame.truncate(60);
            (header.csum_start, header.csum_offset) = (start, offset);
        })
    };
    assert_eq!(at(14, 44), Ok(()));
    assert_eq!(at(13, 20), Err(VnetError::ChecksumInEthernet));
    assert_eq!(at(14, 45), Err(VnetError::ChecksumOutside));
    assert_eq!(at(60, 0), Err(VnetError::ChecksumOutside));
    assert_eq!(at(u16::MAX, u16::MAX), Err(VnetError::ChecksumOutside));
}

#[test]
fn segmentation_needs_a_partial_checksum_in_its_place() {
    use VnetError::{ChecksumMisplaced, GsoWithoutChecksum};

    for packet in [tcp4(), udp4()] {
        assert_eq!(validate(&packet, |header, _| header.flags = 0), Err(GsoWithoutChecksum));
        assert_eq!(validate(&packet, |header, _| header.csum_start += 1), Err(ChecksumMisplaced));
        assert_eq!(validate(&packet, |header, _| header.csum_offset -= 2), Err(ChecksumMisplaced));
    }
}

#[test]
fn a_segment_has_a_valid_size() {
    let with_size = |packet: Packet, size| validate(&packet, |header, _| header.gso_size = size);
    for size in [0, 7, u16::MAX] {
        assert_eq!(with_size(tcp4(), size), Err(VnetError::SegmentSize(size)));
    }
    assert_eq!(with_size(tcp4(), 8), Ok(()));
    assert_eq!(with_size(udp4(), 0), Err(VnetError::SegmentSize(0)));
    let small = Packet { payload: vec![1; 128], ..udp4() };
    assert_eq!(with_size(small.clone(), 1), Ok(()));
    let larger = Packet { payload: vec![1; 129], ..small };
    assert_eq!(with_size(larger, 1), Err(VnetError::TooManySegments));
}

#[test]
fn a_segment_must_fit_an_ip_packet() {
    let longer_by = |more: u16| {
        validate(&tcp4(), |header, frame| {
            header.gso_size = 65_495 + more;
            frame.resize(70_000, 0);
        })
    };
    assert_eq!(longer_by(0), Ok(()));
    assert_eq!(longer_by(1), Err(VnetError::SegmentTooLong));
}

#[test]
fn the_frame_must_match_the_type() {
    use VnetError::{EthertypeMismatch, ProtocolMismatch};

    let as_type =
        |packet: Packet, gso_type| validate(&packet, |header, _| header.gso_type = gso_type);
    assert_eq!(as_type(tcp4(), VnetHeader::GSO_TCPV6), Err(EthertypeMismatch));
    assert_eq!(as_type(tcp6(), VnetHeader::GSO_TCPV4), Err(EthertypeMismatch));
    assert_eq!(as_type(udp4(), VnetHeader::GSO_TCPV4), Err(ProtocolMismatch));
    assert_eq!(as_type(tcp6(), VnetHeader::GSO_UDP_L4), Err(ProtocolMismatch));
    let arp = validate(&udp4(), |_, frame| frame[13] = 0x06);
    assert_eq!(arp, Err(EthertypeMismatch));
}

#[test]
fn two_tags_are_skipped_but_not_three() {
    let tagged = |tags: &[u16]| {
        let packet = Packet { tags: tags.to_vec(), ..tcp6() };
        validate(&packet, |_, _| ())
    };
    assert_eq!(tagged(&[0x8100, 0x8100]), Ok(()));
    assert_eq!(tagged(&[0x88a8, 0x88a8, 0x8100]), Err(VnetError::EthertypeMismatch));
    assert_eq!(tagged(&[0x9100]), Err(VnetError::EthertypeMismatch));
}

#[test]
fn headers_must_be_complete() {
    use VnetError::{Fragment, HeadersTooLong, IpHeader, TransportHeader};

    let cut = |packet: Packet, len: usize| {
        validate(&packet, |header, frame| {
            header.hdr_len = 0;
            frame.truncate(len);
        })
    };
    let poke =
        |packet: Packet, at: usize, value: u8| validate(&packet, |_, frame| frame[at] = value);

    assert_eq!(poke(tcp4(), 14, 0x65), Err(IpHeader));
    assert_eq!(poke(tcp4(), 14, 0x44), Err(IpHeader));
    assert_eq!(poke(tcp6(), 14, 0x40), Err(IpHeader));
    assert_eq!(poke(tcp4(), 20, 0x20), Err(Fragment));
    assert_eq!(poke(tcp4(), 21, 0x01), Err(Fragment));
    assert_eq!(poke(udp6(), 20, 44), Err(Fragment));
    assert_eq!(poke(tcp4(), 46, 0x40), Err(TransportHeader));
    assert_eq!(cut(tcp4(), 53), Err(TransportHeader));
    assert_eq!(cut(tcp4(), 54), Ok(()), "no payload is a segment, too");
    let options = Packet { ip_options: 64, ..tcp6() };
    assert_eq!(cut(options.clone(), options.headers()), Ok(()));
    let beyond = poke(options.clone(), 55, 200);
    assert_eq!(beyond, Err(HeadersTooLong));
    let endless = validate(&options, |_, frame| {
        let len = frame.len();
        frame[54..].fill(0);
        frame.resize(len.max(600), 0);
    });
    assert_eq!(endless, Err(HeadersTooLong));
}

#[test]
fn the_headers_of_a_gso_packet_have_a_limit() {
    let packet = Packet { ip_options: 8, payload: vec![0x50; 3000], ..tcp6() };
    let with_options = |units: u8| {
        validate(&packet, |header, frame| {
            frame[55] = units - 1;
            header.csum_start = 54 + 8 * u16::from(units);
        })
    };
    assert_eq!(with_options(54), Ok(()), "506 bytes, TCP included");
    assert_eq!(with_options(55), Err(VnetError::HeadersTooLong), "514");
}
