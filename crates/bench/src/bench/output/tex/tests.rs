use std::fs;

use umacvlan_testkit::Scratch;

use super::super::charts::tests::{in_json, points, prefix};
use super::*;
use crate::bench::fixtures;
use crate::bench::summary::Interval;

const SIZE: Size = Size { width: 12.0, height: 7.0 };
const FONT: Font = Font::Footnotesize;

/// The rest of a text without what TeX takes as a command of this program's, or as an escaped
/// character. What is left must have no meaning for TeX.
fn is_harmless(escaped: &str) -> bool {
    let mut rest = escaped.to_owned();
    for word in ["textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater"]
        .into_iter()
        .chain(["textbar", "textmu"])
    {
        rest = rest.replace(&format!("\\{word}{{}}"), "");
    }
    rest = rest.replace("-{}-", "");
    for c in ['#', '$', '%', '&', '_', '{', '}'] {
        rest = rest.replace(&format!("\\{c}"), "");
    }
    !rest.contains(['\\', '#', '$', '%', '&', '_', '{', '}', '~', '^', '\n']) && rest.is_ascii()
}

/// True if every brace and every environment that is opened is closed, in order.
fn is_balanced(text: &str) -> bool {
    let mut depth = 0_i32;
    let text = text.replace("\\{", "").replace("\\}", "");
    let braces = text.chars().all(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth >= 0
    });
    let mut open = Vec::new();
    let environments = text.split('\\').skip(1).all(|command| {
        let name = |begin: &str| Some(command.strip_prefix(begin)?.split('}').next()?.to_owned());
        match (name("begin{"), name("end{")) {
            (Some(name), _) => open.push(name),
            (_, Some(name)) => return open.pop() == Some(name),
            _ => {}
        }
        true
    });
    braces && depth == 0 && environments && open.is_empty()
}

/// The second number of each pair in parentheses between these braces: the values of a plot.
fn values(coordinates: &str) -> Vec<f64> {
    let pairs = coordinates.split('(').skip(1).map(|pair| pair.split(')').next().unwrap());
    pairs.map(|pair| pair.split_once(',').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn every_figure_shows_the_numbers_of_the_json() {
    let report = fixtures::report();
    let json = points(&report);
    let charts = charts::of(&report);
    assert!(charts.len() > 5);
    for chart in &charts {
        let text = figure::render(chart, SIZE, FONT);
        assert!(is_balanced(&text), "{text}");
        let one = prefix(&text, '{', &chart.unit);
        let plots = text
            .lines()
            .filter(|line| line.starts_with("\\addplot[") && !line.contains("forget plot"));
        let shown: Vec<f64> = plots
            .flat_map(|line| values(line.split_once("coordinates").unwrap().1))
            .map(|value| value * one)
            .collect();
        let expected = chart.series.iter().flat_map(|series| {
            let dots = chart.categories.iter().zip(&series.dots);
            let dots = dots.filter(|(_, dot)| dot.is_some());
            dots.map(|(at, _)| in_json(&json, chart, &series.name, &at.name))
        });
        let expected: Vec<f64> = expected.collect();
        assert_eq!(shown.len(), expected.len(), "{}", chart.name);
        for (shown, expected) in shown.iter().zip(&expected) {
            assert!((shown - expected).abs() <= 1e-9 * expected, "{}: {text}", chart.name);
        }
        assert_eq!(text.matches("\\addlegendentry").count(), chart.series.len());
        for series in &chart.series {
            assert!(text.contains(&format!("{{HTML}}{{{:06X}}}", series.look.light)), "{text}");
        }
    }
    let document = figure::document(&charts, None);
    assert!(is_balanced(&document), "{document}");
    assert!(charts.iter().all(|chart| document.contains(&format!("\\input{{{}}}", chart.name))));
}

#[test]
fn a_figure_of_ratios_has_a_line_at_one() {
    for chart in charts::of(&fixtures::report()) {
        let text = figure::render(&chart, SIZE, FONT);
        let lines = text.lines().filter(|line| line.contains("mark=none, black"));
        let lines: Vec<Vec<f64>> =
            lines.map(|line| values(line.split_once("coordinates").unwrap().1)).collect();
        let wanted = if chart.name.starts_with("ratio") { vec![vec![1.0, 1.0]] } else { vec![] };
        assert_eq!(lines, wanted, "{}", chart.name);
    }
}

#[test]
fn an_interval_is_drawn_as_far_as_the_axis_reaches() {
    let mut chart = charts::of(&fixtures::report()).remove(0);
    let dot = chart.series[0].dots[0].as_mut().unwrap();
    (dot.high, dot.low, dot.interval) = (1e12, dot.value, Interval::Range);
    let text = figure::render(&chart, SIZE, FONT);
    let cut = text.lines().find(|line| line.contains("error mark=triangle*")).unwrap();
    assert!(cut.contains("y dir=plus") && cut.contains("densely dotted"), "{cut}");
    let top = super::super::chart::Scale::of(&chart);
    let length = (top.ends().1 - chart.series[0].dots[0].unwrap().value) * top.factor;
    assert!(cut.contains(&format!("+- (0,{length})")), "{cut}");
}

#[test]
fn every_table_has_the_medians_of_the_json() {
    let report = fixtures::report();
    let text = tables::render(&report, FONT, None);
    assert!(is_balanced(&text), "{text}");
    let mut found = 0;
    let mut heads: Vec<&str> = Vec::new();
    let mut path = "";
    for line in text.lines() {
        if line.starts_with("\\caption") {
            path = if line.contains("wire to sub") { "wire-to-sub" } else { path };
            path = if line.contains("between sub") { "sub-to-sub" } else { path };
            path = if line.contains("decision") { "decision" } else { path };
        }
        let Some(row) = line.strip_suffix(" \\\\") else {
            continue;
        };
        let cells: Vec<&str> = row.split(" & ").collect();
        if cells[0] == "mode" {
            heads = cells;
            continue;
        }
        assert_eq!(cells.len(), heads.len(), "{line}");
        // All points have one number of sub-interfaces where there is no column for it.
        let mut fixed = cells.clone();
        if heads[3] != "subs" {
            fixed.insert(3, "1");
        }
        let [mode, traffic, size, subs, measure, unit] = fixed[..6] else {
            panic!("{line}");
        };
        let peers = heads.iter().zip(&cells).skip(6 - usize::from(heads[3] != "subs"));
        for (peer, cell) in peers {
            let Ok(shown) = cell.trim_end_matches('*').parse::<f64>() else {
                continue;
            };
            let point = report.points.iter().find(|point| {
                let key = &point.key;
                let size_of = key.size.map(|size| size.to_string()).unwrap_or_default();
                let here = (&*key.path, &*key.mode, &*key.traffic, &*size_of);
                here == (path, mode, traffic, size)
                    && key.subs.to_string() == subs
                    && (&*key.measure, &*key.peer) == (measure, *peer)
            });
            let point = point.unwrap_or_else(|| panic!("{path}: {line}"));
            let shown_unit = unit.replace("\\textmu{}", "u");
            let one = crate::bench::unit::convert(1.0, &shown_unit, &point.unit).unwrap();
            let median = point.summary.median;
            assert!((shown * one - median).abs() <= 0.006 * median, "{line}: {median}");
            found += 1;
        }
    }
    assert_eq!(found, report.points.len());
    assert!(text.contains("Ratios are of umacvlan to kernel in the same rounds"), "{text}");
    assert!(text.contains("mrr: Frames received at full load."), "{text}");
}

#[test]
fn no_text_of_a_report_is_a_command_of_tex() {
    let evil = "\\input{/etc/passwd} #1 $x$ 5 % a&b_c ~^ {\n} <|> -- µ é \"";
    assert!(is_harmless(&escape(evil)), "{}", escape(evil));
    assert!(!is_harmless(evil) && !is_harmless("a_b") && !is_harmless("\\end"));
    let mut report = fixtures::report();
    for point in &mut report.points {
        let key = &mut point.key;
        (key.path, key.mode, key.peer) = (evil.to_owned(), evil.to_owned(), evil.to_owned());
        (key.measure, key.traffic) = (evil.to_owned(), evil.to_owned());
    }
    report.bench = evil.to_owned();
    report.environment.begun = evil.to_owned();
    let table = tables::render(&report, FONT, Some(evil));
    let lines = table.lines().filter(|line| !line.starts_with('%'));
    assert!(lines.clone().all(|line| !line.contains("\\input")), "{table}");
    assert!(is_balanced(&lines.collect::<Vec<_>>().join("\n")), "{table}");
    for chart in charts::of(&report) {
        let text = figure::render(&chart, SIZE, FONT);
        let lines = text.lines().filter(|line| !line.starts_with('%'));
        assert!(lines.clone().all(|line| !line.contains("\\input")), "{text}");
        assert!(is_balanced(&lines.collect::<Vec<_>>().join("\n")), "{text}");
    }
}

#[test]
fn long_tables_go_on_in_another_and_captions_begin_with_the_users_text() {
    let text = tables::render(&fixtures::report(), Font::Small, Some("50 % better"));
    assert!(text.contains("\\caption{50 \\% better: umacvlan bench path, "), "{text}");
    assert!(text.contains("\\small\n"), "{text}");
    let mut report = fixtures::report();
    let point = report.points[0].clone();
    report.points = (0..50)
        .map(|subs| {
            let mut point = point.clone();
            point.key.subs = subs;
            point
        })
        .collect();
    let text = tables::render(&report, FONT, None);
    assert_eq!(text.matches("\\begin{table}").count(), 2);
    assert_eq!(text.matches(", continued}").count(), 1);
}

#[test]
fn a_size_has_two_lengths_and_a_font_is_a_command() {
    assert_eq!("8.5x6".parse(), Ok(Size { width: 8.5, height: 6.0 }));
    for wrong in ["", "8.5", "8x", "x6", "3x6", "8x41", "8x-6", "nanx6", "8 x 6", "infxinf"] {
        assert!(wrong.parse::<Size>().is_err(), "{wrong}");
    }
    assert_eq!(Font::Scriptsize.command(), "\\scriptsize");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_before_anything_is_measured() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let args = TexArgs {
        pgfplots: Some(file.join("figures")),
        latex: None,
        tex_size: SIZE,
        tex_font: FONT,
        tex_caption: None,
    };
    assert!(format!("{:#}", args.check().unwrap_err()).contains("cannot make"));
    let folder = scratch.path().join("a/b");
    TexArgs { pgfplots: Some(folder.clone()), ..args }.check().unwrap();
    assert!(folder.is_dir());
}
