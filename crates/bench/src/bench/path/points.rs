//! [`Series`]: the readings of one item, and the points computed from them.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use umacvlan_lab::traffic::Sizes;

use super::peer::{Peer, Testbed};
use super::plan::{Group, Item, Traffic};
use super::ratios::ratios;
use super::reading::Reading;
use crate::bench::figures::is_figure;
use crate::bench::progress::Progress;
use crate::bench::report::{Key, Point};
use crate::bench::summary::ratio;
use crate::shared::stats::median;

/// All readings of one item.
pub(super) struct Series<'p> {
    group: &'p Group,
    item: &'p Item,
    /// One for each measure and peer, in the order of their first reading.
    found: Vec<PeerReadings>,
}

/// All readings of one measure of one peer.
pub(super) struct PeerReadings {
    pub(super) peer: Peer,
    pub(super) subs: u32,
    /// The first reading, for the fields that are equal in all.
    pub(super) first: Reading,
    pub(super) values: Vec<f64>,
    extra: BTreeMap<&'static str, Vec<f64>>,
    latency: Option<Histogram<u64>>,
}

impl<'p> Series<'p> {
    pub(super) fn new(group: &'p Group, item: &'p Item) -> Self {
        Self { group, item, found: Vec::new() }
    }

    /// Adds the readings of one trial of a peer.
    pub(super) fn add(
        &mut self,
        testbed: &Testbed,
        readings: Vec<Reading>,
        progress: &mut Progress,
    ) {
        for reading in readings {
            warn(&reading, progress);
            let (peer, subs) = (testbed.peer, testbed.subs());
            let here = |found: &&mut PeerReadings| {
                let measure = found.first.measure;
                (found.peer, found.subs, measure) == (peer, subs, reading.measure)
            };
            match self.found.iter_mut().find(here) {
                Some(found) => found.add(&reading),
                None => self.found.push(PeerReadings::new(peer, subs, reading)),
            }
        }
    }

    /// True if no round follows this many.
    pub(super) fn is_enough(&self, rounds: u32, seed: u64) -> bool {
        let samples = self.found.iter().map(|found| &found.values[..]);
        self.item.trials.is_enough(rounds, samples, seed)
    }

    /// Notes which intervals are wider than requested.
    pub(super) fn note_wide(&self, progress: &mut Progress) {
        let is_wide =
            |found: &&PeerReadings| !self.item.trials.is_narrow(&found.values, progress.seed);
        let wide = self.found.iter().filter(is_wide).map(|found| {
            let (key, trials) = (key(self.group, self.item, found), found.values.len());
            format!("{key}: the interval is wider than requested after {trials} trials")
        });
        wide.collect::<Vec<_>>().into_iter().for_each(|note| progress.note(note));
    }

    /// The points. Ours have a ratio to the kernel's.
    pub(super) fn points(self, seed: u64) -> Vec<Point> {
        let Self { group, item, found } = &self;
        let theirs = |ours: &PeerReadings| {
            found.iter().find(|found| {
                let same = (found.subs, found.first.measure) == (ours.subs, ours.first.measure);
                same && found.peer == Peer::Kernel
            })
        };
        let point = |found: &PeerReadings| {
            let key = key(group, item, found);
            let Reading { unit, better, .. } = found.first;
            let mut point = Point::new(key, unit, better, found.values.clone(), seed);
            if found.peer.is_ours()
                && let Some(kernel) = theirs(found)
            {
                let to = Peer::Kernel.to_string();
                point.ratio = ratio(&to, &found.values, &kernel.values, seed);
            }
            point.extra = found.extra();
            point.histogram = found.histogram();
            point.extra.extend(ratios(found, &self.found, seed));
            debug_assert!(point.extra.keys().all(|name| is_figure(name)), "{:?}", point.extra);
            point
        };
        // The random order of the trials does not decide the order of the points.
        let place = |found: &&PeerReadings| {
            let first = self.found.iter().position(|f| f.first.measure == found.first.measure);
            (first, found.subs, Peer::ALL.iter().position(|peer| *peer == found.peer))
        };
        let mut sorted: Vec<&PeerReadings> = found.iter().collect();
        sorted.sort_by_key(place);
        sorted.into_iter().map(point).collect()
    }
}

impl PeerReadings {
    fn new(peer: Peer, subs: u32, first: Reading) -> Self {
        let (values, extra) = (Vec::new(), BTreeMap::new());
        let mut found = Self { peer, subs, values, extra, latency: None, first };
        let Reading { value, extra, latency, .. } = &found.first;
        found.values.push(*value);
        found.latency.clone_from(latency);
        found.extra = extra.iter().map(|(name, value)| (*name, vec![*value])).collect();
        found
    }

    fn add(&mut self, reading: &Reading) {
        self.values.push(reading.value);
        for (name, value) in &reading.extra {
            self.extra.entry(name).or_default().push(*value);
        }
        if let (Some(all), Some(latency)) = (&mut self.latency, &reading.latency) {
            // Both have the same bounds, so that adding cannot fail.
            let _ = all.add(latency);
        }
    }

    /// All latencies and how often each occurred.
    fn histogram(&self) -> Vec<(u64, u64)> {
        let recorded = self.latency.iter().flat_map(Histogram::iter_recorded);
        recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }

    /// The median of each figure, or the greatest of those that name the worst case, and percentiles
    /// over all latencies.
    fn extra(&self) -> BTreeMap<String, f64> {
        let medians = self.extra.iter().filter_map(|(name, values)| {
            let value = match *name {
                "max" | "probe_lost" | "probe_max" => greatest(values),
                _ => median(values),
            };
            value.map(|value| ((*name).to_owned(), value))
        });
        let mut extra: BTreeMap<_, _> = medians.collect();
        if let Some(latency) = self.latency.as_ref().filter(|latency| !latency.is_empty()) {
            let micros = |nanos: u64| nanos as f64 / 1000.0;
            for (name, quantile) in PERCENTILES {
                extra.insert(name.to_owned(), micros(latency.value_at_quantile(quantile)));
            }
            extra.insert("max".to_owned(), micros(latency.max()));
            extra.insert("latencies".to_owned(), latency.len() as f64);
        }
        extra
    }
}

fn key(group: &Group, item: &Item, found: &PeerReadings) -> Key {
    let size = match item.traffic {
        Traffic::Unicast(Sizes::Fixed(size))
        | Traffic::Broadcast(Sizes::Fixed(size))
        | Traffic::Datagrams(Sizes::Fixed(size)) => Some(size.into()),
        _ => None,
    };
    Key {
        path: group.route.to_string(),
        mode: group.mode.to_string(),
        traffic: item.traffic_name().to_owned(),
        size,
        subs: found.subs,
        measure: found.first.measure.to_owned(),
        peer: found.peer.to_string(),
    }
}

/// Notes if the instruments, and not the path, were the limit.
fn warn(reading: &Reading, progress: &mut Progress) {
    let figure = |wanted| reading.extra.iter().any(|(name, value)| *name == wanted && *value > 0.0);
    if figure("receiver_drops") {
        progress.note("the receiver was too slow for some trials: see receiver_drops");
    }
    if figure("generator_short") {
        progress.note("some rates without loss are limited by the generator: see generator_short");
    }
}

fn greatest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
