//! Formats of CI services that track benchmarks from commit to commit.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::bench::report::{Better, Key, Point, Report};

/// A format, and the points that it receives.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CiFormat {
    /// Bencher Metric Format: everything, for `bencher run --adapter json`
    Bencher,
    /// What should be high, for `tool: customBiggerIsBetter`
    GithubActionBenchmark,
    /// What should be low, for `tool: customSmallerIsBetter`
    GithubActionBenchmarkSmaller,
}

/// The medians of the report in this format.
pub(super) fn render(report: &Report, format: CiFormat) -> Value {
    match format {
        CiFormat::Bencher => bencher(&report.points),
        CiFormat::GithubActionBenchmark => action(&report.points, Better::Higher),
        CiFormat::GithubActionBenchmarkSmaller => action(&report.points, Better::Lower),
    }
}

/// An object of benchmarks, each an object of measures.
/// <https://bencher.dev/docs/reference/bencher-metric-format/>
fn bencher(points: &[Point]) -> Value {
    let mut benchmarks: Map<String, Value> = Map::new();
    for point in points {
        let summary = &point.summary;
        let benchmark = benchmarks.entry(name(&point.key)).or_insert_with(|| json!({}));
        let mut measure = json!({ "value": summary.median });
        if let Some((low, high)) = summary.ends() {
            measure["lower_value"] = low.into();
            measure["upper_value"] = high.into();
        }
        benchmark[format!("{} {}", point.key.measure, point.unit)] = measure;
    }
    benchmarks.into()
}

/// A list of benchmarks, each with one value.
/// <https://github.com/benchmark-action/github-action-benchmark>
fn action(points: &[Point], better: Better) -> Value {
    let benchmark = |point: &Point| {
        let extra = point.ratio.as_ref().map(|ratio| format!("{:.3} of {}", ratio.value, ratio.to));
        let ends = point.summary.ends();
        json!({
            "name": format!("{} {}", name(&point.key), point.key.measure),
            "unit": point.unit,
            "value": point.summary.median,
            "range": ends.map_or_else(|| "n/a".to_owned(), |(low, high)| format!("{low} to {high}")),
            "extra": extra.unwrap_or_default(),
        })
    };
    points.iter().filter(|point| point.better == better).map(benchmark).collect()
}

/// The key without its measure.
fn name(key: &Key) -> String {
    let size = key.size.map(|size| format!("/{size}")).unwrap_or_default();
    let Key { path, mode, traffic, subs, peer, .. } = key;
    format!("{path}/{mode}/{traffic}{size}/{subs}/{peer}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    #[test]
    fn bencher_gets_every_point_once() {
        let report = fixtures::report();
        let value = render(&report, CiFormat::Bencher);
        let measures =
            value.as_object().unwrap().values().map(|one| one.as_object().unwrap().len());
        assert_eq!(measures.sum::<usize>(), report.points.len());
        let one = &value["wire-to-sub/bridge/udp/64/1/umacvlan"]["mrr frames/s"];
        assert_eq!(one["value"], report.points[0].summary.median);
        assert!(one["lower_value"].as_f64() <= one["upper_value"].as_f64());
    }

    #[test]
    fn the_action_gets_the_points_of_one_direction() {
        let report = fixtures::report();
        let high = render(&report, CiFormat::GithubActionBenchmark);
        let low = render(&report, CiFormat::GithubActionBenchmarkSmaller);
        let (high, low) = (high.as_array().unwrap(), low.as_array().unwrap());
        assert_eq!(high.len() + low.len(), report.points.len());
        assert_eq!(high[0]["name"], "wire-to-sub/bridge/udp/64/1/umacvlan mrr");
        assert!(high[0]["extra"].as_str().unwrap().ends_with(" of kernel"));
        assert!(low.iter().all(|point| point["unit"] != "frames/s" && point["unit"] != "bit/s"));
    }
}
