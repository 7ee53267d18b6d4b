//! `umacvlan bench`: the cost of each mode, compared with other implementations.
//!
//! A bench (`forward`, `path`, `program`) returns points. Statistics, output and the comparison of two
//! reports are the same for all benches. docs/benchmarks.md explains how the figures are obtained.

mod artifact;
mod compare;
mod environment;
mod fail_if;
mod figures;
#[cfg(test)]
mod fixtures;
mod forward;
mod look;
mod output;
mod path;
mod program;
mod progress;
mod report;
mod stability;
mod summary;
mod trials;
mod unit;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use artifact::Binary;
use compare::CompareArgs;
use forward::ForwardArgs;
use output::{OutputArgs, check_folder};
use program::ProgramArgs;
use progress::Progress;
use report::{Environment, Point, Report, SCHEMA, read};
use stability::{Finding, Stability};
use trials::{Trials, TrialsArg, USUAL_WIDTH};
use umacvlan_text::output::print_stderr;

const EXAMPLES: &str = "\
Without options `bench path` takes up to fifteen minutes. An option that names a mode, path, size,
peer or measure leaves out the others.

Examples:
  umacvlan bench path --quick
  umacvlan bench path --mode bridge --measure tcp --congestion cubic --html report.html
  umacvlan bench path --measure queue --congestion cubic
  umacvlan bench path --peer umacvlan,kernel --size 64 --trials auto --artifact result.tar
  umacvlan bench show result.json --pgfplots figures --latex tables.tex
  umacvlan bench compare before.json after.json
  umacvlan bench replicate result.tar
";

/// Measure what each mode costs, beside other implementations
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    // Boxed, because it is far larger than the arguments of other commands.
    #[command(subcommand)]
    command: Box<BenchCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    Compare(CompareArgs),
    /// Measure paths end to end, over veth and TAP, beside the kernel's macvlan and others
    Path(BenchRun<path::PathArgs>),
    /// Measure the engine alone, in memory, beside a bare lookup of the same addresses
    Forward(BenchRun<ForwardArgs>),
    /// Measure a frame between two programs, by vhost-user, beside macvtap and TAPs on a bridge
    Program(BenchRun<ProgramArgs>),
    Replicate(artifact::ReplicateArgs),
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

// The arguments of every bench. Not a documentation comment: clap would show it as the bench's
// help.
#[derive(Args, Clone, Debug)]
struct BenchRun<A: Args> {
    #[command(flatten)]
    own: A,

    /// Seed of all random choices, to repeat a run [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,

    /// Number of trials of each point; auto: until each interval is as narrow as --width says, at
    /// least 7 and at most 100
    #[arg(long, value_name = "NUMBER|auto")]
    trials: Option<TrialsArg>,

    /// Width of an interval that is narrow enough for --trials auto, in percent of its median
    /// [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    width: Option<f64>,

    /// Take less than a minute, with less certain results
    #[arg(long)]
    quick: bool,

    /// Refuse to measure on a machine that is not stable
    #[arg(long)]
    strict: bool,

    /// Keep this in the report, for instance the name of the machine; can be repeated
    #[arg(long, value_name = "TEXT")]
    note: Vec<String>,

    /// Compare with this older report, and fail with status 1 if a point is worse by more than
    /// --tolerance
    #[arg(long, value_name = "FILE.json")]
    against: Option<PathBuf>,

    /// The change that --against lets pass, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "against")]
    tolerance: f64,

    /// Write an archive with report, samples, histograms and what is needed to check them, for `bench
    /// replicate`
    #[arg(long, value_name = "FILE.tar")]
    artifact: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command. The exit status is failure if a `--fail-if` condition holds, a comparison finds
/// a regression, or a part of the measurements failed or was not made because of a signal.
///
/// # Errors
/// No measurement succeeds, or a file cannot be read or written.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    match &*args.command {
        BenchCommand::Compare(args) => compare::run(args),
        BenchCommand::Path(args) => {
            args.own.check(args.quick)?;
            args.run("path", path::probe, path::run)
        }
        BenchCommand::Forward(args) => args.run("forward", |_| Ok(Vec::new()), forward::run),
        BenchCommand::Program(args) => args.run("program", |_| Ok(Vec::new()), program::run),
        BenchCommand::Replicate(args) => artifact::run(args),
        BenchCommand::Show(args) => {
            args.output.check()?;
            args.output.deliver(&read(&args.file)?)
        }
    }
}

impl<A: Args> BenchRun<A> {
    /// The number of trials that the arguments request, if they do.
    ///
    /// # Errors
    /// A width is given for a fixed number of trials.
    fn trials(&self) -> Result<Option<Trials>> {
        let is_auto = self.trials == Some(TrialsArg::Auto);
        ensure!(is_auto || self.width.is_none(), "--width needs --trials auto");
        Ok(self.trials.map(|trials| match trials {
            TrialsArg::Auto => Trials::until(self.width.unwrap_or(USUAL_WIDTH) / 100.0),
            TrialsArg::Number(number) => Trials::fixed(number),
        }))
    }

    /// Finds out whether the machine is stable, and tells it.
    ///
    /// # Errors
    /// It is not, and the arguments request that it is; or the probe cannot run.
    fn stability(&self, probe: impl FnOnce(bool) -> Result<Vec<Finding>>) -> Result<Stability> {
        let mut findings = stability::observe(self.quick);
        findings.extend(probe(self.quick)?);
        let stability = Stability::of(findings);
        if self.strict {
            stability.require()?;
        }
        print_stderr(&format!("machine: {}", stability.words()));
        Ok(stability)
    }

    /// Runs this bench and delivers its report. `probe` adds what it finds of the machine to what
    /// every bench looks at.
    fn run(
        &self,
        name: &str,
        probe: impl FnOnce(bool) -> Result<Vec<Finding>>,
        bench: impl FnOnce(&A, &mut Progress) -> Result<Vec<Point>>,
    ) -> Result<ExitCode> {
        self.output.check()?;
        self.output.check_figures()?;
        self.artifact.iter().try_for_each(|file| check_folder(file))?;
        let older = self.against.as_deref().map(read).transpose()?;
        ensure!(self.tolerance >= 0.0, "--tolerance {} is less than nothing", self.tolerance);
        let trials = self.trials()?;
        let stability = self.stability(probe)?;
        let begun = Instant::now();
        // 32 bits, which every reader of JSON represents exactly.
        let seed = u64::from(self.seed.unwrap_or_else(|| fastrand::u32(..)));
        let machine = environment::gather(seed);
        let mut progress = Progress::new(seed, trials, self.quick);
        self.note.iter().for_each(|note| progress.note(note));
        progress.heed_signals().context("cannot prepare for signals")?;
        let points = bench(&self.own, &mut progress)?;
        let notes = progress.finish();
        let missing = progress.take_missing();
        let complete = missing.is_empty();
        ensure!(complete || !points.is_empty(), "nothing was measured: {}", missing.join("; "));
        let environment = Environment {
            seconds: begun.elapsed().as_secs_f64(),
            shared_cores: progress.shared_cores,
            load: progress.load,
            stability: Some(stability),
            offloads: progress.offloads,
            notes,
            missing,
            ..machine
        };
        let (schema, bench) = (SCHEMA.to_owned(), name.to_owned());
        let report = Report { schema, bench, environment, points };
        if let Some(file) = &self.artifact {
            artifact::write(file, &report, &Binary::this()?)?;
        }
        let status = self.output.deliver(&report)?;
        let is_worse = match &older {
            Some(older) => compare::against(older, &report, self.tolerance)?,
            None => false,
        };
        Ok(if complete && !is_worse { status } else { ExitCode::FAILURE })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent @ 0.1..=100.0) => Ok(percent),
        _ => Err("a width is 0.1 to 100 percent".to_owned()),
    }
}
