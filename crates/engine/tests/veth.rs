//! Sub-interfaces of the port kind veth: the kernel answers plain unicast, the engine has the rest, and
//! no counter shows a difference.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]
#![cfg(feature = "af-xdp")]

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::options::{PortIo, PortKind};
use umacvlan_core::{
    DropReason, MacAddr, MacvlanSettings, Mode, ParentInfo, Semantics, SubConfig, Switch,
};
use umacvlan_engine::Engine;
use umacvlan_engine::engine::{
    Adopt, EngineOptions, Event, KeptTap, KeptVeth, LinkAttribute, SubOptions, SubStatus,
};
use umacvlan_netlink::Link;
use umacvlan_sys::bpf::port::PortPrograms;
use umacvlan_sys::bpf::port_types::{End, KernelPort};
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::{BpfFs, root_or_skip};

use common::{Lab, PARENT, Place, all, frame, mac, reaches, send, several, until};

fn add(lab: &Lab, name: &str, n: u8, mode: Mode, place: &Place) -> SubStatus {
    let options = SubOptions {
        name: name.to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(mode),
        netns: Some(place.netns.try_clone().unwrap()),
        port: PortKind::Veth,
        up: true,
        ..SubOptions::default()
    };
    lab.engine().add_sub(PARENT, options).unwrap()
}

/// How many frames of a sub-interface the kernel has answered.
fn answered(lab: &Lab, name: &str) -> u64 {
    lab.sub(name).port.answered
}

/// Frames of 1 to `count` arrive, each once and in order.
fn pass(from: &OwnedFd, to: &OwnedFd, dst: MacAddr, src: MacAddr, count: u32) {
    assert!(all(to).is_empty(), "frames of before");
    for number in 1..=count {
        send(from, &frame(dst, src, number));
    }
    assert_eq!(all(to), (1..=count).collect::<Vec<_>>(), "{src} to {dst}");
}

#[test]
fn the_kernel_answers_unicast_and_the_engine_has_the_rest() {
    if !root_or_skip() {
        return;
    }
    for workers in [1, 2] {
        let lab = Lab::with(PortIo::Auto, workers);
        let (one, two, three) = (Place::new(), Place::new(), Place::new());
        add(&lab, "s1", 1, Mode::Bridge, &one);
        add(&lab, "s2", 2, Mode::Bridge, &two);
        lab.add("s3", 3, Mode::Bridge, &three);
        let (s1, s2, s3) = (one.socket("s1"), two.socket("s2"), three.socket("s3"));
        let far = lab.far.socket("x0");
        reaches(&far, &s2, &frame(mac(2), mac(0xff), 7));
        let before = (answered(&lab, "s1"), answered(&lab, "s2"));
        pass(&s1, &s2, mac(2), mac(1), 20);
        assert_eq!(answered(&lab, "s1"), before.0 + 20);
        assert_eq!(answered(&lab, "s2"), before.1 + 20);
        pass(&s1, &far, mac(0xff), mac(1), 20);
        pass(&far, &s1, mac(1), mac(0xff), 20);
        assert_eq!(answered(&lab, "s1"), before.0 + 60);
        // To and from a TAP beside them, and group frames: the engine.
        pass(&s1, &s3, mac(3), mac(1), 5);
        pass(&s3, &s1, mac(1), mac(3), 5);
        send(&s1, &frame(MacAddr::BROADCAST, mac(1), 9));
        assert_eq!([all(&s2), all(&s3), all(&far), all(&s1)], [vec![9], vec![9], vec![9], vec![]]);
        send(&far, &frame(MacAddr::BROADCAST, mac(0xff), 10));
        assert_eq!([all(&s1), all(&s2), all(&s3)], [[10], [10], [10]]);
        assert_eq!(answered(&lab, "s1"), before.0 + 60);
        let counters = lab.counters();
        assert!(counters.is_balanced(), "{counters:?}");
        let (_, s1_stats) = counters.subs[0];
        assert_eq!((s1_stats.local, s1_stats.wire, s1_stats.flooded), (25, 20, 1));
        assert_eq!((s1_stats.received.frames, s1_stats.received.bytes), (46, 46 * 60));
        assert_eq!(counters.wire.delivered, counters.wire.received.frames - counters.wire.flooded);

        // What is removed stays in the counters.
        lab.engine().remove_sub(lab.number("s1")).unwrap();
        let counters = lab.counters();
        assert!(counters.is_balanced(), "{counters:?}");
        assert_eq!(counters.removed.received.frames, 46);
    }
}

#[test]
fn the_rules_that_need_more_than_the_addresses_hold() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let (one, two) = (Place::new(), Place::new());
    add(&lab, "s1", 1, Mode::Private, &one);
    add(&lab, "s2", 2, Mode::Bridge, &two);
    let (s1, s2, far) = (one.socket("s1"), two.socket("s2"), lab.far.socket("x0"));
    reaches(&far, &s1, &frame(mac(1), mac(0xff), 1));
    reaches(&far, &s2, &frame(mac(2), mac(0xff), 1));
    // Reflected by the switch at the far end: from a sibling to the private one.
    send(&far, &frame(mac(1), mac(2), 2));
    assert!(all(&s1).is_empty(), "a private sub-interface gets a frame of its sibling");
    assert_eq!(lab.counters().wire.dropped[DropReason::PrivateIsolation], 1);
    // Its own frames go to the wire, whoever has the address.
    pass(&s1, &far, mac(2), mac(1), 3);
    send(&s2, &frame(mac(2), mac(2), 3));
    assert_eq!(all(&s2), [3], "a frame to itself");
    assert!(lab.counters().is_balanced());
    let shares = ["s1", "s2"].map(|name| answered(&lab, name));
    assert!(shares.iter().all(|&frames| frames > 0), "{shares:?}");
}

#[test]
fn a_frame_that_is_too_long_has_no_answer() {
    if !root_or_skip() {
        return;
    }
    let (mut host, mut guest) = (Place::new(), Place::new());
    host.rtnl.add_veth("h1", "s1", Some(&guest.netns)).unwrap();
    let tap = host.netns.run(|| Tap::create("t1")).unwrap().unwrap();
    let mut end = |name: &'static str| {
        let index = host.index(name);
        host.rtnl.set_up(index, true).unwrap();
        End { name, index }
    };
    let (host_end, tap_end) = (end("h1"), end("t1"));
    let index = guest.index("s1");
    guest.rtnl.set_up(index, true).unwrap();
    // The switch has a parent with a smaller MTU than the interfaces.
    let parent = ParentInfo { mac: mac(0), mtu: 1000, promisc: false };
    let mut switch = Switch::new(parent, Semantics::default());
    let sub = switch.add(&SubConfig::new(mac(1), Mode::Bridge)).unwrap();
    switch.set_up(sub, true).unwrap();
    let mut programs = host.netns.run(|| PortPrograms::load(None)).unwrap().unwrap();
    let added = host.netns.run(|| programs.add_port(host_end, tap_end)).unwrap().unwrap();
    let (slot, _) = added;
    let port = KernelPort { sub, slot, at_home: false, mac: mac(1) };
    programs.set_answers(&switch.kernel_answers(), &[port], host_end.index, false).unwrap();
    let socket = guest.socket("s1");
    let mut buffer = [0; 2048];
    for (len, answered) in [(1018, true), (1019, false), (1014, true)] {
        // To itself, which is a sibling in bridge mode.
        let mut long = frame(mac(1), mac(1), 1);
        long.resize(len, 0);
        let before = programs.stats(slot).sent_local.frames;
        send(&socket, &long);
        let mut read = None;
        until("the frame", || {
            read = read.or_else(|| tap.recv(&mut buffer).unwrap());
            read.is_some() || programs.stats(slot).sent_local.frames > before
        });
        assert_eq!(read, (!answered).then_some(len + VNET_LEN), "{len}");
    }
    let stats = programs.remove_port(slot);
    assert_eq!((stats.sent_local, stats.got_local.frames), (stats.got_local, 2));
}

#[test]
fn a_passthru_link_gets_all_unicast_from_the_kernel() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let place = Place::new();
    add(&lab, "s1", 0, Mode::Passthru, &place);
    let (s1, far) = (place.socket("s1"), lab.far.socket("x0"));
    reaches(&far, &s1, &frame(mac(0), mac(0xff), 1));
    let before = answered(&lab, "s1");
    pass(&far, &s1, mac(0), mac(0xff), 10);
    pass(&s1, &far, mac(0xff), mac(0), 10);
    assert_eq!(answered(&lab, "s1"), before + 20);
    assert!(lab.counters().is_balanced());
}

#[test]
fn changes_of_its_interface_are_followed() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let (mut one, two) = (Place::new(), Place::new());
    let index = add(&lab, "s1", 1, Mode::Bridge, &one).index;
    add(&lab, "s2", 2, Mode::Bridge, &two);
    let s2 = two.socket("s2");
    let s1 = one.socket("s1");
    // Its address.
    one.rtnl.set_mac(index, mac(9)).unwrap();
    lab.changed("the address is followed", "s1", |sub| sub.mac == mac(9));
    reaches(&s2, &s1, &frame(mac(9), mac(2), 1));
    // Against the rules: reverted.
    one.rtnl.set_mac(index, mac(2)).unwrap();
    one.until("the address is given back", "s1", |link| link.mac == Some(mac(9)));
    one.rtnl.set_mtu(index, 9000).unwrap();
    one.until("the MTU is given back", "s1", |link| link.mtu == 1500);
    // Down: others reach the wire instead of it.
    one.rtnl.set_up(index, false).unwrap();
    lab.changed("down", "s1", |sub| !sub.up);
    let far = lab.far.socket("x0");
    reaches(&s2, &far, &frame(mac(9), mac(2), 2));
    one.rtnl.set_up(index, true).unwrap();
    lab.changed("up", "s1", |sub| sub.up);
    let s1 = one.socket("s1");
    reaches(&s2, &s1, &frame(mac(9), mac(2), 3));
    // The carrier of the parent is its own.
    let parent = lab.host.index(PARENT);
    lab.host.rtnl.set_up(parent, false).unwrap();
    one.until("the carrier goes", "s1", |link| !link.is_running());
    lab.host.rtnl.set_up(parent, true).unwrap();
    one.until("the carrier comes", "s1", Link::is_running);
    reaches(&s2, &far, &frame(mac(0xff), mac(2), 4));
    // To another namespace, by its user, and to that of the parent, by its owner.
    let mut other = Place::new();
    one.rtnl.set_netns(index, &other.netns).unwrap();
    lab.changed("another namespace", "s1", |sub| sub.netns == other.netns.id());
    let moved = other.index("s1");
    other.rtnl.set_up(moved, true).unwrap();
    let s1 = other.socket("s1");
    reaches(&s2, &s1, &frame(mac(9), mac(2), 5));
    let home = LinkAttribute::Netns(lab.host.netns.try_clone().unwrap());
    let number = lab.number("s1");
    lab.engine().set_link(number, vec![home, LinkAttribute::Up(true)]).unwrap();
    let s1 = lab.host.socket("s1");
    reaches(&s2, &s1, &frame(mac(9), mac(2), 6));
    reaches(&far, &s1, &frame(mac(9), mac(0xff), 7));
    reaches(&s1, &s2, &frame(mac(2), mac(9), 8));
    let before = answered(&lab, "s1");
    pass(&s2, &s1, mac(9), mac(2), 5);
    assert_eq!(answered(&lab, "s1"), before + 5);
}

#[test]
fn nothing_is_left_of_a_link_that_ends() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let (mut one, two) = (Place::new(), Place::new());
    let index = add(&lab, "s1", 1, Mode::Bridge, &one).index;
    add(&lab, "s2", 2, Mode::Vepa, &two);
    add(&lab, "s3", 3, Mode::Vepa, &one);
    add(&lab, "s4", 4, Mode::Vepa, &one);
    let names = ["s1-h0", "s1-s0", "s2-h0", "s2-s0", "s3-h0", "s3-s0", "s4-h0", "s4-s0"];
    for name in names {
        let link = lab.host.link(name);
        assert!(link.alias.starts_with("umacvlan: "), "{link:?}");
        assert!(link.is_up(), "{link:?}");
    }
    let gone = |name: &'static str| move |event: &Event| matches!(event, Event::SubGone { sub, .. } if sub == name);
    // By the user of its namespace, with its namespace, by its host end, and by its owner.
    one.rtnl.delete(index).unwrap();
    lab.event("the end by its user", gone("s1"));
    drop(two);
    lab.event("the end of its namespace", gone("s2"));
    let host_end = lab.host.index("s3-h0");
    lab.host.rtnl.delete(host_end).unwrap();
    lab.event("the end of its host end", gone("s3"));
    lab.engine().remove_sub(lab.number("s4")).unwrap();
    assert!(one.find("s4").is_none() && one.find("s3").is_none());
    until("all of them go", || names.iter().all(|name| lab.host.find(name).is_none()));
    assert!(lab.parent().subs.is_empty());
    // The next has the same slot, and counters from zero.
    add(&lab, "s1", 1, Mode::Bridge, &one);
    assert_eq!(answered(&lab, "s1"), 0);
    drop(lab.engine.take());
    assert!(one.find("s1").is_none() && lab.host.find("s1-h0").is_none());
}

#[test]
fn it_is_refused_with_a_reason_where_it_cannot_be() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let place = Place::new();
    let added = add(&lab, "s1", 1, Mode::Bridge, &place);
    let error = lab.engine().keep_sub(added.number).unwrap_err().to_string();
    assert!(error.contains("only a link with port tap"), "{error}");
    let again = SubOptions {
        name: "s1".to_owned(),
        netns: Some(place.netns.try_clone().unwrap()),
        port: PortKind::Veth,
        ..SubOptions::default()
    };
    let error = lab.engine().add_sub(PARENT, again).unwrap_err().to_string();
    assert!(error.contains("in use in its namespace"), "{error}");
    let large = SubOptions {
        name: "s2".to_owned(),
        mtu: Some(9000),
        port: PortKind::Veth,
        ..SubOptions::default()
    };
    let error = lab.engine().add_sub(PARENT, large).unwrap_err().to_string();
    assert!(error.contains("MTU"), "{error}");
    assert_eq!(lab.parent().subs.len(), 1);
}

/// Starts an engine that pins its programs in this directory.
fn start(lab: &mut Lab, pins: &Path) {
    let with = EngineOptions { pins: Some(pins.to_owned()), ..EngineOptions::default() };
    lab.start_with(with, PortIo::Auto, several(1));
}

/// What the next engine gets of a sub-interface.
fn keep(engine: &Engine, sub: &SubStatus) -> (String, Adopt) {
    engine.keep_sub(sub.number).unwrap();
    let queues = engine.queues(sub.number).unwrap();
    let queues = queues.into_iter().map(|queue| Tap::from_kept(queue).unwrap()).collect();
    let host_end = sub.port.beside.unwrap().host_end;
    let adopt = Adopt {
        tap: KeptTap::Queues(queues),
        veth: Some(KeptVeth { host_end, index: sub.index, mac: sub.mac }),
        netns: sub.netns_cookie.map(|cookie| (sub.netns, cookie)),
        number: Some(sub.number),
        settings: sub.settings.clone(),
        txqlen_max: None,
        groups: None,
        claims_mac: false,
        held: false,
    };
    (PARENT.to_owned(), adopt)
}

#[test]
fn the_kernel_forwards_between_two_engines_and_the_next_takes_over() {
    if !root_or_skip() {
        return;
    }
    let bpf = BpfFs::new();
    let pins = bpf.path().join("umacvlan/7");
    let mut lab = Lab::new(PortIo::Auto);
    start(&mut lab, &pins);
    lab.engine().end_takeover().unwrap();
    let (one, two, three) = (Place::new(), Place::new(), Place::new());
    let subs = [(1, &one), (2, &two), (3, &three)];
    let subs = subs.map(|(n, place)| add(&lab, &format!("s{n}"), n, Mode::Bridge, place));
    let (s1, s2, far) = (one.socket("s1"), two.socket("s2"), lab.far.socket("x0"));
    let everywhere = || {
        pass(&s1, &s2, mac(2), mac(1), 10);
        pass(&s1, &far, mac(0xff), mac(1), 10);
        pass(&far, &s1, mac(1), mac(0xff), 10);
    };
    reaches(&far, &s1, &frame(mac(1), mac(0xff), 7));
    everywhere();
    let before = answered(&lab, "s1");
    let kept: Vec<_> = subs.iter().take(2).map(|sub| keep(lab.engine(), sub)).collect();
    lab.engine().keep_sub(subs[2].number).unwrap();
    drop(lab.engine.take());
    everywhere();
    start(&mut lab, &pins);
    everywhere();
    let adopted = lab.engine().adopt_kept(kept).unwrap();
    assert!(adopted.iter().all(|sub| sub.as_ref().unwrap().up), "{adopted:?}");
    everywhere();
    lab.engine().end_takeover().unwrap();
    everywhere();
    assert_eq!(answered(&lab, "s1"), before + 4 * 30, "and none of them twice");
    // The engine has the rest, and one more link.
    send(&s1, &frame(MacAddr::BROADCAST, mac(1), 9));
    assert_eq!([all(&s2), all(&far)], [[9], [9]]);
    let four = Place::new();
    add(&lab, "s4", 4, Mode::Bridge, &four);
    pass(&s1, &four.socket("s4"), mac(4), mac(1), 10);
    // Of the one that was not adopted, and of those that are removed, nothing is left.
    let links = |name: &str| {
        let named = |pin: &Path| pin.to_string_lossy().contains(name);
        bpf.pins().iter().filter(|pin| named(pin)).count()
    };
    assert_eq!([links("umacvlan_end"), links("umacvlan_tap"), links("umacvlan_wire")], [3, 3, 1]);
    assert!(lab.counters().is_balanced());
    for name in ["s1", "s2", "s4"] {
        lab.engine().remove_sub(lab.number(name)).unwrap();
    }
    assert!(bpf.pins().is_empty(), "{:?}", bpf.pins());
    assert!(!pins.exists());
}

#[test]
fn without_pins_only_the_place_proves_a_link() {
    if !root_or_skip() {
        return;
    }
    let bpf = BpfFs::new();
    let pins = bpf.path().join("umacvlan/7");
    let mut lab = Lab::new(PortIo::Auto);
    start(&mut lab, &pins);
    lab.engine().end_takeover().unwrap();
    let (mut one, two) = (Place::new(), Place::new());
    let subs = [add(&lab, "s1", 1, Mode::Bridge, &one), add(&lab, "s2", 2, Mode::Bridge, &two)];
    let kept = subs.each_ref().map(|sub| keep(lab.engine(), sub));
    drop(lab.engine.take());
    bpf.pins().iter().for_each(|pin| std::fs::remove_file(pin).unwrap());
    // Another address than the one that was written down.
    one.rtnl.set_mac(subs[0].index, mac(9)).unwrap();
    start(&mut lab, &pins);
    let adopted = lab.engine().adopt_kept(kept.into()).unwrap();
    lab.engine().end_takeover().unwrap();
    let error = adopted[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("its programs are gone"), "{error}");
    assert!(adopted[1].is_ok(), "{adopted:?}");
    let (s2, far) = (two.socket("s2"), lab.far.socket("x0"));
    reaches(&far, &s2, &frame(mac(2), mac(0xff), 1));
    pass(&s2, &far, mac(0xff), mac(2), 5);
    assert!(answered(&lab, "s2") >= 5);
}
