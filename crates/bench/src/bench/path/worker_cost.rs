//! [`WorkerCost`]: the cost of a trial for the worker.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use umacvlan_core::WorkerStats;

use super::peer::Testbed;
use super::perf_counters::PerfCounters;
use super::reading::Extra;

/// Measures a worker's cost from before a trial until after it.
pub(super) struct WorkerCost<'f> {
    testbed: &'f Testbed,
    /// `None` for a peer without a worker.
    before: Option<Before>,
}

/// The counters before the trial.
struct Before {
    turns: Option<WorkerStats>,
    time: Option<Duration>,
    counters: Option<PerfCounters>,
}

impl<'f> WorkerCost<'f> {
    /// Starts to count.
    pub(super) fn open(testbed: &'f Testbed) -> Self {
        let before = || {
            let (turns, time) = (testbed.turns(), thread_cpu_time(is_worker));
            // Last, so that the lines above are not counted.
            Before { turns, time, counters: PerfCounters::open(&workers()).ok() }
        };
        Self { testbed, before: testbed.peer.has_worker().then(before) }
    }

    /// Adds the worker's cost per frame, for this many forwarded frames.
    pub(super) fn close(self, frames: u64, extra: &mut Extra) {
        let Some(Before { turns, time, counters }) = self.before else {
            return;
        };
        let per_frame = |amount: u64| amount as f64 / frames.max(1) as f64;
        if let Some([cycles, instructions]) = counters.and_then(|mut found| found.read().ok()) {
            extra.push(("engine_cycles", per_frame(cycles)));
            extra.push(("engine_instructions", per_frame(instructions)));
        }
        if let (Some(now), Some(before)) = (thread_cpu_time(is_worker), time) {
            let nanos = now.saturating_sub(before).as_nanos() as f64;
            extra.push(("engine_ns", nanos / frames.max(1) as f64));
        }
        if let (Some(now), Some(then)) = (self.testbed.turns(), turns) {
            extra.push(("engine_syscalls", per_frame(now.syscalls - then.syscalls)));
            add_turns(&now, &then, extra);
        }
    }
}

/// Adds figures from the worker's own counters.
fn add_turns(now: &WorkerStats, then: &WorkerStats, extra: &mut Extra) {
    let turns = now.busy_turns - then.busy_turns;
    let read = now.frames - then.frames;
    extra.push(("engine_frames_per_turn", read as f64 / turns.max(1) as f64));
    let seconds =
        |time: fn(&WorkerStats) -> Duration| time(now).saturating_sub(time(then)).as_secs_f64();
    let busy = seconds(|turns| turns.busy);
    let all = busy + seconds(|turns| turns.spinning) + seconds(|turns| turns.asleep);
    extra.push(("engine_busy", busy / all.max(f64::MIN_POSITIVE)));
}

/// The CPU time of the threads of this process with matching names, if the kernel provides it.
pub(super) fn thread_cpu_time(matches: fn(&str) -> bool) -> Option<Duration> {
    let times = threads(matches).into_iter().filter_map(|task| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    });
    times.reduce(|one, other| one + other)
}

/// The thread ids of all workers of this process. All but the measured one are asleep.
fn workers() -> Vec<i32> {
    let number = |task: PathBuf| task.file_name()?.to_str()?.parse().ok();
    threads(is_worker).into_iter().filter_map(number).collect()
}

/// The threads of this process with matching names, as folders of proc(5).
fn threads(matches: fn(&str) -> bool) -> Vec<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let is_match = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| matches(name.trim_end()))
    };
    tasks.map(|task| task.path()).filter(is_match).collect()
}

/// True for "um-" and the parent's name, and for "um1-" and so on for further workers. A relay has
/// such a name too.
fn is_worker(name: &str) -> bool {
    let number = name.strip_prefix("um").and_then(|rest| rest.split_once('-'));
    number.is_some_and(|(number, _)| number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// True for a worker and for the control thread. The main thread has the control thread's name, and
/// sleeps.
pub(super) fn is_engine(name: &str) -> bool {
    is_worker(name) || name == "umacvlan"
}
