//! One packet socket.

use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use umacvlan_netlink::Rtnl;
use umacvlan_sys::epoll::Epoll;
use umacvlan_sys::netns::Netns;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::Extent;
use umacvlan_sys::tx_batch::TxBatch;
use umacvlan_testkit::root_or_skip;

#[test]
fn a_queued_frame_tells_its_length_also_if_the_buffer_is_too_small() {
    if !root_or_skip() {
        return;
    }
    const LEN: usize = 10 + 5000;
    let netns = Netns::create().unwrap();
    let mut rtnl = Rtnl::open_in(&netns).unwrap();
    rtnl.add_veth("w0", "p0", None).unwrap();
    let [wire, parent] = ["w0", "p0"].map(|name| {
        let index = rtnl.link(name).unwrap().unwrap().index;
        rtnl.set_mtu(index, 9000).unwrap();
        rtnl.set_up(index, true).unwrap();
        index
    });
    let open = |index, mtu| netns.run(|| PacketSocket::open(index, mtu)).unwrap().unwrap();
    // Slots for 1500 on an interface that carries more.
    let (sender, mut receiver) = (open(wire, 9000), open(parent, 1500));
    let mut epoll = Epoll::new().unwrap();
    epoll.add(&receiver, 0).unwrap();
    let mut frame = [0; LEN];
    frame[10..24]
        .copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    let refused = |_, error: &io::Error| panic!("{error}");
    TxBatch::new().send(sender.as_fd(), 1, |_| &frame, refused);
    loop {
        assert!(epoll.wait(Some(Duration::from_secs(5))).unwrap().count() > 0, "it did not come");
        // The kernel may send frames of its own on the interfaces.
        if std::iter::from_fn(|| receiver.ring.receive())
            .any(|received| received.extent == Extent::Queued)
        {
            break;
        }
        receiver.ring.release();
    }
    assert_eq!(receiver.recv_queued(&mut [0; 100]).unwrap(), LEN);
}

#[test]
fn the_header_of_a_slot_is_not_handed_out() {
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
    let open = |index| netns.run(|| PacketSocket::open(index, 1500)).unwrap().unwrap();
    let (sender, mut receiver) = (open(wire), open(parent));
    let mut epoll = Epoll::new().unwrap();
    epoll.add(&receiver, 0).unwrap();
    let refused = |_, error: &io::Error| panic!("{error}");
    TxBatch::new().send(sender.as_fd(), 1, |_| &[0; 70], refused);
    assert!(epoll.wait(Some(Duration::from_secs(5))).unwrap().count() > 0, "it did not come");
    let received = receiver.ring.receive().unwrap();
    assert_eq!(receiver.ring.bytes(received.slot, received.at, received.len).len(), received.len);
    // The first word gives the slot back to the kernel, which then writes to it.
    let header = AssertUnwindSafe(|| receiver.ring.bytes_mut(received.slot, 0, 4).fill(0));
    assert!(catch_unwind(header).is_err());
}
