//! The copies of broadcast frames and the cost of each.

use umacvlan_lab::traffic::{Outcome, SequenceTracker};

use super::reading::Extra;

/// Adds the number of copies of each accepted frame, the time between two copies, and the engine's
/// time for a copy if `extra` has its time for a frame. `elsewhere` is the number of copies that
/// idle sub-interfaces received.
pub(super) fn count(outcome: &Outcome, elsewhere: u64, frames: u64, extra: &mut Extra) {
    let received = |tracker: &SequenceTracker| tracker.received;
    let copies = outcome.received.trackers.iter().map(received).sum::<u64>() + elsewhere;
    let accepted = (outcome.sent.offered - outcome.sent.refused).max(1);
    extra.push(("copies", copies as f64 / accepted as f64));
    let each = copies.max(1) as f64;
    extra.push(("copy_ns", outcome.sent.took.as_nanos() as f64 / each));
    let engine = extra.iter().find(|(name, _)| *name == "engine_ns").map(|(_, value)| *value);
    extra.extend(engine.map(|nanos| ("engine_copy_ns", nanos * frames as f64 / each)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_to_idle_sub_interfaces_count_too() {
        let mut outcome = Outcome::default();
        (outcome.sent.offered, outcome.sent.refused) = (12, 2);
        outcome.sent.took = std::time::Duration::from_nanos(6400);
        let mut extra = vec![("engine_ns", 320.0)];
        count(&outcome, 640, 10, &mut extra);
        assert_eq!(extra[1..], [("copies", 64.0), ("copy_ns", 10.0), ("engine_copy_ns", 5.0)]);
    }
}
