//! [`VlanName`]: the name of a parent that is a VLAN of an interface.

use super::{VlanPath, VlanRangeError};

/// A parsed name like `eth0.10`, or `eth0.10.20` for a VLAN inside a VLAN.
///
/// The name of an interface may itself contain dots and numbers, so a name can have two
/// [readings](Self::readings). The caller chooses by the interfaces that exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VlanName {
    /// The interface that carries the VLAN.
    pub link: String,
    /// The VLAN.
    pub vlan: VlanPath,
}

/// A name that is not that of a VLAN. The texts are those of Docker's own macvlan driver, for users
/// who search for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VlanNameError {
    /// The name of the interface in front of the VLAN is empty.
    #[error(
        "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {0}"
    )]
    NoLink(String),
    /// The text behind the dot is no number.
    #[error("unable to parse a valid vlan id from: {0} (ex. eth0.10 for vlan 10)")]
    NoNumber(String),
    /// The name has no dot.
    #[error("invalid subinterface vlan name {0}, example formatting is eth0.10")]
    NoVlan(String),
    /// The number is no VLAN identifier.
    #[error(transparent)]
    Range(#[from] VlanRangeError),
}

impl VlanName {
    /// Parses a name with as many VLANs as it can have: `eth0.10.20` is VLAN 20 inside VLAN 10 of
    /// `eth0`.
    ///
    /// # Errors
    /// The name is not that of a VLAN.
    pub fn parse(name: &str) -> Result<Self, VlanNameError> {
        let no_vlan = || VlanNameError::NoVlan(name.to_owned());
        let (front, inner) = name.rsplit_once('.').ok_or_else(no_vlan)?;
        let inner = vid(inner)?;
        let (link, vlan) = match front.rsplit_once('.') {
            Some((link, outer)) if is_number(outer) => {
                (link, VlanPath::stacked(vid(outer)?, inner)?)
            }
            _ => (front, VlanPath::single(inner)?),
        };
        match link.is_empty() {
            true => Err(VlanNameError::NoLink(name.to_owned())),
            false => Ok(Self { link: link.to_owned(), vlan }),
        }
    }

    /// Every reading of the name, the one with the longest interface first: `eth0.10.20` is VLAN 20
    /// of an interface `eth0.10` if there is one, and else what [`parse`](Self::parse) returns. The
    /// iterator is empty for a name that is not that of a VLAN.
    pub fn readings(name: &str) -> impl Iterator<Item = Self> {
        let last = name.rsplit_once('.').filter(|(link, _)| !link.is_empty());
        let last = last.and_then(|(link, inner)| {
            let vlan = VlanPath::single(vid(inner).ok()?).ok()?;
            Some(Self { link: link.to_owned(), vlan })
        });
        let whole = Self::parse(name).ok().filter(|whole| Some(whole) != last.as_ref());
        last.into_iter().chain(whole)
    }
}

/// The number in this text, valid or not.
fn vid(text: &str) -> Result<i64, VlanNameError> {
    let number = if text.starts_with('+') { None } else { text.parse().ok() };
    number.ok_or_else(|| VlanNameError::NoNumber(text.to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(name: &str) -> (String, String) {
        let VlanName { link, vlan } = VlanName::parse(name).unwrap();
        (link, vlan.to_string())
    }

    fn error_text(name: &str) -> String {
        VlanName::parse(name).unwrap_err().to_string()
    }

    #[test]
    fn one_number_is_a_vlan_and_two_are_a_vlan_in_a_vlan() {
        for (name, link, vlan) in [
            ("eth0.10", "eth0", "10"),
            ("eth0.1", "eth0", "1"),
            ("eth0.4094", "eth0", "4094"),
            ("eth0.10.20", "eth0", "10.20"),
            ("my.nic.10", "my.nic", "10"),
            ("eth0.5.10.20", "eth0.5", "10.20"),
        ] {
            assert_eq!(parsed(name), (link.to_owned(), vlan.to_owned()));
        }
    }

    #[test]
    fn a_name_without_a_vlan_is_an_error_with_the_text_of_docker() {
        for (name, words) in [
            ("en0", "invalid subinterface vlan name en0, example formatting is eth0.10"),
            ("eth0.0", "vlan id must be between 1-4094, received: 0"),
            ("eth0.4095", "vlan id must be between 1-4094, received: 4095"),
            ("eth0.-1", "vlan id must be between 1-4094, received: -1"),
            ("eth0.4095.20", "vlan id must be between 1-4094, received: 4095"),
            ("eth0.10.0", "vlan id must be between 1-4094, received: 0"),
            ("eth0.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
            ("eth0.", "unable to parse a valid vlan id from:  (ex. eth0.10 for vlan 10)"),
            ("eth0.+7", "unable to parse a valid vlan id from: +7 (ex. eth0.10 for vlan 10)"),
            (
                ".10",
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, \
                 instead received .10",
            ),
        ] {
            assert_eq!(error_text(name), words);
        }
    }

    #[test]
    fn the_reading_with_the_longest_interface_comes_first() {
        let read = |name| -> Vec<_> {
            VlanName::readings(name).map(|it| format!("{} {}", it.link, it.vlan)).collect()
        };
        assert_eq!(read("eth0.10"), ["eth0 10"]);
        assert_eq!(read("eth0.10.20"), ["eth0.10 20", "eth0 10.20"]);
        assert_eq!(read("eth0.4095.20"), ["eth0.4095 20"]);
        for nothing in ["eth0", "eth0.0", ".10", "eth0.x"] {
            assert!(read(nothing).is_empty(), "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn parsing_inverts_formatting(
            link in "[a-z]{1,8}", outer in 1..=4094_i64, inner in proptest::option::of(1..=4094_i64),
        ) {
            let vlan = match inner {
                Some(inner) => VlanPath::stacked(outer, inner).unwrap(),
                None => VlanPath::single(outer).unwrap(),
            };
            let name = format!("{link}.{vlan}");
            prop_assert_eq!(VlanName::parse(&name).unwrap(), VlanName { link, vlan });
        }

        #[test]
        fn parsing_never_panics(text in ".{0,30}") {
            if let Ok(name) = VlanName::parse(&text) {
                prop_assert!(VlanName::readings(&text).any(|reading| reading == name));
            }
        }
    }
}
