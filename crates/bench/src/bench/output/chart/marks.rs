//! The shapes of marks and intervals.

use std::fmt::Write;

use super::Dot;
use super::layout::Layout;
use super::scale::Scale;
use crate::bench::look::{LIGHT_GROUND, Marker};
use crate::bench::summary::Interval;

/// The shape of this marker around the origin.
pub(super) fn shape(marker: Marker) -> String {
    let hollow = match marker.is_hollow() {
        true => format!(" class=\"hollow\" fill=\"#{LIGHT_GROUND:06x}\" stroke-width=\"1.5\""),
        false => String::new(),
    };
    let path = |d: &str| format!("<path d=\"{d}\"{hollow}/>");
    let strokes = |d: &str| format!("<path d=\"{d}\" fill=\"none\" stroke-width=\"2\"/>");
    match marker {
        Marker::Circle | Marker::HollowCircle => format!("<circle r=\"4.5\"{hollow}/>"),
        Marker::Cross => strokes("M-4-4L4 4M-4 4L4-4"),
        Marker::Diamond => path("M0-6L5 0L0 6L-5 0Z"),
        Marker::DownTriangle => path("M-5-4H5L0 5Z"),
        Marker::HollowSquare | Marker::Square => path("M-4-4H4V4H-4Z"),
        Marker::HollowTriangle | Marker::Triangle => path("M-5 4H5L0-5Z"),
        Marker::Plus => strokes("M-5 0H5M0-5V5"),
        Marker::Star => strokes("M-5 0H5M-2.5-4.3L2.5 4.3M-2.5 4.3L2.5-4.3"),
    }
}

/// The interval of a dot: a line with caps for a confidence interval, a dashed one for a range. An
/// end outside the scale is an arrow.
pub(super) fn whisker(x: f64, dot: &Dot, scale: &Scale, layout: &Layout, svg: &mut String) {
    let Some((low, high)) = dot.interval.ends(dot.low, dot.high) else {
        return;
    };
    let (low, high) = (scale.place(low), scale.place(high));
    let (bottom, top) = (layout.y(low), layout.y(high));
    let end = |y: f64, arrow: Option<f64>| match arrow {
        Some(back) => {
            format!("M{:.1} {:.1}L{x:.1} {y:.1}L{:.1} {:.1}", x - 4.0, y + back, x + 4.0, y + back)
        }
        None if dot.interval == Interval::Confidence => format!("M{:.1} {y:.1}h14", x - 7.0),
        None => String::new(),
    };
    let dashes = match dot.interval {
        Interval::Range => " stroke-dasharray=\"2 2\"",
        Interval::Confidence | Interval::None => "",
    };
    let ends =
        [end(top, is_outside(high).then_some(6.0)), end(bottom, is_outside(low).then_some(-6.0))];
    let _ = writeln!(
        svg,
        "<path class=\"whisker\" d=\"M{x:.1} {bottom:.1}V{top:.1}\" fill=\"none\" stroke-width=\"1.5\"{dashes}/>"
    );
    let ends = ends.concat();
    if !ends.is_empty() {
        let _ = writeln!(svg, "<path d=\"{ends}\" fill=\"none\" stroke-width=\"1.5\"/>");
    }
}

/// True for a place that the scale does not show.
pub(super) fn is_outside(place: f64) -> bool {
    !(-1e-9..=1.0 + 1e-9).contains(&place)
}
