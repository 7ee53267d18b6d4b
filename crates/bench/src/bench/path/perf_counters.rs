//! [`PerfCounters`]: cycles and instructions, from the processor's counters.

use std::io;

use perf_event::events::Hardware as Event;
use perf_event::{Builder, Counter};

/// Counters of cycles and of instructions for each thread, in user space and kernel.
pub(super) struct PerfCounters(Vec<[Counter; 2]>);

impl PerfCounters {
    /// Starts to count for these threads of this process.
    ///
    /// # Errors
    /// The machine lacks these counters, or this process may not use them.
    pub(super) fn open(threads: &[i32]) -> io::Result<Self> {
        let both = |&thread: &i32| Ok([count(CYCLES, thread)?, count(INSTRUCTIONS, thread)?]);
        threads.iter().map(both).collect::<io::Result<_>>().map(Self)
    }

    /// The sums over all threads: cycles, then instructions.
    ///
    /// # Errors
    /// A counter cannot be read.
    pub(super) fn read(&mut self) -> io::Result<[u64; 2]> {
        let mut sums = [0; 2];
        for counters in &mut self.0 {
            for (sum, counter) in sums.iter_mut().zip(counters) {
                *sum += counter.read()?;
            }
        }
        Ok(sums)
    }
}

/// Tries the counters. Returns why they are missing, if they are.
pub(super) fn missing() -> Option<io::Error> {
    // 0 is the calling thread (perf_event_open(2)).
    PerfCounters::open(&[0]).err()
}

fn count(event: Event, thread: i32) -> io::Result<Counter> {
    // The kernel does most of a worker's work.
    let mut counter = Builder::new(event).observe_pid(thread).include_kernel().build()?;
    counter.enable()?;
    Ok(counter)
}

const CYCLES: Event = Event::CPU_CYCLES;
const INSTRUCTIONS: Event = Event::INSTRUCTIONS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_counters_they_count() {
        match PerfCounters::open(&[0]) {
            Err(_) => assert!(missing().is_some()),
            Ok(mut found) => assert!(found.read().unwrap().iter().all(|count| *count > 0)),
        }
    }
}
