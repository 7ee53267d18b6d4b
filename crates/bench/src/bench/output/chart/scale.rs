//! [`Scale`]: the vertical axis of a chart, its unit and its ticks.

use super::{Chart, RATIO, Style};
use crate::bench::unit::axis;
use crate::bench::words;

/// The vertical axis. Its height is 1; a layout decides where it is.
pub(in super::super) struct Scale {
    low: f64,
    high: f64,
    pub(in super::super) is_log: bool,
    /// In the unit of the values.
    pub(in super::super) ticks: Vec<f64>,
    /// The unit at the axis.
    unit: String,
    /// What a value is multiplied by to be in the unit at the axis.
    pub(in super::super) factor: f64,
}

impl Scale {
    /// Linear from 0, or logarithmic for lines whose values differ by more than [`WIDE`]. All values
    /// are inside; an interval that is far wider than the values are apart is not.
    pub(in super::super) fn of(chart: &Chart) -> Self {
        let values = || chart.dots().map(|dot| dot.value);
        let lowest = values().fold(f64::INFINITY, f64::min);
        let highest = values().fold(0.0, f64::max);
        let ends = chart.dots().filter_map(|dot| dot.interval.ends(dot.low, dot.high));
        let ends = ends.map(|(_, high)| high.min(BEYOND * highest));
        let top = ends.chain(chart.reference()).fold(highest, f64::max);
        let (low, high, is_log, ticks) =
            match chart.style == Style::Lines && lowest > 0.0 && highest > WIDE * lowest {
                true => logarithmic(lowest, top),
                false => linear(top),
            };
        let typical = if is_log { (low * high).sqrt() } else { high };
        let (unit, factor) = axis(&chart.unit, typical);
        Self { low, high, is_log, ticks, unit, factor }
    }

    /// The place of a value between the bottom (0) and the top (1), beyond them if it is outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.is_log {
            true if value <= 0.0 => f64::NEG_INFINITY,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        }
    }

    /// The lowest and the highest value that it shows.
    pub(in super::super) const fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// The label of the axis, with its unit.
    pub(in super::super) fn label(&self, chart: &Chart) -> String {
        let quantity = words::quantity(&chart.unit);
        let unit = words::printed(&self.unit);
        let is_counted = ["copies", RATIO].contains(&chart.unit.as_str());
        let unit = if is_counted { String::new() } else { format!(" [{unit}]") };
        let log = if self.is_log { ", logarithmic" } else { "" };
        format!("{quantity}{unit}{log}")
    }

    /// The text at a tick.
    pub(in super::super) fn tick(&self, value: f64) -> String {
        let text = format!("{:.6}", value * self.factor);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

type Span = (f64, f64, bool, Vec<f64>);

fn linear(top: f64) -> Span {
    let top = if top > 0.0 { top } else { 1.0 };
    let step = round(top / 5.0, f64::ceil);
    // A quotient that should be whole may be a little above.
    let count = (top / step - 1e-9).ceil().max(1.0);
    let ticks = (0..=12).map(f64::from).take_while(|tick| *tick <= count).map(|tick| tick * step);
    (0.0, count * step, false, ticks.collect())
}

fn logarithmic(lowest: f64, top: f64) -> Span {
    let (low, high) = (round(lowest, f64::floor), round(top, f64::ceil));
    // Ticks at 1, 2 and 5 would be crowded over many decades.
    let steps: &[f64] = if high / low > 1e4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decades = std::iter::successors(Some(low.log10().floor()), |decade| Some(decade + 1.0));
    let decades = decades.take_while(|decade| 10_f64.powf(*decade) <= 1.001 * high);
    let ticks = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powf(decade)));
    let is_inside = |tick: &f64| *tick >= 0.999 * low && *tick <= 1.001 * high;
    (low, high, true, ticks.filter(is_inside).collect())
}

/// The next 1, 2 or 5 times a power of 10, above or below.
fn round(value: f64, to: fn(f64) -> f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    // A step that is missed by a rounding error counts as reached.
    let (above, below) = ((1.0 - 1e-9) * value, (1.0 + 1e-9) * value);
    let found = match to(0.5) > 0.0 {
        true => steps.into_iter().find(|step| *step >= above),
        false => steps.into_iter().rev().find(|step| *step <= below),
    };
    found.unwrap_or(decade)
}

/// The ratio of the largest to the smallest value above which the scale is logarithmic.
const WIDE: f64 = 50.0;

/// The multiple of the largest value above which the end of an interval is cut off, so that one
/// wide interval does not flatten everything else.
const BEYOND: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::super::tests::chart;
    use super::*;

    #[test]
    fn the_scale_has_round_ticks_and_covers_all_values() {
        for highest in [0.0, 0.013, 1.0, 4.9, 5.0, 123.0, 1024.0, 1.25e6, 7.7e10] {
            let scale = Scale::of(&chart(&[highest / 2.0, highest], Style::Marks));
            assert!(scale.place(1.1 * highest) <= 1.0 + 1e-9, "{highest}");
            assert!((2..=8).contains(&scale.ticks.len()), "{highest}: {:?}", scale.ticks);
            assert!((scale.place(*scale.ticks.last().unwrap()) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn values_far_apart_are_drawn_on_a_logarithmic_scale_that_says_so() {
        let wide = chart(&[20.0, 3000.0], Style::Lines);
        let scale = Scale::of(&wide);
        assert_eq!(
            scale.ticks,
            [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0][1..]
        );
        assert!(scale.place(20.0).abs() < 1e-9 && (scale.place(5000.0) - 1.0).abs() < 1e-9);
        assert_eq!(scale.label(&wide), "rate [frames/s], logarithmic");
        let with_zero = chart(&[0.0, 3000.0], Style::Lines);
        assert_eq!(Scale::of(&with_zero).label(&with_zero), "rate [kframes/s]");
    }

    #[test]
    fn one_wide_interval_does_not_flatten_the_values() {
        let mut chart = chart(&[1e6, 1.1e6], Style::Marks);
        chart.series[0].dots[0].as_mut().unwrap().high = 1e9;
        let scale = Scale::of(&chart);
        assert!(scale.place(1e6) > 0.4, "{}", scale.place(1e6));
        assert!(scale.place(1e9) > 1.0);
    }

    #[test]
    fn a_unit_without_prefixes_is_not_scaled() {
        let mut chart = chart(&[2.0, 1024.0], Style::Marks);
        chart.unit = "copies".to_owned();
        let scale = Scale::of(&chart);
        assert_eq!(scale.label(&chart), "copies received for each frame sent");
        assert_eq!(scale.tick(*scale.ticks.last().unwrap()), "1500");
    }
}
