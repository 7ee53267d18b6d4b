//! A queue that somebody attaches to the TAP of a sub-interface from inside its namespace.

use umacvlan_core::offload::VNET_LEN;
use umacvlan_core::{DropReason, MacAddr, Mode};
use umacvlan_engine::engine::Event;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::root_or_skip;

use crate::BOTH;
use crate::common::{Lab, PATIENCE, Place, all, frame, mac, next, reaches, send, until};

/// The number of the first frame of the other sub-interface.
const OF_OTHER: u32 = 1000;

#[test]
fn a_queue_from_inside_is_reported_and_its_header_length_harms_nobody_else() {
    if !root_or_skip() {
        return;
    }
    for io in BOTH {
        let lab = Lab::with(io, 2);
        let (guest, other) = (Place::new(), Place::new());
        lab.add("t1", 1, Mode::Bridge, &guest);
        lab.add("t2", 2, Mode::Bridge, &other);
        let (near, far, beside) = (guest.socket("t1"), lab.far.socket("x0"), other.socket("t2"));
        reaches(&beside, &far, &frame(mac(0xff), mac(2), 1));
        lab.forget();

        let queue = guest.netns.run(|| Tap::attach_queues("t1", 1)).unwrap().unwrap().remove(0);
        let reported = |event: &Event| matches!(event, Event::Trouble { sub: Some(_), what } if what.contains("attached a queue"));
        lab.event("a queue of another program", reported);
        assert_eq!((lab.sub("t1").extra_queues, lab.sub("t2").extra_queues), (1, 0));

        let dropped = || {
            let counters = lab.counters();
            assert!(counters.is_balanced(), "{counters:#?}");
            counters.subs[0].1.dropped[DropReason::BadVnetHeader]
        };
        for len in [VNET_LEN + 12, VNET_LEN + 64, 1 << 30] {
            let before = dropped();
            // The engine may set the length again at any time.
            until("a frame that cannot be read", || {
                // The buffers have frames of the other one then, and the flow is the engine's.
                queue.set_header_len(VNET_LEN).unwrap();
                reaches(&beside, &far, &frame(MacAddr::BROADCAST, mac(2), OF_OTHER));
                all_of(&far);
                let _ = next(&near, PATIENCE / 10);
                queue.set_header_len(len).unwrap();
                (0..4).for_each(|number| send(&near, &frame(mac(0xff), mac(1), number)));
                let numbers = all(&far);
                assert!(numbers.iter().all(|&number| number < OF_OTHER), "{numbers:?}");
                dropped() > before
            });
        }
        reaches(&beside, &far, &frame(mac(0xff), mac(2), 2));
        reaches(&far, &beside, &frame(mac(2), mac(0xff), 3));

        drop(queue);
        until("a queue less", || lab.sub("t1").extra_queues == 0);
        reaches(&far, &near, &frame(mac(1), mac(0xff), 4));
        reaches(&near, &far, &frame(mac(0xff), mac(1), 5));
    }
}

/// Reads what waits.
fn all_of(socket: &std::os::fd::OwnedFd) {
    while next(socket, std::time::Duration::ZERO).is_some() {}
}
