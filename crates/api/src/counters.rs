//! Counters of the engine, since the engine started.

use std::collections::BTreeMap;
use umacvlan_core::WorkerStats;

use serde::{Deserialize, Serialize};
use umacvlan_core::stats::{Counters, Drops, SubStats, WireStats};
use utoipa::ToSchema;

use umacvlan_text::format::ratio;

/// Counters of a link. A GSO packet counts as one frame.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SubCounters {
    /// Frames that were to be delivered to the link.
    pub offered: u64,
    /// Frames delivered to the link.
    pub delivered: Amount,
    /// Delivered frames with a multicast or broadcast address.
    pub groups: u64,
    /// Frames that GRO merged into larger ones before delivery.
    pub merged: u64,
    /// GSO packets that GRO made of merged frames.
    pub supers: u64,
    /// Frames to the link that were not delivered, by reason.
    pub lost: Reasons,
    /// Frames that the link sent.
    pub received: Amount,
    /// Sent frames that went to one other link only.
    pub local: u64,
    /// Sent frames that went to several links and to the wire.
    pub flooded: u64,
    /// Sent frames that went to the wire only.
    pub wire: u64,
    /// Sent frames that were dropped, by reason.
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

/// Counters of a parent, from the wire and to it. A GSO packet counts as one frame.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WireCounters {
    /// Frames received from the wire.
    pub received: Amount,
    /// Received frames that went to one link.
    pub delivered: u64,
    /// Received frames that went to several links and to the host.
    pub flooded: u64,
    /// Received frames that went to the host only.
    pub host: u64,
    /// Received frames that were dropped, and multicast or broadcast frames that only the host got
    /// because the broadcast queue was full, by reason.
    pub dropped: Reasons,
    /// Frames that were to be sent to the wire.
    pub offered: u64,
    /// Frames sent to the wire.
    pub sent: Amount,
    /// Frames to the wire that were not sent, by reason.
    pub unsent: Reasons,
    /// Sent frames that were merged into larger ones, which the parent or the kernel segments again.
    #[serde(default)]
    pub merged: u64,
    /// GSO packets that were made of merged frames.
    #[serde(default)]
    pub supers: u64,
    /// Copies for links in source mode, delivered or not.
    pub copies: u64,
    /// Copies of flooded frames, one for each link, delivered or not.
    pub replicas: u64,
    /// Frames from the wire that were lost because the uplink's receive ring was full, or because a killed
    /// daemon had received and not forwarded them.
    pub ring_drops: u64,
}

impl WireCounters {
    /// The counters of an uplink; `ring_drops` is counted by the kernel.
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
            merged: stats.merged,
            supers: stats.supers,
            copies: stats.copies,
            replicas: stats.replicas,
            ring_drops,
        }
    }
}

/// Counters of a worker, or the sum over a parent's workers. A turn is one pass of a worker's loop.
/// Times are in seconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct WorkerCounters {
    /// Turns.
    pub turns: u64,
    /// Turns with at least one frame.
    pub busy_turns: u64,
    /// Frames read, from the wire and from links.
    pub frames: u64,
    /// Frames read per busy turn, on average.
    pub frames_per_turn: f64,
    /// How often the worker went to sleep.
    pub sleeps: u64,
    /// System calls made to move frames and to wait for them.
    pub syscalls: u64,
    /// Seconds in busy turns.
    pub busy: f64,
    /// Seconds in turns without a frame.
    pub spinning: f64,
    /// Seconds asleep.
    pub asleep: f64,
    /// How TAPs are read and written: `uring` or `plain`.
    pub io: String,
}

impl WorkerCounters {
    /// The counters of a worker that reads TAPs by `io`.
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

/// A number of frames and of their bytes, Ethernet header included.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct Amount {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<Counters> for Amount {
    fn from(Counters { frames, bytes }: Counters) -> Self {
        Self { frames, bytes }
    }
}

/// Frames that were not delivered, by reason. Reasons that did not occur are absent.
pub type Reasons = BTreeMap<String, u64>;

fn reasons(drops: &Drops) -> Reasons {
    drops
        .iter()
        .filter(|&(_, frames)| frames > 0)
        .map(|(reason, frames)| (reason.name().to_owned(), frames))
        .collect()
}
