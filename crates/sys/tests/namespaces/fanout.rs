//! Packet sockets that share the frames of one interface.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::raw_socket;
use umacvlan_testkit::root_or_skip;

const IPV4: u16 = 0x0800;
const FLOWS: u8 = 32;
const ROUNDS: u16 = 40;

/// A datagram of a flow, with a number in it.
fn datagram(flow: u8, number: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14..34]
        .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame[34..42].copy_from_slice(&[80, flow, 0, 9, 0, 26, 0, 0]);
    frame[42..44].copy_from_slice(&number.to_be_bytes());
    frame
}

/// The contents of a ring: the numbers of each flow, in order of arrival.
fn drain(packet: &mut PacketSocket, seen: &mut BTreeMap<u8, Vec<u16>>) -> usize {
    let mut count = 0;
    while let Some(received) = packet.ring.receive() {
        let bytes = &packet.ring.bytes(received.slot, received.at, received.len)[10..];
        if let [80, flow, 0, 9, _, _, _, _, high, low, ..] = bytes[34..] {
            seen.entry(flow).or_default().push(u16::from_be_bytes([high, low]));
            count += 1;
        }
        packet.ring.release();
    }
    count
}

#[test]
fn no_frame_is_duplicated_while_a_fanout_group_forms() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("w0", "p0", None).unwrap();
    let [wire, parent] = ["w0", "p0"].map(|name| {
        let index = rtnl.link(name).unwrap().unwrap().index;
        rtnl.set_up(index, true).unwrap();
        index
    });
    let sender = netns.run(|| raw_socket::open(wire, IPV4)).unwrap().unwrap();
    // The race takes microseconds: a large group and many rounds hit it.
    for _ in 0..4 {
        let mut sockets = while_sending(&sender, || {
            netns.run(|| PacketSocket::open_group(parent, 1500, 16)).unwrap().unwrap()
        });
        let mut seen = BTreeMap::new();
        let each: Vec<usize> = sockets.iter_mut().map(|one| drain(one, &mut seen)).collect();
        let spread = each.iter().filter(|&&count| count > 0).count();
        assert!(spread > 4, "most got nothing: {each:?}");
        assert_eq!(seen.len(), usize::from(FLOWS));
        for (flow, numbers) in seen {
            // The first round may have begun before the group was complete.
            assert!(numbers.len() >= usize::from(ROUNDS) - 1, "flow {flow}: {numbers:?}");
            let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(whole, "flow {flow}: {numbers:?}");
        }
    }
}

/// Calls `act` while datagrams are sent, and sends some more afterwards.
fn while_sending<T>(sender: &OwnedFd, act: impl FnOnce() -> T) -> T {
    let (done, going) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut number, mut left) = (0, ROUNDS);
            while left > 0 {
                number += 1;
                for flow in 0..FLOWS {
                    let frame = datagram(flow, number);
                    while raw_socket::send(sender.as_fd(), &frame, 1).unwrap() == 0 {}
                }
                going.store(true, Ordering::Release);
                left -= u16::from(done.load(Ordering::Acquire));
            }
        });
        while !going.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let made = act();
        done.store(true, Ordering::Release);
        made
    })
}

#[test]
fn a_fanout_group_does_not_receive_outgoing_frames() {
    if !root_or_skip() {
        return;
    }
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("w0", "p0", None).unwrap();
    let [wire, parent] = ["w0", "p0"].map(|name| {
        let index = rtnl.link(name).unwrap().unwrap().index;
        rtnl.set_up(index, true).unwrap();
        index
    });
    let group = || PacketSocket::open_group(parent, 1500, 2);
    let mut sockets = netns.run(group).unwrap().unwrap();
    // First another program on the parent, and then the wire.
    for (index, number) in [(parent, 1), (wire, 2)] {
        let sender = netns.run(|| raw_socket::open(index, IPV4)).unwrap().unwrap();
        for flow in 0..FLOWS {
            assert_eq!(raw_socket::send(sender.as_fd(), &datagram(flow, number), 1).unwrap(), 1);
        }
    }
    let mut seen = BTreeMap::new();
    sockets.iter_mut().for_each(|one| _ = drain(one, &mut seen));
    assert!(seen.len() == usize::from(FLOWS) && seen.values().all(|n| *n == [2]), "{seen:?}");
}
