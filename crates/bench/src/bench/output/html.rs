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
    let rows: String = report.points.iter().map(row).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <h2>Where it was measured</h2>\n<dl>\n{facts}</dl>\n\
         <h2>Charts</h2>\n<p>Point at a mark to read its number.</p>\n{charts}\
         <h2>Points</h2>\n<div class=\"wide\"><table>\n<thead><tr>{HEAD}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</body>\n</html>\n"
    )
}

fn row(point: &Point) -> String {
    let (key, summary, unit) = (&point.key, &point.summary, &point.unit);
    let size = key.size.map(|size| size.to_string()).unwrap_or_default();
    let subs = key.subs.to_string();
    let ends = format!("{} to {}", human(summary.low, unit), human(summary.high, unit));
    let interval = summary.interval.words(&ends);
    let ratio = point.ratio.as_ref().map(|ratio| {
        let [value, low, high] = [ratio.value, ratio.low, ratio.high].map(digits);
        let interval = ratio.interval.words(&format!("{low} to {high}"));
        format!("{value} of {} ({interval})", ratio.to)
    });
    let cells = [
        &key.path,
        &key.mode,
        &key.traffic,
        &size,
        &subs,
        &key.measure,
        &key.peer,
        &human(summary.median, unit),
        &interval,
        &summary.outliers.len().to_string(),
        &ratio.unwrap_or_default(),
    ];
    let cells: String = cells.map(|cell| format!("<td>{}</td>", escape(cell))).concat();
    format!("<tr>{cells}</tr>\n")
}

const HEAD: &str = "<th>path</th><th>mode</th><th>traffic</th><th>size</th><th>subs</th>\
    <th>measure</th><th>by</th><th>median</th><th>95 % interval</th><th>outliers</th><th>ratio</th>";

/// The style sheet. The reader's light or dark scheme decides the colours.
const STYLE: &str = "\
:root { color-scheme: light dark; background: #ffffff; color: #1f1f1f; }
@media (prefers-color-scheme: dark) { :root { background: #121212; color: #e6e6e6; } }
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0.2rem 1rem; }
dt { font-weight: bold; }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
svg { width: 100%; height: auto; }
.on-telephones { display: none; }
@media (max-width: 600px) {
.on-pages { display: none; }
.on-telephones { display: block; }
dl { display: block; }
}
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.2rem 0.6rem; border-bottom: 1px solid #7675; white-space: nowrap; }
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
        for outside in ["<script", "<link", "<img", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
