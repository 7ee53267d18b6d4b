//! `umacvlan bench forward`: the cost of the engine alone, without the kernel.
//!
//! The peer is a lookup of the same keys in a hash table, measured in the same trial. Their ratio
//! depends on the engine and hardly on the machine.

mod case;
mod decision;
mod memory;
mod traffic;
mod trial;

use anyhow::{Context, Result};
use clap::Args;
use umacvlan_core::Mode;

use super::progress::Progress;
use super::report::{Better, Key, Point};
use super::summary::ratio;
use super::trials::Trials;

use case::{Case, Path, cases};
use decision::Decision;
use memory::Memory;
use trial::Sample;

/// Measure the engine in memory: what a decision costs, and a frame from port to port
#[derive(Args, Clone, Debug)]
pub(crate) struct ForwardArgs {
    /// Only this mode: bridge, passthru, private, source or vepa
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,

    /// Only parents with at most so many sub-interfaces
    #[arg(long, value_name = "NUMBER")]
    subs: Option<u32>,
}

/// Measures all cases in random order.
///
/// # Errors
/// The engine did not forward a case's frames according to the rules of macvlan.
pub(crate) fn run(args: &ForwardArgs, progress: &mut Progress) -> Result<Vec<Point>> {
    let mut cases = cases(progress.quick);
    cases.retain(|case| args.mode.is_none_or(|mode| case.mode == mode));
    cases.retain(|case| args.subs.is_none_or(|subs| case.subs <= subs));
    let trials = progress.trials(if progress.quick { 5 } else { 11 });
    progress
        .note("forward: generator and receiver are not on the clock; the lookup is hashbrown's");
    progress.begin(cases.len() as u64);
    let mut results = vec![Vec::new(); cases.len()];
    for place in progress.order(0, cases.len()) {
        if progress.is_interrupted() {
            break;
        }
        let case = cases[place];
        progress.at(format!("{} {} {}", case.mode, case.traffic.name(), case.subs));
        let measured = measure(case, trials, progress.seed)
            .with_context(|| format!("bench forward: {}", key(&case, "umacvlan")))?;
        results[place] = points(&case, &measured, progress.seed);
        for point in &results[place] {
            if !trials.is_narrow(&point.samples, progress.seed) {
                let (key, trials) = (&point.key, point.samples.len());
                progress.note(format!(
                    "{key}: the interval is wider than requested after {trials} trials"
                ));
            }
        }
        progress.step();
    }
    Ok(results.concat())
}

/// Runs all trials of a case, after one more as a warm-up.
fn measure(case: Case, trials: Trials, seed: u64) -> Result<Vec<Sample>> {
    match case.path {
        Path::Decision => {
            let decision = Decision::new(case, seed)?;
            repeat(trials, seed, || decision.trial())
        }
        Path::Memory => {
            let mut memory = Memory::new(case, seed)?;
            repeat(trials, seed, || memory.trial())
        }
    }
}

/// Runs a trial as a warm-up, and as many as it takes after it.
fn repeat(
    trials: Trials,
    seed: u64,
    mut trial: impl FnMut() -> Result<Sample>,
) -> Result<Vec<Sample>> {
    trial()?;
    let (mut done, mut all) = (0, Vec::new());
    let (mut engine, mut lookup) = (Vec::new(), Vec::new());
    while !trials.is_enough(done, [&engine[..], &lookup[..]], seed) {
        let sample = trial()?;
        engine.push(sample.engine);
        lookup.push(sample.lookup);
        all.push(sample);
        done += 1;
    }
    Ok(all)
}

/// The points of the engine and of the hash lookup.
fn points(case: &Case, measured: &[Sample], seed: u64) -> Vec<Point> {
    let engine: Vec<f64> = measured.iter().map(|trial| trial.engine).collect();
    let lookup: Vec<f64> = measured.iter().map(|trial| trial.lookup).collect();
    let ratio = ratio(LOOKUP, &engine, &lookup, seed);
    let point = |peer, samples| {
        let mut point = Point::new(key(case, peer), "ns/frame", Better::Lower, samples, seed);
        point.extra.insert("frames/s".to_owned(), 1e9 / point.summary.median);
        point
    };
    let mut own = point("umacvlan", engine);
    own.ratio = ratio;
    own.extra.insert("copies".to_owned(), case.receivers() as f64);
    vec![own, point(LOOKUP, lookup)]
}

fn key(case: &Case, peer: &str) -> Key {
    Key {
        path: match case.path {
            Path::Decision => "decision".to_owned(),
            Path::Memory => "memory".to_owned(),
        },
        mode: case.mode.to_string(),
        traffic: case.traffic.name().to_owned(),
        size: Some(case.size),
        subs: case.subs,
        measure: "cost".to_owned(),
        peer: peer.to_owned(),
    }
}

/// The name of the peer of this bench.
const LOOKUP: &str = "lookup";

#[cfg(test)]
mod tests {
    use super::case::Destination;
    use super::*;

    fn small() -> Vec<Case> {
        let small = |case: &Case| case.size == 64 && (case.subs == 1 || case.subs == 64);
        cases(true).into_iter().filter(small).collect()
    }

    #[test]
    fn every_small_case_does_what_the_rules_say() {
        for case in small() {
            let measured =
                measure(case, Trials::fixed(0), 7).unwrap_or_else(|e| panic!("{case:?}: {e:#}"));
            assert!(measured.is_empty(), "the first trial is forgotten");
        }
    }

    #[test]
    fn a_wrong_destination_fails() {
        for path in [Path::Decision, Path::Memory] {
            let of_path =
                |case: &Case| case.path == path && case.destination == Destination::Addressed;
            let right = small().into_iter().find(of_path).unwrap();
            for destination in [Destination::Host, Destination::Wire, Destination::All] {
                assert!(
                    measure(Case { destination, ..right }, Trials::fixed(0), 7).is_err(),
                    "{path:?} {destination:?}"
                );
            }
        }
    }

    #[test]
    fn the_engines_point_has_a_ratio_to_the_lookup() {
        let case = small().remove(0);
        let measured = [1.0, 2.0, 3.0].map(|engine| Sample { engine, lookup: 1.0 });
        let points = points(&case, &measured, 7);
        let ratio = points[0].ratio.as_ref().unwrap();
        assert_eq!((ratio.to.as_str(), ratio.value), (LOOKUP, 2.0));
        assert_eq!(
            (points[0].key.peer.as_str(), points[1].key.peer.as_str()),
            ("umacvlan", LOOKUP)
        );
        assert_eq!(points[0].extra["frames/s"], 5e8);
    }
}
