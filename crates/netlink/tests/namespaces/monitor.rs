//! A monitor in one namespace receives the events of others, without keeping them alive.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Duration;

use umacvlan_core::MacAddr;
use umacvlan_netlink::{
    BridgeOptions, Event, Link, LinkFlags, Monitor, MovedTo, Rtnl, all_groups, joined_groups,
    set_sysctl,
};
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::{root_or_skip, skip};

/// The engine's namespace, with a monitor and a request socket in it.
struct Home {
    netns: Netns,
    rtnl: Rtnl,
    monitor: Monitor,
}

/// Another namespace whose events the monitor receives.
struct Guest {
    netns: Netns,
    rtnl: Rtnl,
    nsid: i32,
}

impl Home {
    fn new() -> Self {
        let netns = Netns::create().unwrap();
        let rtnl = Rtnl::open_in(&netns).unwrap();
        let monitor = netns.run(Monitor::open).unwrap().unwrap();
        Self { netns, rtnl, monitor }
    }

    fn guest(&mut self) -> Guest {
        let netns = Netns::create().unwrap();
        let rtnl = Rtnl::open_in(&netns).unwrap();
        let nsid = self.rtnl.nsid(&netns).unwrap();
        Guest { netns, rtnl, nsid }
    }

    /// The events since the last call. The kernel sends them before it answers a request.
    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.monitor.read(|event| events.push(event)).unwrap();
        events
    }

    /// The last event about the interface `index` of the namespace `nsid`.
    fn news(&mut self, nsid: Option<i32>, index: u32) -> Link {
        let mut news = self.events().into_iter().filter_map(|event| match event {
            Event::LinkNew { link, .. } if nsid.is_none() && link.index == index => {
                Some(Some(*link))
            }
            Event::LinkChanged { nsid: at, index: of, .. } if Some(at) == nsid && of == index => {
                Some(None)
            }
            _ => None,
        });
        match (news.next_back().expect("no news of the interface"), nsid) {
            (Some(link), _) => link,
            (None, nsid) => self.rtnl.within(nsid.unwrap()).link_by_index(index).unwrap().unwrap(),
        }
    }

    /// Waits for the events of an object that ends in the background.
    fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !events.iter().any(&wanted) {
            let more = self.monitor.wait(PATIENCE).unwrap();
            assert!(more, "timed out after {events:?}");
            events.extend(self.events());
        }
        events
    }
}

fn pair(rtnl: &mut Rtnl) -> (u32, u32) {
    rtnl.add_veth("a", "b", None).unwrap();
    let mut index = |name| rtnl.link(name).unwrap().unwrap().index;
    (index("a"), index("b"))
}

/// Asserts that every change of an interface, made with `rtnl`, is an event from the namespace
/// `nsid`.
fn every_change_is_news(home: &mut Home, rtnl: &mut Rtnl, nsid: Option<i32>) {
    let (a, b) = pair(rtnl);
    assert_eq!(home.news(nsid, a).kind.as_deref(), Some("veth"));

    let mac = MacAddr::new([2, 0, 0, 0, 0, 0x42]);
    rtnl.set_mac(a, mac).unwrap();
    assert_eq!(home.news(nsid, a).mac, Some(mac));
    rtnl.set_mtu(a, 1300).unwrap();
    assert_eq!(home.news(nsid, a).mtu, 1300);
    rtnl.set_name(a, "renamed").unwrap();
    assert_eq!(home.news(nsid, a).name, "renamed");
    rtnl.set_txqlen(a, 17).unwrap();
    assert_eq!(home.news(nsid, a).txqlen, 17);

    rtnl.set_up(b, true).unwrap();
    rtnl.set_up(a, true).unwrap();
    assert!(home.news(nsid, a).is_up());
    rtnl.set_promisc(a, true).unwrap();
    assert!(home.news(nsid, a).is_promiscuous());
    rtnl.set_promisc(a, false).unwrap();
    assert!(!home.news(nsid, a).is_promiscuous());
    rtnl.set_allmulti(a, true).unwrap();
    assert!(home.news(nsid, a).is_allmulti());
    rtnl.set_allmulti(a, false).unwrap();
    assert!(!home.news(nsid, a).is_allmulti());
    rtnl.set_up(a, false).unwrap();
    assert!(!home.news(nsid, a).is_up());

    rtnl.delete(a).unwrap();
    let gone = home.events().into_iter().find_map(|event| match event {
        Event::LinkGone { nsid: at, index, name, moved_to: None, .. } if index == a => {
            Some((at, name))
        }
        _ => None,
    });
    assert_eq!(gone, Some((nsid, "renamed".to_owned())));
}

#[test]
fn every_change_in_the_own_namespace_is_an_event_without_an_id() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let mut rtnl = Rtnl::open_in(&home.netns).unwrap();
    every_change_is_news(&mut home, &mut rtnl, None);
}

#[test]
fn a_name_that_is_not_utf8_is_an_event_like_any_other() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let mut guest = home.guest();
    let (a, _) = pair(&mut guest.rtnl);
    home.events();
    let strange = OsStr::from_bytes(b"\xff\xfeA");
    let rename =
        || Command::new("ip").args(["link", "set", "dev", "a", "name"]).arg(strange).status();
    assert!(guest.netns.run(rename).unwrap().unwrap().success());
    let alias =
        || Command::new("ip").args(["link", "set", "dev", "b", "alias"]).arg(strange).status();
    assert!(guest.netns.run(alias).unwrap().unwrap().success());
    assert_eq!(home.news(Some(guest.nsid), a).name, "??A");
    let names: Vec<_> = guest.rtnl.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "b", "??A"]);
    guest.rtnl.set_up(a, true).unwrap();
    let events = home.events();
    assert!(!events.is_empty() && !events.iter().any(|event| matches!(event, Event::Lost)));
    all_groups(&guest.netns).unwrap();
}

#[test]
fn every_change_in_another_namespace_is_an_event_with_its_id() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let mut other = home.guest();
    let mut guest = home.guest();
    pair(&mut other.rtnl);
    every_change_is_news(&mut home, &mut guest.rtnl, Some(guest.nsid));
}

#[test]
fn events_of_the_own_namespace_stay_without_an_id() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    home.rtnl.nsid(&home.netns).unwrap();
    home.events();
    let (a, _) = pair(&mut home.rtnl);
    home.news(None, a);
    // The same holds for a monitor that is opened later.
    home.monitor = home.netns.run(Monitor::open).unwrap().unwrap();
    home.rtnl.set_mtu(a, 1300).unwrap();
    home.news(None, a);
}

#[test]
fn a_namespace_without_an_id_is_not_heard() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let stranger = Netns::create().unwrap();
    let mut there = Rtnl::open_in(&stranger).unwrap();
    let (a, _) = pair(&mut there);
    assert!(home.events().is_empty());
    let nsid = home.rtnl.nsid(&stranger).unwrap();
    there.set_mtu(a, 1300).unwrap();
    assert_eq!(home.news(Some(nsid), a).mtu, 1300);
}

#[test]
fn promiscuity_that_no_flag_shows_is_an_event() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let mut guest = home.guest();
    let (a, _) = pair(&mut guest.rtnl);
    guest.rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    let bridge = guest.rtnl.link("sw").unwrap().unwrap().index;
    home.events();
    guest.rtnl.set_master(a, Some(bridge)).unwrap();
    let link = home.news(Some(guest.nsid), a);
    assert_eq!(link.master, Some(bridge));
    assert!(link.is_promiscuous());
    assert!(!link.flags.contains(LinkFlags::Promisc));
}

#[test]
fn a_port_that_leaves_a_bridge_is_not_gone() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let (a, _) = pair(&mut home.rtnl);
    home.rtnl.add_bridge("sw", &BridgeOptions::default()).unwrap();
    let bridge = home.rtnl.link("sw").unwrap().unwrap().index;
    home.rtnl.set_master(a, Some(bridge)).unwrap();
    home.events();
    home.rtnl.set_master(a, None).unwrap();
    let events = home.events();
    assert!(!events.is_empty());
    for event in events {
        assert!(matches!(event, Event::LinkNew { .. }), "{event:?}");
    }
}

#[test]
fn a_move_is_an_event_in_both_namespaces() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    // Makes the ids differ: id 0 means another namespace for `second` than for `home`.
    let _first = home.guest();
    let mut second = home.guest();
    let third = home.guest();
    let (a, _) = pair(&mut home.rtnl);
    home.events();

    home.rtnl.set_netns(a, &second.netns).unwrap();
    let there = second.rtnl.link("a").unwrap().unwrap().index;
    let moved = MovedTo { nsid: second.nsid, index: Some(there) };
    let events = home.events();
    assert_eq!(departure(&events), Some((None, a, moved)), "{events:?}");
    assert!(arrived(&events, second.nsid, there), "{events:?}");

    second.rtnl.set_netns(there, &third.netns).unwrap();
    let beyond = Rtnl::open_in(&third.netns).unwrap().link("a").unwrap();
    let beyond = beyond.unwrap().index;
    let moved = MovedTo {
        nsid: second.rtnl.known_nsid(&third.netns).unwrap().unwrap(),
        index: Some(beyond),
    };
    assert_ne!(moved.nsid, third.nsid, "the numbers were to differ");
    let events = home.events();
    let left = Some((Some(second.nsid), there, moved));
    assert_eq!(departure(&events), left, "{events:?}");
    assert!(arrived(&events, third.nsid, beyond), "{events:?}");
}

/// The only interface that moved: from which namespace, its index, and the new namespace.
fn departure(events: &[Event]) -> Option<(Option<i32>, u32, MovedTo)> {
    events.iter().find_map(|event| match event {
        Event::LinkGone { nsid, index, moved_to: Some(moved), .. } => Some((*nsid, *index, *moved)),
        _ => None,
    })
}

fn arrived(events: &[Event], at: i32, which: u32) -> bool {
    events.iter().any(|event| {
        matches!(event, Event::LinkChanged { nsid, index, .. } if *nsid == at && *index == which)
    })
}

#[test]
fn a_namespace_dies_although_it_is_watched() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let guest = home.guest();
    let nsid = guest.nsid;
    // One end of the pair stays at home: it goes when the namespace really ends.
    home.rtnl.add_veth("a", "b", Some(&guest.netns)).unwrap();
    let a = home.rtnl.link("a").unwrap().unwrap().index;
    home.events();
    drop(guest);
    let mut gone = home.wait_for(|event| matches!(event, Event::NamespaceGone { .. }));
    if !gone.iter().any(|event| is_gone(event, a)) {
        gone.extend(home.wait_for(|event| is_gone(event, a)));
    }
    assert!(
        gone.iter().any(|event| matches!(event, Event::NamespaceGone { nsid: id } if *id == nsid)),
        "{gone:?}"
    );
    assert!(home.rtnl.within(nsid).links().is_err());
}

fn is_gone(event: &Event, which: u32) -> bool {
    matches!(event, Event::LinkGone { nsid: None, index, .. } if *index == which)
}

#[test]
fn ids_of_other_namespaces_are_not_confused_with_own_ids() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let mut guest = home.guest();
    let victim = home.guest();
    // The guest has an id for the victim, too, and is notified of its end at the same time.
    let theirs = guest.rtnl.nsid(&victim.netns).unwrap();
    let ours = victim.nsid;
    assert_ne!(theirs, ours, "the numbers were to differ");
    home.rtnl.add_veth("a", "b", Some(&victim.netns)).unwrap();
    let a = home.rtnl.link("a").unwrap().unwrap().index;
    home.events();
    drop(victim);
    // The veth goes last, so by then all namespaces have been notified.
    let gone: Vec<_> = home
        .wait_for(|event| is_gone(event, a))
        .into_iter()
        .filter_map(|event| match event {
            Event::NamespaceGone { nsid } => Some(nsid),
            _ => None,
        })
        .collect();
    assert_eq!(gone, [ours]);
}

#[test]
fn joining_and_leaving_a_group_is_heard() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    if !home.monitor.reports_groups() {
        return skip("this kernel does not tell of groups");
    }
    let mut guest = home.guest();
    let (a, b) = pair(&mut guest.rtnl);
    set_sysctl(&guest.netns, "ipv6/conf/a/accept_dad", "0").unwrap();
    guest.rtnl.set_up(b, true).unwrap();
    guest.rtnl.set_up(a, true).unwrap();
    let own: Ipv4Addr = "10.1.0.1".parse().unwrap();
    guest.rtnl.add_address(a, own.into(), 24).unwrap();
    let socket = |place: &str| guest.netns.run(|| UdpSocket::bind(place)).unwrap().unwrap();
    let (v4, v6) = (socket("0.0.0.0:0"), socket("[::]:0"));
    home.events();
    let changed = Some((Some(guest.nsid), a));

    let group: Ipv4Addr = "239.1.2.3".parse().unwrap();
    let mac = "01:00:5e:01:02:03".parse().unwrap();
    v4.join_multicast_v4(&group, &own).unwrap();
    assert_eq!(home.groups_changed(), changed, "joined IPv4");
    assert!(joined_groups(&guest.netns, a).unwrap().contains(&mac));
    v4.leave_multicast_v4(&group, &own).unwrap();
    assert_eq!(home.groups_changed(), changed, "left IPv4");
    assert!(!joined_groups(&guest.netns, a).unwrap().contains(&mac));
    let group: Ipv6Addr = "ff02::1234".parse().unwrap();
    let mac = "33:33:00:00:12:34".parse().unwrap();
    v6.join_multicast_v6(&group, a).unwrap();
    assert_eq!(home.groups_changed(), changed, "joined IPv6");
    assert!(joined_groups(&guest.netns, a).unwrap().contains(&mac));
    v6.leave_multicast_v6(&group, a).unwrap();
    assert_eq!(home.groups_changed(), changed, "left IPv6");
}

impl Home {
    fn groups_changed(&mut self) -> Option<(Option<i32>, u32)> {
        self.events().into_iter().find_map(|event| match event {
            Event::GroupsChanged { nsid, index } => Some((nsid, index)),
            _ => None,
        })
    }
}

#[test]
fn a_monitor_that_is_not_read_reports_lost_events() {
    if !root_or_skip() {
        return;
    }
    let mut home = Home::new();
    let (a, _) = pair(&mut home.rtnl);
    for round in 0..4000 {
        home.rtnl.set_mtu(a, 1280 + round % 2).unwrap();
    }
    let mut events = home.events();
    while home.monitor.wait(Duration::ZERO).unwrap() {
        events.extend(home.events());
    }
    assert!(events.iter().any(|event| matches!(event, Event::Lost)));
    // After that it receives events again.
    home.rtnl.set_mtu(a, 1400).unwrap();
    assert_eq!(home.news(None, a).mtu, 1400);
}

/// Ending a namespace takes the kernel a fraction of a second; the limit is for a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);
