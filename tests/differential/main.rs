//! Our engine against the kernel's macvlan: random networks, random frames, the same answers.
//!
//! Two networks are alike but for who works on the parent. Both get the same sub-interfaces, the
//! same changes to them while they run, and the same frames from the wire, from the host and from
//! every sub-interface; what comes out on the wire goes in again half of the time, as through a
//! hairpin. Where each frame arrives, its bytes, its tag and whose the receiver takes it for have
//! to be equal, and so have the errno of every refusal and what each side says it is.
//!
//! # What may differ
//! *The host's stack*, and only where no program may be loaded into the kernel, as in one of the
//! tests. An AF_PACKET uplink gets copies, and takes nothing from the host. So without the filter
//! the host hears four kinds of frames from the wire that the kernel's macvlan takes:
//!
//! 1. group frames from a private, source or passthru sub-interface, come back by a hairpin;
//! 2. frames from stations on the list of a sub-interface with `nodst`;
//! 3. all unicast on a parent with a passthru sub-interface;
//! 4. unicast for a sub-interface that is up, which the host sees as somebody else's (OTHERHOST)
//!    and its IP ignores.
//!
//! All other cells of the host's column have to be equal, and in these it may only hear more.
//!
//! *Unicast to or from private sub-interfaces*, with documented semantics: what comes from the
//! wire as from a sibling that is up is dropped, which the kernel delivers.
//!
//! *Whose a frame is*, in two cells, because a TAP's kernel looks at the TAP's address: unicast in
//! passthru, and copies for source sub-interfaces of frames for the parent.
//!
//! *Multicast by mistake*: the kernel's filters are hashes, so groups that it lets through to
//! somebody who has not joined are found beforehand, and left out.
//!
//! Not compared: fragments of IPv4 multicast, which the kernel puts together.
//!
//! # When it fails
//! The report has the seed (`DIFF_SEED` repeats it), what was done to the sub-interfaces, and a
//! minimal frame. `DIFF_FRAMES` makes runs longer.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test may panic, its helpers included"
)]

mod changes;
mod compare;
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
use umacvlan_core::options::Backend;

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
fn by_af_xdp_ours_is_equal_as_well() {
    in_networks(|| {
        let mut run = Run::of_engine_by_xdp(seed().unwrap_or(4), Semantics::Kernel);
        let tally = run.compare(5000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[test]
fn on_a_vlan_ours_is_equal_to_the_kernel_without_one() {
    in_networks(|| {
        let mut run = Run::of_vlan(seed().unwrap_or(5), Semantics::Kernel, Backend::AfPacket);
        let tally = run.compare(5000);
        assert_eq!((tally.isolated, tally.overheard), (0, 0));
    });
}

#[cfg(feature = "af-xdp")]
#[test]
fn on_a_vlan_by_af_xdp_ours_is_equal_as_well() {
    in_networks(|| {
        let mut run = Run::of_vlan(seed().unwrap_or(6), Semantics::Kernel, Backend::AfXdp);
        let tally = run.compare(3000);
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

/// The seed that the environment asks for.
fn seed() -> Option<u64> {
    let text = std::env::var("DIFF_SEED").ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.expect("DIFF_SEED is a number"))
}

/// Runs a test of an engine that hides from the host what is not its own.
fn with_filter(test: impl FnOnce() + Send) {
    match cfg!(feature = "af-xdp") {
        true => in_networks(test),
        false => skip("built without the feature af-xdp"),
    }
}

/// Runs a test on a thread that may keep to one core, if there can be networks and macvlan here.
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
