//! Counters of the engine, as they are shown. Exact, since the engine began; reasons that did not
//! occur are left out.

use std::collections::BTreeMap;
use umacvlan_core::WorkerStats;

use serde::{Deserialize, Serialize};
use umacvlan_core::stats::{Counters, Drops, SubStats, WireStats};
use utoipa::ToSchema;

use umacvlan_text::format::ratio;

/// See [`SubStats`] for what each is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SubCounters {
    pub offered: u64,
    pub delivered: Amount,
    pub groups: u64,
    pub merged: u64,
    pub supers: u64,
    pub lost: Reasons,
    pub received: Amount,
    pub local: u64,
    pub flooded: u64,
    pub wire: u64,
    pub dropped: Reasons,
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
pub struct WireCounters {
    pub received: Amount,
    pub delivered: u64,
    pub flooded: u64,
    pub host: u64,
    pub dropped: Reasons,
    pub offered: u64,
    pub sent: Amount,
    pub unsent: Reasons,
    pub copies: u64,
    pub replicas: u64,
    pub ring_drops: u64,
}

impl WireCounters {
    pub fn new(stats: &WireStats, ring_drops: u64) -> Self {
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

/// See [`WorkerStats`] for what each is; times are in seconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerCounters {
    pub turns: u64,
    pub busy_turns: u64,
    pub frames: u64,
    pub frames_per_turn: f64,
    pub sleeps: u64,
    pub syscalls: u64,
    pub busy: f64,
    pub spinning: f64,
    pub asleep: f64,
    pub io: String,
}

impl WorkerCounters {
    pub fn new(stats: &WorkerStats, io: &str) -> Self {
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
pub struct Amount {
    pub frames: u64,
    pub bytes: u64,
}

impl From<Counters> for Amount {
    fn from(Counters { frames, bytes }: Counters) -> Self {
        Self { frames, bytes }
    }
}

/// Frames by the reason for which they were not delivered.
pub type Reasons = BTreeMap<String, u64>;

fn reasons(drops: &Drops) -> Reasons {
    drops
        .iter()
        .filter(|&(_, frames)| frames > 0)
        .map(|(reason, frames)| (reason.name().to_owned(), frames))
        .collect()
}
