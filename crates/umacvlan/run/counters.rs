//! Counters as tables: totals at the end, rates in between.

use std::time::Duration;
use umacvlan_core::WorkerStats;

use umacvlan_core::SubIndex;
use umacvlan_core::options::PortKind;
use umacvlan_core::stats::{Counters, Drops, SubStats};
use umacvlan_engine::engine::{ParentStatus, SubStatus, WorkerStatus};

use umacvlan_text::format::{bytes, grouped, percent, ratio, scaled};
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// The counters since the start.
pub(super) fn totals(status: &ParentStatus, elapsed: Duration, colour: bool) -> String {
    let mut table = Table::new([
        Head::Left("INTERFACE"),
        Head::Left("MODE"),
        Head::Right("DELIVERED"),
        Head::Right("BYTES"),
        Head::Right("RECEIVED"),
        Head::Right("BYTES"),
        Head::Left("DROPPED"),
    ]);
    for row in rows(status) {
        let dropped = row.drops();
        table.push([
            row.name.into(),
            row.mode.into(),
            grouped(row.delivered.frames).into(),
            bytes(row.delivered.bytes).into(),
            grouped(row.received.frames).into(),
            bytes(row.received.bytes).into(),
            dropped,
        ]);
    }
    let wire = &status.counters.wire;
    let io = if status.counters.uring { "io_uring" } else { "plain reads and writes" };
    format!(
        "\n{} after {:.1} s: frames delivered to, and received from\n{}\
         from the wire: {} to one sub-interface, {} flooded, {} left to the host\n\
         {}: {}, {} turns, {} sleeps, TAPs by {io}\n{}",
        status.name,
        elapsed.as_secs_f64(),
        table.render(colour),
        grouped(wire.delivered),
        grouped(wire.flooded),
        grouped(wire.host),
        who(status),
        effort(&status.counters.turns),
        grouped(status.counters.turns.turns),
        grouped(status.counters.turns.sleeps),
        shares(status) + &in_the_kernel(status),
    )
}

/// The share of frames that programs in the kernel have forwarded, for each sub-interface that has some.
fn in_the_kernel(status: &ParentStatus) -> String {
    let subs = status.subs.iter().zip(&status.counters.subs);
    let line = |(sub, (_, stats)): (&SubStatus, &(SubIndex, SubStats))| {
        let all = stats.received.frames + stats.offered;
        let share = percent(sub.port.answered as f64, all as f64);
        format!("{}: {share} of {} frames by the kernel\n", sub.name, grouped(all))
    };
    subs.filter(|(sub, _)| sub.port.kind == PortKind::Veth).map(line).collect()
}

/// The rates per second between two moments; drops are absolute.
pub(super) fn rates(
    before: &ParentStatus,
    now: &ParentStatus,
    interval: Duration,
    colour: bool,
) -> String {
    let mut table = Table::new([
        Head::Left("INTERFACE"),
        Head::Right("DELIVERED/S"),
        Head::Right("BIT/S"),
        Head::Right("RECEIVED/S"),
        Head::Right("BIT/S"),
        Head::Left("DROPPED"),
    ]);
    let earlier: Vec<Row> = rows(before).collect();
    let seconds = interval.as_secs_f64();
    let frames = |counters: Counters| scaled(ratio(counters.frames as f64, seconds), "");
    let bits = |counters: Counters| scaled(8.0 * ratio(counters.bytes as f64, seconds), "bit");
    for mut row in rows(now).filter(|row| row.of != Of::Removed) {
        if let Some(earlier) = earlier.iter().find(|earlier| earlier.of == row.of) {
            row.subtract(earlier);
        }
        let dropped = row.drops();
        table.push([
            row.name.into(),
            frames(row.delivered).into(),
            bits(row.delivered).into(),
            frames(row.received).into(),
            bits(row.received).into(),
            dropped,
        ]);
    }
    let effort = effort(&turns_since(&before.counters.turns, &now.counters.turns));
    format!("\n{}{}: {effort}\n", table.render(colour), who(now))
}

/// `worker`, or the number of workers.
fn who(status: &ParentStatus) -> String {
    match status.workers.len() {
        0 | 1 => "worker".to_owned(),
        count => format!("{count} workers"),
    }
}

/// One line per worker if there are several.
fn shares(status: &ParentStatus) -> String {
    if status.workers.len() < 2 {
        return String::new();
    }
    let line = |(number, worker): (usize, &WorkerStatus)| {
        let WorkerStatus { wire, turns, .. } = worker;
        format!(
            "worker {number}: {}, {} frames, {} from the wire and {} to it\n",
            effort(turns),
            grouped(turns.frames),
            grouped(wire.received.frames),
            grouped(wire.sent.frames)
        )
    };
    status.workers.iter().enumerate().map(line).collect()
}

/// The owner of the counters in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Removed,
    Sub(SubIndex),
    Wire,
}

/// The counters of a sub-interface or of the wire.
#[derive(Debug)]
struct Row {
    of: Of,
    name: String,
    mode: &'static str,
    delivered: Counters,
    /// Frames to it that were dropped, by reason.
    lost: Vec<(&'static str, u64)>,
    received: Counters,
    /// Frames from it that were dropped, by reason.
    dropped: Vec<(&'static str, u64)>,
}

/// The sub-interfaces in the order of creation, removed ones as a sum if they have counters, and the
/// wire.
fn rows(status: &ParentStatus) -> impl Iterator<Item = Row> {
    let ParentStatus { name, subs, counters, .. } = status;
    let present = subs.iter().zip(&counters.subs).map(|(sub, (id, stats))| {
        Row::of_sub(Of::Sub(*id), &sub.name, sub.settings.mode.name(), stats, sub.queue_drops)
    });
    let removed = (counters.removed != SubStats::default())
        .then(|| Row::of_sub(Of::Removed, "those gone", "", &counters.removed, 0));
    let wire = &counters.wire;
    let wire = Row {
        of: Of::Wire,
        name: name.clone(),
        mode: "wire",
        delivered: wire.sent,
        lost: reasons(&wire.unsent).collect(),
        received: wire.received,
        dropped: reasons(&wire.dropped).chain([("ring_full", status.ring_drops)]).collect(),
    };
    present.chain(removed).chain([wire])
}

impl Row {
    fn of_sub(of: Of, name: &str, mode: &'static str, stats: &SubStats, queue_drops: u64) -> Self {
        Self {
            of,
            name: name.to_owned(),
            mode,
            delivered: stats.delivered,
            lost: reasons(&stats.lost).collect(),
            received: stats.received,
            dropped: reasons(&stats.dropped).chain([("queue_full", queue_drops)]).collect(),
        }
    }

    /// Subtracts earlier counters. It saturates because an id may have been reused.
    fn subtract(&mut self, earlier: &Self) {
        let counters =
            [(&mut self.delivered, earlier.delivered), (&mut self.received, earlier.received)];
        for (now, then) in counters {
            now.frames = now.frames.saturating_sub(then.frames);
            now.bytes = now.bytes.saturating_sub(then.bytes);
        }
        let drops = [(&mut self.lost, &earlier.lost), (&mut self.dropped, &earlier.dropped)];
        for (now, then) in drops {
            for ((_, now), (_, then)) in now.iter_mut().zip(then) {
                *now = now.saturating_sub(*then);
            }
        }
    }

    /// The drop reasons with a count, in both directions.
    fn drops(&self) -> Cell {
        let ways = [("to it", &self.lost), ("from it", &self.dropped)];
        let words: Vec<String> = ways
            .into_iter()
            .filter_map(|(way, reasons)| {
                let occurred = reasons.iter().filter(|&&(_, frames)| frames > 0);
                let words: Vec<String> = occurred
                    .map(|&(reason, frames)| format!("{} {reason}", grouped(frames)))
                    .collect();
                (!words.is_empty()).then(|| format!("{way} {}", words.join(", ")))
            })
            .collect();
        Cell::new(words.join("; "), Tint::Bad)
    }
}

fn reasons(drops: &Drops) -> impl Iterator<Item = (&'static str, u64)> {
    drops.iter().map(|(reason, frames)| (reason.name(), frames))
}

/// The load of a worker.
fn effort(turns: &WorkerStats) -> String {
    let all = turns.busy + turns.spinning + turns.asleep;
    let busy = percent(turns.busy.as_secs_f64(), all.as_secs_f64());
    let frames = ratio(turns.frames as f64, turns.busy_turns as f64);
    format!("{busy} busy, {frames:.1} frames a busy turn")
}

fn turns_since(then: &WorkerStats, now: &WorkerStats) -> WorkerStats {
    WorkerStats {
        turns: now.turns.saturating_sub(then.turns),
        busy_turns: now.busy_turns.saturating_sub(then.busy_turns),
        frames: now.frames.saturating_sub(then.frames),
        sleeps: now.sleeps.saturating_sub(then.sleeps),
        syscalls: now.syscalls.saturating_sub(then.syscalls),
        busy: now.busy.saturating_sub(then.busy),
        spinning: now.spinning.saturating_sub(then.spinning),
        asleep: now.asleep.saturating_sub(then.asleep),
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::{
        DropReason, MacAddr, MacvlanSettings, Mode, ParentInfo, Semantics, SubConfig, Switch,
    };
    use umacvlan_datapath::worker::Snapshot;
    use umacvlan_engine::engine::SubStatus;

    use super::*;

    fn counters(frames: u64, bytes: u64) -> Counters {
        Counters { frames, bytes }
    }

    fn status() -> ParentStatus {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let config = SubConfig { mac, ..Default::default() };
        let parent = ParentInfo { mac: MacAddr::ZERO, mtu: 1500, promisc: false };
        let id = Switch::new(parent, Semantics::default()).add(&config).unwrap();
        let mut stats = SubStats {
            delivered: counters(1_200, 1_500_000),
            received: counters(10, 600),
            ..Default::default()
        };
        stats.lost.add(DropReason::Full, 3);
        stats.dropped.add(DropReason::Runt, 1);
        let sub = SubStatus {
            name: "mac1".to_owned(),
            parent: "eth0".to_owned(),
            mac,
            settings: MacvlanSettings::new(Mode::Bridge),
            mtu: 1500,
            up: true,
            queue_drops: 7,
            ..SubStatus::default()
        };
        ParentStatus {
            name: "eth0".to_owned(),
            mac,
            mtu: 1500,
            present: true,
            carrier: true,
            subs: vec![sub],
            counters: Snapshot { subs: vec![(id, stats)], ..Default::default() },
            ..ParentStatus::default()
        }
    }

    fn words(text: &str, line: &str) -> String {
        let found = text.lines().find(|text| text.starts_with(line)).expect(line);
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn totals_name_each_interface_and_the_reasons_that_occurred() {
        let text = totals(&status(), Duration::from_secs(2), false);
        assert_eq!(
            words(&text, "mac1"),
            "mac1 bridge 1,200 1.50 MB 10 600 B to it 3 full; from it 1 runt, 7 queue_full"
        );
        assert_eq!(words(&text, "eth0  "), "eth0 wire 0 0 B 0 0 B");
        assert!(!text.contains("those gone"), "{text}");
    }

    #[test]
    fn those_gone_are_summed_if_they_did_anything() {
        let mut status = status();
        status.counters.removed.received = counters(5, 300);
        let text = totals(&status, Duration::from_secs(2), false);
        assert_eq!(words(&text, "those gone"), "those gone 0 0 B 5 300 B");
    }

    #[test]
    fn rates_are_differences_by_the_second() {
        let (before, mut now) = (status(), status());
        let (_, stats) = &mut now.counters.subs[0];
        stats.delivered = counters(1_400, 1_500_500);
        stats.lost.add(DropReason::Full, 2);
        now.counters.turns.busy = Duration::from_secs(1);
        now.counters.turns.asleep = Duration::from_secs(3);
        let text = rates(&before, &now, Duration::from_secs(2), false);
        assert_eq!(words(&text, "mac1"), "mac1 100 2.00 kbit 0 0 bit to it 2 full");
        assert!(words(&text, "worker").contains("25.0 % busy"), "{text}");
    }
}
