//! Packet sockets that a process takes over from a former one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::{Extent, SLOTS};
use umacvlan_sys::tx_batch::TxBatch;
use umacvlan_testkit::root_or_skip;

/// The EtherType of the test's frames.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Bytes of a vnet header and of an Ethernet header.
const HEADERS: usize = 10 + 14;

/// Two ends of a wire: `sender` on one, and the index of the other.
struct Wire {
    netns: Netns,
    sender: PacketSocket,
    parent: u32,
    sent: u32,
}

impl Wire {
    fn new() -> Self {
        let netns = Netns::create().unwrap();
        let mut rtnl = Rtnl::open_in(&netns).unwrap();
        rtnl.add_veth("w0", "p0", None).unwrap();
        let [wire, parent] = ["w0", "p0"].map(|name| {
            let index = rtnl.link(name).unwrap().unwrap().index;
            rtnl.set_mtu(index, 9000).unwrap();
            rtnl.set_up(index, true).unwrap();
            index
        });
        let sender = netns.run(|| PacketSocket::open(wire, 9000)).unwrap().unwrap();
        Self { netns, sender, parent, sent: 0 }
    }

    fn receiver(&self, mtu: u32) -> PacketSocket {
        let parent = self.parent;
        self.netns.run(|| PacketSocket::open(parent, mtu)).unwrap().unwrap()
    }

    /// Sends numbered frames of that many bytes.
    fn send(&mut self, count: usize, len: usize) {
        for _ in 0..count {
            let mut frame = vec![0; 10 + len];
            frame[10..22].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1]);
            frame[22..24].copy_from_slice(&ETHERTYPE);
            frame[HEADERS..HEADERS + 4].copy_from_slice(&self.sent.to_be_bytes());
            self.sent += 1;
            let refused = |_, error: &io::Error| panic!("{error}");
            assert_eq!(TxBatch::new().send(self.sender.as_fd(), 1, |_| &frame, refused), 1);
        }
    }

    /// What the next process makes of the socket of a process that was killed.
    fn take_over(&self, killed: PacketSocket, mtu: u32) -> (PacketSocket, usize) {
        let kept: OwnedFd = killed.as_fd().try_clone_to_owned().unwrap();
        drop(killed);
        PacketSocket::from_kept(kept, self.parent, mtu).unwrap()
    }
}

/// Receives up to `most` frames of the test, and returns their numbers. The kernel may send others.
fn receive(socket: &mut PacketSocket, most: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < most
        && let Some(frame) = socket.ring.receive()
    {
        let mut buffer = vec![0; 16_000];
        let bytes = match frame.extent {
            Extent::Queued => {
                let len = socket.recv_queued(&mut buffer).unwrap();
                &buffer[..len]
            }
            _ => socket.ring.bytes(frame.slot, frame.at, frame.len),
        };
        if bytes[22..24] == ETHERTYPE {
            let number = bytes[HEADERS..HEADERS + 4].try_into().unwrap();
            numbers.push(u32::from_be_bytes(number));
        }
    }
    numbers
}

fn all(socket: &mut PacketSocket) -> Vec<u32> {
    let numbers = receive(socket, usize::MAX);
    socket.ring.release();
    numbers
}

#[test]
fn the_next_process_goes_on_where_the_killed_one_stopped() {
    if !root_or_skip() {
        return;
    }
    let mut wire = Wire::new();
    let mut socket = wire.receiver(9000);
    // One that has received nothing, and whose frames wait.
    wire.send(3, 60);
    (socket, _) = wire.take_over(socket, 9000);
    assert_eq!(all(&mut socket), [0, 1, 2]);
    // One that has received all, and in whose ring nothing waits.
    let lost;
    (socket, lost) = wire.take_over(socket, 9000);
    assert_eq!(lost, 0);
    wire.send(2, 60);
    assert_eq!(all(&mut socket), [3, 4]);
    // Many times around the ring, killed in the middle of a turn.
    for _ in 0..5 {
        let first = wire.sent;
        wire.send(SLOTS / 2, 60);
        assert_eq!(receive(&mut socket, 10).len(), 10);
        let lost;
        (socket, lost) = wire.take_over(socket, 9000);
        assert!((10..15).contains(&lost), "{lost}");
        let rest: Vec<u32> = (first + 10..wire.sent).collect();
        assert_eq!(all(&mut socket), rest, "what was received is not received again");
        assert!(!socket.ring.has_frame());
    }
}

#[test]
fn a_full_ring_is_taken_over_from_its_oldest_frame() {
    if !root_or_skip() {
        return;
    }
    for before in [0, 300] {
        let mut wire = Wire::new();
        let mut socket = wire.receiver(9000);
        wire.send(before, 60);
        all(&mut socket);
        let first = wire.sent;
        wire.send(SLOTS + 50, 60);
        (socket, _) = wire.take_over(socket, 9000);
        let numbers = all(&mut socket);
        assert!(numbers.len() > SLOTS - 20, "{}", numbers.len());
        assert!(numbers.iter().copied().eq(first..first + u32::try_from(numbers.len()).unwrap()));
        assert!(socket.take_drops().unwrap() >= 50);
        wire.send(1, 60);
        assert_eq!(all(&mut socket), [wire.sent - 1]);
    }
}

#[test]
fn queued_frames_stay_with_their_slots() {
    if !root_or_skip() {
        return;
    }
    let mut wire = Wire::new();
    // Slots for 1500 on an interface that carries more.
    let mut socket = wire.receiver(1500);
    for round in 0..4 {
        let first = wire.sent;
        for _ in 0..5 {
            wire.send(1, 5000);
            wire.send(1, 60);
        }
        match round {
            // Killed between a slot and its queued frame.
            1 => while socket.ring.receive().is_some_and(|it| it.extent != Extent::Queued) {},
            // Killed when all slots were received, and no queued frame.
            2 => while socket.ring.receive().is_some() {},
            _ => assert_eq!(receive(&mut socket, 3).len(), 3),
        }
        (socket, _) = wire.take_over(socket, 1500);
        let numbers = all(&mut socket);
        let begin = [3, 1, 10, 3][round];
        assert!(numbers.iter().copied().eq(first + begin..wire.sent), "{round}: {numbers:?}");
    }
}

/// The kernel fills slots while the next process finds its place.
#[test]
fn a_ring_is_taken_over_while_frames_come() {
    if !root_or_skip() {
        return;
    }
    let mut wire = Wire::new();
    let mut socket = wire.receiver(9000);
    let stop = AtomicBool::new(false);
    let (parent, mut numbers) = (wire.parent, Vec::new());
    thread::scope(|scope| {
        let wire = &mut wire;
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                wire.send(8, 60);
            }
        });
        for round in 0..500 {
            numbers.extend(receive(&mut socket, 400));
            // In some rounds it is killed in the middle of a turn.
            if round % 2 == 0 {
                socket.ring.release();
            }
            let kept: OwnedFd = socket.as_fd().try_clone_to_owned().unwrap();
            match PacketSocket::from_kept(kept, parent, 9000) {
                Ok((taken, _)) => socket = taken,
                Err(_) => break,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    numbers.extend(all(&mut socket));
    let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order, "{} frames", numbers.len());
    wire.send(3, 60);
    assert_eq!(all(&mut socket), [wire.sent - 3, wire.sent - 2, wire.sent - 1]);
}

#[test]
fn what_is_no_such_socket_is_not_taken_over() {
    if !root_or_skip() {
        return;
    }
    let wire = Wire::new();
    let socket = wire.receiver(9000);
    let kept = || socket.as_fd().try_clone_to_owned().unwrap();
    let kind = |taken: io::Result<(PacketSocket, usize)>| taken.unwrap_err().kind();
    let other = kind(PacketSocket::from_kept(kept(), wire.parent + 1, 9000));
    assert_eq!(other, io::ErrorKind::InvalidInput);
    let other = kind(PacketSocket::from_kept(kept(), wire.parent, 1500));
    assert_eq!(other, io::ErrorKind::InvalidInput, "a ring of another size");
    let file = std::fs::File::open("/dev/null").unwrap();
    PacketSocket::from_kept(file.into(), wire.parent, 9000).unwrap_err();
    let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
    let other = kind(PacketSocket::from_kept(stream.into(), wire.parent, 9000));
    assert_eq!(other, io::ErrorKind::InvalidInput);
    // The interface is gone: another one may have its index.
    let mut rtnl = Rtnl::open_in(&wire.netns).unwrap();
    rtnl.delete(wire.parent).unwrap();
    let gone = kind(PacketSocket::from_kept(kept(), wire.parent, 9000));
    assert_eq!(gone, io::ErrorKind::InvalidInput);
}
