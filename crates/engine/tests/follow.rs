//! Changes that users make to the interfaces of sub-interfaces are followed or reverted.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::array;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use umacvlan_core::options::PortIo;

use umacvlan_core::{MacAddr, MacvlanFlag, Mode};
use umacvlan_engine::Error;
use umacvlan_engine::engine::{Event, ParentOptions, SubChange, SubOptions, SubStatus};
use umacvlan_netlink::{Link, Rtnl, set_sysctl};
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, frame, mac, reaches, send, until};

/// A lab with one bridge sub-interface `s1` with address 1 in a namespace of its own.
fn lab_with_one() -> (Lab, Place, u32) {
    let lab = Lab::new(PortIo::Auto);
    let guest = Place::new();
    let status = lab.add("s1", 1, Mode::Bridge, &guest);
    assert!(status.up && status.nsid.is_some(), "{status:?}");
    lab.forget();
    (lab, guest, status.index)
}

/// Waits until a user's change to `s1` is reported as reverted.
fn reverted(lab: &Lab, what: &str) -> String {
    let event = lab.event(what, |event| matches!(event, Event::Reverted { .. }));
    match event {
        Event::Reverted { sub, why, .. } if sub == "s1" => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn user_settings_are_followed() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    let rtnl = &mut guest.rtnl;
    rtnl.set_mac(index, mac(9)).unwrap();
    lab.changed("address changed", "s1", |sub| sub.mac == mac(9));
    rtnl.set_mtu(index, 1300).unwrap();
    lab.changed("MTU changed", "s1", |sub| sub.mtu == 1300);
    rtnl.set_up(index, false).unwrap();
    lab.changed("set down", "s1", |sub| !sub.up);
    rtnl.set_up(index, true).unwrap();
    lab.changed("set up", "s1", |sub| sub.up);
    rtnl.set_name(index, "renamed").unwrap();
    lab.changed("renamed", "renamed", |sub| sub.index == index);
    rtnl.set_promisc(index, true).unwrap();
    lab.changed("promiscuous", "renamed", |sub| sub.all_groups);
    rtnl.set_promisc(index, false).unwrap();
    lab.changed("promiscuous no longer", "renamed", |sub| !sub.all_groups);
    rtnl.set_allmulti(index, true).unwrap();
    lab.changed("all groups", "renamed", |sub| sub.all_groups);
    rtnl.set_allmulti(index, false).unwrap();
    lab.changed("all groups no longer", "renamed", |sub| !sub.all_groups);

    let (near, far) = (guest.socket("renamed"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(9), mac(0xff), 1));
    reaches(&near, &far, &frame(mac(0xff), mac(9), 2));
}

#[test]
fn a_move_to_a_third_namespace_is_followed() {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Uring, PortIo::Plain] {
        let lab = Lab::new(io);
        let (mut guest, mut third) = (Place::new(), Place::new());
        let before = lab.add("s1", 1, Mode::Bridge, &guest);
        guest.rtnl.set_netns(before.index, &third.netns).unwrap();
        lab.changed("moved", "s1", |sub| sub.nsid != before.nsid && !sub.up);
        let index = third.index("s1");
        third.rtnl.set_up(index, true).unwrap();
        lab.changed("set up in the third namespace", "s1", |sub| sub.up);
        let (near, far) = (third.socket("s1"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
        reaches(&near, &far, &frame(mac(0xff), mac(1), 2));

        // And back into the engine's own namespace.
        third.rtnl.set_netns(index, &lab.host.netns).unwrap();
        lab.changed("moved home", "s1", |sub| sub.nsid.is_none());
    }
}

#[test]
fn groups_joined_by_ip_are_followed() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    let ip = Ipv4Addr::new(10, 77, 0, 1);
    guest.rtnl.add_address(index, ip.into(), 24).unwrap();
    set_sysctl(&guest.netns, "ipv6/conf/s1/disable_ipv6", "0").unwrap();
    let open = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let four = guest.netns.run(open).unwrap();
    let open = || UdpSocket::bind("[::]:0").unwrap();
    let six = guest.netns.run(open).unwrap();

    let group4 = MacAddr::new([1, 0, 0x5e, 1, 2, 3]);
    let group6 = MacAddr::new([0x33, 0x33, 0, 0, 0xbe, 0xef]);
    let (ip4, ip6) = (Ipv4Addr::new(239, 1, 2, 3), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0xbeef));
    let has = |group| move |sub: &SubStatus| sub.groups.contains(&group);
    four.join_multicast_v4(&ip4, &ip).unwrap();
    lab.changed("joined an IPv4 group", "s1", has(group4));
    six.join_multicast_v6(&ip6, index).unwrap();
    lab.changed("joined an IPv6 group", "s1", has(group6));

    let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
    send(&far, &frame(group4, mac(0xff), 4));
    send(&far, &frame(MacAddr::new([1, 0, 0x5e, 9, 9, 9]), mac(0xff), 5));
    send(&far, &frame(group6, mac(0xff), 6));
    assert_eq!(common::all(&near), [4, 6], "groups are filtered exactly");

    four.leave_multicast_v4(&ip4, &ip).unwrap();
    lab.changed("left an IPv4 group", "s1", |sub| !has(group4)(sub));
    six.leave_multicast_v6(&ip6, index).unwrap();
    lab.changed("left an IPv6 group", "s1", |sub| !has(group6)(sub));
}

#[test]
fn groups_that_are_joined_without_an_event_are_found_on_many_links() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let group = MacAddr::new([1, 0x80, 0xc2, 0, 0, 0xe]);
    let guests: [Place; 10] = array::from_fn(|_| Place::new());
    for number in 1..=24_u8 {
        let guest = &guests[usize::from(number % 10)];
        lab.add(&format!("s{number}"), number, Mode::Bridge, guest);
    }
    for (first, guest) in guests.iter().enumerate() {
        let each = "for n in $(seq $1 10 24); do test $n = 0 || ip maddr add $0 dev s$n; done";
        let mut join = Command::new("sh");
        join.args(["-c", each, &group.to_string(), &first.to_string()]);
        assert!(guest.netns.run(|| join.status()).unwrap().unwrap().success());
    }
    // Nobody announces these.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !lab.parent().subs.iter().all(|sub| sub.groups.contains(&group)) {
        assert!(Instant::now() < deadline, "groups are not found");
        // An event or the next moment.
        let _ = lab.engine().events().recv_timeout(Duration::from_millis(100));
    }
    let (last, far) = (guests[4].socket("s24"), lab.far.socket("x0"));
    reaches(&far, &last, &frame(group, mac(0xff), 1));
}

#[test]
fn a_link_with_more_groups_than_are_followed_gets_all() {
    if !root_or_skip() {
        return;
    }
    let (lab, guest, _) = lab_with_one();
    let group = |last: u16| {
        let [high, low] = last.to_be_bytes();
        MacAddr::new([1, 0, 0x5e, 0, high, low])
    };
    let mut join = Command::new("sh");
    join.args(["-ec", "for group; do ip maddr add $group dev s1; done", "sh"]);
    join.args((0..300).map(|last| group(last).to_string()));
    assert!(guest.netns.run(|| join.status()).unwrap().unwrap().success());
    lab.changed("all groups", "s1", |sub| sub.all_groups && sub.groups.len() < 300);
    let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(group(299), mac(0xff), 1));
    reaches(&far, &near, &frame(group(9999), mac(0xff), 2));
}

#[test]
fn a_forbidden_address_is_reverted() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    lab.add("s2", 2, Mode::Bridge, &Place::new());
    let sibling = Place::new();
    lab.add("s3", 3, Mode::Bridge, &sibling);
    for (whose, taken) in [("the parent", mac(0)), ("a sibling", mac(3))] {
        lab.forget();
        guest.rtnl.set_mac(index, taken).unwrap();
        let why = reverted(&lab, &format!("the address of {whose} undone"));
        assert!(why.contains(&taken.to_string()), "{why}");
        guest.until("the old address", "s1", |link| link.mac == Some(mac(1)));
        assert_eq!(lab.sub("s1").mac, mac(1));
    }
    let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
    let near = sibling.socket("s3");
    reaches(&far, &near, &frame(mac(3), mac(0xff), 2));
}

#[test]
fn an_mtu_above_the_parents_is_reverted() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    guest.rtnl.set_mtu(index, 9000).unwrap();
    let why = reverted(&lab, "an MTU above the parent's undone");
    assert!(why.contains("9000"), "{why}");
    guest.until("the old MTU", "s1", |link| link.mtu == 1500);
    assert_eq!(lab.sub("s1").mtu, 1500);
}

#[test]
fn coming_up_with_an_address_in_use_is_reverted() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    guest.rtnl.set_up(index, false).unwrap();
    lab.changed("set down", "s1", |sub| !sub.up);
    let other = Place::new();
    // While it is down, another sub-interface may have its address.
    lab.add("s2", 1, Mode::Bridge, &other);
    lab.forget();
    guest.rtnl.set_up(index, true).unwrap();
    let why = reverted(&lab, "up with an address in use undone");
    assert!(why.contains(&mac(1).to_string()), "{why}");
    guest.until("it is down again", "s1", |link| !link.is_up());
    assert!(!lab.sub("s1").up && lab.sub("s2").up);
    let (near, far) = (other.socket("s2"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
}

#[test]
fn a_storm_of_changes_ends_in_its_last_state_and_delays_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest, index) = lab_with_one();
    let mut neighbour = Place::new();
    let other = lab.add("s2", 2, Mode::Bridge, &neighbour);
    let stormy = guest.netns.try_clone().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rtnl = Rtnl::open_in(&stormy).unwrap();
            for round in 0.. {
                rtnl.set_promisc(index, round % 2 == 0).unwrap();
                rtnl.set_mtu(index, 1300 + round % 7).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            rtnl.set_promisc(index, false).unwrap();
            rtnl.set_mtu(index, 1200).unwrap();
        });
        for mtu in 1300..1320 {
            neighbour.rtnl.set_mtu(other.index, mtu).unwrap();
            lab.changed("beside a storm", "s2", |sub| sub.mtu == mtu);
        }
        stop.store(true, Ordering::Relaxed);
    });
    until("the last state", || {
        let sub = lab.sub("s1");
        sub.mtu == 1200 && !sub.all_groups
    });
    assert_eq!(guest.link("s1").mtu, 1200);
}

#[test]
fn carrier_and_mtu_follow_the_parent() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, mut guest, _) = lab_with_one();
    let peer = lab.far.index("x0");
    let carrier =
        |wanted| move |event: &Event| matches!(event, Event::Carrier { on, .. } if *on == wanted);
    guest.until("a carrier", "s1", Link::is_running);
    lab.far.rtnl.set_up(peer, false).unwrap();
    lab.event("carrier lost", carrier(false));
    guest.until("no carrier", "s1", |link| !link.is_running());
    lab.far.rtnl.set_up(peer, true).unwrap();
    lab.event("carrier back", carrier(true));
    guest.until("carrier shown by the interface", "s1", Link::is_running);

    let parent = lab.host.index(PARENT);
    lab.host.rtnl.set_mtu(parent, 1200).unwrap();
    guest.until("a smaller MTU of the parent", "s1", |link| link.mtu == 1200);
    until("the switch knows", || lab.sub("s1").mtu == 1200);
    lab.host.rtnl.set_mtu(parent, 1500).unwrap();
    until("a larger MTU of the parent", || lab.parent().mtu == 1500);
    assert_eq!((lab.sub("s1").mtu, guest.link("s1").mtu), (1200, 1200));
}

#[test]
fn a_passthru_shares_its_address_with_its_parent() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let status = lab.add("s1", 1, Mode::Passthru, &guest);
    assert_eq!(status.mac, mac(0), "it takes the parent's address");
    lab.host.until("promiscuous", PARENT, |link| link.promiscuity > 0);

    guest.rtnl.set_mac(status.index, mac(8)).unwrap();
    lab.host.until("the address of the parent follows", PARENT, |link| link.mac == Some(mac(8)));
    let parent = lab.host.index(PARENT);
    lab.host.rtnl.set_mac(parent, mac(9)).unwrap();
    guest.until("the address of the sub-interface follows", "s1", |link| link.mac == Some(mac(9)));
    until("the switch knows", || lab.sub("s1").mac == mac(9));
    guest.rtnl.set_mac(status.index, mac(7)).unwrap();
    lab.host.until("the parent follows again", PARENT, |link| link.mac == Some(mac(7)));

    let change = |lab: &Lab, on| {
        lab.engine().change_sub(lab.number("s1"), vec![SubChange::Flag(MacvlanFlag::Nopromisc, on)])
    };
    change(&lab, true).unwrap();
    let off = |link: &Link| link.promiscuity == 0;
    lab.host.until("nopromisc", PARENT, off);
    change(&lab, false).unwrap();
    let on = |link: &Link| link.promiscuity > 0;
    lab.host.until("nopromisc no longer", PARENT, on);
    lab.engine().remove_sub(lab.number("s1")).unwrap();
    lab.host.until("promiscuous no longer", PARENT, off);
}

#[test]
fn a_passthru_gives_the_parent_its_address_back() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let parent = lab.host.index(PARENT);
    let set = |lab: &mut Lab, guest: &mut Place, address| {
        let index = guest.index("s1");
        guest.rtnl.set_mac(index, address).unwrap();
        lab.host.until("the parent follows", PARENT, |link| link.mac == Some(address));
    };
    lab.add("s1", 1, Mode::Passthru, &guest);
    set(&mut lab, &mut guest, mac(8));
    lab.engine().remove_sub(lab.number("s1")).unwrap();
    assert_eq!(lab.host.link(PARENT).mac, Some(mac(0)));

    // An address that another process gives to the parent meanwhile stays.
    lab.add("s1", 1, Mode::Passthru, &guest);
    lab.host.rtnl.set_mac(parent, mac(9)).unwrap();
    guest.until("the sub-interface follows", "s1", |link| link.mac == Some(mac(9)));
    set(&mut lab, &mut guest, mac(8));
    drop(lab.engine.take());
    assert_eq!(lab.host.link(PARENT).mac, Some(mac(9)));
    assert!(guest.find("s1").is_none());
}

#[test]
fn an_interface_is_one_parent_whatever_it_is_called() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let index = lab.host.index(PARENT);
    lab.host.rtnl.set_up(index, false).unwrap();
    lab.host.rtnl.set_name(index, "lan0").unwrap();
    let again = ParentOptions { name: "lan0".to_owned(), ..ParentOptions::default() };
    let refused = lab.engine().add_parent(again).unwrap_err();
    assert!(matches!(&refused, Error::ParentRenamed { parent, .. } if parent == PARENT));
}

#[test]
fn the_parent_is_promiscuous_only_while_a_sub_is_up() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    assert_eq!(lab.host.link(PARENT).promiscuity, 0);
    let options = SubOptions {
        name: "s1".to_owned(),
        mac: Some(mac(1)),
        netns: Some(guest.netns.try_clone().unwrap()),
        ..SubOptions::default()
    };
    let index = lab.engine().add_sub(PARENT, options).unwrap().index;
    assert_eq!(lab.host.link(PARENT).promiscuity, 0, "it is down");
    for _ in 0..3 {
        guest.rtnl.set_up(index, true).unwrap();
        lab.host.until("promiscuous", PARENT, |link| link.promiscuity > 0);
        guest.rtnl.set_up(index, false).unwrap();
        lab.host.until("promiscuous no longer", PARENT, |link| link.promiscuity == 0);
    }
    guest.rtnl.set_up(index, true).unwrap();
    lab.host.until("promiscuous", PARENT, |link| link.promiscuity > 0);
    drop(lab.engine.take());
    assert_eq!(lab.host.link(PARENT).promiscuity, 0);
}
