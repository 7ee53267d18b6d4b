//! [`IsolationGroup`]: which siblings a sub-interface exchanges frames with.

use std::fmt;
use std::str::FromStr;

/// The bytes of a name, at most.
const LEN: usize = 15;

/// The isolation group of a sub-interface.
///
/// As with a private VLAN, sub-interfaces without one exchange frames with all siblings, those of a
/// group among themselves, and those with [`Alone`](Self::Alone) with none that is isolated as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IsolationGroup {
    /// None.
    #[default]
    Off,
    /// A group of its own: an isolated port of a bridge.
    Alone,
    /// The group of this name.
    Named(GroupName),
}

/// The name of a group: up to 15 letters, digits, dots, hyphens and underscores.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupName([u8; LEN]);

impl IsolationGroup {
    /// True when sub-interfaces of these groups exchange no frames.
    pub fn is_apart(self, other: Self) -> bool {
        match (self, other) {
            (Self::Off, _) | (_, Self::Off) => false,
            (Self::Named(own), Self::Named(name)) => own != name,
            (Self::Alone, _) | (_, Self::Alone) => true,
        }
    }
}

impl FromStr for IsolationGroup {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" | "none" | "false" => return Ok(Self::Off),
            "on" | "true" => return Ok(Self::Alone),
            _ => {}
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let mut name = [0; LEN];
        match name.get_mut(..text.len()) {
            Some(room) if !text.is_empty() && text.bytes().all(fits) => {
                room.copy_from_slice(text.as_bytes());
                Ok(Self::Named(GroupName(name)))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", IsolationGroup::Named(*self))
    }
}

impl fmt::Display for IsolationGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Alone => f.write_str("on"),
            Self::Named(GroupName(name)) => {
                let letters = name.iter().take_while(|&&byte| byte != 0);
                letters.map(|&byte| char::from(byte)).try_for_each(|letter| write!(f, "{letter}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> IsolationGroup {
        text.parse().unwrap()
    }

    #[test]
    fn groups_are_kept_apart_like_the_ports_of_a_private_vlan() {
        for (a, b, apart) in [
            ("off", "off", false),
            ("off", "on", false),
            ("off", "web", false),
            ("web", "web", false),
            ("web", "db", true),
            ("web", "webs", true),
            ("on", "on", true),
            ("on", "web", true),
            ("1", "2", true),
        ] {
            assert_eq!(group(a).is_apart(group(b)), apart, "{a} {b}");
            assert_eq!(group(b).is_apart(group(a)), apart, "{b} {a}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["off", "on", "web", "7", "a.b-c_d", "123456789012345"] {
            assert_eq!(group(text).to_string(), text);
        }
        for text in ["", "1234567890123456", "a b", "a/b", "ü", "a\0"] {
            assert!(text.parse::<IsolationGroup>().is_err(), "{text:?}");
        }
    }
}
