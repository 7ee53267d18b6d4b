//! [`Human`]: counters as `ip -h` prints them.

/// The format of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ip) enum Human {
    /// In powers of 1024.
    Binary,
    /// In powers of 1000.
    Decimal,
    /// In full.
    #[default]
    Exact,
}

impl Human {
    pub(super) const fn new(human: bool, iec: bool) -> Self {
        match (human, iec) {
            (true, true) => Self::Binary,
            (true, false) => Self::Decimal,
            (false, _) => Self::Exact,
        }
    }

    /// Formats a count; short formats have three digits and a prefix.
    pub(super) fn count(self, count: u64) -> String {
        let (base, mark) = match self {
            Self::Binary => (1024, "i"),
            Self::Decimal => (1000, ""),
            Self::Exact => return count.to_string(),
        };
        let mut unit: u64 = 1;
        let mut prefixes = ["", "k", "M", "G", "T", "P", "E"].into_iter();
        let mut prefix = prefixes.next().unwrap_or_default();
        while count / unit >= base {
            unit *= base;
            prefix = prefixes.next().unwrap_or_default();
        }
        if unit == 1 {
            return count.to_string();
        }
        // As in `ip`, the digits are chosen before rounding, so there may be one more.
        let digits = match count / unit {
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        format!("{:.digits$}{prefix}{mark}", count as f64 / unit as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_as_short_as_ip_writes_them() {
        // Printed by iproute2 6.1 for a macvlan that has sent so many frames.
        for (count, decimal, binary) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1000, "1.00k", "1000"),
            (1005, "1.00k", "1005"),
            (1006, "1.01k", "1006"),
            (1024, "1.02k", "1.00ki"),
            (9995, "9.99k", "9.76ki"),
            (9999, "10.00k", "9.76ki"),
            (10_000, "10.0k", "9.77ki"),
            (99_950, "100.0k", "97.6ki"),
            (100_500, "100k", "98.1ki"),
            (999_600, "1000k", "976ki"),
            (1_000_000, "1.00M", "977ki"),
            (59_964_000, "60.0M", "57.2Mi"),
            (24_660_000_000, "24.7G", "23.0Gi"),
            (u64::MAX, "18.4E", "16.0Ei"),
        ] {
            assert_eq!(Human::Decimal.count(count), decimal);
            assert_eq!(Human::Binary.count(count), binary);
            assert_eq!(Human::Exact.count(count), count.to_string());
        }
    }
}
