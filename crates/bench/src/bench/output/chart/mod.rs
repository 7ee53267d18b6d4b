//! [`Chart`]: values over categories or numbers, drawn as SVG.
//!
//! A chart needs no script and no other file. It is drawn for one of two widths, so that its text
//! is readable on a page and on a telephone, and follows the reader's light or dark scheme; printed,
//! it is light. Every mark has a title for pointers and screen readers.

mod draw;
mod layout;
mod marks;
mod scale;

use super::super::look::Look;
use super::super::summary::Interval;

pub(super) use draw::escape;
pub(super) use layout::{Width, with_room};
pub(super) use scale::Scale;

/// Values over categories, one series for each peer or mode.
pub(super) struct Chart {
    /// The name of its file without the extension, unique in a report and made of the key's names.
    pub(super) name: String,
    /// What is shown, in words.
    pub(super) title: String,
    /// The conditions under which it was measured, in words.
    pub(super) subtitle: String,
    /// The label of the categories.
    pub(super) x: &'static str,
    pub(super) categories: Vec<Category>,
    /// The unit of the values.
    pub(super) unit: String,
    pub(super) style: Style,
    pub(super) series: Vec<Series>,
}

/// The unit of ratios to the kernel's macvlan.
pub(super) const RATIO: &str = "ratio";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The marks of a series are joined by lines.
    Lines,
    /// Categories without an order: the marks stand side by side.
    Marks,
}

/// A place on the horizontal axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Category {
    pub(super) name: String,
    /// Its place on a logarithmic axis; categories without numbers are evenly spaced.
    pub(super) number: Option<f64>,
}

pub(super) struct Series {
    /// The name in the key of its points.
    pub(super) name: String,
    pub(super) look: Look,
    /// One for each category; `None` if not measured.
    pub(super) dots: Vec<Option<Dot>>,
}

/// A value and its interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dot {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) interval: Interval,
}

impl Chart {
    /// The name of the chart's file.
    pub(super) fn file_name(&self) -> String {
        format!("{}.svg", self.name)
    }

    /// The value at which a line is drawn, to which others are compared.
    pub(super) fn reference(&self) -> Option<f64> {
        (self.unit == RATIO).then_some(1.0)
    }

    /// True if the horizontal axis is one of numbers, and logarithmic.
    pub(super) fn is_numeric(&self) -> bool {
        let numbers = self.categories.iter().map(|category| category.number);
        self.categories.len() > 1
            && numbers.into_iter().all(|number| number.is_some_and(|it| it > 0.0))
    }

    /// The label of the horizontal axis, which says how its places are spaced.
    pub(super) fn x_label(&self) -> String {
        match (self.is_numeric(), self.style) {
            (true, _) => format!("{}, logarithmic", self.x),
            (false, Style::Lines) => format!("{}, evenly spaced", self.x),
            (false, Style::Marks) => self.x.to_owned(),
        }
    }

    fn dots(&self) -> impl Iterator<Item = Dot> {
        self.series.iter().flat_map(present).map(|(_, dot)| dot)
    }
}

/// The dots of a series with the places of their categories.
pub(super) fn present(series: &Series) -> impl Iterator<Item = (usize, Dot)> {
    series.dots.iter().enumerate().filter_map(|(at, dot)| Some((at, (*dot)?)))
}

#[cfg(test)]
pub(super) mod tests;
