//! The namespaces and the monitor work for a user who is not root, inside a user namespace.
//!
//! A program of its own and not a test among others: only a process with a single thread may enter
//! a user namespace, and the test harness starts threads.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use umacvlan_core::MacAddr;
use umacvlan_netlink::{Event, Monitor, Rtnl, joined_groups, set_sysctl};
use umacvlan_sys::netns::{Netns, enter_user_namespace};
use umacvlan_testkit::skip;

fn main() {
    let outside = Netns::current().unwrap().id();
    if let Err(why) = enter_user_namespace() {
        return skip(&why.to_string());
    }
    assert_ne!(Netns::current().unwrap().id(), outside);

    let mut monitor = Monitor::open().unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    let guest = Netns::create().unwrap();
    let nsid = rtnl.nsid(&guest).unwrap();
    rtnl.add_veth("a", "b", Some(&guest)).unwrap();
    let b = change_inside(&guest);

    let events = events(&mut monitor);
    let heard = events.iter().any(|event| {
        matches!(event, Event::LinkChanged { nsid: at, index, .. } if (*at, *index) == (nsid, b))
    });
    assert!(heard, "{events:?}");
    let there = rtnl.within(nsid).link("b").unwrap().unwrap();
    assert!(there.is_up() && there.mac == Some(MAC));
    assert!(!joined_groups(&guest, b).unwrap().is_empty());

    drop(guest);
    let ended = |event: &Event| matches!(event, Event::NamespaceGone { nsid: id } if *id == nsid);
    while !self::events(&mut monitor).iter().any(ended) {
        assert!(monitor.wait(PATIENCE).unwrap(), "the namespace lives on");
    }
    println!("rootless: ok");
}

/// Visits the guest and changes its interface; the visit ends here.
fn change_inside(guest: &Netns) -> u32 {
    set_sysctl(guest, "ipv6/conf/b/accept_dad", "0").unwrap();
    let mut there = Rtnl::open_in(guest).unwrap();
    let b = there.link("b").unwrap().unwrap().index;
    there.set_mac(b, MAC).unwrap();
    there.set_up(b, true).unwrap();
    b
}

fn events(monitor: &mut Monitor) -> Vec<Event> {
    let mut events = Vec::new();
    monitor.read(|event| events.push(event)).unwrap();
    events
}

const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0x55]);
/// Ending a namespace takes the kernel a fraction of a second; the limit is for a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);
