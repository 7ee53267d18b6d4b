//! [`LineLimit`]: which events are printed at once, and which are counted first.
//!
//! The user of a sub-interface can cause any number of events by changing his interface again and
//! again. Those of one kind and one sub-interface are printed a few times in a period, and after that
//! their number and the last one, so the state that is printed last is the state that is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use umacvlan_engine::engine::{Event, SubId};
use umacvlan_text::log_limit::{LINES, LogLimit};

/// As [`LINES`], of JSON: a program reads these, and a usual sequence of changes is longer.
const JSON_LINES: u32 = 100;

/// A kind of event that users can cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LineKind {
    Changed(SubId),
    ConflictEnded(SubId),
    Reverted(SubId),
    Trouble(SubId),
    /// Trouble that is about no sub-interface, which is the same text each time.
    Text(String),
}

/// Events of one kind that were not printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The kind, as JSON has it.
    pub(super) of: &'static str,
    /// The sub-interface that they are about, if they are about one.
    pub(super) sub: Option<String>,
    pub(super) count: u32,
    pub(super) last: Event,
}

/// The events of each kind in its present period.
#[derive(Debug)]
pub(super) struct LineLimit {
    limit: LogLimit<LineKind>,
    /// The last event of each kind that was not printed.
    left_out: HashMap<LineKind, Event>,
}

impl LineLimit {
    pub(super) fn new(json: bool) -> Self {
        let lines = if json { JSON_LINES } else { LINES };
        Self { limit: LogLimit::new(lines), left_out: HashMap::new() }
    }

    /// Counts an event, and returns whether it is to be printed now.
    pub(super) fn allows(&mut self, event: &Event, now: Instant) -> bool {
        let Some(kind) = kind(event) else {
            return true;
        };
        let allowed = self.limit.allows(kind.clone(), now);
        if !allowed {
            self.left_out.insert(kind, event.clone());
        }
        allowed
    }

    /// Ends the periods that are over, and returns what was left out in them.
    pub(super) fn end_periods(&mut self, now: Instant) -> Vec<LeftOut> {
        let ended = self.limit.end_periods(now).into_iter();
        let left_out = |(kind, count)| {
            let last = self.left_out.remove(&kind)?;
            let (of, sub) = about(&last);
            Some(LeftOut { of, sub, count, last })
        };
        ended.filter_map(left_out).collect()
    }

    /// The time until the first period is over in which events were left out.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        self.limit.due(now)
    }
}

/// The kind of an event; `None` for those of the parent, which is the administrator's.
fn kind(event: &Event) -> Option<LineKind> {
    match event {
        Event::SubChanged(sub) => Some(LineKind::Changed(sub.number)),
        Event::ConflictEnded { number, .. } => Some(LineKind::ConflictEnded(*number)),
        Event::Reverted { number, .. } => Some(LineKind::Reverted(*number)),
        Event::Trouble { sub: Some(number), .. } => Some(LineKind::Trouble(*number)),
        Event::Trouble { sub: None, what } => Some(LineKind::Text(what.clone())),
        Event::Carrier { .. }
        | Event::LeftOut { .. }
        | Event::Neighbours { .. }
        | Event::ParentGone { .. }
        | Event::ParentBack { .. }
        | Event::ParentRenamed { .. }
        | Event::SubGone { .. }
        | Event::VlanFilter { .. } => None,
    }
}

/// The name of an event's kind in JSON, and of the sub-interface that it is about.
fn about(event: &Event) -> (&'static str, Option<String>) {
    match event {
        Event::SubChanged(sub) => ("sub_changed", Some(sub.name.clone())),
        Event::ConflictEnded { sub, .. } => ("conflict_ended", Some(sub.clone())),
        Event::Reverted { sub, .. } => ("reverted", Some(sub.clone())),
        _ => ("trouble", None),
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_engine::engine::SubStatus;
    use umacvlan_text::log_limit::PERIOD;

    use super::*;

    fn changed(number: u64, mtu: u32) -> Event {
        let name = format!("m{number}");
        Event::SubChanged(Box::new(SubStatus {
            number: SubId(number),
            name,
            mtu,
            ..SubStatus::default()
        }))
    }

    #[test]
    fn of_a_storm_the_number_and_the_last_event_are_printed() {
        let now = Instant::now();
        for (json, lines) in [(false, LINES), (true, JSON_LINES)] {
            let mut limit = LineLimit::new(json);
            let printed = (0..1000).filter(|&mtu| limit.allows(&changed(1, mtu), now)).count();
            assert_eq!(printed, usize::try_from(lines).unwrap());
            // Others, of the same kind and of the same sub-interface, are printed.
            assert!(limit.allows(&changed(2, 1), now));
            let reverted =
                Event::Reverted { number: SubId(1), sub: "m1".to_owned(), why: "so".to_owned() };
            assert!(limit.allows(&reverted, now));
            assert_eq!((limit.due(now), limit.end_periods(now)), (Some(PERIOD), vec![]));
            let left_out = LeftOut {
                of: "sub_changed",
                sub: Some("m1".to_owned()),
                count: 1000 - lines,
                last: changed(1, 999),
            };
            assert_eq!(limit.end_periods(now + PERIOD), [left_out]);
            assert_eq!((limit.due(now + PERIOD), limit.left_out.len()), (None, 0));
            assert!(limit.allows(&changed(1, 0), now + PERIOD));
        }
    }

    #[test]
    fn events_of_the_parent_are_all_printed() {
        let mut limit = LineLimit::new(false);
        let carrier = Event::Carrier { parent: "p0".to_owned(), on: true };
        assert!((0..1000).all(|_| limit.allows(&carrier, Instant::now())));
    }
}
