//! Runs one trial of one peer and returns its readings.

use std::time::Duration;

use anyhow::{Context, Result};
use umacvlan_lab::measure::{MachineCpu, Path, round_trips, tcp_throughput};
use umacvlan_lab::traffic::{Instruments, Kind, Load, Outcome, Rate, Sizes};
use umacvlan_mlrsearch::{Goal, Limits, Trial, search};

use super::copies;
use super::idle::idle;
use super::neighbour::neighbour;
use super::peer::{Testbed, set_tx_checksum};
use super::plan::{Item, Measure, Traffic};
use super::queue::queue;
use super::reading::{Extra, Reading, figures, frames};
use super::storm::storm;
use super::worker_cost::WorkerCost;
use crate::bench::report::Better;
use crate::shared::cores::Cores;

/// Runs one trial. `pdr` keeps the rate that a search has found for the same traffic.
///
/// # Errors
/// A frame or a byte arrived altered, or a socket failed.
pub(super) fn sample(
    item: &Item,
    testbed: &Testbed,
    pdr: &mut Option<f64>,
) -> Result<Vec<Reading>> {
    let (kind, sizes) = match item.traffic {
        Traffic::Nothing => return idle(testbed, item.time),
        Traffic::Streams if item.measure == Measure::Neighbour => {
            return neighbour(testbed, item.time);
        }
        Traffic::Streams if item.measure == Measure::Queue => return queue(testbed, item.time),
        Traffic::Streams => return streams(item, testbed),
        Traffic::Segments => return segments(item, testbed),
        Traffic::Unicast(sizes) if item.measure == Measure::Storm => {
            return storm(testbed, sizes, item.time);
        }
        Traffic::Unicast(sizes) | Traffic::Broadcast(sizes) => (Kind::Frames, sizes),
        Traffic::Datagrams(sizes) => (Kind::Datagrams, sizes),
    };
    let broadcast = matches!(item.traffic, Traffic::Broadcast(_));
    let (from, to) = testbed.ends(broadcast).context("the ends of the path are not there")?;
    let mut instruments = Instruments::open(&from, &to, kind, Cores::find().ends)?;
    instruments.set_flows(testbed.flows);
    if broadcast {
        instruments = instruments.to_broadcast();
    }
    let mut test = LoadTest { testbed, instruments, sizes, broadcast };
    match item.measure {
        Measure::Ndr => test.search(item.time, pdr),
        Measure::Latency => {
            if pdr.is_none() {
                test.search(item.time, pdr)?;
            }
            test.latencies(item.time, pdr.unwrap_or_default())
        }
        Measure::Uplink => Ok(vec![test.uplink(item.time)?]),
        Measure::IdleCpu
        | Measure::Mrr
        | Measure::Neighbour
        | Measure::Queue
        | Measure::Rtt
        | Measure::Storm
        | Measure::Tcp => Ok(vec![test.mrr(item.time)?]),
    }
}

/// TCP from a station that segments and completes checksums in software.
fn segments(item: &Item, testbed: &Testbed) -> Result<Vec<Reading>> {
    let (from, _) = testbed.ends(false).context("the ends of the path are not there")?;
    let doing = "cannot change the checksum offload";
    set_tx_checksum(&from, false).context(doing)?;
    let readings = streams(item, testbed);
    set_tx_checksum(&from, true).context(doing)?;
    readings
}

/// TCP and UDP between ordinary sockets.
fn streams(item: &Item, testbed: &Testbed) -> Result<Vec<Reading>> {
    let (from, to) = testbed.ends(false).context("the ends of the path are not there")?;
    let to = &to[0];
    if item.measure == Measure::Tcp {
        return stream(item, testbed, Path { from: &from, to, cores: Cores::find().ends });
    }
    let reading = {
        // The two programs run alternately, so the scheduler chooses their cores.
        let trips = round_trips(Path { from: &from, to, cores: None }, item.time)?;
        let micros = |percent| trips.percentile(percent).as_secs_f64() * 1e6;
        let extra = vec![
            ("p50", micros(50)),
            ("p90", micros(90)),
            ("p99", micros(99)),
            ("max", micros(100)),
            ("lost", f64::from(trips.lost)),
        ];
        let (measure, unit, better) = ("rtt", "us", Better::Lower);
        Reading { measure, unit, better, value: micros(50), extra, latency: None }
    };
    Ok(vec![reading])
}

/// One TCP stream: its throughput, and the processor time that it costs the machine.
fn stream(item: &Item, testbed: &Testbed, path: Path<'_, '_>) -> Result<Vec<Reading>> {
    let cpu = MachineCpu::begin();
    let throughput = tcp_throughput(path, item.time, testbed.congestion.as_deref())?;
    let bits = throughput.bits_per_second();
    let processors = cpu.and_then(|cpu| cpu.processors());
    let (measure, unit, better) = ("throughput", "bit/s", Better::Higher);
    let value = bits;
    let mut readings =
        vec![Reading { measure, unit, better, value, extra: Extra::new(), latency: None }];
    // Busy loops beside it would be most of what is used.
    if let Some(processors) = processors.filter(|_| testbed.load == 0 && bits > 0.0) {
        let (measure, unit, better) = ("cpu", "ns/kB", Better::Lower);
        let value = processors * 1e9 / (bits / 8.0 / 1000.0);
        let extra = vec![("processors", processors)];
        readings.push(Reading { measure, unit, better, value, extra, latency: None });
    }
    Ok(readings)
}

/// How evenly several workers shared the frames: the smallest share relative to an equal share.
fn evenness(before: Option<Vec<u64>>, now: Option<Vec<u64>>) -> Option<f64> {
    let shares: Vec<u64> =
        now?.iter().zip(before?).map(|(now, before)| now.saturating_sub(before)).collect();
    let (least, sum) = (*shares.iter().min()?, shares.iter().sum::<u64>());
    (shares.len() > 1).then(|| least as f64 * shares.len() as f64 / sum.max(1) as f64)
}

/// Generator and receiver on one path.
struct LoadTest<'f> {
    testbed: &'f Testbed,
    instruments: Instruments,
    sizes: Sizes,
    /// True for broadcast frames.
    broadcast: bool,
}

impl LoadTest<'_> {
    fn run(&mut self, rate: Rate, warm_up: Duration, time: Duration) -> Result<Outcome> {
        Ok(self.instruments.run(Load { rate, sizes: self.sizes, warm_up, time })?)
    }

    /// Frames received at the highest rate that one core can send.
    fn mrr(&mut self, time: Duration) -> Result<Reading> {
        let (elsewhere, shares) = (self.testbed.idle_received()?, self.testbed.shares());
        let cost = WorkerCost::open(self.testbed);
        let outcome = self.run(Rate::Max, time / 4, time)?;
        let mut extra = figures(&outcome);
        cost.close(frames(&outcome), &mut extra);
        extra.extend(evenness(shares, self.testbed.shares()).map(|even| ("worker_evenness", even)));
        if self.broadcast {
            let elsewhere = self.testbed.idle_received()? - elsewhere;
            copies::count(&outcome, elsewhere, frames(&outcome), &mut extra);
        }
        Ok(Reading::rate("mrr", outcome.rate(), extra))
    }

    /// Frames that the uplink receives at the highest rate that one core can send.
    fn uplink(&mut self, time: Duration) -> Result<Reading> {
        let testbed = self.testbed;
        let (outcome, taken) =
            testbed.measure_uplink(|| self.run(Rate::Max, Duration::ZERO, time))?;
        let sent = outcome?.sent;
        let per_frame = |amount: f64| amount / taken.frames.max(1) as f64;
        let seconds = sent.took.as_secs_f64().max(f64::MIN_POSITIVE);
        let extra = vec![
            ("offered", sent.offered as f64 / seconds),
            ("generator_ns", sent.time.as_nanos() as f64 / sent.offered.max(1) as f64),
            ("engine_ns", per_frame(taken.busy.as_nanos() as f64)),
            ("engine_frames_per_turn", taken.frames as f64 / taken.turns.max(1) as f64),
        ];
        Ok(Reading::rate("uplink", taken.frames as f64 / seconds, extra))
    }

    /// Searches the highest rates without loss and with a partial loss of one in 200.
    fn search(&mut self, time: Duration, pdr: &mut Option<f64>) -> Result<Vec<Reading>> {
        let goals = [Goal::ndr(time, 3 * time), Goal::pdr(time, 3 * time)];
        let limits = Limits { lowest: LOWEST, highest: HIGHEST, time: 40 * time };
        let found = search(limits, &goals, |rate, time| {
            let outcome = self.run(Rate::Frames(rate), Duration::ZERO, time)?;
            let received = frames(&outcome) + outcome.received.drops;
            let offered = outcome.sent.offered;
            Ok(Trial { offered, forwarded: received, duration: outcome.sent.took.max(time) })
        })?;
        let mut readings = Vec::new();
        for (measure, bounds) in ["ndr", "pdr"].into_iter().zip(&found.found) {
            let mut extra = vec![
                ("mrr", found.mrr),
                ("search_trials", found.trials as f64),
                ("search_finished", f64::from(u8::from(bounds.finished))),
                ("generator_short", f64::from(u8::from(found.short))),
            ];
            extra.extend(bounds.upper.map(|upper| ("upper", upper.load)));
            extra.extend(bounds.lower.map(|lower| ("throughput", lower.throughput)));
            let lower = bounds.lower.map_or(0.0, |lower| lower.load);
            readings.push(Reading::rate(measure, lower, extra));
            *pdr = Some(lower);
        }
        Ok(readings)
    }

    /// Latencies nearly idle and at fractions of the partial drop rate.
    fn latencies(&mut self, time: Duration, pdr: f64) -> Result<Vec<Reading>> {
        let loads = [
            ("latency-idle", IDLE),
            ("latency-10", 0.1 * pdr),
            ("latency-50", 0.5 * pdr),
            ("latency-90", 0.9 * pdr),
        ];
        let loads = loads.into_iter().filter(|(_, rate)| *rate >= IDLE);
        let reading = |(measure, rate)| {
            let outcome = self.run(Rate::Frames(rate), time / 8, time)?;
            let latency = outcome.received.trackers.first().map(|tracker| tracker.latency.clone());
            let median = latency.as_ref().map_or(0, |latency| latency.value_at_quantile(0.5));
            let mut extra = figures(&outcome);
            extra.push(("rate", rate));
            let value = median as f64 / 1000.0;
            Ok(Reading { measure, unit: "us", better: Better::Lower, value, extra, latency })
        };
        loads.map(reading).collect()
    }
}

/// Frames per second at which every path is nearly idle.
const IDLE: f64 = 1000.0;

/// The limits of a search, in frames per second.
const LOWEST: f64 = 1000.0;
const HIGHEST: f64 = 4_000_000.0;
