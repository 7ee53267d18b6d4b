//! `umacvlan bench compare`: improvements and regressions from one report to another.

mod mann_whitney;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;
use fastrand::Rng;
use serde::Serialize;

use super::report::{Better, Environment, Key, Point, Report, read};
use super::summary::{DRAWS, Interval, percentiles, range};
use super::unit::human;
use crate::shared::stats::median;
use umacvlan_text::output::{Output, print_stderr};
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// Compare two reports, point by point; fails with status 1 if something became worse
///
/// A change is significant if its 95 % interval (bootstrap) excludes zero and a Mann-Whitney U test
/// finds it unlikely to be chance.
#[derive(Args, Clone, Debug)]
pub(super) struct CompareArgs {
    /// The report from before
    #[arg(value_name = "A.json")]
    before: PathBuf,

    /// The report from after
    #[arg(value_name = "B.json")]
    after: PathBuf,

    /// Changes of less than this are not significant, whatever their samples say
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    threshold: f64,

    /// Significance level: the highest probability that a change is chance
    #[arg(long, value_name = "PROBABILITY", default_value_t = ALPHA)]
    alpha: f64,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// Two reports, point by point.
#[derive(Debug, Serialize)]
struct Comparison {
    schema: &'static str,
    changes: Vec<Change>,
    /// Points that only the first report has.
    only_before: Vec<Key>,
    /// Points that only the second one has.
    only_after: Vec<Key>,
    /// Differences between the machines of the two reports.
    differing: Vec<String>,
}

/// The change of one point.
#[derive(Debug, Serialize)]
struct Change {
    key: Key,
    unit: String,
    better: Better,
    before: f64,
    after: f64,
    /// The relative change of the median: 0.1 is 10 % more than before.
    change: f64,
    /// The lower end of the change's interval; without one, the change.
    low: f64,
    /// Its upper end.
    high: f64,
    /// What `low` and `high` are: the side with fewer samples decides.
    interval: Interval,
    /// The probability of samples this far apart by chance (Mann-Whitney U, two-sided).
    probability: f64,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Better,
    /// Not significant.
    Same,
    Worse,
}

/// Prints the changes. Fails with status 1 if a point became significantly worse.
///
/// # Errors
/// A file cannot be read or is not a report, or the two have no point in common.
pub(super) fn run(args: &CompareArgs) -> Result<ExitCode> {
    ensure!(args.threshold >= 0.0, "--threshold {} is less than nothing", args.threshold);
    ensure!(
        args.alpha > 0.0 && args.alpha < 1.0,
        "--alpha {} is no probability between 0 and 1",
        args.alpha
    );
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let comparison = compare(&before, &after, args.threshold / 100.0, args.alpha);
    ensure!(
        !comparison.changes.is_empty(),
        "{} and {} have no point in common",
        args.before.display(),
        args.after.display()
    );
    let mut output = Output::new();
    match args.json {
        true => output.json(&comparison),
        false => output.text(&comparison.text(output.colour)),
    }
    output.finish()?;
    Ok(match comparison.count(Verdict::Worse) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Compares a new report with an older one, and tells what has changed by more than `tolerance`
/// percent. Returns true if something has become worse.
///
/// # Errors
/// The two have no point in common.
pub(super) fn against(before: &Report, after: &Report, tolerance: f64) -> Result<bool> {
    let comparison = compare(before, after, tolerance / 100.0, ALPHA);
    ensure!(!comparison.changes.is_empty(), "--against: the two reports have no point in common");
    for change in comparison.changes.iter().filter(|change| change.verdict != Verdict::Same) {
        let verdict = if change.verdict == Verdict::Worse { "WORSE" } else { "better" };
        print_stderr(&format!("  {}: {} ({verdict})", change.key, percent(change.change)));
    }
    for difference in &comparison.differing {
        print_stderr(&format!("  not the same machine: {difference}"));
    }
    let (all, better, worse) = (
        comparison.changes.len(),
        comparison.count(Verdict::Better),
        comparison.count(Verdict::Worse),
    );
    print_stderr(&format!(
        "--against: {all} points, {better} better and {worse} worse by more than {tolerance} %"
    ));
    Ok(worse > 0)
}

fn compare(before: &Report, after: &Report, threshold: f64, alpha: f64) -> Comparison {
    let same = |one: &Point, other: &Point| one.key == other.key && one.unit == other.unit;
    let has = |report: &Report, point: &Point| report.points.iter().any(|other| same(point, other));
    let lacks = |report: &Report, points: &[Point]| -> Vec<Key> {
        let lacking = points.iter().filter(|point| !has(report, point));
        lacking.map(|point| point.key.clone()).collect()
    };
    let pairs = before.points.iter().filter_map(|point| {
        let other = after.points.iter().find(|other| same(point, other))?;
        Change::between(point, other, threshold, alpha)
    });
    Comparison {
        schema: "umacvlan-bench-compare/1",
        changes: pairs.collect(),
        only_before: lacks(after, &before.points),
        only_after: lacks(before, &after.points),
        differing: differing(&before.environment, &after.environment),
    }
}

impl Change {
    /// `None` if the points cannot be compared: one has no samples, or the first median is not
    /// above 0.
    fn between(before: &Point, after: &Point, threshold: f64, alpha: f64) -> Option<Self> {
        let was = median(&before.samples).filter(|&was| was > 0.0)?;
        let is = median(&after.samples)?;
        let kind = Interval::of(before.samples.len().min(after.samples.len()));
        let (low, high) = match kind {
            Interval::Confidence => interval(&before.samples, &after.samples)?,
            Interval::None | Interval::Range => range_of_change(&before.samples, &after.samples)?,
        };
        let probability = mann_whitney::probability(&before.samples, &after.samples);
        let change = is / was - 1.0;
        let is_significant =
            (low > 0.0 || high < 0.0) && probability < alpha && change.abs() >= threshold;
        let verdict = match (is_significant, before.better) {
            (false, _) => Verdict::Same,
            (true, Better::Higher) if change > 0.0 => Verdict::Better,
            (true, Better::Lower) if change < 0.0 => Verdict::Better,
            (true, _) => Verdict::Worse,
        };
        let (key, unit, better) = (before.key.clone(), before.unit.clone(), before.better);
        Some(Self {
            key,
            unit,
            better,
            before: was,
            after: is,
            change,
            low,
            high,
            interval: kind,
            probability,
            verdict,
        })
    }
}

impl Comparison {
    fn count(&self, verdict: Verdict) -> usize {
        self.changes.iter().filter(|change| change.verdict == verdict).count()
    }

    fn text(&self, colour: bool) -> String {
        let mut table = Table::new([
            Head::Left("point"),
            Head::Right("before"),
            Head::Right("after"),
            Head::Right("change"),
            Head::Left("95 % interval"),
            Head::Right("p"),
            Head::Left("verdict"),
        ]);
        for change in &self.changes {
            let (verdict, tint) = match change.verdict {
                Verdict::Better => ("better", Tint::Good),
                Verdict::Same => ("", Tint::Plain),
                Verdict::Worse => ("WORSE", Tint::Bad),
            };
            table.push([
                change.key.to_string().into(),
                human(change.before, &change.unit).into(),
                human(change.after, &change.unit).into(),
                Cell::new(percent(change.change), tint),
                change
                    .interval
                    .words(&format!("{} to {}", percent(change.low), percent(change.high)))
                    .into(),
                format!("{:.3}", change.probability).into(),
                Cell::new(verdict, tint),
            ]);
        }
        let mut text = table.render(colour);
        for (keys, report) in [(&self.only_before, "first"), (&self.only_after, "second")] {
            for key in keys {
                text.push_str(&format!("only in the {report}: {key}\n"));
            }
        }
        for difference in &self.differing {
            text.push_str(&format!("not the same machine: {difference}\n"));
        }
        let (all, better, worse) =
            (self.changes.len(), self.count(Verdict::Better), self.count(Verdict::Worse));
        text.push_str(&format!("{all} points: {better} better, {worse} worse\n"));
        text
    }
}

/// The 95 % bootstrap interval of the change of the median. The samples of the two reports are
/// independent, so they are drawn separately.
fn interval(before: &[f64], after: &[f64]) -> Option<(f64, f64)> {
    let mut random = Rng::with_seed(SEED);
    let mut draw = |samples: &[f64]| -> Option<f64> {
        let drawn = samples.iter().map(|_| samples[random.usize(..samples.len())]);
        median(&drawn.collect::<Vec<_>>())
    };
    let changes = (0..DRAWS).filter_map(|_| {
        let was = draw(before)?;
        let is = draw(after)?;
        (was > 0.0).then(|| is / was - 1.0)
    });
    percentiles(changes.collect())
}

/// The change from the highest to the lowest sample, and from the lowest to the highest.
fn range_of_change(before: &[f64], after: &[f64]) -> Option<(f64, f64)> {
    let ((least, most), (low, high)) = (range(before)?, range(after)?);
    (least > 0.0).then(|| (low / most - 1.0, high / least - 1.0))
}

/// The differences between the two machines that make a comparison doubtful.
pub(super) fn differing(before: &Environment, after: &Environment) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let load = |of: &Environment| of.load.unwrap_or(0).to_string();
    let facts = [
        ("CPU", text(&before.cpu), text(&after.cpu)),
        ("CPUs", before.allowed.clone(), after.allowed.clone()),
        ("kernel", before.kernel.clone(), after.kernel.clone()),
        ("governor", text(&before.governor), text(&after.governor)),
        ("busy threads", load(before), load(after)),
    ];
    let other = facts.into_iter().filter(|(_, was, is)| was != is);
    other.map(|(what, was, is)| format!("{what} {was}, then {is}")).collect()
}

fn percent(part: f64) -> String {
    format!("{:+.1} %", 100.0 * part)
}

/// The usual significance level.
const ALPHA: f64 = 0.05;

/// Fixed, so that comparing the same two reports always gives the same result.
const SEED: u64 = 9971;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    /// The fixture report with all samples of this measure multiplied by `factor`.
    fn changed(measure: &str, factor: f64) -> Report {
        let mut report = fixtures::report();
        for point in report.points.iter_mut().filter(|point| point.key.measure == measure) {
            point.samples.iter_mut().for_each(|sample| *sample *= factor);
        }
        report
    }

    fn verdicts(after: &Report, threshold: f64) -> [usize; 2] {
        let comparison = compare(&fixtures::report(), after, threshold, 0.05);
        [Verdict::Better, Verdict::Worse].map(|verdict| comparison.count(verdict))
    }

    fn points(measure: &str) -> usize {
        fixtures::report().points.iter().filter(|point| point.key.measure == measure).count()
    }

    #[test]
    fn a_report_compared_with_itself_has_no_change() {
        assert_eq!(verdicts(&fixtures::report(), 0.0), [0, 0]);
    }

    #[test]
    fn the_measure_decides_which_direction_is_worse() {
        assert_eq!(verdicts(&changed("throughput", 0.8), 0.0), [0, points("throughput")]);
        assert_eq!(verdicts(&changed("throughput", 1.2), 0.0), [points("throughput"), 0]);
        assert_eq!(verdicts(&changed("latency", 1.2), 0.0), [0, points("latency")]);
        assert_eq!(verdicts(&changed("latency", 0.8), 0.0), [points("latency"), 0]);
    }

    #[test]
    fn a_change_below_the_threshold_is_not_significant() {
        assert_eq!(verdicts(&changed("throughput", 0.8), 0.25), [0, 0]);
    }

    #[test]
    fn few_samples_have_no_interval_of_their_change() {
        let mut before = fixtures::report();
        before.points.truncate(2);
        before.points[0].samples = vec![100.0];
        before.points[1].samples = vec![100.0, 80.0, 90.0];
        let mut after = before.clone();
        after.points.iter_mut().flat_map(|point| &mut point.samples).for_each(|it| *it *= 1.1);
        let comparison = compare(&before, &after, 0.0, 0.05);
        let text = comparison.text(false);
        assert!(text.contains("+10.0 %  n/a "), "{text}");
        assert!(text.contains("range -12.0 % to +37.5 %"), "{text}");
        assert_eq!(comparison.count(Verdict::Better), 0);
    }

    #[test]
    fn noise_is_not_significant() {
        assert_eq!(verdicts(&changed("throughput", 0.999), 0.0), [0, 0]);
    }

    #[test]
    fn points_that_only_one_report_has_are_listed() {
        let mut after = fixtures::report();
        let gone = after.points.pop().unwrap().key;
        after.points[0].key.subs = 7;
        after.environment.kernel = "7.0".to_owned();
        let comparison = compare(&fixtures::report(), &after, 0.0, 0.05);
        assert_eq!(comparison.only_before.len(), 2);
        assert_eq!(comparison.only_after, [after.points[0].key.clone()]);
        let text = comparison.text(false);
        assert!(text.contains(&format!("only in the first: {gone}")), "{text}");
        assert!(text.contains("not the same machine: kernel"), "{text}");
        assert!(text.ends_with("0 better, 0 worse\n"), "{text}");
    }

    #[test]
    fn points_without_samples_or_with_a_zero_median_are_skipped() {
        let mut after = fixtures::report();
        after.points[0].samples.clear();
        let mut before = fixtures::report();
        before.points[1].samples = vec![0.0; 7];
        let changes = compare(&before, &after, 0.0, 0.05).changes;
        assert_eq!(changes.len(), before.points.len() - 2);
        assert!(changes.iter().all(|change| change.low.is_finite() && change.high.is_finite()));
    }
}
