//! The AF_XDP socket and its program, without an engine.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{Mode, ParentInfo, Semantics, SubConfig, Switch};
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::poll;
use umacvlan_sys::xdp::{
    Binding, NotSent, RedirectRules, XdpAttachMode, XdpProgram, XskSocket, longest_frame,
};
use umacvlan_testkit::root_or_skip;

use crate::common::{PARENT, PATIENCE, Place, all, frame, mac, next, send, until, wire};

/// A parent in `host` with an AF_XDP socket, and its wire to `x0` in `far`.
struct Bench {
    host: Place,
    far: Place,
    program: XdpProgram,
    socket: XskSocket,
    side: PacketSocket,
    /// A packet socket that receives the frames of the host's own stack.
    stack: OwnedFd,
    wire: OwnedFd,
}

impl Bench {
    fn new(how: XdpAttachMode) -> Self {
        Self::with_mtu(how, 1500)
    }

    fn with_mtu(how: XdpAttachMode, mtu: u32) -> Self {
        let (mut host, mut far) = (Place::new(), Place::new());
        wire(&mut host, &far);
        let (index, there) = (host.index(PARENT), far.index("x0"));
        far.rtnl.set_mtu(there, mtu).unwrap();
        host.rtnl.set_mtu(index, mtu).unwrap();
        let longest = mtu as usize + 22;
        let (program, socket, side) = host
            .netns
            .run(|| {
                let mut program = XdpProgram::load(longest).unwrap();
                let side = PacketSocket::open(index, mtu).unwrap();
                program.filter_socket(&side).unwrap();
                let socket = XskSocket::open(PARENT, 0, Binding::Copy, longest, true).unwrap();
                program.redirect_queue(0, &socket).unwrap();
                program.attach(index, how).unwrap();
                (program, socket, side)
            })
            .unwrap();
        let (stack, wire) = (host.socket(PARENT), far.socket("x0"));
        Self { host, far, program, socket, side, stack, wire }
    }

    /// Redirects as for sub-interfaces with these addresses, and for a source sub-interface that
    /// lists `listed`.
    fn rules(&mut self, mode: Mode, addresses: &[u8], listed: &[u8]) {
        let parent = ParentInfo { mac: mac(0), mtu: 1500, promisc: false };
        let mut switch = Switch::new(parent, Semantics::Documented);
        let sources = listed.iter().map(|&n| mac(n)).collect();
        let mut listener = SubConfig::new(mac(200), Mode::Source);
        listener.settings.sources = sources;
        let subs = addresses.iter().map(|&n| SubConfig::new(mac(n), mode));
        for sub in subs.chain((!listed.is_empty()).then_some(listener)) {
            let id = switch.add(&sub).unwrap();
            switch.set_up(id, true).unwrap();
        }
        self.program.set_rules(RedirectRules::of(&switch)).unwrap();
    }

    /// The numbers of the frames that the AF_XDP socket gets until none comes for a moment.
    fn received(&mut self) -> Vec<u32> {
        let mut numbers = Vec::new();
        loop {
            let count = self.socket.receive(64, |_, _, unit, more| {
                assert!(!more);
                assert_eq!(unit[..VNET_LEN], [0; VNET_LEN]);
                numbers.push(u32::from_be_bytes(*unit[VNET_LEN + 14..].first_chunk().unwrap()));
            });
            self.socket.release();
            let mut wanted = [poll::Interest::readable(self.socket.as_fd())];
            if count == 0 && poll::wait(&mut wanted, Duration::from_millis(100)).unwrap() == 0 {
                return numbers;
            }
        }
    }

    /// The frames that the packet socket receives.
    fn aside(&mut self) -> usize {
        let count = std::iter::from_fn(|| self.side.ring.receive()).count();
        self.side.ring.release();
        count
    }

    /// Sends a frame as the engine does.
    fn push(&mut self, frame: &[u8]) -> bool {
        self.socket.push(frame.len(), |room| room.copy_from_slice(frame))
    }
}

fn each_way(test: impl Fn(XdpAttachMode)) {
    if root_or_skip() {
        [XdpAttachMode::Native, XdpAttachMode::Generic].into_iter().for_each(test);
    }
}

#[test]
fn only_frames_for_subs_are_redirected() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        send(&bench.wire, &frame(mac(1), mac(0xff), 1));
        send(&bench.wire, &frame(mac(0), mac(0xff), 2));
        send(&bench.wire, &frame(mac(2), mac(0xff), 3));
        assert_eq!(bench.received(), [1], "{how:?}");
        assert_eq!(all(&bench.stack), [2, 3], "{how:?}");
        assert_eq!(bench.aside(), 0, "{how:?}");
    });
}

#[test]
fn group_frames_and_listed_sources_reach_the_packet_socket_and_the_host() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[9]);
        send(&bench.wire, &frame(umacvlan_core::MacAddr::BROADCAST, mac(0xff), 1));
        send(&bench.wire, &frame(mac(0), mac(9), 2));
        send(&bench.wire, &frame(mac(1), mac(9), 3));
        assert_eq!(bench.received(), [3], "{how:?}");
        assert_eq!(all(&bench.stack), [1, 2], "{how:?}");
        assert_eq!(bench.aside(), 2, "{how:?}");
    });
}

#[test]
fn removed_rules_no_longer_redirect() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Passthru, &[0], &[]);
        send(&bench.wire, &frame(mac(7), mac(0xff), 1));
        assert_eq!(bench.received(), [1], "{how:?}");
        bench.rules(Mode::Bridge, &[7], &[]);
        bench.rules(Mode::Bridge, &[8], &[]);
        send(&bench.wire, &frame(mac(7), mac(0xff), 2));
        send(&bench.wire, &frame(mac(8), mac(0xff), 3));
        assert_eq!(bench.received(), [3], "{how:?}");
    });
}

#[test]
fn a_queue_without_an_xdp_socket_is_served_by_the_packet_socket() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        // Its entry in the map goes with the socket.
        let Bench { host, far, program, socket, mut side, stack, wire } = bench;
        drop(socket);
        let again = || XskSocket::open(PARENT, 0, Binding::Copy, 1522, true).unwrap();
        let socket = host.netns.run(again).unwrap();
        send(&wire, &frame(mac(1), mac(0xff), 1));
        until("the frame aside", || side.ring.receive().is_some());
        drop((far, program, socket, stack));
    });
}

/// The program is removed, as if another process detached it by force.
#[test]
fn without_its_program_frames_come_by_the_packet_socket() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        let Bench { host, far, program, mut socket, mut side, stack, wire } = bench;
        drop(program);
        send(&wire, &frame(mac(1), mac(0xff), 1));
        until("the frame aside", || side.ring.receive().is_some());
        assert!(!socket.has_frame(), "{how:?}");
        drop((host, far, stack));
    });
}

#[test]
fn frames_longer_than_a_chunk_come_by_the_packet_socket() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        // The socket keeps the chunks that it was opened with.
        for (place, name) in [(&mut bench.host, PARENT), (&mut bench.far, "x0")] {
            let index = place.index(name);
            place.rtnl.set_mtu(index, 3000).unwrap();
        }
        for (len, number) in [(1522, 1), (1523, 2), (3014, 3)] {
            let mut frame = frame(mac(1), mac(0xff), number);
            frame.resize(len, 0);
            send(&bench.wire, &frame);
        }
        assert_eq!(bench.received(), [1], "{how:?}");
        assert_eq!(bench.aside(), 2, "{how:?}");
    });
}

#[test]
fn frames_are_sent_whole_and_their_chunks_come_back() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        // More frames than chunks, so each chunk must come back.
        let mut arrived = 0;
        for number in 0..6000 {
            let frame = frame(mac(0xff), mac(1), number);
            if !bench.push(&frame) {
                bench.socket.kick(|_| panic!("lost")).unwrap();
                assert!(bench.push(&frame), "no chunk came back");
            }
            if number % 100 == 99 {
                bench.socket.kick(|_| panic!("lost")).unwrap();
                bench.socket.release();
                while arrived <= number {
                    assert_eq!(next(&bench.wire, PATIENCE), Some(arrived), "{how:?}");
                    arrived += 1;
                }
            }
        }
        assert_eq!(bench.socket.waiting(), 0);
    });
}

#[test]
fn a_frame_longer_than_a_chunk_comes_and_goes_in_pieces_whose_chunks_come_back() {
    each_way(|how| {
        let mut bench = Bench::with_mtu(how, 9000);
        bench.rules(Mode::Bridge, &[1], &[]);
        let long = |to, from, number| {
            let mut frame = frame(to, from, number);
            frame.resize(9014, 7);
            frame
        };
        // Three chunks each, and there are 2048 in each direction.
        for number in 0..1000 {
            send(&bench.wire, &long(mac(1), mac(0xff), number));
            let mut pieces = Vec::new();
            until("all pieces", || {
                bench.socket.receive(64, |_, _, unit, more| pieces.push((unit.len(), more)));
                pieces.last().is_some_and(|(_, more)| !more)
            });
            let room = VNET_LEN + 3840;
            let last = VNET_LEN + 9014 - 2 * 3840;
            assert_eq!(pieces, [(room, true), (room, true), (last, false)], "{how:?}");
            assert!(bench.socket.push_multi_buffer([&long(mac(0xff), mac(1), number)]), "{how:?}");
            bench.socket.kick(|_| panic!("lost")).unwrap();
            bench.socket.release();
            assert_eq!(next(&bench.wire, PATIENCE), Some(number), "{how:?}");
        }
        assert_eq!(bench.socket.waiting(), 0);
        let most = vec![0; longest_frame()];
        assert!(bench.socket.push_multi_buffer([&most]));
        assert!(!bench.socket.push_multi_buffer([&most, &[0]]), "{how:?}");
    });
}

#[test]
fn impossible_settings_are_refused_with_the_reason() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        let error = |binding, longest, queue| {
            let open = || XskSocket::open(PARENT, queue, binding, longest, true);
            bench.host.netns.run(open).unwrap().unwrap_err().raw_os_error()
        };
        assert_eq!(error(Binding::Copy, longest_frame() + 1, 0), Some(libc::EMSGSIZE));
        assert_eq!(error(Binding::Copy, 1522, 1), Some(libc::EINVAL), "there is one queue");
        assert_eq!(error(Binding::Copy, 1522, 0), Some(libc::EBUSY), "taken");
        assert!(bench.push(&[0; 1792]) && !bench.push(&[0; 1793]));
    });
}

#[test]
fn a_down_interface_is_reported_and_its_frames_wait() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        let index = bench.host.index(PARENT);
        bench.host.rtnl.set_up(index, false).unwrap();
        assert!(bench.push(&frame(mac(0xff), mac(1), 1)));
        assert_eq!(bench.socket.kick(|_| {}), Err(NotSent::Down));
        bench.host.rtnl.set_up(index, true).unwrap();
        bench.host.until("the carrier", PARENT, umacvlan_netlink::Link::is_running);
        bench.socket.kick(|_| panic!("lost")).unwrap();
        assert_eq!(next(&bench.wire, PATIENCE), Some(1), "{how:?}");
    });
}

#[test]
fn a_full_ring_takes_no_more_until_it_has_room_again() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        let index = bench.host.index(PARENT);
        bench.host.rtnl.set_up(index, false).unwrap();
        let mut number = 0;
        while bench.push(&frame(mac(0xff), mac(1), number)) {
            number += 1;
            if number % 64 == 0 {
                assert_eq!(bench.socket.kick(|_| panic!("lost")), Err(NotSent::Down));
            }
        }
        assert_eq!((bench.socket.waiting(), bench.socket.has_room(1)), (2048, false), "{how:?}");
        bench.host.rtnl.set_up(index, true).unwrap();
        bench.host.until("the carrier", PARENT, umacvlan_netlink::Link::is_running);
        // Frames beyond the capacity of the other end's queue may be lost there, but not here.
        until("an empty ring", || bench.socket.kick(|_| {}).is_ok() && bench.socket.waiting() == 0);
        until("all chunks back", || {
            bench.socket.release();
            bench.socket.sending() == 0
        });
        assert!(bench.push(&frame(mac(0xff), mac(1), number)));
    });
}

#[test]
fn frames_sent_without_carrier_are_reported_one_by_one() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        let far = bench.far.index("x0");
        bench.far.rtnl.set_up(far, false).unwrap();
        bench.host.until("no carrier", PARENT, |link| !link.is_running());
        for number in 0..3 {
            assert!(bench.push(&frame(mac(0xff), mac(1), number)));
        }
        let mut lost = Vec::new();
        bench.socket.kick(|place| lost.push(place)).unwrap();
        assert_eq!(lost, [0, 1, 2], "{how:?}");
    });
}

#[test]
fn a_burst_that_finds_no_chunk_is_counted() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        for number in 0..3000 {
            send(&bench.wire, &frame(mac(1), mac(0xff), number));
        }
        let numbers = bench.received();
        assert!(numbers.is_sorted() && numbers.len() >= 1024, "{how:?}: {}", numbers.len());
        let drops = usize::try_from(bench.socket.drops().unwrap()).unwrap();
        assert_eq!(numbers.len() + drops, 3000, "{how:?}");
    });
}

#[test]
fn another_program_on_the_interface_is_not_replaced() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        let index = bench.host.index(PARENT);
        let again = || XdpProgram::load(1522).unwrap().attach(index, how);
        let error = bench.host.netns.run(again).unwrap().unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)),
            "{how:?}: {error}"
        );
    });
}

#[test]
fn tagged_frames_of_a_vlan_of_the_host_are_the_hosts() {
    each_way(|how| {
        let mut bench = Bench::new(how);
        bench.rules(Mode::Bridge, &[1], &[]);
        bench.program.set_vlans(vec![5]).unwrap();
        let tagged = |vid, number| {
            let mut frame = frame(mac(1), mac(0xff), number);
            frame.splice(12..12, [0x81, 0, 0x20, vid]);
            frame
        };
        let mut count = |vid| {
            send(&bench.wire, &tagged(vid, 1));
            bench.received().len()
        };
        assert_eq!([count(5), count(6)], [0, 1], "{how:?}");
        bench.program.set_vlans(vec![6]).unwrap();
        let mut count = |vid| {
            send(&bench.wire, &tagged(vid, 1));
            bench.received().len()
        };
        assert_eq!([count(5), count(6)], [1, 0], "{how:?}");
    });
}
