//! The instruments on a veth pair, with nothing between the ends.

use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;
use umacvlan_testkit::root_or_skip;

use super::*;
use crate::station::Member;

/// The external host and the parent's host, joined by a veth pair.
struct VethPair {
    ends: [(Member, Netns); 2],
}

impl VethPair {
    /// None if the test must be skipped.
    fn create() -> Option<Self> {
        root_or_skip().then(|| {
            let ends = [Member::External, Member::Host].map(|end| (end, Netns::create().unwrap()));
            let [(from, here), (to, there)] = &ends;
            let mut rtnl = Rtnl::open_in(here).unwrap();
            rtnl.add_veth(from.interface_name(), to.interface_name(), Some(there)).unwrap();
            for (member, netns) in &ends {
                let mut rtnl = Rtnl::open_in(netns).unwrap();
                let index = rtnl.link(member.interface_name()).unwrap().unwrap().index;
                rtnl.set_mac(index, member.mac()).unwrap();
                rtnl.set_up(index, true).unwrap();
                rtnl.add_address(index, member.ip().into(), 24).unwrap();
            }
            Self { ends }
        })
    }

    fn instruments(&self, kind: Kind) -> Instruments {
        let [from, to] = self.ends.each_ref().map(|(member, netns)| Station {
            member: *member,
            netns,
            mac: member.mac(),
        });
        Instruments::open(&from, &[to], kind, None).unwrap()
    }
}

fn load(rate: Rate, sizes: Sizes) -> Load {
    Load { rate, sizes, warm_up: Duration::from_millis(5), time: Duration::from_millis(50) }
}

#[test]
fn at_a_low_rate_every_frame_arrives_once_and_in_order() {
    let Some(veth) = VethPair::create() else {
        return;
    };
    let kinds = [Kind::Frames, Kind::Datagrams];
    let sizes = [Sizes::Fixed(64), Sizes::Fixed(1518), Sizes::Imix];
    let mut all = 0;
    for (kind, sizes) in kinds.into_iter().flat_map(|kind| sizes.map(|sizes| (kind, sizes))) {
        let mut instruments = veth.instruments(kind);
        let outcome = instruments.run(load(Rate::Frames(2000.0), sizes)).unwrap();
        let [tracker] = &outcome.received.trackers[..] else {
            panic!("{outcome:?}");
        };
        // A busy machine may not send all of them in time, or none in one of the trials.
        let offered = outcome.sent.offered;
        assert!(outcome.sent.intended == 110 && offered <= 110, "{outcome:?}");
        all += offered;
        assert_eq!((tracker.received, tracker.duplicated, tracker.reordered), (offered, 0, 0));
        assert_eq!((outcome.lost(), outcome.received.drops), (0, 0));
        // No clock is exact to the nanosecond a hundred times.
        assert!(offered < 2 || outcome.sent.distance_error > Duration::ZERO, "{outcome:?}");
    }
    assert!(all > 0, "no trial has sent anything");
}

#[test]
fn at_full_speed_no_loss_is_unnoticed() {
    let Some(veth) = VethPair::create() else {
        return;
    };
    let outcome = veth.instruments(Kind::Frames).run(load(Rate::Max, Sizes::Fixed(64))).unwrap();
    let tracker = &outcome.received.trackers[0];
    assert!(tracker.timely > 0 && outcome.sent.time > Duration::ZERO, "{outcome:?}");
    assert!(tracker.received + outcome.received.drops <= outcome.sent.offered, "{outcome:?}");
    assert_eq!((tracker.duplicated, tracker.reordered), (0, 0));
}

#[test]
fn a_foreign_frame_fails_the_trial() {
    let Some(veth) = VethPair::create() else {
        return;
    };
    let mut instruments = veth.instruments(Kind::Frames);
    // The receiver expects a stream to another address than the generator uses.
    let honest = std::mem::replace(&mut instruments.to, MacAddr::BROADCAST);
    instruments.run(load(Rate::Frames(1000.0), Sizes::Fixed(64))).unwrap();
    let (_, netns) = &veth.ends[0];
    let (member, mac) = (Member::External, Member::External.mac());
    let stranger =
        open_at(&Station { member, netns, mac }, |index| raw_socket::open(index, 0)).unwrap();
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&honest.octets());
    frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    let error = thread::scope(|scope| {
        let trial = scope.spawn(|| instruments.run(load(Rate::Max, Sizes::Fixed(64))));
        while !trial.is_finished() {
            raw_socket::send(stranger.as_fd(), &frame, 1).unwrap();
        }
        trial.join().unwrap().unwrap_err()
    });
    assert!(error.to_string().contains("wrong addresses"), "{error}");
}
