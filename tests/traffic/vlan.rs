//! Frames with VLAN tags: they keep all tags, with complete and with partial checksums.

use umacvlan_core::MacAddr;
use umacvlan_core::offload::{VNET_LEN, VnetHeader};

use crate::offload_frames::Packet;
use crate::packets::Packets;
use crate::sockets::noise;
use crate::world::{Plan, World, on_both_paths, on_every_path};

/// Tags, outermost first: TPID and TCI.
const TAGS: [&[(u16, u16)]; 4] = [
    &[(0x8100, 10)],
    // Priority 5.
    &[(0x8100, 5 << 13 | 10)],
    &[(0x88a8, 100), (0x8100, 10)],
    &[(0x8100, 20), (0x8100, 10)],
];

#[test]
fn tagged_frames_keep_their_tags() {
    on_every_path(Plan::default(), |world| {
        let World { outside, a, b, .. } = world;
        let macs = [outside.mac(), a.mac(), b.mac()];
        let sockets = [outside, a, b].map(Packets::open);
        // Directions: outside to a sub-interface, back, and between sub-interfaces.
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            for tags in TAGS {
                for destination in [macs[to], MacAddr::BROADCAST] {
                    let frame = tagged(destination, macs[from], tags);
                    sockets[from].send(&frame);
                    let seen = sockets[to].until(|seen| seen.ends_with(&frame[frame.len() - 50..]));
                    assert_eq!(seen.last().unwrap(), &frame, "from {from} to {to}: {tags:x?}");
                }
            }
        }
    });
}

/// AF_XDP sends segments, which other tests of TCP and UDP cover.
#[test]
fn tagged_gso_packets_travel_whole() {
    on_both_paths(Plan::default(), |world| {
        let World { outside, a, b, .. } = world;
        let macs = [outside.mac(), a.mac(), b.mac()];
        let sockets = [outside, a, b].map(Packets::open_unfinished);
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            for packet in gso_packets() {
                let mut frame = packet.frame();
                frame[..12].copy_from_slice(&[macs[to].octets(), macs[from].octets()].concat());
                let mut header = packet.header();
                sockets[from].send(&unfinished(header, &frame));
                let seen = sockets[to].until(|seen| seen.ends_with(&packet.payload));
                // The receiver's kernel takes the tag off before it computes where checksums start.
                header.csum_start -= 4;
                header.hdr_len = short_from(seen.last().unwrap(), 2);
                let what = format!("from {from} to {to}: {:x?}", packet.tags);
                assert!(seen.last().unwrap() == &unfinished(header, &frame), "{what}");
            }
        }
    });
}

/// GSO packets of TCP over IPv4 and IPv6 and of UDP, in one tag of each kind. They have enough
/// segments to show whether they were cut.
fn gso_packets() -> impl Iterator<Item = Packet> {
    let kinds = [(false, false), (true, false), (false, true)];
    let all = kinds.into_iter().zip([0x8100, 0x88a8, 0x8100]);
    all.map(|((v6, udp), tpid)| Packet {
        tags: vec![tpid],
        v6,
        udp,
        payload: noise(9, 30_000),
        ..Packet::default()
    })
}

/// The frame with its header in front, as it is read and written.
fn unfinished(header: VnetHeader, frame: &[u8]) -> Vec<u8> {
    let mut bytes = [0; VNET_LEN];
    header.write_to(&mut bytes);
    [&bytes, frame].concat()
}

/// The number at this offset, in native byte order.
fn short_from(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(*bytes[at..].first_chunk().unwrap())
}

fn tagged(to: MacAddr, from: MacAddr, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = [to.octets(), from.octets()].concat();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    // An EtherType for experiments, and a payload that no other frame of the test has.
    frame.extend([0x88, 0xb5]);
    let seed = frame.iter().fold(0, |seed, byte| seed * 31 % 65_521 + u64::from(*byte));
    frame.extend(noise(seed, 200));
    frame
}
