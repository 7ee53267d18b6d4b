//! Interfaces that outlive an engine, and the next engine that adopts them.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::thread;
use umacvlan_core::options::PortIo;

use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_core::stats::Counters;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::engine::{Adopt, Event, KeptTap, ParentOptions, SubId, SubOptions, SubStatus};
use umacvlan_engine::{Engine, Error};
use umacvlan_netlink::Link;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, PATIENCE, Place, frame, mac, reaches, several, until};

const BOTH: [PortIo; 2] = [PortIo::Uring, PortIo::Plain];

/// Ways to serve TAPs, and numbers of workers, of the first engine and of the next.
const CHANGES: [(PortIo, [usize; 2]); 6] = [
    (PortIo::Uring, [1, 1]),
    (PortIo::Plain, [1, 1]),
    (PortIo::Uring, [2, 2]),
    (PortIo::Uring, [1, 2]),
    (PortIo::Plain, [2, 1]),
    (PortIo::Plain, [2, 3]),
];

/// Variable with the namespace for the sub-interface of the engine to be killed, and the line that
/// this engine prints when it has made it.
const PLACE: &str = "UMACVLAN_TEST_PLACE";
const KEPT: &str = "kept";

/// The options with which an engine adopts a sub-interface of this status.
fn adopt(status: &SubStatus, netns: &Netns) -> Adopt {
    Adopt {
        tap: place(status.index, netns),
        veth: None,
        number: Some(status.number),
        settings: status.settings.clone(),
        txqlen_max: None,
        netns: None,
        groups: None,
        claims_mac: false,
        held: false,
    }
}

fn place(index: u32, netns: &Netns) -> KeptTap {
    KeptTap::Place { netns: netns.try_clone().unwrap(), index }
}

/// A lab with one kept sub-interface `s1` in a namespace of its own, after the end of its engine.
fn orphan(io: PortIo, workers: usize) -> (Lab, Place, SubStatus) {
    let mut lab = Lab::with(io, workers);
    let guest = Place::new();
    let status = lab.add("s1", 1, Mode::Bridge, &guest);
    lab.engine().keep_sub(status.number).unwrap();
    assert!(lab.sub("s1").kept);
    drop(lab.engine.take());
    (lab, guest, status)
}

/// Sends bytes one way and waits for them at the other end.
fn pass(mut from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(move || from.write_all(bytes).unwrap());
        arrive(to, bytes);
    });
}

fn arrive(mut at: &TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    at.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

/// A connection from one place to another, over their interfaces `s1`.
fn connection(one: &mut Place, two: &mut Place) -> (TcpStream, TcpStream) {
    let ips = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
    for (place, ip) in [(&mut *one, ips[0]), (&mut *two, ips[1])] {
        let index = place.index("s1");
        place.rtnl.add_address(index, ip.into(), 24).unwrap();
        place.until("a carrier", "s1", Link::is_running);
    }
    let listener = two.netns.run(|| TcpListener::bind((ips[1], 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let near = one.netns.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_read_timeout(Some(2 * PATIENCE)).unwrap();
    }
    (near, far)
}

#[test]
fn a_connection_survives_the_engine() {
    if !root_or_skip() {
        return;
    }
    for (io, [before, after]) in CHANGES {
        let mut lab = Lab::with(io, before);
        let mut guests = [Place::new(), Place::new()];
        // The same name in both, since names are unique within a namespace only.
        let subs: Vec<_> =
            (1..).zip(&guests).map(|(n, guest)| lab.add("s1", n, Mode::Bridge, guest)).collect();
        let [one, two] = &mut guests;
        let (near, far) = connection(one, two);
        pass(&near, &far, b"before");
        for sub in &subs {
            lab.engine().keep_sub(sub.number).unwrap();
        }
        drop(lab.engine.take());
        for guest in &mut guests {
            guest.until("no carrier", "s1", |link| link.is_up() && !link.is_running());
        }
        (&near).write_all(b"meanwhile").unwrap();

        lab.start(io, several(after));
        for (sub, guest) in subs.iter().zip(&guests) {
            let status = lab.engine().adopt_sub(PARENT, adopt(sub, &guest.netns)).unwrap();
            assert!(status.up && status.kept, "{status:?}");
            let known =
                |status: &SubStatus| (status.number, status.index, status.mac, status.netns);
            assert_eq!(known(&status), known(sub));
            assert_eq!(status.link.txqlen, TAP_QUEUE_LEN, "the queue is as long as before");
        }
        arrive(&far, b"meanwhile");
        pass(&far, &near, b"after");
        // A GSO packet: offloads and header are as before.
        pass(&near, &far, &vec![7; 1 << 20]);
        let counters = lab.counters();
        assert!(counters.is_balanced(), "{counters:?}");
        let whole = |sent: Counters| sent.bytes > sent.frames * 3000;
        assert!(counters.subs.iter().any(|(_, stats)| whole(stats.received)), "cut to pieces");
        for guest in &mut guests {
            guest.until("a carrier", "s1", Link::is_running);
        }
    }
}

/// Runs in a process of its own: an engine with a kept sub-interface `s1`, until standard input
/// ends.
#[test]
#[ignore = "the one to be killed by an_engine_that_is_killed_leaves_what_it_kept"]
fn engine_to_be_killed() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let engine = Engine::start().unwrap();
    let parent = ParentOptions { name: PARENT.to_owned(), ..several(2) };
    engine.add_parent(parent).unwrap();
    let options = SubOptions {
        name: "s1".to_owned(),
        mac: Some(mac(1)),
        netns: Some(Netns::open(&place).unwrap()),
        up: true,
        ..SubOptions::default()
    };
    engine.keep_sub(engine.add_sub(PARENT, options).unwrap().number).unwrap();
    println!("\n{KEPT}");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn an_engine_that_is_killed_leaves_what_it_kept() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, mut guest) = (Lab::new(PortIo::Auto), Place::new());
    drop(lab.engine.take());
    let (process, descriptor) = (std::process::id(), guest.netns.as_fd().as_raw_fd());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "engine_to_be_killed", "--ignored", "--nocapture"]);
    command.env(PLACE, format!("/proc/{process}/fd/{descriptor}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = lab.host.netns.run(|| command.spawn()).unwrap().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == KEPT), "it ended before its time");
    child.kill().unwrap();
    child.wait().unwrap();

    lab.start(PortIo::Auto, several(2));
    let settings = MacvlanSettings::new(Mode::Vepa);
    let tap = place(guest.index("s1"), &guest.netns);
    let wanted =
        Adopt { tap, number: None, settings, ..adopt(&SubStatus::default(), &guest.netns) };
    let status = lab.engine().adopt_sub(PARENT, wanted).unwrap();
    assert!(status.up && status.mac == mac(1), "{status:?}");
    let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
    reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
    reaches(&near, &far, &frame(mac(0xff), mac(1), 2));
}

#[test]
fn a_sub_is_adopted_with_another_name_address_mtu_and_groups() {
    if !root_or_skip() {
        return;
    }
    for io in BOTH {
        let (mut lab, mut guest, before) = orphan(io, 1);
        guest.rtnl.set_name(before.index, "eth0").unwrap();
        guest.rtnl.set_mac(before.index, mac(9)).unwrap();
        guest.rtnl.set_mtu(before.index, 1400).unwrap();
        guest.rtnl.set_allmulti(before.index, true).unwrap();
        lab.start(io, ParentOptions::default());
        let status = lab.engine().adopt_sub(PARENT, adopt(&before, &guest.netns)).unwrap();
        assert_eq!((status.name.as_str(), status.mac, status.mtu), ("eth0", mac(9), 1400));
        assert!(status.up && status.all_groups, "{status:?}");
        let (near, far) = (guest.socket("eth0"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(9), mac(0xff), 1));
        reaches(&near, &far, &frame(mac(0xff), mac(9), 2));
        reaches(&far, &near, &frame(MacAddr::new([1, 0, 0x5e, 9, 9, 9]), mac(0xff), 3));

        // The adopted interface is followed like any other, and removed with its sub-interface.
        guest.rtnl.set_up(before.index, false).unwrap();
        lab.changed("set down", "eth0", |sub| !sub.up);
        lab.engine().remove_sub(status.number).unwrap();
        assert!(guest.find("eth0").is_none());
    }
}

#[test]
fn kept_queues_find_a_tap_wherever_it_is_and_hold_no_namespace() {
    if !root_or_skip() {
        return;
    }
    for [before, after] in [[1, 1], [2, 2]] {
        let (mut lab, mut guest, mut other) =
            (Lab::with(PortIo::Auto, before), Place::new(), Place::new());
        let status = lab.add("s1", 1, Mode::Bridge, &guest);
        lab.engine().keep_sub(status.number).unwrap();
        let queues = lab.engine().queues(status.number).unwrap();
        assert_eq!(queues.len(), before);
        drop(lab.engine.take());
        guest.rtnl.set_netns_as(status.index, &other.netns, "eth0").unwrap();
        let index = other.index("eth0");
        other.rtnl.set_mac(index, mac(9)).unwrap();
        other.rtnl.set_up(index, true).unwrap();

        lab.start(PortIo::Auto, several(after));
        let queues = queues.into_iter().map(|queue| Tap::from_kept(queue).unwrap()).collect();
        let wanted = Adopt { tap: KeptTap::Queues(queues), ..adopt(&status, &guest.netns) };
        let found = lab.engine().adopt_sub(PARENT, wanted).unwrap();
        assert_eq!((found.netns, found.mac, found.up), (other.netns.id(), mac(9), true));
        assert!(lab.engine().pinned_namespaces().unwrap().is_empty());
        let (near, far) = (other.socket("eth0"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(9), mac(0xff), 1));
        reaches(&near, &far, &frame(mac(0xff), mac(9), 2));
    }
}

#[test]
fn a_tap_that_is_attached_by_name_holds_its_namespace() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, guest, before) = orphan(PortIo::Auto, 1);
    lab.start(PortIo::Auto, ParentOptions::default());
    lab.engine().adopt_sub(PARENT, adopt(&before, &guest.netns)).unwrap();
    assert_eq!(lab.engine().pinned_namespaces().unwrap(), [guest.netns.id()].into());
    lab.engine().remove_sub(before.number).unwrap();
    assert!(lab.engine().pinned_namespaces().unwrap().is_empty());
}

#[test]
fn what_is_no_queue_of_a_tap_is_refused() {
    if !root_or_skip() {
        return;
    }
    for path in ["/dev/null", "/proc/self/exe", umacvlan_sys::tap::TUN_DEVICE] {
        let file = std::fs::File::open(path).unwrap();
        assert!(Tap::from_kept(file.into()).is_err(), "{path}");
    }
    let (lab, mut guest) = (Lab::new(PortIo::Auto), Place::new());
    let status = lab.add("s1", 1, Mode::Bridge, &guest);
    let queue = lab.engine().queues(status.number).unwrap().remove(0);
    guest.rtnl.delete(status.index).unwrap();
    let gone = Tap::from_kept(queue).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::EBADFD));
}

#[test]
fn a_sub_that_is_not_kept_ends_with_the_engine() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let kept = lab.add("s1", 1, Mode::Bridge, &guest);
    lab.add("s2", 2, Mode::Bridge, &guest);
    lab.engine().keep_sub(kept.number).unwrap();
    drop(lab.engine.take());
    assert!(guest.find("s1").is_some() && guest.find("s2").is_none());
    assert_eq!(lab.host.link(PARENT).promiscuity, 0);
}

#[test]
fn a_busy_tap_is_not_adopted() {
    if !root_or_skip() {
        return;
    }
    type Attach = fn(&str) -> std::io::Result<Vec<Tap>>;
    let ways: [(usize, Attach); 2] = [
        (1, |name| Tap::attach(name).map(|tap| vec![tap])),
        (2, |name| Tap::attach_queues(name, 1)),
    ];
    for (workers, attach) in ways {
        let (mut lab, mut guest, before) = orphan(PortIo::Auto, workers);
        // The ring of the first engine may hold it for a moment.
        let mut other = None;
        until("the TAP is free", || {
            other = guest.netns.run(|| attach("s1")).unwrap().ok();
            other.is_some()
        });
        lab.start(PortIo::Auto, several(workers));
        let refused = lab.engine().adopt_sub(PARENT, adopt(&before, &guest.netns)).unwrap_err();
        assert!(matches!(&refused, Error::TapBusy(name) if name == "s1"), "{refused}");
        assert_eq!(refused.errno(), Some(libc::EBUSY));
        assert!(refused.to_string().contains("another process"), "{refused}");
        assert!(lab.parent().subs.is_empty() && guest.link("s1").is_up());
        drop(other);
        lab.engine().adopt_sub(PARENT, adopt(&before, &guest.netns)).unwrap();
    }
}

#[test]
fn the_second_of_two_subs_with_one_address_is_down_until_it_is_free() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, mut guest, before) = orphan(PortIo::Auto, 1);
    let netns = guest.netns.try_clone().unwrap();
    let anew = || Adopt { number: None, ..adopt(&before, &netns) };
    lab.start(PortIo::Auto, ParentOptions::default());
    let other = Place::new();
    lab.add("s2", 1, Mode::Bridge, &other);
    let status = lab.engine().adopt_sub(PARENT, anew()).unwrap();
    assert!(!status.up && status.conflict.is_some(), "{status:?}");
    assert!(!guest.link("s1").is_up());
    assert_eq!(lab.parent().subs.len(), 2);
    lab.engine().remove_sub(lab.number("s2")).unwrap();
    let status = lab.sub("s1");
    assert!(status.up && status.conflict.is_none() && guest.link("s1").is_up(), "{status:?}");
}

#[test]
fn only_a_kept_tap_is_adopted() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    guest.rtnl.add_veth("v0", "v1", None).unwrap();
    let status = lab.add("s1", 1, Mode::Bridge, &guest);
    let indices = [guest.index("v0"), guest.index("lo"), status.index, 4_000];
    for index in indices {
        let wanted =
            Adopt { tap: place(index, &guest.netns), number: None, ..adopt(&status, &guest.netns) };
        let refused = lab.engine().adopt_sub(PARENT, wanted).unwrap_err();
        assert!(matches!(refused, Error::NoTap(_)), "{refused}");
    }
    assert!(guest.find("v0").is_some() && guest.find("s1").is_some());
}

#[test]
fn a_kept_tap_is_recognized_by_its_owner() {
    if !root_or_skip() {
        return;
    }
    let (_lab, mut guest, _) = orphan(PortIo::Auto, 1);
    let kept = guest.link("s1");
    assert_eq!(kept.owner, Some(0), "anybody may attach to it");
    assert!(kept.is_own_persistent_tap());
    // Interfaces as `ip tuntap add` makes them.
    for owner in [None, Some(1000)] {
        assert!(!Link { owner, ..kept.clone() }.is_own_persistent_tap());
    }
}

#[test]
fn a_kept_passthru_goes_on_with_its_parent_s_address() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let before = lab.add("s1", 1, Mode::Passthru, &guest);
    guest.rtnl.set_mac(before.index, mac(8)).unwrap();
    lab.host.until("the parent follows", PARENT, |link| link.mac == Some(mac(8)));
    lab.engine().keep_sub(before.number).unwrap();
    let own_mac = lab.parent().own_mac;
    assert_eq!(own_mac, mac(0));
    drop(lab.engine.take());
    assert_eq!(lab.host.link(PARENT).mac, Some(mac(8)), "it is in use");

    guest.rtnl.set_mac(before.index, mac(9)).unwrap();
    lab.start(PortIo::Auto, ParentOptions { own_mac: Some(own_mac), ..Default::default() });
    let status = lab.engine().adopt_sub(PARENT, adopt(&before, &guest.netns)).unwrap();
    assert_eq!((status.mac, lab.host.link(PARENT).mac), (mac(9), Some(mac(9))));
    lab.engine().remove_sub(status.number).unwrap();
    assert_eq!(lab.host.link(PARENT).mac, Some(mac(0)));
}

#[test]
fn numbers_are_given_by_the_owner_and_never_reused() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let add = |number, name: &str| {
        let name = name.to_owned();
        lab.engine().add_sub(PARENT, SubOptions { number, name, ..Default::default() })
    };
    let seven = add(Some(SubId(7)), "s1").unwrap().number;
    assert_eq!(seven, SubId(7));
    let taken = add(Some(seven), "s2").unwrap_err();
    assert!(matches!(taken, Error::NumberTaken(SubId(7))), "{taken}");
    assert_eq!(add(None, "s2").unwrap().number, SubId(8));
    lab.engine().remove_sub(SubId(8)).unwrap();
    let gone = lab.engine().sub(SubId(8)).unwrap_err();
    assert!(gone.to_string().contains("number 8"), "{gone}");
    assert_eq!(add(None, "s2").unwrap().number, SubId(9));
}

#[test]
fn a_deleted_kept_sub_is_reported_as_gone() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new(PortIo::Auto);
    let mut guest = Place::new();
    let status = lab.add("s1", 1, Mode::Bridge, &guest);
    lab.engine().keep_sub(status.number).unwrap();
    guest.rtnl.delete(status.index).unwrap();
    lab.event(
        "gone",
        |event| matches!(event, Event::SubGone { number, .. } if *number == status.number),
    );
}
