//! The lines about the last events of a link, the newest last.

use umacvlan_api::LastEvent;

use super::text::escape_control;
use crate::ip::time;

/// A line for each event: its time, its kind, and what has happened, in columns.
pub(super) fn lines(events: &[LastEvent]) -> Vec<String> {
    let width = events.iter().map(|event| event.event.len()).max().unwrap_or_default();
    let line = |event: &LastEvent| {
        let LastEvent { event: kind, what, .. } = event;
        let when = time::short(event.time);
        let what = escape_control(what);
        format!("    umacvlan event {when} {kind:width$} {what}{}", repeated(event))
    };
    events.iter().map(line).collect()
}

/// How often it has come, and when last, if it has come more than once.
fn repeated(event: &LastEvent) -> String {
    match (event.count, event.last_time) {
        (Some(count), Some(last)) => format!(" ({count} times, last {})", time::short(last)),
        _ => String::new(),
    }
}
