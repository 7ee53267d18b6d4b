//! Ports that share the address of their parent.

use umacvlan_core::{DropReason, MacAddr, Mode};
use umacvlan_datapath::SwitchId;

use crate::bench::{Bench, frame, mac, taken};

/// Two bridge ports on a parent that shares its address.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.worker.translate(SwitchId::UNTAGGED);
    bench.add(Mode::Bridge);
    bench.add(Mode::Bridge);
    bench
}

/// An ARP packet for Ethernet and IPv4, of 10.0.0.0/24.
fn arp(dst: MacAddr, src: MacAddr, sender: u8, named: MacAddr, target: u8) -> Vec<u8> {
    let head = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2];
    let sender = [&src.octets()[..], &[10, 0, 0, sender]].concat();
    let target = [&named.octets()[..], &[10, 0, 0, target]].concat();
    [&dst.octets()[..], &src.octets(), &head, &sender, &target, &[0; 18]].concat()
}

#[test]
fn the_wire_sees_the_parent_and_a_port_its_own_address() {
    let mut bench = bench();
    let asked = arp(MacAddr::BROADCAST, mac(1), 1, MacAddr::ZERO, 9);
    assert!(bench.ports[0].link.push(&asked));
    bench.turn();
    assert_eq!(bench.got(1), [asked]);
    assert_eq!(taken(&bench.wire), [arp(MacAddr::BROADCAST, mac(0), 1, MacAddr::ZERO, 9)]);

    assert!(bench.wire.push(&arp(mac(0), mac(9), 9, mac(0), 1)));
    assert!(bench.wire.push(&arp(mac(0), mac(9), 9, mac(0), 77)));
    bench.turn();
    assert_eq!(bench.got(0), [arp(mac(1), mac(9), 9, mac(1), 1)]);
    let wire = bench.counters().wire;
    assert_eq!((wire.delivered, wire.host), (1, 1));
    let known = bench.worker.neighbours(SwitchId::UNTAGGED);
    assert_eq!((known.len(), known[0].mac), (1, mac(1)));
}

#[test]
fn what_may_not_leave_is_counted_and_siblings_get_it() {
    let mut bench = bench();
    let first = arp(mac(9), mac(1), 1, mac(9), 9);
    let claim = arp(MacAddr::BROADCAST, mac(2), 1, MacAddr::ZERO, 9);
    let other = frame(MacAddr::BROADCAST, mac(2), 7);
    let foreign = arp(MacAddr::BROADCAST, mac(8), 8, MacAddr::ZERO, 9);
    assert!(bench.ports[0].link.push(&first));
    bench.turn();
    assert_eq!(taken(&bench.wire).len(), 1);
    for group in [&claim, &other, &foreign] {
        assert!(bench.ports[1].link.push(group));
    }
    assert!(bench.ports[1].link.push(&frame(mac(9), mac(2), 8)));
    assert!(bench.ports[1].link.push(&arp(mac(9), mac(2), 1, mac(9), 9)));
    bench.turn();
    assert_eq!(taken(&bench.wire), [] as [Vec<u8>; 0]);
    assert_eq!(bench.got(0), [claim, other, foreign]);
    let (unsent, dropped) = (bench.counters().wire.unsent, bench.sub(1).dropped);
    for (reason, group, unicast) in [
        (DropReason::MacnatClaimed, 1, 1),
        (DropReason::MacnatUntranslated, 1, 1),
        (DropReason::Spoofed, 1, 0),
    ] {
        assert_eq!((unsent[reason], dropped[reason]), (group, unicast), "{reason}");
    }
}

#[test]
fn frames_that_come_back_or_are_for_a_port_that_is_down_go_to_nobody() {
    let mut bench = bench();
    assert!(bench.ports[0].link.push(&arp(mac(9), mac(1), 1, mac(9), 9)));
    bench.turn();
    bench.worker.set_up(bench.ports[0].id, false).unwrap();
    assert!(bench.wire.push(&arp(MacAddr::BROADCAST, mac(0), 1, MacAddr::ZERO, 9)));
    assert!(bench.wire.push(&arp(mac(0), mac(9), 9, mac(0), 1)));
    bench.turn();
    assert_eq!((bench.got(0).len(), bench.got(1).len()), (0, 0));
    let wire = bench.counters().wire;
    assert_eq!(wire.host, 0);
    assert_eq!(wire.dropped[DropReason::MacnatReflected], 1);
    assert_eq!(wire.dropped[DropReason::Down], 1);
    // Its address is free, and is taken by the next.
    assert!(bench.ports[1].link.push(&arp(mac(9), mac(2), 1, mac(9), 9)));
    assert!(bench.wire.push(&arp(mac(0), mac(9), 9, mac(0), 1)));
    bench.turn_to_rest();
    assert!(bench.wire.push(&arp(mac(0), mac(9), 9, mac(0), 1)));
    bench.turn();
    assert_eq!(bench.got(1).last(), Some(&arp(mac(2), mac(9), 9, mac(2), 1)));
}
