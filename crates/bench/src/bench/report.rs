//! [`Report`]: what a bench found, as it is written to a file and read again.
//!
//! docs/benchmarks.md describes this form for its readers. Fields are only ever added; a change
//! that would mislead an old reader gets a new [`SCHEMA`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// What the JSON says it is.
pub(crate) const SCHEMA: &str = "umacvlan-bench/1";

/// Everything that one run of a bench found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// `forward` or `path`.
    pub bench: String,
    pub environment: Environment,
    pub points: Vec<Point>,
}

/// Where and how it was measured. There is no name of the machine or of a user in it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Environment {
    /// Version of umacvlan.
    pub version: String,
    /// When it began, in UTC (RFC 3339).
    pub begun: String,
    /// How long it took.
    pub seconds: f64,
    /// The words of the command.
    pub command: Vec<String>,
    /// What all random choices came from.
    pub seed: u64,
    pub cpu: Option<String>,
    /// CPUs that are on line.
    pub cores: usize,
    /// Of those, the ones that this process may run on: `0-3,8`.
    pub allowed: String,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Scaling governor of the first CPU.
    pub governor: Option<String>,
    /// The hypervisor or its vendor, if the machine is a virtual one.
    pub hypervisor: Option<String>,
    /// What the kernel says of each weakness of the CPU.
    pub mitigations: BTreeMap<String, String>,
    /// Release and version of the kernel.
    pub kernel: String,
    /// True if generator, engine and receiver had to share CPUs; absent if nobody else ran.
    pub shared_cores: Option<bool>,
    /// Offloads of the interfaces that were used, by name.
    pub offloads: BTreeMap<String, String>,
    /// What else the reader has to know.
    pub notes: Vec<String>,
}

/// One thing that was measured, in all its trials.
#[skip_serializing_none]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Point {
    pub key: Key,
    /// `frames/s`, `bit/s`, `us`, `ns/frame`, ...
    pub unit: String,
    pub better: Better,
    /// One value for each trial, in the order of the rounds, warm-up left out.
    pub samples: Vec<f64>,
    pub summary: Summary,
    /// Beside whom it was measured, in the same rounds.
    pub ratio: Option<Ratio>,
    /// Other figures of the same trials. Some names are drawn: `p50`, `p90`, `p99`, `p99.9`, ... are
    /// percentiles in the unit of the point, `copies` is frames received for each frame sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, f64>,
}

/// What tells a point from the others of its report; two reports are compared by it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Key {
    /// `wire-to-sub`, `sub-to-sub`, ...; in memory `decision` or `memory`.
    pub path: String,
    /// The mode of the sub-interfaces.
    pub mode: String,
    /// `udp`, `tcp`, `broadcast`, `unknown`, ...
    pub traffic: String,
    /// Bytes of a frame as RFC 2544 counts them, with its check sequence; where all have one size.
    pub size: Option<u32>,
    /// Sub-interfaces on the parent.
    pub subs: u32,
    /// `throughput`, `mrr`, `ndr`, `pdr`, `latency`, `cost`, ...
    pub measure: String,
    /// Who forwarded: `umacvlan`, `kernel`, `kernel-hairpin`, `bridge`, ...
    pub peer: String,
}

/// Which way is an improvement.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What the samples come to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub median: f64,
    /// Median of the absolute deviations from the median.
    pub mad: f64,
    /// The lower end of the 95 % interval of the median (bootstrap).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Places in `samples` of those that are far from the rest. They are part of everything here.
    pub outliers: Vec<usize>,
}

/// One of us divided by another, measured in the same rounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The other: the peer of its key.
    pub to: String,
    /// Median of the quotients of the rounds.
    pub value: f64,
    /// The lower end of its 95 % interval (paired bootstrap).
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Point {
    /// The point with these samples, not yet beside anybody.
    pub(crate) fn new(key: Key, unit: &str, better: Better, samples: Vec<f64>, seed: u64) -> Self {
        let summary = super::summary::summarise(&samples, seed);
        let extra = BTreeMap::new();
        Self { key, unit: unit.to_owned(), better, samples, summary, ratio: None, extra }
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
    use super::*;

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
    fn what_a_later_version_adds_does_not_disturb() {
        let mut value = serde_json::to_value(point()).unwrap();
        value["later"] = "something".into();
        value["key"]["later"] = 1.into();
        assert_eq!(serde_json::from_value::<Point>(value).unwrap(), point());
    }

    #[test]
    fn a_key_is_told_in_one_line() {
        assert_eq!(point().key.to_string(), "wire-to-sub bridge udp 64 B 1 subs mrr umacvlan");
    }
}
