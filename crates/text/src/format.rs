//! Numbers in a form for people. The JSON output has the exact ones.

/// A count in groups of three digits: `12,345,678`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount with a decimal prefix and three digits: `1.25 MB`, `940 Mbit/s`. Less than a thousand
/// is a whole number.
pub fn scaled(amount: f64, unit: &str) -> String {
    let mut amount = amount;
    let mut prefixes = ["", "k", "M", "G", "T", "P", "E"].into_iter().peekable();
    // The prefix changes where rounding would show a fourth digit.
    while amount >= 999.5
        && let Some(_) = prefixes.next_if(|&prefix| prefix != "E")
    {
        amount /= 1000.0;
    }
    let prefix = prefixes.next().unwrap_or_default();
    let digits = match amount {
        _ if prefix.is_empty() || amount >= 99.95 => 0,
        _ if amount >= 9.995 => 1,
        _ => 2,
    };
    format!("{amount:.digits$} {prefix}{unit}").trim_end().to_owned()
}

/// An amount of memory or data in bytes, with a decimal prefix.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, "B")
}

/// A share of `whole` in per cent: `12.3 %`; 0 if `whole` is 0.
pub fn percent(part: f64, whole: f64) -> String {
    format!("{:.1} %", 100.0 * ratio(part, whole))
}

/// `part / whole`, or 0 if `whole` is not positive.
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Ascending numbers with runs written as ranges: `0-3,8`.
pub fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let words: Vec<String> = runs
        .map(|run| match run {
            [first, .., last] => format!("{first}-{last}"),
            [only] => only.to_string(),
            [] => String::new(),
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn amounts_have_three_digits_and_never_four() {
        for (amount, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (999.6, "1.00 kB"),
            (1250.0, "1.25 kB"),
            (9_996.0, "10.0 kB"),
            (99_960.0, "100 kB"),
            (999_499.0, "999 kB"),
            (999_500.0, "1.00 MB"),
            (1e21, "1000 EB"),
        ] {
            assert_eq!(scaled(amount, "B"), text);
        }
        assert_eq!(scaled(1500.0, ""), "1.50 k");
        assert_eq!(scaled(15.0, ""), "15");
    }

    #[test]
    fn a_share_of_zero_is_zero() {
        assert_eq!(percent(1.0, 8.0), "12.5 %");
        assert_eq!(percent(0.0, 0.0), "0.0 %");
    }

    #[test]
    fn consecutive_numbers_are_written_as_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
