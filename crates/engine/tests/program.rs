//! Sub-interfaces whose far end is a program, on a Unix stream socket.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use umacvlan_core::options::{PortIo, ProgramKind};
use umacvlan_core::{DropReason, Mode};
use umacvlan_engine::engine::LinkAttribute;
use umacvlan_sys::message_socket::MessageSocket;
use umacvlan_testkit::{LIMIT, Lingering, Scratch, root_or_skip};

use common::program::{Peer, add, ended, exchange, is_connected, options, overflow};
use common::{Lab, PARENT, Place, frame, losses, mac, next, reaches, several, until};

const KIND: ProgramKind = ProgramKind::Stream;

/// A program, connected to the port of a sub-interface.
struct Program(UnixStream);

impl Program {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        Self(stream)
    }

    /// The next frame, or `None` at the end of the connection.
    fn next_or_end(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("no frame arrives: {error}"),
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        Some(frame)
    }
}

impl Peer for Program {
    fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length, frame].concat()).unwrap();
    }

    fn next(&mut self) -> Vec<u8> {
        self.next_or_end().expect("the connection has ended")
    }
}

fn connect(lab: &Lab, socket: &Path, name: &str) -> Program {
    let program = Program::connect(socket);
    until("the connection", || is_connected(&lab.sub(name)));
    program
}

fn forwards(io: PortIo) {
    let (lab, dir, place) = (Lab::new(io), Scratch::new(), Place::new());
    lab.add("tap", 9, Mode::Bridge, &place);
    let (tap, wire) = (place.socket("tap"), lab.far.socket("x0"));
    let sockets = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, KIND, name, n));
    assert!(!lab.sub("vm1").link.is_running(), "its carrier is its connection");
    let mut one = connect(&lab, &sockets[0], "vm1");
    let mut two = connect(&lab, &sockets[1], "vm2");
    let status = lab.sub("vm1");
    let program = status.program.unwrap();
    assert_eq!(program.program.unwrap().pid, std::process::id());
    assert!(status.link.is_running() && status.all_groups && status.index == 0);

    exchange(&mut one, &mut two, &tap, &wire);
    // Many frames in one piece, and one in many.
    let many: Vec<u8> = (0..500)
        .flat_map(|number| [&60_u32.to_be_bytes()[..], &frame(mac(2), mac(1), number)].concat())
        .collect();
    one.0.write_all(&many).unwrap();
    for number in 0..500 {
        assert_eq!(two.next(), frame(mac(2), mac(1), number));
    }
    let sent = frame(mac(2), mac(1), 1);
    for piece in [&60_u32.to_be_bytes()[..], &sent].concat().chunks(7) {
        one.0.write_all(piece).unwrap();
    }
    two.wait_for(&sent);
    one.send(&[0; 9]);
    let runts = || lab.counters().subs[1].1.dropped[DropReason::Runt];
    until("the runt to be counted", || runts() == 1);
    until("the balance", || lab.counters().is_balanced());
}

#[test]
fn programs_taps_and_the_wire_reach_each_other_by_io_uring() {
    if root_or_skip() {
        forwards(PortIo::Auto);
    }
}

#[test]
fn programs_taps_and_the_wire_reach_each_other_by_system_calls() {
    if root_or_skip() {
        forwards(PortIo::Plain);
    }
}

#[test]
fn a_length_that_no_frame_has_ends_the_connection_and_disturbs_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [first, second] = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, KIND, name, n));
    let mut two = connect(&lab, &second, "vm2");
    for length in [0_u32, 70_000, u32::MAX] {
        let mut one = connect(&lab, &first, "vm1");
        let before = frame(mac(2), mac(1), length);
        one.send(&before);
        one.0.write_all(&length.to_be_bytes()).unwrap();
        two.wait_for(&before);
        assert_eq!(one.next_or_end(), None, "{length}");
        until("the reason", || ended(&lab.sub("vm1")).contains(&length.to_string()));
    }
    let mut one = connect(&lab, &first, "vm1");
    let sent = frame(mac(1), mac(2), 7);
    two.send(&sent);
    one.wait_for(&sent);
    assert!(lab.counters().is_balanced());
}

#[test]
fn a_program_that_does_not_read_loses_frames_and_blocks_nobody() {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Auto, PortIo::Plain] {
        let (lab, dir) = (Lab::new(io), Scratch::new());
        let sockets = [("vm1", 1), ("vm2", 2), ("vm3", 3)]
            .map(|(name, n)| (name, add(&lab, &dir, KIND, name, n)));
        overflow(&lab, &mut sockets.map(|(name, socket)| connect(&lab, &socket, name)));
    }
}

#[test]
fn one_program_at_a_time_is_connected_and_the_next_one_waits() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [first, second] = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, KIND, name, n));
    let mut two = connect(&lab, &second, "vm2");
    let one = connect(&lab, &first, "vm1");
    // It is in the backlog; what it sends is read when its turn comes.
    let mut next = Program::connect(&first);
    let early = frame(mac(2), mac(1), 1);
    next.send(&early);
    assert_eq!(lab.sub("vm1").program.unwrap().connections, 1);
    one.0.shutdown(Shutdown::Both).unwrap();
    two.wait_for(&early);
    until("the second connection", || lab.sub("vm1").program.unwrap().connections == 2);
    let answer = frame(mac(1), mac(2), 2);
    two.send(&answer);
    next.wait_for(&answer);
    drop(next);
    until("its end", || ended(&lab.sub("vm1")) == "closed by the program");
    two.send(&answer);
    until("nobody to be there", || lab.counters().subs[0].1.lost[DropReason::Down] == 1);
}

#[test]
fn attributes_are_set_by_request_and_the_socket_goes_with_the_link() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let socket = add(&lab, &dir, KIND, "vm1", 1);
    let number = lab.number("vm1");
    let set = |attribute| lab.engine().set_link(number, vec![attribute]);
    let changed = set(LinkAttribute::Mac(mac(7))).unwrap();
    assert_eq!((changed.mac, changed.link.mac), (mac(7), Some(mac(7))));
    assert_eq!(set(LinkAttribute::Mtu(1400)).unwrap().link.mtu, 1400);
    for (attribute, errno) in [
        (LinkAttribute::Mac(mac(0)), libc::EADDRINUSE),
        (LinkAttribute::Mac(umacvlan_core::MacAddr::BROADCAST), libc::EADDRNOTAVAIL),
        (LinkAttribute::Mtu(9000), libc::EINVAL),
        (LinkAttribute::Mtu(60), libc::EINVAL),
        (LinkAttribute::Name("vm2".to_owned()), libc::EOPNOTSUPP),
    ] {
        let what = format!("{attribute:?}");
        assert_eq!(set(attribute).unwrap_err().errno(), Some(errno), "{what}");
    }
    let same = lab.sub("vm1");
    assert_eq!((same.mac, same.mtu, same.up), (mac(7), 1400, true));
    let mut one = connect(&lab, &socket, "vm1");
    let down = set(LinkAttribute::Up(false)).unwrap();
    assert!(!down.up && !down.link.is_up() && is_connected(&down));
    one.send(&frame(mac(0xff), mac(7), 1));
    until("the frame to be dropped", || lab.counters().subs[0].1.dropped[DropReason::Down] == 1);
    assert!(set(LinkAttribute::Up(true)).unwrap().link.is_running());
    let wire = lab.far.socket("x0");
    one.send(&frame(mac(0xff), mac(7), 2));
    assert_eq!(next(&wire, common::PATIENCE), Some(2));

    let again = lab.engine().add_sub(PARENT, options(KIND, &dir.path().join("other"), "vm1", 2));
    assert_eq!(again.unwrap_err().errno(), Some(libc::EEXIST));
    let elsewhere = lab.engine().add_sub(PARENT, options(KIND, &socket, "vm2", 2));
    assert!(elsewhere.unwrap_err().to_string().contains("another process listens"));
    lab.engine().remove_sub(number).unwrap();
    assert!(!socket.exists());
    assert_eq!(one.next_or_end(), None);
}

#[test]
fn a_program_connects_again_after_its_worker_has_failed() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let socket = add(&lab, &dir, KIND, "vm1", 1);
    let mut one = connect(&lab, &socket, "vm1");
    lab.engine().run_on_worker(PARENT, 0, || panic!("a test")).unwrap();
    while one.next_or_end().is_some() {}
    // There is no status while its worker is being replaced.
    let subs = || lab.engine().status().unwrap().into_iter().flat_map(|parent| parent.subs);
    until("the reason", || subs().any(|sub| ended(&sub).contains("worker")));
    let mut one = connect(&lab, &socket, "vm1");
    until("the wire", || lab.parent().carrier);
    let wire = lab.far.socket("x0");
    one.send(&frame(mac(0xff), mac(1), 1));
    assert_eq!(next(&wire, common::PATIENCE), Some(1));
}

#[test]
fn a_parent_with_several_workers_has_no_programs() {
    if !root_or_skip() {
        return;
    }
    let (mut lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    lab.start(PortIo::Auto, several(2));
    let refused = lab.engine().add_sub(PARENT, options(KIND, &dir.path().join("vm1"), "vm1", 1));
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("p0 has 2 workers"), "{message}");
    assert!(!dir.path().join("vm1").exists());
}

#[test]
fn a_program_whose_frames_wait_for_a_full_uplink_is_not_read() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir, place) = (Lab::new(PortIo::Auto), Scratch::new(), Place::new());
    lab.add("tap", 9, Mode::Bridge, &place);
    let socket = add(&lab, &dir, KIND, "vm1", 1);
    let mut one = connect(&lab, &socket, "vm1");
    let (tap, wire) = (place.socket("tap"), lab.far.socket("x0"));
    common::tc(&lab.host, "replace dev p0 root tbf rate 8bit burst 1540 limit 100m");
    let mut stream = one.0.try_clone().unwrap();
    let frames: Vec<u8> = (0..4000)
        .flat_map(|number| [&60_u32.to_be_bytes()[..], &frame(mac(0xff), mac(1), number)].concat())
        .collect();
    let sender = std::thread::spawn(move || stream.write_all(&frames).unwrap());
    until("its share of the uplink to be used up", || lab.counters().tx_in_flight * 70 > 65_536);
    let local = frame(mac(9), mac(0xff), 1);
    reaches(&wire, &tap, &local);
    let before = lab.counters().turns.asleep;
    until("the worker to sleep meanwhile", || lab.counters().turns.asleep > before);
    common::tc(&lab.host, "del dev p0 root");
    sender.join().unwrap();
    let sent = || lab.counters().wire.sent.frames;
    until("everything to leave", || lab.counters().tx_in_flight == 0 && sent() >= 4000);
    assert_eq!(lab.counters().wire.unsent.total(), 0, "{}", losses(&lab.parent()));
    one.send(&frame(mac(9), mac(1), 2));
    until("the balance", || lab.counters().is_balanced());
}

#[test]
fn a_program_that_sends_descriptors_holds_up_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let sockets = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, KIND, name, n));
    let began = Instant::now();
    let one = connect(&lab, &sockets[0], "vm1");
    let one = MessageSocket::from(OwnedFd::from(one.0));
    let Lingering { near, far: _far } = Lingering::new();
    let sent = one.send(&[0, 0, 0, 60], &[near.as_fd()]);
    // It may be the last one.
    std::thread::spawn(move || drop(near));
    if let Err(error) = sent {
        // The kernel has refused it, since Linux 6.16.
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    } else {
        until("its end", || ended(&lab.sub("vm1")).contains("descriptors"));
    }
    drop(one);
    until("its end", || !ended(&lab.sub("vm1")).is_empty());
    let mut one = connect(&lab, &sockets[0], "vm1");
    let mut two = connect(&lab, &sockets[1], "vm2");
    let frame = frame(mac(2), mac(1), 1);
    one.send(&frame);
    two.wait_for(&frame);
    assert!(began.elapsed() < LIMIT, "something was waited for");
}
