//! Unicast addresses that the stack behind a sub-interface adds to its interface are delivered.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use umacvlan_core::options::PortIo;
use umacvlan_core::{MacAddr, Mode};
use umacvlan_engine::engine::{Event, SubStatus};
use umacvlan_sys::address_filter::Membership;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_testkit::root_or_skip;

use common::{Lab, Place, frame, mac, reaches, until};

/// An address that two stacks add, as two routers that share a virtual one do.
const VIRTUAL: MacAddr = MacAddr::new([0, 0, 0x5e, 0, 1, 7]);

/// Adds an address to the filter of an interface as a macvlan on top of it does (`dev_uc_add`): the
/// kernel reports it by no event. It is there as long as the socket.
fn add(place: &mut Place, name: &str, address: MacAddr) -> PacketSocket {
    let index = place.index(name);
    let socket = place.netns.run(|| PacketSocket::open(index, 1500)).unwrap().unwrap();
    socket.join(Membership::Unicast(address)).unwrap();
    socket
}

fn has(address: MacAddr) -> impl Fn(&SubStatus) -> bool {
    move |sub| sub.secondary == [address]
}

#[test]
fn an_added_address_is_delivered_once_its_stack_speaks() {
    if !root_or_skip() {
        return;
    }
    for workers in [1, 2] {
        let lab = Lab::with(PortIo::Auto, workers);
        let (mut guest, other) = (Place::new(), Place::new());
        lab.add("s1", 1, Mode::Bridge, &guest);
        lab.add("s2", 2, Mode::Bridge, &other);
        let _added = add(&mut guest, "s1", mac(9));
        let (near, sibling) = (guest.socket("s1"), other.socket("s2"));
        let far = lab.far.socket("x0");
        // Its first frame is for a group: an ARP request, say.
        reaches(&near, &far, &frame(MacAddr::BROADCAST, mac(9), 1));
        lab.changed("an address was added", "s1", has(mac(9)));
        reaches(&far, &near, &frame(mac(9), mac(0xff), 2));
        reaches(&sibling, &near, &frame(mac(9), mac(2), 3));
    }
}

#[test]
fn an_address_of_two_stacks_belongs_to_the_first_and_then_to_the_next() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let (mut guest, mut other) = (Place::new(), Place::new());
    let index = lab.add("s1", 1, Mode::Private, &guest).index;
    lab.add("s2", 2, Mode::Vepa, &other);
    let (one, two) = (guest.socket("s1"), other.socket("s2"));
    let far = lab.far.socket("x0");
    let announce = frame(MacAddr::BROADCAST, VIRTUAL, 1);
    let _first = add(&mut guest, "s1", VIRTUAL);
    reaches(&one, &far, &announce);
    lab.changed("the first has the address", "s1", has(VIRTUAL));

    let second = add(&mut other, "s2", VIRTUAL);
    reaches(&two, &far, &announce);
    let in_use = |what: &str| what.starts_with("s2") && what.contains(&VIRTUAL.to_string());
    lab.event("the second waits", |event| match event {
        Event::Trouble { what, .. } => in_use(what),
        _ => false,
    });
    let to_it = frame(VIRTUAL, mac(0xff), 2);
    reaches(&far, &one, &to_it);
    assert!(lab.sub("s2").secondary.is_empty());

    guest.rtnl.set_up(index, false).unwrap();
    reaches(&far, &two, &to_it);
    assert!(has(VIRTUAL)(&lab.sub("s2")));
    drop(second);
    until("an address that was removed", || lab.sub("s2").secondary.is_empty());
}

#[test]
fn an_added_address_is_one_that_no_other_link_may_have() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let (mut guest, mut other) = (Place::new(), Place::new());
    lab.add("s1", 1, Mode::Bridge, &guest);
    let index = lab.add("s2", 2, Mode::Bridge, &other).index;
    let _added = add(&mut guest, "s1", mac(9));
    let far = lab.far.socket("x0");
    reaches(&guest.socket("s1"), &far, &frame(MacAddr::BROADCAST, mac(9), 1));
    lab.changed("an address was added", "s1", has(mac(9)));
    other.rtnl.set_mac(index, mac(9)).unwrap();
    lab.event(
        "the same address is reverted",
        |event| matches!(event, Event::Reverted { sub, .. } if sub == "s2"),
    );
    other.until("its old address", "s2", |link| link.mac == Some(mac(2)));
}
