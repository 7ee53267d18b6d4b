//! Latency of unicast frames during a broadcast storm.

use std::time::Duration;

use anyhow::{Context, Result};
use umacvlan_lab::traffic::{Instruments, Kind, Load, Outcome, Rate, Sizes, Storm};

use super::peer::Testbed;
use super::reading::{Reading, figures};
use crate::bench::report::Better;
use crate::shared::cores::Cores;

/// Measures the latency at the same rate without a storm and during one.
///
/// # Errors
/// A frame arrived altered, or a socket failed.
pub(super) fn storm(testbed: &Testbed, sizes: Sizes, time: Duration) -> Result<Vec<Reading>> {
    let (from, to) = testbed.ends(false).context("the ends of the path are not there")?;
    let cores = Cores::find().ends;
    let mut instruments = Instruments::open(&from, &to, Kind::Frames, cores)?;
    let storm = Storm::open(&from, cores.map(|(from, _)| from))?;
    let load = Load { rate: Rate::Frames(RATE), sizes, warm_up: time / 8, time };
    let calm = reading("latency-calm", &instruments.run(load)?);
    let before = testbed.idle_received()?;
    let (outcome, sent) = storm.run_during(STORM_PERIOD, || instruments.run(load))?;
    let outcome = outcome?;
    let copies = testbed.idle_received()? - before;
    let mut stormy = reading("latency-storm", &outcome);
    let seconds = outcome.sent.took.as_secs_f64();
    stormy.extra.push(("storm_offered", sent as f64 / seconds));
    stormy.extra.push(("storm_copies", copies as f64 / seconds));
    Ok(vec![calm, stormy])
}

/// A reading of the 99th percentile of one trial.
fn reading(measure: &'static str, outcome: &Outcome) -> Reading {
    let latency = outcome.received.trackers.first().map(|tracker| tracker.latency.clone());
    let nanos = latency.as_ref().map_or(0, |latency| latency.value_at_quantile(0.99));
    let mut extra = figures(outcome);
    extra.push(("rate", RATE));
    let value = nanos as f64 / 1000.0;
    Reading { measure, unit: "us", better: Better::Lower, value, extra, latency }
}

/// Unicast frames per second: enough for a 99th percentile, and far below every peer's limit.
const RATE: f64 = 10_000.0;

/// The period of 10 000 broadcast frames per second.
const STORM_PERIOD: Duration = Duration::from_micros(100);
