//! Workers that panic or hang: they are replaced, and others do not notice.

use std::sync::{Arc, mpsc};
use std::time::Instant;
use umacvlan_core::options::PortIo;

use umacvlan_core::{MacAddr, Mode};
use umacvlan_datapath::capture::{Batch, CaptureQueue, Point};
use umacvlan_engine::engine::{CaptureRequest, Captured, Event, ParentOptions, SubOptions};
use umacvlan_sys::address_filter::Membership;
use umacvlan_sys::packet::PacketSocket;
use umacvlan_sys::raw_socket;
use umacvlan_testkit::{LIMIT, root_or_skip};

use crate::common::{Lab, PARENT, Place, frame, mac, next, reaches, send, until};
use crate::together;

/// A lab with two sub-interfaces on its parent, and one on another parent, `p1`, whose wire ends at
/// `x1` beside `x0`.
struct World {
    lab: Lab,
    guests: [Place; 2],
    beside: Place,
}

impl World {
    fn new(io: PortIo, workers: usize) -> Self {
        let mut lab = Lab::with(io, workers);
        let (guests, beside) = ([Place::new(), Place::new()], Place::new());
        lab.add("s1", 1, Mode::Bridge, &guests[0]);
        lab.add("s2", 2, Mode::Source, &guests[1]);
        lab.host.rtnl.add_veth("p1", "x1", Some(&lab.far.netns)).unwrap();
        for (place, name) in [(&mut lab.host, "p1"), (&mut lab.far, "x1")] {
            let index = place.index(name);
            place.rtnl.set_up(index, true).unwrap();
        }
        let parent = ParentOptions { name: "p1".to_owned(), ..ParentOptions::default() };
        lab.engine().add_parent(parent).unwrap();
        let sub = SubOptions {
            name: "s9".to_owned(),
            mac: Some(mac(9)),
            netns: Some(beside.netns.try_clone().unwrap()),
            up: true,
            ..SubOptions::default()
        };
        lab.engine().add_sub("p1", sub).unwrap();
        Self { lab, guests, beside }
    }

    /// Sends a frame each way between the wire and the first sub-interface, until it arrives.
    fn check(&self) {
        let (far, near) = (self.lab.far.socket("x0"), self.guests[0].socket("s1"));
        reaches(&far, &near, &frame(mac(1), mac(0xff), 1));
        reaches(&near, &far, &frame(mac(0xff), mac(1), 2));
        reaches(&far, &near, &frame(MacAddr::BROADCAST, mac(0xff), 3));
    }

    /// Sends frames on the other parent, each of which must arrive.
    fn check_beside(&self) {
        let (far, near) = (self.lab.far.socket("x1"), self.beside.socket("s9"));
        for number in 0..100 {
            send(&far, &frame(mac(9), mac(0xff), number));
            assert_eq!(next(&near, LIMIT), Some(number));
        }
    }

    /// Waits until a failure with this reason is reported. With `first` no link may lose its carrier
    /// until then.
    fn reported(&self, reason: &str, first: bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lab.engine().events().recv_timeout(left).unwrap() {
                Event::Trouble { what, .. } if what.contains(reason) => return,
                Event::Carrier { parent, on } if first => panic!("{parent} has a carrier: {on}"),
                _ => {}
            }
        }
    }

    /// Waits until the control thread has looked at everything again, and with it at the workers: groups
    /// of a packet socket have no event, so it finds them by that.
    fn wait_for_sweeps(&self) {
        let guest = &self.guests[0].netns;
        let open = || PacketSocket::open(raw_socket::index_of("s1").unwrap(), 1500);
        let socket = guest.run(open).unwrap().unwrap();
        // The first may be found by a look that was due before.
        for last in 1..=2 {
            let group = MacAddr::new([1, 0, 0x5e, 0, 0, last]);
            socket.join(Membership::Group(group)).unwrap();
            self.lab.changed("a group", "s1", |sub| sub.groups.contains(&group));
        }
    }

    fn received(&self) -> u64 {
        let counters = self.lab.counters();
        assert!(counters.is_balanced(), "{counters:#?}");
        counters.subs.iter().map(|(_, stats)| stats.received.frames).sum::<u64>()
            + counters.wire.received.frames
    }
}

#[test]
fn a_worker_that_panics_is_replaced_with_its_links_and_counters() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    for (io, workers) in [(PortIo::Uring, 1), (PortIo::Plain, 2)] {
        let world = World::new(io, workers);
        world.check();
        let before = (world.received(), world.lab.sub("s1"), world.lab.sub("s2"));
        let capture = capture(&world.lab);
        world.lab.forget();
        for round in 0..2 {
            let last = workers - 1;
            world.lab.engine().run_on_worker(PARENT, last, || panic!("injected")).unwrap();
            world.reported("it panicked: injected", round == 0);
            world.check_beside();
            if round == 0 {
                assert!(world.received() >= before.0, "counters are lost");
            }
            // The second failure follows so soon that it waits for a moment. The links are shown
            // meanwhile, as they were.
            until("the worker", || {
                let parent = world.lab.parent();
                let told = parent.notice.contains("it panicked: injected");
                assert!(told || parent.notice.is_empty(), "{}", parent.notice);
                assert_eq!(
                    parent.subs.iter().map(|sub| sub.mac).collect::<Vec<_>>(),
                    [mac(1), mac(2)]
                );
                assert!(parent.subs.iter().all(|sub| sub.up));
                assert!(parent.counters.wire.received.frames > 0, "{:#?}", parent.counters);
                !told
            });
            captured(&capture);
            world.check();
            assert!(captured(&capture) >= 2, "the capture has not gone on");
            let after = (world.lab.sub("s1"), world.lab.sub("s2"));
            for (was, is) in [(&before.1, &after.0), (&before.2, &after.1)] {
                assert_eq!((was.mac, &was.settings, was.mtu), (is.mac, &is.settings, is.mtu));
                assert!(is.up && was.index == is.index);
            }
        }
        // Sub-interfaces come and go as before.
        let guest = Place::new();
        let sub = world.lab.add("s3", 3, Mode::Bridge, &guest);
        reaches(&world.guests[0].socket("s1"), &guest.socket("s3"), &frame(mac(3), mac(1), 4));
        world.lab.engine().remove_sub(sub.number).unwrap();
        assert_eq!(capture.queues[0].closed(), None);
        world.lab.engine().remove_sub(before.1.number).unwrap();
        let ended = || capture.queues[0].closed() == Some("the link is gone");
        until("the end of the capture", ended);
        assert!(world.received() > before.0);
    }
}

/// Captures what the first sub-interface sends and receives.
fn capture(lab: &Lab) -> Captured {
    let request = CaptureRequest {
        sub: Some(lab.sub("s1").number),
        points: vec![Point::FromLink, Point::ToLink],
        snaplen: 60,
        ..CaptureRequest::default()
    };
    lab.engine().capture(PARENT, request).unwrap()
}

/// How many frames were captured since the last time.
fn captured(capture: &Captured) -> usize {
    let mut batch = Batch::default();
    let count = |queue: &Arc<CaptureQueue>| {
        queue.take(&mut batch);
        batch.frames().count()
    };
    capture.queues.iter().map(count).sum()
}

#[test]
fn a_worker_that_hangs_is_replaced_and_other_parents_do_not_notice() {
    if !root_or_skip() {
        return;
    }
    let _together = together();
    let world = World::new(PortIo::Auto, 1);
    world.check();
    let before = world.received();
    world.wait_for_sweeps();
    world.lab.forget();
    let (release, hang) = mpsc::channel::<()>();
    let wait = move || {
        let _ = hang.recv();
    };
    world.lab.engine().run_on_worker(PARENT, 0, wait).unwrap();
    world.check_beside();
    world.reported("it does not respond", true);
    world.reported("what it has counted since it was last asked", false);
    assert!(world.received() >= before, "counters are lost");
    world.check();
    world.check_beside();
    // A late end of the thread changes nothing.
    drop(release);
    world.check();
    assert_eq!(world.lab.parent().subs.len(), 2);
}
