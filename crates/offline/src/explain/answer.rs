//! [`Answer`]: an explanation as text or as JSON.

use serde::Serialize;
use umacvlan_core::limit::Limiter;
use umacvlan_core::switch::{Explanation, Step};
use umacvlan_core::{Frame, Sub, SubIndex};

use super::question::FrameSummary;
use super::render;
use crate::offline_switch::{OfflineSwitch, Outcome, OutcomeJson};

/// The answer to one question.
#[serde_with::skip_serializing_none]
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// The frame on one line.
    frame: String,
    parent: &'a str,
    /// `ingress` or `egress`
    direction: &'static str,
    /// The link that sends it.
    link: Option<&'a str>,
    /// In the order of the decision; the last one decides.
    steps: Vec<Line>,
    /// The decision of a flood for each link.
    flood: Vec<Role<'a>>,
    #[serde(flatten)]
    outcome: OutcomeJson<'a>,
    notes: Vec<String>,
}

/// A step and its section in docs/semantics.md.
#[derive(Debug, Serialize)]
struct Line {
    section: &'static str,
    text: String,
}

/// The decision of a flood for one link.
#[derive(Debug, Serialize)]
struct Role<'a> {
    link: &'a str,
    part: &'static str,
    text: String,
}

impl<'a> Answer<'a> {
    /// `whole` says that the payload is known.
    pub(super) fn new(
        offline: &'a OfflineSwitch,
        from: Option<SubIndex>,
        frame: Frame<'_>,
        whole: bool,
        Explanation { steps, verdict }: Explanation<'_>,
    ) -> Self {
        let mut outcome = Outcome::default();
        outcome.apply(verdict, offline.switch.bc_queue_len());
        let flood = match steps.last() {
            Some(&(Step::Flood(rule) | Step::LocalFlood(rule))) => {
                let role = |(id, part)| Role {
                    link: offline.name(id),
                    part: render::flood_decision_name(part),
                    text: render::flood_decision(offline, rule, id, part),
                };
                offline.switch.flood_decisions(rule).map(role).collect()
            }
            _ => Vec::new(),
        };
        let line = |&step: &Step| Line {
            section: step.section(),
            text: render::step(offline, frame, step),
        };
        let outcome = outcome.json(offline);
        let mut notes = offline.notes.clone();
        notes.extend(limits(offline, from, &outcome));
        Self {
            frame: FrameSummary { frame, whole }.to_string(),
            parent: &offline.parent,
            direction: if from.is_some() { "egress" } else { "ingress" },
            link: from.map(|id| offline.name(id)),
            steps: steps.iter().map(line).collect(),
            flood,
            outcome,
            notes,
        }
    }

    /// One line per step; `>` marks the deciding one.
    pub(super) fn text(&self) -> String {
        let place = match self.link {
            Some(link) => format!("from {link}, a link of {}", self.parent),
            None => format!("from the wire, at {}", self.parent),
        };
        let mut lines = vec![self.frame.clone(), place];
        let last = self.steps.len().saturating_sub(1);
        for (number, Line { section, text }) in self.steps.iter().enumerate() {
            let mark = if number == last { ">" } else { " " };
            lines.push(format!("{mark} {section:<6} {text}"));
        }
        let shown = self.flood.iter().take(SHOWN);
        lines.extend(shown.map(|Role { link, text, .. }| format!("{:9}{link}: {text}", "")));
        if let Some(more @ 1..) = self.flood.len().checked_sub(SHOWN) {
            lines.push(format!("{:9}and {more} more links: -j shows all", ""));
        }
        lines.push(format!("verdict: {}", self.verdict()));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(String::new());
        lines.join("\n")
    }

    fn verdict(&self) -> String {
        let OutcomeJson { verdict, reason, to, copies, host, wire, .. } = &self.outcome;
        let mut receivers: Vec<&str> = copies.iter().chain(to).copied().collect();
        receivers.extend(host.then_some("the host"));
        receivers.extend(wire.then_some("the wire"));
        let receivers = match receivers.len() {
            0 => "nobody".to_owned(),
            many if many > SHOWN => {
                format!("{} and {} more", receivers[..SHOWN].join(", "), many - SHOWN)
            }
            _ => receivers.join(", "),
        };
        match reason {
            Some(reason) => format!("{verdict} ({reason}); {receivers} gets it"),
            // These are named like the only receiver.
            None if matches!(*verdict, "host" | "wire") => format!("to {receivers}"),
            None => format!("{verdict}: {receivers}"),
        }
    }
}

/// The limits of the sender and of the receivers that apply to the frame. Whether it passes depends on
/// what was sent before.
fn limits(
    offline: &OfflineSwitch,
    from: Option<SubIndex>,
    outcome: &OutcomeJson<'_>,
) -> Vec<String> {
    let receives = |name: &str| outcome.to.contains(&name) || outcome.copies.contains(&name);
    let applies = |id: SubIndex, name: &str, sub: &Sub| {
        let limiter = Limiter::new(*sub.limits());
        (Some(id) == from && limiter.limits_tx()) || (receives(name) && limiter.limits_rx())
    };
    let limited = offline.subs().filter(|&(id, name, sub)| applies(id, name, sub));
    limited
        .map(|(_, name, sub)| {
            let limits = sub.limits();
            format!("{name} has limits ({limits}): over them a frame waits, or is dropped (rate)")
        })
        .collect()
}

/// Links that the text output shows at most.
const SHOWN: usize = 32;
