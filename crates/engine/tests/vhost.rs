//! Sub-interfaces whose far end is a vhost-user program: a front-end of our own, with rings in a memfd.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use umacvlan_core::options::{PortIo, ProgramKind};
use umacvlan_core::{DropReason, MacvlanSettings, Mode};
use umacvlan_engine::engine::{ProgramPlace, ProgramPort, ProgramStatus, SubOptions};
use umacvlan_sys::message_socket::MessageSocket;
use umacvlan_sys::port_socket::SocketOwner;
use umacvlan_testkit::vhost_user::{
    ENTRIES, EVENT_IDX, GUEST, MEMORY, MRG_RXBUF, USER, VERSION_1, VhostUser, memfd, memory_table,
    message, state,
};
use umacvlan_testkit::{LIMIT, Lingering, Scratch, root_or_skip};

use common::program::{Peer, exchange};
use common::{Lab, PARENT, Place, frame, losses, mac, next, until};

/// Feature bits of virtio: partial checksums and GSO packets for the program.
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;

/// What a program does to its rings, and what it says.
type Break<'b> = &'b dyn Fn(&mut VhostUser);
type Lie<'l> = &'l dyn Fn(&VhostUser);

/// What QEMU and DPDK agree on.
const USUAL: u64 = MRG_RXBUF | VERSION_1 | EVENT_IDX;

/// A sub-interface with the address `n`, up, and the path of its socket.
fn add(lab: &Lab, dir: &Scratch, name: &str, n: u8) -> PathBuf {
    add_as(lab, dir.path().join(name), name, (n, false))
}

/// The same; the program listens there if `client`.
fn add_as(lab: &Lab, path: PathBuf, name: &str, (n, client): (u8, bool)) -> PathBuf {
    let port = ProgramPort {
        kind: ProgramKind::VhostUser,
        place: match client {
            true => ProgramPlace::Connect(path.clone()),
            false => ProgramPlace::Listen(path.clone()),
        },
        owner: SocketOwner::default(),
    };
    let options = SubOptions {
        name: name.to_owned(),
        mac: Some(mac(n)),
        settings: MacvlanSettings::new(Mode::Bridge),
        program: Some(port),
        up: true,
        ..SubOptions::default()
    };
    lab.engine().add_sub(PARENT, options).unwrap();
    path
}

impl Peer for VhostUser {
    fn send(&mut self, frame: &[u8]) {
        Self::send(self, frame);
    }

    fn next(&mut self) -> Vec<u8> {
        self.next_with().1
    }
}

fn connect(lab: &Lab, path: &Path, name: &str, features: u64) -> VhostUser {
    let program = VhostUser::connect(path, features);
    until("the rings to be served", || is_running(lab, name));
    program
}

fn status(lab: &Lab, name: &str) -> ProgramStatus {
    lab.sub(name).program.unwrap()
}

fn is_running(lab: &Lab, name: &str) -> bool {
    status(lab, name).vhost.is_some_and(|vhost| vhost.running)
}

/// Waits until the port has been closed for this reason, and nobody is connected.
fn ends(lab: &Lab, name: &str, program: &VhostUser, why: &str) {
    program.wait_for_end();
    until(why, || {
        let status = status(lab, name);
        status.program.is_none() && status.ended.is_some_and(|ended| ended.contains(why))
    });
}

fn forwards(io: PortIo, features: u64) {
    let (lab, dir, place) = (Lab::new(io), Scratch::new(), Place::new());
    lab.add("tap", 9, Mode::Bridge, &place);
    let (tap, wire) = (place.socket("tap"), lab.far.socket("x0"));
    let sockets = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, name, n));
    assert!(!lab.sub("vm1").link.is_running(), "its carrier is its rings");
    let mut one = connect(&lab, &sockets[0], "vm1", features);
    let mut two = connect(&lab, &sockets[1], "vm2", features);
    let shown = lab.sub("vm1");
    assert!(shown.link.is_running() && shown.all_groups && shown.index == 0);
    let vhost = shown.program.unwrap().vhost.unwrap();
    assert_eq!((vhost.memory, vhost.regions), (MEMORY, 1));
    assert_eq!(vhost.features.contains(&"MRG_RXBUF"), features & MRG_RXBUF != 0);

    exchange(&mut one, &mut two, &tap, &wire);
    let sent = frame(mac(2), mac(1), 1);
    // More than a turn reads, some rounds of the ring, and from a worker that has slept.
    for round in 0..5 {
        let numbers = || round * 200..(round + 1) * 200;
        let many: Vec<_> = numbers().map(|number| frame(mac(2), mac(1), number)).collect();
        one.send_many(&many);
        for number in numbers() {
            assert_eq!(two.next_with().1, frame(mac(2), mac(1), number));
        }
    }
    let asleep = lab.counters().turns.asleep;
    until("the worker to sleep", || lab.counters().turns.asleep > asleep);
    one.send(&sent);
    two.wait_for(&sent);
    one.send(&[0; 9]);
    let runts = || lab.counters().subs[1].1.dropped[DropReason::Runt];
    until("the runt to be counted", || runts() == 1);
    until("the balance", || lab.counters().is_balanced());
}

#[test]
fn programs_taps_and_the_wire_reach_each_other_by_io_uring() {
    if root_or_skip() {
        forwards(PortIo::Auto, USUAL);
    }
}

#[test]
fn programs_taps_and_the_wire_reach_each_other_by_system_calls() {
    if root_or_skip() {
        forwards(PortIo::Plain, 0);
    }
}

/// A TCP segment of IPv4 with this payload, whose checksum is partial, and its vnet header.
fn gso(to: u8, from: u8, payload: usize, size: u16) -> ([u8; 10], Vec<u8>) {
    let total = u16::try_from(20 + 20 + payload).unwrap().to_be_bytes();
    let mut bytes = [&mac(to).octets()[..], &mac(from).octets(), &[8, 0]].concat();
    bytes.extend([0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 =
        bytes[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes.extend([0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.extend((0..payload).map(|number| u8::try_from(number % 251).unwrap()));
    let [a, b] = size.to_le_bytes();
    ([1, 1, 54, 0, a, b, 34, 0, 16, 0], bytes)
}

#[test]
fn gso_packets_stay_whole_for_those_who_take_them_and_are_segmented_for_the_others() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let sockets = [("vm1", 1), ("vm2", 2), ("vm3", 3)].map(|(name, n)| add(&lab, &dir, name, n));
    let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
    let mut two = connect(&lab, &sockets[1], "vm2", USUAL | GUEST_CSUM | GUEST_TSO4);
    let mut three = connect(&lab, &sockets[2], "vm3", USUAL);
    let (header, packet) = gso(2, 1, 30_000, 1000);
    one.send_with(header, &packet);
    let (got, bytes) = two.next_with();
    assert_eq!((got[..2].to_vec(), bytes), (vec![1, 1], packet), "it takes many buffers");
    let (header, packet) = gso(3, 1, 30_000, 1000);
    one.send_with(header, &packet);
    let mut payload = Vec::new();
    while payload.len() < 30_000 {
        let (header, segment) = three.next_with();
        assert_eq!((header, segment.len()), ([0; 10], 1054));
        payload.extend_from_slice(&segment[54..]);
    }
    assert_eq!(payload, packet[54..]);
    // A header that is wrong for its frame, and a checksum that nobody has verified.
    one.send_with([1, 1, 54, 0, 0, 0, 34, 0, 16, 0], &packet);
    let wrong = || lab.counters().subs[0].1.dropped[DropReason::BadVnetHeader];
    until("the header to be counted", || wrong() == 1);
    let plain = frame(mac(3), mac(1), 1);
    one.send_with([2, 0, 0, 0, 0, 0, 0, 0, 0, 0], &plain);
    assert_eq!(three.next_with(), ([0; 10], plain));
    until("the balance", || lab.counters().is_balanced());
}

#[test]
fn a_program_without_room_loses_frames_and_blocks_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let sockets = [("vm1", 1), ("vm2", 2), ("vm3", 3)].map(|(name, n)| add(&lab, &dir, name, n));
    let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
    let mut slow = connect(&lab, &sockets[1], "vm2", USUAL);
    let mut other = connect(&lab, &sockets[2], "vm3", USUAL);
    let many: Vec<_> = (0..200).map(|number| frame(mac(2), mac(1), number)).collect();
    one.send_many(&many);
    one.send_many(&many);
    let last = frame(mac(3), mac(1), 1);
    one.send(&last);
    other.wait_for(&last);
    let full = 400 - u64::from(ENTRIES);
    assert_eq!(lab.counters().subs[1].1.lost[DropReason::Full], full, "{}", losses(&lab.parent()));
    (0..ENTRIES).for_each(|_| drop(slow.next_with()));
    let fresh = frame(mac(2), mac(3), 2);
    other.send(&fresh);
    assert_eq!(slow.next_with().1, fresh);
    assert!(lab.counters().is_balanced());
}

#[test]
fn rings_stop_and_go_on_and_the_next_program_connects() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let sockets = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, name, n));
    let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
    let mut two = connect(&lab, &sockets[1], "vm2", USUAL);
    let sent = frame(mac(2), mac(1), 1);
    one.send(&sent);
    two.wait_for(&sent);
    let next = one.stop();
    assert_eq!(next[1], 1, "one frame was read");
    until("the carrier to be lost", || !lab.sub("vm1").link.is_running());
    // What is sent meanwhile waits in the ring.
    let waiting = frame(mac(2), mac(1), 2);
    one.send(&waiting);
    one.start(next);
    two.wait_for(&waiting);
    let answer = frame(mac(1), mac(2), 3);
    two.send(&answer);
    one.wait_for(&answer);
    drop(one);
    until("its end", || status(&lab, "vm1").ended.is_some());
    two.send(&answer);
    until("nobody to be there", || lab.counters().subs[0].1.lost[DropReason::Down] == 1);
    let mut again = connect(&lab, &sockets[0], "vm1", USUAL);
    two.send(&answer);
    again.wait_for(&answer);
    assert_eq!(status(&lab, "vm1").connections, 2);
    lab.engine().run_on_worker(PARENT, 0, || panic!("a test")).unwrap();
    again.wait_for_end();
    let subs = || lab.engine().status().unwrap().into_iter().flat_map(|parent| parent.subs);
    let why = |status: ProgramStatus| status.ended.is_some_and(|ended| ended.contains("worker"));
    until("the reason", || subs().any(|sub| sub.program.is_some_and(why)));
    let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
    let mut two = connect(&lab, &sockets[1], "vm2", USUAL);
    one.send(&sent);
    two.wait_for(&sent);
}

#[test]
fn a_ring_that_breaks_the_rules_closes_its_port_and_disturbs_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let sockets = [("vm1", 1), ("vm2", 2)].map(|(name, n)| add(&lab, &dir, name, n));
    let mut two = connect(&lab, &sockets[1], "vm2", USUAL);
    let breaks: [(&str, Break<'_>); 5] = [
        ("does not end", &|it| it.rings[1].describe(0, GUEST, 0, 1, 0)),
        ("outside the regions", &|it| it.rings[1].describe(0, GUEST + MEMORY - 9, 10, 0, 0)),
        ("no descriptor 300", &|it| it.rings[1].describe(0, GUEST, 12, 1, 300)),
        ("more than it can", &|it| it.rings[1].publish(ENTRIES + 2)),
        ("its memory was gone", &|it| it.memory.set_len(0).unwrap()),
    ];
    for (why, break_it) in breaks {
        let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
        one.rings[1].describe(0, GUEST, 72, 0, 0);
        break_it(&mut one);
        match why {
            // The frame that is written touches the memory.
            "its memory was gone" => two.send(&frame(mac(1), mac(2), 1)),
            "more than it can" => {}
            _ => one.rings[1].offer(0),
        }
        one.kick();
        ends(&lab, "vm1", &one, why);
    }
    // The ring that the program reads.
    let one = connect(&lab, &sockets[0], "vm1", USUAL);
    one.rings[0].describe(0, u64::MAX - 5, 2000, 2, 0);
    two.send(&frame(mac(1), mac(2), 1));
    ends(&lab, "vm1", &one, "outside the regions");
    let mut one = connect(&lab, &sockets[0], "vm1", USUAL);
    let sent = frame(mac(1), mac(2), 7);
    two.send(&sent);
    one.wait_for(&sent);
    until("the balance", || lab.counters().is_balanced());
}

#[test]
fn messages_that_lie_end_the_connection_with_their_reason() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let path = add(&lab, &dir, "vm1", 1);
    let disk = File::open("/proc/self/status").unwrap();
    let short = memfd(4096);
    let table = memory_table(&[[GUEST, MEMORY, USER, 0]]);
    let overlap = memory_table(&[[GUEST, 4096, USER, 0], [GUEST + 8, 4096, USER + 8192, 0]]);
    let kick = 0_u64.to_ne_bytes();
    let far = [state(0, 0), [1_u64 << 60; 4].iter().flat_map(|it| it.to_ne_bytes()).collect()];
    let lies: [(&str, Lie<'_>); 11] = [
        ("request 77", &|it| it.send_message(77, &[], &[])),
        ("has 3 bytes", &|it| it.send_message(2, &[0; 3], &[])),
        ("overlap", &|it| it.send_message(5, &overlap, &[short.as_fd(), short.as_fd()])),
        ("longer than its file", &|it| it.send_message(5, &table, &[short.as_fd()])),
        ("no memfd", &|it| it.send_message(5, &table, &[disk.as_fd()])),
        ("0 descriptors", &|it| it.send_message(5, &table, &[])),
        ("2 descriptors", &|it| it.send_message(5, &table, &[short.as_fd(), short.as_fd()])),
        ("no eventfd", &|it| it.send_message(12, &kick, &[short.as_fd()])),
        ("no ring 2", &|it| it.send_message(8, &state(2, 256), &[])),
        ("not offered", &|it| it.send_message(2, &u64::MAX.to_ne_bytes(), &[])),
        ("not in the regions", &|it| it.send_message(9, &far.concat(), &[])),
    ];
    for (why, lie) in lies {
        let program = match why {
            "not in the regions" => VhostUser::connect(&path, USUAL),
            _ => VhostUser::introduce(&path, USUAL),
        };
        lie(&program);
        ends(&lab, "vm1", &program, why);
    }
    // Half a message holds up nobody.
    let silent = VhostUser::introduce(&path, USUAL);
    silent.socket.send(&[5, 0, 0, 0, 1], &[]).unwrap();
    assert!(!is_running(&lab, "vm1"));
    drop(silent);
    // More descriptors than any message has.
    let program = VhostUser::introduce(&path, USUAL);
    program.send_message(1, &[], &[short.as_fd(); 20]);
    ends(&lab, "vm1", &program, "too many");
    let program = VhostUser::introduce(&path, USUAL);
    // The connection may end before all are sent.
    let _ = (0..2000).try_for_each(|_| program.socket.send(&message(3, 1, &[]), &[]));
    ends(&lab, "vm1", &program, "more than 1000 messages");
    let mut program = connect(&lab, &path, "vm1", USUAL);
    let wire = lab.far.socket("x0");
    program.send(&frame(mac(0xff), mac(1), 1));
    assert_eq!(next(&wire, common::PATIENCE), Some(1));
}

#[test]
fn descriptors_that_take_long_to_close_hold_up_nobody() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let path = add(&lab, &dir, "vm1", 1);
    let table = memory_table(&[[GUEST, MEMORY, USER, 0]]);
    let ring = 0_u64.to_ne_bytes();
    let began = Instant::now();
    let messages: [(&str, u32, &[u8]); 5] = [
        ("no memfd", 5, &table),
        ("no eventfd", 12, &ring),
        ("no eventfd", 13, &ring),
        ("no eventfd", 14, &ring),
        ("1 descriptors", 3, &[]),
    ];
    let mut peers = Vec::new();
    // The descriptor comes with half a message, so that the one here is not the last one.
    let mut pass = |program: &VhostUser, message: &[u8]| {
        let (half, rest) = message.split_at(4);
        let Lingering { near, far } = Lingering::new();
        program.socket.send(half, &[near.as_fd()]).unwrap();
        peers.push(far);
        drop(near);
        program.socket.send(rest, &[]).unwrap();
    };
    for (why, request, payload) in messages {
        let program = VhostUser::introduce(&path, USUAL);
        pass(&program, &message(request, 1, payload));
        ends(&lab, "vm1", &program, why);
    }
    let _first = connect(&lab, &path, "vm1", USUAL);
    // One that nobody receives, because its connection is never accepted.
    let waiting = UnixStream::connect(&path).unwrap();
    let waiting = MessageSocket::from(OwnedFd::from(waiting));
    let Lingering { near, far: _far } = Lingering::new();
    waiting.send(&[0; 4], &[near.as_fd()]).unwrap();
    drop(near);
    lab.engine().remove_sub(lab.sub("vm1").number).unwrap();
    let path = add(&lab, &dir, "vm1", 1);
    let _again = connect(&lab, &path, "vm1", USUAL);
    assert!(began.elapsed() < LIMIT, "something was waited for");
}

#[test]
fn a_program_that_listens_is_connected_to_and_again() {
    if !root_or_skip() {
        return;
    }
    let (lab, dir) = (Lab::new(PortIo::Auto), Scratch::new());
    let path = add_as(&lab, dir.path().join("listens"), "vm1", (1, true));
    let mut two = connect(&lab, &add(&lab, &dir, "vm2", 2), "vm2", USUAL);
    let why = |lab: &Lab| status(lab, "vm1").ended.unwrap_or_default();
    until("the reason", || why(&lab).contains("cannot connect"));
    for round in 1..3 {
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let mut one = VhostUser::introduce_by(stream, USUAL);
        one.start([0, 0]);
        until("the rings to be served", || is_running(&lab, "vm1"));
        let sent = frame(mac(2), mac(1), round);
        one.send(&sent);
        two.wait_for(&sent);
        assert_eq!(status(&lab, "vm1").connections, u64::from(round));
        drop((one, listener));
        std::fs::remove_file(&path).unwrap();
        until("its end", || {
            why(&lab).contains("closed by the program") || why(&lab).contains("cannot")
        });
        assert!(!lab.sub("vm1").link.is_running());
    }
    // What is not the daemon's stays.
    std::fs::write(&path, "mine").unwrap();
    lab.engine().remove_sub(lab.sub("vm1").number).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}
