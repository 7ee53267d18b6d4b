//! The time for a frame of each case in crates/cases: decisions, vnet headers, checksums,
//! segmentation, merging, and a turn of the engine in memory.
//!
//! `decision/bare-lookup` is the baseline: it only looks up the same keys in a hashbrown map.
//! Compare decisions with it and not with figures of another machine.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use umacvlan_cases::{CASES, counted};

fn cases(c: &mut Criterion) {
    for case in &CASES {
        let mut round = case.ready();
        let frames = round.frames();
        let (about, what) = case.name.split_once('/').unwrap_or((case.name, "all"));
        let mut group = c.benchmark_group(about);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(what, |b| {
            b.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    round.prepare();
                    let begun = Instant::now();
                    counted(&mut *round);
                    took += begun.elapsed();
                }
                took
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = cases
}
criterion_main!(benches);
