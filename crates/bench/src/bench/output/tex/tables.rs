//! All points as tables for LaTeX: one for each path, with a column for each peer.

use std::fmt::Write;

use super::{Font, caption, escape};
use crate::bench::report::{Key, Point, Report};
use crate::bench::summary::Interval;
use crate::bench::unit::{axis, digits};
use crate::bench::words;

/// The tables, to be read by `\input`.
pub(super) fn render(report: &Report, font: Font, begin: Option<&str>) -> String {
    let mut text = format!(
        "% umacvlan bench {}, {}\n% Needs \\usepackage{{booktabs}}.\n",
        report.bench.replace(char::is_whitespace, " "),
        report.environment.begun.replace(char::is_whitespace, " ")
    );
    let mut paths: Vec<&str> = Vec::new();
    for point in &report.points {
        if !paths.contains(&&*point.key.path) {
            paths.push(&point.key.path);
        }
    }
    for path in paths {
        let table = PathTable::of(report, path);
        for (number, rows) in table.rows.chunks(ROWS).enumerate() {
            table.render(report, rows, number, font, begin, &mut text);
        }
    }
    text
}

/// All points of a path.
struct PathTable<'r> {
    path: &'r str,
    /// The number of sub-interfaces, if all points have the same.
    subs: Option<u32>,
    /// The points of each row have the same key but for the peer.
    rows: Vec<Vec<&'r Point>>,
    peers: Vec<&'r str>,
    /// The first peer whose points have ratios.
    compared: Option<&'r str>,
}

impl<'r> PathTable<'r> {
    fn of(report: &'r Report, path: &'r str) -> Self {
        let points = || report.points.iter().filter(|point| point.key.path == path);
        let subs = points().next().map(|point| point.key.subs);
        let subs = subs.filter(|subs| points().all(|point| point.key.subs == *subs));
        let mut table = Self { path, subs, rows: Vec::new(), peers: Vec::new(), compared: None };
        for point in points() {
            let peer = &*point.key.peer;
            if !table.peers.contains(&peer) {
                table.peers.push(peer);
            }
            if point.ratio.is_some() {
                table.compared.get_or_insert(peer);
            }
            match table.rows.iter_mut().find(|row| is_beside(row[0], point)) {
                Some(row) => row.push(point),
                None => table.rows.push(vec![point]),
            }
        }
        table
    }

    fn render(
        &self,
        report: &Report,
        rows: &[Vec<&Point>],
        number: usize,
        font: Font,
        begin: Option<&str>,
        text: &mut String,
    ) {
        let path = words::path(self.path);
        let more = if number > 0 { ", continued" } else { "" };
        let subs = self.subs.map(|subs| format!(", {}", words::subs(subs))).unwrap_or_default();
        let words = format!("umacvlan bench {}, {path}{subs}{more}", report.bench);
        let words = caption(begin, &words);
        let label: String = self.path.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let numbers = "r".repeat(self.peers.len());
        let ratios = if self.compared.is_some() { "l" } else { "" };
        let _ = write!(
            text,
            "\\begin{{table}}[htbp]\n\\centering\n{}\n\\setlength{{\\tabcolsep}}{{3pt}}\n\
             \\caption{{{words}}}\n\\label{{tab:umacvlan-{label}-{}}}\n\
             \\begin{{tabular}}{{@{{}}llr{}ll{numbers}{ratios}@{{}}}}\n\\toprule\n",
            font.command(),
            number + 1,
            if self.subs.is_some() { "" } else { "r" },
        );
        let subs = self.subs.is_none().then_some("subs");
        let heads = ["mode", "traffic", "size"].into_iter().chain(subs).chain(["measure", "unit"]);
        let peers = self.peers.iter().map(|peer| escape(peer));
        let ratios = self.compared.iter().map(|_| "ratio".to_owned());
        let heads: Vec<String> = heads.map(str::to_owned).chain(peers).chain(ratios).collect();
        let _ = writeln!(text, "{} \\\\\n\\midrule", heads.join(" & "));
        for row in rows {
            let _ = writeln!(text, "{} \\\\", self.cells(row).join(" & "));
        }
        let _ =
            writeln!(text, "\\bottomrule\n\\end{{tabular}}\n{}\n\\end{{table}}", self.foot(rows));
    }

    fn cells(&self, row: &[&Point]) -> Vec<String> {
        let Point { key, unit, .. } = row[0];
        let highest = row.iter().map(|point| point.summary.median).fold(0.0, f64::max);
        let (unit, factor) = axis(unit, highest);
        let of = |peer: &&str| row.iter().find(|point| point.key.peer == *peer);
        let value = |point: &&Point| {
            let star = if point.summary.outliers.is_empty() { "" } else { "*" };
            format!("{}{star}", digits(point.summary.median * factor))
        };
        let ratio = |point: &&Point| {
            let ratio = point.ratio.as_ref()?;
            let ends = format!("{} to {}", digits(ratio.low), digits(ratio.high));
            Some(format!("{} ({})", digits(ratio.value), ratio.interval.words(&ends)))
        };
        let first = [
            escape(&key.mode),
            escape(&key.traffic),
            key.size.map(|size| size.to_string()).unwrap_or_default(),
        ];
        let subs = self.subs.is_none().then(|| key.subs.to_string());
        let measure = [escape(&key.measure), escape(&words::printed(&unit))];
        let first = first.into_iter().chain(subs).chain(measure);
        let values = self.peers.iter().map(|peer| of(peer).map(value).unwrap_or_default());
        let ratios = self.compared.iter().map(|peer| of(peer).and_then(ratio).unwrap_or_default());
        first.chain(values).chain(ratios).collect()
    }

    /// What the words of these rows mean, and what their numbers are.
    fn foot(&self, rows: &[Vec<&Point>]) -> String {
        let mut parts = vec!["Numbers are medians of all trials.".to_owned()];
        let points = || rows.iter().flatten();
        let ratio = points().find_map(|point| point.ratio.as_ref());
        parts.extend(self.compared.zip(ratio).map(|(peer, ratio)| {
            let kind = match ratio.interval {
                Interval::Confidence => "95 % intervals",
                Interval::Range => "ranges of few trials",
                Interval::None => "no intervals, as there was one trial",
            };
            format!("Ratios are of {peer} to {} in the same rounds, with {kind}.", ratio.to)
        }));
        if points().any(|point| !point.summary.outliers.is_empty()) {
            parts.push("* has outliers, which are part of its figures.".to_owned());
        }
        let mut measures: Vec<&str> = Vec::new();
        for row in rows {
            let measure = &*row[0].key.measure;
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        parts.extend(measures.iter().map(|name| format!("{name}: {}.", words::measure(name))));
        let parts: Vec<String> = parts.iter().map(|part| escape(part)).collect();
        format!(
            "\\par\\smallskip\n\\parbox{{0.95\\linewidth}}{{\\raggedright {}}}",
            parts.join(" ")
        )
    }
}

/// True if two points are in one row.
fn is_beside(one: &Point, other: &Point) -> bool {
    let same = |key: &Key| Key { peer: String::new(), ..key.clone() };
    same(&one.key) == same(&other.key) && one.unit == other.unit
}

/// The rows that fit on a page.
const ROWS: usize = 40;
