//! [`Condition`]: an expression of `--fail-if`.
//!
//! `[NAME=VALUE ... :] FIGURE OPERATOR NUMBER[UNIT]`. The part before the colon selects points by
//! their keys. The rest is tested on each selected point that has the figure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

use super::figures::{FIGURES, is_figure};
use super::report::{Key, Point, Report};
use super::unit::{convert, human};
use umacvlan_text::suggest::did_you_mean;

/// An expression of `--fail-if`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Names in the key, and the values that they must have.
    filters: Vec<(String, String)>,
    figure: String,
    operator: Operator,
    number: f64,
    /// The text after the number: empty, a prefix or a unit.
    unit: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Above,
    AtLeast,
    AtMost,
    Below,
}

/// The result of a condition on a report.
pub(super) struct Finding<'r> {
    /// The number of points that were tested.
    pub(super) tested: usize,
    /// The points for which it is true, with the value of the figure.
    pub(super) hits: Vec<(&'r Point, f64)>,
}

impl Condition {
    /// Tests every selected point.
    ///
    /// # Errors
    /// No point is selected, none has the figure, or the unit does not fit one of them.
    pub(super) fn test<'r>(&self, report: &'r Report) -> Result<Finding<'r>> {
        let selected: Vec<_> =
            report.points.iter().filter(|point| self.selects(&point.key)).collect();
        ensure!(
            !selected.is_empty(),
            "--fail-if '{self}': no point of the report is meant{}",
            self.measured(report)
        );
        let tested =
            selected.iter().filter_map(|point| Some((*point, figure(point, &self.figure)?)));
        let tested: Vec<(&'r Point, f64)> = tested.collect();
        ensure!(
            !tested.is_empty(),
            "--fail-if '{self}': none of the {} points that are meant has a {}",
            selected.len(),
            self.figure
        );
        let mut hits = Vec::new();
        for &(point, found) in &tested {
            if self.operator.holds(found, self.limit(point)?) {
                hits.push((point, found));
            }
        }
        Ok(Finding { tested: tested.len(), hits })
    }

    /// Checks that benches have the figure.
    ///
    /// # Errors
    /// None has it.
    pub(super) fn check_figure(&self) -> Result<()> {
        let figure = &self.figure;
        if is_figure(figure) {
            return Ok(());
        }
        let known = match did_you_mean(figure, &FIGURES) {
            none if none.is_empty() => format!("; the figures are {}", FIGURES.join(", ")),
            guess => guess,
        };
        bail!("--fail-if '{self}': {figure:?} is no figure{known}")
    }

    /// What was measured, if a measure is asked for.
    fn measured(&self, report: &Report) -> String {
        if !self.filters.iter().any(|(name, _)| name == "measure") {
            return String::new();
        }
        let found: BTreeSet<&str> =
            report.points.iter().map(|point| point.key.measure.as_str()).collect();
        let found: Vec<&str> = found.into_iter().collect();
        format!(": the measures here are {}", found.join(", "))
    }

    /// The figure and its value, for people.
    pub(super) fn human(&self, point_unit: &str, found: f64) -> String {
        match is_plain(&self.figure) {
            true => format!("{} {found:.3}", self.figure),
            false => format!("{} {}", self.figure, human(found, point_unit)),
        }
    }

    fn selects(&self, key: &Key) -> bool {
        self.filters.iter().all(|(name, value)| field(key, name).as_deref() == Some(value))
    }

    /// The number, converted to the unit of the point.
    fn limit(&self, point: &Point) -> Result<f64> {
        let unit = if is_plain(&self.figure) { "" } else { &point.unit };
        convert(self.number, &self.unit, unit).with_context(|| {
            let is = if unit.is_empty() { "has no unit" } else { unit };
            format!(
                "--fail-if '{self}': {} of {} is not in {}: {is}",
                self.figure, point.key, self.unit
            )
        })
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (filters, condition) = match text.rsplit_once(':') {
            Some((filters, condition)) => (filters, condition),
            None => ("", text),
        };
        let filters = filters.split_whitespace().map(filter).collect::<Result<_>>()?;
        let condition = condition.trim();
        let place = condition.find(['<', '>']).with_context(|| {
            format!("'{condition}' compares nothing: write for instance ratio < 0.9")
        })?;
        let (figure, rest) = condition.split_at(place);
        let figure = figure.trim();
        ensure!(!figure.is_empty(), "there is no figure before '{rest}', such as ratio or value");
        ensure!(is_word(figure), "'{figure}' is not the name of a figure");
        let (operator, rest) = Operator::split(rest);
        let (number, unit) = amount(rest.trim())?;
        Ok(Self { filters, figure: figure.to_owned(), operator, number, unit })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.filters {
            write!(f, "{name}={value} ")?;
        }
        let colon = if self.filters.is_empty() { "" } else { ": " };
        let Self { figure, number, unit, .. } = self;
        write!(f, "{colon}{figure} {} {number}{unit}", self.operator.sign())
    }
}

impl Operator {
    /// The operator at the start of the text, and the rest of the text.
    fn split(text: &str) -> (Self, &str) {
        let signs = [Self::AtLeast, Self::AtMost, Self::Above, Self::Below];
        let found =
            signs.into_iter().find_map(|sign| Some((sign, text.strip_prefix(sign.sign())?)));
        found.unwrap_or((Self::Below, text))
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Below => "<",
        }
    }

    fn holds(self, found: f64, limit: f64) -> bool {
        match self {
            Self::Above => found > limit,
            Self::AtLeast => found >= limit,
            Self::AtMost => found <= limit,
            Self::Below => found < limit,
        }
    }
}

fn filter(word: &str) -> Result<(String, String)> {
    let (name, value) = word.split_once('=').with_context(|| {
        format!("'{word}' chooses no points: write NAME=VALUE, for instance path=wire-to-sub")
    })?;
    if !NAMES.contains(&name) {
        bail!("there is no {name} in the key of a point: it has {}", NAMES.join(", "));
    }
    ensure!(!value.is_empty(), "{name}= lacks what it has to be");
    Ok((name.to_owned(), value.to_owned()))
}

/// A number and the text after it. An exponent belongs to the number: `1e6`.
fn amount(text: &str) -> Result<(f64, String)> {
    let ends = text.char_indices().map(|(place, c)| place + c.len_utf8()).rev();
    let number = ends
        .filter_map(|end| Some((text[..end].parse::<f64>().ok()?, &text[end..])))
        .find(|(number, _)| number.is_finite());
    let (number, unit) = number.with_context(|| format!("'{text}' is not a number"))?;
    let unit = unit.trim();
    ensure!(
        unit.chars().all(|c| c.is_ascii_alphabetic() || c == '/'),
        "'{unit}' after the number is not a unit"
    );
    Ok((number, unit.to_owned()))
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// True for figures without a unit, whatever the unit of their point.
fn is_plain(figure: &str) -> bool {
    figure.starts_with("ratio") || figure == "copies"
}

fn figure(point: &Point, name: &str) -> Option<f64> {
    let ratio = point.ratio.as_ref();
    Some(match name {
        "value" => point.summary.median,
        "low" => point.summary.ends()?.0,
        "high" => point.summary.ends()?.1,
        "mad" => point.summary.mad,
        "ratio" => ratio?.value,
        "ratio.low" => ratio?.ends()?.0,
        "ratio.high" => ratio?.ends()?.1,
        _ => *point.extra.get(name)?,
    })
}

fn field(key: &Key, name: &str) -> Option<String> {
    Some(match name {
        "path" => key.path.clone(),
        "mode" => key.mode.clone(),
        "traffic" => key.traffic.clone(),
        "size" => key.size?.to_string(),
        "subs" => key.subs.to_string(),
        "measure" => key.measure.clone(),
        "peer" => key.peer.clone(),
        _ => return None,
    })
}

/// The names that select points.
const NAMES: [&str; 7] = ["path", "mode", "traffic", "size", "subs", "measure", "peer"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bench::fixtures;

    fn test(text: &str) -> Result<(usize, usize)> {
        let report = fixtures::report();
        let finding = text.parse::<Condition>()?.test(&report)?;
        Ok((finding.tested, finding.hits.len()))
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", test(text).unwrap_err())
    }

    #[test]
    fn every_point_with_the_figure_is_tested() {
        let report = fixtures::report();
        let beside = report.points.iter().filter(|point| point.ratio.is_some()).count();
        assert_eq!(test("ratio < 100").unwrap(), (beside, beside));
        assert_eq!(test("ratio > 100").unwrap(), (beside, 0));
    }

    #[test]
    fn points_are_selected_by_their_keys() {
        let text = "path=wire-to-sub mode=bridge traffic=udp size=64 measure=mrr : value > 1k";
        let peers = fixtures::PEERS.len();
        assert_eq!(test(text).unwrap(), (peers, peers));
        assert_eq!(test(&text.replace(" :", " peer=kernel:")).unwrap(), (1, 1));
    }

    #[test]
    fn numbers_may_be_in_another_multiple_of_the_unit() {
        let (asked, hits) = test("measure=latency: p99 > 1ns").unwrap();
        assert!(asked > 0 && hits == asked);
        assert_eq!(test("measure=latency: p99 > 1s").unwrap(), (asked, 0));
    }

    #[test]
    fn a_condition_that_fits_no_point_is_an_error() {
        assert!(complaint("path=nowhere: value < 1").ends_with("no point of the report is meant"));
        let measures = complaint("measure=tcp: value < 1");
        assert!(measures.contains("the measures here are cost, latency, mrr"), "{measures}");
        let unknown: Condition = "p98 < 1".parse().unwrap();
        let unknown = unknown.check_figure().unwrap_err().to_string();
        assert!(unknown.contains("\"p98\" is no figure; did you mean \"p9"), "{unknown}");
        "measure=latency-50: p99 > 50us".parse::<Condition>().unwrap().check_figure().unwrap();
        assert!(complaint("measure=mrr: p99 < 1").contains("has a p99"));
    }

    #[test]
    fn errors_name_the_mistake() {
        for (text, words) in [
            ("ratio", "compares nothing"),
            ("< 1", "no figure before"),
            ("ratio < x", "'x' is not a number"),
            ("ratio < nan", "'nan' is not a number"),
            ("ratio < 1 %", "'%' after the number"),
            ("a b < 1", "'a b' is not the name"),
            ("colour=red: ratio < 1", "there is no colour"),
            ("bridge: ratio < 1", "'bridge' chooses no points"),
            ("mode=: ratio < 1", "mode= lacks"),
            ("measure=mrr: value < 20us", "is not in us: frames/s"),
            ("ratio < 20us", "is not in us: has no unit"),
        ] {
            let complaint = complaint(text);
            assert!(complaint.contains(words), "{text}: {complaint}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_condition_parses_to_itself(
            size in prop::option::of(1..9000_u32),
            figure in "[a-z][a-z0-9.]{0,8}",
            operator in prop::sample::select(vec![
                Operator::Above, Operator::AtLeast, Operator::AtMost, Operator::Below,
            ]),
            number in -1e12..1e12,
            unit in prop::sample::select(vec!["", "k", "us", "ns/frame", "Mbit/s"]),
        ) {
            let filters = size.map(|size| ("size".to_owned(), size.to_string()));
            let condition = Condition {
                filters: filters.into_iter().collect(), figure, operator, number, unit: unit.into(),
            };
            prop_assert_eq!(condition.to_string().parse::<Condition>().unwrap(), condition);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = test(&text);
        }

        #[test]
        fn no_nearly_valid_text_panics(text in "[a-z=: <>0-9e.µ-]{0,20}[<>]=?[ 0-9e.]{0,5}µ?s?") {
            let _ = test(&text);
        }
    }
}
