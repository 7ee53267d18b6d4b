//! [`Rates`]: the difference of two looks, by second.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde::Serialize;
use umacvlan_api::{LinkView, ParentView, Reasons, SubCounters, WorkerView};

use super::Order;

/// What the daemon has counted at one moment.
pub(super) struct Sample {
    pub(super) time: Instant,
    pub(super) parents: Vec<ParentView>,
    pub(super) links: Vec<LinkView>,
}

/// Rates between two moments.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    /// Seconds between the two.
    pub(super) seconds: f64,
    pub(super) workers: Vec<WorkerRates>,
    pub(super) links: Vec<LinkRates>,
}

/// A worker. The shares of its time are between 0 and 1.
#[derive(Debug, Serialize)]
pub(super) struct WorkerRates {
    pub(super) parent: String,
    /// Its number, from 0.
    pub(super) worker: usize,
    pub(super) cpu: Option<u32>,
    /// Frames read a second, from the wire and from links.
    pub(super) frames: f64,
    pub(super) frames_per_turn: f64,
    pub(super) syscalls: f64,
    pub(super) busy: f64,
    pub(super) spinning: f64,
    pub(super) asleep: f64,
    /// Frames a second that the receive ring of the parent had no room for; of the first worker's row
    /// only.
    pub(super) ring_drops: f64,
}

/// A link, by second where nothing else is said.
#[derive(Debug, Serialize)]
pub(super) struct LinkRates {
    pub(super) name: String,
    pub(super) netns: Option<String>,
    pub(super) parent: String,
    pub(super) up: bool,
    pub(super) rx_frames: f64,
    pub(super) rx_bytes: f64,
    pub(super) tx_frames: f64,
    pub(super) tx_bytes: f64,
    pub(super) drops: f64,
    /// All drops since the daemon has started.
    pub(super) dropped: u64,
    /// The reasons of the drops between the two moments, with their number.
    pub(super) reasons: BTreeMap<String, u64>,
    /// The share of frames that the kernel has forwarded without the daemon; absent for a TAP.
    pub(super) in_kernel: Option<f64>,
}

impl LinkRates {
    pub(super) fn full_name(&self) -> String {
        match &self.netns {
            Some(netns) => format!("{netns}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Rates {
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.time.duration_since(before.time).as_secs_f64().max(1e-3);
        let old: HashMap<u64, &LinkView> =
            before.links.iter().map(|link| (link.umacvlan.id, link)).collect();
        let links = now.links.iter();
        let links = links.map(|link| of_link(old.get(&link.umacvlan.id).copied(), link, seconds));
        let old_parent =
            |parent: &ParentView| before.parents.iter().find(|old| old.name == parent.name);
        let workers = now.parents.iter().flat_map(|parent| {
            let old = old_parent(parent);
            let each = parent.workers.iter().enumerate();
            each.map(move |(number, worker)| of_worker(old, parent, number, worker, seconds))
        });
        Self { seconds, workers: workers.collect(), links: links.collect() }
    }

    /// Keeps the links and workers with `text` in their names.
    pub(super) fn keep(&mut self, text: &str) {
        let has = |name: &str| name.contains(text);
        self.links.retain(|link| has(&link.full_name()) || has(&link.parent));
        let links = &self.links;
        let carries = |parent: &str| links.iter().any(|link| link.parent == parent);
        self.workers.retain(|worker| has(&worker.parent) || carries(&worker.parent));
    }

    pub(super) fn sort(&mut self, order: Order) {
        self.links.sort_by_key(LinkRates::full_name);
        let by = |link: &LinkRates| match order {
            Order::Bytes => (link.rx_bytes + link.tx_bytes, 0.0),
            Order::Drops => (link.drops, link.dropped as f64),
            Order::Frames => (link.rx_frames + link.tx_frames, 0.0),
            Order::Name => (0.0, 0.0),
        };
        let descending = |one: &LinkRates, other: &LinkRates| {
            let ((one, then), (other, other_then)) = (by(one), by(other));
            other.total_cmp(&one).then(other_then.total_cmp(&then))
        };
        // Equal ones stay in the order of their names.
        self.links.sort_by(descending);
    }
}

/// A difference by second; 0 if the counter began again.
fn rate(before: u64, now: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

fn of_link(old: Option<&LinkView>, link: &LinkView, seconds: f64) -> LinkRates {
    let now = &link.umacvlan.counters;
    // A link that is new has no rate yet.
    let before = old.map_or(now, |old| &old.umacvlan.counters);
    let queue = (old.unwrap_or(link).umacvlan.queue_drops, link.umacvlan.queue_drops);
    let (was, is) = (drops(before) + queue.0, drops(now) + queue.1);
    let mut reasons = BTreeMap::new();
    for (of_before, of_now) in [(&before.lost, &now.lost), (&before.dropped, &now.dropped)] {
        add_new(&mut reasons, of_before, of_now);
    }
    if queue.1 > queue.0 {
        reasons.insert("queue_full".to_owned(), queue.1 - queue.0);
    }
    let interface = link.umacvlan.interface.as_ref().filter(|it| it.kind == "veth");
    LinkRates {
        name: link.ifname.clone(),
        netns: link.umacvlan.netns.clone(),
        parent: link.umacvlan.parent.clone(),
        up: link.flags.iter().any(|flag| flag == "UP"),
        rx_frames: rate(before.delivered.frames, now.delivered.frames, seconds),
        rx_bytes: rate(before.delivered.bytes, now.delivered.bytes, seconds),
        tx_frames: rate(before.received.frames, now.received.frames, seconds),
        tx_bytes: rate(before.received.bytes, now.received.bytes, seconds),
        drops: rate(was, is, seconds),
        dropped: is,
        reasons,
        in_kernel: interface.map(|it| share(it.answered as f64, it.frames as f64)),
    }
}

fn drops(counters: &SubCounters) -> u64 {
    counters.lost.values().chain(counters.dropped.values()).sum()
}

fn add_new(sum: &mut BTreeMap<String, u64>, before: &Reasons, now: &Reasons) {
    for (reason, &count) in now {
        let new = count.saturating_sub(before.get(reason).copied().unwrap_or_default());
        if new > 0 {
            *sum.entry(reason.clone()).or_default() += new;
        }
    }
}

fn of_worker(
    old: Option<&ParentView>,
    parent: &ParentView,
    number: usize,
    worker: &WorkerView,
    seconds: f64,
) -> WorkerRates {
    let now = &worker.time;
    let before = old.and_then(|old| old.workers.get(number)).map_or(now, |old| &old.time);
    let ring_drops = match (number, old) {
        (0, Some(old)) => rate(old.wire.ring_drops, parent.wire.ring_drops, seconds),
        _ => 0.0,
    };
    let frames = rate(before.frames, now.frames, seconds);
    WorkerRates {
        parent: parent.name.clone(),
        worker: number,
        cpu: worker.cpu,
        frames,
        frames_per_turn: share_of(frames, rate(before.busy_turns, now.busy_turns, seconds)),
        syscalls: rate(before.syscalls, now.syscalls, seconds),
        busy: share(now.busy - before.busy, seconds),
        spinning: share(now.spinning - before.spinning, seconds),
        asleep: share(now.asleep - before.asleep, seconds),
        ring_drops,
    }
}

fn share_of(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A part of a whole, between 0 and 1.
fn share(part: f64, whole: f64) -> f64 {
    share_of(part, whole).clamp(0.0, 1.0)
}
