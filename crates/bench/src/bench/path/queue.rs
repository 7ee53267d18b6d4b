//! TCP streams through a parent whose queue is slower than the sub-interfaces, and round trips beside
//! them.

use std::time::Duration;

use anyhow::{Context, Result};
use umacvlan_core::Mode;
use umacvlan_lab::measure::{Path, RoundTrips, StreamWindow, Streams, spaced_round_trips};
use umacvlan_lab::network::TokenBucket;
use umacvlan_lab::station::{Member, SUBS, Station};

use super::PathArgs;
use super::neighbour::round_trip_reading;
use super::peer::{Peer, Testbed};
use super::plan::{Group, Item, Measure, Traffic, is_requested, usual_time};
use super::reading::{Extra, Reading};
use super::route::Route;
use super::scaling;
use crate::bench::progress::Progress;
use crate::bench::report::Better;

/// A queue, and the names of what is measured with it.
struct Queue {
    bucket: TokenBucket,
    loads: [Load; 2],
    /// One stream from each of the four sub-interfaces.
    shared: Shared,
}

/// Streams of one sub-interface. Round trips run beside them.
struct Load {
    streams: usize,
    goodput: &'static str,
    retransmits: &'static str,
    /// Of another sub-interface to the wire.
    other: &'static str,
    /// From the wire to a third sub-interface.
    wire: &'static str,
    /// Of the sub-interface that sends the streams, to the wire.
    same: &'static str,
}

struct Shared {
    goodput: &'static str,
    retransmits: &'static str,
    least: &'static str,
}

/// A twentieth of a second may wait in each, and a bucket is full after about a millisecond. The
/// slower queue segments GSO packets, which the faster one takes whole.
const QUEUES: [Queue; 2] = [
    Queue {
        bucket: TokenBucket { rate: 200_000_000, burst: 32 << 10, limit: 1_250_000 },
        loads: [
            Load {
                streams: 1,
                goodput: "queue-200m-1-goodput",
                retransmits: "queue-200m-1-retransmits",
                other: "queue-200m-1-other",
                wire: "queue-200m-1-wire",
                same: "queue-200m-1-same",
            },
            Load {
                streams: 8,
                goodput: "queue-200m-8-goodput",
                retransmits: "queue-200m-8-retransmits",
                other: "queue-200m-8-other",
                wire: "queue-200m-8-wire",
                same: "queue-200m-8-same",
            },
        ],
        shared: Shared {
            goodput: "queue-200m-shared-goodput",
            retransmits: "queue-200m-shared-retransmits",
            least: "queue-200m-shared-least",
        },
    },
    Queue {
        bucket: TokenBucket { rate: 1_000_000_000, burst: 128 << 10, limit: 6_250_000 },
        loads: [
            Load {
                streams: 1,
                goodput: "queue-1g-1-goodput",
                retransmits: "queue-1g-1-retransmits",
                other: "queue-1g-1-other",
                wire: "queue-1g-1-wire",
                same: "queue-1g-1-same",
            },
            Load {
                streams: 8,
                goodput: "queue-1g-8-goodput",
                retransmits: "queue-1g-8-retransmits",
                other: "queue-1g-8-other",
                wire: "queue-1g-8-wire",
                same: "queue-1g-8-same",
            },
        ],
        shared: Shared {
            goodput: "queue-1g-shared-goodput",
            retransmits: "queue-1g-shared-retransmits",
            least: "queue-1g-shared-least",
        },
    },
];

/// The readings of one trial.
pub(super) const READINGS: u64 = 26;

/// Requests of each round trip come at 200 per second: little beside any stream.
const PERIOD: Duration = Duration::from_millis(5);

/// The sub-interfaces that send requests to the wire, and that the wire sends requests to, beside the
/// streams of the first.
const OTHER: Member = Member::Sub(2);
const ASKED: Member = Member::Sub(3);

/// The groups that the arguments request; only by name.
pub(super) fn groups(args: &PathArgs, progress: &Progress) -> Vec<Group> {
    let (measure, route) = (Measure::Queue, Route::SubToWire);
    if !args.measure.contains(&measure) || !is_requested(&args.path, &route) {
        return Vec::new();
    }
    let modes = Mode::ALL.into_iter().filter(|mode| match args.mode.is_empty() {
        true => *mode == Mode::Bridge,
        // Passthru has no other sub-interface.
        false => args.mode.contains(mode) && *mode != Mode::Passthru,
    });
    let group = |mode: Mode| {
        let peers = scaling::peers(args).filter(|peer| peer.supports(route, mode));
        // A relay has no other sub-interface, and AF_XDP sends past the queue.
        let peers = peers.filter(|peer| !peer.is_relay() && *peer != Peer::UmacvlanXdp);
        let item = Item {
            measure,
            traffic: Traffic::Streams,
            peers: peers.collect(),
            trials: progress.trials(if progress.quick { 1 } else { 3 }),
            time: args.time.map_or_else(|| usual_time(measure, progress.quick), super::duration),
        };
        let subs = scaling::numbers(args, route, mode);
        let mut subs: Vec<_> = subs.into_iter().map(|subs| subs.max(SUBS.into())).collect();
        subs.dedup();
        Group { route, mode, subs, items: vec![item] }
    };
    let mut groups: Vec<_> = modes.map(group).collect();
    groups.retain(|group| group.items.iter().all(|item| !item.peers.is_empty()));
    groups
}

/// Notes what the queues are.
pub(super) fn note_queues(progress: &mut Progress) {
    for Queue { bucket: TokenBucket { rate, burst, limit }, .. } in QUEUES {
        progress.note(format!(
            "a queue of {} Mbit/s is tbf on the parent with burst {burst} and limit {limit} (bytes)",
            rate / 1_000_000
        ));
    }
}

/// Measures with each queue. The parent has none afterwards.
///
/// # Errors
/// The kernel has no tbf, or a socket failed.
pub(super) fn queue(testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for queue in &QUEUES {
        testbed.network().set_queue(queue.bucket)?;
        let found = queue.readings(testbed, time);
        testbed.network().remove_queue()?;
        readings.extend(found?);
    }
    Ok(readings)
}

impl Queue {
    fn readings(&self, testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for load in &self.loads {
            readings.extend(load.readings(testbed, time)?);
        }
        readings.extend(self.shared.readings(testbed, time)?);
        Ok(readings)
    }
}

impl Load {
    fn readings(&self, testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
        let stations = testbed.stations();
        let wire = station(&stations, Member::External)?;
        let sender = station(&stations, Route::SubToWire.from())?;
        let (other, asked) = (station(&stations, OTHER)?, station(&stations, ASKED)?);
        let path = |from, to| Path { from, to, cores: None };
        let stream = path(sender, wire);
        let probes = [path(other, wire), path(wire, asked), stream];
        let before = testbed.network().queue_drops()?;
        let streams = std::iter::repeat_n(stream, self.streams);
        let streams = Streams::connect(streams, testbed.congestion.as_deref())?;
        let (windows, trips) = streams.run_beside(time / 4, time, || together(probes, time))?;
        let drops = testbed.network().queue_drops()? - before;
        let [goodput, retransmits] = loads(self.goodput, self.retransmits, &windows, drops);
        let [other, wire, same] = trips?;
        let trips = [(self.other, other), (self.wire, wire), (self.same, same)];
        let trips = trips.map(|(measure, trips)| round_trip_reading(measure, &trips, Extra::new()));
        Ok([goodput, retransmits].into_iter().chain(trips).collect())
    }
}

impl Shared {
    fn readings(&self, testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
        let stations = testbed.stations();
        let wire = station(&stations, Member::External)?;
        let senders = (1..=SUBS).map(|sub| station(&stations, Member::Sub(sub)));
        let senders = senders.collect::<Result<Vec<_>>>()?;
        let paths = senders.into_iter().map(|from| Path { from, to: wire, cores: None });
        let before = testbed.network().queue_drops()?;
        let streams = Streams::connect(paths, testbed.congestion.as_deref())?;
        let (windows, ()) = streams.run_beside(time / 4, time, || ())?;
        let drops = testbed.network().queue_drops()? - before;
        let [goodput, retransmits] = loads(self.goodput, self.retransmits, &windows, drops);
        let (value, extra) = (least_share(&windows), Extra::new());
        let (measure, unit, better) = (self.least, "of an equal share", Better::Higher);
        let least = Reading { measure, unit, better, value, extra, latency: None };
        Ok(vec![goodput, retransmits, least])
    }
}

fn station<'s, 'n>(stations: &'s [Station<'n>], member: Member) -> Result<&'s Station<'n>> {
    let found = stations.iter().find(|station| station.member == member);
    found.with_context(|| format!("{member} is not there"))
}

/// Round trips along all of these paths at the same time.
fn together<const N: usize>(paths: [Path<'_, '_>; N], time: Duration) -> Result<[RoundTrips; N]> {
    std::thread::scope(|scope| {
        let threads = paths.map(|path| scope.spawn(move || spaced_round_trips(path, PERIOD, time)));
        let found = threads.map(|thread| match thread.join() {
            Ok(trips) => trips,
            Err(payload) => std::panic::resume_unwind(payload),
        });
        let found: Vec<_> = found.into_iter().collect::<Result<_, _>>()?;
        found.try_into().ok().context("a path has no round trips")
    })
}

/// What all streams received together, and sent again.
fn loads(
    goodput: &'static str,
    retransmits: &'static str,
    windows: &[StreamWindow],
    drops: u64,
) -> [Reading; 2] {
    let bits = windows.iter().map(|window| window.bits_per_second).sum();
    let again: u32 = windows.iter().map(|window| window.retransmits).sum();
    let drops = vec![("queue_drops", drops as f64)];
    let reading = |measure, unit, better, value, extra| Reading {
        measure,
        unit,
        better,
        value,
        extra,
        latency: None,
    };
    [
        reading(goodput, "bit/s", Better::Higher, bits, Extra::new()),
        reading(retransmits, "segments", Better::Lower, again.into(), drops),
    ]
}

/// The slowest stream's part of what each would have if all were alike.
fn least_share(windows: &[StreamWindow]) -> f64 {
    let rates = windows.iter().map(|window| window.bits_per_second);
    let (sum, least) = (rates.clone().sum::<f64>(), rates.fold(f64::INFINITY, f64::min));
    if sum > 0.0 { least * windows.len() as f64 / sum } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bits_per_second: f64) -> StreamWindow {
        StreamWindow { bits_per_second, retransmits: 2 }
    }

    #[test]
    fn it_is_measured_by_name_only_and_with_four_sub_interfaces() {
        let progress = Progress::new(1, None, false);
        assert!(groups(&PathArgs::default(), &progress).is_empty());
        let args = PathArgs {
            measure: vec![Measure::Queue],
            subs: vec![1, 64],
            mode: vec![Mode::Passthru, Mode::Vepa],
            ..PathArgs::default()
        };
        let found = groups(&args, &progress);
        let [Group { route: Route::SubToWire, mode: Mode::Vepa, subs, items }] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(subs[..], [4, 64]);
        assert_eq!(items[0].peers, [Peer::Umacvlan, Peer::Kernel]);
        let only_xdp = PathArgs { peer: vec![Peer::UmacvlanXdp], ..args };
        assert!(groups(&only_xdp, &progress).is_empty());
    }

    #[test]
    fn every_measure_has_a_name_of_its_own_with_its_queue_and_load() {
        let mut names = Vec::new();
        for Queue { bucket, loads, shared } in QUEUES {
            let queue = match bucket.rate {
                200_000_000 => "queue-200m",
                _ => "queue-1g",
            };
            for Load { streams, goodput, retransmits, other, wire, same } in loads {
                let wanted = ["goodput", "retransmits", "other", "wire", "same"];
                let found = [goodput, retransmits, other, wire, same];
                assert_eq!(
                    found.map(str::to_owned),
                    wanted.map(|w| format!("{queue}-{streams}-{w}"))
                );
                names.extend(found);
            }
            let Shared { goodput, retransmits, least } = shared;
            let (wanted, found) =
                (["goodput", "retransmits", "least"], [goodput, retransmits, least]);
            assert_eq!(found.map(str::to_owned), wanted.map(|w| format!("{queue}-shared-{w}")));
            names.extend(found);
        }
        assert_eq!(names.len() as u64, READINGS);
    }

    #[test]
    fn loads_are_sums_and_the_least_share_is_relative_to_an_equal_one() {
        let windows = [100.0, 100.0, 50.0, 150.0].map(window);
        let [goodput, retransmits] = loads("a", "b", &windows, 3);
        assert_eq!((goodput.value, retransmits.value), (400.0, 8.0));
        assert_eq!(retransmits.extra, [("queue_drops", 3.0)]);
        assert!((least_share(&windows) - 0.5).abs() < 1e-9);
        assert_eq!(least_share(&[0.0, 0.0].map(window)), 0.0);
    }
}
