//! A tenant that sends as fast as it can, and the traffic of others beside it.
//!
//! Nothing here measures time: the datagrams of the others arrive, each once and in order, and
//! within a limit that only starvation exceeds.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the tests of several workers need more of it")]
#[path = "../workers/flows.rs"]
mod flows;
#[allow(dead_code, reason = "the tests of the offloads need more of it")]
#[path = "../../../core/tests/offload_frames/mod.rs"]
mod offload_frames;
#[cfg(feature = "af-xdp")]
mod xdp_tx;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_core::offload::VNET_LEN;
#[cfg(feature = "af-xdp")]
use umacvlan_core::options::XdpMode;
use umacvlan_core::options::{Backend, PortIo};
use umacvlan_core::{MacAddr, Mode};
use umacvlan_engine::engine::ParentOptions;
use umacvlan_sys::raw_socket::{self, BATCH};
use umacvlan_testkit::root_or_skip;

use common::{Lab, Place, frame, mac, several, until};
use flows::Way;
use offload_frames::Packet;

/// Limit for the datagrams of one path, which take a fraction of a second. Where ports starve, each
/// window of them takes seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Flows of each path, and datagrams of each flow.
const FLOWS: u16 = 8;
const ROUNDS: u32 = 50;

/// Both ways to serve a TAP, each with one worker and with two.
const VARIANTS: [(PortIo, usize); 4] =
    [(PortIo::Uring, 1), (PortIo::Uring, 2), (PortIo::Plain, 1), (PortIo::Plain, 2)];

/// Ways to reach the wire.
fn backends() -> Vec<Backend> {
    vec![
        Backend::AfPacket,
        #[cfg(feature = "af-xdp")]
        Backend::AfXdpIn(XdpMode::Native),
    ]
}

/// A parent with the sub-interface `t1` of the tenant, and `t2` and `t3` of others.
struct Neighbours {
    lab: Lab,
    tenant: Place,
    others: [Place; 2],
}

impl Neighbours {
    fn new(io: PortIo, workers: usize, backend: Backend) -> Self {
        let mut lab = Lab::new(io);
        lab.start(io, ParentOptions { backend, ..several(workers) });
        let (tenant, others) = (Place::new(), [Place::new(), Place::new()]);
        lab.add("t1", 1, Mode::Bridge, &tenant);
        lab.add("t2", 2, Mode::Bridge, &others[0]);
        lab.add("t3", 3, Mode::Bridge, &others[1]);
        Self { lab, tenant, others }
    }

    /// Between the others, and between them and the wire, in both directions.
    fn ways(&self) -> [Way; 4] {
        let far = (&self.lab.far, "x0", 0xff);
        let (two, three) = ((&self.others[0], "t2", 2), (&self.others[1], "t3", 3));
        [Way::new(two, three), Way::new(three, two), Way::new(far, two), Way::new(two, far)]
    }

    /// Sends datagrams on all paths of the others at once. Each asserts that nothing is lost and
    /// that every flow stays in order.
    fn converse(&self) {
        let never = AtomicBool::new(false);
        let ways = self.ways();
        // With AF_XDP a frame from the wire decides which worker has a flow from then on.
        ways[2].run(FLOWS, 1, &never);
        let begun = Instant::now();
        thread::scope(|scope| {
            for way in &ways {
                let never = &never;
                scope.spawn(move || {
                    assert_eq!(way.run(FLOWS, ROUNDS, never), u32::from(FLOWS) * ROUNDS)
                });
            }
        });
        let took = begun.elapsed();
        assert!(took < LIMIT, "the others starved: {took:?}");
    }

    /// The frames that the tenant's link has sent so far.
    fn sent_by_tenant(&self) -> u64 {
        self.lab.counters().subs[0].1.received.frames
    }

    /// Runs the others' traffic while the tenant sends this unit as fast as it can.
    fn converse_beside(&self, socket: &OwnedFd, unit: &[u8]) {
        self.ways().iter().for_each(Way::opens);
        let before = self.sent_by_tenant();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    raw_socket::send(socket.as_fd(), unit, BATCH).unwrap();
                }
            });
            let _end = End(&stop);
            until("the tenant's frames", || self.sent_by_tenant() > before + 100);
            self.converse();
        });
        self.settle();
    }

    /// Waits until every frame has a fate.
    fn settle(&self) {
        until("balanced counters", || {
            let parent = self.lab.parent();
            parent.counters.pending_floods == 0 && parent.counters.is_balanced()
        });
        assert_eq!(self.lab.parent().ring_drops, 0);
    }
}

/// Ends the tenant's traffic, even if a test has failed.
struct End<'s>(&'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn small_frames_at_full_speed_harm_nobody_else() {
    if !root_or_skip() {
        return;
    }
    for backend in backends() {
        for (io, workers) in VARIANTS {
            eprintln!("{backend}, {io:?}, {workers} workers");
            let neighbours = Neighbours::new(io, workers, backend);
            let socket = neighbours.tenant.socket("t1");
            neighbours.converse_beside(&socket, &frame(mac(0xff), mac(1), 1));
        }
    }
}

#[test]
fn broadcast_gso_packets_at_full_speed_harm_nobody_else() {
    if !root_or_skip() {
        return;
    }
    // Over IPv6, which the sockets of the others do not receive.
    let payload = vec![7; 60_000];
    let packet = Packet { v6: true, payload, gso_size: 1428, ..Packet::default() };
    let mut unit = vec![0; VNET_LEN];
    packet.header().write_to(unit.first_chunk_mut().unwrap());
    unit.extend(packet.frame());
    unit[VNET_LEN..VNET_LEN + 6].copy_from_slice(&MacAddr::BROADCAST.octets());
    unit[VNET_LEN + 6..VNET_LEN + 12].copy_from_slice(&mac(1).octets());
    for (io, workers) in VARIANTS {
        eprintln!("{io:?}, {workers} workers");
        let neighbours = Neighbours::new(io, workers, Backend::AfPacket);
        // Without an EtherType of its own, so that the kernel takes that of the frame.
        let open = || raw_socket::open(raw_socket::index_of("t1").unwrap(), 0).unwrap();
        let socket = neighbours.tenant.netns.run(open).unwrap();
        raw_socket::expect_vnet_headers(socket.as_fd()).unwrap();
        neighbours.converse_beside(&socket, &unit);
    }
}

#[cfg(feature = "af-xdp")]
#[test]
fn frames_that_a_tenant_returns_by_xdp_harm_nobody_else() {
    if !root_or_skip() {
        return;
    }
    for (io, workers) in VARIANTS {
        eprintln!("{io:?}, {workers} workers");
        let mut neighbours = Neighbours::new(io, workers, Backend::AfPacket);
        neighbours.ways().iter().for_each(Way::opens);
        let index = neighbours.tenant.index("t1");
        let attached = neighbours.tenant.netns.run(|| xdp_tx::attach(index)).unwrap().unwrap();
        // Each of these goes back and forth between the link and itself for ever.
        let wire = neighbours.lab.far.socket("x0");
        let before = neighbours.sent_by_tenant();
        for _ in 0..8 {
            raw_socket::send(wire.as_fd(), &frame(mac(1), mac(0xff), 1), BATCH).unwrap();
        }
        until("frames that come back", || neighbours.sent_by_tenant() > before + 10_000);
        neighbours.converse();
        drop(attached);
        neighbours.settle();
    }
}
