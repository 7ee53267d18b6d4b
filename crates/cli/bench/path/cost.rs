//! What a trial costs the engine's worker.

use std::time::Duration;

use umacvlan_engine::idle::TurnStats;

use super::peer::Field;
use crate::bench::path::sample::Extra;

/// The account of our worker at one moment; nothing for a peer that has none.
pub(super) struct Account(Option<(TurnStats, Option<Duration>)>);

impl Account {
    /// The account of now.
    pub(super) fn of(field: &Field) -> Self {
        Self(field.turns().map(|turns| (turns, worker_time())))
    }

    /// Adds what the worker did since `before`, in which time `frames` frames were forwarded.
    pub(super) fn since(&self, before: &Self, frames: u64, extra: &mut Extra) {
        let (Some((now, time)), Some((then, time_before))) = (&self.0, &before.0) else {
            return;
        };
        let turns = now.busy_turns - then.busy_turns;
        let read = now.frames - then.frames;
        extra.push(("engine_frames_per_turn", read as f64 / turns.max(1) as f64));
        let seconds =
            |time: fn(&TurnStats) -> Duration| time(now).saturating_sub(time(then)).as_secs_f64();
        let busy = seconds(|turns| turns.busy);
        let all = busy + seconds(|turns| turns.spinning) + seconds(|turns| turns.asleep);
        extra.push(("engine_busy", busy / all.max(f64::MIN_POSITIVE)));
        if let (Some(time), Some(before)) = (time, time_before) {
            let time = time.saturating_sub(*before);
            extra.push(("engine_ns", time.as_nanos() as f64 / frames.max(1) as f64));
        }
    }
}

/// The processor time of the workers of this process, if the system tells. All but the one that is
/// measured are asleep.
fn worker_time() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?.flatten();
    let times = tasks.filter_map(|task| {
        let path = task.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        // The engine calls a worker "um-" and its parent.
        name.starts_with("um-").then_some(())?;
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    });
    times.reduce(|one, other| one + other)
}
