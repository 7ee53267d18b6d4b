//! A chart as a figure for pgfplots, with the colours, marks and dashes that it has as SVG.

use std::fmt::Write;

use super::super::chart::{Chart, Dot, Scale, Series, Style, present, with_room};
use super::{Font, Size, caption, escape};
use crate::bench::look::{Look, Marker};
use crate::bench::summary::Interval;

/// The figure: a `tikzpicture`, to be read by `\input`.
pub(super) fn render(chart: &Chart, size: Size, font: Font) -> String {
    let scale = Scale::of(chart);
    let places = Places::of(chart, size);
    let mut text = format!("% {}\n{NEEDS}\\begin{{tikzpicture}}\n", comment(&heading(chart)));
    for (number, series) in chart.series.iter().enumerate() {
        let _ =
            writeln!(text, "\\definecolor{{series{number}}}{{HTML}}{{{:06X}}}", series.look.light);
    }
    axis(chart, &scale, &places, (size, font), &mut text);
    if let Some(value) = chart.reference() {
        let (Places { first, last, .. }, value) = (&places, value * scale.factor);
        let _ = writeln!(
            text,
            "\\addplot[forget plot, mark=none, black, line width=0.6pt] coordinates \
             {{({first},{value}) ({last},{value})}};"
        );
    }
    for (number, series) in chart.series.iter().enumerate() {
        plot(chart, number, series, (&scale, &places), &mut text);
    }
    text.push_str("\\end{axis}\n\\end{tikzpicture}\n");
    text
}

/// A document with all figures, which are beside it.
pub(super) fn document(charts: &[Chart], begin: Option<&str>) -> String {
    let mut text = "\\documentclass{article}\n\\usepackage[margin=2cm]{geometry}\n\
                    \\usepackage{pgfplots}\n\\pgfplotsset{compat=1.16}\n\\begin{document}\n"
        .to_owned();
    if charts.is_empty() {
        text.push_str("The report has no charts: each needs at least two points.\n");
    }
    for chart in charts {
        let foot = chart.foot(&Scale::of(chart));
        let words = caption(begin, format!("{}. {foot}", heading(chart)).trim_end());
        let name = &chart.name;
        // One after the other, as many on a page as there is room for.
        let _ = write!(
            text,
            "\\begin{{figure}}[htbp]\n\\centering\n\\input{{{name}}}\n\\caption{{{words}}}\n\
             \\label{{fig:{name}}}\n\\end{{figure}}\n\\clearpage\n"
        );
    }
    text.push_str("\\end{document}\n");
    text
}

fn heading(chart: &Chart) -> String {
    format!("{}: {}", chart.title, chart.subtitle)
}

/// A text in one line, which a comment of TeX ends with.
fn comment(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const NEEDS: &str = "% Needs \\usepackage{pgfplots} and \\pgfplotsset{compat=1.16}.\n";

/// Where the categories are on the horizontal axis.
struct Places {
    /// One for each category.
    at: Vec<f64>,
    first: f64,
    last: f64,
    is_log: bool,
    /// The distance of the marks of two series, in points.
    step: f64,
    /// The width of the axis, in points.
    width: f64,
}

impl Places {
    fn of(chart: &Chart, size: Size) -> Self {
        let count = chart.categories.len();
        // What pgfplots leaves for labels.
        let width = (size.width * POINTS - 45.0).max(10.0);
        let numbers: Vec<f64> = chart.categories.iter().filter_map(|it| it.number).collect();
        let (at, first, last, is_log) = match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) if chart.is_numeric() => {
                let beyond = (last / first).powf(MARGIN);
                (numbers.clone(), first / beyond, last * beyond, true)
            }
            _ => ((0..count).map(|at| at as f64).collect(), -0.5, count as f64 - 0.5, false),
        };
        let mut places = Self { at, first, last, is_log, step: 0.0, width };
        let points = places.points();
        let gaps = points.windows(2).map(|two| two[1] - two[0]);
        let widest = match chart.style {
            Style::Lines => 3.0,
            Style::Marks => 14.0,
        };
        let gap = gaps.fold(width, f64::min);
        places.step = (0.6 * gap / chart.series.len().max(1) as f64).min(widest);
        places
    }

    /// The distance of each category from the left end, in points.
    fn points(&self) -> Vec<f64> {
        let part = |at: f64| match self.is_log {
            true => (at / self.first).ln() / (self.last / self.first).ln(),
            false => (at - self.first) / (self.last - self.first),
        };
        self.at.iter().map(|at| part(*at) * self.width).collect()
    }
}

fn axis(
    chart: &Chart,
    scale: &Scale,
    places: &Places,
    (size, font): (Size, Font),
    text: &mut String,
) {
    let names: Vec<&str> = chart.categories.iter().map(|it| it.name.as_str()).collect();
    let mut shown = with_room(&names, &places.points(), 0.55 * font.points());
    shown.sort_unstable();
    let ticks: Vec<String> = shown.iter().map(|at| places.at[*at].to_string()).collect();
    let labels: Vec<String> =
        shown.iter().map(|at| format!("{{{}}}", escape(names[*at]))).collect();
    let (low, high) = scale.ends();
    let values: Vec<String> =
        scale.ticks.iter().map(|tick| (tick * scale.factor).to_string()).collect();
    let value_labels: Vec<String> =
        scale.ticks.iter().map(|tick| format!("{{{}}}", scale.tick(*tick))).collect();
    let mode = |is_log| if is_log { "log" } else { "linear" };
    let _ = write!(
        text,
        "\\begin{{axis}}[\n  width={}cm, height={}cm, font={},\n  \
         xlabel={{{}}}, xmode={}, xmin={}, xmax={},\n  xtick={{{}}}, xticklabels={{{}}},\n  \
         xticklabel style={{text height=1.5ex, text depth=0.25ex}},\n  ylabel={{{}}}, ymode={}, ymin={}, ymax={},\n  ytick={{{}}}, yticklabels={{{}}},\n  \
         xminorticks=false, yminorticks=false, ymajorgrids, grid style={{black!15}}, scaled ticks=false,\n  \
         axis x line*=bottom, axis y line*=left, mark size=2pt,\n  legend columns={}, legend cell align=left,\n  \
         legend style={{at={{(0.5,-0.25)}}, anchor=north, draw=none, font={}}},\n]\n",
        size.width,
        size.height,
        font.command(),
        escape(&chart.x_label()),
        mode(places.is_log),
        places.first,
        places.last,
        ticks.join(","),
        labels.join(","),
        escape(&scale.label(chart)),
        mode(scale.is_log),
        low * scale.factor,
        high * scale.factor,
        values.join(","),
        value_labels.join(","),
        // As many as there is room for, beside each other.
        (size.width / 4.0).floor().clamp(1.0, 4.0),
        font.command(),
    );
}

/// The marks and the line of a series, and its intervals.
fn plot(
    chart: &Chart,
    number: usize,
    series: &Series,
    (scale, places): (&Scale, &Places),
    text: &mut String,
) {
    let shift = places.step * (number as f64 - 0.5 * (chart.series.len() as f64 - 1.0));
    let colour = format!("series{number}");
    let look = format!("color={colour}, xshift={shift:.2}pt");
    // The mark in the legend is not shifted.
    let legend = format!("legend image post style={{xshift={:.2}pt}}", -shift);
    let line = match chart.style {
        Style::Lines => format!("line width=0.8pt, {}", dashes(series.look)),
        Style::Marks => "only marks".to_owned(),
    };
    let dots: Vec<(f64, Dot)> = present(series).map(|(at, dot)| (places.at[at], dot)).collect();
    let coordinates: Vec<String> =
        dots.iter().map(|(x, dot)| format!("({x},{})", dot.value * scale.factor)).collect();
    let _ = write!(
        text,
        "\\addplot[{look}, {line}, {}, {legend}] coordinates {{{}}};\n\\addlegendentry{{{}}}\n",
        mark(series.look.marker),
        coordinates.join(" "),
        escape(series.label()),
    );
    for end in [End::High, End::Low] {
        for interval in [Interval::Confidence, Interval::Range] {
            for is_cut in [false, true] {
                let kind = Whiskers { end, interval, is_cut };
                kind.draw((&look, &colour), &dots, scale, text);
            }
        }
    }
}

/// An end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    High,
    Low,
}

/// The ends of intervals that look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Whiskers {
    end: End,
    interval: Interval,
    /// True if the end is beyond the axis.
    is_cut: bool,
}

impl Whiskers {
    /// Draws those of these dots, if there are any.
    fn draw(
        self,
        (look, colour): (&str, &str),
        dots: &[(f64, Dot)],
        scale: &Scale,
        text: &mut String,
    ) {
        let found = dots.iter().filter_map(|(x, dot)| Some((x, dot, self.length(dot, scale)?)));
        let found: Vec<String> = found
            .map(|(x, dot, length)| format!("({x},{}) +- (0,{length})", dot.value * scale.factor))
            .collect();
        if found.is_empty() {
            return;
        }
        let direction = match self.end {
            End::High => "plus",
            End::Low => "minus",
        };
        let style = match self.interval {
            Interval::Range => "densely dotted",
            Interval::Confidence | Interval::None => "solid",
        };
        // pgfplots turns these marks, each towards the end that it is at.
        let mark = match (self.is_cut, self.interval) {
            (true, _) => "triangle*, error mark options={solid, rotate=270, mark size=2pt",
            (false, Interval::Range) => "none, error mark options={",
            (false, _) => "-, error mark options={solid, rotate=90, mark size=2.5pt",
        };
        let _ = writeln!(
            text,
            "\\addplot[forget plot, mark=none, {look}, draw=none, error bars/.cd, y dir={direction}, \
             y explicit, error bar style={{draw={colour}, {style}, line width=0.6pt}}, \
             error mark={mark}, draw={colour}, fill={colour}, line width=0.6pt}}] coordinates {{{}}};",
            found.join(" "),
        );
    }

    /// The distance of this end from the value, as far as the axis reaches; `None` if the dot has no
    /// such end.
    fn length(self, dot: &Dot, scale: &Scale) -> Option<f64> {
        let (low, high) = dot.interval.ends(dot.low, dot.high)?;
        let (bottom, top) = scale.ends();
        let end = match self.end {
            End::High => high,
            End::Low => low,
        };
        let is_cut = !(bottom * (1.0 - 1e-9)..=top * (1.0 + 1e-9)).contains(&end);
        let length = (end.clamp(bottom, top) - dot.value).abs() * scale.factor;
        (dot.interval == self.interval && is_cut == self.is_cut).then_some(length)
    }
}

/// The options of a mark.
fn mark(marker: Marker) -> String {
    let (name, more) = match marker {
        Marker::Circle => ("*", ""),
        Marker::Cross => ("x", ""),
        Marker::Diamond => ("diamond*", ""),
        Marker::DownTriangle => ("triangle*", ", rotate=180"),
        Marker::HollowCircle => ("*", HOLLOW),
        Marker::HollowSquare => ("square*", HOLLOW),
        Marker::HollowTriangle => ("triangle*", HOLLOW),
        Marker::Plus => ("+", ""),
        Marker::Square => ("square*", ""),
        Marker::Star => ("asterisk", ""),
        Marker::Triangle => ("triangle*", ""),
    };
    format!("mark={name}, mark options={{solid{more}}}")
}

/// Lengths of dashes and gaps, which are pixels.
fn dashes(look: Look) -> String {
    let half = |length: &u8| f64::from(*length) / 2.0;
    let pairs = look.dashes.chunks_exact(2);
    let pattern: Vec<String> =
        pairs.map(|pair| format!("on {}pt off {}pt", half(&pair[0]), half(&pair[1]))).collect();
    match pattern.is_empty() {
        true => "solid".to_owned(),
        false => format!("dash pattern={}", pattern.join(" ")),
    }
}

const HOLLOW: &str = ", fill=white";

/// Points in a centimetre.
const POINTS: f64 = 72.27 / 2.54;

/// How far the axis goes beyond the first and the last number, as a part of their distance.
const MARGIN: f64 = 0.06;
