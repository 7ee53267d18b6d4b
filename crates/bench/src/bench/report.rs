//! [`Report`]: the results of a bench, as they are written to a file and read again.
//!
//! docs/benchmarks.md describes the format. Fields are only added; a change that would mislead an
//! old reader gets a new [`SCHEMA`].

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::artifact;
use super::stability::Stability;
use super::summary::{Interval, Ratio, Summary, summarise};

/// The schema of the JSON format.
pub(crate) const SCHEMA: &str = "umacvlan-bench/1";

/// The results of one run of a bench.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// `forward`, `path` or `program`.
    pub bench: String,
    pub environment: Environment,
    pub points: Vec<Point>,
}

/// The machine and the settings of a run. It names neither the machine nor a user.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Environment {
    /// Version of umacvlan.
    pub version: String,
    /// The start time, in UTC (RFC 3339).
    pub begun: String,
    /// The duration of the run.
    pub seconds: f64,
    /// The command line.
    pub command: Vec<String>,
    /// The seed of all random choices.
    pub seed: u64,
    pub cpu: Option<String>,
    /// The number of online CPUs.
    pub cores: usize,
    /// The CPUs that this process may run on: `0-3,8`.
    pub allowed: String,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Scaling governor of the first CPU.
    pub governor: Option<String>,
    /// The hypervisor or its vendor, on a virtual machine.
    pub hypervisor: Option<String>,
    /// The kernel's text about each CPU vulnerability.
    pub mitigations: BTreeMap<String, String>,
    /// Release and version of the kernel.
    pub kernel: String,
    /// True if generator, engine and receiver shared CPUs; absent if the bench has none of them.
    pub shared_cores: Option<bool>,
    /// The number of busy threads beside each trial; absent without any.
    pub load: Option<u16>,
    /// Whether the machine was quiet before the run; absent in reports of older versions.
    pub stability: Option<Stability>,
    /// Offloads of the interfaces that were used, by name.
    pub offloads: BTreeMap<String, String>,
    /// Remarks for the reader.
    pub notes: Vec<String>,
    /// What was to be measured and is not among the points, and why. Empty for a whole run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One measured figure, with the samples of all its trials.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Point {
    pub key: Key,
    /// `frames/s`, `bit/s`, `us`, `ns/frame`, ...
    pub unit: String,
    pub better: Better,
    /// One value for each trial, in the order of the rounds, without the warm-up.
    pub samples: Vec<f64>,
    pub summary: Summary,
    /// The ratio to a peer measured in the same rounds.
    pub ratio: Option<Ratio>,
    /// Other figures of the same trials. Charts show some of them: `p50`, `p90`, `p99`, `p99.9`,
    /// ... are percentiles in the unit of the point, `copies` is frames received for each frame
    /// sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, f64>,
    /// All latencies of the trials, in nanoseconds, and how often each occurred: for artifacts.
    #[serde(skip)]
    pub histogram: Vec<(u64, u64)>,
}

/// The identity of a point in its report. Points of two reports with equal keys are compared.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Key {
    /// `wire-to-sub`, `sub-to-sub`, ...; in memory `decision` or `memory`.
    pub path: String,
    /// The mode of the sub-interfaces.
    pub mode: String,
    /// `udp`, `tcp`, `broadcast`, `unknown`, ...
    pub traffic: String,
    /// Bytes of a frame as RFC 2544 counts them, with the FCS; absent if sizes vary.
    pub size: Option<u32>,
    /// Sub-interfaces on the parent.
    pub subs: u32,
    /// `throughput`, `mrr`, `ndr`, `pdr`, `latency`, `cost`, ...
    pub measure: String,
    /// The forwarder: `umacvlan`, `kernel`, `kernel-hairpin`, `bridge`, ...
    pub peer: String,
}

/// Whether higher or lower values are better.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// Reads the report in this file, which may be an artifact.
///
/// # Errors
/// The file cannot be read, or is not a report of this [`SCHEMA`].
pub(super) fn read(file: &Path) -> Result<Report> {
    let name = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
    if artifact::is_tar(&bytes) {
        return Ok(artifact::read(file)?.report);
    }
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).with_context(|| format!("{name} cannot be used"))
}

/// Parses the JSON of a report.
///
/// # Errors
/// It is not a report of this [`SCHEMA`].
pub(super) fn parse(text: &str) -> Result<Report> {
    let mut report: Report = serde_json::from_str(text).context("it is no report of bench")?;
    ensure!(
        report.schema == SCHEMA,
        "it is a report of schema {}, and this is a program for {SCHEMA}",
        report.schema
    );
    report.points.iter_mut().for_each(Point::complete);
    Ok(report)
}

impl Point {
    /// Adds what reports of older versions lack: what an interval is, which the number of samples
    /// decides; a few have no outliers.
    fn complete(&mut self) {
        let interval = Interval::of(self.samples.len());
        if self.summary.interval == interval {
            return;
        }
        self.summary.interval = interval;
        if interval != Interval::Confidence {
            self.summary.outliers.clear();
        }
        if let Some(ratio) = &mut self.ratio {
            ratio.interval = interval;
        }
    }

    /// A point with these samples, without a ratio.
    pub(crate) fn new(key: Key, unit: &str, better: Better, samples: Vec<f64>, seed: u64) -> Self {
        let summary = summarise(&samples, seed);
        let (unit, extra, histogram) = (unit.to_owned(), BTreeMap::new(), Vec::new());
        Self { key, unit, better, samples, summary, ratio: None, extra, histogram }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.path, self.mode, self.traffic)?;
        if let Some(size) = self.size {
            write!(f, " {size} B")?;
        }
        write!(f, " {} subs {} {}", self.subs, self.measure, self.peer)
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;
    use crate::bench::fixtures;

    fn point() -> Point {
        let key = Key {
            path: "wire-to-sub".to_owned(),
            mode: "bridge".to_owned(),
            traffic: "udp".to_owned(),
            size: Some(64),
            subs: 1,
            measure: "mrr".to_owned(),
            peer: "umacvlan".to_owned(),
        };
        Point::new(key, "frames/s", Better::Higher, vec![1.0, 2.0, 3.5], 1)
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report {
            schema: SCHEMA.to_owned(),
            bench: "path".to_owned(),
            environment: Environment { seed: u64::MAX, cores: 2, ..Environment::default() },
            points: vec![point()],
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn what_an_interval_is_follows_from_the_samples_of_an_older_report() {
        let folder = Scratch::new();
        let file = folder.path().join("report.json");
        let mut report = serde_json::to_value(fixtures::report()).unwrap();
        for (point, samples) in report["points"].as_array_mut().unwrap().iter_mut().zip(1..) {
            let all = vec![1.0; samples % 8 + 1];
            point["samples"] = all.into();
            point["summary"]["outliers"] = vec![0].into();
            point["summary"].as_object_mut().unwrap().remove("interval");
            if let Some(ratio) = point.get_mut("ratio") {
                ratio.as_object_mut().unwrap().remove("interval");
            }
        }
        fs::write(&file, report.to_string()).unwrap();
        for point in read(&file).unwrap().points {
            let interval = Interval::of(point.samples.len());
            assert_eq!(point.summary.interval, interval);
            assert!(point.ratio.is_none_or(|ratio| ratio.interval == interval));
            // One sample has read as certain, so its outliers need no correction.
            let few = interval == Interval::Range;
            assert!(!few || point.summary.outliers.is_empty(), "{:?}", point.samples);
        }
    }

    #[test]
    fn unknown_fields_of_a_later_version_are_ignored() {
        let mut value = serde_json::to_value(point()).unwrap();
        value["later"] = "something".into();
        value["key"]["later"] = 1.into();
        assert_eq!(serde_json::from_value::<Point>(value).unwrap(), point());
    }

    #[test]
    fn a_key_is_printed_on_one_line() {
        assert_eq!(point().key.to_string(), "wire-to-sub bridge udp 64 B 1 subs mrr umacvlan");
    }

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
        assert!(
            complaint()
                .contains("report.json cannot be used: it is a report of schema umacvlan-bench/9")
        );
        fs::write(&file, serde_json::to_string(&fixtures::report()).unwrap()).unwrap();
        // The last digit of a number may be lost on the way.
        let found = read(&file).unwrap();
        assert_eq!(found.environment, fixtures::report().environment);
        assert_eq!(found.points.len(), fixtures::report().points.len());
    }
}
