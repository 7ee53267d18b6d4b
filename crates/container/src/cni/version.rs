//! [`Version`]: the version of the CNI specification that a configuration is written for.

use super::error::{CniError, DECODING, INCOMPATIBLE};

/// The supported versions, which are all that exist.
pub(super) const SUPPORTED: [&str; 7] =
    ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

impl Version {
    /// Since this version results have lists of interfaces and addresses.
    pub(super) const LISTS: Self = Self(0, 3, 0);
    /// Since this version there is `CHECK`.
    pub(super) const CHECK: Self = Self(0, 4, 0);
    /// Since this version an address has no `version` field.
    pub(super) const NO_FAMILY: Self = Self(1, 0, 0);
    /// Since this version there are `GC`, `STATUS`, and more fields of interfaces and routes.
    pub(super) const DETAILS: Self = Self(1, 1, 0);

    /// Parses a version; an empty text is the first one.
    ///
    /// # Errors
    /// It is malformed or not supported.
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
    fn versions_are_ordered_and_an_empty_one_is_the_first() {
        let read = SUPPORTED.map(|text| Version::read(text).unwrap());
        assert!(read.is_sorted());
        assert_eq!(Version::read("").unwrap(), read[0]);
        assert_eq!((read[2], read[4], read[6]), (Version::LISTS, Version::CHECK, Version::DETAILS));
    }

    #[test]
    fn unknown_versions_are_refused() {
        for (text, code) in [("1.2.0", 1), ("2", 1), ("x", 6), ("1.0.0.0", 6), ("-1.0.0", 6)] {
            assert_eq!(Version::read(text).unwrap_err().code, code, "{text}");
        }
    }
}
