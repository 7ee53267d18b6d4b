//! Several workers for one parent: each flow has one of them, and otherwise they act like one.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../common/mod.rs"]
mod common;
mod flows;
mod queues;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use umacvlan_core::options::PortIo;

use umacvlan_core::Mode;
use umacvlan_engine::engine::{Event, LinkAttribute, ParentStatus, SubChange};
use umacvlan_netlink::Link;
use umacvlan_testkit::root_or_skip;

use common::{Lab, PARENT, Place, mac, several};
use flows::Way;

const BOTH: [PortIo; 2] = [PortIo::Uring, PortIo::Plain];

/// A lab with two sub-interfaces, `t1` and `t2`, and every path between them and the wire, in both
/// directions.
fn triangle(io: PortIo, workers: usize) -> (Lab, [Place; 2], [Way; 4]) {
    let lab = Lab::with(io, workers);
    let guests = [Place::new(), Place::new()];
    lab.add("t1", 1, Mode::Bridge, &guests[0]);
    lab.add("t2", 2, Mode::Bridge, &guests[1]);
    let (far, one, two) = ((&lab.far, "x0", 0xff), (&guests[0], "t1", 1), (&guests[1], "t2", 2));
    let ways = [Way::new(far, one), Way::new(one, far), Way::new(one, two), Way::new(two, one)];
    (lab, guests, ways)
}

/// Asserts that the workers' counters add up to the parent's, and that every frame has a fate.
fn assert_counters_balance(parent: &ParentStatus) {
    let (all, workers) = (&parent.counters, &parent.workers);
    assert!(all.is_balanced(), "{all:#?}");
    let sum = |frames: fn(&umacvlan_core::stats::WireStats) -> u64| -> u64 {
        workers.iter().map(|worker| frames(&worker.wire)).sum()
    };
    assert_eq!(sum(|wire| wire.received.frames), all.wire.received.frames);
    assert_eq!(sum(|wire| wire.sent.frames), all.wire.sent.frames);
    let syscalls: Vec<_> = workers.iter().map(|worker| worker.turns.syscalls).collect();
    assert!(syscalls.iter().all(|&calls| calls > 0), "{syscalls:?}");
    assert_eq!(syscalls.iter().sum::<u64>(), all.turns.syscalls);
    assert_eq!(parent.ring_drops, 0);
}

#[test]
fn every_flow_is_complete_and_in_order_on_any_worker() {
    if !root_or_skip() {
        return;
    }
    for (io, workers) in BOTH.into_iter().flat_map(|io| [(io, 2), (io, 3)]) {
        let (lab, _guests, ways) = triangle(io, workers);
        let stop = AtomicBool::new(false);
        let sent: u32 = thread::scope(|scope| {
            let runs = ways.each_ref().map(|way| scope.spawn(|| way.run(64, 60, &stop)));
            runs.into_iter().map(|run| run.join().unwrap()).sum()
        });
        assert_eq!(sent, 4 * 64 * 60);
        let parent = lab.parent();
        assert_counters_balance(&parent);
        assert_eq!(parent.workers.len(), workers);
        for worker in &parent.workers {
            let (wire, turns) = (&worker.wire, &worker.turns);
            assert!(wire.received.frames > 100 && wire.sent.frames > 100, "idle: {worker:?}");
            assert!(turns.frames > 400, "idle: {worker:?}");
        }
    }
}

/// Ends the traffic, even if a test has failed.
struct End<'s>(&'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The workers that have read frames since `before`.
fn busy(lab: &Lab, before: &ParentStatus) -> Vec<usize> {
    let now = lab.parent();
    let pairs = now.workers.iter().zip(&before.workers).enumerate();
    let grown = pairs.filter(|(_, (now, then))| now.turns.frames > then.turns.frames);
    grown.map(|(number, _)| number).collect()
}

/// The workers of some flows from the wire to `t1`. Each also serves the way back of its flow.
fn owners(lab: &Lab, there: &Way, back: &Way) -> Vec<usize> {
    let owner = |flow| {
        let before = lab.parent();
        // The answer comes first: frames from the wire would teach the TAP its queue for the flow.
        for number in 0..4 {
            back.one(flow, number);
            there.one(flow, number);
        }
        let busy = busy(lab, &before);
        assert_eq!(busy.len(), 1, "flow {flow} has workers {busy:?}");
        busy[0]
    };
    (0..24).map(owner).collect()
}

#[test]
fn one_worker_has_both_directions_of_a_flow_and_keeps_them() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, _guests, [wire_to_one, one_to_wire, one_to_two, two_to_one]) =
        triangle(PortIo::Auto, 2);
    let before = owners(&lab, &wire_to_one, &one_to_wire);
    assert!(before.contains(&0) && before.contains(&1), "{before:?}");
    owners(&lab, &two_to_one, &one_to_two);
    // The kernel removes the sockets from their group, and adds them again.
    let index = lab.host.index(PARENT);
    lab.host.rtnl.set_up(index, false).unwrap();
    lab.event("no carrier", |event| matches!(event, Event::Carrier { on: false, .. }));
    lab.host.rtnl.set_up(index, true).unwrap();
    lab.event("a carrier again", |event| matches!(event, Event::Carrier { on: true, .. }));
    wire_to_one.opens();
    one_to_wire.opens();
    assert_eq!(owners(&lab, &wire_to_one, &one_to_wire), before);
}

#[test]
fn a_parent_that_is_down_gets_its_workers_when_it_comes_up() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, _guests, _) = triangle(PortIo::Auto, 2);
    let index = lab.host.index(PARENT);
    lab.host.rtnl.set_up(index, false).unwrap();
    lab.start(PortIo::Auto, several(2));
    let guest = Place::new();
    lab.add("s1", 1, Mode::Bridge, &guest);
    assert!(lab.parent().present && !lab.parent().carrier);
    lab.host.rtnl.set_up(index, true).unwrap();
    lab.event("a carrier", |event| matches!(event, Event::Carrier { on: true, .. }));
    let (far, one) = ((&lab.far, "x0", 0xff), (&guest, "s1", 1));
    let ways = [Way::new(far, one), Way::new(one, far)];
    ways.iter().for_each(Way::opens);
    for way in &ways {
        way.run(16, 10, &AtomicBool::new(false));
    }
    assert!(lab.parent().workers.iter().all(|worker| worker.wire.received.frames > 0));
    lab.host.until("promiscuous", PARENT, |link: &Link| link.promiscuity > 0);
}

#[test]
fn changes_reach_every_worker_without_loss() {
    if !root_or_skip() {
        return;
    }
    for io in BOTH {
        let (lab, _guests, ways) = triangle(io, 2);
        let guest = Place::new();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let runs = ways.each_ref().map(|way| scope.spawn(|| way.run(16, u32::MAX, &stop)));
            let end = End(&stop);
            for round in 0..5 {
                let sub = lab.add("c1", 10 + round, Mode::Bridge, &guest);
                let engine = lab.engine();
                for change in [SubChange::Mode(Mode::Source), SubChange::AddSource(mac(0x80))] {
                    engine.change_sub(sub.number, vec![change]).unwrap();
                }
                let refused = vec![SubChange::BcQueueLen(5), SubChange::Mode(Mode::Passthru)];
                engine.change_sub(sub.number, refused).unwrap_err();
                assert_eq!(lab.sub("c1").settings.bc_queue_len(), 5);
                let sets = vec![LinkAttribute::Mac(mac(40 + round)), LinkAttribute::Mtu(1400)];
                let set = engine.set_link(sub.number, sets).unwrap();
                assert_eq!((set.mac, set.mtu), (mac(40 + round), 1400));
                engine.set_link(sub.number, vec![LinkAttribute::Mac(mac(1))]).unwrap_err();
                engine.set_link(sub.number, vec![LinkAttribute::Up(false)]).unwrap();
                engine.remove_sub(sub.number).unwrap();
            }
            drop(end);
            let sent: u32 = runs.into_iter().map(|run| run.join().unwrap()).sum();
            eprintln!("{sent} datagrams of others meanwhile");
        });
        assert_counters_balance(&lab.parent());
        assert!(lab.engine().events().try_iter().all(|e| !matches!(e, Event::Trouble { .. })));
    }
}

#[test]
fn a_removed_parent_and_one_that_comes_back_have_all_their_workers() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, guests, _) = triangle(PortIo::Auto, 2);
    let index = lab.host.index(PARENT);
    lab.host.rtnl.delete(index).unwrap();
    lab.event("parent gone", |event| matches!(event, Event::ParentGone { .. }));
    common::wire(&mut lab.host, &lab.far);
    lab.event("parent back", |event| matches!(event, Event::ParentBack { .. }));
    let (far, one) = ((&lab.far, "x0", 0xff), (&guests[0], "t1", 1));
    let ways = [Way::new(far, one), Way::new(one, far)];
    ways.iter().for_each(Way::opens);
    owners(&lab, &ways[0], &ways[1]);
    lab.engine().remove_parent(PARENT).unwrap();
    lab.host.until("as it was", PARENT, |link| link.promiscuity == 0);
}

#[test]
fn too_many_workers_are_refused() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::with(PortIo::Auto, 1);
    lab.engine().remove_parent(PARENT).unwrap();
    let options = umacvlan_engine::engine::ParentOptions { name: PARENT.into(), ..several(65) };
    let error = lab.engine().add_parent(options).unwrap_err();
    assert_eq!(error.to_string(), "parent p0 cannot have 65 workers: from 1 to 64");
}
