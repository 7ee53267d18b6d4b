//! Parents that are VLANs of one interface and have no interface of their own: the kernel does not
//! know them, and the host at the other end of the wire writes and reads their tags itself.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "common/mod.rs"]
mod common;
#[path = "vlans/world.rs"]
mod world;

use umacvlan_core::options::{Backend, PortIo};
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, VlanPath};
use umacvlan_engine::engine::{Event, LinkAttribute, ParentOptions, SubOptions, VlanFilterStatus};
use umacvlan_netlink::Link;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, PATIENCE, Place, all, frame, mac, next, send, until, wire};
use world::{C10, PARENTS, Trunk, Wire, each_way, guest, tagged, workers};

#[test]
fn each_vlan_receives_its_own_frames_only() {
    each_way(|options| {
        let trunk = Trunk::new(&PARENTS, &options);
        for (number, (_, tags)) in PARENTS.iter().enumerate() {
            let marks = [10, 20].map(|mark| mark + u32::try_from(number).unwrap());
            for (to, mark) in [mac(1), MacAddr::BROADCAST].into_iter().zip(marks) {
                send(&trunk.wire.sender, &tagged(tags, &frame(to, mac(0xff), mark)));
            }
            let (_, socket) = &trunk.guests[number];
            assert_eq!(marks.map(|_| next(socket, PATIENCE).unwrap()), marks);
        }
        for (place, (_, socket)) in trunk.guests.iter().enumerate() {
            assert_eq!(all(socket), [0_u32; 0], "{} hears another", PARENTS[place].0);
        }
        trunk.assert_counters_balance();
    });
}

#[test]
fn frames_from_a_vlan_are_tagged_on_the_wire() {
    each_way(|options| {
        let mut trunk = Trunk::new(&PARENTS, &options);
        for (number, (name, tags)) in PARENTS.iter().enumerate() {
            for to in [mac(0xff), MacAddr::BROADCAST] {
                let sent = frame(to, mac(1), 7);
                send(&trunk.guests[number].1, &sent);
                let seen = trunk.wire.next(|seen| seen[..12] == sent[..12]);
                assert_eq!(seen, Some(tagged(tags, &sent)), "{name} to {to}");
            }
        }
        trunk.assert_counters_balance();
    });
}

#[test]
fn siblings_meet_in_their_vlan_and_not_in_another() {
    each_way(|options| {
        let trunk = Trunk::new(&PARENTS, &options);
        let place = Place::new();
        trunk.lab.engine().add_sub("p0.10", guest(2, &place)).unwrap();
        let sibling = place.socket("s0");
        for (number, (name, _)) in PARENTS.iter().enumerate() {
            send(&trunk.guests[number].1, &frame(mac(2), mac(1), 8));
            send(&trunk.guests[number].1, &frame(MacAddr::BROADCAST, mac(1), 9));
            let wanted: &[u32] = if *name == "p0.10" { &[8, 9] } else { &[] };
            assert_eq!(all(&sibling), wanted, "from {name}");
        }
        trunk.assert_counters_balance();
    });
}

#[test]
fn without_a_parent_for_them_untagged_frames_are_the_hosts() {
    each_way(|options| {
        let trunk = Trunk::new(&PARENTS[1..2], &options);
        let stack = trunk.lab.host.socket(PARENT);
        let socket = &trunk.guests[0].1;
        send(&trunk.wire.sender, &frame(mac(0), mac(0xff), 1));
        send(&trunk.wire.sender, &frame(MacAddr::BROADCAST, mac(0xff), 2));
        send(&trunk.wire.sender, &tagged(&[0x81, 0, 0, 11], &frame(mac(1), mac(0xff), 3)));
        send(&trunk.wire.sender, &tagged(C10, &frame(mac(1), mac(0xff), 4)));
        // Packet sockets of the host hear tagged frames as well, which its stack ignores.
        assert_eq!(all(&stack)[..2], [1, 2]);
        assert_eq!(all(socket), [4]);
        // A parent added later to the wire starts with zero counters, and takes nothing away.
        let name = PARENT.to_owned();
        let parent = ParentOptions { name, ..ParentOptions::default() };
        trunk.lab.engine().add_parent(parent).unwrap();
        trunk.lab.engine().remove_parent(PARENT).unwrap();
        send(&trunk.wire.sender, &tagged(C10, &frame(mac(1), mac(0xff), 5)));
        assert_eq!(next(socket, PATIENCE), Some(5));
        trunk.assert_counters_balance();
    });
}

/// Bytes of the longest frame without tags.
fn longest(mtu: usize) -> Vec<u8> {
    let mut sent = frame(mac(0xff), mac(1), 7);
    sent.resize(14 + mtu, 7);
    sent
}

#[test]
fn a_frame_as_long_as_the_mtu_has_room_for_its_tags() {
    each_way(|options| {
        // The longer ones are more than a chunk of AF_XDP holds.
        for most in [1500, 6000] {
            let mut trunk = Trunk::with_mtu(most, &PARENTS, &options);
            for (number, (name, tags)) in PARENTS.into_iter().enumerate() {
                let mtu = if number == 3 { most - 8 } else { most };
                assert_eq!(trunk.guests[number].0.link("s0").mtu, mtu, "{name}");
                assert_eq!(trunk.parent(name).mtu, mtu);
                let sent = longest(mtu as usize);
                send(&trunk.guests[number].1, &sent);
                let seen = trunk.wire.next(|seen| seen[..12] == sent[..12]);
                assert_eq!(seen, Some(tagged(tags, &sent)), "{name}");
                let mut back = frame(mac(1), mac(0xff), 6);
                back.resize(sent.len(), 6);
                send(&trunk.wire.sender, &tagged(tags, &back));
                assert_eq!(next(&trunk.guests[number].1, PATIENCE), Some(6), "{name}");
            }
            trunk.assert_counters_balance();
        }
    });
}

#[test]
fn a_vlan_follows_its_interface() {
    each_way(|options| {
        let mut trunk = Trunk::new(&PARENTS[1..], &options);
        let index = trunk.lab.host.index(PARENT);
        trunk.lab.host.rtnl.set_mac(index, mac(0x33)).unwrap();
        trunk.lab.host.rtnl.set_mtu(index, 1400).unwrap();
        for (name, mtu) in [("p0.10", 1400), ("p0.20", 1400), ("p0.10.20", 1392)] {
            until("address and MTU of the VLAN", || {
                let parent = trunk.parent(name);
                (parent.mac, parent.mtu) == (mac(0x33), mtu)
            });
        }
        trunk.guests[0].0.until("the MTU of a link", "s0", |link| link.mtu == 1400);
        trunk.guests[2].0.until("the MTU of a link", "s0", |link| link.mtu == 1392);
        trunk.lab.host.rtnl.set_up(index, false).unwrap();
        let running = |running| move |link: &Link| link.is_running() == running;
        for (place, _) in &mut trunk.guests {
            place.until("no carrier", "s0", running(false));
        }
        trunk.lab.host.rtnl.set_up(index, true).unwrap();
        for (place, _) in &mut trunk.guests {
            place.until("a carrier", "s0", running(true));
        }
        common::reaches(
            &trunk.wire.sender,
            &trunk.guests[0].1,
            &tagged(C10, &frame(mac(1), mac(0xff), 1)),
        );
    });
}

#[test]
fn a_vlan_waits_for_an_interface_that_is_gone() {
    each_way(|options| {
        let mut trunk = Trunk::new(&PARENTS, &options);
        let index = trunk.lab.host.index(PARENT);
        trunk.lab.host.rtnl.delete(index).unwrap();
        for (name, _) in PARENTS {
            trunk.lab.event(
                "gone",
                |event| matches!(event, Event::ParentGone { parent, .. } if parent == name),
            );
        }
        for (place, _) in &mut trunk.guests {
            place.until("no carrier", "s0", |link| !link.is_running());
        }
        wire(&mut trunk.lab.host, &trunk.lab.far);
        for (place, _) in &mut trunk.guests {
            place.until("a carrier", "s0", Link::is_running);
        }
        let wire = Wire::open(&mut trunk.lab.far);
        for (number, (_, tags)) in PARENTS.iter().enumerate() {
            let frame = tagged(tags, &frame(mac(1), mac(0xff), 1));
            common::reaches(&wire.sender, &trunk.guests[number].1, &frame);
        }
    });
}

#[test]
fn the_address_of_a_passthru_sub_interface_is_its_vlans_and_not_the_interfaces() {
    if !root_or_skip() {
        return;
    }
    let mut trunk = Trunk::new(&PARENTS[..1], &ParentOptions::default());
    let engine = trunk.lab.engine();
    engine.add_parent(ParentOptions { name: "p0.10".into(), ..Default::default() }).unwrap();
    let place = Place::new();
    let owner = SubOptions {
        settings: MacvlanSettings::new(Mode::Passthru),
        name: "o0".into(),
        ..guest(0, &place)
    };
    let owner = engine.add_sub("p0.10", owner).unwrap();
    assert_eq!(owner.mac, mac(0), "that of the interface");
    engine.set_link(owner.number, vec![LinkAttribute::Mac(mac(9))]).unwrap();
    let addresses = |trunk: &Trunk| (trunk.parent("p0.10").mac, trunk.parent("p0").mac);
    assert_eq!(addresses(&trunk), (mac(9), mac(0)));
    // Frames with the tag go to this passthru sub-interface, and untagged ones pass as before.
    let socket = place.socket("o0");
    send(&trunk.wire.sender, &tagged(C10, &frame(mac(77), mac(0xff), 1)));
    assert_eq!(next(&socket, PATIENCE), Some(1));
    send(&trunk.wire.sender, &frame(mac(1), mac(0xff), 2));
    assert_eq!(next(&trunk.guests[0].1, PATIENCE), Some(2));
    assert_eq!(all(&socket), [0_u32; 0]);
    assert_eq!(trunk.lab.host.link(PARENT).mac, Some(mac(0)));
    // A change of the interface's address does not affect a VLAN with an address of its own.
    let index = trunk.lab.host.index(PARENT);
    trunk.lab.host.rtnl.set_mac(index, mac(0x33)).unwrap();
    until("the other address", || addresses(&trunk) == (mac(9), mac(0x33)));
    trunk.lab.engine().remove_sub(owner.number).unwrap();
    assert_eq!(addresses(&trunk), (mac(0x33), mac(0x33)));
    trunk.assert_counters_balance();
}

#[test]
fn impossible_requests_are_refused_and_change_nothing() {
    if !root_or_skip() {
        return;
    }
    let trunk = Trunk::new(&PARENTS[1..2], &workers(2, PortIo::Auto, Backend::AfPacket));
    let add = |name: &str, options: ParentOptions| {
        let options = ParentOptions { name: name.to_owned(), ..options };
        trunk.lab.engine().add_parent(options).map_err(|error| error.to_string())
    };
    for (name, words) in [
        ("p0.0", "vlan id must be between 1-4094, received: 0"),
        ("p0.4095", "vlan id must be between 1-4094, received: 4095"),
        ("p0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        (
            "q0.10",
            "parent q0.10 does not exist in this network namespace: see `ip link` for those that do",
        ),
        (
            "q0.x",
            "parent q0.x does not exist in this network namespace: see `ip link` for those that do",
        ),
        (
            "a-long-name.4094.10",
            "parent a-long-name.4094.10 does not exist in this network namespace: see `ip link` for those that do",
        ),
        ("p0.10", "parent p0.10 is attached already"),
        ("p0.010", "p0.010 is the interface of parent p0.10, under another name: use parent p0.10"),
    ] {
        assert_eq!(add(name, ParentOptions::default()), Err(words.to_owned()), "{name}");
    }
    let one = workers(1, PortIo::Auto, Backend::Auto);
    let refused = add("p0.20", one).unwrap_err();
    assert!(refused.starts_with("p0.20 cannot have workers of its own: it shares"), "{refused}");
    let other = ParentOptions { backend: Backend::AfXdp, ..ParentOptions::default() };
    let refused = add("p0.20", other).unwrap_err();
    assert!(refused.starts_with("p0.20 cannot have another backend: it shares"), "{refused}");
    let parents = trunk.lab.engine().status().unwrap();
    assert_eq!(parents.len(), 1, "{parents:?}");
    add("p0.20", workers(2, PortIo::Auto, Backend::Auto)).unwrap();
    let vlan = trunk.parent("p0.20");
    assert_eq!((vlan.link.as_str(), vlan.vlan), ("p0", VlanPath::single(20).unwrap()));
}

#[test]
fn an_interface_named_like_a_vlan_takes_precedence() {
    if !root_or_skip() {
        return;
    }
    let mut trunk = Trunk::new(&PARENTS[..1], &ParentOptions::default());
    trunk.lab.host.rtnl.add_veth("p0.10", "x1", None).unwrap();
    let add = |name: &str| {
        let options = ParentOptions { name: name.to_owned(), ..ParentOptions::default() };
        trunk.lab.engine().add_parent(options).unwrap();
        let parent = trunk.parent(name);
        (parent.link, parent.vlan.to_string())
    };
    assert_eq!(add("p0.10"), ("p0.10".to_owned(), String::new()));
    assert_eq!(add("p0.10.20"), ("p0.10".to_owned(), "20".to_owned()));
    assert_eq!(add("p0.20"), ("p0".to_owned(), "20".to_owned()));
    // A parent that comes later takes nothing over, and an event says so.
    trunk.lab.forget();
    trunk.lab.host.rtnl.add_veth("p0.20", "x2", None).unwrap();
    let rival = "interface p0.20 has come, and p0.20 is served in user space already";
    trunk.lab.event(
        "the rival",
        |event| matches!(event, Event::Trouble { what, .. } if what.starts_with(rival)),
    );
    assert_eq!(trunk.parent("p0.20").link, "p0");
}

#[test]
fn the_vlan_filter_is_looked_at_once_a_link_sends_tags_of_its_own() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let place = Place::new();
    lab.add("s1", 1, Mode::Bridge, &place);
    let socket = place.socket("s1");
    let broadcast = frame(MacAddr::BROADCAST, mac(1), 1);
    send(&socket, &broadcast);
    send(&socket, &tagged(C10, &frame(mac(0xff), mac(1), 2)));
    // Frames of one port are in order: what came before this one has changed nothing.
    until("both frames", || lab.parent().counters.wire.offered >= 2);
    assert_eq!(lab.parent().vlan_filter, VlanFilterStatus::Untouched);
    send(&socket, &tagged(C10, &broadcast));
    lab.event("a look at the filter", |event| matches!(event, Event::VlanFilter { .. }));
    // A veth has none.
    let parent = lab.parent();
    assert_eq!(parent.vlan_filter, VlanFilterStatus::Passes);
    assert!(parent.switched_off.is_empty(), "{:?}", parent.switched_off);
    // The next engine does not wait for tags.
    let options = ParentOptions { name: PARENT.to_owned(), tags: true, ..ParentOptions::default() };
    lab.engine().remove_parent(PARENT).unwrap();
    lab.engine().add_parent(options).unwrap();
    lab.add("s2", 2, Mode::Bridge, &place);
    lab.event("another look", |event| matches!(event, Event::VlanFilter { .. }));
}

#[test]
fn a_hundred_vlans_share_one_socket_and_one_worker() {
    if !root_or_skip() {
        return;
    }
    let trunk = Trunk::new(&[], &ParentOptions::default());
    let engine = trunk.lab.engine();
    let place = Place::new();
    let mut sockets = Vec::new();
    for vid in 1..=100_u8 {
        let name = format!("p0.{vid}");
        engine.add_parent(ParentOptions { name: name.clone(), ..Default::default() }).unwrap();
        let name_of = |n| format!("v{vid}n{n}");
        let sub = |n: u8| SubOptions { name: name_of(n), ..guest(n, &place) };
        engine.add_sub(&name, sub(1)).unwrap();
        sockets.push(place.socket(&name_of(1)));
    }
    let tag = |vid: u8| [0x81, 0, 0, vid];
    for vid in 1..=100_u8 {
        let to = if vid % 2 == 0 { mac(1) } else { MacAddr::BROADCAST };
        send(&trunk.wire.sender, &tagged(&tag(vid), &frame(to, mac(0xff), vid.into())));
    }
    for (socket, vid) in sockets.iter().zip(1..) {
        assert_eq!(next(socket, PATIENCE), Some(vid));
    }
    for socket in &sockets {
        assert_eq!(next(socket, std::time::Duration::ZERO), None, "another VLAN's frame");
    }
    let parents = engine.status().unwrap();
    assert_eq!(parents.len(), 100);
    assert!(
        parents.iter().all(|parent| parent.counters.is_balanced() && parent.workers.len() == 1)
    );
    for vid in 1..=100 {
        engine.remove_parent(&format!("p0.{vid}")).unwrap();
    }
    assert!(engine.status().unwrap().is_empty());
}
