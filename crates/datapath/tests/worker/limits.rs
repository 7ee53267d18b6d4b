//! Limits in a worker, at a time that the test makes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use umacvlan_core::limit::{Direction, Limits};
use umacvlan_core::offload::Offloads;
use umacvlan_core::{DropReason, MacAddr, Mode, SubConfig};

use crate::bench::{Bench, bytes, frame, mac};
use crate::offload_frames::Packet;

/// A bench with a limited port and a time.
struct Limited {
    bench: Bench,
    now: Instant,
}

impl Limited {
    fn new(words: &[(&str, &str)]) -> Self {
        let mut limits = Limits::default();
        words.iter().for_each(|(word, value)| limits.set(word, value).unwrap());
        let mut bench = Bench::new();
        let mut config = SubConfig::new(MacAddr::ZERO, Mode::Bridge);
        config.settings.limits = limits;
        bench.add_as(config, Offloads::ALL, 2048);
        // The time before the start of the process does not count.
        Self { bench, now: Instant::now() + Duration::from_secs(60) }
    }

    fn turn_after(&mut self, micros: u64) {
        self.now += Duration::from_micros(micros);
        self.bench.worker.turn_at(self.now).unwrap();
        assert!(self.bench.counters().is_balanced());
    }

    /// Has the port send a frame of this many bytes, or the wire send one to it.
    fn push(&self, direction: Direction, len: usize) {
        let (link, mut bytes) = match direction {
            Direction::Tx => (&self.bench.ports[0].link, frame(mac(9), mac(1), 1)),
            Direction::Rx => (&self.bench.wire, frame(mac(1), mac(9), 1)),
        };
        bytes.resize(len, 0);
        assert!(link.push(&bytes));
    }

    /// The lengths of the frames that have passed.
    fn passed(&self, direction: Direction) -> Vec<usize> {
        let link = match direction {
            Direction::Tx => &self.bench.wire,
            Direction::Rx => &self.bench.ports[0].link,
        };
        std::iter::from_fn(|| link.pop()).map(|unit| unit.len() - 10).collect()
    }

    fn dropped(&self, direction: Direction) -> u64 {
        let stats = self.bench.sub(0);
        match direction {
            Direction::Tx => stats.dropped[DropReason::Rate],
            Direction::Rx => stats.lost[DropReason::Rate],
        }
    }
}

/// The same limit, reckoned in the plainest way: 8 Mbit/s are a byte in a microsecond.
struct Model {
    /// In bytes; negative for a debt.
    tokens: i64,
    queue: VecDeque<usize>,
    dropped: u64,
}

impl Model {
    const BURST: i64 = 10_000;
    const LATENESS: i64 = 50_000;
    const QUEUE: usize = 50_000;

    /// A turn in which these frames arrive; returns those that pass.
    fn turn(&mut self, micros: u64, arrivals: &[usize]) -> Vec<usize> {
        self.tokens += i64::try_from(micros).unwrap();
        let mut passed = Vec::new();
        while let Some(&len) = self.queue.front().filter(|_| self.tokens >= 0 && passed.len() < 64)
        {
            self.tokens = self.tokens.min(Self::LATENESS) - i64::try_from(len).unwrap();
            passed.push(len);
            self.queue.pop_front();
        }
        for &len in arrivals {
            if self.queue.is_empty() && self.tokens >= 0 {
                self.tokens = self.tokens.min(Self::BURST) - i64::try_from(len).unwrap();
                passed.push(len);
            } else if self.queue.iter().sum::<usize>() < Self::QUEUE {
                self.queue.push_back(len);
            } else {
                self.dropped += 1;
            }
        }
        passed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn frames_pass_wait_and_are_dropped_as_in_the_model(
        turns in prop::collection::vec(
            (0..20_000_u64, prop::collection::vec(60..1514_usize, 0..24)),
            1..40,
        ),
    ) {
        for direction in [Direction::Tx, Direction::Rx] {
            let mut limited = Limited::new(&[("rate", "8mbit")]);
            let mut model = Model { tokens: Model::LATENESS, queue: VecDeque::new(), dropped: 0 };
            for (micros, arrivals) in &turns {
                arrivals.iter().for_each(|&len| limited.push(direction, len));
                limited.turn_after(*micros);
                prop_assert_eq!(limited.passed(direction), model.turn(*micros, arrivals));
                prop_assert_eq!(limited.dropped(direction), model.dropped);
            }
        }
    }
}

#[test]
fn a_second_has_the_bytes_of_the_rate() {
    for direction in [Direction::Tx, Direction::Rx] {
        let mut limited = Limited::new(&[("rate", "8mbit")]);
        let mut bytes = 0;
        for _ in 0..1000 {
            (0..2).for_each(|_| limited.push(direction, 1000));
            limited.turn_after(1000);
            bytes += limited.passed(direction).iter().sum::<usize>();
        }
        assert!((1_000_000..=1_012_000).contains(&bytes), "{bytes} with {direction:?}");
        assert!(limited.dropped(direction) > 900);
    }
}

#[test]
fn a_gso_packet_is_cut_if_it_is_longer_than_five_milliseconds() {
    let packet = Packet { payload: vec![7; 30_000], gso_size: 1000, ..Packet::default() };
    for (rate, whole) in [("1gbit", true), ("8mbit", false)] {
        for direction in [Direction::Tx, Direction::Rx] {
            let mut limited = Limited::new(&[("rate", rate)]);
            let mut sent = packet.frame();
            sent[..6]
                .copy_from_slice(&mac(if direction == Direction::Tx { 9 } else { 1 }).octets());
            let link = match direction {
                Direction::Tx => &limited.bench.ports[0].link,
                Direction::Rx => &limited.bench.wire,
            };
            assert!(link.push_with_header(&bytes(packet.header()), &sent));
            limited.turn_after(0);
            let first = limited.passed(direction);
            let segments = packet.payload.len().div_ceil(1000);
            let len = 1000 + packet.headers();
            if whole {
                assert!(first == [sent.len()] || first.len() == segments, "{first:?}");
                continue;
            }
            // The burst, and one frame that makes a debt.
            assert!(first.iter().sum::<usize>() <= 10_000 + len, "{first:?}");
            limited.turn_after(50_000);
            let rest = limited.passed(direction);
            let payload =
                |frames: &[usize]| frames.iter().map(|len| len - packet.headers()).sum::<usize>();
            assert_eq!(payload(&first) + payload(&rest), packet.payload.len());
            assert_eq!(limited.dropped(direction), 0);
        }
    }
}

#[test]
fn broadcasts_over_their_rate_are_dropped_and_unicast_is_not() {
    let mut limited = Limited::new(&[("bcrate", "20")]);
    for _ in 0..10 {
        let link = &limited.bench.ports[0].link;
        assert!(link.push(&frame(MacAddr::BROADCAST, mac(1), 1)));
        assert!(link.push(&frame(mac(9), mac(1), 2)));
    }
    limited.turn_after(0);
    // A burst of two, and one that makes a debt.
    assert_eq!((limited.passed(Direction::Tx).len(), limited.dropped(Direction::Tx)), (13, 7));
    for _ in 0..10 {
        assert!(limited.bench.ports[0].link.push(&frame(MacAddr::BROADCAST, mac(1), 1)));
        limited.turn_after(100_000);
    }
    assert_eq!(limited.passed(Direction::Tx).len(), 10, "one in 50 milliseconds may pass");
}

#[test]
fn others_are_not_limited() {
    let mut limited = Limited::new(&[("rate", "8kbit")]);
    let free = limited.bench.add(Mode::Bridge);
    let link = &limited.bench.ports[free].link;
    (0..50).for_each(|mark| assert!(link.push(&frame(mac(9), mac(2), mark))));
    limited.turn_after(0);
    assert_eq!(limited.passed(Direction::Tx).len(), 50);
}

#[test]
fn what_waits_is_counted_when_its_sub_interface_goes() {
    let mut limited = Limited::new(&[("rate", "8kbit")]);
    for _ in 0..10 {
        limited.push(Direction::Tx, 1000);
        limited.push(Direction::Rx, 1000);
    }
    limited.turn_after(0);
    let id = limited.bench.ports[0].id;
    limited.bench.worker.remove(id);
    let counters = limited.bench.counters();
    assert!(counters.is_balanced());
    let removed = counters.removed;
    assert_eq!((removed.dropped[DropReason::Down], removed.lost[DropReason::Down]), (9, 9));
}

#[test]
fn a_new_limit_lets_pass_what_waits() {
    let mut limited = Limited::new(&[("rate", "8kbit")]);
    (0..10).for_each(|_| limited.push(Direction::Tx, 1000));
    limited.turn_after(0);
    assert_eq!(limited.passed(Direction::Tx).len(), 1);
    let none = std::sync::Arc::new(umacvlan_core::limit::Limiter::new(Limits::default()));
    let id = limited.bench.ports[0].id;
    limited.bench.worker.limit(id, &none).unwrap();
    (0..10).for_each(|_| limited.push(Direction::Tx, 500));
    limited.turn_after(1);
    let passed = limited.passed(Direction::Tx);
    assert_eq!((passed.len(), passed[8], passed[9]), (19, 1000, 500));
}

#[test]
fn what_waits_is_cut_when_its_receiver_takes_less_by_then() {
    let mut limited = Limited::new(&[("rate", "8mbit")]);
    let packet = Packet { payload: vec![7; 3000], gso_size: 1000, ..Packet::default() };
    let mut whole = packet.frame();
    whole[..6].copy_from_slice(&mac(1).octets());
    limited.turn_after(0);
    let header = bytes(packet.header());
    (0..6).for_each(|_| assert!(limited.bench.wire.push_with_header(&header, &whole)));
    limited.turn_after(1);
    let before = limited.passed(Direction::Rx);
    assert!((1..6).contains(&before.len()), "{before:?}");
    assert!(before.iter().all(|&len| len == whole.len()), "{before:?}");
    // As when a program has gone, and the next one takes no offloads.
    let id = limited.bench.ports[0].id;
    limited.bench.worker.stop_rings(id);
    (0..100).for_each(|_| limited.turn_after(1000));
    let after = limited.passed(Direction::Rx);
    assert_eq!(after, vec![whole.len() - 2000; 3 * (6 - before.len())]);
    let stats = limited.bench.sub(0);
    assert_eq!(stats.delivered.frames, (before.len() + after.len()) as u64);
    assert_eq!(stats.delivered.bytes, before.iter().chain(&after).sum::<usize>() as u64);
}
