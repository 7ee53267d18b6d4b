//! Where a report goes: the terminal, files, and the exit status.

mod chart;
mod charts;
mod ci_formats;
mod csv;
mod extra_tables;
mod html;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::fail_if::Condition;
use super::report::Report;
use ci_formats::CiFormat;
use umacvlan_text::output::{Output, complain};

/// What every command that has a report can do with it.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// Print JSON: the whole report
    #[arg(short, long)]
    json: bool,

    /// Print what a tracker of benchmarks reads
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

    /// Fail with status 1 if this is true of any point, for instance 'ratio < 0.9' or
    /// 'path=wire-to-sub size=64: ratio < 0.78' or 'measure=latency: p99 > 50us'; can be repeated
    #[arg(long, value_name = "EXPR")]
    fail_if: Vec<Condition>,
}

impl OutputArgs {
    /// Looks whether the files can be written at all, before somebody waits for a report.
    ///
    /// # Errors
    /// The directory of one is missing.
    pub(super) fn check(&self) -> Result<()> {
        for file in [&self.out, &self.csv, &self.html].into_iter().flatten() {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let is_there = folder.is_none_or(Path::is_dir);
            ensure!(is_there, "cannot write {}: there is no such directory", file.display());
        }
        Ok(())
    }

    /// Takes the report where it was asked to go; the status is failure if a condition is true.
    ///
    /// # Errors
    /// Something cannot be written, or a condition is of nothing in the report.
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
            failed |= judge(condition, report)?;
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
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            for chart in charts::of(report) {
                write(&folder.join(chart.file_name()), &chart.render())?;
            }
        }
        Ok(())
    }
}

/// Tells of which points the condition is true; true if there is one.
fn judge(condition: &Condition, report: &Report) -> Result<bool> {
    let finding = condition.ask(report)?;
    let (hits, asked) = (finding.hits.len(), finding.asked);
    complain(&format!("--fail-if '{condition}': true of {hits} of {asked} points"));
    for (point, found) in finding.hits {
        complain(&format!("  {}: {}", point.key, condition.human(&point.unit, found)));
    }
    Ok(hits > 0)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
