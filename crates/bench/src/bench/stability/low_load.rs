//! Frames at a low rate, with nobody who forwards: what is lost and how evenly they are sent.

use std::time::Duration;

use umacvlan_lab::network::{Network, Wire};
use umacvlan_lab::traffic::{Instruments, Kind, Load, Outcome, Rate, Sizes};

use super::Finding;
use crate::shared::cores::Cores;

/// Sends frames from the wire to the parent's host. Where that fails, both figures are unknown.
pub(crate) fn low_load(quick: bool) -> Vec<Finding> {
    let outcome = run(Duration::from_millis(if quick { 100 } else { 300 })).ok();
    let loss = outcome.as_ref().map(|outcome| 100.0 * outcome.loss_ratio());
    let asked = 1e9 / RATE;
    let distance = outcome.map(|it| 100.0 * it.sent.distance_error.as_nanos() as f64 / asked);
    vec![
        Finding::new("loss-at-low-load", loss, "%", 0.0),
        Finding::new("generator-distance", distance, "%", 25.0),
    ]
}

fn run(time: Duration) -> umacvlan_lab::error::Result<Outcome> {
    let mut network = Network::build_with(Wire::VethPair)?;
    let [from, to] = network.wire_ends()?;
    let mut instruments = Instruments::open(&from, &[to], Kind::Frames, Cores::find().ends)?;
    let (rate, sizes) = (Rate::Frames(RATE), Sizes::Fixed(64));
    instruments.run(Load { rate, sizes, warm_up: time / 8, time })
}

/// Frames per second that every machine carries without loss.
const RATE: f64 = 10_000.0;
