//! [`Reading`]: one measured figure of one trial.

use std::time::Duration;

use hdrhistogram::Histogram;
use umacvlan_lab::traffic::{Outcome, SequenceTracker};

use crate::bench::report::Better;

/// Further figures of a trial, by name.
pub(super) type Extra = Vec<(&'static str, f64)>;

/// One figure of one trial of a peer.
pub(super) struct Reading {
    /// The measure in the key of the point.
    pub(super) measure: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    pub(super) value: f64,
    pub(super) extra: Extra,
    /// All latencies, in nanoseconds.
    pub(super) latency: Option<Histogram<u64>>,
}

impl Reading {
    /// A reading of frames per second.
    pub(super) fn rate(measure: &'static str, value: f64, extra: Extra) -> Self {
        Self { measure, unit: "frames/s", better: Better::Higher, value, extra, latency: None }
    }
}

/// Frames received at the destination that received the fewest.
pub(super) fn frames(outcome: &Outcome) -> u64 {
    let received = outcome.received.trackers.iter().map(|tracker| tracker.received);
    received.min().unwrap_or(0)
}

/// The figures of every trial with frames.
pub(super) fn figures(outcome: &Outcome) -> Extra {
    let Outcome { sent, received, .. } = outcome;
    let frames = frames(outcome).max(1) as f64;
    let sum = |count: fn(&SequenceTracker) -> u64| {
        received.trackers.iter().map(count).sum::<u64>() as f64
    };
    let mut figures = vec![
        ("offered", sent.offered as f64 / sent.took.as_secs_f64().max(f64::MIN_POSITIVE)),
        ("loss", outcome.loss_ratio()),
        ("unsent", (sent.intended - sent.offered) as f64),
        ("refused", sent.refused as f64),
        ("duplicated", sum(|tracker| tracker.duplicated)),
        ("reordered", sum(|tracker| tracker.reordered)),
        ("receiver_drops", received.drops as f64),
        ("generator_late_us", sent.late.as_secs_f64() * 1e6),
        ("generator_ns", sent.time.as_nanos() as f64 / sent.offered.max(1) as f64),
        ("receiver_ns", received.time.as_nanos() as f64 / frames),
    ];
    if sent.distance_error > Duration::ZERO {
        figures.push(("distance_error_us", sent.distance_error.as_secs_f64() * 1e6));
    }
    figures
}
