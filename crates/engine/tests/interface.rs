//! Sub-interfaces whose far end is a program behind an interface: a TAP that it opens by its name, or an
//! interface that is there already.
#![cfg(feature = "af-xdp")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::os::fd::AsFd;
use std::time::Instant;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::options::{PortIo, ProgramKind};
use umacvlan_core::{DropReason, MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::engine::{
    Event, FormerInterface, LinkAttribute, ParentOptions, ProgramPlace, ProgramPort, SubOptions,
    SubStatus,
};
use umacvlan_engine::error::Error;
use umacvlan_netlink::{BridgeOptions, Link, LinkFlags, set_sysctl};
use umacvlan_sys::poll::{self, Interest};
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, PATIENCE, Place, frame, mac, next, reaches, send, until};

/// A program that has a TAP open.
struct Program(Tap);

impl Program {
    fn open(lab: &Lab, name: &str) -> Self {
        let tap = lab.host.netns.run(|| Tap::attach(name)).unwrap().unwrap();
        tap.set_carrier(true).unwrap();
        until("the carrier", || lab.sub(name).link.is_running());
        Self(tap)
    }

    fn send(&self, frame: &[u8]) {
        self.0.send(&[&[0; VNET_LEN][..], frame].concat()).unwrap();
    }

    /// The next frame, or `None` if none arrives in time.
    fn next(&self) -> Option<Vec<u8>> {
        let mut unit = [0; 70_000];
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(len) = self.0.recv(&mut unit).unwrap() {
                return Some(unit[VNET_LEN..len].to_vec());
            }
            let left = end.saturating_duration_since(Instant::now());
            if poll::wait(&mut [Interest::readable(self.0.as_fd())], left).unwrap() == 0 {
                return None;
            }
        }
    }

    fn wait_for(&self, frame: &[u8]) {
        while self.next().expect("no frame arrives") != frame {}
    }
}

fn options(kind: ProgramKind, interface: &str, name: &str, n: u8) -> SubOptions {
    let place = ProgramPlace::Interface { name: interface.to_owned(), former: None };
    SubOptions {
        name: name.to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(Mode::Bridge),
        program: Some(ProgramPort { kind, place, owner: SocketOwner::default() }),
        up: true,
        ..SubOptions::default()
    }
}

fn add_tap(lab: &Lab, name: &str, n: u8) -> SubStatus {
    lab.engine().add_sub(PARENT, options(ProgramKind::Tap, name, name, n)).unwrap()
}

fn add_dev(lab: &Lab, interface: &str, name: &str, n: u8) -> Result<SubStatus, Error> {
    lab.engine().add_sub(PARENT, options(ProgramKind::Dev, interface, name, n))
}

/// A veth pair whose one end is in the engine's namespace, down, and the other, `v0`, in another one.
fn veth(lab: &mut Lab) -> Place {
    let mut guest = Place::new();
    lab.host.rtnl.add_veth("h0", "v0", Some(&guest.netns)).unwrap();
    let inside = guest.index("v0");
    guest.rtnl.set_mac(inside, mac(5)).unwrap();
    guest.rtnl.set_up(inside, true).unwrap();
    guest
}

fn ended(sub: &SubStatus) -> String {
    sub.program.as_ref().and_then(|program| program.ended.clone()).unwrap_or_default()
}

fn forwards(io: PortIo) {
    let (mut lab, place) = (Lab::new(io), Place::new());
    lab.add("tap", 9, Mode::Bridge, &place);
    let (tap, wire) = (place.socket("tap"), lab.far.socket("x0"));
    let made = add_tap(&lab, "vm1", 1);
    assert!(!made.link.is_running() && made.all_groups, "nobody has opened it");
    assert_eq!((made.mac, made.index), (mac(1), 0), "its address is not that of the TAP");
    assert_eq!(made.program.unwrap().interface, lab.host.index("vm1"));
    let link = lab.host.link("vm1");
    assert!(link.is_up() && link.persist == Some(true) && link.flags.contains(LinkFlags::Noarp));
    let one = Program::open(&lab, "vm1");

    let sent = frame(mac(9), mac(1), 1);
    one.send(&sent);
    assert_eq!(next(&tap, PATIENCE), Some(1));
    let answer = frame(mac(1), mac(9), 2);
    send(&tap, &answer);
    one.wait_for(&answer);
    one.send(&frame(mac(0xff), mac(1), 3));
    assert_eq!(next(&wire, PATIENCE), Some(3));
    let from_wire = frame(mac(1), mac(0xff), 4);
    send(&wire, &from_wire);
    one.wait_for(&from_wire);
    one.send(&frame(MacAddr::BROADCAST, mac(1), 5));
    assert_eq!((next(&tap, PATIENCE), next(&wire, PATIENCE)), (Some(5), Some(5)));
    // The kernel has taken the tag out, and it is put back.
    let mut tagged = frame(mac(9), mac(1), 6);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let mut other = Program::open(&lab, {
        add_tap(&lab, "vm2", 2);
        "vm2"
    });
    tagged[..6].copy_from_slice(&mac(2).octets());
    one.send(&tagged);
    other.wait_for(&tagged);
    // Many at once keep their order.
    for number in 0..300 {
        one.send(&frame(mac(2), mac(1), number));
    }
    for number in 0..300 {
        assert_eq!(other.next().unwrap(), frame(mac(2), mac(1), number));
    }
    // A program may end and come back; what comes meanwhile is lost.
    drop(one);
    until("the end of the carrier", || !lab.sub("vm1").link.is_running());
    let one = Program::open(&lab, "vm1");
    one.send(&frame(mac(2), mac(1), 400));
    other.wait_for(&frame(mac(2), mac(1), 400));
    // One that does not read loses frames, and nobody else does.
    let full = || lab.counters().subs[1].1.lost[DropReason::Full];
    until("its queue to be full", || {
        (0..64).for_each(|number| other.send(&frame(mac(1), mac(2), number)));
        full() > 0
    });
    reaches(&wire, &tap, &frame(mac(9), mac(0xff), 7));
    until("the balance", || lab.counters().is_balanced());

    lab.engine().remove_sub(lab.number("vm1")).unwrap();
    assert!(lab.host.find("vm1").is_none());
    // Somebody deletes the other one.
    let index = lab.host.index("vm2");
    lab.host.rtnl.delete(index).unwrap();
    lab.event("the end", |event| matches!(event, Event::SubGone { sub, .. } if sub == "vm2"));
    other = {
        add_tap(&lab, "vm2", 2);
        Program::open(&lab, "vm2")
    };
    other.send(&frame(mac(9), mac(2), 8));
    assert_eq!(next(&tap, PATIENCE), Some(8));
}

#[test]
fn programs_with_a_tap_others_and_the_wire_reach_each_other_by_io_uring() {
    if root_or_skip() {
        forwards(PortIo::Auto);
    }
}

#[test]
fn programs_with_a_tap_others_and_the_wire_reach_each_other_by_system_calls() {
    if root_or_skip() {
        forwards(PortIo::Plain);
    }
}

#[test]
fn an_interface_that_is_there_is_used_and_given_back_as_it_was() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let guest = veth(&mut lab);
    let (inside, wire) = (guest.socket("v0"), lab.far.socket("x0"));
    let before = lab.host.link("h0");
    assert!(!before.is_up());
    add_dev(&lab, "h0", "vm1", 5).unwrap();
    until("the carrier", || lab.sub("vm1").link.is_running());
    reaches(&inside, &wire, &frame(mac(0xff), mac(5), 1));
    reaches(&wire, &inside, &frame(mac(5), mac(0xff), 2));
    assert!(lab.host.link("h0").promiscuity > 0);
    // Its carrier is that of the interface.
    let mut there = guest;
    let index = there.index("v0");
    there.rtnl.set_up(index, false).unwrap();
    until("no carrier", || !lab.sub("vm1").link.is_running());
    there.rtnl.set_up(index, true).unwrap();
    until("the carrier again", || lab.sub("vm1").link.is_running());
    reaches(&there.socket("v0"), &wire, &frame(mac(0xff), mac(5), 3));

    lab.engine().remove_sub(lab.number("vm1")).unwrap();
    let after = lab.host.link("h0");
    let state = |link: &Link| (link.flags, link.promiscuity, link.mtu, link.mac, link.txqlen);
    assert_eq!(state(&after), state(&before));
    // With another one that was up it stays so.
    let index = lab.host.index("h0");
    lab.host.rtnl.set_up(index, true).unwrap();
    add_dev(&lab, "h0", "vm1", 5).unwrap();
    lab.engine().remove_sub(lab.number("vm1")).unwrap();
    assert!(lab.host.link("h0").is_up());
}

#[test]
fn an_interface_that_goes_and_comes_back_is_used_again() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let guest = veth(&mut lab);
    add_dev(&lab, "h0", "vm1", 5).unwrap();
    until("the carrier", || lab.sub("vm1").link.is_running());
    drop(guest);
    until("its end", || ended(&lab.sub("vm1")).contains("gone"));
    let wire = lab.far.socket("x0");
    send(&wire, &frame(mac(5), mac(0xff), 1));
    until("nobody to be there", || lab.counters().subs[0].1.lost[DropReason::Down] == 1);
    let guest = veth(&mut lab);
    until("the carrier again", || lab.sub("vm1").link.is_running());
    reaches(&guest.socket("v0"), &wire, &frame(mac(0xff), mac(5), 2));
    // Also after its worker was replaced.
    lab.engine().run_on_worker(PARENT, 0, || panic!("a test")).unwrap();
    let connections = || {
        // There is no status while its worker is being replaced.
        let parents = lab.engine().status().unwrap();
        let subs = parents.into_iter().flat_map(|parent| parent.subs);
        subs.filter_map(|sub| sub.program).map(|program| program.connections).next()
    };
    until("another socket", || connections() == Some(3));
    reaches(&guest.socket("v0"), &wire, &frame(mac(0xff), mac(5), 3));
}

#[test]
fn what_cannot_be_an_interface_of_a_program_is_refused_with_its_reason() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let _guest = veth(&mut lab);
    add_tap(&lab, "vm1", 1);
    let here = lab.host.netns.try_clone().unwrap();
    lab.add("mine", 9, Mode::Bridge, &Place { netns: here, rtnl: Place::new().rtnl });
    for (interface, why, errno) in [
        ("nothing", "does not exist", libc::ENODEV),
        (PARENT, "is a parent of links", libc::EBUSY),
        ("mine", "is that of another link", libc::EBUSY),
        ("vm1", "is that of another link", libc::EBUSY),
        ("lo", "does not carry Ethernet frames", libc::EINVAL),
    ] {
        let error = add_dev(&lab, interface, "vm2", 2).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.errno(), Some(errno), "{error}");
    }
    let ends = lab.engine().add_sub(PARENT, options(ProgramKind::Tap, "h0", "h0", 2));
    assert_eq!(ends.unwrap_err().errno(), Some(libc::EEXIST));
    assert!(lab.host.find("h0").is_some());
    // Not every kernel has bridges.
    if lab.host.rtnl.add_bridge("br0", &BridgeOptions::default()).is_ok() {
        let (port, bridge) = (lab.host.index("h0"), lab.host.index("br0"));
        lab.host.rtnl.set_master(port, Some(bridge)).unwrap();
        let error = add_dev(&lab, "h0", "vm2", 2).unwrap_err();
        assert!(error.to_string().contains("is a port of another interface br0"), "{error}");
        lab.host.rtnl.set_master(port, None).unwrap();
    }
    add_dev(&lab, "h0", "vm2", 2).unwrap();
    // Nor can a parent be on it.
    let parent = ParentOptions { name: "h0".to_owned(), ..ParentOptions::default() };
    let error = lab.engine().add_parent(parent).unwrap_err();
    assert!(error.to_string().contains("is the interface of a link"), "{error}");
    for attribute in [LinkAttribute::Name("vm3".to_owned()), LinkAttribute::Mtu(9000)] {
        assert!(lab.engine().set_link(lab.number("vm2"), vec![attribute]).is_err());
    }
    assert_eq!(lab.parent().subs.len(), 3);
}

#[test]
fn a_tap_outlives_the_engine_with_its_program_and_the_next_one_serves_it() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    add_tap(&lab, "vm1", 1);
    lab.engine().keep_sub(lab.number("vm1")).unwrap();
    let one = Program::open(&lab, "vm1");
    let index = lab.host.index("vm1");
    lab.start(PortIo::Auto, common::several(1));
    assert_eq!(lab.host.index("vm1"), index);
    let again = |kind, former| {
        let mut options = options(kind, "vm1", "vm1", 1);
        let place = ProgramPlace::Interface { name: "vm1".to_owned(), former };
        options.program = Some(ProgramPort { kind, place, owner: SocketOwner::default() });
        lab.engine().add_sub(PARENT, options)
    };
    let fresh = again(ProgramKind::Tap, None);
    assert_eq!(fresh.unwrap_err().errno(), Some(libc::EEXIST), "it is not new");
    again(ProgramKind::Tap, Some(FormerInterface::default())).unwrap();
    until("the carrier", || lab.sub("vm1").link.is_running());
    let wire = lab.far.socket("x0");
    one.send(&frame(mac(0xff), mac(1), 1));
    assert_eq!(next(&wire, PATIENCE), Some(1));
    assert_eq!(lab.host.index("vm1"), index);
}

#[test]
fn the_host_does_not_answer_for_a_program() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let guest = veth(&mut lab);
    set_sysctl(&lab.host.netns, "ipv4/conf/all/arp_ignore", "0").unwrap();
    let index = lab.host.index(PARENT);
    lab.host.rtnl.add_address(index, "192.0.2.1".parse().unwrap(), 24).unwrap();
    add_dev(&lab, "h0", "vm1", 5).unwrap();
    until("the carrier", || lab.sub("vm1").link.is_running());
    // Who has 192.0.2.1? The host has, and would answer on any interface.
    let mut request = [MacAddr::BROADCAST.octets(), mac(5).octets()].concat();
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend([&mac(5).octets()[..], &[192, 0, 2, 5], &[0; 6], &[192, 0, 2, 1]].concat());
    request.resize(60, 0);
    let answers = {
        let open = || {
            let index = umacvlan_sys::raw_socket::index_of("v0").unwrap();
            umacvlan_sys::raw_socket::open(index, 0x0806)
        };
        guest.netns.run(open).unwrap().unwrap()
    };
    let (inside, wire) = (guest.socket("v0"), lab.far.socket("x0"));
    send(&inside, &request);
    // What is sent behind it has arrived, and so would an answer have.
    reaches(&inside, &wire, &frame(mac(0xff), mac(5), 1));
    reaches(&wire, &inside, &frame(mac(5), mac(0xff), 2));
    let mut buffer = [0; 128];
    while let Some(len) = umacvlan_sys::raw_socket::receive(answers.as_fd(), &mut buffer).unwrap() {
        assert_eq!(buffer[..len], request[..len], "an answer of the host");
    }
}
