//! TCP in bulk: every byte arrives, and GSO packets are not cut on the way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use umacvlan_core::stats::Counters;
use umacvlan_testkit::LIMIT;

use crate::sockets::{noise, set_feature};
use crate::world::{Plan, Station, World, on_every_path, stats};

/// Bytes in each direction.
pub(crate) const BULK: usize = 4 << 20;

/// Bytes of the longest frame for an MTU of 1500.
const LONGEST: u64 = 1514;

/// linux/ethtool.h
const ETHTOOL_STXCSUM: u32 = 0x17;

#[test]
fn bulk_between_siblings_travels_in_gso_packets() {
    on_every_path(Plan::default(), |world| {
        for (from, to) in [(&world.a, &world.b), (&world.b, &world.a)] {
            let sent = |world: &World| stats(&world.status(), from.name).received;
            let sent = during(world, sent, || bulk(from, to));
            assert_whole(sent);
        }
    });
}

#[test]
fn bulk_to_and_from_outside_travels_in_gso_packets() {
    on_every_path(Plan::default(), |world| {
        let up = |world: &World| world.status().counters.wire.sent;
        let up = during(world, up, || bulk(&world.a, &world.outside));
        assert_whole(up);
        let down = |world: &World| world.status().counters.wire.received;
        let down = during(world, down, || bulk(&world.outside, &world.a));
        assert_as(down, world.wire_is_whole());
    });
}

#[test]
fn bulk_arrives_where_the_wire_offloads_nothing() {
    on_every_path(Plan::default(), |world| {
        // Segmentation needs checksum offload, so the stacks at both ends of the wire do both in
        // software. The stack behind the parent does so for frames that the engine sent whole.
        for end in [&world.outside, &world.host] {
            set_feature(end, ETHTOOL_STXCSUM, false);
        }
        let before = world.outside.link().stats;
        let up = |world: &World| world.status().counters.wire.sent;
        let up = during(world, up, || bulk(&world.a, &world.outside));
        assert_whole(up);
        let after = world.outside.link().stats;
        let on_the_wire = Counters {
            frames: after.rx_packets - before.rx_packets,
            bytes: after.rx_bytes - before.rx_bytes,
        };
        assert_cut(on_the_wire);
        let down = |world: &World| world.status().counters.wire.received;
        let down = during(world, down, || bulk(&world.outside, &world.a));
        assert_cut(down);
    });
}

#[test]
fn bulk_arrives_from_a_sub_that_offloads_nothing() {
    on_every_path(Plan::default(), |world| {
        set_feature(&world.a, ETHTOOL_STXCSUM, false);
        for to in [&world.b, &world.outside] {
            let sent = |world: &World| stats(&world.status(), "a0").received;
            let sent = during(world, sent, || bulk(&world.a, to));
            assert_cut(sent);
        }
    });
}

/// Sends [`BULK`] bytes over one connection, and asserts that they arrive unchanged.
pub(crate) fn bulk(from: &Station, to: &Station) {
    let listen = || TcpListener::bind((to.ip, 0));
    let listener = to.netns.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let connect = || TcpStream::connect_timeout(&address, LIMIT);
    let mut stream = from.netns.run(connect).unwrap().unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    let bytes = noise(u64::from(address.port()), BULK);
    stream.write_all(&bytes).unwrap();
    drop(stream);
    assert!(reader.join().unwrap() == bytes, "other bytes have arrived");
}

/// The increase of `counters` while `run` ran.
pub(crate) fn during(
    world: &World,
    counters: impl Fn(&World) -> Counters,
    run: impl FnOnce(),
) -> Counters {
    let before = counters(world);
    run();
    let after = counters(world);
    Counters { frames: after.frames - before.frames, bytes: after.bytes - before.bytes }
}

/// Asserts that frames were longer than any segment, or that they were not.
pub(crate) fn assert_as(counted: Counters, whole: bool) {
    match whole {
        true => assert_whole(counted),
        false => assert_cut(counted),
    }
}

/// Asserts that frames were longer on average than four segments.
pub(crate) fn assert_whole(counted: Counters) {
    let whole = counted.bytes > counted.frames * 4 * LONGEST;
    assert!(whole, "no GSO packets: {counted:?}");
}

/// Asserts that frames were on average no longer than one segment.
fn assert_cut(counted: Counters) {
    let cut = counted.bytes <= counted.frames * LONGEST;
    assert!(cut && counted.frames > 0, "not cut: {counted:?}");
}
