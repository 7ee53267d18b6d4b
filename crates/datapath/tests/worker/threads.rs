//! A worker on a thread of its own, with each way of waiting.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use umacvlan_core::options::{PollMode, PortIo};

use umacvlan_core::offload::Offloads;
use umacvlan_core::{Mode, SubConfig};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Worker, WorkerConfig, WorkerHandle};

use crate::bench::{frame, mac, switch, taken};

/// A worker with one sub-interface, and the other ends of its wire and its port.
fn spawn(name: &str, poll: PollMode, io: PortIo) -> (WorkerHandle, MemoryLink, MemoryLink) {
    let config = WorkerConfig { io, poll, ..WorkerConfig::default() };
    let handle = Worker::spawn(name, switch(), config, None, None).unwrap();
    let (uplink, mut wire) = MemoryLink::pair(16, 4096);
    let (near, mut port) = MemoryLink::pair(16, 4096);
    wire.wake_with(handle.wake_event());
    port.wake_with(handle.wake_event());
    let add = move |worker: &mut Worker| {
        worker.attach(Uplink::Memory(uplink)).unwrap();
        let sub = SubConfig::new(mac(1), Mode::Bridge);
        let link = PortLink::Memory(near);
        let id = worker.add(&sub, link, Offloads::ALL).unwrap();
        worker.set_up(id, true).unwrap();
    };
    handle.call(add).unwrap();
    (handle, wire, port)
}

/// Waits until `so` is true.
fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "timed out waiting: {what}");
        thread::yield_now();
    }
}

/// True while the thread of that name sleeps in the kernel (proc_pid_stat(5)).
fn sleeps(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut stats = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!("({name})")));
    stats.any(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')))
}

/// Sends a frame in each direction. With `rests` the worker is asleep before each.
fn converse(name: &str, wire: &MemoryLink, port: &MemoryLink, rests: bool) {
    let (there, back) = (frame(mac(1), mac(9), 1), frame(mac(9), mac(1), 2));
    for (from, to, sent) in [(wire, port, there), (port, wire, back)] {
        if rests {
            until("the worker sleeps", || sleeps(name));
        }
        assert!(from.push(&sent));
        let arrived = std::cell::RefCell::new(Vec::new());
        until("a frame", || {
            arrived.borrow_mut().extend(taken(to));
            !arrived.borrow().is_empty()
        });
        assert_eq!(arrived.into_inner(), [sent]);
    }
}

#[test]
fn a_sleeping_worker_is_woken_by_a_frame() {
    for (name, poll, io) in [
        ("w-interrupt-p", PollMode::Interrupt, PortIo::Plain),
        ("w-interrupt-a", PollMode::Interrupt, PortIo::Auto),
        ("w-adaptive-p", PollMode::Adaptive, PortIo::Plain),
        ("w-adaptive-a", PollMode::Adaptive, PortIo::Auto),
    ] {
        let (handle, wire, port) = spawn(name, poll, io);
        for _ in 0..20 {
            converse(name, &wire, &port, true);
        }
        let counters = handle.call(|worker| worker.snapshot()).unwrap();
        let turns = counters.turns;
        assert!(turns.sleeps >= 40 && turns.frames == 40, "{name}: {turns:?}");
        assert!(counters.is_balanced(), "{name}: {counters:?}");
        handle.stop().unwrap();
    }
}

#[test]
fn a_busy_worker_never_sleeps() {
    let (handle, wire, port) = spawn("w-busy", PollMode::Busy, PortIo::Plain);
    for _ in 0..20 {
        converse("w-busy", &wire, &port, false);
    }
    let turns = handle.call(|worker| worker.snapshot()).unwrap().turns;
    assert_eq!((turns.sleeps, turns.frames), (0, 40));
}

#[test]
fn a_worker_that_has_stopped_says_so() {
    let (handle, ..) = spawn("w-stopped", PollMode::Interrupt, PortIo::Plain);
    handle.call(Worker::stop).unwrap();
    until("the end of the worker", || handle.call(|_| ()).is_err());
    assert!(handle.stop().is_ok(), "stopping twice is no failure");
}

#[test]
fn a_thread_that_hung_is_left_alone_and_may_end_later() {
    let (handle, _wire, _port) = spawn("hung", PollMode::Interrupt, PortIo::Plain);
    let (release, hang) = mpsc::channel::<()>();
    let wait = move |_: &mut Worker| {
        let _ = hang.recv();
    };
    handle.post(wait).unwrap();
    let ended = handle.finish();
    let left = ended.left.expect("it hangs");
    assert!(!left.has_ended());
    drop(release);
    until("the end of its turn", || left.has_ended());
}
