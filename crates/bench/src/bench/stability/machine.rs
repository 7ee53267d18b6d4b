//! The machine itself: timers, CPU time of others, interrupts, speed and frequency.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use umacvlan_engine::cpus;

use super::Finding;

/// Watches the CPUs that this process may use, for a third of a second or a whole one.
pub(crate) fn observe(quick: bool) -> Vec<Finding> {
    let time = Duration::from_millis(if quick { 300 } else { 1000 });
    let used = cpus::allowed();
    let (before, interrupts) = (CpuTimes::read(&used), interrupts(&used));
    let begun = Instant::now();
    let mut late = Vec::new();
    let mut clock = Frequency::default();
    while begun.elapsed() < time {
        let start = Instant::now();
        thread::sleep(SLEEP);
        late.push(start.elapsed().saturating_sub(SLEEP).as_secs_f64() * 1e6);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let passed = before.zip(CpuTimes::read(&used)).map(|(before, after)| after.since(before));
    let after = self::interrupts(&used);
    let rate = interrupts.zip(after).map(|(was, is)| is.saturating_sub(was) as f64 / seconds);
    let mut pieces = Vec::new();
    for _ in 0..PIECES {
        let start = Instant::now();
        piece_of_work();
        pieces.push(start.elapsed().as_secs_f64());
        clock.add(Path::new("/sys/devices/system/cpu"), &used);
    }
    let share = |of: fn(&CpuTimes) -> u64| {
        let passed = passed.as_ref().filter(|passed| passed.all > 0)?;
        Some(100.0 * of(passed) as f64 / passed.all as f64)
    };
    vec![
        Finding::new("timer-jitter", quantile(&mut late, 0.99), "us", 500.0),
        Finding::new("steal", share(|passed| passed.stolen), "%", 1.0),
        Finding::new("other-load", share(|passed| passed.busy), "%", 5.0),
        Finding::new("interrupts", rate, "/s", 1000.0),
        Finding::new("speed", unevenness(&mut pieces), "%", 10.0),
        Finding::new("frequency", clock.spread(), "%", 10.0),
    ]
}

/// Ticks of some CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct CpuTimes {
    all: u64,
    /// In user space, in the kernel and in interrupts.
    busy: u64,
    /// Taken by the hypervisor.
    stolen: u64,
}

impl CpuTimes {
    fn read(used: &[usize]) -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?, used)
    }

    /// The sum of the lines `cpuN user nice system idle iowait irq softirq steal ...` (proc(5)).
    fn parse(stat: &str, used: &[usize]) -> Option<Self> {
        let mut sum = Self::default();
        for line in stat.lines() {
            let mut words = line.split_whitespace();
            let cpu = words.next().and_then(|name| name.strip_prefix("cpu")?.parse().ok());
            if cpu.is_none_or(|cpu: usize| !used.contains(&cpu)) {
                continue;
            }
            let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
            let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks[..] else {
                continue;
            };
            let busy = user + nice + system + irq + softirq;
            sum.all += busy + idle + iowait + steal;
            sum.busy += busy;
            sum.stolen += steal;
        }
        (sum.all > 0).then_some(sum)
    }

    fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            busy: self.busy.saturating_sub(before.busy),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }
}

fn interrupts(used: &[usize]) -> Option<u64> {
    parse_interrupts(&fs::read_to_string("/proc/interrupts").ok()?, used)
}

/// The interrupts of devices that these CPUs have served: the lines with a number. The others are
/// the CPU's own, such as its timer.
fn parse_interrupts(text: &str, used: &[usize]) -> Option<u64> {
    let mut lines = text.lines();
    let cpus: Vec<Option<usize>> = lines
        .next()?
        .split_whitespace()
        .map(|name| name.strip_prefix("CPU").and_then(|number| number.parse().ok()))
        .collect();
    let mut sum: u64 = 0;
    for line in lines {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        if name.trim().parse::<u32>().is_err() {
            continue;
        }
        for (cpu, count) in cpus.iter().zip(counts.split_whitespace()) {
            if cpu.is_some_and(|cpu| used.contains(&cpu)) {
                sum = sum.saturating_add(count.parse().unwrap_or(0));
            }
        }
    }
    Some(sum)
}

/// The lowest and the highest frequency that were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Frequency(Option<(f64, f64)>);

impl Frequency {
    fn add(&mut self, folder: &Path, used: &[usize]) {
        for cpu in used {
            let file = folder.join(format!("cpu{cpu}/cpufreq/scaling_cur_freq"));
            let text = fs::read_to_string(file).unwrap_or_default();
            if let Ok(now) = text.trim().parse::<f64>() {
                let (low, high) = self.0.unwrap_or((now, now));
                self.0 = Some((low.min(now), high.max(now)));
            }
        }
    }

    /// How far the lowest is below the highest, in percent.
    fn spread(self) -> Option<f64> {
        let (low, high) = self.0?;
        (high > 0.0).then(|| 100.0 * (1.0 - low / high))
    }
}

/// How much longer than the fastest piece the slowest tenth of equal pieces takes, in percent.
fn unevenness(pieces: &mut [f64]) -> Option<f64> {
    let slow = quantile(pieces, 0.9)?;
    let fast = pieces.first().copied().filter(|fast| *fast > 0.0)?;
    Some(100.0 * (slow / fast - 1.0))
}

/// This quantile of the values, which are sorted.
fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, reason = "an index of a slice, rounded down")]
    let at = (part * values.len().saturating_sub(1) as f64) as usize;
    values.get(at).copied()
}

/// A quarter of a millisecond or so of arithmetic that needs no memory.
fn piece_of_work() {
    let mut state = black_box(1_u64);
    for _ in 0..STEPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(state);
}

/// The sleeps of which it is measured how late they end.
const SLEEP: Duration = Duration::from_millis(1);

/// The number of pieces of work, and of steps in one.
const PIECES: usize = 100;
const STEPS: u32 = 200_000;

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    const STAT: &str = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 5 80 5 1 2 7 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n\
        intr 5 1\nctxt 7\n";

    #[test]
    fn only_the_cpus_in_use_count() {
        let times = CpuTimes::parse(STAT, &[0]).unwrap();
        assert_eq!(times, CpuTimes { all: 110, busy: 18, stolen: 7 });
        assert_eq!(CpuTimes::parse(STAT, &[0, 1]).unwrap().all, 118);
        assert_eq!(CpuTimes::parse(STAT, &[7]), None);
        assert_eq!(CpuTimes::parse("cpu0 1 2\nnonsense", &[0]), None);
        let later = CpuTimes { all: 120, busy: 20, stolen: 8 };
        assert_eq!(later.since(times), CpuTimes { all: 10, busy: 2, stolen: 1 });
    }

    #[test]
    fn interrupts_of_devices_are_counted_and_the_timer_is_not() {
        let text = "           CPU0       CPU2\n 24:  1  30  PCI-MSI eth0\n 25:  2  40  PCI-MSI disk\n\
            LOC:  900  900  Local timer interrupts\n";
        assert_eq!(parse_interrupts(text, &[0]), Some(3));
        assert_eq!(parse_interrupts(text, &[0, 2]), Some(73));
        assert_eq!(parse_interrupts("", &[0]), None);
    }

    #[test]
    fn a_frequency_that_changes_is_a_spread() {
        let folder = Scratch::new();
        let set = |khz: &str| {
            let cpu = folder.path().join("cpu0/cpufreq");
            fs::create_dir_all(&cpu).unwrap();
            fs::write(cpu.join("scaling_cur_freq"), khz).unwrap();
        };
        let mut frequency = Frequency::default();
        frequency.add(folder.path(), &[0]);
        assert_eq!(frequency.spread(), None, "a virtual machine hides it");
        set("2000000\n");
        frequency.add(folder.path(), &[0]);
        assert_eq!(frequency.spread(), Some(0.0));
        set("1500000\n");
        frequency.add(folder.path(), &[0]);
        assert_eq!(frequency.spread(), Some(25.0));
    }

    #[test]
    fn unevenness_is_relative_to_the_fastest_piece() {
        let mut pieces = [1.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        assert_eq!(unevenness(&mut pieces), Some(50.0));
        assert_eq!(unevenness(&mut []), None);
    }

    #[test]
    fn this_machine_is_observed() {
        let findings = observe(true);
        let names: Vec<&str> = findings.iter().map(|finding| finding.name.as_str()).collect();
        let all = ["timer-jitter", "steal", "other-load", "interrupts", "speed", "frequency"];
        assert_eq!(names, all);
        assert!(findings[0].value.is_some_and(|jitter| jitter >= 0.0), "{findings:?}");
    }
}
