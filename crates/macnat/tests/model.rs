//! Any frames of links and of the wire, beside a slow model of who has which address.
//!
//! The model keeps every frame that was ever accepted, in one list, and finds the owner of an address by
//! reading that list from its end.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod frames;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use frames::{HOST, PARENT, WIRE, address, checksum_is_right, link_mac};
use proptest::prelude::*;
use umacvlan_core::offload::{VNET_LEN, VnetHeader, complete_checksum};
use umacvlan_core::{DropReason, Frame, MacAddr, SubIndex};
use umacvlan_macnat::{Change, Incoming, LIFETIME, MacNat};

/// Links of the model.
const LINKS: u8 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A frame of a link from one of the addresses.
    Send { link: u8, source: u8, kind: frames::Kind },
    /// A frame from the wire to one of the addresses.
    Arrive { target: u8, kind: frames::Kind },
    /// A link goes down.
    Down(u8),
    /// A link is removed.
    Remove(u8),
    /// Time passes.
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let kind = || any::<u8>().prop_map(frames::Kind::of);
    prop_oneof![
        6 => (0..LINKS, 0..6_u8, kind()).prop_map(|(link, source, kind)| Op::Send { link, source, kind }),
        4 => (0..6_u8, kind()).prop_map(|(target, kind)| Op::Arrive { target, kind }),
        1 => (0..LINKS).prop_map(Op::Down),
        1 => (0..LINKS).prop_map(Op::Remove),
        2 => (0..400_u16).prop_map(Op::Wait),
    ]
}

/// One accepted frame, or the end of a link.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Sent { address: IpAddr, link: u8, at: Instant },
    Down(u8),
    Removed(u8),
}

/// Who has an address: the link, and whether it is alive.
fn owner(history: &[Entry], address: IpAddr, now: Instant) -> Option<(u8, bool)> {
    let mut ended = Vec::new();
    for entry in history.iter().rev() {
        match *entry {
            Entry::Sent { address: other, link, at } if other == address => {
                if ended.contains(&(link, true)) {
                    return None;
                }
                return Some((link, !ended.contains(&(link, false)) && now - at < LIFETIME));
            }
            Entry::Sent { .. } => {}
            Entry::Down(link) => ended.push((link, false)),
            Entry::Removed(link) => ended.push((link, true)),
        }
    }
    None
}

fn index(link: u8) -> SubIndex {
    SubIndex::from_index(usize::from(link)).unwrap()
}

proptest! {
    #[test]
    fn nobody_takes_an_address_over_and_frames_reach_its_owner(
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut nat = MacNat::new();
        let host = [address(HOST, false), address(HOST, true)];
        nat.set_host(host);
        let (mut history, mut now) = (Vec::new(), Instant::now());
        for op in ops {
            match op {
                Op::Send { link, source, kind } => {
                    let bytes = kind.build(link_mac(link), WIRE, source, 9);
                    let frame = Frame::new(&bytes).unwrap();
                    let address = address(source, kind.is_v6());
                    let taken = owner(&history, address, now)
                        .is_some_and(|(other, alive)| other != link && alive);
                    let learned = nat.learn(index(link), frame, now);
                    let expected = match host.contains(&address) || taken {
                        true => Err(DropReason::MacnatClaimed),
                        false => Ok(()),
                    };
                    prop_assert_eq!(learned, expected, "{:?} of {} from {}", kind, link, address);
                    if learned.is_ok() {
                        history.push(Entry::Sent { address, link, at: now });
                    }
                }
                Op::Arrive { target, kind } => {
                    let mut bytes = kind.build(WIRE, PARENT, 9, target);
                    let before = bytes.clone();
                    let address = address(target, kind.is_v6());
                    let incoming = nat.incoming(PARENT, &mut bytes);
                    match owner(&history, address, now).filter(|_| !host.contains(&address)) {
                        Some((link, _)) => {
                            prop_assert_eq!(incoming, Incoming::Link);
                            let dst = Frame::new(&bytes).unwrap().dst();
                            prop_assert_eq!(dst, link_mac(link));
                            prop_assert!(checksum_is_right(&bytes));
                        }
                        None => {
                            prop_assert_eq!(incoming, Incoming::Host);
                            prop_assert_eq!(&bytes, &before);
                        }
                    }
                }
                Op::Down(link) => {
                    nat.release_link(index(link));
                    history.push(Entry::Down(link));
                }
                Op::Remove(link) => {
                    nat.remove_link(index(link));
                    history.push(Entry::Removed(link));
                }
                Op::Wait(seconds) => now += Duration::from_secs(seconds.into()),
            }
            for neighbour in nat.neighbours() {
                let (link, _) = owner(&history, neighbour.address, now).unwrap();
                prop_assert_eq!(index(link), neighbour.link);
            }
        }
    }

    #[test]
    fn what_leaves_names_the_parent_alone_and_its_checksums_are_right(
        kind in any::<u8>().prop_map(frames::Kind::of), source in 1..6_u8, partial: bool,
    ) {
        let own = link_mac(1);
        let mut bytes = kind.build(own, WIRE, source, 9);
        prop_assert!(checksum_is_right(&bytes));
        let change = Change::of(PARENT, Frame::new(&bytes).unwrap()).unwrap();
        let mut header = VnetHeader::PLAIN;
        if partial && let Some(partial) = frames::make_partial(&mut bytes) {
            header = partial;
        }
        if let Some(change) = change {
            change.apply(PARENT, header, &mut bytes);
        }
        // The caller's part.
        bytes[6..12].copy_from_slice(&PARENT.octets());
        complete_checksum(&mut header, &mut bytes).unwrap();
        prop_assert!(checksum_is_right(&bytes), "{kind:?} {bytes:02x?}");
        if !kind.names_the_client() {
            let named = bytes.windows(6).any(|window| window == own.octets());
            prop_assert!(!named, "{kind:?} {bytes:02x?}");
        }
    }

    #[test]
    fn no_bytes_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), VNET_LEN + 14..200), ethertype in 0..4_usize,
    ) {
        let ethertype = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][ethertype];
        bytes[12..14].copy_from_slice(&ethertype);
        let mut nat = MacNat::new();
        let frame = Frame::new(&bytes).unwrap();
        let _ = nat.learn(index(0), frame, Instant::now());
        if let Ok(Some(change)) = Change::of(MacAddr::ZERO, frame) {
            change.apply(PARENT, VnetHeader::PLAIN, &mut bytes);
        }
        bytes[..6].copy_from_slice(&PARENT.octets());
        nat.incoming(PARENT, &mut bytes);
    }
}
