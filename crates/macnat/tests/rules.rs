//! What the translation does with single frames, each as a sentence.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

mod frames;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use frames::{HOST, Kind, PARENT, WIRE, address, link_mac};
use umacvlan_core::offload::VnetHeader;
use umacvlan_core::{DropReason, Frame, MacAddr, SubIndex};
use umacvlan_macnat::{Change, Incoming, LIFETIME, LINK_MAX, MacNat, Neighbour, TABLE_MAX};

fn index(link: u16) -> SubIndex {
    SubIndex::from_index(link.into()).unwrap()
}

fn learn(nat: &mut MacNat, link: u8, bytes: &[u8], now: Instant) -> Result<(), DropReason> {
    nat.learn(index(link.into()), Frame::new(bytes).unwrap(), now)
}

/// The link that has an address, by its own address.
fn owner(nat: &MacNat, number: u8) -> Option<MacAddr> {
    let mut frame = Kind::UdpV4.build(WIRE, PARENT, 9, number);
    match nat.incoming(PARENT, &mut frame) {
        Incoming::Link => Some(Frame::new(&frame).unwrap().dst()),
        _ => None,
    }
}

#[test]
fn an_address_can_be_taken_over_when_its_link_is_silent_or_down_or_removed() {
    let start = Instant::now();
    let [mine, other] = [1, 2].map(|link| Kind::ArpReply.build(link_mac(link), WIRE, 1, 9));
    let end = start + LIFETIME;
    for (when, what) in [(start, "removed"), (start, "down"), (end, "silent")] {
        let mut nat = MacNat::new();
        learn(&mut nat, 1, &mine, start).unwrap();
        let early = end - Duration::from_secs(1);
        assert_eq!(learn(&mut nat, 2, &other, early), Err(DropReason::MacnatClaimed));
        assert_eq!(owner(&nat, 1), Some(link_mac(1)));
        match what {
            "removed" => nat.remove_link(index(1)),
            "down" => nat.release_link(index(1)),
            _ => {}
        }
        assert_eq!(owner(&nat, 1).is_some(), what != "removed", "{what}");
        learn(&mut nat, 2, &other, when).unwrap();
        assert_eq!(owner(&nat, 1), Some(link_mac(2)), "{what}");
        assert_eq!(learn(&mut nat, 1, &mine, when), Err(DropReason::MacnatClaimed), "{what}");
    }
}

#[test]
fn an_address_of_the_host_is_no_links() {
    let (mut nat, now) = (MacNat::new(), Instant::now());
    let frame = Kind::TcpV4.build(link_mac(1), WIRE, HOST, 9);
    learn(&mut nat, 1, &frame, now).unwrap();
    assert_eq!(owner(&nat, HOST), Some(link_mac(1)));
    nat.set_host([address(HOST, false)]);
    assert_eq!(owner(&nat, HOST), None);
    assert_eq!(learn(&mut nat, 1, &frame, now), Err(DropReason::MacnatClaimed));
    nat.set_host([]);
    learn(&mut nat, 1, &frame, now).unwrap();
}

#[test]
fn one_link_cannot_use_up_the_table() {
    let (mut nat, now) = (MacNat::new(), Instant::now());
    let send = |nat: &mut MacNat, link: u16, number: u16, now| {
        let mut frame = Kind::TcpV6.build(link_mac(1), WIRE, 1, 9);
        frame[22 + 12..22 + 14].copy_from_slice(&link.to_be_bytes());
        frame[22 + 14..22 + 16].copy_from_slice(&number.to_be_bytes());
        nat.learn(index(link), Frame::new(&frame).unwrap(), now)
    };
    let (each, links) =
        (u16::try_from(LINK_MAX).unwrap(), u16::try_from(TABLE_MAX / LINK_MAX).unwrap());
    for number in 0..each {
        send(&mut nat, 1, number, now).unwrap();
    }
    assert_eq!(send(&mut nat, 1, each, now), Err(DropReason::MacnatFull));
    for link in 2..=links {
        for number in 0..each {
            send(&mut nat, link, number, now).unwrap();
        }
    }
    assert_eq!(nat.neighbours().count(), TABLE_MAX);
    assert_eq!(send(&mut nat, links + 1, 0, now), Err(DropReason::MacnatFull));
    // An address that is used no longer makes room for another.
    let later = now + LIFETIME;
    send(&mut nat, 2, 0, later).unwrap();
    send(&mut nat, 1, each, later).unwrap();
    assert_eq!(nat.neighbours().count(), TABLE_MAX);
}

#[test]
fn the_answer_to_a_probe_reaches_the_link_that_has_probed() {
    let (mut nat, now) = (MacNat::new(), Instant::now());
    let mut probe = Kind::ArpRequest.build(link_mac(1), MacAddr::BROADCAST, 0, 3);
    probe[28..32].fill(0);
    learn(&mut nat, 1, &probe, now).unwrap();
    assert_eq!(nat.neighbours().count(), 0, "it has no address yet");
    let mut answer = Kind::ArpReply.build(WIRE, PARENT, 3, 0);
    answer[38..42].fill(0);
    let mut other = Kind::ArpReply.build(WIRE, PARENT, 4, 0);
    other[38..42].fill(0);
    assert_eq!(nat.incoming(PARENT, &mut answer), Incoming::Link);
    assert_eq!(answer[..6], link_mac(1).octets());
    assert_eq!(answer[32..38], link_mac(1).octets(), "the target in ARP");
    assert_eq!(nat.incoming(PARENT, &mut other), Incoming::Host);
}

#[test]
fn frames_of_the_parent_that_come_back_are_reflected() {
    let nat = MacNat::new();
    let mut back = Kind::ArpRequest.build(PARENT, MacAddr::BROADCAST, 1, 2);
    assert_eq!(nat.incoming(PARENT, &mut back), Incoming::Reflected);
    let mut group = Kind::ArpRequest.build(WIRE, MacAddr::BROADCAST, 1, 2);
    assert_eq!(nat.incoming(PARENT, &mut group), Incoming::Other);
}

#[test]
fn what_an_access_point_sends_to_each_station_is_for_the_group() {
    let nat = MacNat::new();
    for (kind, at, address, group) in [
        (Kind::UdpV4, 30, &[255_u8; 4][..], [0xff; 6]),
        (Kind::UdpV4, 30, &[224, 0x81, 0, 251], [1, 0, 0x5e, 1, 0, 251]),
        (Kind::UdpV6, 38, &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 7], {
            [0x33, 0x33, 0xff, 0, 0, 7]
        }),
    ] {
        let mut frame = kind.build(WIRE, PARENT, 9, 1);
        frame[at..at + address.len()].copy_from_slice(address);
        assert_eq!(nat.incoming(PARENT, &mut frame), Incoming::Group);
        assert_eq!(frame[..6], group);
    }
}

#[test]
fn what_no_answer_could_come_back_to_does_not_leave() {
    let mut tagged = Kind::TcpV4.build(link_mac(1), WIRE, 1, 9);
    tagged.splice(12..12, [0x81, 0, 0, 10]);
    let mut other = Kind::TcpV4.build(link_mac(1), WIRE, 1, 9);
    other[12..14].copy_from_slice(&[0x88, 0x8e]);
    let to_parent = Kind::TcpV4.build(link_mac(1), PARENT, 1, 9);
    let cut = &Kind::TcpV4.build(link_mac(1), WIRE, 1, 9)[..30];
    for bytes in [&tagged[..], &other, &to_parent, cut] {
        let change = Change::of(PARENT, Frame::new(bytes).unwrap());
        assert_eq!(change, Err(DropReason::MacnatUntranslated));
    }
}

#[test]
fn a_dhcp_server_is_asked_to_broadcast() {
    for kind in [Kind::Dhcp, Kind::DhcpWithoutChecksum] {
        let mut bytes = kind.build(link_mac(1), WIRE, 1, 9);
        let change = Change::of(PARENT, Frame::new(&bytes).unwrap()).unwrap().unwrap();
        change.apply(PARENT, VnetHeader::PLAIN, &mut bytes);
        assert_eq!(bytes[14 + 20 + 8 + 10], 0x80, "{kind:?}");
        assert!(frames::checksum_is_right(&bytes));
        assert_eq!(bytes[40..42] == [0, 0], kind == Kind::DhcpWithoutChecksum);
        let again = Change::of(PARENT, Frame::new(&bytes).unwrap()).unwrap();
        assert_eq!(again, None, "it does already");
    }
}

#[test]
fn a_link_that_announces_itself_names_the_parent_twice() {
    let mut bytes = Kind::ArpRequest.build(link_mac(1), MacAddr::BROADCAST, 1, 1);
    bytes[32..38].copy_from_slice(&link_mac(1).octets());
    Change::Arp.apply(PARENT, VnetHeader::PLAIN, &mut bytes);
    assert_eq!([&bytes[22..28], &bytes[32..38]], [PARENT.octets(); 2]);
}

#[test]
fn a_restored_neighbour_takes_no_address_from_anybody() {
    let (mut nat, now) = (MacNat::new(), Instant::now());
    let restored = |number| Neighbour {
        address: address(number, false),
        link: index(2),
        mac: link_mac(2),
        seen: now,
    };
    nat.set_host([address(HOST, false)]);
    learn(&mut nat, 1, &Kind::UdpV4.build(link_mac(1), WIRE, 1, 9), now).unwrap();
    let before = nat.changes();
    [1, 2, HOST].into_iter().for_each(|number| nat.restore(restored(number)));
    assert_eq!(owner(&nat, 1), Some(link_mac(1)));
    assert_eq!(owner(&nat, 2), Some(link_mac(2)));
    assert_eq!(owner(&nat, HOST), None);
    assert_eq!(nat.changes(), before + 1);
}

#[test]
fn what_no_host_can_have_is_not_learned() {
    let mut nat = MacNat::new();
    for (kind, at, bytes) in [
        (Kind::UdpV4, 26, &[0_u8; 4][..]),
        (Kind::UdpV4, 26, &[255; 4]),
        (Kind::UdpV4, 26, &[224, 0, 0, 1]),
        (Kind::UdpV4, 26, &[127, 0, 0, 1]),
        (Kind::UdpV6, 22, &[0; 16]),
        (Kind::UdpV6, 22, &[0xff; 16]),
        (Kind::ArpRequest, 28, &[0; 4]),
    ] {
        let mut frame = kind.build(link_mac(1), WIRE, 1, 9);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        learn(&mut nat, 1, &frame, Instant::now()).unwrap();
    }
    let learned: Vec<IpAddr> = nat.neighbours().map(|neighbour| neighbour.address).collect();
    assert_eq!(learned, [] as [IpAddr; 0]);
}
