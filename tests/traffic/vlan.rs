//! Frames with VLAN tags: they pass with every tag they have, finished or not.

use umacvlan_core::MacAddr;

use crate::packets::Packets;
use crate::sockets::noise;
use crate::world::{Plan, World, on_both_paths};

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
    let test = "tagged_frames_keep_their_tags";
    on_both_paths(test, Plan::default(), |world| {
        let World { outside, a, b, .. } = world;
        let macs = [outside.mac(), a.mac(), b.mac()];
        let sockets = [outside, a, b].map(Packets::open);
        // From and to: outside to a sub-interface, back, and from one to the other.
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            for tags in TAGS {
                for destination in [macs[to], MacAddr::BROADCAST] {
                    let frame = tagged(destination, macs[from], tags);
                    sockets[from].send(&frame);
                    let seen = sockets[to].until(|seen| seen.ends_with(&frame[frame.len() - 50..]));
                    assert_eq!(
                        seen.last().unwrap(),
                        &frame,
                        "from {from} to {to}: {tags:x?}"
                    );
                }
            }
        }
    });
}

fn tagged(to: MacAddr, from: MacAddr, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = [to.octets(), from.octets()].concat();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    // An EtherType for experiments, and bytes that no other frame of the test has.
    frame.extend([0x88, 0xb5]);
    let seed = frame
        .iter()
        .fold(0, |seed, byte| seed * 31 % 65_521 + u64::from(*byte));
    frame.extend(noise(seed, 200));
    frame
}
