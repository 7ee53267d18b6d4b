//! The report as one HTML page without scripts or other files, for light and dark schemes.

use super::chart::{Width, escape};
use super::{charts, table};
use crate::bench::report::{Point, Report};
use crate::bench::unit::{digits, human};

/// The page.
pub(super) fn render(report: &Report) -> String {
    let title = format!("umacvlan bench {}", escape(&report.bench));
    let facts: String = table::environment(&report.environment)
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    let charts: String = charts::of(report)
        .iter()
        .map(|chart| {
            let [wide, narrow] = [Width::Wide, Width::Narrow].map(|width| chart.render(width));
            format!(
                "<figure>\n<div class=\"on-pages\">\n{wide}</div>\n\
                 <div class=\"on-telephones\">\n{narrow}</div>\n</figure>\n"
            )
        })
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <h2>Charts</h2>\n<p>Point at a mark to read its number.</p>\n{charts}\
         <h2>Points</h2>\n{}\
         <details>\n<summary>Where it was measured</summary>\n<dl>\n{facts}</dl>\n</details>\n\
         </body>\n</html>\n",
        points(&report.points)
    )
}

/// The table of points. A column that says the same in all rows is told above it, and one that says nothing
/// is left out.
fn points(points: &[Point]) -> String {
    let rows: Vec<[String; COLUMNS]> = points.iter().map(row).collect();
    let is = |column: usize, what: &dyn Fn(&str) -> bool| rows.iter().all(|row| what(&row[column]));
    let says_nothing = |column| is(column, &|text| matches!(text, "" | "0" | "n/a"));
    let first = rows.first();
    let same = |column: usize| {
        column < KEYS
            && rows.len() > 1
            && is(column, &|text| first.is_some_and(|row| row[column] == text))
    };
    let (mut common, mut shown) = (Vec::new(), Vec::new());
    for column in (0..COLUMNS).filter(|column| !says_nothing(*column)) {
        match first {
            Some(row) if same(column) => {
                common.push(format!("{} {}", HEADS[column], escape(&row[column])));
            }
            _ => shown.push(column),
        }
    }
    let line = |cells: &dyn Fn(usize) -> String| {
        format!("<tr>{}</tr>", shown.iter().map(|column| cells(*column)).collect::<String>())
    };
    let head = line(&|column| format!("<th>{}</th>", HEADS[column]));
    let body: String = rows
        .iter()
        .map(|row| line(&|column| format!("<td>{}</td>", escape(&row[column]))) + "\n")
        .collect();
    let common = match common.is_empty() {
        true => String::new(),
        false => format!("<p>In all rows: {}.</p>\n", common.join(", ")),
    };
    format!(
        "{common}<div class=\"wide\"><table>\n<thead>{head}</thead>\n<tbody>\n{body}</tbody>\n\
         </table></div>\n"
    )
}

fn row(point: &Point) -> [String; COLUMNS] {
    let (key, summary, unit) = (&point.key, &point.summary, &point.unit);
    let ends = format!("{} to {}", human(summary.low, unit), human(summary.high, unit));
    let ratio = point.ratio.as_ref().map(|ratio| {
        let [value, low, high] = [ratio.value, ratio.low, ratio.high].map(digits);
        let interval = ratio.interval.words(&format!("{low} to {high}"));
        format!("{value} of {} ({interval})", ratio.to)
    });
    [
        key.path.clone(),
        key.mode.clone(),
        key.traffic.clone(),
        key.size.map(|size| size.to_string()).unwrap_or_default(),
        key.subs.to_string(),
        key.measure.clone(),
        key.peer.clone(),
        human(summary.median, unit),
        ratio.unwrap_or_default(),
        summary.interval.words(&ends),
        summary.outliers.len().to_string(),
    ]
}

const COLUMNS: usize = 11;
/// The first columns, which name the point.
const KEYS: usize = 7;
const HEADS: [&str; COLUMNS] = [
    "path",
    "mode",
    "traffic",
    "size",
    "subs",
    "measure",
    "by",
    "median",
    "ratio",
    "95 % interval",
    "outliers",
];

/// The style sheet. The reader's light or dark scheme decides the colours.
const STYLE: &str = "\
:root { color-scheme: light dark; background: #ffffff; color: #1f1f1f; }
@media (prefers-color-scheme: dark) { :root { background: #121212; color: #e6e6e6; } }
body { font: 16px/1.5 sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0.2rem 1rem; }
dt { font-weight: bold; }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; max-width: 60rem; }
summary { font-weight: bold; margin: 1.5rem 0; }
svg { width: 100%; height: auto; }
.on-telephones { display: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.2rem 0.6rem; border-bottom: 1px solid #7675; white-space: nowrap; }
@media (max-width: 600px) {
.on-pages { display: none; }
.on-telephones { display: block; }
th, td { padding: 0.2rem 0.3rem; }
dl { display: block; }
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;
    use crate::bench::look::{DARK_GROUND, DARK_INK, LIGHT_GROUND, LIGHT_INK};

    #[test]
    fn the_page_is_complete_and_loads_nothing_else() {
        let report = fixtures::report();
        let page = render(&report);
        let charts = charts::of(&report).len();
        assert_eq!(page.matches("<figure>").count(), charts);
        assert_eq!(page.matches("<svg").count(), 2 * charts, "one for each width");
        for colour in [LIGHT_GROUND, LIGHT_INK, DARK_GROUND, DARK_INK] {
            assert!(STYLE.contains(&format!("#{colour:06x}")), "the grounds of charts and page");
        }
        assert_eq!(page.matches("<tr>").count(), 1 + report.points.len());
        assert!(page.contains("Some &lt;CPU&gt; &amp; more"));
        assert!(page.find("<details>") > page.find("<table>"));
        for outside in ["<script", "<link", "<img", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn columns_that_say_nothing_are_left_out_and_equal_ones_told_once() {
        let mut points = fixtures::report().points;
        points.truncate(2);
        let page = super::points(&points);
        assert!(page.starts_with("<p>In all rows: path wire-to-sub, mode bridge, "), "{page}");
        assert!(page.contains("<tr><th>by</th><th>median</th><th>ratio</th>"), "{page}");
        assert!(!page.contains("<th>outliers</th>"), "{page}");
        // One row has nothing to be compared with.
        assert!(super::points(&points[..1]).contains("<th>path</th>"));
    }
}
