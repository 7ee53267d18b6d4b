//! `umacvlan bench`: what each mode costs, beside others who do the same.
//!
//! A bench gives points; what they come to, where they go and how two reports compare is here and
//! the same for all of them. docs/benchmarks.md says how the figures are made.

mod compare;
mod environment;
mod fail_if;
#[cfg(test)]
mod fixtures;
mod forward;
mod mlrsearch;
mod output;
mod path;
mod progress;
mod report;
mod summary;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use compare::CompareArgs;
use forward::ForwardArgs;
use output::OutputArgs;
use progress::Progress;
use report::{Environment, Point, Report, SCHEMA};

/// Measure what each mode costs, beside others who do the same
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    Compare(CompareArgs),
    /// Measure paths end to end, over veth and TAP, beside the kernel's macvlan and others
    Path(Measured<path::PathArgs>),
    /// Measure the engine alone, in memory, beside a bare look-up of the same addresses
    Forward(Measured<ForwardArgs>),
    Show(ShowArgs),
}

/// Show a report again, in any form
#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// What `--out` or `-j` wrote
    #[arg(value_name = "FILE.json")]
    file: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

// What every bench can be told. No documentation comment: clap would take it for the bench's own.
#[derive(Args, Clone, Debug)]
struct Measured<A: Args> {
    #[command(flatten)]
    own: A,

    /// Where all random choices come from, to repeat a run [default: another each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,

    /// How often each point is measured
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,

    /// Take less than a minute, and be less certain
    #[arg(long)]
    quick: bool,

    /// Keep this in the report, for instance the name of the machine; can be repeated
    #[arg(long, value_name = "TEXT")]
    note: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

/// Does what was asked for; the status is failure if `--fail-if` or a comparison says so.
///
/// # Errors
/// Something cannot be measured, read or written.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    match &args.command {
        BenchCommand::Compare(args) => compare::run(args),
        BenchCommand::Path(args) => args.run("path", path::run),
        BenchCommand::Forward(args) => args.run("forward", forward::run),
        BenchCommand::Show(args) => {
            args.output.check()?;
            args.output.deliver(&read(&args.file)?)
        }
    }
}

impl<A: Args> Measured<A> {
    /// Measures with this bench, and takes its report where it was asked to go.
    fn run(
        &self,
        name: &str,
        bench: impl FnOnce(&A, &mut Progress) -> Result<Vec<Point>>,
    ) -> Result<ExitCode> {
        self.output.check()?;
        let begun = Instant::now();
        // Of 32 bits, so that every reader of JSON keeps all of it.
        let seed = u64::from(self.seed.unwrap_or_else(|| fastrand::u32(..)));
        let machine = environment::gather(seed);
        let mut progress = Progress::new(seed, self.trials, self.quick);
        self.note.iter().for_each(|note| progress.note(note));
        let points = bench(&self.own, &mut progress)?;
        let notes = progress.finish();
        let environment = Environment {
            seconds: begun.elapsed().as_secs_f64(),
            shared_cores: progress.shared_cores,
            offloads: progress.offloads,
            notes,
            ..machine
        };
        let (schema, bench) = (SCHEMA.to_owned(), name.to_owned());
        self.output.deliver(&Report { schema, bench, environment, points })
    }
}

/// The report in this file.
fn read(file: &Path) -> Result<Report> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("{name} is no report of bench"))?;
    ensure!(
        report.schema == SCHEMA,
        "{name} is a report of schema {}, and this is a program for {SCHEMA}",
        report.schema
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    #[test]
    fn only_reports_of_this_schema_are_read() {
        let folder = Scratch::new();
        let file = folder.path().join("report.json");
        let complaint = || format!("{:#}", read(&file).unwrap_err());
        assert!(complaint().contains("cannot read"));
        fs::write(&file, "{}").unwrap();
        assert!(complaint().contains("is no report of bench"));
        let report = Report { schema: "umacvlan-bench/9".to_owned(), ..fixtures::report() };
        fs::write(&file, serde_json::to_string(&report).unwrap()).unwrap();
        assert!(complaint().contains("schema umacvlan-bench/9"));
        fs::write(&file, serde_json::to_string(&fixtures::report()).unwrap()).unwrap();
        // The last digit of a number may be lost on the way.
        let found = read(&file).unwrap();
        assert_eq!(found.environment, fixtures::report().environment);
        assert_eq!(found.points.len(), fixtures::report().points.len());
    }
}
