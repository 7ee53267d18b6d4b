//! Units and their prefixes, and amounts for people.

use umacvlan_text::format::scaled;

/// Units that may have a prefix. Other units are used as they are.
const BASES: [&str; 6] = ["s", "s/frame", "s/kB", "frames/s", "bit/s", "transactions/s"];

/// Prefixes and their factors.
const PREFIXES: [(&str, f64); 7] =
    [("n", 1e-9), ("u", 1e-6), ("m", 1e-3), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];

/// The factor and the base of a unit: `us` is 1e-6 `s`.
pub(super) fn split(unit: &str) -> (f64, &str) {
    let known = PREFIXES.iter().find_map(|&(prefix, factor)| {
        let base = unit.strip_prefix(prefix)?;
        BASES.contains(&base).then_some((factor, base))
    });
    known.unwrap_or((1.0, unit))
}

/// Converts a number with this suffix to `unit`. The suffix is empty, only a prefix, or a unit with
/// the same base; `None` otherwise.
pub(super) fn convert(number: f64, suffix: &str, unit: &str) -> Option<f64> {
    if suffix.is_empty() {
        return Some(number);
    }
    if let Some((_, factor)) = PREFIXES.iter().find(|(prefix, _)| *prefix == suffix) {
        return Some(number * factor);
    }
    let ((ours, base), (theirs, other)) = (split(unit), split(suffix));
    (base == other).then(|| number * theirs / ours)
}

/// An amount with three digits and a fitting prefix: `1.23 Mframes/s`, `14.2 us`.
pub(super) fn human(amount: f64, unit: &str) -> String {
    let (factor, base) = split(unit);
    let amount = amount * factor;
    if !base.starts_with('s') || !BASES.contains(&base) {
        return match amount.abs() < 100.0 {
            true => format!("{} {unit}", digits(amount)),
            false => scaled(amount, unit),
        };
    }
    let steps = [("n", 1e-9), ("u", 1e-6), ("m", 1e-3)];
    let fits = steps.into_iter().find(|(_, factor)| amount.abs() < 999.5 * factor);
    let (prefix, factor) = fits.unwrap_or(("", 1.0));
    format!("{} {prefix}{base}", digits(amount / factor))
}

/// The unit of an axis whose numbers are about as large as this amount, and what amounts are
/// multiplied by to be in it. Only units that have prefixes get one.
pub(super) fn axis(unit: &str, typical: f64) -> (String, f64) {
    let (factor, base) = split(unit);
    if !BASES.contains(&base) {
        return (unit.to_owned(), 1.0);
    }
    let (amount, is_time) = (typical.abs() * factor, base.starts_with('s'));
    // Nobody writes thousands of seconds, or thousandths of a frame.
    let fits = |step: f64| amount >= step && (step < 1.0) == is_time;
    let found = PREFIXES.iter().rev().find(|(_, step)| fits(*step));
    let (prefix, step) = match found {
        _ if is_time && amount >= 1.0 => ("", 1.0),
        Some(found) => *found,
        None if is_time => PREFIXES[0],
        None => ("", 1.0),
    };
    (format!("{prefix}{base}"), factor / step)
}

/// A number with three significant digits.
pub(super) fn digits(number: f64) -> String {
    let places = match number.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{number:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_units_have_prefixes() {
        assert_eq!(split("us"), (1e-6, "s"));
        assert_eq!(split("ns/frame"), (1e-9, "s/frame"));
        assert_eq!(split("misses/frame"), (1.0, "misses/frame"));
        assert_eq!(split("Gbit/s"), (1e9, "bit/s"));
    }

    #[test]
    fn numbers_are_converted_between_units_of_one_base_only() {
        let near = |converted: Option<f64>, wanted: f64| (converted.unwrap() - wanted).abs() < 1e-9;
        assert!(near(convert(20.0, "us", "ns"), 20_000.0));
        assert!(near(convert(2.0, "Mbit/s", "bit/s"), 2e6));
        assert!(near(convert(2.0, "M", "frames/s"), 2e6));
        assert!(near(convert(2.0, "", "frames/s"), 2.0));
        assert_eq!(convert(2.0, "us", "frames/s"), None);
        assert_eq!(convert(2.0, "us", "ns/frame"), None);
    }

    #[test]
    fn the_unit_of_an_axis_fits_its_numbers() {
        for (unit, typical, wanted, scaled) in [
            ("frames/s", 1.5e6, "Mframes/s", 1.5),
            ("frames/s", 700.0, "frames/s", 700.0),
            ("Gbit/s", 0.5, "Mbit/s", 500.0),
            ("us", 2000.0, "ms", 2.0),
            ("us", 0.5, "ns", 500.0),
            ("us", 5e6, "s", 5.0),
            ("ns", 0.25, "ns", 0.25),
            ("copies", 1500.0, "copies", 1500.0),
            ("%", 1500.0, "%", 1500.0),
        ] {
            let (found, factor) = axis(unit, typical);
            assert_eq!(found, wanted, "{typical} {unit}");
            assert!((typical * factor - scaled).abs() < 1e-9 * scaled, "{typical} {unit}");
        }
    }

    #[test]
    fn amounts_have_three_digits_and_a_fitting_prefix() {
        for (amount, unit, text) in [
            (1_234_567.0, "frames/s", "1.23 Mframes/s"),
            (14_230.0, "ns", "14.2 us"),
            (14.23, "us", "14.2 us"),
            (0.5, "us", "500 ns"),
            (2.125, "ns/frame", "2.12 ns/frame"),
            (7490.0, "ns/kB", "7.49 us/kB"),
            (2.5, "s", "2.50 s"),
            (0.0, "us", "0 ns"),
            (0.125, "calls/frame", "0.125 calls/frame"),
            (8.0, "copies", "8.00 copies"),
        ] {
            assert_eq!(human(amount, unit), text);
        }
    }
}
