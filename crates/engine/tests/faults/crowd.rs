//! The cost of a thousand sub-interfaces.

use std::fs;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};
use umacvlan_core::options::PortIo;

use umacvlan_core::{MacAddr, MacvlanSettings, Mode};
use umacvlan_engine::engine::SubOptions;
use umacvlan_testkit::root_or_skip;

use crate::ALONE;
use crate::common::{Lab, PARENT, millis};

const CROWD: u16 = 1000;

/// Time for which the idle engine is watched: the only place where time itself is measured.
const WATCH: Duration = Duration::from_secs(2);

/// Kilobytes that the kernel uses for itself (proc_meminfo(5)). The available memory would include
/// every other program.
fn kernels() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let own = |line: &&str| {
        let kinds = ["Slab:", "Percpu:", "VmallocUsed:"];
        kinds.iter().any(|kind| line.starts_with(kind))
    };
    let kilobytes = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<i64>();
    let lines = text.lines().filter(own);
    lines.map(|line| kilobytes(line).unwrap()).sum()
}

/// Kilobytes of this process (proc_pid_statm(5)), in pages of 4 KB.
fn resident() -> i64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: i64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4
}

/// Clock ticks (100 a second) that threads of these names have used (proc_pid_stat(5)).
fn ticks(names: [&str; 2]) -> u64 {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else {
            continue;
        };
        let (head, rest) = stat.rsplit_once(") ").unwrap();
        if names.iter().any(|name| head.ends_with(&format!("({name}"))) {
            let fields: Vec<&str> = rest.split(' ').collect();
            sum += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn a_thousand_sub_interfaces_cost_little() {
    if !root_or_skip() {
        return;
    }
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(PortIo::Auto);
    let (kernel, own, start) = (kernels(), resident(), Instant::now());
    for n in 0..CROWD {
        let [high, low] = n.to_be_bytes();
        let options = SubOptions {
            name: format!("c{n}"),
            mac: Some(MacAddr::new([2, 0, 0, 0x88, high, low])),
            settings: MacvlanSettings::new(Mode::Bridge),
            up: true,
            ..SubOptions::default()
        };
        lab.engine().add_sub(PARENT, options).unwrap();
    }
    let took = start.elapsed();
    let each = |kilobytes: i64| kilobytes / i64::from(CROWD);
    let (kernel, process) = (each(kernels() - kernel), each(resident() - own));
    eprintln!(
        "{CROWD} made in {:.0} ms; {kernel} KB of the kernel and {process} KB of the \
             process each",
        millis(took)
    );
    lab.forget();

    let names = ["umacvlan", "um-p0"];
    let (before, start) = (ticks(names), Instant::now());
    thread::sleep(WATCH);
    let hundredths = ticks(names) - before;
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a few ticks")]
    let share = hundredths as f64 / seconds;
    eprintln!("idle, {share:.2} % of a core");

    let start = Instant::now();
    drop(lab);
    eprintln!("removed in {:.0} ms", millis(start.elapsed()));
    assert!(kernel + process < 200, "{kernel} and {process} KB each");
    assert!(share < 3.0, "{share} % of a core for nothing");
}
