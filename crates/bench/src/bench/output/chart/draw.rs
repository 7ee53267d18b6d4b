//! Draws a chart as SVG.
//!
//! Colours are attributes for a light ground, which a style sheet for dark schemes overrides:
//! programs that know no media queries draw the light one.

use std::fmt::Write;

use super::layout::{LEGEND_TEXT, LETTER, LINE, Layout, SAMPLE, Width, with_room};
use super::marks::{is_outside, shape, whisker};
use super::scale::Scale;
use super::{Chart, Dot, RATIO, Series, Style, present};
use crate::bench::look::{DARK_GROUND, DARK_INK, LIGHT_GROUND, LIGHT_INK, Look};
use crate::bench::summary::Interval;
use crate::bench::unit::{digits, human};
use crate::bench::words;

impl Chart {
    /// The chart as SVG. Charts of both widths can be in one page.
    pub(in super::super) fn render(&self, width: Width) -> String {
        let scale = Scale::of(self);
        let layout = Layout::new(self, width, &self.foot(&scale));
        let id = match width {
            Width::Narrow => format!("{}-narrow", self.name),
            Width::Wide => self.name.clone(),
        };
        let mut svg = self.head(&id, &scale, &layout);
        self.heading(&scale, &layout, &mut svg);
        self.axes(&scale, &layout, &mut svg);
        let centres = layout.centres(self);
        let step = layout.step(self, &centres);
        for (place, series) in self.series.iter().enumerate() {
            let beside = step * (place as f64 - 0.5 * (self.series.len() as f64 - 1.0));
            let xs: Vec<f64> = centres.iter().map(|centre| centre + beside).collect();
            self.draw(series, &xs, &scale, &layout, &mut svg);
            legend(place, series, self.style, &layout, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The opening of the document: names for screen readers, and colours.
    fn head(&self, id: &str, scale: &Scale, layout: &Layout) -> String {
        let names: Vec<&str> = self.series.iter().map(Series::label).collect();
        let title = escape(&format!("{}: {}", self.title, self.subtitle));
        let (y, names) = (scale.label(self), names.join(", "));
        let about = escape(&format!("{y} over {} for {names}", self.x_label()));
        let looks: String = self.series.iter().map(|series| dark(series.look)).collect();
        let Layout { width, height, .. } = layout;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-labelledby=\"{id}-t {id}-d\" font-family=\"sans-serif\" font-size=\"12\" \
             fill=\"#{LIGHT_INK:06x}\">\n<title id=\"{id}-t\">{title}</title>\n\
             <desc id=\"{id}-d\">{about}</desc>\n\
             <style>@media (prefers-color-scheme: dark) {{\n.chart {{ fill: #{DARK_INK:06x}; }}\n\
             .chart .ground, .chart .hollow {{ fill: #{DARK_GROUND:06x}; }}\n\
             .chart .axis {{ stroke: #{DARK_INK:06x}; }}\n{looks}}}</style>\n\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\" fill=\"#{LIGHT_GROUND:06x}\"/>\n"
        )
    }

    fn heading(&self, scale: &Scale, layout: &Layout, svg: &mut String) {
        let mut y = 18.0;
        let bold = " font-size=\"14\" font-weight=\"bold\"";
        let lines = layout.title.iter().map(|line| (line, bold));
        for (line, font) in lines.chain(layout.subtitle.iter().map(|line| (line, ""))) {
            let _ = writeln!(svg, "<text x=\"8\" y=\"{y}\"{font}>{}</text>", escape(line));
            y += LINE;
        }
        let label = escape(&scale.label(self));
        let _ = writeln!(svg, "<text x=\"8\" y=\"{}\">{label}</text>", y + 6.0);
        let mut y = layout.foot_y() + 4.0;
        for line in &layout.foot {
            let _ =
                writeln!(svg, "<text x=\"8\" y=\"{y}\" font-size=\"11\">{}</text>", escape(line));
            y += LINE;
        }
    }

    fn axes(&self, scale: &Scale, layout: &Layout, svg: &mut String) {
        let Layout { left, right, bottom, .. } = layout;
        for &tick in &scale.ticks {
            let y = layout.y(scale.place(tick));
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.2}\" y2=\"{y:.2}\" \
                 stroke=\"#{LIGHT_INK:06x}\" stroke-opacity=\"0.2\"/>\n\
                 <text class=\"tick\" x=\"{}\" y=\"{:.2}\" text-anchor=\"end\">{}</text>\n",
                left - 8.0,
                y + 4.0,
                scale.tick(tick),
            );
        }
        if let Some(value) = self.reference() {
            let y = layout.y(scale.place(value));
            let _ = writeln!(
                svg,
                "<line class=\"axis reference\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.2}\" \
                 y2=\"{y:.2}\" stroke=\"#{LIGHT_INK:06x}\" stroke-width=\"1.5\"/>",
            );
        }
        let names: Vec<&str> = self.categories.iter().map(|it| it.name.as_str()).collect();
        let centres = layout.centres(self);
        for at in with_room(&names, &centres, LETTER) {
            let (x, name) = (centres[at], escape(names[at]));
            let _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\" \
                 stroke=\"#{LIGHT_INK:06x}\"/>\n\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>\n",
                bottom + 5.0,
                bottom + 18.0,
            );
        }
        let (middle, y) = (f64::midpoint(*left, *right), bottom + 38.0);
        let label = escape(&self.x_label());
        let _ =
            writeln!(svg, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>");
    }

    fn draw(&self, series: &Series, xs: &[f64], scale: &Scale, layout: &Layout, svg: &mut String) {
        open(series.look, svg);
        let y = |dot: &Dot| layout.y(scale.place(dot.value));
        if self.style == Style::Lines {
            let path: Vec<String> =
                present(series).map(|(at, dot)| format!("{:.1},{:.2}", xs[at], y(&dot))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke-width=\"2\"{}/>",
                path.join(" "),
                dashes(series.look),
            );
        }
        for (at, dot) in present(series) {
            whisker(xs[at], &dot, scale, layout, svg);
        }
        for (at, dot) in present(series) {
            let _ = writeln!(
                svg,
                "<g class=\"mark\" transform=\"translate({:.1} {:.2})\"><title>{}</title>{}</g>",
                xs[at],
                y(&dot),
                self.mark_title(series, at, &dot),
                shape(series.look.marker),
            );
        }
        svg.push_str("</g>\n");
    }

    fn mark_title(&self, series: &Series, at: usize, dot: &Dot) -> String {
        let value = |value| match self.unit.as_str() {
            "copies" => format!("{value:.1} copies"),
            RATIO => digits(value),
            unit => words::printed(&human(value, unit)),
        };
        let interval = dot.interval.ends(dot.low, dot.high).map(|(low, high)| {
            let kind = match dot.interval {
                Interval::Range => "range",
                Interval::Confidence | Interval::None => "95 % interval",
            };
            format!(" ({kind} {} to {})", value(low), value(high))
        });
        let (name, category) = (series.label(), &self.categories[at].name);
        escape(&format!("{name}, {category}: {}{}", value(dot.value), interval.unwrap_or_default()))
    }

    /// What the intervals of this chart are, in words.
    pub(in super::super) fn foot(&self, scale: &Scale) -> String {
        let has = |kind| self.dots().any(|dot| dot.interval == kind);
        let is_cut = |(low, high)| is_outside(scale.place(low)) || is_outside(scale.place(high));
        let cut = self.dots().filter_map(|dot| dot.interval.ends(dot.low, dot.high)).any(is_cut);
        let certain = match self.unit.as_str() {
            RATIO => "Lines with caps are 95 % intervals of the median of the ratios.",
            _ => "Lines with caps are 95 % intervals of the median.",
        };
        let parts = [
            (self.reference().is_some(), "The line at 1 is kernel macvlan."),
            (has(Interval::Confidence), certain),
            (has(Interval::Range), "Dotted lines are ranges of two to five trials."),
            (cut, "Arrows: the interval is longer than drawn."),
        ];
        let parts = parts.into_iter().filter(|(is, _)| *is).map(|(_, words)| words);
        parts.collect::<Vec<_>>().join(" ")
    }
}

impl Series {
    /// The name in the legend.
    pub(in super::super) fn label(&self) -> &str {
        self.look.label(&self.name)
    }
}

fn legend(place: usize, series: &Series, style: Style, layout: &Layout, svg: &mut String) {
    let (x, y) = (layout.legend.0, layout.legend.1 + LINE * place as f64);
    open(series.look, svg);
    if style == Style::Lines {
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke-width=\"2\"{}/>",
            x + SAMPLE,
            dashes(series.look),
        );
    }
    let (middle, shape) = (x + SAMPLE / 2.0, shape(series.look.marker));
    let _ = writeln!(svg, "<g transform=\"translate({middle} {y})\">{shape}</g>\n</g>");
    let (x, y, name) = (x + LEGEND_TEXT, y + 4.0, escape(series.label()));
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{name}</text>");
}

/// Begins a group in the colour of this look.
fn open(look: Look, svg: &mut String) {
    let (class, colour) = (class(look), look.light);
    let _ = writeln!(svg, "<g class=\"{class}\" fill=\"#{colour:06x}\" stroke=\"#{colour:06x}\">");
}

/// The rule of a look for dark schemes.
fn dark(look: Look) -> String {
    let (class, colour) = (class(look), look.dark);
    format!(".chart .{class} {{ fill: #{colour:06x}; stroke: #{colour:06x}; }}\n")
}

/// The class of a look. Colours on a light ground are unique.
fn class(look: Look) -> String {
    format!("look-{:06x}", look.light)
}

fn dashes(look: Look) -> String {
    let dashes: Vec<String> = look.dashes.iter().map(u8::to_string).collect();
    match dashes.is_empty() {
        true => String::new(),
        false => format!(" stroke-dasharray=\"{}\"", dashes.join(" ")),
    }
}

/// Text escaped for XML and HTML.
pub(in super::super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
