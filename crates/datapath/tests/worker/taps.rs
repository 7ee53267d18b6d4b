//! A port on a TAP whose interface refuses every frame.

use std::sync::Arc;
use umacvlan_core::options::PortIo;

use umacvlan_core::offload::Offloads;
use umacvlan_core::{DropReason, MacAddr, Mode, SubConfig};
use umacvlan_datapath::memory_link::MemoryLink;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::uplink::Uplink;
use umacvlan_datapath::worker::{Worker, WorkerConfig};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::tap::Tap;
use umacvlan_testkit::root_or_skip;

use crate::bench::{frame, mac, switch};

#[test]
fn frames_that_a_tap_refuses_are_counted_as_lost() {
    if !root_or_skip() {
        return;
    }
    for io in [PortIo::Uring, PortIo::Plain] {
        let netns = Netns::create().unwrap();
        // Its interface is down, and the worker does not know.
        let tap = netns.run(|| Tap::create("t0")).unwrap().unwrap();
        let config = WorkerConfig { io, ..WorkerConfig::default() };
        let mut worker = Worker::new(switch(), config).unwrap();
        let (near, wire) = MemoryLink::pair(8, 4096);
        worker.attach(Uplink::Memory(near)).unwrap();
        let sub = SubConfig::new(mac(1), Mode::Bridge);
        let port = PortLink::Tap(Arc::new(tap));
        let id = worker.add(&sub, port, Offloads::ALL).unwrap();
        worker.set_up(id, true).unwrap();
        assert!(wire.push(&frame(MacAddr::BROADCAST, mac(9), 1)));
        assert!(wire.push(&frame(mac(1), mac(9), 2)));
        worker.turn().unwrap();
        // A ring reports a refusal in the next turn.
        worker.turn().unwrap();
        let counters = worker.snapshot();
        let (_, stats) = counters.subs[0];
        assert_eq!(stats.lost[DropReason::Down], 2, "{io:?}: {stats:?}");
        assert_eq!((stats.delivered.frames, stats.groups), (0, 0), "{io:?}");
        assert!(counters.is_balanced(), "{io:?}: {counters:?}");
    }
}
