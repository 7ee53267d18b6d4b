//! An engine whose uplink consists of AF_XDP sockets.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use umacvlan_core::options::XdpMode;
use umacvlan_core::options::{Backend, PortIo};

use umacvlan_core::{MacAddr, MacvlanFlag, MacvlanSettings, Mode, Tag};
use umacvlan_engine::engine::{LinkAttribute, ParentOptions, SubChange, SubOptions, UplinkKind};
use umacvlan_netlink::Rtnl;
use umacvlan_testkit::root_or_skip;

use crate::common::{
    Lab, PARENT, PATIENCE, Place, all, frame, mac, next, reaches, send, several, until,
};

pub(crate) fn af_xdp() -> ParentOptions {
    ParentOptions { backend: Backend::AfXdp, ..ParentOptions::default() }
}

/// An engine on an AF_XDP uplink, for both ways to serve TAPs and both modes that a veth has.
fn each_io(test: impl Fn(Lab)) {
    if !root_or_skip() {
        return;
    }
    use XdpMode::{Generic, Native};
    for (io, mode) in [(PortIo::Plain, Native), (PortIo::Auto, Native), (PortIo::Auto, Generic)] {
        let mut lab = Lab::new(io);
        let backend = Backend::AfXdpIn(mode);
        lab.start(io, ParentOptions { backend, ..ParentOptions::default() });
        assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(mode));
        test(lab);
    }
}

#[test]
fn frames_go_both_ways_and_the_host_keeps_its_own() {
    each_io(|lab| {
        let inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
        let stack = lab.host.socket(PARENT);
        send(&wire, &frame(mac(1), mac(0xff), 1));
        assert_eq!(next(&sub, PATIENCE), Some(1));
        send(&sub, &frame(mac(0xff), mac(1), 2));
        assert_eq!(next(&wire, PATIENCE), Some(2));
        send(&wire, &frame(mac(0), mac(0xff), 3));
        send(&wire, &frame(MacAddr::BROADCAST, mac(0xff), 4));
        assert_eq!(all(&stack), [3, 4]);
        assert_eq!(all(&sub), [4]);
        assert!(lab.counters().is_balanced());
    });
}

#[test]
fn the_redirect_program_follows_the_switch() {
    each_io(|lab| {
        let inside = Place::new();
        lab.add("s1", 1, Mode::Private, &inside);
        let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
        let stack = lab.host.socket(PARENT);
        lab.engine().set_link(lab.number("s1"), vec![LinkAttribute::Mac(mac(2))]).unwrap();
        send(&wire, &frame(mac(2), mac(0xff), 1));
        send(&wire, &frame(mac(1), mac(0xff), 2));
        assert_eq!(next(&sub, PATIENCE), Some(1));
        assert_eq!(all(&stack), [2]);
        lab.engine().set_link(lab.number("s1"), vec![LinkAttribute::Up(false)]).unwrap();
        send(&wire, &frame(mac(2), mac(0xff), 3));
        assert_eq!(all(&stack), [3]);
    });
}

#[test]
fn source_mode_hears_what_the_host_gets_too_unless_nodst_takes_it() {
    each_io(|lab| {
        let inside = Place::new();
        let options = SubOptions {
            name: "s1".to_owned(),
            mac: Some(mac(1)),
            settings: MacvlanSettings {
                sources: vec![mac(0xff)],
                ..MacvlanSettings::new(Mode::Source)
            },
            netns: Some(inside.netns.try_clone().unwrap()),
            up: true,
            ..SubOptions::default()
        };
        lab.engine().add_sub(PARENT, options).unwrap();
        let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
        let stack = lab.host.socket(PARENT);
        send(&wire, &frame(mac(0), mac(0xff), 1));
        assert_eq!(next(&sub, PATIENCE), Some(1));
        assert_eq!(all(&stack), [1]);
        lab.engine()
            .change_sub(lab.number("s1"), vec![SubChange::Flag(MacvlanFlag::Nodst, true)])
            .unwrap();
        send(&wire, &frame(mac(0), mac(0xff), 2));
        send(&wire, &frame(mac(0), mac(9), 3));
        assert_eq!(all(&sub), [2]);
        assert_eq!(all(&stack), [3]);
    });
}

/// A veth has one queue, so the second worker has only the packet socket of the uplink.
#[test]
fn several_workers_share_the_queues_and_a_worker_without_one_sends_as_well() {
    if !root_or_skip() {
        return;
    }
    let mut lab = Lab::new(PortIo::Auto);
    lab.start(PortIo::Auto, ParentOptions { backend: Backend::AfXdp, ..several(2) });
    assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(XdpMode::Native));
    let inside = Place::new();
    lab.add("s1", 1, Mode::Bridge, &inside);
    let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
    let numbers: Vec<u32> = (0..50).collect();
    numbers.iter().for_each(|&number| send(&wire, &frame(mac(1), mac(0xff), number)));
    assert_eq!(all(&sub), numbers);
    numbers.iter().for_each(|&number| send(&sub, &frame(mac(0xff), mac(1), number)));
    assert_eq!(all(&wire), numbers);
    send(&wire, &frame(MacAddr::BROADCAST, mac(0xff), 7));
    assert_eq!(all(&sub), [7]);
}

#[test]
fn passthru_has_all_unicast_and_the_host_none() {
    each_io(|lab| {
        let inside = Place::new();
        lab.add("s1", 0, Mode::Passthru, &inside);
        let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
        let stack = lab.host.socket(PARENT);
        send(&wire, &frame(mac(0), mac(0xff), 1));
        send(&wire, &frame(mac(7), mac(0xff), 2));
        assert_eq!(all(&sub), [1, 2]);
        assert_eq!(all(&stack), [0; 0]);
    });
}

fn pattern() -> impl Iterator<Item = u8> {
    (0..=250).cycle()
}

#[test]
fn tcp_is_whole_in_both_directions_with_its_offloads_on() {
    each_io(|lab| tcp_is_whole(&lab));
}

/// A TCP connection from inside to the far end that carries bytes in both directions unchanged.
pub(crate) fn tcp_is_whole(lab: &Lab) {
    const BYTES: usize = 4 << 20;
    let mut inside = Place::new();
    lab.add("s1", 1, Mode::Bridge, &inside);
    let address = |place: &mut Place, name: &str, n: u8| {
        let index = place.index(name);
        place.rtnl.add_address(index, Ipv4Addr::new(10, 9, 0, n).into(), 24).unwrap();
    };
    address(&mut inside, "s1", 1);
    let mut far = Place {
        netns: lab.far.netns.try_clone().unwrap(),
        rtnl: Rtnl::open_in(&lab.far.netns).unwrap(),
    };
    address(&mut far, "x0", 2);
    let to = SocketAddr::from((Ipv4Addr::new(10, 9, 0, 2), 7));
    let listener = far.netns.run(|| TcpListener::bind(to)).unwrap().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut writer).unwrap()
    });
    let mut stream = inside
        .netns
        .run(|| TcpStream::connect_timeout(&to, PATIENCE))
        .unwrap()
        .expect("nobody answers");
    stream.set_read_timeout(Some(4 * PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let bytes: Vec<u8> = pattern().take(BYTES).collect();
        std::io::Write::write_all(&mut writer, &bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert_eq!(echo.join().unwrap(), BYTES as u64);
    assert!(back.into_iter().eq(pattern().take(BYTES)));
}

#[test]
fn links_share_the_address_of_their_parent() {
    if !root_or_skip() {
        return;
    }
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let mut lab = Lab::new(PortIo::Auto);
        let backend = Backend::AfXdpIn(mode);
        let parent = ParentOptions { backend, macnat: true, ..ParentOptions::default() };
        lab.start(PortIo::Auto, parent);
        tcp_is_whole(&lab);
        assert_eq!(lab.parent().uplink.kind, UplinkKind::AfXdp(mode));
        // The far end has been told the parent's address, and has used no other.
        let list = || Command::new("ip").args(["neigh", "show", "dev", "x0"]).output();
        let listed = lab.far.netns.run(list).unwrap().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains(&lab.parent().mac.to_string()), "{listed}");
        until("the frames to be counted", || lab.counters().is_balanced());
    }
}

#[test]
fn tags_come_and_go_whole() {
    each_io(|lab| {
        let tagged = |to: MacAddr, from: MacAddr| {
            let mut bytes = frame(to, from, 7);
            bytes.splice(12..12, [0x81, 0, 0x20, 5]);
            bytes
        };
        let inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let capture = |place: &Place, name: &'static str| {
            let open = || {
                umacvlan_sys::packet::PacketSocket::open(
                    umacvlan_sys::raw_socket::index_of(name).unwrap(),
                    1500,
                )
            };
            place.netns.run(open).unwrap().unwrap()
        };
        let (mut sub, mut wire) = (capture(&inside, "s1"), capture(&lab.far, "x0"));
        let tag = |socket: &mut umacvlan_sys::packet::PacketSocket| {
            let mut tag = None;
            until("a tagged frame", || {
                tag = std::iter::from_fn(|| socket.ring.receive()).find_map(|frame| frame.tag);
                tag.is_some()
            });
            tag
        };
        send(&lab.far.socket("x0"), &tagged(mac(1), mac(0xff)));
        assert_eq!(tag(&mut sub), Some(Tag { tpid: 0x8100, tci: 0x2005 }));
        send(&inside.socket("s1"), &tagged(mac(0xff), mac(1)));
        assert_eq!(tag(&mut wire), Some(Tag { tpid: 0x8100, tci: 0x2005 }));
    });
}

#[test]
fn a_link_that_goes_down_and_up_again_forwards_again() {
    each_io(|mut lab| {
        let inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let (sub, wire) = (inside.socket("s1"), lab.far.socket("x0"));
        let index = lab.host.index(PARENT);
        reaches(&wire, &sub, &frame(mac(1), mac(0xff), 1));
        lab.host.rtnl.set_up(index, false).unwrap();
        until("no carrier", || !lab.parent().carrier);
        lab.host.rtnl.set_up(index, true).unwrap();
        until("a carrier", || lab.parent().carrier);
        reaches(&wire, &sub, &frame(mac(1), mac(0xff), 2));
        reaches(&sub, &wire, &frame(mac(0xff), mac(1), 3));
        assert!(lab.counters().is_balanced());
    });
}

#[test]
fn a_new_mtu_and_a_replaced_interface_are_followed() {
    each_io(|mut lab| {
        let inside = Place::new();
        lab.add("s1", 1, Mode::Bridge, &inside);
        let sub = inside.socket("s1");
        let index = lab.host.index(PARENT);
        lab.host.rtnl.set_mtu(index, 1400).unwrap();
        until("the MTU", || lab.parent().mtu == 1400);
        reaches(&lab.far.socket("x0"), &sub, &frame(mac(1), mac(0xff), 1));
        lab.host.rtnl.delete(index).unwrap();
        until("the parent gone", || !lab.parent().present);
        crate::common::wire(&mut lab.host, &lab.far);
        until("the parent back", || lab.parent().present);
        assert!(matches!(lab.parent().uplink.kind, UplinkKind::AfXdp(_)));
        reaches(&lab.far.socket("x0"), &sub, &frame(mac(1), mac(0xff), 2));
    });
}
