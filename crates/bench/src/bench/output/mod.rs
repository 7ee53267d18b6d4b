//! The output of a report: terminal, files and exit status.

mod chart;
mod charts;
mod ci_formats;
mod csv;
mod extra_tables;
mod html;
mod table;
mod tex;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::fail_if::Condition;
use super::report::Report;
use chart::Width;
use ci_formats::CiFormat;
use tex::TexArgs;
use umacvlan_text::output::{Output, print_stderr};

/// The output options of every command with a report.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// Print JSON: the whole report
    #[arg(short, long)]
    json: bool,

    /// Print the format of a benchmark tracker
    #[arg(long, value_name = "TRACKER", conflicts_with = "json")]
    format: Option<CiFormat>,

    /// Write the report to this file, for `bench compare` and `bench show`
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,

    /// Write every sample to this file, one a row
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write a page with tables and charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write each chart to a file in this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    tex: TexArgs,

    /// Fail with status 1 if this is true of any point, for instance 'ratio < 0.9' or
    /// 'path=wire-to-sub size=64: ratio < 0.78' or 'measure=latency-50: p99 > 50us'; can be repeated
    #[arg(long, value_name = "EXPR")]
    fail_if: Vec<Condition>,
}

impl OutputArgs {
    /// Checks before the measurement that the files can be written.
    ///
    /// # Errors
    /// The directory of a file is missing, or one for charts cannot be made.
    pub(super) fn check(&self) -> Result<()> {
        self.svg.iter().try_for_each(|folder| make_folder(folder))?;
        [&self.out, &self.csv, &self.html]
            .into_iter()
            .flatten()
            .try_for_each(|file| check_folder(file))?;
        self.tex.check()
    }

    /// Checks before the measurement that the conditions are about figures that a bench has.
    ///
    /// # Errors
    /// One is about another.
    pub(super) fn check_figures(&self) -> Result<()> {
        self.fail_if.iter().try_for_each(Condition::check_figure)
    }

    /// Writes the report to all requested outputs. The exit status is failure if a condition is
    /// true.
    ///
    /// # Errors
    /// An output cannot be written, or a condition fits no point of the report.
    pub(super) fn deliver(&self, report: &Report) -> Result<ExitCode> {
        self.write(report)?;
        let mut output = Output::new();
        match self.format {
            Some(format) => output.json(&ci_formats::render(report, format)),
            None if self.json => output.json(report),
            None => output.text(&table::render(report, output.colour)),
        }
        output.finish()?;
        let mut failed = false;
        for condition in &self.fail_if {
            failed |= report_hits(condition, report)?;
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn write(&self, report: &Report) -> Result<()> {
        if let Some(file) = &self.out {
            write(file, &(serde_json::to_string_pretty(report)? + "\n"))?;
        }
        if let Some(file) = &self.csv {
            write(file, &csv::render(report))?;
        }
        if let Some(file) = &self.html {
            write(file, &html::render(report))?;
        }
        if let Some(folder) = &self.svg {
            make_folder(folder)?;
            for chart in charts::of(report) {
                write(&folder.join(chart.file_name()), &chart.render(Width::Wide))?;
            }
        }
        self.tex.write(report)
    }
}

/// Checks that this file can be made.
///
/// # Errors
/// Its directory is missing.
pub(super) fn check_folder(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_there = folder.is_none_or(Path::is_dir);
    ensure!(is_there, "cannot write {}: there is no such directory", file.display());
    Ok(())
}

/// Makes this directory and those above it, unless they are there.
///
/// # Errors
/// It cannot be made.
fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The samples as CSV, and the report as a page.
pub(super) fn csv_and_html(report: &Report) -> (String, String) {
    (csv::render(report), html::render(report))
}

/// Prints the points for which the condition is true. Returns true if there are any.
fn report_hits(condition: &Condition, report: &Report) -> Result<bool> {
    let finding = condition.test(report)?;
    let (hits, tested) = (finding.hits.len(), finding.tested);
    print_stderr(&format!("--fail-if '{condition}': true of {hits} of {tested} points"));
    for (point, found) in finding.hits {
        print_stderr(&format!("  {}: {}", point.key, condition.human(&point.unit, found)));
    }
    Ok(hits > 0)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
