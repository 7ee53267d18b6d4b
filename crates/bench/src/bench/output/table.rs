//! The report as a table for a terminal.

use super::extra_tables;
use crate::bench::report::{Better, Environment, Point, Report};
use crate::bench::summary::{Interval, Ratio, Summary};
use crate::bench::unit::{digits, human};
use umacvlan_text::format::{bytes, scaled};
use umacvlan_text::table::{Cell, Head, Table, Tint};

/// The environment, and below it a line for each point.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let mut text = String::new();
    for (name, value) in environment(&report.environment) {
        text.push_str(&format!("{name}: {value}\n"));
    }
    let mut table = Table::new([
        Head::Left("path"),
        Head::Left("mode"),
        Head::Left("traffic"),
        Head::Right("size"),
        Head::Right("subs"),
        Head::Left("measure"),
        Head::Left("by"),
        Head::Right("median"),
        Head::Right("95 % interval"),
        Head::Right("ratio"),
        Head::Left("95 % interval"),
    ]);
    for point in &report.points {
        table.push(row(point));
    }
    text.push('\n');
    text.push_str(&table.render(colour));
    if report.points.iter().any(|point| !point.summary.outliers.is_empty()) {
        text.push_str("* has outliers; they are part of its figures\n");
    }
    if report.points.iter().any(|point| point.summary.interval == Interval::Range) {
        text.push_str("range: lowest and highest of too few trials for a 95 % interval\n");
    }
    if report.points.iter().any(|point| point.summary.interval == Interval::None) {
        text.push_str("n/a: one trial has no interval\n");
    }
    text.push_str(&extra_tables::render(report, colour));
    text
}

/// The facts about the environment that are shown, in their order.
pub(super) fn environment(environment: &Environment) -> Vec<(&'static str, String)> {
    let Environment { cpu, cores, allowed, memory, governor, hypervisor, .. } = environment;
    let mut facts = vec![("umacvlan", format!("{}, {}", environment.version, environment.begun))];
    let name = cpu.as_deref().unwrap_or("unknown");
    facts.push(("CPU", format!("{name}; {cores} on line, {allowed} to be used")));
    facts.extend(memory.map(|memory| ("memory", bytes(memory))));
    facts.extend(governor.clone().map(|governor| ("governor", governor)));
    facts.extend(hypervisor.clone().map(|vendor| ("virtual machine", vendor)));
    facts.push(("kernel", environment.kernel.clone()));
    let mitigated =
        environment.mitigations.iter().filter(|(_, says)| says.starts_with("Mitigation"));
    let mitigated: Vec<&str> = mitigated.map(|(name, _)| name.as_str()).collect();
    if !mitigated.is_empty() {
        facts.push(("mitigations", mitigated.join(" ")));
    }
    if environment.shared_cores == Some(true) {
        facts.push(("shared", "generator, engine and receiver share CPUs".to_owned()));
    }
    facts.extend(environment.stability.as_ref().map(|found| ("machine", found.words())));
    let offloads = environment.offloads.iter();
    facts.extend(offloads.map(|(name, set)| ("offloads", format!("{name}: {set}"))));
    facts.push(("command", environment.command.join(" ")));
    facts.push(("seed", format!("{}; took {:.0} s", environment.seed, environment.seconds)));
    facts.extend(environment.notes.iter().map(|note| ("note", note.clone())));
    facts.extend(environment.missing.iter().map(|what| ("missing", what.clone())));
    facts
}

fn row(point: &Point) -> [Cell; 11] {
    let (key, summary, unit) = (&point.key, &point.summary, &point.unit);
    let star = if summary.outliers.is_empty() { "" } else { " *" };
    let ratio = point.ratio.as_ref();
    // A range of few samples is too little to call one better.
    let certain = ratio.filter(|ratio| ratio.interval == Interval::Confidence);
    let tint = match (certain, point.better) {
        (Some(ratio), Better::Higher) if ratio.low > 1.0 => Tint::Good,
        (Some(ratio), Better::Lower) if ratio.high < 1.0 => Tint::Good,
        (Some(ratio), Better::Higher) if ratio.high < 1.0 => Tint::Warning,
        (Some(ratio), Better::Lower) if ratio.low > 1.0 => Tint::Warning,
        _ => Tint::Plain,
    };
    let of = |ratio: &Ratio| {
        let ends = format!("{} to {}", digits(ratio.low), digits(ratio.high));
        match ratio.interval {
            Interval::None => ratio.interval.words(&ends),
            _ => format!("{} of {}", ratio.interval.words(&ends), ratio.to),
        }
    };
    [
        key.path.as_str().into(),
        key.mode.as_str().into(),
        key.traffic.as_str().into(),
        key.size.map(|size| size.to_string()).unwrap_or_default().into(),
        key.subs.to_string().into(),
        key.measure.as_str().into(),
        key.peer.as_str().into(),
        format!("{}{star}", human(summary.median, unit)).into(),
        spread(point).into(),
        Cell::new(ratio.map(|ratio| digits(ratio.value)).unwrap_or_default(), tint),
        ratio.map(of).unwrap_or_default().into(),
    ]
}

/// The distances of the interval's ends from the median, in percent.
fn spread(point: &Point) -> String {
    let Summary { median, low, high, interval, .. } = &point.summary;
    if *median == 0.0 {
        return interval.words(&scaled(*high, &point.unit));
    }
    let part = |end: f64| 100.0 * (end / median - 1.0);
    interval.words(&format!("{:+.1} {:+.1} %", part(*low), part(*high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures;

    #[test]
    fn there_is_a_line_for_each_point_below_the_environment() {
        let mut report = fixtures::report();
        report.points.iter_mut().for_each(|point| point.extra.clear());
        report.points[0].summary.outliers = vec![1];
        let text = render(&report, false);
        let (above, below) = text.split_once("\n\n").unwrap();
        assert!(above.contains("CPU: Some <CPU> & more; 2 on line"), "{above}");
        assert!(above.contains("share CPUs") && above.contains("note: made up"), "{above}");
        assert_eq!(below.lines().count(), 1 + report.points.len() + 1);
        let first = below.lines().nth(1).unwrap();
        assert!(first.contains("Mframes/s *") && first.ends_with(" of kernel"), "{first}");
        assert!(text.ends_with("part of its figures\n"));
    }

    #[test]
    fn few_trials_are_not_shown_as_certain() {
        let mut report = fixtures::report();
        report.points.truncate(2);
        let theirs = report.points[1].samples.clone();
        for (count, cells, foot) in [
            (1, ["  n/a ", "  n/a"], "n/a: one trial"),
            (3, ["range -", "range 0."], "range: lowest and highest"),
            (7, ["  -", " of kernel"], "of kernel"),
        ] {
            let point = &mut report.points[0];
            let samples = point.samples[..count].to_vec();
            point.ratio = crate::bench::summary::ratio("kernel", &samples, &theirs, 1);
            point.summary = crate::bench::summary::summarise(&samples, 1);
            let text = render(&report, true);
            let row = text.lines().find(|line| line.contains("umacvlan ")).unwrap();
            let row = text.lines().find(|line| line.contains("wire-to-sub")).unwrap_or(row);
            assert!(cells.iter().all(|cell| row.contains(cell)), "{row}");
            assert!(text.contains(foot), "{text}");
            // Slower than the kernel, which only a confidence interval may colour.
            assert_eq!(row.contains('\u{1b}'), count == 7, "{row}");
        }
    }

    #[test]
    fn a_median_of_zero_has_no_percentages() {
        let mut report = fixtures::report();
        report.points.truncate(1);
        report.points[0].summary = Summary::default();
        assert!(!render(&report, false).contains("NaN"));
    }
}
