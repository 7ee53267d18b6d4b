//! A parent whose queue is full: its sub-interfaces wait, and nothing is dropped.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use umacvlan_core::Mode;
use umacvlan_core::options::PortIo;
use umacvlan_testkit::root_or_skip;

use common::{Lab, Place, frame, losses, mac, reaches, send, tc, until};

/// Frames that one sub-interface sends: more than a full uplink lets it, and fewer than its own queue
/// holds.
const FRAMES: u32 = 3000;

/// Bytes of a waiting port that is not read any more.
const PORT_BYTES: usize = 64 * 1024;

/// A parent whose token bucket lets a handful of frames pass, and then none for the time of a test.
fn close(host: &Place) {
    tc(host, "replace dev p0 root tbf rate 8bit burst 1540 limit 100m");
}

fn waits_and_goes_on(io: PortIo) {
    let lab = Lab::new(io);
    let places = [1, 2, 3].map(|_| Place::new());
    let names = ["a", "b", "c"];
    for (n, (name, place)) in (1..).zip(names.into_iter().zip(&places)) {
        lab.add(name, n, Mode::Bridge, place);
    }
    let [a, b, c] = [0, 1, 2].map(|n: usize| places[n].socket(names[n]));
    let far = lab.far.socket("x0");
    reaches(&a, &far, &frame(mac(0xff), mac(1), 0));
    reaches(&b, &c, &frame(mac(3), mac(2), 0));
    let before = lab.counters().wire.sent.frames;
    close(&lab.host);

    for number in 0..FRAMES {
        send(&a, &frame(mac(0xff), mac(1), number));
    }
    let waiting = || lab.counters().tx_in_flight;
    until("the share of the port is used up", || waiting() * 70 >= PORT_BYTES);
    // Others send to each other and receive from the wire, and one more waits for it.
    reaches(&b, &c, &frame(mac(3), mac(2), 1));
    reaches(&far, &b, &frame(mac(2), mac(0xff), 2));
    send(&b, &frame(mac(0xff), mac(2), 3));
    let counters = lab.counters();
    let read = counters.wire.sent.frames - before;
    assert!(read < u64::from(FRAMES) * 2 / 3, "the port was read on: {read}");
    assert_eq!(counters.wire.unsent.total(), 0, "{}", losses(&lab.parent()));

    let asleep = || lab.counters().turns.asleep;
    let first = asleep();
    until("the worker sleeps meanwhile", || asleep() > first + Duration::from_millis(5));

    tc(&lab.host, "del dev p0 root");
    let sent = || lab.counters().wire.sent.frames - before;
    until("everything has left", || waiting() == 0 && sent() > u64::from(FRAMES));
    let counters = lab.counters();
    assert_eq!(counters.wire.unsent.total(), 0, "{counters:?}");
    assert!(counters.is_balanced(), "{counters:?}");
    reaches(&a, &far, &frame(mac(0xff), mac(1), 4));
    reaches(&a, &b, &frame(mac(2), mac(1), 5));
}

#[test]
fn sub_interfaces_wait_for_a_full_uplink_by_io_uring() {
    if root_or_skip() {
        waits_and_goes_on(PortIo::Auto);
    }
}

#[test]
fn sub_interfaces_wait_for_a_full_uplink_by_system_calls() {
    if root_or_skip() {
        waits_and_goes_on(PortIo::Plain);
    }
}
