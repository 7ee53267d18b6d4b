//! [`MachineCpu`]: the processor time that the whole machine uses meanwhile.
//!
//! Forwarding in the kernel is part of the sender's system call, or of an interrupt in whatever runs
//! then; forwarding in user space is a thread of its own. Only the sum over all processors compares
//! them. Everything else that runs on the machine is in it, too.

use std::fs;
use std::time::{Duration, Instant};

/// Fields of the first line of `/proc/stat` that are time of use: user, nice, system, irq, softirq
/// (`proc_stat(5)`). Idle, iowait, steal and guest, which is in user already, are not.
const USED: [usize; 5] = [0, 1, 2, 5, 6];

/// Ticks per second of `/proc/stat`: `USER_HZ`, which is 100 on every architecture that Rust has.
const TICKS: f64 = 100.0;

/// The start of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct MachineCpu {
    ticks: u64,
    start: Instant,
}

impl MachineCpu {
    /// Begins. `None` where `/proc/stat` cannot be read.
    pub fn begin() -> Option<Self> {
        Some(Self { ticks: used_ticks()?, start: Instant::now() })
    }

    /// Processors in use since the beginning, on average: 1.5 is one and half of another. Never zero:
    /// less than a tick counts as one.
    pub fn processors(&self) -> Option<f64> {
        let ticks = used_ticks()?.checked_sub(self.ticks)?;
        let elapsed = self.start.elapsed();
        (elapsed > Duration::ZERO).then(|| ticks.max(1) as f64 / TICKS / elapsed.as_secs_f64())
    }
}

fn used_ticks() -> Option<u64> {
    ticks_of(&fs::read_to_string("/proc/stat").ok()?)
}

fn ticks_of(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    USED.iter().map(|&at| fields.get(at)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_use_is_summed_and_idle_time_is_not() {
        let stat = "cpu  10 20 30 1000 2000 40 50 3000 10 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        assert_eq!(ticks_of(stat), Some(150));
        assert_eq!(ticks_of("cpu  1 2 3\n"), None);
        assert_eq!(ticks_of("intr 5\n"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let cpu = MachineCpu::begin().unwrap();
        assert!(cpu.processors().unwrap() > 0.0);
    }
}
