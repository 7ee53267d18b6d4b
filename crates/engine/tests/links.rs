//! Requests of the engine's owner about interfaces, in the namespaces where they are.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use umacvlan_core::options::PortIo;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::Error;
use umacvlan_engine::engine::{Event, LinkAttribute, SubChange, SubOptions, SubStatus};
use umacvlan_netlink::Link;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, frame, mac, reaches};

/// A lab with one bridge sub-interface `s1` with address 1 in a namespace of its own.
fn lab_with_one() -> (Lab, Place) {
    let lab = Lab::new(PortIo::Auto);
    let guest = Place::new();
    lab.add("s1", 1, Mode::Bridge, &guest);
    (lab, guest)
}

fn set(lab: &Lab, name: &str, set: LinkAttribute) -> Result<SubStatus, Error> {
    lab.engine().set_link(lab.number(name), vec![set])
}

#[test]
fn each_change_is_made_on_the_interface_and_visible_at_once() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest) = lab_with_one();
    let number = lab.number("s1");
    let sets = vec![
        LinkAttribute::Mac(mac(9)),
        LinkAttribute::Mtu(1300),
        LinkAttribute::TxQueueLen(77),
        LinkAttribute::Alias("a guest's".to_owned()),
        LinkAttribute::Promisc(true),
        LinkAttribute::Allmulti(true),
        LinkAttribute::Name("eth0".to_owned()),
    ];
    let status = lab.engine().set_link(number, sets).unwrap();
    assert_eq!((status.name.as_str(), status.mac, status.mtu), ("eth0", mac(9), 1300));
    assert!(status.up && status.all_groups, "{status:?}");
    let link = guest.link("eth0");
    assert_eq!((link.mac, link.mtu, link.txqlen), (Some(mac(9)), 1300, 77));
    assert_eq!(link.alias, "a guest's");
    assert!(link.promiscuity == 1 && link.allmulti == Some(1), "{link:?}");
    assert_eq!(link.alias, status.link.alias);

    let sets = vec![
        LinkAttribute::Alias(String::new()),
        LinkAttribute::Promisc(false),
        LinkAttribute::Up(false),
    ];
    let status = lab.engine().set_link(number, sets).unwrap();
    assert!(!status.up && status.link.alias.is_empty(), "{status:?}");
    let status = set(&lab, "eth0", LinkAttribute::Up(true)).unwrap();
    assert!(status.up && status.all_groups, "{status:?}");
    let (near, far) = (guest.socket("eth0"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(9), mac(0xff), 1));
}

#[test]
fn forbidden_changes_are_refused_and_change_nothing() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest) = lab_with_one();
    let other = Place::new();
    lab.add("s2", 2, Mode::Bridge, &other);
    let seen = |link: Link| (link.mac, link.mtu, link.flags, link.carrier_changes);
    let before = seen(guest.link("s1"));
    lab.forget();
    let group = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
    for (wanted, errno) in [
        (LinkAttribute::Mac(mac(0)), libc::EADDRINUSE),
        (LinkAttribute::Mac(mac(2)), libc::EADDRINUSE),
        (LinkAttribute::Mac(group), libc::EADDRNOTAVAIL),
        (LinkAttribute::Mac(MacAddr::ZERO), libc::EADDRNOTAVAIL),
        (LinkAttribute::Mtu(1501), libc::EINVAL),
        (LinkAttribute::Mtu(67), libc::EINVAL),
    ] {
        let what = format!("{wanted:?}");
        let refused = set(&lab, "s1", wanted).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{what}: {refused}");
        assert_eq!(refused.errno(), Some(errno), "{what}: {refused}");
        assert_eq!(seen(guest.link("s1")), before, "{what}");
    }
    let undone = |event: Event| matches!(event, Event::Reverted { .. });
    assert!(!lab.engine().events().try_iter().any(undone), "it was done first, and then undone");
}

#[test]
fn coming_up_with_an_address_in_use_is_refused() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest) = lab_with_one();
    set(&lab, "s1", LinkAttribute::Up(false)).unwrap();
    let other = Place::new();
    lab.add("s2", 1, Mode::Bridge, &other);
    let refused = set(&lab, "s1", LinkAttribute::Up(true)).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::EADDRINUSE), "{refused}");
    assert!(!guest.link("s1").is_up());
    // A refusal ends the list; the changes before it are kept.
    let sets = vec![LinkAttribute::Mtu(1280), LinkAttribute::Up(true), LinkAttribute::Mac(mac(3))];
    lab.engine().set_link(lab.number("s1"), sets).unwrap_err();
    let link = guest.link("s1");
    assert_eq!((link.mtu, link.mac), (1280, Some(mac(1))));
}

#[test]
fn the_kernel_s_own_refusals_keep_their_errno() {
    if !root_or_skip() {
        return;
    }
    let (lab, mut guest) = lab_with_one();
    guest.rtnl.add_veth("v0", "v1", None).unwrap();
    let other = Place::new();
    lab.add("s1", 2, Mode::Bridge, &other);
    let first = lab.parent().subs[0].number;
    let errno = |set| lab.engine().set_link(first, vec![set]).unwrap_err().errno();
    assert_eq!(errno(LinkAttribute::Name("v0".to_owned())), Some(libc::EEXIST));
    assert_eq!(errno(LinkAttribute::Name("a/b".to_owned())), Some(libc::EINVAL));
    for name in ["", "\0", "a\u{1b}[2J", "a\u{9b}m"] {
        assert_eq!(errno(LinkAttribute::Name(name.to_owned())), Some(libc::EINVAL), "{name:?}");
    }
    assert_eq!(errno(LinkAttribute::Alias("x".repeat(256))), Some(libc::ERANGE));
    let there = || LinkAttribute::Netns(other.netns.try_clone().unwrap());
    assert_eq!(errno(there()), Some(libc::EEXIST));
    assert!(guest.link("s1").is_up());

    // With a temporary name it may move.
    let sets = vec![there(), LinkAttribute::Up(true), LinkAttribute::Name("s9".to_owned())];
    let status = lab.engine().set_link(first, sets).unwrap();
    assert_eq!((status.name.as_str(), status.netns), ("s9", other.netns.id()));
    assert!(status.up && guest.find("s1").is_none());
    let (near, far) = (other.socket("s9"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
}

#[test]
fn a_name_is_unique_in_a_namespace_only() {
    if !root_or_skip() {
        return;
    }
    let (lab, guest) = lab_with_one();
    let other = Place::new();
    let second = lab.add("s1", 2, Mode::Bridge, &other);
    let home = lab.add("s1", 3, Mode::Bridge, &lab.host);
    assert_eq!((home.nsid, home.parent_nsid), (None, None));
    // Each namespace has an id of its own for the engine's namespace.
    let mut inside = umacvlan_netlink::Rtnl::open_in(&other.netns).unwrap();
    assert_eq!(second.parent_nsid, inside.known_nsid(&lab.host.netns).unwrap());
    assert!(second.parent_nsid.is_some());
    for place in [&guest, &other, &lab.host] {
        let options = SubOptions {
            name: "s1".to_owned(),
            netns: Some(place.netns.try_clone().unwrap()),
            ..SubOptions::default()
        };
        let taken = lab.engine().add_sub(PARENT, options).unwrap_err();
        assert_eq!(taken.errno(), Some(libc::EEXIST), "{taken}");
    }
    lab.engine().remove_sub(second.number).unwrap();
    let left: Vec<_> = lab.parent().subs.into_iter().map(|sub| sub.mac).collect();
    assert_eq!(left, [mac(1), mac(3)]);
}

#[test]
fn the_address_of_a_passthru_is_its_parent_s() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    lab.add("s1", 1, Mode::Passthru, &guest);
    let status = set(&lab, "s1", LinkAttribute::Mac(mac(8))).unwrap();
    assert_eq!((status.mac, lab.host.link(PARENT).mac), (mac(8), Some(mac(8))));
    assert_eq!(guest.link("s1").mac, Some(mac(8)));
    assert_eq!(lab.parent().own_mac, mac(0), "what it has again afterwards");
}

#[test]
fn changes_are_made_in_order_until_one_is_refused() {
    if !root_or_skip() {
        return;
    }
    let (lab, _guest) = lab_with_one();
    let number = lab.number("s1");
    let change = |changes| lab.engine().change_sub(number, changes);
    let group = MacAddr::new([1, 0, 0x5e, 0, 0, 1]);
    let refused = change(vec![
        SubChange::Mode(Mode::Source),
        SubChange::AddSource(mac(4)),
        SubChange::AddSource(group),
        SubChange::BcCutoff(5),
    ]);
    assert_eq!(refused.unwrap_err().errno(), Some(libc::EADDRNOTAVAIL));
    let status = lab.engine().sub(number).unwrap();
    assert_eq!((status.settings.mode, status.settings.sources), (Mode::Source, vec![mac(4)]));
    assert_eq!(lab.parent().bc_cutoff, 1);
    change(vec![SubChange::BcCutoff(5), SubChange::BcQueueLen(3_000)]).unwrap();
    let parent = lab.parent();
    assert_eq!((parent.bc_cutoff, parent.bc_queue_used), (5, 3_000));
}

#[test]
fn a_sub_is_made_with_all_options() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let options = SubOptions {
        name: "s1".to_owned(),
        netns: Some(guest.netns.try_clone().unwrap()),
        settings: MacvlanSettings { bclim: Some(-1), ..MacvlanSettings::default() },
        promisc: true,
        allmulti: true,
        alias: Some("for tests".to_owned()),
        txqlen: Some(99),
        ..SubOptions::default()
    };
    let status = lab.engine().add_sub(PARENT, options).unwrap();
    let link = guest.link("s1");
    assert_eq!((link.txqlen, link.alias.as_str()), (99, "for tests"));
    assert!(link.promiscuity == 1 && link.allmulti == Some(1), "{link:?}");
    assert!(status.all_groups && !status.up, "{status:?}");
    assert_eq!(lab.parent().bc_cutoff, -1);
    assert_eq!(lab.host.link(PARENT).promiscuity, 0, "it is down");
}
