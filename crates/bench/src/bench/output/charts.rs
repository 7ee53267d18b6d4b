//! Selects the charts of a report.

use std::collections::BTreeMap;

use super::chart::{Category, Chart, Dot, RATIO, Series, Style};
use crate::bench::look::Look;
use crate::bench::report::{Better, Key, Point, Report};
use crate::bench::summary::{Interval, Ratio};
use crate::bench::words;

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
    /// The ratio to the kernel's macvlan, for each kind of traffic.
    Ratios,
    /// The same of one kind of traffic, for each mode.
    RatiosByMode,
    /// The measure, over the frame size.
    Sizes,
    /// The measure, over the number of sub-interfaces.
    Subs,
    /// The same of one peer, with a series for each mode.
    SubsByMode,
}

/// All charts of the report: throughput, then latency, cost, amplification and ratios.
pub(super) fn of(report: &Report) -> Vec<Chart> {
    let kinds = [
        Kind::Sizes,
        Kind::Modes,
        Kind::Percentiles,
        Kind::Subs,
        Kind::SubsByMode,
        Kind::Copies,
        Kind::CopiesByMode,
        Kind::Ratios,
        Kind::RatiosByMode,
    ];
    kinds.into_iter().flat_map(|kind| of_kind(&report.points, kind)).collect()
}

fn of_kind(points: &[Point], kind: Kind) -> Vec<Chart> {
    // In the order of the report.
    let mut groups: Vec<(String, Vec<&Point>)> = Vec::new();
    for point in points.iter().filter(|point| kind.is_of(point)) {
        let name = kind.name(point);
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, group)) => group.push(point),
            None => groups.push((name, vec![point])),
        }
    }
    let is_shown = |chart: &Chart, group: &[&Point]| {
        kind != Kind::Subs || chart.series.len() > 1 || !has_other_modes(points, group[0])
    };
    let chart = |(name, group): (String, Vec<&Point>)| {
        kind.chart(&name, &group).filter(|chart| is_shown(chart, &group))
    };
    groups.into_iter().filter_map(chart).collect()
}

impl Kind {
    fn is_of(self, point: &Point) -> bool {
        match self {
            Self::Copies | Self::CopiesByMode => point.extra.contains_key(COPIES),
            Self::Modes => !is_cost(point),
            Self::Percentiles => percentiles(point).count() > 1,
            Self::Ratios | Self::RatiosByMode => to_kernel(point).is_some(),
            Self::Sizes => point.key.size.is_some() && !is_cost(point),
            Self::Subs => true,
            // A hash table has no modes.
            Self::SubsByMode => point.key.peer != "lookup",
        }
    }

    /// The name, equal for all points of one chart and for no others.
    fn name(self, point: &Point) -> String {
        let Key { path, mode, traffic, size, subs, measure, peer } = &point.key;
        let (size, unit) = (size.map_or_else(String::new, |size| format!("{size} B")), &point.unit);
        match self {
            Self::Copies => format!("Flood amplification: {path}, {mode}, {traffic}, {size}"),
            Self::CopiesByMode => format!("Flood amplification by mode: {path}, {traffic}, {size}"),
            Self::Modes => format!("{measure} by mode: {path}, {traffic}, {size}, {unit}"),
            Self::Percentiles => {
                format!("Percentiles: {path}, {mode}, {traffic}, {size}, {subs} subs, {measure}")
            }
            Self::Ratios => {
                format!("Ratio by traffic: {measure}, {path}, {mode}, {subs} subs")
            }
            Self::RatiosByMode => format!("Ratio by mode: {measure}, {path}, {traffic}, {size}"),
            Self::Sizes => {
                format!("{measure} by size: {path}, {mode}, {traffic}, {subs} subs, {unit}")
            }
            Self::Subs => {
                format!("{measure} by sub-interfaces: {path}, {mode}, {traffic}, {size}, {unit}")
            }
            Self::SubsByMode => format!(
                "{measure} by sub-interfaces and mode: {peer}, {path}, {traffic}, {size}, {unit}"
            ),
        }
    }

    /// The title and the subtitle.
    fn headings(self, point: &Point) -> (String, String) {
        let key = &point.key;
        let (measure, path) = (words::measure(&key.measure), words::path(&key.path));
        let (mode, subs) = (&key.mode, words::subs(key.subs));
        let traffic = words::traffic(key, self != Self::Sizes);
        match self {
            Self::Copies => {
                ("Flood amplification".to_owned(), format!("{path}, mode {mode}, {traffic}"))
            }
            Self::CopiesByMode => {
                ("Flood amplification by mode".to_owned(), format!("{path}, {traffic}"))
            }
            Self::Modes => (format!("{measure} by mode"), format!("{path}, {traffic}")),
            Self::Percentiles => (
                format!("{}: percentiles", words::distribution(&key.measure)),
                format!("{path}, mode {mode}, {traffic}, {subs}"),
            ),
            Self::Ratios => (
                format!("{measure} relative to kernel macvlan"),
                format!("{path}, mode {mode}, {subs}; {}", direction(point)),
            ),
            Self::RatiosByMode => (
                format!("{measure} relative to kernel macvlan by mode"),
                format!("{path}, {traffic}; {}", direction(point)),
            ),
            Self::Sizes => (
                format!("{measure} by frame size"),
                format!("{path}, mode {mode}, {traffic}, {subs}"),
            ),
            Self::Subs => (
                format!("{measure} by number of sub-interfaces"),
                format!("{path}, mode {mode}, {traffic}"),
            ),
            Self::SubsByMode => (
                format!("{measure} by number of sub-interfaces"),
                format!("{}, {path}, {traffic}", Look::of_peer(&key.peer).label(&key.peer)),
            ),
        }
    }

    /// `None` if the chart would show no line or comparison, or if two points would have the same
    /// position.
    fn chart(self, name: &str, points: &[&Point]) -> Option<Chart> {
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
            Self::Percentiles | Self::Ratios | Self::RatiosByMode | Self::Sizes | Self::Subs => {
                is_line
            }
            Self::SubsByMode => is_line && series.len() > 1,
        };
        let dots =
            |dots: BTreeMap<usize, Dot>| order.iter().map(|at| dots.get(at).copied()).collect();
        let series = series.into_iter().map(|(name, found)| {
            let look = match self {
                Self::SubsByMode => Look::of_mode(&name),
                _ => Look::of_peer(&name),
            };
            Series { name, look, dots: dots(found) }
        });
        let unit = match self {
            Self::Copies | Self::CopiesByMode => COPIES,
            Self::Ratios | Self::RatiosByMode => RATIO,
            _ => first.unit.as_str(),
        };
        let style = match self {
            Self::CopiesByMode | Self::Modes | Self::Ratios | Self::RatiosByMode => Style::Marks,
            _ => Style::Lines,
        };
        let ((title, subtitle), unit) = (self.headings(first), unit.to_owned());
        let (name, x, series) = (slug(name), self.x(), series.collect());
        is_worth_it.then_some(Chart { name, title, subtitle, x, categories, unit, style, series })
    }

    /// The dots of these points, by series and category. `None` if two have the same position.
    fn gather(self, points: &[&Point]) -> Option<(Categories, Vec<Dots>)> {
        let mut categories = Categories::default();
        let mut series: Vec<Dots> = Vec::new();
        for point in points {
            let name = match self {
                Self::SubsByMode => &point.key.mode,
                _ => &point.key.peer,
            };
            let place = series.iter().position(|(other, _)| other == name);
            let place = place.unwrap_or_else(|| {
                series.push((name.clone(), BTreeMap::new()));
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
            Self::Copies | Self::Subs | Self::SubsByMode => "number of sub-interfaces",
            Self::CopiesByMode | Self::Modes | Self::RatiosByMode => "mode of the sub-interfaces",
            Self::Percentiles => "percentile",
            Self::Ratios => "frame size of unicast frames with FCS [bytes], or other traffic",
            Self::Sizes => "frame size with FCS [bytes]",
        }
    }

    /// The dots of a point, each with its category and the category's sort key.
    fn dots(self, point: &Point) -> Vec<(f64, Category, Dot)> {
        let summary = &point.summary;
        let (low, high, interval) = (summary.low, summary.high, summary.interval);
        let whole = Dot { value: summary.median, low, high, interval };
        let bare = |value| Dot { value, low: value, high: value, interval: Interval::None };
        let over = |number: u32, dot| {
            let rank = f64::from(number);
            vec![(rank, Category { name: number.to_string(), number: Some(rank) }, dot)]
        };
        let named = |name: &str| Category { name: name.to_owned(), number: None };
        match self {
            Self::Copies => over(point.key.subs, bare(point.extra[COPIES])),
            Self::CopiesByMode => vec![(0.0, named(&point.key.mode), bare(point.extra[COPIES]))],
            Self::Modes => vec![(0.0, named(&point.key.mode), whole)],
            Self::Percentiles => {
                let dot = |(rank, name, value): (f64, &str, f64)| (rank, named(name), bare(value));
                percentiles(point).map(dot).collect()
            }
            Self::Ratios | Self::RatiosByMode => {
                let (rank, name) = match self {
                    Self::Ratios => workload(&point.key),
                    _ => (0.0, point.key.mode.clone()),
                };
                let dot = |ratio: &Ratio| {
                    let &Ratio { value, low, high, interval, .. } = ratio;
                    (rank, named(&name), Dot { value, low, high, interval })
                };
                to_kernel(point).map(dot).into_iter().collect()
            }
            Self::Sizes => over(point.key.size.unwrap_or_default(), whole),
            Self::Subs | Self::SubsByMode => over(point.key.subs, whole),
        }
    }
}

/// A name of a file, made of letters, digits and hyphens.
fn slug(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let words: String = letters.flat_map(char::to_lowercase).collect();
    words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// The name of a series, and its dots by the index of their category.
type Dots = (String, BTreeMap<usize, Dot>);

/// Categories with their sort keys.
#[derive(Default)]
struct Categories(Vec<(f64, Category)>);

impl Categories {
    /// The index of this category, in the order of insertion.
    fn place(&mut self, rank: f64, category: Category) -> usize {
        let place = self.0.iter().position(|(_, other)| *other == category);
        place.unwrap_or_else(|| {
            self.0.push((rank, category));
            self.0.len() - 1
        })
    }

    /// The indexes of the categories and the categories, sorted.
    fn sorted(self) -> (Vec<usize>, Vec<Category>) {
        let mut all: Vec<_> = self.0.into_iter().enumerate().collect();
        all.sort_by(|(_, one), (_, other)| one.0.total_cmp(&other.0));
        all.into_iter().map(|(place, (_, category))| (place, category)).unzip()
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

/// The ratio of a point to the kernel's macvlan.
fn to_kernel(point: &Point) -> Option<&Ratio> {
    point.ratio.as_ref().filter(|ratio| ratio.to == "kernel")
}

/// Which side of 1 is better.
const fn direction(point: &Point) -> &'static str {
    match point.better {
        Better::Higher => "above 1 is better",
        Better::Lower => "below 1 is better",
    }
}

/// The traffic of a point in few letters, with its rank: unicast frames are told by their size, and
/// others by their name, with a size only if it is not the smallest.
fn workload(key: &Key) -> (f64, String) {
    match (key.traffic.as_str(), key.size) {
        ("unicast", Some(size)) => (f64::from(size), size.to_string()),
        (other, None | Some(SMALLEST)) => (f64::MAX, other.to_owned()),
        (other, Some(size)) => (f64::MAX, format!("{other} {size}")),
    }
}

/// True if other modes were measured as this point was, so that one chart shows all of them.
fn has_other_modes(points: &[Point], point: &Point) -> bool {
    let of_mode = |key: &Key| Key { mode: point.key.mode.clone(), ..key.clone() };
    points.iter().any(|other| other.key != point.key && of_mode(&other.key) == point.key)
}

/// True for costs per frame, which are drawn over the number of sub-interfaces.
fn is_cost(point: &Point) -> bool {
    point.unit.ends_with("/frame")
}

/// The figure in `extra` for the copies received for each frame sent.
const COPIES: &str = "copies";

/// The smallest frame of Ethernet, with its FCS.
const SMALLEST: u32 = 64;

#[cfg(test)]
pub(super) mod tests;
