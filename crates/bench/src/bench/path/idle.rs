//! The CPU time of an idle engine.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::peer::Testbed;
use super::reading::{Extra, Reading};
use super::worker_cost::{is_engine, thread_cpu_time};
use crate::bench::report::Better;

/// The CPU time of all threads of the engine in percent of a core, without traffic.
///
/// # Errors
/// The kernel does not provide the CPU time of threads.
pub(super) fn idle(testbed: &Testbed, time: Duration) -> Result<Vec<Reading>> {
    let used = || thread_cpu_time(is_engine).context("this system does not tell what threads take");
    // Lets earlier work finish.
    sleep(time / 4);
    let turns_before = testbed.turns();
    let (before, begun) = (used()?, Instant::now());
    sleep(time);
    let (after, took) = (used()?, begun.elapsed().as_secs_f64());
    let mut extra = Extra::new();
    if let (Some(now), Some(then)) = (testbed.turns(), turns_before) {
        extra.push(("engine_turns", (now.turns - then.turns) as f64 / took));
    }
    let value = 100.0 * after.saturating_sub(before).as_secs_f64() / took;
    let (measure, better) = ("idle-cpu", Better::Lower);
    Ok(vec![Reading { measure, unit: "%", better, value, extra, latency: None }])
}
