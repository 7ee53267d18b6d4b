//! `umacvlan parent`: parents, their state and the load of their workers.

use std::fmt::Write;

use super::error::{CommandError, FAILED};
use super::session::{Session, command_error, print};
use super::show::Style;
use umacvlan_api::{NeighbourView, ParentView, Reasons, WorkerCounters, WorkerView};
use umacvlan_text::format::{grouped, percent, ranges};
use umacvlan_text::table::{Cell, Head, Table, Tint};

pub(super) fn run(session: &mut Session, name: Option<&str>) -> Result<(), CommandError> {
    let mut parents = all(session)?;
    if let Some(name) = name {
        parents.retain(|parent| parent.name == name);
        if parents.is_empty() {
            return Err(CommandError::new(FAILED, format!("Device \"{name}\" does not exist."))
                .hint(
                    "it is no parent now: one is made by its first link, or by the configuration",
                ));
        }
    }
    let style = session.style;
    if session.options().json {
        return print(&style.json(&parents)?);
    }
    print(&table(&parents, style))
}

pub(super) fn all(session: &mut Session) -> Result<Vec<ParentView>, CommandError> {
    session.client()?.get("/v1/parents", &[]).map_err(|failure| command_error(failure, None))
}

fn table(parents: &[ParentView], style: Style) -> String {
    let mut table = Table::new([
        Head::Left("PARENT"),
        Head::Left("STATE"),
        Head::Right("MTU"),
        Head::Right("LINKS"),
        Head::Right("CPU"),
        Head::Right("BUSY"),
        Head::Right("FRAMES/TURN"),
        Head::Right("RECEIVED"),
        Head::Right("SENT"),
        Head::Right("DROPPED"),
    ]);
    for parent in parents {
        let dropped = dropped(parent);
        table.push([
            parent.name.as_str().into(),
            state(parent),
            parent.mtu.to_string().into(),
            parent.links.to_string().into(),
            cpus(parent).into(),
            busy(&parent.worker).into(),
            format!("{:.1}", parent.worker.frames_per_turn).into(),
            grouped(parent.wire.received.frames).into(),
            grouped(parent.wire.sent.frames).into(),
            Cell::new(grouped(dropped), if dropped > 0 { Tint::Bad } else { Tint::Plain }),
        ]);
    }
    let table = table.render(style.colour);
    let noticed = parents.iter().any(|parent| parent.notice.is_some());
    if !style.details && style.statistics == 0 && !noticed {
        return table;
    }
    let mut lines = table.split_inclusive('\n');
    let mut text = lines.next().unwrap_or_default().to_owned();
    for (line, parent) in lines.zip(parents) {
        text.push_str(line);
        if let Some(notice) = &parent.notice {
            let _ = writeln!(text, "    {notice}");
        }
        if style.details {
            details(parent, &mut text);
        }
        if style.statistics > 0 {
            counters(parent, &mut text);
        }
    }
    text
}

fn state(parent: &ParentView) -> Cell {
    match (parent.present, parent.carrier) {
        (false, _) => Cell::new("absent", Tint::Bad),
        (true, false) => Cell::new("no carrier", Tint::Bad),
        (true, true) => Cell::new("up", Tint::Good),
    }
}

/// The CPUs of the workers; `-` if none is pinned.
fn cpus(parent: &ParentView) -> String {
    // An older daemon has no list of workers, only one CPU.
    let all = parent.workers.iter().map(|worker| worker.cpu).chain([parent.cpu]);
    let mut cpus: Vec<usize> = all.filter_map(|cpu| usize::try_from(cpu?).ok()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() { "-".to_owned() } else { ranges(&cpus) }
}

/// The share of time in which the worker had frames.
fn busy(worker: &WorkerCounters) -> String {
    percent(worker.busy, worker.busy + worker.spinning + worker.asleep)
}

fn dropped(parent: &ParentView) -> u64 {
    let sum = |reasons: &Reasons| reasons.values().sum::<u64>();
    sum(&parent.wire.dropped) + sum(&parent.wire.unsent) + parent.wire.ring_drops
}

fn details(parent: &ParentView, text: &mut String) {
    let index = parent.ifindex.map_or_else(String::new, |index| format!(" ifindex {index}"));
    let ParentView { address, backend, io, poll, semantics, usedbcqueuelen, bclim, .. } = parent;
    let xdp = parent.xdp.as_ref().map_or_else(String::new, |mode| format!(" xdp {mode}"));
    let release = parent.release.as_ref().filter(|_| !semantics.contains('-'));
    let release = release.map_or_else(String::new, |name| format!(" rules-of {name}"));
    let configured = if parent.configured { " configured" } else { "" };
    let workers = match parent.workers.len() {
        0 | 1 => String::new(),
        count => format!(" workers {count}"),
    };
    let missing = parent.host_filter_missing.as_ref();
    let missing = missing.map_or_else(String::new, |why| format!(" ({why})"));
    let vlan = match (&parent.link, &parent.vlan) {
        (Some(link), Some(vlan)) => format!(" link {link} vlan {vlan}"),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "    address {address}{index}{vlan} backend {backend}{xdp} io {io} poll {poll} semantics {semantics}{release} \
         bcqueuelen {usedbcqueuelen} bclim {bclim}{workers}{configured} host-filter {}{missing}",
        parent.host_filter
    );
    if parent.macnat {
        text.push_str("    macnat: links send with the parent's address\n");
    }
    for NeighbourView { address, ifname, lladdr, idle, .. } in &parent.neighbours {
        let _ =
            writeln!(text, "    neighbour {address} link {ifname} lladdr {lladdr} idle {idle}s");
    }
    if let Some(why) = &parent.backend_why {
        let _ = writeln!(text, "    why this backend: {why}");
    }
    if parent.unproven == Some(true) {
        text.push_str("    unproven: no frame of full size has come through this backend so far\n");
    }
    match parent.vlan_filter.as_deref() {
        Some("off") => text.push_str("    vlan filter: off, because links use tags\n"),
        Some(other) => {
            let _ = writeln!(text, "    vlan filter: cannot be off, so the interface is {other}");
        }
        None => {}
    }
}

fn counters(parent: &ParentView, text: &mut String) {
    let (wire, worker) = (&parent.wire, &parent.worker);
    let _ = writeln!(
        text,
        "    rx {} bytes delivered {} flooded {} host {}{}",
        wire.received.bytes,
        wire.delivered,
        wire.flooded,
        wire.host,
        why(&wire.dropped, wire.ring_drops)
    );
    let _ = writeln!(
        text,
        "    tx {} bytes offered {} merged {} into {} copies {} replicas {}{}",
        wire.sent.bytes,
        wire.offered,
        wire.merged,
        wire.supers,
        wire.copies,
        wire.replicas,
        why(&wire.unsent, 0)
    );
    let _ = writeln!(
        text,
        "    turns {} busy {} frames {} sleeps {} syscalls {} io {}",
        worker.turns, worker.busy_turns, worker.frames, worker.sleeps, worker.syscalls, worker.io
    );
    if parent.workers.len() > 1 {
        shares(&parent.workers, text);
    }
}

/// One line per worker.
fn shares(workers: &[WorkerView], text: &mut String) {
    for (number, worker) in workers.iter().enumerate() {
        let cpu = worker.cpu.map_or_else(String::new, |cpu| format!(" cpu {cpu}"));
        let WorkerView { received, sent, time, .. } = worker;
        let _ = writeln!(
            text,
            "    worker {number}{cpu} rx {} tx {} frames {} busy {}",
            received.frames,
            sent.frames,
            time.frames,
            busy(time)
        );
    }
}

/// Dropped frames by reason.
fn why(reasons: &Reasons, ring: u64) -> String {
    let ring = (ring > 0).then_some(("ring_full", ring));
    let all = reasons.iter().map(|(why, &frames)| (why.as_str(), frames)).chain(ring);
    let all: String = all.map(|(why, frames)| format!(" {why} {frames}")).collect();
    if all.is_empty() { all } else { format!(" dropped{all}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use umacvlan_api::{Amount, WireCounters};

    fn parent() -> ParentView {
        ParentView {
            name: "eth0".into(),
            ifindex: Some(2),
            address: "02:00:5e:10:00:01".into(),
            mtu: 1500,
            present: true,
            carrier: true,
            backend: "af-packet".into(),
            host_filter: "tcx".into(),
            semantics: "documented".into(),
            poll: "adaptive".into(),
            io: "uring".into(),
            cpu: Some(1),
            links: 2,
            usedbcqueuelen: 1000,
            bclim: 1,
            wire: WireCounters {
                received: Amount { frames: 12345, bytes: 99 },
                dropped: Reasons::from([("no_such_sub".to_owned(), 7)]),
                ring_drops: 1,
                ..WireCounters::default()
            },
            worker: WorkerCounters {
                busy: 1.0,
                asleep: 3.0,
                frames_per_turn: 2.5,
                io: "uring".into(),
                ..WorkerCounters::default()
            },
            ..ParentView::default()
        }
    }

    #[test]
    fn a_parent_is_a_row_of_the_table() {
        let wanted = "\
PARENT  STATE   MTU  LINKS  CPU    BUSY  FRAMES/TURN  RECEIVED  SENT  DROPPED
eth0    up     1500      2    1  25.0 %          2.5    12,345     0        8
";
        assert_eq!(table(&[parent()], Style::default()), wanted);
        assert_eq!(table(&[], Style { details: true, ..Style::default() }), "");
    }

    #[test]
    fn several_workers_have_a_line_each() {
        let worker = |cpu, frames| WorkerView {
            cpu: Some(cpu),
            received: Amount { frames, bytes: 0 },
            ..WorkerView::default()
        };
        let workers = vec![worker(3, 5), worker(2, 7)];
        let parent = ParentView { cpu: Some(3), workers, ..parent() };
        let style = Style { details: true, statistics: 1, ..Style::default() };
        let text = table(&[parent], style);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("  2-3  "), "{text}");
        assert!(lines[2].contains(" bclim 1 workers 2 "), "{text}");
        assert!(lines[6].starts_with("    worker 0 cpu 3 rx 5 tx 0 "), "{text}");
        assert!(lines[7].starts_with("    worker 1 cpu 2 rx 7 tx 0 "), "{text}");
    }

    #[test]
    fn details_and_counters_stand_below_the_line() {
        let style = Style { details: true, statistics: 1, ..Style::default() };
        let refused = ParentView {
            present: false,
            host_filter: "none".into(),
            host_filter_missing: Some("CAP_BPF is missing".into()),
            ..parent()
        };
        let text = table(&[parent(), refused], style);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 * 5);
        assert_eq!(
            lines[2],
            "    address 02:00:5e:10:00:01 ifindex 2 backend af-packet io uring poll adaptive \
             semantics documented bcqueuelen 1000 bclim 1 host-filter tcx"
        );
        let rx = "    rx 99 bytes delivered 0 flooded 0 host 0 dropped no_such_sub 7 ring_full 1";
        assert_eq!(lines[3], rx);
        let shared = ParentView {
            macnat: true,
            neighbours: vec![NeighbourView {
                address: "fd00::7".into(),
                ifname: "web".into(),
                lladdr: "02:00:00:00:00:07".into(),
                idle: 4,
                ..NeighbourView::default()
            }],
            ..parent()
        };
        let neighbour = "    neighbour fd00::7 link web lladdr 02:00:00:00:00:07 idle 4s\n";
        assert!(table(&[shared], style).contains(neighbour));
        assert!(lines[6].starts_with("eth0    absent"), "{text}");
        assert!(lines[7].ends_with(" host-filter none (CAP_BPF is missing)"), "{text}");
    }
}
