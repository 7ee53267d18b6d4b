//! Tables below the one of points: the worker's cost for a frame, ratios to other points than the
//! kernel's, and round trips beside other traffic.

use crate::bench::report::{Point, Report};
use crate::bench::unit::digits;
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// The tables, each with a heading. A table without rows is left out.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    let tables = [
        ("What a frame takes of the worker", WORKER),
        ("Beside", BESIDE),
        ("Round trips beside other traffic", ROUND_TRIPS),
    ];
    for (title, columns) in tables {
        let table = table(&report.points, columns).without_empty("n/a").render(colour);
        if !table.is_empty() {
            text.push_str(&format!("\n{title}:\n{table}"));
        }
    }
    text
}

/// The points that have at least one of these figures. Missing ones are shown as n/a, and figures that all
/// lack not at all.
fn table(points: &[Point], columns: [(&'static str, &str); COLUMNS]) -> Table<{ KEYS + COLUMNS }> {
    let [a, b, c, d, e] = columns.map(|(head, _)| Head::Right(head));
    let mut table = Table::new([
        Head::Left("path"),
        Head::Left("mode"),
        Head::Left("traffic"),
        Head::Right("size"),
        Head::Right("subs"),
        Head::Left("measure"),
        Head::Left("by"),
        a,
        b,
        c,
        d,
        e,
    ]);
    let named = columns.map(|(_, figure)| figure);
    for point in points.iter().filter(|point| named.iter().any(|it| point.extra.contains_key(*it)))
    {
        let [a, b, c, d, e] = named.map(|figure| cell(point, figure));
        let key = &point.key;
        table.push([
            key.path.as_str().into(),
            key.mode.as_str().into(),
            key.traffic.as_str().into(),
            key.size.map(|size| size.to_string()).unwrap_or_default().into(),
            key.subs.to_string().into(),
            key.measure.as_str().into(),
            key.peer.as_str().into(),
            a,
            b,
            c,
            d,
            e,
        ]);
    }
    table
}

fn cell(point: &Point, figure: &str) -> Cell {
    match point.extra.get(figure) {
        Some(value) => digits(*value).into(),
        None => Cell::new("n/a", Tint::Plain),
    }
}

/// The number of columns of the key, and of figures.
const KEYS: usize = 7;
const COLUMNS: usize = 5;

/// The headings, and the figures in `extra` below them.
const WORKER: [(&str, &str); COLUMNS] = [
    ("ns", "engine_ns"),
    ("cycles", "engine_cycles"),
    ("instructions", "engine_instructions"),
    ("system calls", "engine_syscalls"),
    ("frames a turn", "engine_frames_per_turn"),
];

const BESIDE: [(&str, &str); COLUMNS] = [
    ("of the floor", "ratio.floor"),
    ("of fewest subs", "ratio.fewest"),
    ("of no storm", "ratio.calm"),
    ("copies", "copies"),
    ("ns a copy", "copy_ns"),
];

const ROUND_TRIPS: [(&str, &str); COLUMNS] = [
    ("p50 us", "probe_p50"),
    ("max us", "probe_max"),
    ("probes", "probes"),
    ("lost", "probe_lost"),
    ("flood/s", "flood"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    #[test]
    fn missing_figures_are_shown_as_not_available() {
        let mut report = fixtures::report();
        report.points.iter_mut().for_each(|point| point.extra.clear());
        assert_eq!(render(&report, false), "");
        report.points[0].extra.insert("engine_ns".to_owned(), 250.0);
        let text = render(&report, false);
        let row = text.lines().last().unwrap();
        assert!(text.starts_with("\nWhat a frame takes of the worker:\n"), "{text}");
        assert!(row.ends_with(" 250") && !text.contains("cycles"), "{text}");
        report.points[1].extra.insert("engine_cycles".to_owned(), 7.0);
        let text = render(&report, false);
        assert_eq!(text.matches("n/a").count(), 2, "{text}");
        report.points[1].extra.insert("ratio.floor".to_owned(), 0.5);
        assert!(render(&report, false).contains("\nBeside:\n"));
    }
}
