//! Sub-interfaces whose far end is a program on a socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use umacvlan_core::options::ProgramKind;
use umacvlan_core::{DropReason, MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::engine::{ProgramPlace, ProgramPort, SubOptions, SubStatus};
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_testkit::Scratch;

use super::{Lab, PARENT, PATIENCE, frame, losses, mac, next, send, until};

/// A sub-interface with the address `n`, up, and the path of its socket.
pub(crate) fn add(lab: &Lab, dir: &Scratch, kind: ProgramKind, name: &str, n: u8) -> PathBuf {
    let path = dir.path().join(name);
    lab.engine().add_sub(PARENT, options(kind, &path, name, n)).unwrap();
    path
}

pub(crate) fn options(kind: ProgramKind, path: &Path, name: &str, n: u8) -> SubOptions {
    let place = ProgramPlace::Listen(path.to_owned());
    SubOptions {
        name: name.to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(Mode::Bridge),
        program: Some(ProgramPort { kind, place, owner: SocketOwner::default() }),
        up: true,
        ..SubOptions::default()
    }
}

pub(crate) fn is_connected(sub: &SubStatus) -> bool {
    sub.program.as_ref().is_some_and(|program| program.program.is_some())
}

/// Why the last connection has ended; empty if there is one, or was none.
pub(crate) fn ended(sub: &SubStatus) -> String {
    sub.program.as_ref().and_then(|program| program.ended.clone()).unwrap_or_default()
}

/// The program at the far end of a sub-interface.
pub(crate) trait Peer {
    fn send(&mut self, frame: &[u8]);

    /// The next frame; a panic if none arrives.
    fn next(&mut self) -> Vec<u8>;

    /// Receives until this frame has arrived.
    fn wait_for(&mut self, frame: &[u8]) {
        while self.next() != frame {}
    }
}

/// Has frames pass between programs with the addresses 1 and 2, a TAP with 9 and the host beyond the wire.
pub(crate) fn exchange(one: &mut impl Peer, two: &mut impl Peer, tap: &OwnedFd, wire: &OwnedFd) {
    let sent = frame(mac(2), mac(1), 1);
    one.send(&sent);
    two.wait_for(&sent);
    two.send(&frame(mac(9), mac(2), 2));
    assert_eq!(next(tap, PATIENCE), Some(2));
    let from_tap = frame(mac(1), mac(9), 3);
    send(tap, &from_tap);
    one.wait_for(&from_tap);
    one.send(&frame(mac(0xff), mac(1), 4));
    assert_eq!(next(wire, PATIENCE), Some(4));
    let from_wire = frame(mac(2), mac(0xff), 5);
    send(wire, &from_wire);
    two.wait_for(&from_wire);
    let broadcast = frame(MacAddr::BROADCAST, mac(1), 6);
    one.send(&broadcast);
    two.wait_for(&broadcast);
    assert_eq!(next(tap, PATIENCE), Some(6));
    assert_eq!(next(wire, PATIENCE), Some(6));
}

/// Sends to a program that does not read until frames are lost: neither the sender nor another one is
/// blocked. They have the addresses 1, 2 and 3.
pub(crate) fn overflow<P: Peer>(lab: &Lab, [one, slow, other]: &mut [P; 3]) {
    let full = || lab.counters().subs[1].1.lost[DropReason::Full];
    let mut long = frame(mac(2), mac(1), 0);
    long.resize(1514, 0);
    let mut sent = 0;
    until("its queue to be full", || {
        (0..64).for_each(|_| one.send(&long));
        sent += 64;
        full() > 0
    });
    let last = frame(mac(3), mac(1), 1);
    one.send(&last);
    other.wait_for(&last);
    until("everything to be counted", || {
        let stats = &lab.counters().subs[0].1;
        stats.received.frames - stats.dropped[DropReason::Runt] == sent + 1
    });
    let kept = lab.counters().subs[1].1.delivered.frames;
    assert_eq!(kept + full(), sent, "{}", losses(&lab.parent()));
    // What was queued arrives when it reads again, and then new frames do.
    for _ in 0..kept {
        assert_eq!(slow.next(), long);
    }
    let fresh = frame(mac(2), mac(3), 2);
    other.send(&fresh);
    assert_eq!(slow.next(), fresh);
    assert!(lab.counters().is_balanced());
}
