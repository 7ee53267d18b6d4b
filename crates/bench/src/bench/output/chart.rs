//! [`Chart`]: values over categories, drawn as SVG.
//!
//! A chart needs no script and no style sheet. It has no background, and its colours are of medium
//! lightness, readable on white and on black. Series also differ in their dashes. Every mark has a
//! title for pointers and screen readers.

use std::fmt::Write;

use crate::bench::unit::{convert, human};

/// Values over categories, one series for each peer.
pub(super) struct Chart {
    /// The title, unique in a report.
    pub(super) title: String,
    /// The label of the categories.
    pub(super) x: &'static str,
    pub(super) categories: Vec<String>,
    /// The label of the values.
    pub(super) y: String,
    pub(super) unit: String,
    pub(super) style: Style,
    pub(super) series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Bars,
    Lines,
}

pub(super) struct Series {
    pub(super) name: String,
    /// One for each category; `None` if not measured.
    pub(super) dots: Vec<Option<Dot>>,
}

/// A value and its interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dot {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The vertical scale and its ticks.
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<f64>,
}

impl Chart {
    /// The name of the chart's file.
    pub(super) fn file_name(&self) -> String {
        format!("{}.svg", self.slug())
    }

    /// The chart as SVG.
    pub(super) fn render(&self) -> String {
        let (slug, title) = (self.slug(), escape(&self.title));
        let about = escape(&format!("{} over {}, {}", self.y, self.x, self.names().join(", ")));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{slug}-t {slug}-d\" font-family=\"sans-serif\" font-size=\"12\" \
             fill=\"{INK}\">\n<title id=\"{slug}-t\">{title}</title>\n\
             <desc id=\"{slug}-d\">{about}</desc>\n"
        );
        let bold = "font-size=\"14\" font-weight=\"bold\"";
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"20\" {bold}>{title}</text>");
        let scale = Scale::of(self);
        self.axes(&scale, &mut svg);
        for (place, series) in self.series.iter().enumerate() {
            match self.style {
                Style::Bars => self.bars(place, series, &scale, &mut svg),
                Style::Lines => self.line(place, series, &scale, &mut svg),
            }
            self.legend(place, series, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn names(&self) -> Vec<&str> {
        self.series.iter().map(|series| series.name.as_str()).collect()
    }

    fn slug(&self) -> String {
        let letters = self.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        let words: String = letters.flat_map(char::to_lowercase).collect();
        words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }

    fn axes(&self, scale: &Scale, svg: &mut String) {
        let unit = self.axis_unit(scale);
        for &tick in &scale.ticks {
            let y = scale.y(tick);
            let text = convert(tick, &self.unit, &unit).unwrap_or(tick);
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{INK}\" \
                 stroke-opacity=\"0.25\"/>\n\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 8.0,
                y + 4.0,
                plain(text),
            );
        }
        for (place, category) in self.categories.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                self.x(place),
                BOTTOM + 18.0,
                escape(category),
            );
        }
        let middle = f64::midpoint(LEFT, RIGHT);
        let (x, y) = (escape(self.x), escape(&format!("{} [{unit}]", self.y)));
        let _ = write!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\n\
             <text x=\"{LEFT}\" y=\"40\">{y}</text>\n",
            BOTTOM + 38.0,
        );
    }

    fn line(&self, place: usize, series: &Series, scale: &Scale, svg: &mut String) {
        let (colour, dash) = style_of(place);
        let dots: Vec<(usize, Dot)> = present(series).collect();
        let path: Vec<String> = dots
            .iter()
            .map(|(at, dot)| format!("{:.1},{:.1}", self.x(*at), scale.y(dot.value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>",
            path.join(" "),
        );
        for (at, dot) in dots {
            let (x, y) = (self.x(at), scale.y(dot.value));
            whisker(x, &dot, scale, colour, svg);
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{}</title>\
                 </circle>",
                self.mark_title(series, at, &dot),
            );
        }
    }

    fn bars(&self, place: usize, series: &Series, scale: &Scale, svg: &mut String) {
        let (colour, _) = style_of(place);
        let width = 0.8 * self.room() / self.series.len().max(1) as f64;
        for (at, dot) in present(series) {
            let left = self.x(at) - 0.4 * self.room() + place as f64 * width;
            let (top, bottom) = (scale.y(dot.value), scale.y(scale.low));
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 fill=\"{colour}\"><title>{}</title></rect>",
                0.92 * width,
                bottom - top,
                self.mark_title(series, at, &dot),
            );
            whisker(left + 0.46 * width, &dot, scale, INK, svg);
        }
    }

    fn legend(&self, place: usize, series: &Series, svg: &mut String) {
        let (colour, dash) = style_of(place);
        let (x, y) = (RIGHT + 16.0, TOP + 8.0 + 20.0 * place as f64);
        let (width, dash) = match self.style {
            Style::Bars => (10, ""),
            Style::Lines => (2, dash),
        };
        let _ = write!(
            svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\" stroke-dasharray=\"{dash}\"/>\n\
             <text x=\"{}\" y=\"{}\">{}</text>\n",
            x + 24.0,
            x + 30.0,
            y + 4.0,
            escape(&series.name),
        );
    }

    /// The title of a mark.
    fn mark_title(&self, series: &Series, at: usize, dot: &Dot) -> String {
        let value = |value: f64| human(value, &self.unit);
        let interval = match dot.low < dot.high {
            true => format!(" ({} to {})", value(dot.low), value(dot.high)),
            false => String::new(),
        };
        escape(&format!("{}, {}: {}{interval}", series.name, self.categories[at], value(dot.value)))
    }

    /// The horizontal centre of this category.
    fn x(&self, place: usize) -> f64 {
        LEFT + self.room() * (place as f64 + 0.5)
    }

    /// The width of a category.
    fn room(&self) -> f64 {
        (RIGHT - LEFT) / self.categories.len().max(1) as f64
    }

    /// The unit with the prefix that suits the numbers at the axis.
    fn axis_unit(&self, scale: &Scale) -> String {
        let typical = if scale.is_log { scale.low } else { scale.high };
        let text = human(typical, &self.unit);
        text.split_once(' ').map_or_else(String::new, |(_, unit)| unit.to_owned())
    }
}

impl Scale {
    /// Linear from 0, or logarithmic for lines whose values differ by more than [`WIDE`].
    fn of(chart: &Chart) -> Self {
        let dots = || chart.series.iter().flat_map(present).map(|(_, dot)| dot);
        let highest = dots().map(|dot| dot.high.max(dot.value)).fold(0.0, f64::max);
        let lowest = dots().map(|dot| dot.low.min(dot.value)).fold(f64::INFINITY, f64::min);
        if chart.style == Style::Lines && lowest > 0.0 && highest > WIDE * lowest {
            return Self::logarithmic(lowest, highest);
        }
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let step = round_step(highest / 5.0);
        let count = (1..=12).find(|&count| f64::from(count) * step >= highest).unwrap_or(12);
        let ticks: Vec<f64> = (0..=count).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high: f64::from(count) * step, is_log: false, ticks }
    }

    fn logarithmic(lowest: f64, highest: f64) -> Self {
        let (low, high) = (lowest.log10().floor(), highest.log10().ceil());
        let decades = std::iter::successors(Some(low), |decade| Some(decade + 1.0));
        let ticks = decades.take_while(|&decade| decade <= high).map(|decade| 10_f64.powf(decade));
        let ticks = ticks.collect();
        Self { low: 10_f64.powf(low), high: 10_f64.powf(high), is_log: true, ticks }
    }

    fn y(&self, value: f64) -> f64 {
        let part = match self.is_log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        };
        BOTTOM - (BOTTOM - TOP) * part.clamp(0.0, 1.0)
    }
}

/// The smallest 1, 2 or 5 times a power of 10 that is at least `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * decade);
    steps.into_iter().find(|&step| step >= least).unwrap_or(10.0 * decade)
}

fn present(series: &Series) -> impl Iterator<Item = (usize, Dot)> {
    series.dots.iter().enumerate().filter_map(|(at, dot)| Some((at, (*dot)?)))
}

/// Draws the interval as a line through its dot.
fn whisker(x: f64, dot: &Dot, scale: &Scale, colour: &str, svg: &mut String) {
    let (top, bottom) = (scale.y(dot.high), scale.y(dot.low));
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>",
    );
}

/// The colour and dashes of the series at this index.
fn style_of(place: usize) -> (&'static str, &'static str) {
    (COLOURS[place % COLOURS.len()], DASHES[place / 2 % DASHES.len()])
}

/// A number without trailing zeros.
fn plain(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text escaped for XML and HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 340.0;

/// The sides of the plot area.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 290.0;

/// The ratio of the largest to the smallest value above which the scale is logarithmic.
const WIDE: f64 = 50.0;

/// The colour of text and lines: a contrast of 4.5 to both black and white.
const INK: &str = "#767676";

const COLOURS: [&str; 8] =
    ["#2f7fd1", "#d9662b", "#2a9d6a", "#b855a0", "#a6821b", "#7a6fd6", "#3f97a6", "#c74a5a"];

const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], style: Style) -> Chart {
        let dot = |&value: &f64| Some(Dot { value, low: 0.9 * value, high: 1.1 * value });
        Chart {
            title: "A < B".to_owned(),
            x: "frame size",
            categories: values.iter().map(f64::to_string).collect(),
            y: "mrr".to_owned(),
            unit: "frames/s".to_owned(),
            style,
            series: vec![Series {
                name: "ours & co".to_owned(),
                dots: values.iter().map(dot).collect(),
            }],
        }
    }

    #[test]
    fn the_chart_and_every_mark_have_titles() {
        for (style, mark) in [(Style::Bars, "<rect"), (Style::Lines, "<circle")] {
            let svg = chart(&[1e6, 2e6], style).render();
            assert_eq!(svg.matches(mark).count(), 2);
            assert_eq!(svg.matches("<title").count(), 3);
            assert!(svg.contains("A &lt; B") && !svg.contains("A < B"), "{svg}");
            assert!(
                svg.contains("ours &amp; co, 1000000: 1.00 Mframes/s (900 kframes/s to"),
                "{svg}"
            );
            assert!(svg.contains("mrr [Mframes/s]"), "{svg}");
        }
    }

    #[test]
    fn a_series_may_lack_values_and_a_chart_may_be_empty() {
        let mut chart = chart(&[1.0, 2.0], Style::Lines);
        chart.series[0].dots[0] = None;
        assert_eq!(chart.render().matches("<circle").count(), 1);
        chart.series[0].dots[1] = None;
        let svg = chart.render();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn the_scale_has_round_ticks_and_covers_all_values() {
        for highest in [0.0, 0.013, 1.0, 4.9, 5.0, 123.0, 1.25e6, 7.7e10] {
            let scale = Scale::of(&chart(&[highest / 2.0, highest], Style::Bars));
            assert!(scale.high >= 1.1 * highest && scale.high > 0.0, "{highest}");
            assert!((2..=8).contains(&scale.ticks.len()), "{highest}: {:?}", scale.ticks);
            assert!(scale.y(highest) >= TOP && scale.y(0.0) == BOTTOM);
        }
    }

    #[test]
    fn values_far_apart_are_drawn_on_a_logarithmic_scale() {
        let scale = Scale::of(&chart(&[20.0, 3000.0], Style::Lines));
        assert_eq!(scale.ticks, [10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!((scale.y(10.0), scale.y(10_000.0)), (BOTTOM, TOP));
        assert!(!Scale::of(&chart(&[0.0, 3000.0], Style::Lines)).is_log);
    }

    #[test]
    fn the_name_of_a_file_is_made_of_letters_and_digits() {
        assert_eq!(chart(&[1.0], Style::Bars).file_name(), "a-b.svg");
    }
}
