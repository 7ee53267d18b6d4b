//! `umacvlan bench replicate`: measures again what an artifact claims, with a verdict for each claim.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use umacvlan_text::output::{Output, print_stderr};
use umacvlan_text::table::{Cell, Head, Table, Tint};

use super::arguments::measuring;
use super::{Artifact, Binary, read};
use crate::bench::compare::differing;
use crate::bench::report::{Key, Point, Report, parse};
use crate::bench::unit::digits;

/// Measure what an artifact claims again, with a verdict for each claim
///
/// A claim is the ratio of a point to its peer, which carries over to other machines. It is
/// replicated if the ratio measured now differs by no more than the tolerance. Fails with status 1 if
/// one is not, or if the artifact was changed.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplicateArgs {
    /// What `--artifact` wrote
    #[arg(value_name = "FILE.tar")]
    file: PathBuf,

    /// How far a figure may be from the claim
    #[arg(long, value_name = "PERCENT", default_value_t = 25.0)]
    tolerance: f64,

    /// Claims are the medians as well, for the machine that made the artifact
    #[arg(long)]
    absolute: bool,

    /// Measure with this umacvlan [default: this one]
    #[arg(long, value_name = "PROGRAM")]
    binary: Option<PathBuf>,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// The verdicts about an artifact.
#[derive(Debug, Serialize)]
struct Replication {
    schema: &'static str,
    /// In percent.
    tolerance: f64,
    claims: Vec<Claim>,
    /// True if the program has the sum of the one that made the artifact.
    same_binary: bool,
    /// Differences between the two machines.
    differing: Vec<String>,
}

/// One claim and what was found.
#[derive(Debug, Serialize)]
struct Claim {
    key: Key,
    /// `ratio` or `median`.
    figure: &'static str,
    claimed: f64,
    /// `None` if it was not measured again.
    found: Option<f64>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// It could not be measured.
    Missing,
    NotReplicated,
    Replicated,
}

/// Checks the artifact, measures it again and prints the verdicts.
///
/// # Errors
/// The artifact cannot be read or was changed, it makes no claim, or the program does not measure.
pub(crate) fn run(args: &ReplicateArgs) -> Result<ExitCode> {
    ensure!(args.tolerance >= 0.0, "--tolerance {} is less than nothing", args.tolerance);
    let artifact = read(&args.file)?;
    let asked = claims(&artifact.report.points, args.absolute);
    ensure!(
        asked.count() > 0,
        "{} has no ratio to another peer: --absolute compares medians",
        args.file.display()
    );
    let again = measure(&artifact, args)?;
    let replication = Replication::new(&artifact, &again, args);
    let mut output = Output::new();
    match args.json {
        true => output.json(&replication),
        false => output.text(&replication.text(output.colour)),
    }
    output.finish()?;
    Ok(if replication.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the bench again, with the same choices and the same seed.
fn measure(artifact: &Artifact, args: &ReplicateArgs) -> Result<Report> {
    let Report { bench, environment, .. } = &artifact.report;
    let known = ["forward", "path", "program"].contains(&bench.as_str());
    ensure!(known, "'{bench}' is no bench that can be run again");
    let program = args.binary.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let mut command = Command::new(&program);
    command.args(["bench", bench]).args(measuring(&environment.command));
    command.arg(format!("--seed={}", environment.seed)).arg("-j").stdin(Stdio::null());
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    print_stderr(&format!("measuring again: umacvlan {}", words.join(" ")));
    let name = program.display();
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A part that failed gives status 1 and a report of the rest.
    parse(&text).with_context(|| format!("{name} has measured nothing: {}", output.status))
}

/// The claims of these points: point, name of the figure, value.
fn claims(points: &[Point], absolute: bool) -> impl Iterator<Item = (&Point, &'static str, f64)> {
    points.iter().flat_map(move |point| {
        let ratio = point.ratio.as_ref().map(|ratio| (point, RATIO, ratio.value));
        let median = absolute.then_some((point, MEDIAN, point.summary.median));
        ratio.into_iter().chain(median)
    })
}

impl Replication {
    fn new(artifact: &Artifact, again: &Report, args: &ReplicateArgs) -> Self {
        let found = |wanted: &Point, figure: &str| {
            let point = again.points.iter().find(|point| point.key == wanted.key)?;
            match figure {
                RATIO => point.ratio.as_ref().map(|ratio| ratio.value),
                _ => (point.unit == wanted.unit).then_some(point.summary.median),
            }
        };
        let claim = |(point, figure, claimed): (&Point, &'static str, f64)| {
            let found = found(point, figure);
            let verdict = Verdict::of(claimed, found, args.tolerance);
            Claim { key: point.key.clone(), figure, claimed, found, verdict }
        };
        let this = Binary::this().ok().filter(|_| args.binary.is_none());
        Self {
            schema: "umacvlan-bench-replicate/1",
            tolerance: args.tolerance,
            claims: claims(&artifact.report.points, args.absolute).map(claim).collect(),
            same_binary: this.is_some_and(|this| this.sha256 == artifact.binary.sha256),
            differing: differing(&artifact.report.environment, &again.environment),
        }
    }

    fn is_good(&self) -> bool {
        self.claims.iter().all(|claim| claim.verdict == Verdict::Replicated)
    }

    fn text(&self, colour: bool) -> String {
        let mut table = Table::new([
            Head::Left("claim"),
            Head::Left("figure"),
            Head::Right("claimed"),
            Head::Right("found"),
            Head::Right("difference"),
            Head::Left("verdict"),
        ]);
        for claim in &self.claims {
            let (verdict, tint) = match claim.verdict {
                Verdict::Missing => ("MISSING", Tint::Bad),
                Verdict::NotReplicated => ("NOT replicated", Tint::Bad),
                Verdict::Replicated => ("replicated", Tint::Good),
            };
            let difference =
                claim.found.map(|found| format!("{:+.1} %", 100.0 * (found / claim.claimed - 1.0)));
            let absent = || "n/a".to_owned();
            table.push([
                claim.key.to_string().into(),
                claim.figure.into(),
                digits(claim.claimed).into(),
                claim.found.map_or_else(absent, digits).into(),
                difference.unwrap_or_else(absent).into(),
                Cell::new(verdict, tint),
            ]);
        }
        let mut text = table.render(colour);
        let other = self.differing.iter();
        other.for_each(|what| text.push_str(&format!("not the same machine: {what}\n")));
        if !self.same_binary {
            text.push_str("not the program that made the artifact\n");
        }
        let is = |claim: &&Claim| claim.verdict == Verdict::Replicated;
        let (good, all) = (self.claims.iter().filter(is).count(), self.claims.len());
        text.push_str(&format!(
            "{good} of {all} claims replicated, with a tolerance of {} %\n",
            self.tolerance
        ));
        text
    }
}

impl Verdict {
    /// A claim of zero is replicated by zero only.
    fn of(claimed: f64, found: Option<f64>, tolerance: f64) -> Self {
        match found {
            None => Self::Missing,
            Some(found) if (found - claimed).abs() <= tolerance / 100.0 * claimed.abs() => {
                Self::Replicated
            }
            Some(_) => Self::NotReplicated,
        }
    }
}

const RATIO: &str = "ratio";
const MEDIAN: &str = "median";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_decides_in_both_directions() {
        for (found, verdict) in [
            (Some(0.8), Verdict::Replicated),
            (Some(0.7), Verdict::Replicated),
            (Some(0.9), Verdict::Replicated),
            (Some(0.5), Verdict::NotReplicated),
            (Some(1.2), Verdict::NotReplicated),
            (Some(f64::NAN), Verdict::NotReplicated),
            (None, Verdict::Missing),
        ] {
            assert_eq!(Verdict::of(0.8, found, 25.0), verdict, "{found:?}");
        }
        assert_eq!(Verdict::of(0.0, Some(0.0), 25.0), Verdict::Replicated);
        assert_eq!(Verdict::of(0.0, Some(0.1), 25.0), Verdict::NotReplicated);
    }
}
