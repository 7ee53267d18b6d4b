//! Many frames in both directions while links go down, workers end and rings are full: no chunk is
//! lost, every frame is accounted for, and frames still come through. Debug builds look at each
//! chunk in every turn.

use std::os::fd::AsFd;

use umacvlan_core::Mode;
use umacvlan_engine::engine::{Backend, ParentOptions};
use umacvlan_engine::port::PortIo;
use umacvlan_engine::privilege::root_or_skip;
use umacvlan_engine::sys::blast::{self, BATCH};

use crate::common::{Lab, PARENT, Place, all, frame, mac, reaches, until};

/// Frames unless `UMACVLAN_SOAK` says how many.
const FRAMES: u64 = 200_000;

/// Frames between two faults.
const ROUND: u64 = 20_000;

#[test]
fn soak() {
    if !root_or_skip("soak") {
        return;
    }
    let frames = std::env::var("UMACVLAN_SOAK").ok().and_then(|text| text.parse().ok());
    let rounds = frames.unwrap_or(FRAMES) / ROUND;
    let mut lab = Lab::new(PortIo::Auto);
    restart(&mut lab);
    let inside = Place::new();
    lab.add("s0", 1, Mode::Bridge, &inside);
    let mut seen = 0;
    for round in 0..rounds {
        let name = format!("s{}", restarts(round));
        let (sub, wire) = (inside.socket(&name), lab.far.socket("x0"));
        reaches(&wire, &sub, &frame(mac(1), mac(0xff), 1));
        reaches(&sub, &wire, &frame(mac(0xff), mac(1), 2));
        flood(&mut lab, &wire, &sub, round);
        let counters = lab.counters();
        until("all writes done", || lab.counters().accounted());
        seen += counters.wire.received.frames + counters.wire.sent.frames;
        drop((all(&sub), all(&wire)));
        if restarts(round + 1) != restarts(round) {
            drop((sub, wire));
            restart(&mut lab);
            lab.add(&format!("s{}", restarts(round + 1)), 1, Mode::Bridge, &inside);
        }
    }
    eprintln!("soak: {rounds} rounds, {seen} frames seen by the uplink");
    assert!(seen >= rounds * ROUND / 2, "most frames never came by");
}

/// The worker is another one every fourth round.
fn restarts(round: u64) -> u64 {
    round / 4
}

fn restart(lab: &mut Lab) {
    lab.start(PortIo::Auto, ParentOptions { backend: Backend::AfXdp, ..ParentOptions::default() });
}

/// Sends as fast as it goes, which is faster than rings take it, and sets one end of the wire or the
/// other down in the middle.
fn flood(lab: &mut Lab, wire: &impl AsFd, sub: &impl AsFd, round: u64) {
    let (down, up) = (frame(mac(1), mac(0xff), 3), frame(mac(0xff), mac(1), 4));
    let place = if round.is_multiple_of(2) { &mut lab.host } else { &mut lab.far };
    let index = place.index(if round.is_multiple_of(2) { PARENT } else { "x0" });
    for batch in 0..ROUND / 2 / BATCH as u64 {
        // Refused while the interface is down, which is what is tried.
        let _ = blast::send(wire.as_fd(), &down, BATCH);
        let _ = blast::send(sub.as_fd(), &up, BATCH);
        match batch {
            50 => place.rtnl.set_up(index, false).unwrap(),
            60 => place.rtnl.set_up(index, true).unwrap(),
            _ => {}
        }
    }
    until("a carrier", || lab.parent().carrier);
}
