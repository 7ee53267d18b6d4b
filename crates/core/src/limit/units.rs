//! [`Unit`]: what values of limits count, and how they are written.

/// What the value of a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bits per second.
    Bits,
    /// Bytes.
    Bytes,
    /// Frames per second.
    Frames,
}

impl Unit {
    /// What a value has to be, for error messages.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Bits => "a rate up to 1tbit, as in 100mbit or 1gbit, or none",
            Self::Bytes => "a size up to 4095mb, as in 64kb or 1mb, or none",
            Self::Frames => "a whole number of frames per second up to 4294967295, or none",
        }
    }

    /// The largest value.
    pub(super) const fn most(self) -> u64 {
        match self {
            Self::Bits => 1_000_000_000_000,
            Self::Bytes | Self::Frames => u32::MAX as u64,
        }
    }

    /// The smallest value above zero that needs no unit: `rate 10` would pass one frame in ten minutes.
    pub(super) const fn least_bare(self) -> u64 {
        match self {
            Self::Bits => 8000,
            Self::Bytes | Self::Frames => 1,
        }
    }

    /// The suffixes of tc(8), the first one of each size being the one that is printed.
    const fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Bits => &[
                ("tbit", 1_000_000_000_000),
                ("gbit", 1_000_000_000),
                ("mbit", 1_000_000),
                ("kbit", 1_000),
                ("bit", 1),
                ("tibit", 1 << 40),
                ("gibit", 1 << 30),
                ("mibit", 1 << 20),
                ("kibit", 1 << 10),
                ("tbps", 8_000_000_000_000),
                ("gbps", 8_000_000_000),
                ("mbps", 8_000_000),
                ("kbps", 8_000),
                ("bps", 8),
            ],
            Self::Bytes => &[
                ("gb", 1 << 30),
                ("mb", 1 << 20),
                ("kb", 1 << 10),
                ("b", 1),
                ("g", 1 << 30),
                ("m", 1 << 20),
                ("k", 1 << 10),
            ],
            Self::Frames => &[],
        }
    }

    /// Parses a number with a unit of tc(8) behind it or without.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        let text = text.to_ascii_lowercase();
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = text.split_at(digits);
        let factor = match suffix {
            "" => 1,
            _ => self.suffixes().iter().find(|(known, _)| *known == suffix)?.1,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 || (number.ends_with('.')) {
            return None;
        }
        let value = whole.parse::<u64>().ok()?.checked_mul(factor)?;
        if fraction.is_empty() {
            return Some(value);
        }
        let parts = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
        // A fraction of a bit, a byte or a frame is a mistake.
        let exact = part.is_multiple_of(parts);
        let part = u64::try_from(part / parts).ok()?;
        if exact { value.checked_add(part) } else { None }
    }

    /// A value with the largest unit of which it is a whole number.
    pub(super) fn print(self, value: u64) -> String {
        let fits = |&&(_, factor): &&(&str, u64)| value.is_multiple_of(factor);
        match self.suffixes().iter().find(fits) {
            Some((suffix, factor)) => format!("{}{suffix}", value / factor),
            None => value.to_string(),
        }
    }
}
