//! [`Answer`]: an explanation as it is printed, for people and for programs.

use serde::Serialize;
use umacvlan_core::switch::{Explanation, Step};
use umacvlan_core::{Frame, SubIndex};

use super::question::Told;
use super::render;
use crate::offline_switch::{Fate, Paper, Said};

/// Everything that is told of one frame.
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
    /// In the order in which they were taken; the last one decides.
    steps: Vec<Line>,
    /// What each link has to do with a flood.
    flood: Vec<Role<'a>>,
    verdict: &'static str,
    reason: Option<&'static str>,
    to: Vec<&'a str>,
    copies: Vec<&'a str>,
    too_long: Vec<&'a str>,
    host: bool,
    wire: bool,
    /// It takes the broadcast queue.
    queued: bool,
    notes: &'a [String],
}

/// A step, and where docs/semantics.md has it.
#[derive(Debug, Serialize)]
struct Line {
    section: &'static str,
    text: String,
}

/// A link in a flood.
#[derive(Debug, Serialize)]
struct Role<'a> {
    link: &'a str,
    part: &'static str,
    text: String,
}

impl<'a> Answer<'a> {
    /// `whole` if what the frame carries is known.
    pub(super) fn new(
        paper: &'a Paper,
        from: Option<SubIndex>,
        frame: Frame<'_>,
        whole: bool,
        Explanation { steps, verdict }: Explanation<'_>,
    ) -> Self {
        let mut fate = Fate::default();
        fate.carry_out(verdict, paper.switch.bc_queue_len());
        let flood = match steps.last() {
            Some(&(Step::Flood(rule) | Step::LocalFlood(rule))) => {
                let role = |(id, part)| Role {
                    link: paper.name(id),
                    part: render::part_name(part),
                    text: render::part(paper, rule, id, part),
                };
                paper.switch.flood_decisions(rule).map(role).collect()
            }
            _ => Vec::new(),
        };
        let told =
            |&step: &Step| Line { section: step.section(), text: render::tell(paper, frame, step) };
        Self {
            frame: Told { frame, whole }.to_string(),
            parent: &paper.parent,
            direction: if from.is_some() { "egress" } else { "ingress" },
            link: from.map(|id| paper.name(id)),
            steps: steps.iter().map(told).collect(),
            flood,
            verdict: fate.said.name(),
            reason: match fate.said {
                Said::Drop(reason) => Some(reason.name()),
                _ => None,
            },
            to: paper.names(&fate.to),
            copies: paper.names(&fate.copies),
            too_long: paper.names(&fate.too_long),
            host: fate.host,
            wire: fate.wire,
            queued: fate.queued,
            notes: &paper.notes,
        }
    }

    /// One line a step; the one that decides has a mark.
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
        let mut ends: Vec<&str> = self.copies.iter().chain(&self.to).copied().collect();
        ends.extend(self.host.then_some("the host"));
        ends.extend(self.wire.then_some("the wire"));
        let ends = match ends.len() {
            0 => "nobody".to_owned(),
            many if many > SHOWN => {
                format!("{} and {} more", ends[..SHOWN].join(", "), many - SHOWN)
            }
            _ => ends.join(", "),
        };
        match self.reason {
            Some(reason) => format!("{} ({reason}); {ends} gets it", self.verdict),
            None => format!("{}: {ends}", self.verdict),
        }
    }
}

/// Links that are shown to people.
const SHOWN: usize = 32;
