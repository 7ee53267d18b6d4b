//! The search with a simulated device.

use fastrand::Rng;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { lowest: 1000.0, highest: 5_000_000.0, time: Duration::from_secs(600) }
}

fn goals() -> [Goal; 2] {
    [Goal::ndr(SECOND, 3 * SECOND), Goal::pdr(SECOND, 3 * SECOND)]
}

/// The number of frames at this rate, never more than a float can represent.
#[allow(clippy::cast_possible_truncation, reason = "the tests count to a few millions")]
fn frames(rate: f64, duration: Duration) -> u64 {
    (rate * duration.as_secs_f64()) as u64
}

/// A trial of a device that forwards `capacity` and a generator that sends at most `generator`.
fn trial(load: f64, duration: Duration, capacity: f64, generator: f64) -> Trial {
    let offered = frames(load.min(generator), duration);
    Trial { offered, forwarded: offered.min(frames(capacity, duration)), duration }
}

fn run(capacity: impl FnMut() -> f64) -> Outcome {
    let mut capacity = capacity;
    search(limits(), &goals(), |load, duration| {
        Ok(trial(load, duration, capacity(), f64::INFINITY))
    })
    .unwrap()
}

/// True if the bounds enclose `truth` and are as close as the goal demands.
fn around(found: &Bounds, truth: f64, slack: f64) -> bool {
    let (Some(lower), Some(upper)) = (found.lower, found.upper) else {
        return false;
    };
    found.finished
        && lower.load <= truth * (1.0 + slack)
        && truth * (1.0 - slack) <= upper.load
        && upper.load - lower.load <= 0.01 * upper.load
}

#[test]
fn both_rates_of_a_steady_device_are_found_within_the_width() {
    for capacity in [2_345.0, 123_456.0, 1_234_567.0, 4_900_000.0] {
        let outcome = run(|| capacity);
        let [ndr, pdr] = &outcome.found[..] else { panic!("two goals") };
        assert!(around(ndr, capacity, 0.0), "{capacity}: {ndr:?}");
        assert!(around(pdr, capacity / 0.995, 0.0), "{capacity}: {pdr:?}");
        assert!((outcome.mrr - capacity).abs() < 2.0, "{capacity}: {}", outcome.mrr);
        assert!(outcome.trials < 80, "{capacity}: {} trials", outcome.trials);
        assert!(!outcome.short);
    }
}

#[test]
fn noise_moves_the_bounds_by_less_than_itself() {
    for seed in 0..50 {
        let mut random = Rng::with_seed(seed);
        let outcome = run(|| 1e6 * (1.0 + 0.02 * (random.f64() - 0.5)));
        for found in &outcome.found {
            assert!(around(found, 1e6, 0.02), "seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_hiccup_now_and_then_does_not_end_a_search() {
    for seed in 0..50 {
        let mut random = Rng::with_seed(seed);
        let outcome = run(|| if random.f64() < 0.1 { 5e5 } else { 1e6 });
        let found = &outcome.found[1];
        let upper = found.upper.unwrap();
        assert!(found.finished && upper.load > 4e5 && upper.load < 1.03e6, "{seed}: {found:?}");
    }
}

#[test]
fn the_lower_bound_of_the_partial_drop_rate_delivers_what_it_says() {
    let outcome = run(|| 1e6);
    let lower = outcome.found[1].lower.unwrap();
    assert!(lower.throughput <= lower.load && lower.throughput >= 0.995 * lower.load);
}

#[test]
fn a_device_that_is_never_the_limit_has_no_upper_bound() {
    let outcome = run(|| f64::from(u32::MAX));
    for found in outcome.found {
        assert_eq!(found.lower.unwrap().load, limits().highest);
        assert_eq!((found.upper, found.finished), (None, true));
    }
}

#[test]
fn a_device_that_forwards_nothing_has_no_lower_bound() {
    let outcome = run(|| 0.0);
    for found in &outcome.found {
        assert_eq!((found.lower, found.finished), (None, true));
        assert_eq!(found.upper.unwrap().load, limits().lowest);
    }
    assert_eq!(outcome.mrr, 0.0);
}

#[test]
fn the_generators_limit_is_reported_and_bounds_the_search() {
    let measure = |load, duration| Ok(trial(load, duration, 2e6, 1e6));
    let outcome = search(limits(), &goals(), measure).unwrap();
    assert!(outcome.short);
    let lower = outcome.found[0].lower.unwrap();
    assert!(lower.load > 0.97e6 && lower.load < 1.03e6, "{lower:?}");
}

#[test]
fn when_time_runs_out_the_current_bounds_are_returned_as_unfinished() {
    let limits = Limits { time: 8 * SECOND, ..limits() };
    let mut spent = Duration::ZERO;
    let outcome = search(limits, &goals(), |load, duration| {
        spent += duration;
        Ok(trial(load, duration, 1e6, f64::INFINITY))
    })
    .unwrap();
    assert!(spent <= 9 * SECOND, "{spent:?}");
    let ndr = outcome.found[0];
    assert!(!ndr.finished && ndr.lower.unwrap().load <= 1e6, "{ndr:?}");
}

#[test]
fn trials_without_duration_still_end_at_the_time_limit() {
    let nothing = Trial { offered: 0, forwarded: 0, duration: Duration::ZERO };
    let outcome = search(limits(), &goals(), |_, _| Ok(nothing)).unwrap();
    assert!(outcome.found.iter().all(|found| found.lower.is_none()));
}

#[test]
fn a_load_above_one_that_failed_is_no_bound() {
    let lucky = |load: f64, duration| {
        let capacity = if (2e6..2.5e6).contains(&load) { 3e6 } else { 1e6 };
        Ok(trial(load, duration, capacity, f64::INFINITY))
    };
    let outcome = search(limits(), &goals(), lucky).unwrap();
    assert!(around(&outcome.found[0], 1e6, 0.0), "{:?}", outcome.found[0]);
}

#[test]
fn the_first_failure_of_a_trial_ends_the_search() {
    let mut trials = 0;
    let failing = |load, duration| {
        trials += 1;
        anyhow::ensure!(trials < 5, "the receiver is gone");
        Ok(trial(load, duration, 1e6, f64::INFINITY))
    };
    assert!(search(limits(), &goals(), failing).is_err());
    assert_eq!(trials, 5);
}
