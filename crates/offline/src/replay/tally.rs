//! [`Tally`]: counts the outcomes of a replay in the counters of the engine, and prints them.

use serde::Serialize;
use umacvlan_core::stats::{Counters, Drops, SubStats, WireStats};
use umacvlan_core::{DropReason, SubIndex};

use super::capture::Record;
use super::replayer::Entry;
use crate::offline_switch::{Decision, OfflineSwitch, Outcome};
use umacvlan_api::{Amount, SubCounters, WireCounters};
use umacvlan_text::format::grouped;
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// The counters of a replay.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    frames: Counters,
    /// Frames that the capture has truncated.
    cut: u64,
    /// Truncated frames without complete addresses.
    unknown: u64,
    /// Frames without the tags of the parent, which nothing else counts.
    left_out: u64,
    /// By [`SubIndex::index`].
    subs: Vec<SubStats>,
    wire: WireStats,
    /// Frames that the host sent, and how many it got.
    host_sent: Counters,
    host_got: u64,
    /// The earliest and the latest time stamp, in nanoseconds since 1970.
    span: Option<(u64, u64)>,
}

impl Tally {
    pub(super) fn new(offline: &OfflineSwitch) -> Self {
        Self {
            frames: Counters::default(),
            cut: 0,
            unknown: 0,
            left_out: 0,
            subs: offline.subs().map(|_| SubStats::default()).collect(),
            wire: WireStats::default(),
            host_sent: Counters::default(),
            host_got: 0,
            span: None,
        }
    }

    /// The number of frames so far.
    pub(super) const fn frames(&self) -> u64 {
        self.frames.frames
    }

    /// Counts a frame that is not the parent's.
    pub(super) const fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// The number of frames that are not the parent's.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Counts a frame as the engine does.
    pub(super) fn count(&mut self, record: &Record<'_>, entry: Entry, outcome: &Outcome) {
        let length = record.length;
        self.frames.count(length);
        self.cut += u64::from(record.is_cut());
        let (first, last) = self.span.unwrap_or((record.time, record.time));
        self.span = Some((first.min(record.time), last.max(record.time)));
        match (outcome.decision, entry) {
            (Decision::Unknown, _) => return self.unknown += 1,
            (_, Entry::Host) => self.host_sent.count(length),
            (decision, Entry::Sub(id)) => {
                let stats = &mut self.subs[id.index()];
                stats.received.count(length);
                match decision {
                    Decision::Deliver => stats.local += 1,
                    Decision::Drop(reason) => stats.dropped.count(reason),
                    Decision::Flood => stats.flooded += 1,
                    Decision::Host | Decision::Unknown | Decision::Wire => stats.wire += 1,
                }
            }
            (decision, Entry::Wire) => {
                self.wire.received.count(length);
                match decision {
                    Decision::Deliver => self.wire.delivered += 1,
                    Decision::Drop(reason) => self.wire.dropped.count(reason),
                    Decision::Flood => self.wire.flooded += 1,
                    Decision::Host | Decision::Unknown | Decision::Wire => self.wire.host += 1,
                }
            }
        }
        self.count_receivers(
            length,
            record.bytes.first().is_some_and(|byte| byte & 1 == 1),
            entry,
            outcome,
        );
    }

    /// Counts a frame for everyone that got it.
    fn count_receivers(&mut self, length: usize, group: bool, entry: Entry, outcome: &Outcome) {
        for &id in outcome.copies.iter().chain(&outcome.to) {
            let stats = &mut self.subs[id.index()];
            stats.offered += 1;
            stats.delivered.count(length);
            stats.groups += u64::from(group);
        }
        for &id in &outcome.too_long {
            let stats = &mut self.subs[id.index()];
            stats.offered += 1;
            stats.lost.count(DropReason::TooLong);
        }
        self.wire.copies += outcome.copies.len() as u64;
        if outcome.decision == Decision::Flood {
            self.wire.replicas += (outcome.to.len() + outcome.too_long.len()) as u64;
        }
        if outcome.wire && entry != Entry::Host {
            self.wire.offered += 1;
            self.wire.sent.count(length);
        }
        self.host_got += u64::from(outcome.host);
    }

    /// The final counters as JSON.
    pub(super) fn summary<'t>(&'t self, file: &'t str, offline: &'t OfflineSwitch) -> Summary<'t> {
        let parent = offline.switch.parent();
        Summary {
            file,
            frames: self.frames.into(),
            cut: self.cut,
            unknown: self.unknown,
            left_out: self.left_out,
            seconds: self.seconds(),
            parent: &offline.parent,
            address: parent.mac.to_string(),
            mtu: parent.mtu,
            semantics: offline.switch.semantics().name(),
            links: offline
                .subs()
                .map(|(id, name, sub)| LinkSummary {
                    name,
                    mode: sub.mode().name(),
                    address: sub.mac().to_string(),
                    up: sub.up(),
                    counters: SubCounters::from(self.sub(id)),
                })
                .collect(),
            wire: WireCounters::new(&self.wire, 0),
            host: HostSummary { sent: self.host_sent.into(), got: self.host_got },
            notes: &offline.notes,
        }
    }

    /// The final counters as text.
    pub(super) fn text(&self, file: &str, offline: &OfflineSwitch, colour: bool) -> String {
        let parent = offline.switch.parent();
        let mut text = format!(
            "{file}: {} frames, {} bytes, {:.3} s\n{}: {}, MTU {}, {} semantics\n",
            grouped(self.frames.frames),
            grouped(self.frames.bytes),
            self.seconds(),
            offline.parent,
            parent.mac,
            parent.mtu,
            offline.switch.semantics(),
        );
        if self.cut > 0 {
            text.push_str(&format!(
                "cut: {} frames are not whole; {} of them too short to be judged\n",
                grouped(self.cut),
                grouped(self.unknown)
            ));
        }
        if self.left_out > 0 {
            text.push_str(&format!(
                "left out: {} frames without the tag of {}\n",
                grouped(self.left_out),
                offline.parent
            ));
        }
        for note in &offline.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        text.push('\n');
        text.push_str(&self.table(offline).render(colour));
        text
    }

    fn table(&self, offline: &OfflineSwitch) -> Table<7> {
        let mut table = Table::new([
            Head::Left("where"),
            Head::Left("mode"),
            Head::Left("address"),
            Head::Right("sent"),
            Head::Right("delivered"),
            Head::Right("dropped"),
            Head::Left("why"),
        ]);
        for (id, name, sub) in offline.subs() {
            let stats = self.sub(id);
            let mut drops = stats.dropped;
            drops += stats.lost;
            let mode =
                if sub.up() { sub.mode().to_string() } else { format!("{}, down", sub.mode()) };
            table.push(row(
                [name, &mode, &sub.mac().to_string()],
                [stats.received.frames, stats.delivered.frames],
                &drops,
            ));
        }
        let wire = &self.wire;
        let to_wire = wire.sent.frames + self.host_sent.frames;
        table.push(row(["the wire", "", ""], [wire.received.frames, to_wire], &wire.dropped));
        let address = offline.switch.parent().mac.to_string();
        let host = [self.host_sent.frames, self.host_got];
        table.push(row(["the host", "", &address], host, &Drops::default()));
        table
    }

    /// True if the counters account for every frame exactly once, as those of the engine do.
    #[cfg(test)]
    pub(super) fn is_balanced(&self) -> bool {
        let mut subs = SubStats::default();
        self.subs.iter().for_each(|stats| subs += *stats);
        umacvlan_core::stats::is_balanced(&self.wire, &subs)
    }

    fn sub(&self, id: SubIndex) -> &SubStats {
        &self.subs[id.index()]
    }

    fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9)
    }
}

/// One row; `sent` and `delivered` are seen from the place in `words`.
fn row(words: [&str; 3], [sent, delivered]: [u64; 2], drops: &Drops) -> [Cell; 7] {
    let [place, mode, address] = words;
    let why: Vec<String> = drops
        .iter()
        .filter(|&(_, frames)| frames > 0)
        .map(|(reason, frames)| format!("{reason} {}", grouped(frames)))
        .collect();
    let tint = if why.is_empty() { Tint::Plain } else { Tint::Warning };
    [
        place.into(),
        mode.into(),
        address.into(),
        grouped(sent).into(),
        grouped(delivered).into(),
        Cell::new(grouped(drops.total()), tint),
        Cell::new(why.join(", "), tint),
    ]
}

/// The last object of `-j`.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'t> {
    file: &'t str,
    frames: Amount,
    cut: u64,
    unknown: u64,
    left_out: u64,
    seconds: f64,
    parent: &'t str,
    address: String,
    mtu: u32,
    semantics: &'static str,
    links: Vec<LinkSummary<'t>>,
    wire: WireCounters,
    host: HostSummary,
    notes: &'t [String],
}

#[derive(Debug, Serialize)]
struct LinkSummary<'t> {
    name: &'t str,
    mode: &'static str,
    address: String,
    up: bool,
    counters: SubCounters,
}

#[derive(Debug, Serialize)]
struct HostSummary {
    sent: Amount,
    got: u64,
}
