//! Several switches on one wire, distinguished by VLAN tags.

use umacvlan_core::offload::{Offloads, VNET_LEN, VnetHeader};
use umacvlan_core::{DropReason, MacAddr, Mode, SubConfig, SubIndex, VlanPath};
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;

use crate::bench::{Bench, bytes, frame, mac, switch, taken};
use crate::offload_frames::Packet;

const C10: &[u8] = &[0x81, 0, 0, 10];
const S10_C20: &[u8] = &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20];

/// The frame with these tags.
fn tagged(tags: &[u8], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

/// A bridge sub-interface of one of the switches, with the address `n`.
fn add(bench: &mut Bench, at: SwitchId, n: usize) -> (SubIndex, MemoryLink) {
    let (near, link) = MemoryLink::pair(256, 1 << 20);
    let config = SubConfig::new(mac(n), Mode::Bridge);
    let id = bench.worker.add_to(at, &config, PortLink::Memory(near), Offloads::ALL).unwrap();
    bench.worker.set_up(id, true).unwrap();
    (id, link)
}

/// A wire with the VLANs 10 and 10.20 and with untagged frames: each has the hosts 1 and 2.
struct Three {
    bench: Bench,
    at: [SwitchId; 3],
    /// Indexed by switch.
    ports: [[(SubIndex, MemoryLink); 2]; 3],
}

impl Three {
    fn new() -> Self {
        let mut bench = Bench::new();
        let paths = [VlanPath::single(10).unwrap(), VlanPath::stacked(10, 20).unwrap()];
        let [one, two] = paths.map(|path| bench.worker.add_switch(path, switch()).unwrap());
        let at = [SwitchId::UNTAGGED, one, two];
        let ports = at.map(|at| [1, 2].map(|n| add(&mut bench, at, n)));
        Self { bench, at, ports }
    }

    /// The frames that the sub-interfaces received since the last call, by switch.
    fn got(&self) -> [[Vec<Vec<u8>>; 2]; 3] {
        self.ports.each_ref().map(|ports| ports.each_ref().map(|(_, link)| taken(link)))
    }

    /// Asserts that each switch by itself has a fate for every frame.
    fn assert_counters_balance(&self) {
        for at in self.at {
            let counters = self.bench.worker.snapshot_at(at);
            assert!(counters.is_balanced(), "{at:?}: {counters:?}");
        }
    }
}

#[test]
fn a_frame_reaches_its_vlan_without_the_tags_of_it_and_no_other() {
    let mut three = Three::new();
    for (number, tags) in [&[][..], C10, S10_C20].into_iter().enumerate() {
        for (to, who) in [(mac(1), 0..1), (mac(2), 1..2), (MacAddr::BROADCAST, 0..2)] {
            let sent = frame(to, mac(9), 7);
            assert!(three.bench.wire.push(&tagged(tags, &sent)));
            three.bench.turn_to_rest();
            for (place, stations) in three.got().iter().enumerate() {
                for (station, frames) in stations.iter().enumerate() {
                    let wanted = place == number && who.contains(&station);
                    let wanted = if wanted { vec![sent.clone()] } else { vec![] };
                    assert_eq!(*frames, wanted, "{tags:x?} for {to}: {place} {station}");
                }
            }
        }
        let wire = three.bench.worker.snapshot_at(three.at[number]).wire;
        assert_eq!((wire.received.frames, wire.received.bytes), (3, 180), "without its tags");
    }
    three.assert_counters_balance();
}

#[test]
fn frames_leaving_a_vlan_are_tagged_and_those_inside_are_not() {
    let mut three = Three::new();
    for (number, tags) in [&[][..], C10, S10_C20].into_iter().enumerate() {
        for to in [mac(9), MacAddr::BROADCAST, mac(2)] {
            let sent = frame(to, mac(1), 8);
            assert!(three.ports[number][0].1.push(&sent));
            three.bench.turn_to_rest();
            let wired = taken(&three.bench.wire);
            let wanted = if to == mac(2) { vec![] } else { vec![tagged(tags, &sent)] };
            assert_eq!(wired, wanted, "to {to} from {number}");
            let mut got = three.got();
            let sibling = std::mem::take(&mut got[number][1]);
            assert_eq!(sibling, if to == mac(9) { vec![] } else { vec![sent] });
            assert!(got.iter().flatten().all(Vec::is_empty), "another VLAN has it: {got:?}");
        }
    }
    three.assert_counters_balance();
}

#[test]
fn unknown_and_priority_tags_go_to_the_untagged_switch() {
    let mut three = Three::new();
    let sent = frame(mac(1), mac(9), 3);
    // VLAN 11; priority 5 without a VLAN; VLAN 10 of a provider with 21 inside; a service tag
    // alone.
    let others: [&[u8]; 4] = [
        &[0x81, 0, 0, 11],
        &[0x81, 0, 0xa0, 0],
        &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 21],
        &[0x88, 0xa8, 0, 10],
    ];
    for tags in others {
        assert!(three.bench.wire.push(&tagged(tags, &sent)));
        three.bench.turn_to_rest();
        let mut got = three.got();
        assert_eq!(std::mem::take(&mut got[0][0]), [tagged(tags, &sent)]);
        assert!(got.iter().flatten().all(Vec::is_empty), "{tags:x?}: {got:?}");
    }
    // A tag more than the parent takes off stays inside, and a priority does not change the VLAN.
    let inside = tagged(&[0x81, 0, 0, 5], &sent);
    assert!(three.bench.wire.push(&tagged(&[0x81, 0, 0xe0, 10], &inside)));
    three.bench.turn_to_rest();
    assert_eq!(three.got()[1][0], [inside]);
    three.assert_counters_balance();
}

#[test]
fn a_frame_that_ends_with_its_tag_is_a_runt() {
    let mut three = Three::new();
    let sent = frame(mac(1), mac(9), 3);
    assert!(three.bench.wire.push(&tagged(C10, &sent)[..17]));
    three.bench.turn_to_rest();
    let wire = three.bench.worker.snapshot_at(three.at[1]).wire;
    assert_eq!(wire.dropped[DropReason::Runt], 1);
    three.assert_counters_balance();
}

#[test]
fn offloads_move_with_the_tags() {
    let mut three = Three::new();
    let packet = Packet { payload: vec![7; 5000], ..Packet::default() };
    let (header, mut sent) = (packet.header(), packet.frame());
    sent[..6].copy_from_slice(&mac(9).octets());
    sent[6..12].copy_from_slice(&mac(1).octets());
    for (number, tags) in [(1, C10), (2, S10_C20)] {
        assert!(three.ports[number][0].1.push_with_header(&bytes(header), &sent));
        three.bench.turn_to_rest();
        let unit = three.bench.wire.pop().unwrap();
        let there = VnetHeader::parse(unit[..VNET_LEN].first_chunk().unwrap());
        assert_eq!(unit[VNET_LEN..], tagged(tags, &sent));
        assert_eq!(usize::from(there.csum_start), usize::from(header.csum_start) + tags.len());
        assert_eq!(there.validate(&unit[VNET_LEN..]), Ok(()), "as the kernel takes it");
        // And back, to the sibling.
        let mut back = unit;
        back[VNET_LEN..VNET_LEN + 6].copy_from_slice(&mac(2).octets());
        back[VNET_LEN + 6..VNET_LEN + 12].copy_from_slice(&mac(9).octets());
        let (head, rest) = back.split_first_chunk().unwrap();
        assert!(three.bench.wire.push_with_header(head, rest));
        three.bench.turn_to_rest();
        let unit = three.ports[number][1].1.pop().unwrap();
        let there = VnetHeader::parse(unit[..VNET_LEN].first_chunk().unwrap());
        assert_eq!((there.csum_start, there.hdr_len), (header.csum_start, header.hdr_len));
        assert_eq!(unit[VNET_LEN + 12..], sent[12..]);
    }
    three.assert_counters_balance();
}

#[test]
fn queued_floods_end_with_their_vlan() {
    let mut bench = Bench::new();
    let at = bench.worker.add_switch(VlanPath::single(10).unwrap(), switch()).unwrap();
    let first: Vec<_> = (1..400).map(|n| add(&mut bench, at, n)).collect();
    let sent = frame(MacAddr::BROADCAST, mac(999), 5);
    for _ in 0..20 {
        assert!(bench.wire.push(&tagged(C10, &sent)));
    }
    bench.turn();
    assert!(bench.counters().pending_floods > 0, "nothing waits, so nothing is tested");
    for (id, _) in first {
        bench.worker.remove(id);
    }
    bench.worker.remove_switch(at);
    let next = bench.worker.add_switch(VlanPath::single(30).unwrap(), switch()).unwrap();
    assert_eq!(next, at, "the place is used again");
    let (_, link) = add(&mut bench, next, 1);
    while bench.worker.turn().unwrap().events > 0 || bench.counters().pending_floods > 0 {}
    (0..50).for_each(|_| assert!(bench.worker.turn().is_ok()));
    assert!(taken(&link).is_empty(), "a frame of VLAN 10 is in VLAN 30");
    // Frames with the former tag belong to no parent and are left to the host.
    assert!(bench.wire.push(&tagged(C10, &sent)));
    bench.turn_to_rest();
    assert!(taken(&link).is_empty());
    assert!(bench.worker.snapshot_at(SwitchId::UNTAGGED).is_balanced());
}
