//! Counters of the engine, as they are shown. Exact, since the engine began; reasons that did not
//! occur are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use umacvlan_core::stats::{Counters, Drops, SubStats, WireStats};
use umacvlan_engine::idle::TurnStats;
use utoipa::ToSchema;

use crate::number::ratio;

/// See [`SubStats`] for what each is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct SubCounters {
    pub(crate) offered: u64,
    pub(crate) delivered: Amount,
    pub(crate) groups: u64,
    pub(crate) merged: u64,
    pub(crate) supers: u64,
    pub(crate) lost: Reasons,
    pub(crate) received: Amount,
    pub(crate) local: u64,
    pub(crate) flooded: u64,
    pub(crate) wire: u64,
    pub(crate) dropped: Reasons,
}

impl From<&SubStats> for SubCounters {
    fn from(stats: &SubStats) -> Self {
        Self {
            offered: stats.offered,
            delivered: stats.delivered.into(),
            groups: stats.groups,
            merged: stats.merged,
            supers: stats.supers,
            lost: reasons(&stats.lost),
            received: stats.received.into(),
            local: stats.local,
            flooded: stats.flooded,
            wire: stats.wire,
            dropped: reasons(&stats.dropped),
        }
    }
}

/// See [`WireStats`] for what each is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct WireCounters {
    pub(crate) received: Amount,
    pub(crate) delivered: u64,
    pub(crate) flooded: u64,
    pub(crate) host: u64,
    pub(crate) dropped: Reasons,
    pub(crate) offered: u64,
    pub(crate) sent: Amount,
    pub(crate) unsent: Reasons,
    pub(crate) copies: u64,
    pub(crate) replicas: u64,
    pub(crate) ring_drops: u64,
}

impl WireCounters {
    pub(crate) fn new(stats: &WireStats, ring_drops: u64) -> Self {
        Self {
            received: stats.received.into(),
            delivered: stats.delivered,
            flooded: stats.flooded,
            host: stats.host,
            dropped: reasons(&stats.dropped),
            offered: stats.offered,
            sent: stats.sent.into(),
            unsent: reasons(&stats.unsent),
            copies: stats.copies,
            replicas: stats.replicas,
            ring_drops,
        }
    }
}

/// See [`TurnStats`] for what each is; times are in seconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub(crate) struct WorkerCounters {
    pub(crate) turns: u64,
    pub(crate) busy_turns: u64,
    pub(crate) frames: u64,
    pub(crate) frames_per_turn: f64,
    pub(crate) sleeps: u64,
    pub(crate) syscalls: u64,
    pub(crate) busy: f64,
    pub(crate) spinning: f64,
    pub(crate) asleep: f64,
    pub(crate) io: String,
}

impl WorkerCounters {
    pub(crate) fn new(stats: &TurnStats, io: &str) -> Self {
        Self {
            turns: stats.turns,
            busy_turns: stats.busy_turns,
            frames: stats.frames,
            frames_per_turn: ratio(stats.frames as f64, stats.busy_turns as f64),
            sleeps: stats.sleeps,
            syscalls: stats.syscalls,
            busy: stats.busy.as_secs_f64(),
            spinning: stats.spinning.as_secs_f64(),
            asleep: stats.asleep.as_secs_f64(),
            io: io.to_owned(),
        }
    }
}

/// A number of frames, and of their bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Amount {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl From<Counters> for Amount {
    fn from(Counters { frames, bytes }: Counters) -> Self {
        Self { frames, bytes }
    }
}

/// Frames by the reason for which they were not delivered.
pub(crate) type Reasons = BTreeMap<String, u64>;

fn reasons(drops: &Drops) -> Reasons {
    drops
        .iter()
        .filter(|&(_, frames)| frames > 0)
        .map(|(reason, frames)| (reason.name().to_owned(), frames))
        .collect()
}
