//! The output of `run -j`: one object per line, each with `event` first. Counters are totals since the
//! start; drop reasons without a count are omitted.

use serde::Serialize;
use umacvlan_core::MacAddr;
use umacvlan_core::options::PollMode;
use umacvlan_core::stats::SubStats;
use umacvlan_datapath::worker::{Snapshot, WorkerConfig};
use umacvlan_engine::engine::{Event, ParentStatus, SubStatus, WorkerStatus};

use umacvlan_api::{Amount, SubCounters, WireCounters, WorkerCounters};

/// Forwarding has begun.
#[derive(Debug, Serialize)]
pub(super) struct Ready<'s> {
    event: &'static str,
    parent: Parent<'s>,
    subs: Vec<Placed<'s>>,
    /// The CPU of the first worker, then of each.
    cpu: Option<usize>,
    cpus: Vec<Option<usize>>,
    poll: &'static str,
    io: &'static str,
}

impl<'s> Ready<'s> {
    pub(super) fn new(
        status: &'s ParentStatus,
        places: &'s [Option<String>],
        workers: &[WorkerConfig],
    ) -> Self {
        let cpus: Vec<_> = workers.iter().map(|worker| worker.cpu).collect();
        let placed = |(sub, netns): (&'s SubStatus, &'s Option<String>)| Placed {
            sub: Sub::from(sub),
            netns: netns.as_deref(),
        };
        Self {
            event: "ready",
            parent: Parent::from(status),
            subs: status.subs.iter().zip(places).map(placed).collect(),
            cpu: cpus.first().copied().flatten(),
            cpus,
            poll: workers.first().map_or_else(PollMode::default, |worker| worker.poll).name(),
            io: io(&status.counters),
        }
    }
}

/// All counters, at each interval (`stats`) and at the end (`stopped`).
#[derive(Debug, Serialize)]
pub(super) struct Report<'s> {
    event: &'static str,
    /// Seconds since the command was ready.
    elapsed: f64,
    parent: Parent<'s>,
    subs: Vec<Counted<'s>>,
    /// The sum over removed sub-interfaces.
    removed: SubCounters,
    wire: WireCounters,
    /// The time of all workers.
    worker: WorkerCounters,
    workers: Vec<Share>,
}

/// The frames and the time of one worker.
#[derive(Debug, Serialize)]
struct Share {
    received: Amount,
    sent: Amount,
    time: WorkerCounters,
}

impl<'s> Report<'s> {
    pub(super) fn new(event: &'static str, elapsed: f64, status: &'s ParentStatus) -> Self {
        let counters = &status.counters;
        let counted = |(sub, (_, stats)): (&'s SubStatus, &'s (_, SubStats))| Counted {
            sub: Sub::from(sub),
            counters: SubCounters::from(stats),
            queue_drops: sub.queue_drops,
        };
        Self {
            event,
            elapsed,
            parent: Parent::from(status),
            subs: status.subs.iter().zip(&counters.subs).map(counted).collect(),
            removed: SubCounters::from(&counters.removed),
            wire: WireCounters::new(&counters.wire, status.ring_drops),
            worker: WorkerCounters::new(&counters.turns, io(counters)),
            workers: status.workers.iter().map(|worker| share(worker, io(counters))).collect(),
        }
    }
}

/// An event of the engine.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum EventJson<'s> {
    Carrier {
        parent: &'s str,
        on: bool,
    },
    ConflictEnded {
        sub: &'s str,
    },
    Neighbours {
        parent: &'s str,
    },
    ParentGone {
        parent: &'s str,
    },
    ParentBack {
        parent: &'s str,
    },
    ParentRenamed {
        parent: &'s str,
        from: &'s str,
    },
    Reverted {
        sub: &'s str,
        why: &'s str,
    },
    SubChanged {
        sub: Sub<'s>,
    },
    SubGone {
        sub: &'s str,
    },
    /// Events of a kind were left out, because there were too many; the last of them follows.
    LeftOut {
        of: &'static str,
        sub: Option<&'s str>,
        count: u32,
        seconds: u64,
    },
    /// Events were left out, because nobody read them.
    Unread {
        count: u64,
    },
    Trouble {
        what: &'s str,
    },
    VlanFilter {
        parent: &'s str,
        what: &'s str,
    },
}

impl<'s> From<&'s Event> for EventJson<'s> {
    fn from(event: &'s Event) -> Self {
        match event {
            Event::Carrier { parent, on } => Self::Carrier { parent, on: *on },
            Event::ConflictEnded { sub, .. } => Self::ConflictEnded { sub },
            Event::LeftOut { count } => Self::Unread { count: *count },
            Event::Neighbours { parent } => Self::Neighbours { parent },
            Event::ParentGone { parent, .. } => Self::ParentGone { parent },
            Event::ParentBack { parent } => Self::ParentBack { parent },
            Event::ParentRenamed { from, to, .. } => Self::ParentRenamed { parent: to, from },
            Event::Reverted { sub, why, .. } => Self::Reverted { sub, why },
            Event::SubChanged(sub) => Self::SubChanged { sub: Sub::from(&**sub) },
            Event::SubGone { sub, .. } => Self::SubGone { sub },
            Event::Trouble { what, .. } => Self::Trouble { what },
            Event::VlanFilter { parent, what } => Self::VlanFilter { parent, what },
        }
    }
}

#[derive(Debug, Serialize)]
struct Parent<'s> {
    name: &'s str,
    address: String,
    mtu: u32,
    present: bool,
    carrier: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    macnat: bool,
}

impl<'s> From<&'s ParentStatus> for Parent<'s> {
    fn from(status: &'s ParentStatus) -> Self {
        Self {
            name: &status.name,
            address: status.mac.to_string(),
            mtu: status.mtu,
            present: status.present,
            carrier: status.carrier,
            macnat: status.neighbours.is_some(),
        }
    }
}

/// A sub-interface.
#[derive(Debug, Serialize)]
pub(super) struct Sub<'s> {
    name: &'s str,
    mode: &'static str,
    address: String,
    mtu: u32,
    up: bool,
    index: u32,
    nsid: Option<i32>,
    macaddrs: Vec<String>,
    all_groups: bool,
    groups: Vec<String>,
    port: Port<'s>,
}

/// What a sub-interface is, and what programs in the kernel have forwarded for it.
#[derive(Debug, Serialize)]
struct Port<'s> {
    kind: &'static str,
    /// Why it is a TAP instead, or why the engine forwards more than it need; empty without a reason.
    why: &'s str,
    answered: u64,
}

impl<'s> From<&'s SubStatus> for Sub<'s> {
    fn from(status: &'s SubStatus) -> Self {
        Self {
            name: &status.name,
            mode: status.settings.mode.name(),
            address: status.mac.to_string(),
            mtu: status.mtu,
            up: status.up,
            index: status.index,
            nsid: status.nsid,
            macaddrs: words(&status.settings.sources),
            all_groups: status.all_groups,
            groups: words(&status.groups),
            port: Port {
                kind: status.port.kind.name(),
                why: &status.port.why,
                answered: status.port.answered,
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct Placed<'s> {
    #[serde(flatten)]
    sub: Sub<'s>,
    netns: Option<&'s str>,
}

#[derive(Debug, Serialize)]
struct Counted<'s> {
    #[serde(flatten)]
    sub: Sub<'s>,
    #[serde(flatten)]
    counters: SubCounters,
    queue_drops: u64,
}

fn words(addresses: &[MacAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn share(worker: &WorkerStatus, io: &str) -> Share {
    Share {
        received: worker.wire.received.into(),
        sent: worker.wire.sent.into(),
        time: WorkerCounters::new(&worker.turns, io),
    }
}

const fn io(counters: &Snapshot) -> &'static str {
    if counters.uring { "uring" } else { "plain" }
}
