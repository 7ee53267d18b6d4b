//! [`VlanName`]: a parent's name that says which VLAN of which interface it is.

use super::{VlanPath, VlanRangeError};

/// A name like `eth0.10`, or `eth0.10.20` for a VLAN inside a VLAN, taken apart.
///
/// The name of an interface may itself have dots and numbers, so a name can have two
/// [readings](Self::readings); which one is meant is known by whoever knows the interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VlanName {
    /// The interface that carries the VLAN.
    pub link: String,
    /// The VLAN.
    pub vlan: VlanPath,
}

/// A name that names no VLAN. The texts are those of Docker's own macvlan driver, whose users
/// look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VlanNameError {
    /// The interface in front of the VLAN has no name.
    #[error(
        "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {0}"
    )]
    NoLink(String),
    /// What is behind the dot is no number.
    #[error("unable to parse a valid vlan id from: {0} (ex. eth0.10 for vlan 10)")]
    NoNumber(String),
    /// There is no dot in it.
    #[error("invalid subinterface vlan name {0}, example formatting is eth0.10")]
    NoVlan(String),
    /// The number is none of a VLAN.
    #[error(transparent)]
    Range(#[from] VlanRangeError),
}

impl VlanName {
    /// The name, with as many VLANs as it can have: `eth0.10.20` is VLAN 20 inside VLAN 10 of
    /// `eth0`.
    ///
    /// # Errors
    /// It names no VLAN, and why.
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

    /// Every way to read the name, the one with the longest interface first: `eth0.10.20` is
    /// VLAN 20 of an interface `eth0.10` if there is one, and else what [`parse`](Self::parse)
    /// makes of it. None for a name that names no VLAN.
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

/// The number in this text, whatever it is.
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

    fn complaint(name: &str) -> String {
        VlanName::parse(name).unwrap_err().to_string()
    }

    #[test]
    fn one_number_is_a_vlan_and_two_are_one_inside_the_other() {
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
    fn what_names_no_vlan_is_refused_in_the_words_of_docker() {
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
            assert_eq!(complaint(name), words);
        }
    }

    #[test]
    fn the_longest_interface_comes_first_among_the_readings() {
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
        fn a_name_that_is_put_together_is_taken_apart(
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
        fn no_text_is_too_strange(text in ".{0,30}") {
            if let Ok(name) = VlanName::parse(&text) {
                prop_assert!(VlanName::readings(&text).any(|reading| reading == name));
            }
        }
    }
}
