//! [`Reporter`]: the output of `run`, as tables and lines or as JSON.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use umacvlan_core::options::PortKind;
use umacvlan_datapath::worker::WorkerConfig;
use umacvlan_engine::engine::{Event, ParentStatus, SubStatus, UplinkKind, UplinkStatus};

use super::counters;
use super::json::{EventJson, Ready, Report};
use super::line_limit::{LeftOut, LineLimit};
use umacvlan_text::format::ranges;
use umacvlan_text::log_limit::PERIOD;
use umacvlan_text::output::{Output, print_stderr};
use umacvlan_text::table::{Head, Table, Tint};

/// Prints state, events and counters.
#[derive(Debug)]
pub(super) struct Reporter {
    output: Output,
    json: bool,
    workers: Vec<WorkerConfig>,
    started: Instant,
    /// The status and the time of the last rates.
    last: Option<(ParentStatus, Instant)>,
    /// The last sentence about each sub-interface.
    reported: HashMap<String, String>,
    limit: LineLimit,
}

impl Reporter {
    pub(super) fn new(json: bool, workers: &[WorkerConfig]) -> Self {
        Self {
            output: Output::new(),
            json,
            workers: workers.to_vec(),
            started: Instant::now(),
            last: None,
            reported: HashMap::new(),
            limit: LineLimit::new(json),
        }
    }

    /// Reports that forwarding has begun. `places` are the namespaces as given, in the order of the
    /// sub-interfaces.
    pub(super) fn ready(&mut self, status: &ParentStatus, places: &[Option<String>]) {
        self.started = Instant::now();
        self.last = Some((status.clone(), self.started));
        let reported = status.subs.iter().map(|sub| (sub.name.clone(), now(sub)));
        self.reported.extend(reported);
        if self.json {
            return self.output.json(&Ready::new(status, places, &self.workers));
        }
        let mut table = Table::new([
            Head::Left("SUB-INTERFACE"),
            Head::Left("MODE"),
            Head::Left("ADDRESS"),
            Head::Right("MTU"),
            Head::Left("STATE"),
            Head::Left("NAMESPACE"),
        ]);
        for (sub, place) in status.subs.iter().zip(places) {
            table.push([
                sub.name.as_str().into(),
                sub.settings.mode.name().into(),
                sub.mac.to_string().into(),
                sub.mtu.to_string().into(),
                state(sub).into(),
                place.as_deref().unwrap_or("this one").into(),
            ]);
        }
        let ParentStatus { name, mac, mtu, .. } = status;
        let carrier = if status.carrier { "" } else { ", no carrier yet" };
        let cpu = self.workers_text();
        let by = uplink_text(&status.uplink);
        let colour = self.output.colour;
        let tables = table.render(colour);
        let ready = Tint::Good.paint("ready", colour);
        let ports: String = status.subs.iter().filter_map(port_text).collect();
        self.output.text(&format!(
            "{tables}{ports}{ready}: forwarding for {name} ({mac}, MTU {mtu}{carrier}){by}{cpu}; Ctrl-C ends it\n"
        ));
    }

    /// The workers and their CPUs.
    fn workers_text(&self) -> String {
        let mut cpus: Vec<usize> = self.workers.iter().filter_map(|worker| worker.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let on = match &cpus[..] {
            [] => String::new(),
            [cpu] => format!(" on CPU {cpu}"),
            cpus => format!(" on CPUs {}", ranges(cpus)),
        };
        match self.workers.len() {
            0 | 1 => on,
            count if count > cpus.len() && !cpus.is_empty() => {
                format!(" by {count} workers that share{}", on.replace(" on", ""))
            }
            count => format!(" by {count} workers{on}"),
        }
    }

    /// Reports an event of the engine, unless there are too many of its kind.
    pub(super) fn event(&mut self, event: &Event) {
        // A change that the sentence does not show, such as a group or an IP address, is not reported.
        if matches!(event, Event::Neighbours { .. }) && !self.json {
            return;
        }
        if let (Event::SubChanged(sub), false) = (event, self.json) {
            let sentence = now(sub);
            let before = self.reported.insert(sub.name.clone(), sentence.clone());
            if before == Some(sentence) {
                return;
            }
        }
        if self.limit.allows(event, Instant::now()) {
            self.print(event);
        }
    }

    /// Reports how many events were left out, of kinds whose period is over. Returns the time until
    /// the next one is.
    pub(super) fn left_out(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.print_left_out(now);
        self.limit.due(now)
    }

    /// Reports how many events were left out, at the end of the command.
    pub(super) fn all_left_out(&mut self) {
        self.print_left_out(Instant::now() + PERIOD);
    }

    fn print_left_out(&mut self, now: Instant) {
        let seconds = PERIOD.as_secs();
        for LeftOut { of, sub, count, last } in self.limit.end_periods(now) {
            match self.json {
                true => {
                    let sub = sub.as_deref();
                    self.output.json(&EventJson::LeftOut { of, sub, count, seconds });
                }
                false => {
                    let about = sub.map_or_else(String::new, |name| format!("{name}, "));
                    print_stderr(&format!(
                        "{about}{of}: {count} more in {seconds} s, the last one:"
                    ));
                }
            }
            self.print(&last);
        }
    }

    fn print(&mut self, event: &Event) {
        match self.json {
            true => self.output.json(&EventJson::from(event)),
            false => print_stderr(&sentence(event)),
        }
    }

    /// Reports the rates since the last call.
    pub(super) fn rates(&mut self, status: &ParentStatus) {
        if self.json {
            let elapsed = self.started.elapsed().as_secs_f64();
            return self.output.json(&Report::new("stats", elapsed, status));
        }
        let now = Instant::now();
        if let Some((before, then)) = self.last.replace((status.clone(), now)) {
            let interval = now.duration_since(then);
            let text = counters::rates(&before, status, interval, self.output.colour);
            self.output.text(&text);
        }
    }

    /// Reports the final counters.
    pub(super) fn stopped(&mut self, status: &ParentStatus) {
        let elapsed = self.started.elapsed();
        if self.json {
            let report = Report::new("stopped", elapsed.as_secs_f64(), status);
            return self.output.json(&report);
        }
        let text = counters::totals(status, elapsed, self.output.colour);
        self.output.text(&text);
    }

    /// Ends the output.
    ///
    /// # Errors
    /// A write to standard output failed.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.output.finish()
    }
}

/// A line about a sub-interface that is not simply a TAP.
fn port_text(sub: &SubStatus) -> Option<String> {
    let name = &sub.name;
    match (sub.port.kind, sub.port.why.as_str()) {
        (PortKind::Veth, "") => Some(format!("{name}: veth, the kernel forwards plain unicast\n")),
        (PortKind::Veth, why) => {
            Some(format!("{name}: veth, and the engine forwards what the wire carries: {why}\n"))
        }
        (_, "") => None,
        (_, why) => Some(format!("{name}: a TAP and no veth pair: {why}\n")),
    }
}

/// The uplink of the parent, and the reason for it.
fn uplink_text(uplink: &UplinkStatus) -> String {
    let kind = match uplink.kind {
        UplinkKind::None => return String::new(),
        UplinkKind::AfXdp(mode) => format!("af-xdp, {mode}"),
        UplinkKind::AfPacket => "af-packet".to_owned(),
    };
    match uplink.why.as_str() {
        "" => format!(" by {kind}"),
        why => format!(" by {kind} ({why})"),
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Carrier { parent, on: true } => format!("parent {parent} has a carrier"),
        Event::Carrier { parent, on: false } => format!("parent {parent} has lost its carrier"),
        Event::ConflictEnded { sub, .. } => format!("{sub} is up again: its address is free"),
        Event::LeftOut { count } => {
            format!("{count} events were left out, because too many were not read")
        }
        Event::Neighbours { parent } => {
            format!("links of {parent} have other IP addresses than before")
        }
        Event::ParentGone { parent, .. } => {
            format!("parent {parent} was removed: its sub-interfaces stay, without carrier")
        }
        Event::ParentBack { parent } => format!("parent {parent} is back and in use again"),
        Event::ParentRenamed { from, to, .. } => format!("parent {from} is {to} now"),
        Event::Reverted { sub, why, .. } => format!("{sub}: {why}"),
        Event::SubChanged(sub) => now(sub),
        Event::SubGone { sub, .. } => format!("{sub} is gone"),
        Event::Trouble { what, .. } | Event::VlanFilter { what, .. } => what.clone(),
    }
}

/// A sentence about the state of a sub-interface.
fn now(sub: &SubStatus) -> String {
    let SubStatus { name, settings, mac, mtu, .. } = sub;
    let mode = settings.mode;
    let state = state(sub);
    let place = match sub.nsid {
        Some(nsid) => format!("namespace {nsid}"),
        None => "this namespace".to_owned(),
    };
    format!("{name} is now {state}, mode {mode}, {mac}, MTU {mtu}, in {place}")
}

const fn state(sub: &SubStatus) -> &'static str {
    if sub.up { "up" } else { "down" }
}
