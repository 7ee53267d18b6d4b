use serde_json::Value;

use super::super::chart::Width;
use super::super::chart::tests::{is_logarithmic, read_back};
use super::*;
use crate::bench::fixtures;

fn charts(name: &str) -> Vec<Chart> {
    let all = of(&fixtures::report());
    all.into_iter().filter(|chart| chart.name.contains(name)).collect()
}

fn categories(chart: &Chart) -> Vec<&str> {
    chart.categories.iter().map(|category| category.name.as_str()).collect()
}

/// The points of a report as its JSON has them.
pub(in super::super) fn points(report: &Report) -> Vec<Value> {
    let report = serde_json::to_value(report).unwrap();
    report["points"].as_array().unwrap().clone()
}

/// The value that the JSON has for this dot of a chart.
pub(in super::super) fn in_json(
    points: &[Value],
    chart: &Chart,
    series: &str,
    category: &str,
) -> f64 {
    let of_chart = |point: &&Value| {
        let key = &point["key"];
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        let number = |name: &str| key[name].as_u64().map(|number| number.to_string());
        let has = |part: &str| format!("-{}-", chart.name).contains(&format!("-{part}-"));
        let kind = &chart.name;
        if kind.starts_with("ratio-by-traffic-") {
            let size = number("size").unwrap_or_else(|| "64".to_owned());
            let names = match text("traffic").as_str() {
                "unicast" => vec![size],
                other if size == "64" => vec![other.to_owned()],
                other => vec![format!("{other} {size}")],
            };
            return has(&text("measure"))
                && has(&text("path"))
                && has(&text("mode"))
                && has(&format!("{}-subs", number("subs").unwrap()))
                && text("peer") == series
                && names.contains(&category.to_owned());
        }
        let by_subs =
            kind.contains("by-sub-interfaces") || kind.starts_with("flood-amplification-wire");
        let by_modes = kind.contains("by-sub-interfaces-and-mode");
        let measure = kind.starts_with("flood") || has(&text("measure"));
        measure
            && has(&text("path"))
            && has(&text("traffic"))
            && if by_modes { text("mode") == series } else { text("peer") == series }
            && (by_modes || kind.contains("by-mode") || has(&text("mode")))
            && (!by_subs || kind.contains("by-mode") || number("subs").as_deref() == Some(category))
            && (!kind.contains("by-size") || number("size").as_deref() == Some(category))
            && (!kind.contains("by-mode") || text("mode") == category)
    };
    let found: Vec<&Value> = points.iter().filter(of_chart).collect();
    let [point] = found[..] else {
        panic!("{}, {series}, {category}: {} points", chart.name, found.len());
    };
    let figure = match &chart.name {
        name if name.starts_with("flood") => &point["extra"]["copies"],
        name if name.starts_with("percentiles") => &point["extra"][category],
        name if name.starts_with("ratio") => &point["ratio"]["value"],
        _ => &point["summary"]["median"],
    };
    figure.as_f64().unwrap()
}

/// What a unit at an axis stands for, relative to the unit of the points, in a chart whose labels
/// begin with `before`.
pub(in super::super) fn prefix(chart: &str, before: char, unit: &str) -> f64 {
    let label = format!("{before}{} [", words::quantity(unit));
    let Some((_, rest)) = chart.split_once(&label) else {
        return 1.0;
    };
    let shown = rest.split(']').next().unwrap().replace('µ', "u").replace("\\textmu{}", "u");
    crate::bench::unit::convert(1.0, &shown, unit).unwrap()
}

#[test]
fn every_chart_shows_the_numbers_of_the_json() {
    let mut kinds = compared_with_json(&fixtures::report());
    let mut by_mode = fixtures::report();
    by_mode.points.retain(|point| point.key.traffic == "broadcast" && point.key.subs == 8);
    kinds.extend(compared_with_json(&by_mode));
    for kind in [
        "cost-by-sub",
        "flood-amplification-by",
        "flood-amplification-wire",
        "mrr-by-size",
        "mrr-by-sub",
        "percentiles-wire-to",
        "ratio-by-mode",
        "ratio-by-traffic",
        "throughput-by-mode",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
}

/// Compares each chart of the report with its JSON, and returns the beginnings of their names.
fn compared_with_json(report: &Report) -> Vec<String> {
    let points = points(report);
    let mut kinds = Vec::new();
    for chart in of(report) {
        let dots = chart.series.iter().flat_map(|series| {
            let dots = chart.categories.iter().zip(&series.dots);
            dots.filter(|(_, dot)| dot.is_some()).map(|(it, _)| (&series.name, &it.name))
        });
        let expected: Vec<f64> =
            dots.map(|(series, it)| in_json(&points, &chart, series, it)).collect();
        let highest = expected.iter().copied().fold(0.0, f64::max);
        for width in [Width::Wide, Width::Narrow] {
            let svg = chart.render(width);
            let (shown, one) = (read_back(&svg), prefix(&svg, '>', &chart.unit));
            assert_eq!(shown.len(), expected.len(), "{}", chart.name);
            for (shown, expected) in shown.into_iter().zip(&expected) {
                // A hundredth of a pixel, or of a decade.
                let is_log = is_logarithmic(&svg);
                let tolerance = if is_log { 2e-3 * expected } else { 1e-3 * highest };
                let found = shown * one;
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{}: {found} {expected}",
                    chart.name
                );
            }
        }
        kinds.push(chart.name.split('-').take(3).collect::<Vec<_>>().join("-"));
    }
    kinds
}

#[test]
fn the_axis_of_a_flood_is_in_copies() {
    let chart = charts("flood-amplification-wire").remove(0);
    let svg = chart.render(Width::Wide);
    assert!(
        !svg.contains("kcopies") && svg.contains(">copies received for each frame sent"),
        "{svg}"
    );
    assert_eq!(chart.series[0].dots[3].unwrap().value, 1024.0);
    assert!(svg.contains("1024: 1024.0 copies<"), "{svg}");
}

#[test]
fn titles_are_words_and_have_no_unit() {
    for chart in of(&fixtures::report()) {
        let heading = format!("{} {}", chart.title, chart.subtitle);
        for raw in ["mrr", "wire-to-sub", "sub-to-sub", "subs", "frames/s", " us", " B", "bit/s"] {
            assert!(!heading.contains(raw), "{heading}");
        }
        assert!(chart.title.starts_with(char::is_uppercase), "{heading}");
    }
}

#[test]
fn series_of_one_chart_have_looks_of_their_own() {
    let mut seen: BTreeMap<String, Look> = BTreeMap::new();
    for chart in of(&fixtures::report()) {
        for (at, series) in chart.series.iter().enumerate() {
            let others = &chart.series[at + 1..];
            assert!(others.iter().all(|other| other.look != series.look), "{}", chart.name);
            if !chart.name.contains("and-mode") {
                let look = *seen.entry(series.name.clone()).or_insert(series.look);
                assert_eq!(look, series.look, "a peer looks the same in each chart");
            }
        }
    }
    // Without the first peer, the others look as before.
    let mut report = fixtures::report();
    report.points.retain(|point| point.key.peer != "umacvlan");
    for series in of(&report).iter().flat_map(|chart| &chart.series) {
        assert_eq!(series.look, Look::of_peer(&series.name));
    }
}

#[test]
fn throughput_is_drawn_by_size_with_all_peers() {
    let chart = charts("mrr-by-size-wire-to-sub-bridge").remove(0);
    assert_eq!(categories(&chart), ["64", "128", "256", "512", "1024", "1280", "1518"]);
    let names: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, fixtures::PEERS);
    assert_eq!(chart.title, "Frames received at full load by frame size");
    assert_eq!(
        chart.subtitle,
        "wire to sub-interface, mode bridge, UDP datagrams, 1 sub-interface"
    );
}

#[test]
fn points_without_a_size_are_drawn_by_mode() {
    let chart = charts("throughput-by-mode-sub-to-sub").remove(0);
    assert_eq!(categories(&chart), ["bridge", "private", "vepa"]);
    assert_eq!(chart.style, Style::Marks);
}

#[test]
fn percentiles_are_in_the_order_of_their_numbers() {
    let chart = charts("percentiles-wire-to-sub").remove(0);
    assert_eq!(categories(&chart), ["p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    assert_eq!(chart.title, "Latency: percentiles");
}

#[test]
fn cost_is_drawn_over_the_number_of_sub_interfaces_for_each_mode() {
    let chart = charts("cost-by-sub-interfaces-and-mode-umacvlan-decision").remove(0);
    assert_eq!(categories(&chart), ["1", "8", "64", "1024", "65536"]);
    let modes: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(modes, ["bridge", "passthru", "private", "source", "vepa"]);
    assert!(chart.is_numeric());
}

#[test]
fn ratios_have_a_line_at_one_and_the_intervals_of_the_report() {
    let chart = charts("ratio-by-traffic-mrr-wire-to-sub-bridge-1").remove(0);
    let sizes = [128, 256, 512, 1024, 1280, 1518].map(|size| format!("udp {size}"));
    let wanted: Vec<&str> =
        ["udp"].into_iter().chain(sizes.iter().map(String::as_str)).chain(["broadcast"]).collect();
    assert_eq!(categories(&chart), wanted);
    assert_eq!(chart.title, "Frames received at full load relative to kernel macvlan");
    let end = "mode bridge, 1 sub-interface; above 1 is better";
    assert!(chart.subtitle.ends_with(end), "{}", chart.subtitle);
    let names: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["umacvlan"], "only ours have a ratio");

    let json = points(&fixtures::report());
    let ratio = &json[0]["ratio"];
    let (dot, end) = (chart.series[0].dots[0].unwrap(), |name: &str| ratio[name].as_f64().unwrap());
    assert_eq!((dot.low, dot.high), (end("low"), end("high")));
    assert_eq!(dot.interval, Interval::Confidence);
    let svg = chart.render(Width::Wide);
    assert!(svg.contains(">ratio to kernel macvlan<"), "{svg}");
    assert!(svg.contains(&format!("umacvlan, udp: 0.{}", &format!("{:.3}", dot.value)[2..])));
    let place =
        |line: &str| line.split_once(" y1=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let line = svg.lines().find(|line| line.contains("reference")).map(place).unwrap();
    // The ticks are in front of it, and one of them is at 1.
    let ticks: Vec<&str> = svg.lines().filter(|line| line.contains("class=\"tick\"")).collect();
    let one = ticks.iter().position(|line| line.contains(">1<")).unwrap();
    let grids: Vec<&str> = svg.lines().filter(|line| line.contains("stroke-opacity")).collect();
    assert_eq!(line, place(grids[one]));
}

#[test]
fn charts_of_other_units_have_no_line_to_compare_with() {
    for chart in of(&fixtures::report()) {
        let is_ratio = chart.name.starts_with("ratio");
        assert_eq!(chart.render(Width::Wide).contains("reference"), is_ratio, "{}", chart.name);
    }
}

#[test]
fn a_ratio_to_another_peer_is_in_no_chart() {
    let mut report = fixtures::report();
    report.points.iter_mut().filter_map(|point| point.ratio.as_mut()).for_each(|ratio| {
        ratio.to = "bridge".to_owned();
    });
    assert!(!of(&report).iter().any(|chart| chart.name.starts_with("ratio")));
}

#[test]
fn a_line_of_one_dot_is_not_drawn() {
    assert!(charts("throughput-by-sub-interfaces").is_empty());
    assert!(charts("mrr-by-mode-wire-to-sub-broadcast").is_empty());
}

#[test]
fn amplification_is_drawn_by_mode_where_the_number_of_sub_interfaces_is_one() {
    let mut report = fixtures::report();
    report.points.retain(|point| point.key.traffic == "broadcast" && point.key.subs == 8);
    let chart = of(&report).remove(0);
    assert_eq!(chart.name, "flood-amplification-by-mode-wire-to-sub-broadcast-64-b");
    assert_eq!((chart.style, chart.series.len()), (Style::Marks, fixtures::PEERS.len()));
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
