//! A decision allocates nothing, whatever the verdict.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::hint::black_box;

use allocation_counter::measure;
use umacvlan_core::{
    Action, Frame, MacAddr, MacvlanFlag, Mode, MulticastFilter, ParentInfo, Semantics, SubConfig,
    SubIndex, Switch,
};

fn mac(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, n])
}

const GROUP: MacAddr = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);

/// A switch with eight sub-interfaces of each mode but passthru, up; those in source mode list
/// addresses 50 to 52.
fn full_switch() -> (Switch, Vec<SubIndex>) {
    let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
    let mut switch = Switch::new(parent, Semantics::Documented);
    let modes = [Mode::Bridge, Mode::Private, Mode::Source, Mode::Vepa];
    let mut ids = Vec::new();
    for (n, mode) in (1..33).zip(modes.into_iter().cycle()) {
        let mut config = SubConfig::new(mac(n), mode);
        if mode == Mode::Source {
            config.settings.flags = config.settings.flags.with(MacvlanFlag::Nodst, n == 31);
            config.settings.sources = (50..53).map(mac).collect();
        }
        let id = switch.add(&config).unwrap();
        switch.set_up(id, true).unwrap();
        let filter = MulticastFilter { groups: vec![GROUP], ..MulticastFilter::default() };
        switch.set_filter(id, filter).unwrap();
        ids.push(id);
    }
    (switch, ids)
}

/// Decides about a frame from both sides, and returns the number of its receivers.
fn decide(switch: &Switch, from: SubIndex, bytes: &[u8]) -> usize {
    let frame = Frame::new(bytes).unwrap();
    let verdicts = [switch.ingress(frame), switch.egress(from, frame, false)];
    let delivered = verdicts.into_iter().map(|verdict| {
        let copies = verdict.copies.count();
        copies
            + match verdict.action {
                Action::Flood(mut flood) => {
                    let first = flood.by_ref().take(3).count();
                    first + switch.flood(flood.rule(), flood.cursor()).count()
                }
                Action::Deliver(_) => 1,
                Action::Drop(_) | Action::Host | Action::Wire => 0,
            }
    });
    delivered.sum()
}

#[test]
fn decisions_and_floods_allocate_nothing() {
    let (switch, ids) = full_switch();
    let mut frames = Vec::new();
    for dst in (0..60).map(mac).chain([GROUP, MacAddr::BROADCAST]) {
        for src in (0..60).map(mac) {
            let mut bytes = [dst.octets(), src.octets()].concat();
            bytes.resize(60, 0);
            frames.push(bytes);
        }
    }
    let mut delivered = 0;
    let allocated = measure(|| {
        for bytes in &frames {
            for &from in &ids {
                delivered += decide(black_box(&switch), from, bytes);
            }
        }
    });
    assert!(delivered > frames.len(), "nothing was delivered: {delivered}");
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn the_counter_sees_an_allocation() {
    assert_eq!(measure(|| drop(black_box(Box::new(1_u8)))).count_total, 1);
}
