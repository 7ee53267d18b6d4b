//! Our engine against the kernel's macvlan: random networks, random frames, the same answers.
//!
//! Two networks are alike except for the implementation of macvlan on the parent. Both get the same
//! sub-interfaces, the same changes to them while they run, and the same frames from the wire, from
//! the host and from every sub-interface. Half of the time, frames that leave on the wire enter
//! again, as through a hairpin. The receivers of each frame, its bytes, its tag and its packet type
//! have to be equal, and so do the errno of every refusal and the state that each side reports.
//!
//! # What may differ
//! *The host's stack*, and only where no program may be loaded into the kernel, as in one of the
//! tests. An AF_PACKET uplink gets copies and takes nothing from the host. So without the filter
//! the host receives four kinds of frames from the wire that the kernel's macvlan takes:
//!
//! 1. group frames from a private, source or passthru sub-interface that a hairpin returned;
//! 2. frames from hosts on the list of a sub-interface with `nodst`;
//! 3. all unicast on a parent with a passthru sub-interface;
//! 4. unicast for a sub-interface that is up, which the host sees as OTHERHOST and its IP ignores.
//!
//! All other cells of the host's column have to be equal, and in these four it may only receive
//! more.
//!
//! *Unicast to or from private sub-interfaces*, with documented semantics: a frame from the wire
//! with the source address of a sibling that is up is dropped, which the kernel delivers.
//!
//! *Packet types*, in two cells, because a TAP's kernel compares with the TAP's address: unicast in
//! passthru, and copies for source sub-interfaces of frames for the parent.
//!
//! *Frames from the wire that are longer than the MTU of the receiver*, if that is one end of a veth
//! pair: the kernel's veth drops them.
//!
//! *Programs at the far end of sub-interfaces* (vhost-user, stream and a TAP), where the reference is an
//! interface, which nothing tells of what a guest has joined:
//!
//! 1. groups: a program gets the frames of every group, so the reference has `allmulti` on, whatever
//!    is changed, and joins nothing;
//! 2. refusals: a packet socket tells its sender of a frame that is too short, or of an interface that
//!    is down; a program is told of nothing, and the frame must not arrive anywhere;
//! 3. frames longer than the MTU of their own sub-interface, which a packet socket refuses and a
//!    program may send, as it may to a macvtap: they are left out;
//! 4. frames that end with their tag, which the stack of an interface drops and a program gets: they are
//!    left out;
//! 5. packet types: a program has no stack that would set one.
//!
//! *Hash collisions of multicast*: the kernel's filters are hashes, so groups that pass to an
//! interface that has not joined are found beforehand and left out.
//!
//! Not compared: fragments of IPv4 multicast, which the kernel reassembles, and frames from address
//! zero to address zero.
//!
//! # When it fails
//! The report has the seed (`DIFF_SEED` repeats it), the changes to the sub-interfaces, and a
//! minimal frame. `DIFF_FRAMES` makes runs longer.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may panic, its helpers included"
)]

mod changes;
mod compare;
mod end;
mod engine;
mod exchange;
mod frames;
mod kernel;
mod model;
mod network;
mod random;
mod run;
mod shrink;
mod socket;

use std::hash::{BuildHasher, RandomState};
use std::panic;
use std::thread;
use umacvlan_core::options::{Backend, PortKind};

use umacvlan_core::Semantics;
use umacvlan_testkit::{root_or_skip, skip};

use network::Network;
use run::Run;

#[test]
fn two_kernels_are_equal() {
    in_networks(|| {
        let mut run = Run::of_kernel(seed().unwrap_or(1));
        let tally = run.compare(4000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn ours_is_equal_to_the_kernel_with_its_semantics() {
    with_filter(|| {
        let mut run = Run::of_engine(seed().unwrap_or(1), Semantics::Kernel);
        let tally = run.compare(20_000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn ours_with_af_xdp_is_equal_to_the_kernel() {
    in_networks(|| {
        let mut run = Run::of_engine_by_xdp(seed().unwrap_or(4), Semantics::Kernel);
        let tally = run.compare(5000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn ours_with_veth_pairs_is_equal_to_the_kernel() {
    in_networks(|| {
        let mut run = Run::of_engine_with_veth(seed().unwrap_or(7), Semantics::Kernel);
        let tally = run.compare(3000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn ours_with_veth_pairs_differs_by_the_private_rule_only() {
    in_networks(|| {
        let mut run = Run::of_engine_with_veth(seed().unwrap_or(8), Semantics::Documented);
        let tally = run.compare(3000);
        assert!(tally.isolated > 0, "{tally:?}");
        assert_eq!(tally.overheard, 0);
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn ours_with_veth_pairs_where_the_engine_has_the_wire_is_equal_to_the_kernel() {
    in_networks(|| {
        let mut run = Run::of_engine_by_xdp_with_veth(seed().unwrap_or(9), Semantics::Kernel);
        let tally = run.compare(800);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
    in_networks(|| {
        let (backend, port) = (Backend::AfPacket, PortKind::Veth);
        let mut run = Run::of_vlan(seed().unwrap_or(10), Semantics::Kernel, backend, port);
        let tally = run.compare(800);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn on_a_vlan_ours_is_equal_to_the_kernel_without_one() {
    in_networks(|| {
        let mut run =
            Run::of_vlan(seed().unwrap_or(5), Semantics::Kernel, Backend::AfPacket, PortKind::Tap);
        let tally = run.compare(5000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn on_a_vlan_ours_with_af_xdp_is_equal_to_the_kernel() {
    in_networks(|| {
        let mut run =
            Run::of_vlan(seed().unwrap_or(6), Semantics::Kernel, Backend::AfXdp, PortKind::Tap);
        let tally = run.compare(3000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn ours_with_programs_is_equal_to_the_kernel() {
    with_filter(|| {
        let (backend, port) = (Backend::AfPacket, PortKind::Tap);
        let seed = seed().unwrap_or(11);
        let mut run = Run::of_engine_with_programs(seed, Semantics::Kernel, backend, port);
        let tally = run.compare(5000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn ours_with_programs_differs_by_the_private_rule_only() {
    with_filter(|| {
        let (backend, port) = (Backend::AfPacket, PortKind::Tap);
        let seed = seed().unwrap_or(12);
        let mut run = Run::of_engine_with_programs(seed, Semantics::Documented, backend, port);
        let tally = run.compare(3000);
        assert!(tally.isolated > 0, "{tally:?}");
        assert_eq!(tally.overheard, 0);
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn ours_with_programs_beside_other_kinds_of_port_and_uplink_is_equal_to_the_kernel() {
    for (number, backend, port) in
        [(13, Backend::AfXdp, PortKind::Tap), (14, Backend::AfPacket, PortKind::Veth)]
    {
        in_networks(|| {
            let seed = seed().unwrap_or(number);
            let mut run = Run::of_engine_with_programs(seed, Semantics::Kernel, backend, port);
            let tally = run.compare(2000);
            assert_eq!((tally.isolated, tally.overheard), (0, 0));
        });
    }
}

#[test]
fn on_a_vlan_ours_with_programs_is_equal_to_the_kernel_without_one() {
    with_filter(|| {
        let mut run = Run::of_vlan_with_programs(seed().unwrap_or(15));
        let tally = run.compare(2000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn without_the_filter_the_host_hears_more_and_nothing_else_differs() {
    in_networks(|| {
        let mut run = Run::of_engine_without_filter(seed().unwrap_or(3));
        let tally = run.compare(5000);
        assert_eq!(tally.isolated, 0);
        assert!(tally.overheard > 0, "{tally:?}");
    });
}

#[test]
fn ours_differs_with_documented_semantics_by_the_private_rule_only() {
    with_filter(|| {
        let mut run = Run::of_engine(seed().unwrap_or(2), Semantics::Documented);
        let tally = run.compare(20_000);
        assert!(tally.isolated > 0, "{tally:?}");
        assert_eq!(tally.overheard, 0);
    });
}

#[test]
fn ours_is_equal_with_a_seed_never_tried() {
    with_filter(|| {
        let random = RandomState::new().hash_one(());
        Run::of_engine(seed().unwrap_or(random), Semantics::Kernel).compare(5000);
    });
}

/// The seed in the environment.
fn seed() -> Option<u64> {
    let text = std::env::var("DIFF_SEED").ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.expect("DIFF_SEED is a number"))
}

/// Runs a test of an engine that hides from the host the frames of sub-interfaces.
fn with_filter(test: impl FnOnce() + Send) {
    match cfg!(feature = "af-xdp") {
        true => in_networks(test),
        false => skip("built without the feature af-xdp"),
    }
}

/// Runs a test on a thread that may be bound to one core, if network namespaces and macvlan are
/// available.
fn in_networks(test: impl FnOnce() + Send) {
    if !root_or_skip() {
        return;
    }
    if !Network::of_kernel().unwrap().has_macvlan() {
        return skip("this kernel has no macvlan");
    }
    thread::scope(|scope| {
        let done = scope.spawn(test).join();
        done.unwrap_or_else(|payload| panic::resume_unwind(payload));
    });
}
