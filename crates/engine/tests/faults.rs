//! Parents, namespaces and interfaces that disappear under a running engine.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "faults/announce.rs"]
mod announce;
mod common;
#[path = "faults/crowd.rs"]
mod crowd;
#[path = "faults/failed_worker.rs"]
mod failed_worker;
#[path = "faults/traffic.rs"]
mod traffic;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;
use umacvlan_core::WorkerStats;
use umacvlan_core::options::PortIo;

use umacvlan_core::Mode;
use umacvlan_engine::engine::{Event, ParentOptions, UplinkKind};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, frame, mac, reaches, until, wire};
use traffic::Traffic;

/// A lock that every test shares, and that the measuring one holds alone.
static ALONE: RwLock<()> = RwLock::new(());

const BOTH: [PortIo; 2] = [PortIo::Uring, PortIo::Plain];

fn together() -> RwLockReadGuard<'static, ()> {
    ALONE.read().unwrap_or_else(PoisonError::into_inner)
}

fn gone(name: &str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::SubGone { sub, .. } if sub == name)
}

#[test]
fn sub_interfaces_survive_their_parent() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let mut lab = Lab::new(io);
        let mut guest = Place::new();
        lab.add("s1", 1, Mode::Bridge, &guest);
        let parent = lab.host.index(PARENT);
        lab.host.rtnl.delete(parent).unwrap();
        lab.event("parent gone", |event| matches!(event, Event::ParentGone { .. }));
        guest.until("no carrier", "s1", |link| link.is_up() && !link.is_running());
        let status = lab.parent();
        assert!(!status.present && !status.carrier && status.subs[0].up);
        assert_eq!(status.uplink.kind, UplinkKind::None);

        wire(&mut lab.host, &lab.far);
        lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
        guest.until("a carrier again", "s1", Link::is_running);
        let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
        reaches(&near, &far, &frame(mac(0xff), mac(1), 2));
        lab.host.until("promiscuous again", PARENT, |link| link.promiscuity > 0);
        assert!(lab.parent().present && lab.counters().is_balanced());
        assert_eq!(lab.parent().uplink.kind, UplinkKind::AfPacket);
    }
}

/// The worker's activity over a period in which nothing happens.
fn while_idle(lab: &Lab) -> WorkerStats {
    let before = lab.counters().turns;
    thread::sleep(Duration::from_millis(300));
    let mut turns = lab.counters().turns;
    turns.turns -= before.turns;
    turns.sleeps -= before.sleeps;
    turns.asleep -= before.asleep;
    turns.spinning -= before.spinning;
    turns.busy -= before.busy;
    turns
}

#[test]
fn a_parent_that_is_down_costs_nothing_and_comes_back() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let mut lab = Lab::new(io);
        let guest = Place::new();
        lab.add("s1", 1, Mode::Bridge, &guest);
        let (near, far) = (guest.socket("s1"), lab.far.socket("x0"));
        reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
        let parent = lab.host.index(PARENT);
        for _ in 0..3 {
            lab.forget();
            lab.host.rtnl.set_up(parent, false).unwrap();
            lab.event("parent down", |event| matches!(event, Event::Carrier { on: false, .. }));
            let idle = while_idle(&lab);
            eprintln!("{io:?}, parent down, idle: {idle:?}");
            // A worker that spins makes a hundred thousand turns in this time.
            assert!(idle.sleeps < 100 && idle.turns < 20_000, "{idle:?}");
            assert!(idle.asleep > idle.spinning + idle.busy, "{idle:?}");

            lab.host.rtnl.set_up(parent, true).unwrap();
            lab.event("parent up", |event| matches!(event, Event::Carrier { on: true, .. }));
            reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
            reaches(&near, &far, &frame(mac(0xff), mac(1), 2));
        }
        assert!(lab.counters().is_balanced());
    }
}

#[test]
fn a_namespace_that_ends_takes_its_sub_interface_along() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let mut lab = Lab::new(io);
        let traffic = Traffic::start(&lab);
        let doomed = Place::new();
        let status = lab.add("s9", 9, Mode::Bridge, &doomed);
        let nsid = status.nsid.unwrap();
        assert!(lab.host.rtnl.within(nsid).link("s9").unwrap().is_some());
        // The last reference to it: no process lives there, and the engine only watches.
        drop(doomed);
        lab.event("namespace ended, sub-interface gone", gone("s9"));
        until("the namespace is dead", || lab.host.rtnl.within(nsid).link("lo").is_err());
        assert!(lab.parent().subs.iter().all(|sub| sub.name != "s9"));
        traffic.ends_whole(&lab);
    }
}

#[test]
fn deleting_an_interface_removes_its_sub_interface() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let lab = Lab::new(io);
        let traffic = Traffic::start(&lab);
        let mut guest = Place::new();
        for up in [true, false] {
            let status = lab.add("s9", 9, Mode::Bridge, &guest);
            guest.rtnl.set_up(status.index, up).unwrap();
            guest.rtnl.delete(status.index).unwrap();
            lab.event(&format!("deleted, up: {up}"), gone("s9"));
            assert!(lab.parent().subs.iter().all(|sub| sub.name != "s9"));
        }
        // Its name and its address are free again.
        lab.add("s9", 9, Mode::Bridge, &guest);
        traffic.ends_whole(&lab);
    }
}

#[test]
fn other_subs_lose_nothing_while_one_comes_and_goes() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let lab = Lab::new(io);
        let traffic = Traffic::start(&lab);
        let guest = Place::new();
        for _ in 0..20 {
            lab.add("s9", 9, Mode::Bridge, &guest);
            lab.engine().remove_sub(lab.number("s9")).unwrap();
        }
        traffic.ends_whole(&lab);
    }
}

#[test]
fn other_subs_lose_nothing_while_many_come_and_go() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let mut lab = Lab::new(io);
        let traffic = Traffic::start(&lab);
        lab.host.rtnl.add_veth("p1", "x1", None).unwrap();
        let options = ParentOptions { name: "p1".to_owned(), ..ParentOptions::default() };
        lab.engine().add_parent(options).unwrap();
        let guest = Place::new();
        let modes = [Mode::Bridge, Mode::Vepa, Mode::Private, Mode::Source];
        let add = |n: u8| lab.add(&format!("o{n}"), n, modes[usize::from(n) % 4], &guest).number;
        let others: Vec<_> = (1..=50).map(add).collect();
        for number in others {
            lab.engine().remove_sub(number).unwrap();
        }
        lab.engine().remove_parent("p1").unwrap();
        traffic.ends_whole(&lab);
    }
}

#[test]
fn dropping_the_engine_removes_everything_at_once() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for io in BOTH {
        let mut lab = Lab::new(io);
        let guest = Place::new();
        for n in 1..=8 {
            lab.add(&format!("a{n}"), n, Mode::Bridge, &guest);
            lab.add(&format!("b{n}"), n + 100, Mode::Vepa, &lab.host);
        }
        lab.host.until("promiscuous", PARENT, |link| link.promiscuity > 0);
        drop(lab.engine.take());
        let names = |netns| {
            let links = Rtnl::open_in(netns).unwrap().links().unwrap();
            links.into_iter().map(|link| link.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&guest.netns), ["lo"], "{io:?}");
        assert_eq!(names(&lab.host.netns), ["lo", PARENT], "{io:?}");
        assert_eq!(lab.host.link(PARENT).promiscuity, 0, "{io:?}");
    }
}
