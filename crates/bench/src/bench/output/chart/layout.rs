//! [`Layout`]: where the parts of a chart are.

use super::Chart;

/// The width for which a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Width {
    /// A telephone: the legend is below.
    Narrow,
    /// A page: the legend is on the right.
    Wide,
}

/// The places of a chart's parts, in pixels.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The sides of the plot area.
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// The lines of the heading.
    pub(super) title: Vec<String>,
    pub(super) subtitle: Vec<String>,
    /// The lines below all.
    pub(super) foot: Vec<String>,
    /// The left end and the centre of the legend's first line.
    pub(super) legend: (f64, f64),
}

impl Layout {
    pub(super) fn new(chart: &Chart, width: Width, foot: &str) -> Self {
        let narrow = width == Width::Narrow;
        let (width, left, right) = match narrow {
            true => (368.0, 52.0, 360.0),
            false => (780.0, 64.0, 530.0),
        };
        let title = wrap(&chart.title, (width - EDGE) / BOLD);
        let subtitle = wrap(&chart.subtitle, (width - EDGE) / LETTER);
        let foot = wrap(foot, (width - EDGE) / LETTER);
        // Below the heading is the label of the vertical axis.
        let top = 14.0 + LINE * (title.len() + subtitle.len()) as f64 + 36.0;
        let bottom = top + if narrow { 220.0 } else { 240.0 };
        let below = bottom + 48.0;
        let legend = match narrow {
            true => (left, below + 10.0),
            false => (right + 20.0, top + 8.0),
        };
        let legend_end = legend.1 + LINE * chart.series.len() as f64;
        let foot_top = if narrow { legend_end } else { below.max(legend_end) };
        let height = foot_top + LINE * foot.len() as f64 + 8.0;
        Self { width, height, left, right, top, bottom, title, subtitle, foot, legend }
    }

    /// The centre of the foot's first line.
    pub(super) fn foot_y(&self) -> f64 {
        self.height - LINE * self.foot.len() as f64
    }

    /// The horizontal centre of each category.
    pub(super) fn centres(&self, chart: &Chart) -> Vec<f64> {
        let (left, right) = (self.left + PAD, self.right - PAD);
        let numbers: Vec<f64> = chart.categories.iter().filter_map(|it| it.number).collect();
        if chart.is_numeric()
            && let (Some(first), Some(last)) = (numbers.first(), numbers.last())
        {
            let span = (last / first).ln();
            return numbers
                .iter()
                .map(|it| left + (right - left) * (it / first).ln() / span)
                .collect();
        }
        let room = (self.right - self.left) / chart.categories.len().max(1) as f64;
        (0..chart.categories.len()).map(|at| self.left + room * (at as f64 + 0.5)).collect()
    }

    /// The distance of the marks of two series in one category. Without it, intervals would hide
    /// each other.
    pub(super) fn step(&self, chart: &Chart, centres: &[f64]) -> f64 {
        let gaps = centres.windows(2).map(|two| two[1] - two[0]);
        let gap = gaps.fold(self.right - self.left, f64::min);
        let widest = match chart.style {
            super::Style::Lines => 5.0,
            super::Style::Marks => 28.0,
        };
        (0.6 * gap / chart.series.len().max(1) as f64).min(widest)
    }

    /// The vertical place of a part of the scale.
    pub(super) fn y(&self, part: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * part.clamp(0.0, 1.0)
    }
}

/// The indexes of the labels that have room beside each other, with letters of this width. The last
/// one is always shown.
pub(in super::super) fn with_room(labels: &[&str], centres: &[f64], letter: f64) -> Vec<usize> {
    let mut free = f64::INFINITY;
    let mut shown = Vec::new();
    for (at, (label, centre)) in labels.iter().zip(centres).enumerate().rev() {
        let half = letter * label.chars().count() as f64 / 2.0;
        if centre + half <= free {
            shown.push(at);
            free = centre - half - letter;
        }
    }
    shown
}

/// The words of a text in lines of at most so many letters.
fn wrap(text: &str, letters: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if (line.chars().count() + 1 + word.chars().count()) as f64 <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The length of a line in the legend, and the distance of its text from the left end.
pub(super) const SAMPLE: f64 = 44.0;
pub(super) const LEGEND_TEXT: f64 = SAMPLE + 8.0;

/// The height of a line of text.
pub(super) const LINE: f64 = 18.0;

/// The width of a letter of the text and of the title, at most on average.
pub(super) const LETTER: f64 = 6.6;
const BOLD: f64 = 8.2;

/// The margins together.
const EDGE: f64 = 16.0;

/// The distance of the first and the last number from the sides of the plot area.
const PAD: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_between_words() {
        assert_eq!(wrap("one two three", 7.0), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 7.0), ["incomprehensible"]);
        assert!(wrap("", 7.0).is_empty());
    }

    #[test]
    fn every_legend_has_room() {
        use crate::bench::look::Look;
        let mut chart = super::super::tests::chart(&[1.0, 2.0], super::super::Style::Lines);
        for width in [Width::Narrow, Width::Wide] {
            for peer in ["umacvlan-busy", "kernel-hairpin", "ovs", "floor", "floor-xdp", "lookup"] {
                chart.series[0].look = Look::of_peer(peer);
                let layout = Layout::new(&chart, width, "");
                let room = layout.width - layout.legend.0 - LEGEND_TEXT;
                // Letters of a wide font.
                let letters = chart.series[0].label().chars().count() as f64;
                assert!(7.2 * letters <= room, "{peer}: {letters} letters in {room}");
            }
        }
    }

    #[test]
    fn labels_that_would_overlap_are_left_out_but_for_the_last() {
        let labels = ["64", "1024", "1280", "1518"];
        assert_eq!(with_room(&labels, &[0.0, 96.0, 118.0, 132.0], LETTER), [3, 1, 0]);
        assert_eq!(with_room(&labels, &[0.0, 100.0, 200.0, 300.0], LETTER).len(), 4);
    }
}
