//! A client against servers that are played here.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use umacvlan_dhcp::message::decode;
use umacvlan_dhcp::{Change, Client, Identity, Lease, Lost, Phase, Start, StaticRoute, Step};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

/// Where the DHCP message begins in a frame without IP options, and its options in that.
const MESSAGE: usize = 14 + 20 + 8;
const OPTIONS: usize = MESSAGE + 240;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const RELEASE: u8 = 7;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn client(start: Start) -> Client {
    let identity =
        Identity { mac: MAC, client_id: b"\0lan/web".to_vec(), hostname: Some("web".to_owned()) };
    Client::new(identity, start, 7, at(0))
}

/// The value of an option of a frame.
fn option(frame: &[u8], code: u8) -> Option<&[u8]> {
    let mut options = &frame[OPTIONS..];
    while let [found, len, rest @ ..] = options {
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        if *found == code {
            return Some(value);
        }
        options = rest;
    }
    None
}

fn kind(frame: &[u8]) -> u8 {
    option(frame, 53).unwrap()[0]
}

fn ip_to(frame: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(&frame[30..34]).unwrap().into()
}

/// The answer of a server to a frame, with these options behind the usual ones.
fn answer(
    query: &[u8],
    kind: u8,
    server: Ipv4Addr,
    address: Ipv4Addr,
    more: &[(u8, &[u8])],
) -> Vec<u8> {
    let mut frame = query[..OPTIONS].to_vec();
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 1, server.octets()[3]]);
    frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
    frame[MESSAGE] = 2;
    frame[MESSAGE + 16..MESSAGE + 20].copy_from_slice(&address.octets());
    let usual: [(u8, &[u8]); 3] = [(53, &[kind]), (54, &server.octets()), (1, &[255, 255, 255, 0])];
    for (code, value) in usual.iter().chain(more) {
        frame.extend([*code, u8::try_from(value.len()).unwrap()]);
        frame.extend(*value);
    }
    frame.push(255);
    let ip = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&ip.to_be_bytes());
    frame[38..40].copy_from_slice(&(ip - 20).to_be_bytes());
    frame
}

const MINUTE: (u8, &[u8]) = (51, &[0, 0, 0, 60]);

fn has(step: &Step) -> Lease {
    match &step.change {
        Some(Change::Has(lease)) => lease.clone(),
        other => panic!("{other:?}"),
    }
}

/// A client that has got its address at the second 0, for a minute.
fn bound() -> Client {
    let mut client = client(Start::Fresh);
    let discover = client.on_time(at(0)).send.unwrap();
    assert_eq!((kind(&discover), ip_to(&discover)), (DISCOVER, Ipv4Addr::BROADCAST));
    assert_eq!(option(&discover, 61), Some(&b"\0lan/web"[..]));
    assert_eq!(option(&discover, 12), Some(&b"web"[..]));
    let offer = answer(&discover, OFFER, SERVER, ADDRESS, &[MINUTE]);
    let request = client.on_frame(at(0), &offer).unwrap().send.unwrap();
    assert_eq!(kind(&request), REQUEST);
    assert_eq!(option(&request, 50), Some(&ADDRESS.octets()[..]));
    assert_eq!(option(&request, 54), Some(&SERVER.octets()[..]));
    let ack =
        answer(&request, ACK, SERVER, ADDRESS, &[MINUTE, (3, &SERVER.octets()), (15, b"lab")]);
    let lease = has(&client.on_frame(at(0), &ack).unwrap());
    assert_eq!((lease.address, lease.prefix_len, lease.server), (ADDRESS, 24, SERVER));
    assert_eq!(
        (lease.renew, lease.rebind, lease.expires),
        (at(30), at(52) + at(1) / 2, Some(at(60)))
    );
    assert_eq!((lease.routers, lease.domain.as_deref()), (vec![SERVER], Some("lab")));
    assert_eq!((client.phase(), client.deadline()), (Phase::Bound, at(30)));
    client
}

/// Lets time pass until something is sent or changes.
fn next(client: &mut Client) -> (Duration, Step) {
    let now = client.deadline();
    (now, client.on_time(now))
}

#[test]
fn a_lease_is_renewed_with_its_server() {
    let mut client = bound();
    assert_eq!(client.on_time(at(29)), Step::default());
    let (now, step) = next(&mut client);
    let request = step.send.unwrap();
    assert_eq!((now, kind(&request), ip_to(&request)), (at(30), REQUEST, SERVER));
    assert_eq!(request[..6], [2, 0, 0, 0, 1, 1]);
    assert_eq!((option(&request, 50), option(&request, 54)), (None, None), "RFC 2131, table 4");
    assert_eq!(client.on_frame(now, &answer(&request, ACK, OTHER, ADDRESS, &[MINUTE])), None);
    let lease =
        has(&client.on_frame(now, &answer(&request, ACK, SERVER, ADDRESS, &[MINUTE])).unwrap());
    assert_eq!((lease.expires, client.phase()), (Some(at(90)), Phase::Bound));
}

#[test]
fn without_its_server_a_lease_is_renewed_with_another_one() {
    let mut client = bound();
    let request = loop {
        let (now, step) = next(&mut client);
        let request = step.send.unwrap();
        assert!(now < at(60));
        if client.phase() == Phase::Rebinding {
            break request;
        }
        assert_eq!(ip_to(&request), SERVER);
    };
    assert_eq!((kind(&request), ip_to(&request)), (REQUEST, Ipv4Addr::BROADCAST));
    let ack = answer(&request, ACK, OTHER, ADDRESS, &[MINUTE]);
    assert_eq!(has(&client.on_frame(at(55), &ack).unwrap()).server, OTHER);
}

#[test]
fn without_any_server_a_lease_ends_and_the_client_goes_on_looking_ever_less_often() {
    let mut client = bound();
    let mut sent = 0;
    let end = loop {
        let (now, step) = next(&mut client);
        sent += 1;
        assert!(sent < 20, "it must not flood the network");
        if step.change.is_some() {
            assert_eq!((step.change, now), (Some(Change::Lost(Lost::Expired)), at(60)));
            break step.send.unwrap();
        }
    };
    assert_eq!((kind(&end), client.lease()), (DISCOVER, None));
    let mut before = at(60);
    let waits: Vec<_> = (0..9)
        .map(|_| {
            let (now, step) = next(&mut client);
            assert_eq!(kind(&step.send.unwrap()), DISCOVER);
            let wait = now - before;
            before = now;
            wait
        })
        .collect();
    assert!(waits[0] < at(2) && waits[6] > at(50), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait < at(73)), "{waits:?}");
}

#[test]
fn a_refused_address_is_given_up_at_once() {
    let mut client = bound();
    let (now, step) = next(&mut client);
    let request = step.send.unwrap();
    let nak = |server| answer(&request, NAK, server, Ipv4Addr::UNSPECIFIED, &[]);
    assert_eq!(client.on_frame(now, &nak(OTHER)), None, "it was not asked");
    let step = client.on_frame(now, &nak(SERVER)).unwrap();
    assert_eq!(step.change, Some(Change::Lost(Lost::Refused)));
    assert_eq!((client.phase(), client.deadline()), (Phase::Selecting, now));
    assert_eq!(kind(&client.on_time(now).send.unwrap()), DISCOVER);
}

#[test]
fn a_server_that_refuses_what_it_offers_is_asked_less_and_less() {
    let mut client = client(Start::Fresh);
    let mut now = at(0);
    for _ in 0..12 {
        now = client.deadline();
        let discover = client.on_time(now).send.unwrap();
        let offer = answer(&discover, OFFER, SERVER, ADDRESS, &[MINUTE]);
        let request = client.on_frame(now, &offer).unwrap().send.unwrap();
        let nak = answer(&request, NAK, SERVER, Ipv4Addr::UNSPECIFIED, &[]);
        client.on_frame(now, &nak).unwrap();
    }
    assert!(client.deadline() - now > at(50));
}

#[test]
fn times_that_would_have_it_ask_all_the_time_are_replaced() {
    for (renew, expected) in [(0_u32, 1800), (1, 1800), (224, 1800), (225, 225), (3600, 1800)] {
        let mut client = client(Start::Fresh);
        let discover = client.on_time(at(0)).send.unwrap();
        let hour: (u8, &[u8]) = (51, &[0, 0, 14, 16]);
        let offer = answer(&discover, OFFER, SERVER, ADDRESS, &[hour]);
        let request = client.on_frame(at(0), &offer).unwrap().send.unwrap();
        let ack = answer(&request, ACK, SERVER, ADDRESS, &[hour, (58, &renew.to_be_bytes())]);
        assert_eq!(has(&client.on_frame(at(0), &ack).unwrap()).renew, at(expected), "{renew}");
    }
}

#[test]
fn a_server_that_gives_and_takes_in_turn_is_asked_less_and_less() {
    let mut client = bound();
    let (mut now, mut pauses) = (at(0), Vec::new());
    for _ in 0..5 {
        let (time, renewal) = next(&mut client);
        let nak = answer(&renewal.send.unwrap(), NAK, SERVER, Ipv4Addr::UNSPECIFIED, &[]);
        client.on_frame(time, &nak).unwrap();
        let (again, step) = next(&mut client);
        pauses.push(again - time);
        let offer = answer(&step.send.unwrap(), OFFER, SERVER, ADDRESS, &[MINUTE]);
        let request = client.on_frame(again, &offer).unwrap().send.unwrap();
        let ack = answer(&request, ACK, SERVER, ADDRESS, &[MINUTE]);
        has(&client.on_frame(again, &ack).unwrap());
        assert!(again > now, "{again:?}");
        now = again;
    }
    assert!(pauses[0] < at(1) && pauses[1] > at(1) && pauses[4] > pauses[1], "{pauses:?}");
}

#[test]
fn the_first_offer_that_can_be_used_is_taken() {
    let mut client = client(Start::Fresh);
    let discover = client.on_time(at(0)).send.unwrap();
    let offer =
        |server, address, more: &[(u8, &[u8])]| answer(&discover, OFFER, server, address, more);
    let loopback = Ipv4Addr::new(127, 0, 0, 1);
    for unusable in [
        offer(OTHER, ADDRESS, &[]),
        offer(OTHER, ADDRESS, &[(51, &[0; 4])]),
        offer(OTHER, loopback, &[MINUTE]),
        offer(OTHER, Ipv4Addr::BROADCAST, &[MINUTE]),
        answer(&discover, ACK, OTHER, ADDRESS, &[MINUTE]),
        discover.clone(),
    ] {
        assert_eq!(client.on_frame(at(0), &unusable), None);
    }
    let mut foreign = offer(OTHER, ADDRESS, &[MINUTE]);
    foreign[MESSAGE + 4] ^= 1;
    assert_eq!(client.on_frame(at(0), &foreign), None, "another exchange");
    let request = client.on_frame(at(0), &offer(SERVER, ADDRESS, &[MINUTE])).unwrap().send.unwrap();
    assert_eq!(option(&request, 54), Some(&SERVER.octets()[..]));
    let late = offer(OTHER, Ipv4Addr::new(10, 1, 0, 9), &[MINUTE]);
    assert_eq!(client.on_frame(at(0), &late), None);
}

#[test]
fn a_server_that_offers_and_does_not_acknowledge_is_left_for_another_one() {
    let mut client = client(Start::Fresh);
    let discover = client.on_time(at(0)).send.unwrap();
    let offer = answer(&discover, OFFER, SERVER, ADDRESS, &[MINUTE]);
    client.on_frame(at(0), &offer).unwrap();
    let kinds: Vec<_> = (0..4).map(|_| kind(&next(&mut client).1.send.unwrap())).collect();
    assert_eq!(kinds, [REQUEST, REQUEST, REQUEST, DISCOVER]);
}

#[test]
fn a_former_lease_is_confirmed_or_used_while_it_lasts() {
    let former = bound().lease().unwrap().clone();
    let mut client = client(Start::Confirm(former.clone()));
    let request = client.on_time(at(0)).send.unwrap();
    assert_eq!((kind(&request), option(&request, 54)), (REQUEST, None), "RFC 2131, table 4");
    assert_eq!(option(&request, 50), Some(&ADDRESS.octets()[..]));
    let mut other = client.clone();
    let ack = answer(&request, ACK, OTHER, ADDRESS, &[MINUTE]);
    assert_eq!(has(&other.on_frame(at(1), &ack).unwrap()).expires, Some(at(61)));
    let (now, step) =
        (0..9).map(|_| next(&mut client)).find(|(_, step)| step.change.is_some()).unwrap();
    assert!(now < at(30));
    assert_eq!(has(&step), former);
    assert_eq!(client.deadline(), at(30));
}

#[test]
fn a_lease_goes_on_with_its_times() {
    let lease = bound().lease().unwrap().clone();
    let mut running = client(Start::Bound(lease.clone()));
    assert_eq!(running.on_time(at(12)), Step::default());
    assert_eq!(kind(&running.on_time(at(31)).send.unwrap()), REQUEST);
    let mut late = client(Start::Bound(lease));
    assert_eq!(late.on_time(at(61)).change, Some(Change::Lost(Lost::Expired)));
}

#[test]
fn an_address_is_given_back_once() {
    let mut client = bound();
    let release = client.release(at(5)).unwrap();
    assert_eq!((kind(&release), ip_to(&release)), (RELEASE, SERVER));
    assert_eq!(option(&release, 61), Some(&b"\0lan/web"[..]));
    assert_eq!(option(&release, 54), Some(&SERVER.octets()[..]));
    assert_eq!(release[MESSAGE + 12..MESSAGE + 16], ADDRESS.octets());
    assert_eq!(client.release(at(6)), None);
}

#[test]
fn classless_routes_replace_routers() {
    let mut client = client(Start::Fresh);
    let discover = client.on_time(at(0)).send.unwrap();
    let routes = [24, 10, 2, 0, 10, 1, 0, 1, 0, 10, 1, 0, 2];
    let more: [(u8, &[u8]); 3] = [MINUTE, (3, &[10, 1, 0, 9]), (121, &routes)];
    let offer = answer(&discover, OFFER, SERVER, ADDRESS, &more);
    let request = client.on_frame(at(0), &offer).unwrap().send.unwrap();
    let ack = answer(&request, ACK, SERVER, ADDRESS, &more);
    let lease = has(&client.on_frame(at(0), &ack).unwrap());
    let net = StaticRoute { to: Ipv4Addr::new(10, 2, 0, 0), prefix_len: 24, via: SERVER };
    let rest = StaticRoute { to: Ipv4Addr::UNSPECIFIED, prefix_len: 0, via: OTHER };
    assert_eq!((lease.routes, lease.routers), (vec![net, rest], vec![]));
}

#[test]
fn options_that_cannot_be_read_are_absent() {
    let query = client(Start::Fresh).on_time(at(0)).send.unwrap();
    let more: [(u8, &[u8]); 5] =
        [(51, &[1, 2]), (3, &[10, 1, 0]), (6, &[8, 8, 8, 8, 9]), (121, &[33]), (15, b"a b\n")];
    let reply = decode(&answer(&query, OFFER, SERVER, ADDRESS, &more)).unwrap();
    assert_eq!(
        (reply.lease, reply.routers, reply.routes, reply.domain),
        (None, vec![], vec![], None)
    );
    assert_eq!(reply.dns, [Ipv4Addr::new(8, 8, 8, 8)]);
}

proptest! {
    #[test]
    fn no_frame_makes_a_client_panic_or_wait_less(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        changes in proptest::collection::vec((0_usize..400, any::<u8>()), 0..6),
    ) {
        let mut client = client(Start::Fresh);
        let query = client.on_time(at(0)).send.unwrap();
        let due = client.deadline();
        prop_assert_eq!(client.on_frame(at(0), &bytes), None);
        prop_assert_eq!(client.deadline(), due);
        let mut offer = answer(&query, OFFER, SERVER, ADDRESS, &[MINUTE, (121, &[24, 10, 2, 0, 10, 1, 0, 1])]);
        for (at, byte) in changes {
            if let Some(place) = offer.get_mut(at) {
                *place = byte;
            }
        }
        if let Some(step) = client.on_frame(at(0), &offer) {
            prop_assert!(step.change.is_none());
            prop_assert_eq!(client.phase(), Phase::Requesting);
        }
        for len in 0..offer.len() {
            decode(&offer[..len]);
        }
    }
}
