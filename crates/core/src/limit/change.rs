//! [`LimitsChange`]: some limits, as words.

use super::settings::{LimitError, LimitKind, LimitWord, Limits};

/// New values for some limits; the others stay. It does not depend on the order of its words: one for a
/// single direction precedes one for both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange(Vec<(&'static LimitWord, u64)>);

impl LimitsChange {
    /// Sets the limits of a word; of the same word twice, the last one counts.
    ///
    /// # Errors
    /// There is no such word, or the value is not one of its kind.
    pub fn set(&mut self, word: &str, value: &str) -> Result<(), LimitError> {
        let word = LimitWord::named(word)?;
        let value = word.parse(value)?;
        self.0.retain(|(other, _)| other.name != word.name);
        self.0.push((word, value));
        Ok(())
    }

    /// The change of any limits to exactly these.
    pub fn exactly(limits: Limits) -> Self {
        let word = |kind: LimitKind| LimitWord::named(kind.name()).ok();
        Self(
            LimitKind::ALL
                .iter()
                .filter_map(|&kind| Some((word(kind)?, limits.get(kind))))
                .collect(),
        )
    }

    /// True if it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words and their values.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(|(word, value)| (word.name, word.text(*value)))
    }

    /// These limits, changed.
    #[must_use]
    pub fn apply(&self, mut limits: Limits) -> Limits {
        for both in [true, false] {
            for (word, value) in self.0.iter().filter(|(word, _)| (word.kinds.len() > 1) == both) {
                limits = word.kinds.iter().fold(limits, |limits, &kind| limits.with(kind, *value));
            }
        }
        limits
    }
}

impl From<Limits> for LimitsChange {
    /// The change from no limits to these.
    fn from(limits: Limits) -> Self {
        let mut change = Self::default();
        for (word, value) in limits.words() {
            // What is printed can be parsed.
            let _ = change.set(word, &value);
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_one_direction_precedes_one_for_both_in_any_order() {
        for order in [["rate", "rx_rate"], ["rx_rate", "rate"]] {
            let mut change = LimitsChange::default();
            for word in order {
                change.set(word, if word == "rate" { "1mbit" } else { "2mbit" }).unwrap();
            }
            let limits = change.apply(Limits::default().with(LimitKind::Bcrate, 5));
            assert_eq!(limits.to_string(), "bcrate 5 rx_rate 2mbit tx_rate 1mbit");
        }
    }

    #[test]
    fn a_change_has_the_last_value_of_a_word_and_none_removes_a_limit() {
        let mut change = LimitsChange::default();
        assert!(change.is_empty());
        for value in ["1mbit", "none"] {
            change.set("rate", value).unwrap();
        }
        assert!(change.words().eq([("rate", "none".to_owned())]));
        assert!(change.apply(Limits::default().with(LimitKind::TxRate, 5)).is_empty());
        assert!(change.set("speed", "1").is_err() && change.set("pps", "1mbit").is_err());
    }

    #[test]
    fn limits_are_the_change_from_none() {
        let limits = Limits::default().with(LimitKind::TxRate, 5).with(LimitKind::RxPps, 7);
        assert_eq!(LimitsChange::from(limits).apply(Limits::default()), limits);
        let others = Limits::default().with(LimitKind::Bcrate, 1).with(LimitKind::RxRate, 2);
        assert_eq!(LimitsChange::exactly(limits).apply(others), limits);
    }
}
