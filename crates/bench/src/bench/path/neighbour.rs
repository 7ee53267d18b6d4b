//! Round trips of two stations beside a third one that sends as fast as it can.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use umacvlan_core::Mode;
use umacvlan_lab::measure::{Path, RoundTrips, spaced_round_trips};
use umacvlan_lab::station::{Member, Station};
use umacvlan_lab::traffic::{Flood, FloodKind};

use super::PathArgs;
use super::busy_loops::beside;
use super::peer::Testbed;
use super::plan::{Group, Item, Measure, Traffic, is_requested, usual_time};
use super::reading::{Extra, Reading};
use super::route::Route;
use super::scaling;
use crate::bench::progress::Progress;
use crate::bench::report::Better;

/// What the neighbour sends, with the measure on a machine without other work, and with
/// [`BUSY_LOOPS`] beside.
const FLOODS: [(Option<FloodKind>, [&str; 2]); 4] = [
    (None, ["neighbour-calm", "neighbour-calm-loaded"]),
    (Some(FloodKind::Datagrams), ["neighbour-udp", "neighbour-udp-loaded"]),
    (Some(FloodKind::Frames), ["neighbour-small", "neighbour-small-loaded"]),
    (Some(FloodKind::GsoBroadcasts), ["neighbour-gso", "neighbour-gso-loaded"]),
];

/// The readings of one trial.
pub(super) const READINGS: u64 = 2 * FLOODS.len() as u64;

/// Threads that only use their core.
const BUSY_LOOPS: usize = 2;

/// Requests come at 1000 per second.
const PERIOD: Duration = Duration::from_millis(1);

/// The station that floods: neither end of a route is one.
const NEIGHBOUR: Member = Member::Sub(3);

/// The sub-interfaces that are needed.
const SUBS_MIN: u32 = 3;

/// The groups that the arguments request; only by name.
pub(super) fn groups(args: &PathArgs, progress: &Progress) -> Vec<Group> {
    let measure = Measure::Neighbour;
    if !args.measure.contains(&measure) {
        return Vec::new();
    }
    let routes = [Route::SubToSub, Route::WireToSub];
    let routes = routes.into_iter().filter(|route| is_requested(&args.path, route));
    let group = |route: Route| {
        let modes = Mode::ALL.into_iter().filter(move |mode| match args.mode.is_empty() {
            true => *mode == Mode::Bridge,
            false => args.mode.contains(mode) && *mode != Mode::Passthru && route.forwards(*mode),
        });
        modes.map(move |mode| {
            let peers = scaling::peers(args).filter(|peer| peer.supports(route, mode));
            let item = Item {
                measure,
                traffic: Traffic::Streams,
                // A relay has no third station, and a busy-polling engine no other schedule.
                peers: peers.filter(|peer| !peer.is_relay()).collect(),
                trials: progress.trials(if progress.quick { 3 } else { 7 }),
                time: args
                    .time
                    .map_or_else(|| usual_time(measure, progress.quick), super::duration),
            };
            let subs = scaling::numbers(args, route, mode);
            let mut subs: Vec<_> = subs.into_iter().map(|subs| subs.max(SUBS_MIN)).collect();
            subs.dedup();
            Group { route, mode, subs, items: vec![item] }
        })
    };
    routes.flat_map(group).collect()
}

/// Measures round trips beside each kind of flood.
///
/// # Errors
/// A socket failed.
pub(super) fn neighbour(testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
    let (from, to) = testbed.ends(false).context("the ends of the path are not there")?;
    let stations = testbed.stations();
    let find = |member| stations.iter().find(|station| station.member == member);
    let flooder = find(NEIGHBOUR).context("the neighbour is not there")?;
    let wire = find(Member::External).context("the wire is not there")?;
    let path = Path { from: &from, to: &to[0], cores: None };
    let mut readings = Vec::new();
    for (place, loops) in [0, BUSY_LOOPS].into_iter().enumerate() {
        for (kind, measures) in FLOODS {
            let (trips, flood) = beside(loops, || probe(path, kind, (flooder, wire), time))?;
            readings.push(round_trip_reading(measures[place], &trips, vec![("flood", flood)]));
        }
    }
    Ok(readings)
}

/// Round trips beside a flood, and how many packets per second that sent.
fn probe(
    path: Path<'_, '_>,
    kind: Option<FloodKind>,
    (flooder, wire): (&Station<'_>, &Station<'_>),
    time: Duration,
) -> Result<(RoundTrips, f64)> {
    let Some(kind) = kind else {
        return Ok((spaced_round_trips(path, PERIOD, time)?, 0.0));
    };
    let flood = Flood::open(kind, flooder, wire)?;
    let (trips, sent) = flood.run_during(|| {
        // Until the queues are as full as they get.
        thread::sleep(time / 8);
        spaced_round_trips(path, PERIOD, time)
    })?;
    Ok((trips?, sent as f64 / (time + time / 8).as_secs_f64()))
}

/// A reading of the 99th percentile, with further figures.
pub(super) fn round_trip_reading(
    measure: &'static str,
    trips: &RoundTrips,
    further: Extra,
) -> Reading {
    let micros = |percent| trips.percentile(percent).as_secs_f64() * 1e6;
    let mut extra = vec![
        ("probe_p50", micros(50)),
        ("probe_max", micros(100)),
        ("probes", trips.count() as f64 + f64::from(trips.lost)),
        ("probe_lost", f64::from(trips.lost)),
    ];
    extra.extend(further);
    let value = micros(99);
    Reading { measure, unit: "us", better: Better::Lower, value, extra, latency: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::path::peer::Peer;

    #[test]
    fn it_is_measured_by_name_only_and_with_three_sub_interfaces() {
        let progress = Progress::new(1, None, false);
        assert!(groups(&PathArgs::default(), &progress).is_empty());
        let args = PathArgs {
            measure: vec![Measure::Neighbour],
            subs: vec![1, 2, 64],
            ..PathArgs::default()
        };
        let found = groups(&args, &progress);
        assert!(found.iter().map(|group| group.route).eq([Route::SubToSub, Route::WireToSub]));
        for Group { mode, subs, items, .. } in &found {
            assert_eq!((*mode, &subs[..]), (Mode::Bridge, &[3, 64][..]));
            assert_eq!(items[0].peers, [Peer::Umacvlan, Peer::Kernel]);
        }
    }
}
