//! Frames longer than a chunk, which are received and sent in several.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use umacvlan_core::options::{PortIo, XdpMode};

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{MacAddr, Mode};
use umacvlan_engine::Error;
use umacvlan_engine::engine::{ParentOptions, UplinkKind};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::rx_ring::RxFrame;
use umacvlan_sys::{poll, raw_socket};
use umacvlan_testkit::root_or_skip;

use super::uplink::{af_xdp, tcp_is_whole};
use crate::common::{Lab, PARENT, PATIENCE, Place, frame, mac, send, until};

/// The longest MTU that fits 17 chunks of 3840 bytes, with two tags.
const LONGEST: u32 = 17 * 3840 - 22;

fn set_mtu(place: &mut Place, name: &str, mtu: u32) {
    let index = place.index(name);
    place.rtnl.set_mtu(index, mtu).unwrap();
}

/// An engine on an AF_XDP uplink of this MTU, for both ways to serve TAPs.
fn each_io(mtu: u32, test: impl Fn(Lab)) {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Plain, PortIo::Auto] {
        let mut lab = Lab::new(io);
        set_mtu(&mut lab.far, "x0", mtu);
        set_mtu(&mut lab.host, PARENT, mtu);
        lab.start(io, af_xdp());
        assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(XdpMode::Native));
        test(lab);
    }
}

/// A frame of this many bytes, with a payload in which neighbouring bytes differ.
fn long(to: MacAddr, from: MacAddr, len: usize) -> Vec<u8> {
    let mut bytes = frame(to, from, 0);
    bytes.truncate(14);
    bytes.extend((0..=250).cycle().take(len - 14));
    bytes
}

/// The next received frame.
fn arrived(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        if let Some(len) = raw_socket::receive(socket.as_fd(), &mut buffer).unwrap() {
            buffer.truncate(len);
            return buffer;
        }
        let mut wanted = [poll::Interest::readable(socket.as_fd())];
        assert!(poll::wait(&mut wanted, PATIENCE).unwrap() > 0, "a frame never arrived");
    }
}

/// Sends one frame each way of every length at which the handling changes, the shortest included.
fn both_ways(lab: &Lab, sub: &OwnedFd, mtu: usize) {
    let wire = lab.far.socket("x0");
    let chunks = (1..).map(|count| count * 3840).take_while(|len| *len <= mtu);
    for len in chunks.flat_map(|len| [len, 60, len + 1]).chain([mtu + 14]) {
        for (from, to, frame) in
            [(&wire, sub, long(mac(1), mac(0xff), len)), (sub, &wire, long(mac(0xff), mac(1), len))]
        {
            send(from, &frame);
            assert!(arrived(to) == frame, "{len} bytes");
        }
    }
}

#[test]
fn jumbo_frames_go_both_ways_whole() {
    for mtu in [9000, LONGEST] {
        each_io(mtu, |lab| {
            let inside = Place::new();
            assert_eq!(lab.add("s1", 1, Mode::Bridge, &inside).mtu, mtu);
            both_ways(&lab, &inside.socket("s1"), mtu as usize);
            until("all writes done", || lab.counters().is_balanced());
            assert_eq!(crate::common::losses(&lab.parent()), "");
        });
    }
}

#[test]
fn tcp_is_whole_in_jumbo_frames() {
    each_io(9000, |lab| tcp_is_whole(&lab));
}

/// Sends more frames at once than a turn takes, so that batches end within frames.
#[test]
fn a_burst_of_jumbo_frames_comes_whole_and_in_order_and_no_chunk_is_lost() {
    each_io(9000, |lab| {
        let mut inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let (index, wire) = (inside.index("s1"), lab.far.socket("x0"));
        // A ring has room for a burst, and a socket's queue has not.
        let open = || PacketSocket::open(index, 9000);
        let mut sub = inside.netns.run(open).unwrap().unwrap();
        // Each frame takes three of the 2048 chunks.
        for round in 0..40_u8 {
            let numbered = |number: u8| {
                let mut frame = long(mac(1), mac(0xff), 9014);
                frame[14..16].copy_from_slice(&[round, number]);
                frame
            };
            (0..50).for_each(|number| send(&wire, &numbered(number)));
            for number in 0..50 {
                let mut received = None;
                until("a frame", || {
                    received = sub.ring.receive();
                    received.is_some()
                });
                let RxFrame { slot, at, len, .. } = received.unwrap();
                let unit = sub.ring.bytes(slot, at, len);
                assert!(unit[VNET_LEN..] == numbered(number), "{round} {number}");
                sub.ring.release();
            }
        }
    });
}

#[test]
fn a_parent_whose_mtu_grows_beyond_a_chunk_and_shrinks_again_stays_on_af_xdp() {
    each_io(1500, |mut lab| {
        let mut inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let sub = inside.socket("s1");
        for mtu in [9000, 1500] {
            // The MTU of the other end never exceeds the limit of the program, because a veth would
            // refuse it.
            if mtu < 9000 {
                set_mtu(&mut lab.far, "x0", mtu);
            }
            set_mtu(&mut lab.host, PARENT, mtu);
            until("the MTU of the parent", || lab.parent().mtu == mtu);
            set_mtu(&mut lab.far, "x0", mtu);
            set_mtu(&mut inside, "s1", mtu);
            until("the MTU of the sub-interface", || lab.sub("s1").mtu == mtu);
            assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(XdpMode::Native));
            let wire = lab.far.socket("x0");
            crate::common::reaches(&wire, &sub, &frame(mac(1), mac(0xff), 1));
            while crate::common::next(&sub, Duration::from_millis(50)).is_some() {}
            let long = long(mac(1), mac(0xff), mtu as usize + 14);
            send(&wire, &long);
            assert!(arrived(&sub) == long, "{mtu}");
        }
    });
}

#[test]
fn an_mtu_that_fits_no_chain_of_chunks_is_refused_with_the_limit() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    lab.engine().remove_parent(PARENT).unwrap();
    set_mtu(&mut lab.host, PARENT, LONGEST + 1);
    let options = ParentOptions { name: PARENT.to_owned(), ..af_xdp() };
    let error = lab.engine().add_parent(options).unwrap_err();
    assert!(matches!(&error, Error::NoAfXdp { .. }), "{error}");
    assert!(error.to_string().contains("an MTU of at most 65258, not 65259"), "{error}");
}
