//! [`Limits`]: the limits of a sub-interface as settings, and their words.

use super::units::Unit;

/// A limit of a sub-interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LimitKind {
    /// Multicast and broadcast frames that it sends, per second.
    Bcrate,
    /// Bytes that it receives at once above the rate.
    RxBurst,
    /// Frames that it receives, per second.
    RxPps,
    /// Bits that it receives, per second.
    RxRate,
    /// Bytes that it sends at once above the rate.
    TxBurst,
    /// Frames that it sends, per second.
    TxPps,
    /// Bits that it sends, per second.
    TxRate,
}

impl LimitKind {
    /// Every limit, in alphabetical order of their words.
    pub const ALL: [Self; 7] = [
        Self::Bcrate,
        Self::RxBurst,
        Self::RxPps,
        Self::RxRate,
        Self::TxBurst,
        Self::TxPps,
        Self::TxRate,
    ];

    /// The word for it in commands, configuration and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bcrate => "bcrate",
            Self::RxBurst => "rx_burst",
            Self::RxPps => "rx_pps",
            Self::RxRate => "rx_rate",
            Self::TxBurst => "tx_burst",
            Self::TxPps => "tx_pps",
            Self::TxRate => "tx_rate",
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Bcrate | Self::RxPps | Self::TxPps => Unit::Frames,
            Self::RxBurst | Self::TxBurst => Unit::Bytes,
            Self::RxRate | Self::TxRate => Unit::Bits,
        }
    }
}

/// A word that sets one limit, or the same limit in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitWord {
    /// The word.
    pub name: &'static str,
    /// The limits that it sets.
    pub kinds: &'static [LimitKind],
    /// The kind of its value, for help texts.
    pub value: &'static str,
    /// What it does, in a few words, for help texts.
    pub summary: &'static str,
}

impl LimitWord {
    /// Every word, in alphabetical order.
    pub const ALL: [Self; 10] = {
        use LimitKind::{Bcrate, RxBurst, RxPps, RxRate, TxBurst, TxPps, TxRate};
        const fn word(
            name: &'static str,
            kinds: &'static [LimitKind],
            value: &'static str,
            summary: &'static str,
        ) -> LimitWord {
            LimitWord { name, kinds, value, summary }
        }
        [
            word("bcrate", &[Bcrate], "FRAMES", "broadcasts and multicasts it sends per second"),
            word("burst", &[RxBurst, TxBurst], "SIZE", "what may pass at once above rate"),
            word("pps", &[RxPps, TxPps], "FRAMES", "frames per second, in each direction"),
            word("rate", &[RxRate, TxRate], "RATE", "bits per second, in each direction: 100mbit"),
            word("rx_burst", &[RxBurst], "SIZE", "burst, for what it receives"),
            word("rx_pps", &[RxPps], "FRAMES", "pps, for what it receives"),
            word("rx_rate", &[RxRate], "RATE", "rate, for what it receives"),
            word("tx_burst", &[TxBurst], "SIZE", "burst, for what it sends"),
            word("tx_pps", &[TxPps], "FRAMES", "pps, for what it sends"),
            word("tx_rate", &[TxRate], "RATE", "rate, for what it sends"),
        ]
    };

    /// The word with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Self, LimitError> {
        const ALL: &[LimitWord] = &LimitWord::ALL;
        let found = ALL.iter().find(|word| word.name == name);
        found.ok_or_else(|| LimitError { word: None, text: name.to_owned() })
    }

    /// What its value has to be, for error messages.
    pub const fn expected(&self) -> &'static str {
        self.kinds[0].unit().expected()
    }

    /// A value as text: `none` for zero.
    pub fn text(&self, value: u64) -> String {
        if value == 0 { "none".to_owned() } else { self.kinds[0].unit().print(value) }
    }

    /// Parses a value: `100mbit`, `64kb`, `1000`, with the units of tc(8); `none` is zero, no limit.
    ///
    /// # Errors
    /// It is malformed or too large, or a rate of few bits without a unit, which was meant to have one.
    pub fn parse(&self, text: &str) -> Result<u64, LimitError> {
        let unit = self.kinds[0].unit();
        let wrong = || LimitError { word: Some(*self), text: text.to_owned() };
        if text == "none" {
            return Ok(0);
        }
        let value = unit.parse(text).ok_or_else(wrong)?;
        let bare = text.bytes().all(|byte| byte.is_ascii_digit());
        if bare && (1..unit.least_bare()).contains(&value) {
            return Err(wrong());
        }
        if value <= unit.most() { Ok(value) } else { Err(wrong()) }
    }
}

/// The limits of a sub-interface; zero is none. Frames count as they are on the wire: a GSO packet as
/// its segments, each with its Ethernet header and without FCS.
///
/// ```
/// use umacvlan_core::limit::{LimitKind, Limits};
///
/// let mut limits = Limits::default();
/// limits.set("rate", "100mbit")?;
/// limits.set("rx_rate", "1gbit")?;
/// assert_eq!(limits.get(LimitKind::TxRate), 100_000_000);
/// assert_eq!(limits.to_string(), "rx_rate 1gbit tx_rate 100mbit");
/// # Ok::<(), umacvlan_core::limit::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits([u64; LimitKind::ALL.len()]);

impl Limits {
    /// The value of a limit; zero without one.
    pub const fn get(&self, kind: LimitKind) -> u64 {
        self.0[kind as usize]
    }

    /// Sets a limit; zero removes it. A value above the most that its word accepts becomes that.
    #[must_use]
    pub fn with(mut self, kind: LimitKind, value: u64) -> Self {
        self.0[kind as usize] = value.min(kind.unit().most());
        self
    }

    /// Sets the limits of a word.
    ///
    /// # Errors
    /// There is no such word, or the value is not one of its kind.
    pub fn set(&mut self, word: &str, value: &str) -> Result<(), LimitError> {
        let found = LimitWord::named(word)?;
        let value = found.parse(value)?;
        for &kind in found.kinds {
            *self = self.with(kind, value);
        }
        Ok(())
    }

    /// True without any limit.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&value| value == 0)
    }

    /// The limits that are set, in the order of [`LimitKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (LimitKind, u64)> {
        LimitKind::ALL.into_iter().zip(self.0).filter(|&(_, value)| value != 0)
    }

    /// The fewest words that set these limits, with their values, in alphabetical order.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, String)> {
        let limits = *self;
        // A limit that is the same in both directions has the word for both.
        let joint = move |kind: LimitKind| {
            let word = LimitWord::ALL
                .into_iter()
                .find(|word| word.kinds.len() > 1 && word.kinds.contains(&kind));
            word.is_some_and(|word| {
                word.kinds.iter().all(|&kind| limits.get(kind) == limits.get(word.kinds[0]))
            })
        };
        LimitWord::ALL.into_iter().filter_map(move |word| {
            let kind = word.kinds[0];
            let value = limits.get(kind);
            let shown = value != 0 && joint(kind) == (word.kinds.len() > 1);
            shown.then(|| (word.name, kind.unit().print(value)))
        })
    }

    /// A burst that has no rate to exceed: the words of both.
    pub fn lone_burst(&self) -> Option<(&'static str, &'static str)> {
        use LimitKind::{RxBurst, RxRate, TxBurst, TxRate};
        let pairs = [(RxBurst, RxRate), (TxBurst, TxRate)];
        let alone =
            pairs.into_iter().find(|&(burst, rate)| self.get(burst) != 0 && self.get(rate) == 0);
        alone.map(|(burst, rate)| (burst.name(), rate.name()))
    }
}

impl std::fmt::Display for Limits {
    /// The words, as commands take them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (word, value)) in self.words().enumerate() {
            write!(f, "{}{word} {value}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// A limit that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// The word whose value it is; `None` if there is no such word.
    word: Option<LimitWord>,
    text: String,
}

impl std::fmt::Display for LimitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = &self.text;
        match self.word {
            Some(word) => write!(f, "{}: {text:?} is not {}", word.name, word.expected()),
            None => {
                let words = LimitWord::ALL.map(|word| word.name).join(", ");
                write!(f, "{text:?} is not a limit, expected one of {words}")
            }
        }
    }
}

impl std::error::Error for LimitError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(words: &[(&str, &str)]) -> Limits {
        let mut limits = Limits::default();
        words.iter().for_each(|(word, value)| limits.set(word, value).unwrap());
        limits
    }

    #[test]
    fn values_have_the_units_of_tc() {
        for (text, bits) in [
            ("100mbit", 100_000_000),
            ("1Gbit", 1_000_000_000),
            ("2.5gbit", 2_500_000_000),
            ("10mbps", 80_000_000),
            ("1kibit", 1024),
            ("9600", 9600),
            ("none", 0),
            ("0", 0),
        ] {
            assert_eq!(limits(&[("rx_rate", text)]).get(LimitKind::RxRate), bits, "{text}");
        }
        for (text, bytes) in
            [("64kb", 65_536), ("64k", 65_536), ("1m", 1 << 20), ("1500b", 1500), ("15", 15)]
        {
            assert_eq!(limits(&[("burst", text)]).get(LimitKind::TxBurst), bytes, "{text}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_what_was_expected() {
        for (word, text) in [
            ("rate", ""),
            ("rate", "fast"),
            ("rate", "-1mbit"),
            ("rate", "10"),
            ("rate", "100 mbit"),
            ("rate", "2tbit"),
            ("rate", "1.5bit"),
            ("rate", "1.mbit"),
            ("rate", "1.2.3mbit"),
            ("rate", "99999999999999999999"),
            ("rate", "18446744073709551615tbit"),
            ("burst", "5mbit"),
            ("burst", "4096mb"),
            ("pps", "1k"),
            ("pps", "4294967296"),
        ] {
            let error = Limits::default().set(word, text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{word}: {text:?} is not a")), "{error}");
        }
        let error = Limits::default().set("rat", "1").unwrap_err().to_string();
        assert!(
            error.starts_with("\"rat\" is not a limit, expected one of bcrate, burst"),
            "{error}"
        );
    }

    #[test]
    fn equal_limits_of_both_directions_have_one_word() {
        let both = limits(&[("rate", "100mbit"), ("burst", "64kb"), ("pps", "1000")]);
        assert_eq!(both.to_string(), "burst 64kb pps 1000 rate 100mbit");
        let differ = limits(&[("rate", "100mbit"), ("tx_rate", "1500kbit"), ("bcrate", "10")]);
        assert_eq!(differ.to_string(), "bcrate 10 rx_rate 100mbit tx_rate 1500kbit");
        assert_eq!(limits(&[("rate", "5bit"), ("rx_rate", "none")]).to_string(), "tx_rate 5bit");
        assert!(limits(&[("rate", "9600"), ("rate", "none")]).is_empty());
    }

    #[test]
    fn a_burst_without_a_rate_is_found() {
        assert_eq!(limits(&[("burst", "1k")]).lone_burst(), Some(("rx_burst", "rx_rate")));
        let tx = [("rx_rate", "1mbit"), ("burst", "1k")];
        assert_eq!(limits(&tx).lone_burst(), Some(("tx_burst", "tx_rate")));
        assert_eq!(limits(&[("rate", "1mbit"), ("burst", "1k")]).lone_burst(), None);
    }

    #[test]
    fn words_are_in_alphabetical_order_and_name_their_limits() {
        assert!(LimitWord::ALL.map(|word| word.name).is_sorted_by(|a, b| a < b));
        assert!(LimitKind::ALL.map(LimitKind::name).is_sorted_by(|a, b| a < b));
        for (at, kind) in LimitKind::ALL.into_iter().enumerate() {
            assert_eq!(
                (kind as usize, LimitWord::named(kind.name()).unwrap().kinds),
                (at, &[kind][..])
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_again(values in prop::collection::vec(0..2_000_000_000_000_u64, 7), same: bool) {
            let mut given = Limits::default();
            for (kind, value) in LimitKind::ALL.into_iter().zip(values) {
                given = given.with(kind, value);
            }
            if same {
                given = given.with(LimitKind::TxRate, given.get(LimitKind::RxRate));
            }
            let mut read = Limits::default();
            for (word, value) in given.words() {
                read.set(word, &value).unwrap();
            }
            prop_assert_eq!(read, given);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "[0-9.a-zA-Z -]{0,24}") {
            for word in LimitWord::ALL {
                let _ = word.parse(&text);
            }
        }
    }
}
