//! Charts, and reading back what they show.

use super::*;

pub(in super::super) fn chart(values: &[f64], style: Style) -> Chart {
    let interval = Interval::Confidence;
    let dot = |&value: &f64| Some(Dot { value, low: 0.9 * value, high: 1.1 * value, interval });
    let category = |value: &f64| Category { name: value.to_string(), number: None };
    Chart {
        name: "a-b".to_owned(),
        title: "A < B".to_owned(),
        subtitle: "of C".to_owned(),
        x: "frame size",
        categories: values.iter().map(category).collect(),
        unit: "frames/s".to_owned(),
        style,
        series: vec![Series {
            name: "ours & co".to_owned(),
            look: Look::of_peer("ours & co"),
            dots: values.iter().map(dot).collect(),
        }],
    }
}

/// True if the label of the vertical axis says so.
pub(in super::super) fn is_logarithmic(svg: &str) -> bool {
    let mut labels = svg.lines().filter(|line| line.starts_with("<text x=\"8\""));
    labels.any(|line| line.ends_with(", logarithmic</text>"))
}

/// The numbers at these places of a chart, as somebody reads them who has a ruler: from the texts at
/// the ticks, and the label of the axis.
pub(in super::super) fn read_back(svg: &str) -> Vec<f64> {
    let attribute = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let ticks: Vec<(f64, f64)> = svg
        .lines()
        .filter(|line| line.contains("class=\"tick\""))
        .map(|line| {
            let text = line.split_once('>').unwrap().1.split('<').next().unwrap();
            (attribute(line, "y") - 4.0, text.parse().unwrap())
        })
        .collect();
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let marks = svg.lines().filter(|line| line.contains("class=\"mark\""));
    let number = |line: &str| {
        let place = line.split_once("translate(").unwrap().1.split(')').next().unwrap();
        let y: f64 = place.split_once(' ').unwrap().1.parse().unwrap();
        let part = (y - first.0) / (last.0 - first.0);
        match is_logarithmic(svg) {
            true => first.1 * (last.1 / first.1).powf(part),
            false => first.1 + part * (last.1 - first.1),
        }
    };
    marks.map(number).collect()
}

#[test]
fn the_chart_and_every_mark_have_titles() {
    for style in [Style::Marks, Style::Lines] {
        for width in [Width::Wide, Width::Narrow] {
            let svg = chart(&[1e6, 2e6], style).render(width);
            assert_eq!(svg.matches("class=\"mark\"").count(), 2);
            assert_eq!(svg.matches("<title").count(), 3);
            assert!(svg.contains("A &lt; B") && !svg.contains("A < B"), "{svg}");
            let title = "ours &amp; co, 1000000: 1.00 Mframes/s (95 % interval 900 kframes/s to";
            assert!(svg.contains(title), "{svg}");
            assert!(svg.contains(">rate [Mframes/s]<"), "{svg}");
        }
    }
}

#[test]
fn a_series_may_lack_values_and_a_chart_may_be_empty() {
    let mut chart = chart(&[1.0, 2.0], Style::Lines);
    chart.series[0].dots[0] = None;
    assert_eq!(chart.render(Width::Wide).matches("class=\"mark\"").count(), 1);
    chart.series[0].dots[1] = None;
    let svg = chart.render(Width::Narrow);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn an_interval_is_drawn_as_what_it_is() {
    let with = |interval, high| {
        let mut chart = chart(&[1.0, 2.0], Style::Marks);
        for dot in chart.series[0].dots.iter_mut().flatten() {
            (dot.interval, dot.high) = (interval, high);
        }
        chart.render(Width::Wide)
    };
    let certain = with(Interval::Confidence, 2.2);
    assert!(certain.matches("class=\"whisker\"").count() == 2 && certain.contains("h14"));
    assert!(certain.contains("95 % intervals of the median") && !certain.contains("Arrows"));
    let range = with(Interval::Range, 2.2);
    assert!(range.contains("stroke-dasharray=\"2 2\"") && !range.contains("h14"), "{range}");
    assert!(range.contains("ranges of two to five trials"), "{range}");
    let none = with(Interval::None, 2.2);
    assert!(!none.contains("whisker") && !none.contains("interval"), "{none}");
    assert!(with(Interval::Confidence, 2e3).contains("Arrows: the interval is longer than drawn"));
}

#[test]
fn an_axis_says_how_its_places_are_spaced() {
    let mut chart = chart(&[1.0, 2.0, 8.0], Style::Lines);
    assert_eq!(chart.x_label(), "frame size, evenly spaced");
    for (category, number) in chart.categories.iter_mut().zip([1.0, 2.0, 8.0]) {
        category.number = Some(number);
    }
    assert_eq!(chart.x_label(), "frame size, logarithmic");
    let layout = layout::Layout::new(&chart, Width::Wide, "");
    let centres = layout.centres(&chart);
    let (near, far) = (centres[1] - centres[0], centres[2] - centres[1]);
    assert!((far / near - 2.0).abs() < 1e-9, "{centres:?}");
}

#[test]
fn marks_of_two_series_are_not_at_one_place() {
    let mut chart = chart(&[1.0, 2.0], Style::Marks);
    let other = Series {
        name: "kernel".to_owned(),
        look: Look::of_peer("kernel"),
        dots: chart.series[0].dots.clone(),
    };
    chart.series.push(other);
    for style in [Style::Marks, Style::Lines] {
        chart.style = style;
        let svg = chart.render(Width::Narrow);
        let mut places: Vec<&str> = svg.split("translate(").skip(1).collect();
        places.iter_mut().for_each(|place| *place = place.split(')').next().unwrap());
        let all = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), all);
    }
}
