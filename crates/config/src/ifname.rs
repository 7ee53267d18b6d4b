//! Interface names, by the kernel's rules (`dev_valid_name` of `net/core/dev.c`).

/// The longest name of an interface, in bytes (`IFNAMSIZ` of `if.h`, less the zero at its end).
const LONGEST: usize = 15;

/// Why `name` is not a valid interface name; `None` if it is.
pub(super) fn wrong_with(name: &str) -> Option<&'static str> {
    // The kernel's isspace() works on bytes of Latin-1, in which 0xa0 is a space.
    let space = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0xa0);
    match name {
        "" => Some("is empty"),
        "." | ".." => Some("would be a directory of sysfs"),
        "all" | "default" => Some("is reserved by the kernel's settings"),
        _ if name.len() > LONGEST => Some("is longer than 15 bytes"),
        _ if name.contains('/') => Some("has a slash in it"),
        _ if name.contains(':') => Some("has a colon in it"),
        _ if name.contains('%') => Some("has a per cent sign in it, which makes it a pattern"),
        _ if name.bytes().any(space) => Some("has a space in it"),
        _ if name.chars().any(char::is_control) => Some("has a control character in it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_15_bytes_and_no_character_with_a_meaning() {
        for good in ["a", "eth0.10", "fifteen-letters", "é-é", "0", "..."] {
            assert_eq!(wrong_with(good), None, "{good:?}");
        }
        for bad in
            ["", ".", "..", "all", "default", "sixteen-letters-", "ééééééééa", "a b", "a\u{b}b"]
        {
            assert!(wrong_with(bad).is_some(), "{bad:?}");
        }
        for bad in ["a/b", "a:b", "a%d", "a\u{e0}", "a\0b", "\t"] {
            assert!(wrong_with(bad).is_some(), "{bad:?}");
        }
    }
}
