//! [`Version`]: which edition of the specification a configuration is written for.

use super::error::{CniError, DECODING, INCOMPATIBLE};

/// All editions there are, which are those that this plugin speaks.
pub(super) const SUPPORTED: [&str; 7] =
    ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// An edition by its three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// From here on results have lists of interfaces and addresses.
    pub(super) const LISTS: Self = Self(0, 3, 0);
    /// From here on there is `CHECK`.
    pub(super) const CHECK: Self = Self(0, 4, 0);
    /// From here on an address does not say of which family it is.
    pub(super) const NO_FAMILY: Self = Self(1, 0, 0);
    /// From here on there are `GC`, `STATUS`, and more to tell of interfaces and routes.
    pub(super) const DETAILS: Self = Self(1, 1, 0);

    /// The edition that `text` names; none is the first.
    ///
    /// # Errors
    /// If it is no version, or one that nobody has written yet.
    pub(super) fn read(text: &str) -> Result<Self, CniError> {
        if text.is_empty() {
            return Ok(Self(0, 1, 0));
        }
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        let version = match numbers.as_deref() {
            Some(&[major]) => Self(major, 0, 0),
            Some(&[major, minor]) => Self(major, minor, 0),
            Some(&[major, minor, micro]) => Self(major, minor, micro),
            _ => return Err(CniError::new(DECODING, format!("invalid cniVersion {text:?}"))),
        };
        if !SUPPORTED.contains(&text) {
            let all = SUPPORTED.map(|version| format!("{version:?}")).join(" ");
            return Err(CniError::new(INCOMPATIBLE, "incompatible CNI versions")
                .with_details(format!("config is {text:?}, plugin supports [{all}]")));
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_are_in_order_and_none_is_the_first() {
        let read = SUPPORTED.map(|text| Version::read(text).unwrap());
        assert!(read.is_sorted());
        assert_eq!(Version::read("").unwrap(), read[0]);
        assert_eq!((read[2], read[4], read[6]), (Version::LISTS, Version::CHECK, Version::DETAILS));
    }

    #[test]
    fn what_is_no_edition_is_refused() {
        for (text, code) in [("1.2.0", 1), ("2", 1), ("x", 6), ("1.0.0.0", 6), ("-1.0.0", 6)] {
            assert_eq!(Version::read(text).unwrap_err().code, code, "{text}");
        }
    }
}
