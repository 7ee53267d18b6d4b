//! Limits on the way through real sockets: what is over them waits, and too much of it is dropped.

use std::time::{Duration, Instant};

use umacvlan_core::DropReason;

use crate::tcp::{BULK, bulk};
use crate::world::{Plan, World, on_every_path, stats};

/// The least time that the bytes of a bulk transfer take at 200 Mbit/s, but for what a bucket holds.
fn least() -> Duration {
    let bits = u32::try_from(BULK * 8).unwrap();
    Duration::from_secs(1) * bits / 200_000_000 - Duration::from_millis(60)
}

#[test]
fn bulk_takes_as_long_as_the_limits_of_its_ends_want() {
    on_every_path(Plan::default(), |world| {
        let slow = |world: &World, wanted: bool| {
            for (from, to) in [(&world.a, &world.b), (&world.outside, &world.a)] {
                let begin = Instant::now();
                bulk(from, to);
                let taken = begin.elapsed();
                assert!(!wanted || taken >= least(), "{taken:?} from {} to {}", from.name, to.name);
            }
        };
        world.limit("a0", &[("rate", "200mbit")]);
        slow(world, true);
        let before = [stats(&world.status(), "a0").lost, stats(&world.status(), "a0").dropped];
        world.limit("a0", &[]);
        slow(world, false);
        let after = [stats(&world.status(), "a0").lost, stats(&world.status(), "a0").dropped];
        assert_eq!(
            before.map(|drops| drops[DropReason::Rate]),
            after.map(|drops| drops[DropReason::Rate])
        );
    });
}

#[test]
fn datagrams_over_the_limit_are_dropped_and_counted() {
    on_every_path(Plan::default(), |world| {
        let sender = world.a.udp(0);
        let receiver = world.b.udp(7001);
        // The neighbour is resolved before the limit is set.
        sender.send_to(b"first", (world.b.ip, 7001)).unwrap();
        assert_eq!(crate::sockets::receive(&receiver), b"first");
        world.limit("a0", &[("tx_rate", "1mbit")]);
        for _ in 0..200 {
            sender.send_to(&[0; 1000], (world.b.ip, 7001)).unwrap();
        }
        world.until("some are dropped and the rest has left", |status| {
            let stats = stats(status, "a0");
            let sent = stats.received.frames >= 200;
            sent && stats.dropped[DropReason::Rate] > 0
        });
    });
}
