//! Selects the charts of a report.

use std::collections::BTreeMap;

use super::chart::{Chart, Dot, Series, Style};
use crate::bench::report::{Key, Point, Report};

/// The kinds of charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Copies received for each frame sent, over the number of sub-interfaces.
    Copies,
    /// Copies received for each frame sent, for each mode.
    CopiesByMode,
    /// The measure, for each mode.
    Modes,
    /// The percentiles in `extra`.
    Percentiles,
    /// The measure, over the frame size.
    Sizes,
    /// The measure, over the number of sub-interfaces.
    Subs,
}

/// All charts of the report: throughput, then latency, cost and amplification.
pub(super) fn of(report: &Report) -> Vec<Chart> {
    let kinds =
        [Kind::Sizes, Kind::Modes, Kind::Percentiles, Kind::Subs, Kind::Copies, Kind::CopiesByMode];
    kinds.into_iter().flat_map(|kind| of_kind(&report.points, kind)).collect()
}

fn of_kind(points: &[Point], kind: Kind) -> Vec<Chart> {
    // In the order of the report.
    let mut groups: Vec<(String, Vec<&Point>)> = Vec::new();
    for point in points.iter().filter(|point| kind.is_of(point)) {
        let title = kind.title(point);
        match groups.iter_mut().find(|(other, _)| *other == title) {
            Some((_, group)) => group.push(point),
            None => groups.push((title, vec![point])),
        }
    }
    groups.into_iter().filter_map(|(title, group)| kind.chart(title, &group)).collect()
}

impl Kind {
    fn is_of(self, point: &Point) -> bool {
        match self {
            Self::Copies | Self::CopiesByMode => point.extra.contains_key(COPIES),
            Self::Modes => !is_cost(point),
            Self::Percentiles => percentiles(point).count() > 1,
            Self::Sizes => point.key.size.is_some() && !is_cost(point),
            Self::Subs => true,
        }
    }

    /// The title, equal for all points of one chart and for no others.
    fn title(self, point: &Point) -> String {
        let Key { path, mode, traffic, size, subs, measure, .. } = &point.key;
        let size = size.map(|size| format!(", {size} B")).unwrap_or_default();
        match self {
            Self::Copies => format!("Flood amplification: {path}, {traffic}{size}"),
            Self::CopiesByMode => format!("Flood amplification by mode: {path}, {traffic}{size}"),
            Self::Modes => format!("{measure} by mode: {path}, {traffic}{size}, {}", point.unit),
            Self::Percentiles => {
                format!("Percentiles: {path}, {mode}, {traffic}{size}, {subs} subs, {measure}")
            }
            Self::Sizes => {
                let unit = &point.unit;
                format!("{measure} by size: {path}, {mode}, {traffic}, {subs} subs, {unit}")
            }
            Self::Subs => {
                format!("{measure} by sub-interfaces: {path}, {traffic}{size}, {}", point.unit)
            }
        }
    }

    /// `None` if the chart would show no line or comparison, or if two points would have the same
    /// position.
    fn chart(self, title: String, points: &[&Point]) -> Option<Chart> {
        let first = points.first()?;
        let (categories, series) = self.gather(points)?;
        let highest = series.iter().flat_map(|(_, dots)| dots.values()).map(|dot| dot.value);
        let is_flood = highest.fold(0.0, f64::max) > 1.0;
        let is_line = series.iter().any(|(_, dots)| dots.len() > 1);
        let (order, categories) = categories.sorted();
        let is_worth_it = match self {
            Self::Copies => is_flood && is_line,
            Self::CopiesByMode => is_flood,
            Self::Modes => series.len() > 1 && (categories.len() > 1 || first.key.size.is_none()),
            Self::Percentiles | Self::Sizes | Self::Subs => is_line,
        };
        let dots =
            |dots: BTreeMap<usize, Dot>| order.iter().map(|at| dots.get(at).copied()).collect();
        let series = series.into_iter().map(|(name, found)| Series { name, dots: dots(found) });
        let (y, unit) = match self {
            Self::Copies | Self::CopiesByMode => ("received", COPIES),
            _ => (first.key.measure.as_str(), first.unit.as_str()),
        };
        let style = match self {
            Self::CopiesByMode | Self::Modes => Style::Bars,
            _ => Style::Lines,
        };
        let (y, unit) = (y.to_owned(), unit.to_owned());
        let series = series.collect();
        is_worth_it.then_some(Chart { title, x: self.x(), categories, y, unit, style, series })
    }

    /// The dots of these points, by series and category. `None` if two have the same position.
    fn gather(self, points: &[&Point]) -> Option<(Categories, Vec<Dots>)> {
        let mut categories = Categories::default();
        let mut series: Vec<Dots> = Vec::new();
        let modes = has_many(points.iter().map(|point| &point.key.mode));
        let peers = has_many(points.iter().map(|point| &point.key.peer));
        for point in points {
            let name = self.series(&point.key, modes, peers);
            let place = series.iter().position(|(other, _)| *other == name);
            let place = place.unwrap_or_else(|| {
                series.push((name, BTreeMap::new()));
                series.len() - 1
            });
            for (rank, category, dot) in self.dots(point) {
                let at = categories.place(rank, category);
                if series[place].1.insert(at, dot).is_some() {
                    return None;
                }
            }
        }
        Some((categories, series))
    }

    const fn x(self) -> &'static str {
        match self {
            Self::Copies | Self::Subs => "sub-interfaces",
            Self::CopiesByMode | Self::Modes => "mode",
            Self::Percentiles => "percentile",
            Self::Sizes => "bytes of a frame",
        }
    }

    /// The name of the point's series, without the parts that all points of the chart share.
    fn series(self, key: &Key, modes: bool, peers: bool) -> String {
        let by_mode = matches!(self, Self::Copies | Self::Subs);
        match (by_mode && modes, peers) {
            (false, _) => key.peer.clone(),
            (true, false) => key.mode.clone(),
            (true, true) => format!("{} {}", key.peer, key.mode),
        }
    }

    /// The dots of a point, each with its category's sort key and name.
    fn dots(self, point: &Point) -> Vec<(f64, String, Dot)> {
        let summary = &point.summary;
        let whole = Dot { value: summary.median, low: summary.low, high: summary.high };
        let bare = |value| Dot { value, low: value, high: value };
        let over = |number: u32, dot| vec![(f64::from(number), number.to_string(), dot)];
        match self {
            Self::Copies => over(point.key.subs, bare(point.extra[COPIES])),
            Self::CopiesByMode => vec![(0.0, point.key.mode.clone(), bare(point.extra[COPIES]))],
            Self::Modes => vec![(0.0, point.key.mode.clone(), whole)],
            Self::Percentiles => {
                let dot =
                    |(rank, name, value): (f64, &str, f64)| (rank, name.to_owned(), bare(value));
                percentiles(point).map(dot).collect()
            }
            Self::Sizes => over(point.key.size.unwrap_or_default(), whole),
            Self::Subs => over(point.key.subs, whole),
        }
    }
}

/// The name of a series, and its dots by the index of their category.
type Dots = (String, BTreeMap<usize, Dot>);

/// The sort keys and names of categories.
#[derive(Default)]
struct Categories(Vec<(f64, String)>);

impl Categories {
    /// The index of this category, in the order of insertion.
    fn place(&mut self, rank: f64, name: String) -> usize {
        let place = self.0.iter().position(|(_, other)| *other == name);
        place.unwrap_or_else(|| {
            self.0.push((rank, name));
            self.0.len() - 1
        })
    }

    /// The indexes and names of the categories, sorted.
    fn sorted(self) -> (Vec<usize>, Vec<String>) {
        let mut all: Vec<_> = self.0.into_iter().enumerate().collect();
        all.sort_by(|(_, one), (_, other)| one.0.total_cmp(&other.0));
        all.into_iter().map(|(place, (_, name))| (place, name)).unzip()
    }
}

/// The percentiles that a point has, with their numbers: `p99.9` is 99.9, `max` is 100.
fn percentiles(point: &Point) -> impl Iterator<Item = (f64, &str, f64)> {
    point.extra.iter().filter_map(|(name, &value)| {
        let number = match name.as_str() {
            "max" => 100.0,
            name => name.strip_prefix('p')?.parse::<f64>().ok()?,
        };
        Some((number, name.as_str(), value))
    })
}

/// True for costs per frame, which are drawn over the number of sub-interfaces.
fn is_cost(point: &Point) -> bool {
    point.unit.ends_with("/frame")
}

fn has_many<'k>(mut names: impl Iterator<Item = &'k String>) -> bool {
    let first = names.next();
    names.any(|name| Some(name) != first)
}

/// The figure in `extra` for the copies received for each frame sent.
const COPIES: &str = "copies";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    fn charts(words: &str) -> Vec<Chart> {
        let all = of(&fixtures::report());
        all.into_iter().filter(|chart| chart.title.contains(words)).collect()
    }

    #[test]
    fn throughput_is_drawn_by_size_with_all_peers() {
        let chart = charts("mrr by size: wire-to-sub, bridge").remove(0);
        assert_eq!(chart.categories.first().unwrap(), "64");
        assert_eq!(chart.categories.len(), 7);
        let names: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, fixtures::PEERS);
    }

    #[test]
    fn points_without_a_size_are_drawn_by_mode() {
        let chart = charts("throughput by mode: sub-to-sub").remove(0);
        assert_eq!(chart.categories, ["bridge", "private", "vepa"]);
        assert_eq!(chart.style, Style::Bars);
    }

    #[test]
    fn percentiles_are_in_the_order_of_their_numbers() {
        let chart = charts("Percentiles: wire-to-sub").remove(0);
        assert_eq!(chart.categories, ["p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    }

    #[test]
    fn cost_is_drawn_over_the_number_of_sub_interfaces_for_each_mode() {
        let chart = charts("cost by sub-interfaces: decision").remove(0);
        assert_eq!(chart.categories, ["1", "8", "64", "1024", "65536"]);
        assert_eq!(chart.series.len(), 5);
    }

    #[test]
    fn amplification_is_drawn_where_it_was_measured() {
        let chart = charts("Flood amplification").remove(0);
        assert_eq!(chart.unit, "copies");
        assert_eq!(chart.series[0].dots[3].unwrap().value, 1024.0);
    }

    #[test]
    fn a_line_of_one_dot_is_not_drawn() {
        assert!(charts("throughput by sub-interfaces").is_empty());
        assert!(charts("mrr by mode: wire-to-sub, broadcast").is_empty());
    }

    #[test]
    fn amplification_is_drawn_by_mode_where_the_number_of_sub_interfaces_is_one() {
        let mut report = fixtures::report();
        report.points.retain(|point| point.key.traffic == "broadcast" && point.key.subs == 8);
        let chart = of(&report).remove(0);
        assert_eq!(chart.title, "Flood amplification by mode: wire-to-sub, broadcast, 64 B");
        assert_eq!((chart.style, chart.series.len()), (Style::Bars, fixtures::PEERS.len()));
    }

    #[test]
    fn one_copy_for_each_frame_is_not_a_flood() {
        let mut report = fixtures::report();
        report.points.iter_mut().for_each(|point| {
            point.extra.insert(COPIES.to_owned(), 1.0);
        });
        assert!(!of(&report).iter().any(|chart| chart.title.contains("Flood")));
    }

    #[test]
    fn no_two_charts_have_one_file() {
        let mut names: Vec<_> = of(&fixtures::report()).iter().map(Chart::file_name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_report_with_one_point_has_no_charts() {
        let mut report = fixtures::report();
        report.points.truncate(1);
        assert!(of(&report).is_empty());
    }
}
