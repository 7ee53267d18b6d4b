//! Frames from the wire while no daemon runs: they wait in the socket on the parent, which the keeper holds
//! for some seconds.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use serde_json::json;
use umacvlan_core::MacAddr;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::{LIMIT, Machine, netns_path, root_or_skip};

use crate::keeper::{kill_keeper, until};

/// For local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

/// Frames that are sent without a daemon; a ring has room for 1024.
const FRAMES: u32 = 300;

/// The keeper holds sockets for three seconds. A machine that takes longer for a round says nothing.
const ROUND: Duration = Duration::from_secs(2);

const LINK: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

struct World {
    machine: Machine,
    guest: Netns,
    /// The other end of the parent's wire.
    wire: OwnedFd,
    /// On the link, whose name is `mac1`.
    link: Option<OwnedFd>,
    sent: u32,
}

impl World {
    fn new(config: &str) -> Self {
        let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
        machine.configure(config);
        let wire = open(&machine.netns, "q0");
        Self { machine, guest: Netns::create().unwrap(), wire, link: None, sent: 0 }
    }

    /// Sends numbered frames.
    fn send(&mut self, count: u32) {
        for _ in 0..count {
            let mut frame = [LINK.octets(), [2, 0, 0, 0, 0, 0xff]].concat();
            frame.extend(ETHERTYPE.to_be_bytes());
            frame.extend(self.sent.to_be_bytes());
            frame.resize(60, 0);
            assert_eq!(raw_socket::send(self.wire.as_fd(), &frame, 1).unwrap(), 1);
            self.sent += 1;
        }
    }

    /// Receives on the link up to the frame of that number. Returns how often each number came.
    fn receive_until(&self, last: u32) -> BTreeMap<u32, u32> {
        let socket = self.link.as_ref().unwrap();
        let mut numbers = BTreeMap::new();
        let (mut buffer, end) = ([0; 128], Instant::now() + LIMIT);
        while !numbers.contains_key(&last) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "frame {last} does not come: {numbers:?}");
            if let Ok(Some(len)) = raw_socket::receive(socket.as_fd(), &mut buffer) {
                let number = buffer[..len].get(14..18).map(|it| it.try_into().unwrap());
                *numbers.entry(number.map_or(u32::MAX, u32::from_be_bytes)).or_insert(0) += 1;
                continue;
            }
            let _ = poll::wait(&mut [poll::Interest::readable(socket.as_fd())], left);
        }
        numbers
    }
}

fn open(netns: &Netns, name: &str) -> OwnedFd {
    let open = || raw_socket::open(raw_socket::index_of(name).unwrap(), ETHERTYPE);
    netns.run(open).unwrap().unwrap()
}

fn once(numbers: std::ops::Range<u32>) -> BTreeMap<u32, u32> {
    numbers.map(|number| (number, 1)).collect()
}

#[test]
fn they_wait_for_the_next_daemon_and_come_once() {
    if !root_or_skip() {
        return;
    }
    for config in ["", "[parent.p0]\nworkers = 2\n"] {
        let mut world = World::new(config);
        let mut daemon = world.machine.start(&[]);
        let more = json!({"address": LINK.to_string(), "netns": netns_path(&world.guest)});
        daemon.add("mac1", more).ok();
        world.link = Some(open(&world.guest, "mac1"));
        world.send(1);
        world.receive_until(0);
        for signal in ["KILL", "TERM", "KILL"] {
            let proven = (0..10).any(|_| {
                let begun = Instant::now();
                daemon.end(signal);
                let first = world.sent;
                world.send(FRAMES);
                daemon = world.machine.start(&[]);
                let in_time = begun.elapsed() < ROUND;
                world.send(1);
                let came = world.receive_until(world.sent - 1);
                if in_time {
                    assert_eq!(came, once(first..world.sent), "after SIG{signal}");
                }
                in_time
            });
            assert!(proven, "no daemon starts within {ROUND:?}");
        }
    }
}

#[test]
fn after_three_seconds_they_wait_no_more() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new("");
    let mut daemon = world.machine.start(&[]);
    let more = json!({"address": LINK.to_string(), "netns": netns_path(&world.guest)});
    daemon.add("mac1", more).ok();
    world.link = Some(open(&world.guest, "mac1"));
    daemon.kill();
    world.send(5);
    until("the parent's filter is as it was", || {
        !world.machine.interface("p0").unwrap().is_promiscuous()
    });
    let _daemon = world.machine.start(&[]);
    let first = world.sent;
    // Until the link has its carrier again, frames are dropped.
    until("a frame", || {
        world.send(1);
        let mut wanted = [poll::Interest::readable(world.link.as_ref().unwrap().as_fd())];
        poll::wait(&mut wanted, Duration::from_millis(20)).is_ok_and(|ready| ready > 0)
    });
    let came = world.receive_until(world.sent - 1);
    assert!(came.keys().all(|&number| number >= first), "{came:?}");
}

#[test]
fn sockets_that_do_not_fit_any_more_are_replaced() {
    if !root_or_skip() {
        return;
    }
    let mut world = World::new("");
    let mut daemon = world.machine.start(&[]);
    let more = json!({"address": LINK.to_string(), "netns": netns_path(&world.guest)});
    daemon.add("mac1", more).ok();
    world.link = Some(open(&world.guest, "mac1"));
    for change in ["mtu", "keeper", "interface"] {
        daemon.kill();
        world.send(5);
        let parent = world.machine.interface("p0").unwrap().index;
        match change {
            "mtu" => world.machine.rtnl.set_mtu(parent, 9000).unwrap(),
            "keeper" => kill_keeper(&world.machine),
            _ => {
                world.machine.rtnl.set_up(parent, false).unwrap();
                world.machine.rtnl.set_up(parent, true).unwrap();
            }
        }
        daemon = world.machine.start(&[]);
        until("a frame with the next daemon", || {
            world.send(1);
            let mut wanted = [poll::Interest::readable(world.link.as_ref().unwrap().as_fd())];
            poll::wait(&mut wanted, Duration::from_millis(20)).is_ok_and(|ready| ready > 0)
        });
        let came = world.receive_until(world.sent - 1);
        assert!(came.values().all(|&times| times == 1), "{change}: {came:?}");
    }
    daemon.terminate();
}
