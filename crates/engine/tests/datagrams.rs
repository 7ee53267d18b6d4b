//! Sub-interfaces whose far end is a program, on a Unix datagram socket.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use umacvlan_core::options::{PortIo, ProgramKind};
use umacvlan_core::{DropReason, Mode};
use umacvlan_testkit::{Scratch, root_or_skip};

use common::program::{Peer, add, ended, exchange, is_connected, options, overflow};
use common::{Lab, PARENT, Place, frame, mac, next, until};

const KIND: ProgramKind = ProgramKind::Dgram;

/// Where a process of its own sends to, and from where.
const PATHS: [&str; 2] = ["UMACVLAN_TEST_TO", "UMACVLAN_TEST_FROM"];

/// A datagram that is too short for a frame.
const RUNT: [u8; 9] = [0; 9];

/// A program with a socket of its own, which sends to that of a port.
struct Program {
    socket: UnixDatagram,
    to: PathBuf,
}

impl Program {
    fn new(dir: &Scratch, name: &str, to: &Path) -> Self {
        let path = dir.path().join(name);
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(common::PATIENCE)).unwrap();
        socket.set_write_timeout(Some(common::PATIENCE)).unwrap();
        Self { socket, to: to.to_owned() }
    }
}

impl Peer for Program {
    fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.socket.send_to(frame, &self.to).unwrap(), frame.len());
    }

    fn next(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 70_000];
        let len = self.socket.recv(&mut frame).expect("no frame arrives");
        frame.truncate(len);
        frame
    }
}

/// Sub-interfaces with these names, up, and the paths of their sockets: the first with the address 1.
fn ports<const N: usize>(lab: &Lab, dir: &Scratch, names: [&str; N]) -> [PathBuf; N] {
    let mut n = 0;
    names.map(|name| {
        n += 1;
        add(lab, dir, KIND, name, n)
    })
}

/// A program at `NAME.far`, connected to the port whose socket has this name. It has sent runts, by which
/// the port knows it.
fn connect(lab: &Lab, dir: &Scratch, socket: &Path) -> Program {
    let name = socket.file_name().unwrap().to_str().unwrap();
    let mut program = Program::new(dir, &format!("{name}.far"), socket);
    until("the carrier", || {
        program.send(&RUNT);
        lab.sub(name).link.is_running()
    });
    program
}

fn forwards(io: PortIo) {
    let (lab, dir, place) = (Lab::new(io), Scratch::new(), Place::new());
    let sockets = ports(&lab, &dir, ["vm1", "vm2"]);
    lab.add("tap", 9, Mode::Bridge, &place);
    let (tap, wire) = (place.socket("tap"), lab.far.socket("x0"));
    assert!(!lab.sub("vm1").link.is_running(), "its carrier is its connection");
    let mut one = connect(&lab, &dir, &sockets[0]);
    let mut two = connect(&lab, &dir, &sockets[1]);
    let status = lab.sub("vm1");
    let program = status.program.unwrap();
    assert_eq!(program.program.unwrap().pid, std::process::id());
    assert_eq!(program.peer.unwrap(), dir.path().join("vm1.far").display().to_string());
    assert!(status.link.is_running() && status.all_groups && status.index == 0);

    exchange(&mut one, &mut two, &tap, &wire);
    // More than one batch, and more than the queue of the other one holds.
    for number in 0..200 {
        one.send(&frame(mac(2), mac(1), number));
    }
    for number in 0..200 {
        assert_eq!(two.next(), frame(mac(2), mac(1), number));
    }
    let runts = || lab.counters().subs[0].1.dropped[DropReason::Runt];
    let before = runts();
    for bad in [&[][..], &RUNT, &[0; 65_554]] {
        one.send(bad);
    }
    until("the bad ones to be counted", || runts() == before + 3);
    until("the balance", || lab.counters().is_balanced());
    assert_eq!(lab.sub("vm1").program.unwrap().connections, 1);
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
fn a_program_that_does_not_read_loses_frames_and_blocks_nobody() {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Auto, PortIo::Plain] {
        let (lab, dir) = (Lab::new(io), Scratch::new());
        let sockets = ports(&lab, &dir, ["vm1", "vm2", "vm3"]);
        overflow(&lab, &mut sockets.map(|socket| connect(&lab, &dir, &socket)));
    }
}

#[test]
fn one_program_at_a_time_is_connected_until_its_socket_is_closed() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [first, second] = ports(&lab, &dir, ["vm1", "vm2"]);
    let mut two = connect(&lab, &dir, &second);
    let one = connect(&lab, &dir, &first);
    let next = Program::new(&dir, "another", &first);
    let refused = next.socket.send_to(&RUNT, &first).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    drop(one);
    // Its process goes on, so that only a frame for it finds that it is gone.
    two.send(&frame(mac(1), mac(2), 1));
    until("its end", || ended(&lab.sub("vm1")) == "closed by the program");
    assert!(!lab.sub("vm1").link.is_running());
    two.send(&frame(mac(1), mac(2), 2));
    until("nobody to be there", || lab.counters().subs[0].1.lost[DropReason::Down] == 1);
    let mut one = connect(&lab, &dir, &first);
    let sent = frame(mac(1), mac(2), 3);
    two.send(&sent);
    one.wait_for(&sent);
    assert_eq!(lab.sub("vm1").program.unwrap().connections, 2);
}

/// Runs in a process of its own: sends a runt, and waits until standard input ends.
#[test]
#[ignore = "the one to be ended by the_end_of_a_process_is_the_end_of_its_connection"]
fn program_to_be_ended() {
    let [Ok(to), Ok(from)] = PATHS.map(std::env::var) else {
        return;
    };
    let socket = UnixDatagram::bind(from).unwrap();
    socket.send_to(&RUNT, to).unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_end_of_a_process_is_the_end_of_its_connection() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [socket] = ports(&lab, &dir, ["vm1"]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program_to_be_ended", "--ignored", "--nocapture"]);
    command.env(PATHS[0], &socket).env(PATHS[1], dir.path().join("far"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    until("the connection", || is_connected(&lab.sub("vm1")));
    assert_eq!(lab.sub("vm1").program.unwrap().program.unwrap().pid, child.id());
    drop(child.stdin.take());
    child.wait().unwrap();
    until("its end", || ended(&lab.sub("vm1")) == "closed by the program");
    connect(&lab, &dir, &socket);
}

#[test]
fn a_sender_that_cannot_be_answered_is_refused_and_the_next_one_is_not() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [socket] = ports(&lab, &dir, ["vm1"]);
    let unbound = UnixDatagram::unbound().unwrap();
    unbound.send_to(&RUNT, &socket).unwrap();
    until("the reason", || ended(&lab.sub("vm1")).contains("it is not bound"));
    let mut moved = Program::new(&dir, "moved", &socket);
    std::fs::remove_file(dir.path().join("moved")).unwrap();
    // Until the next sweep the socket is there and nobody looks.
    moved.send(&RUNT);
    until("the reason", || ended(&lab.sub("vm1")).contains("No such file"));
    let mut elsewhere = Program::new(&dir, "elsewhere", &socket);
    elsewhere.socket.connect(dir.path().join("elsewhere")).unwrap();
    elsewhere.send(&RUNT);
    until("the reason", || ended(&lab.sub("vm1")).contains("connected to another one"));
    assert_eq!(lab.sub("vm1").program.unwrap().connections, 0);
    connect(&lab, &dir, &socket);
}

#[test]
fn a_program_comes_back_after_its_worker_has_failed_and_the_socket_goes_with_the_link() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let [socket] = ports(&lab, &dir, ["vm1"]);
    let mut one = connect(&lab, &dir, &socket);
    lab.engine().run_on_worker(PARENT, 0, || panic!("a test")).unwrap();
    // There is no status while its worker is being replaced.
    let subs = || lab.engine().status().unwrap().into_iter().flat_map(|parent| parent.subs);
    until("the reason", || subs().any(|sub| ended(&sub).contains("worker")));
    // The same program, which goes on to send there.
    one.send(&RUNT);
    until("the connection", || subs().any(|sub| is_connected(&sub)));
    until("the wire", || lab.parent().carrier);
    let wire = lab.far.socket("x0");
    one.send(&frame(mac(0xff), mac(1), 1));
    assert_eq!(next(&wire, common::PATIENCE), Some(1));
    let elsewhere = lab.engine().add_sub(PARENT, options(KIND, &socket, "vm2", 2));
    assert!(elsewhere.unwrap_err().to_string().contains("another process"));
    lab.engine().remove_sub(lab.number("vm1")).unwrap();
    assert!(!socket.exists());
    let refused = one.socket.send_to(&RUNT, &socket).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}
