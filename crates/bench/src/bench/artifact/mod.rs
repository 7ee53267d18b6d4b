//! [`Artifact`]: a report with all that is needed to check it and to measure it again, as a tar
//! file.
//!
//! `SHA256SUMS` has the sum of every other file, in the form of `sha256sum -c`. Sums show damage and
//! careless changes; whether figures and samples fit each other is checked as well, and whether they
//! are true shows only a run of [`replicate`].

mod arguments;
mod replicate;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::output;
use super::report::{Key, Point, Report, parse};
use super::summary::{ratio, summarise};

pub(super) use replicate::{ReplicateArgs, run};

/// A report and the program that made it.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) report: Report,
    pub(super) binary: Binary,
}

/// The program that has measured.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Binary {
    pub(super) version: String,
    /// `debug` or `release`.
    pub(super) build: String,
    /// Architecture and system.
    pub(super) target: String,
    pub(super) sha256: String,
    pub(super) bytes: u64,
}

impl Binary {
    /// This program.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub(super) fn this() -> Result<Self> {
        let program = fs::read("/proc/self/exe").context("cannot read the file of this program")?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            target: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            sha256: sum(&program),
            bytes: program.len() as u64,
        })
    }
}

/// Writes the artifact of this report, measured by this program.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(file: &Path, report: &Report, binary: &Binary) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    // Rendered from what readers will have, to the last digit.
    let read: Report = parse(&text)?;
    let (csv, html) = output::csv_and_html(&read);
    let binary = serde_json::to_string_pretty(binary)? + "\n";
    let mut files: BTreeMap<&str, String> = BTreeMap::from([
        (README, README_TEXT.to_owned()),
        (BINARY, binary),
        (HISTOGRAMS, histograms(&report.points)),
        (REPORT, text),
        ("report.html", html),
        (SAMPLES, csv),
    ]);
    let sums = files.iter().map(|(name, text)| format!("{}  {name}\n", sum(text.as_bytes())));
    files.insert(SUMS, sums.collect());
    let context = || format!("cannot write {}", file.display());
    let folder = file.file_stem().map_or_else(|| PathBuf::from("artifact"), PathBuf::from);
    let mut archive = tar::Builder::new(File::create(file).with_context(context)?);
    for (name, text) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = folder.join(name);
        archive.append_data(&mut header, path, text.as_bytes()).with_context(context)?;
    }
    archive.into_inner().and_then(|file| file.sync_all()).with_context(context)
}

/// Reads an artifact and checks that it is whole and that its figures follow from its samples.
///
/// # Errors
/// It cannot be read, a file is missing or has another sum, or a figure does not fit its samples.
pub(super) fn read(file: &Path) -> Result<Artifact> {
    let files = unpack(file).with_context(|| format!("{} is no artifact", file.display()))?;
    let doctored = || format!("{} is not as it was written", file.display());
    check_sums(&files).with_context(doctored)?;
    let report: Report = parse(text_of(&files, REPORT)?)?;
    let binary = serde_json::from_str(text_of(&files, BINARY)?)
        .with_context(|| format!("{BINARY} cannot be read"))?;
    check_figures(&report).with_context(doctored)?;
    let same = text_of(&files, SAMPLES)? == output::csv_and_html(&report).0;
    ensure!(same, "{}: {SAMPLES} and {REPORT} have different samples", doctored());
    Ok(Artifact { report, binary })
}

/// Whether a file of these bytes is a tar file: the magic of ustar, also in the form of GNU.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The files in an artifact, by name: in one folder, or, of older versions, in none.
fn unpack(file: &Path) -> Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(File::open(file)?);
    let mut files = BTreeMap::new();
    // The library's errors quote what it has read.
    let no_tar = |_| anyhow!("it is no tar file, or not all of one");
    for entry in archive.entries().map_err(no_tar)? {
        let mut entry = entry.map_err(no_tar)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = entry.path()?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        ensure!(entry.size() <= FILE_MAX, "{name} has more than {FILE_MAX} bytes");
        ensure!(files.len() < FILES_MAX, "it has more than {FILES_MAX} files");
        let mut text = String::new();
        entry.read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
        ensure!(files.insert(name.clone(), text).is_none(), "{name} is in it twice");
    }
    Ok(files)
}

fn text_of<'f>(files: &'f BTreeMap<String, String>, name: &str) -> Result<&'f str> {
    files.get(name).map(String::as_str).with_context(|| format!("{name} is missing"))
}

/// Compares the sum of every file.
fn check_sums(files: &BTreeMap<String, String>) -> Result<()> {
    let sums: BTreeMap<&str, &str> = text_of(files, SUMS)?
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(sum, name)| (name, sum)))
        .collect();
    for name in sums.keys() {
        text_of(files, name)?;
    }
    for (name, text) in files.iter().filter(|(name, _)| *name != SUMS) {
        let expected = sums.get(name.as_str());
        let expected = expected.with_context(|| format!("{name} is not in {SUMS}"))?;
        ensure!(**expected == sum(text.as_bytes()), "{name} has another sum than {SUMS} says");
    }
    Ok(())
}

/// Computes each figure again from the samples.
fn check_figures(report: &Report) -> Result<()> {
    let seed = report.environment.seed;
    for point in &report.points {
        let (found, summary) = (summarise(&point.samples, seed), &point.summary);
        let same = [
            (found.median, summary.median),
            (found.mad, summary.mad),
            (found.low, summary.low),
            (found.high, summary.high),
        ];
        let is_same = same.into_iter().all(|(one, other)| is_near(one, other));
        ensure!(is_same, "the figures of {} do not follow from its samples", point.key);
        let Some(claimed) = &point.ratio else {
            continue;
        };
        let peer = Key { peer: claimed.to.clone(), ..point.key.clone() };
        let Some(theirs) = report.points.iter().find(|other| other.key == peer) else {
            bail!("{} has a ratio to {}, which was not measured", point.key, claimed.to);
        };
        let found = ratio(&claimed.to, &point.samples, &theirs.samples, seed);
        let is_same = found.is_some_and(|found| {
            let pairs = [
                (found.value, claimed.value),
                (found.low, claimed.low),
                (found.high, claimed.high),
            ];
            pairs.into_iter().all(|(one, other)| is_near(one, other))
        });
        ensure!(is_same, "the ratio of {} does not follow from its samples", point.key);
    }
    Ok(())
}

/// True for numbers that differ by no more than writing and reading them changes.
fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

/// All latencies: one row for each value that occurred.
fn histograms(points: &[Point]) -> String {
    let mut text = "path,mode,traffic,size,subs,measure,peer,nanoseconds,count\n".to_owned();
    for Point { key, histogram, .. } in points {
        let Key { path, mode, traffic, size, subs, measure, peer } = key;
        let size = size.map(|size| size.to_string()).unwrap_or_default();
        for (value, count) in histogram {
            let _ = writeln!(
                text,
                "{path},{mode},{traffic},{size},{subs},{measure},{peer},{value},{count}"
            );
        }
    }
    text
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const README: &str = "README.txt";
const BINARY: &str = "binary.json";
const HISTOGRAMS: &str = "histograms.csv";
const REPORT: &str = "report.json";
const SAMPLES: &str = "samples.csv";
const SUMS: &str = "SHA256SUMS";

/// Limits for what somebody else has made.
const FILE_MAX: u64 = 256 << 20;
const FILES_MAX: usize = 100;

const README_TEXT: &str = "\
A result of umacvlan bench.

report.json     figures, samples of every trial, machine, command and seed
report.html     the same as a page
samples.csv     the samples, one a row
histograms.csv  all latencies of the measures that keep them: latency, storm
binary.json     the program that has measured, and the sum of its file
SHA256SUMS      the sums of these files: sha256sum -c SHA256SUMS, in this folder

umacvlan bench show report.json        shows it
umacvlan bench replicate ARTIFACT.tar  measures it again and compares
";

#[cfg(test)]
mod tests;
