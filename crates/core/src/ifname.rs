//! The kernel's rules for the names of interfaces.

use std::fmt;

/// Bytes of the longest name (`IFNAMSIZ` of `linux/if.h`, less the zero byte at its end).
pub const MAX_LEN: usize = 15;

/// Why a text cannot be the name of an interface. `Display` continues "it ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfNameError {
    /// It has a colon in it.
    Colon,
    /// It has a control character in it, which a terminal would obey.
    Control,
    /// `.` or `..`, which would be a directory of sysfs.
    Directory,
    /// It has no characters.
    Empty,
    /// It has a per cent sign in it, which makes it a pattern.
    Percent,
    /// `all` or `default`, which the kernel's settings reserve (`/proc/sys/net/*/conf`).
    Reserved,
    /// It has a slash in it.
    Slash,
    /// It has a space in it.
    Space,
    /// It is longer than [`MAX_LEN`] bytes.
    TooLong,
}

/// Checks that an interface can have this name: the rules of `dev_valid_name` in `net/core/dev.c`,
/// and no control or reserved names.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check(name: &str) -> Result<(), IfNameError> {
    // The kernel reads bytes as Latin-1, in which 0xa0 is a space.
    let space = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0xa0);
    match name {
        "" => Err(IfNameError::Empty),
        "." | ".." => Err(IfNameError::Directory),
        "all" | "default" => Err(IfNameError::Reserved),
        _ if name.len() > MAX_LEN => Err(IfNameError::TooLong),
        _ if name.contains('/') => Err(IfNameError::Slash),
        _ if name.contains(':') => Err(IfNameError::Colon),
        _ if name.contains('%') => Err(IfNameError::Percent),
        _ if name.bytes().any(space) => Err(IfNameError::Space),
        _ if name.contains(char::is_control) => Err(IfNameError::Control),
        _ => Ok(()),
    }
}

impl fmt::Display for IfNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Colon => "has a colon in it",
            Self::Control => "has a control character in it",
            Self::Directory => "would be a directory of sysfs",
            Self::Empty => "is empty",
            Self::Percent => "has a per cent sign in it, which makes it a pattern",
            Self::Reserved => "is reserved by the kernel's settings",
            Self::Slash => "has a slash in it",
            Self::Space => "has a space in it",
            Self::TooLong => "is longer than 15 bytes",
        })
    }
}

impl std::error::Error for IfNameError {}

/// The pattern of a name for an interface that stands beside another one and is named after it, for
/// which the kernel puts a free number in the place of `%d`.
pub fn beside(name: &str, kind: char) -> String {
    let mut cut = name.len().min(BESIDE_LEN);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}-{kind}%d", name[..cut].replace('%', "_"))
}

/// Bytes of a name in those of the interfaces beside it: a dash, a letter and a number follow.
const BESIDE_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_15_bytes_and_no_character_that_the_kernel_refuses() {
        for good in ["a", "eth0.10", "fifteen-letters", "é-é", "0", "..."] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in
            ["", ".", "..", "all", "default", "sixteen-letters-", "ééééééééa", "a b", "a\u{b}b"]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for bad in ["a/b", "a:b", "a%d", "a\u{e0}", "a\0b", "\t"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_name_beside_another_one_says_whose_it_is_and_fits() {
        assert_eq!(beside("mac1", 'h'), "mac1-h%d");
        assert_eq!(beside("averylongname15", 's'), "averylongn-s%d");
        assert_eq!(beside("100%", 'h'), "100_-h%d");
        assert_eq!(beside("aaaaaaaaa\u{fc}b", 'h'), "aaaaaaaaa-h%d");
    }
}
