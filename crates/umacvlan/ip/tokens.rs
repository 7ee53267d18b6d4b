//! [`Tokens`]: the arguments from left to right, and iproute2's parsers of names and numbers.

use umacvlan_core::{MacAddr, ifname};

use super::error::{CommandError, FAILED};

/// The remaining arguments.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [String],
}

impl<'a> Tokens<'a> {
    pub(super) const fn new(words: &'a [String]) -> Self {
        Self { rest: words }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The words as a slice.
    pub(super) const fn rest(&self) -> &'a [String] {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    /// The next word, as the value of the previous one.
    pub(super) fn value(&mut self) -> Result<&'a str, CommandError> {
        self.next().ok_or_else(CommandError::incomplete)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }
}

/// Whether `word` is `full` or a beginning of it: iproute2's `matches()`.
pub(crate) fn abbreviates(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

/// Checks the name of a new interface.
pub(super) fn new_name<'a>(key: &str, name: &'a str) -> Result<&'a str, CommandError> {
    checked_name(key, name, ifname::MAX_LEN)
}

/// Checks the name of an existing interface; alternative names may be longer.
pub(super) fn known_name(name: &str) -> Result<&str, CommandError> {
    checked_name("dev", name, 127)
}

fn checked_name<'a>(key: &str, name: &'a str, longest: usize) -> Result<&'a str, CommandError> {
    let plain = |byte: u8| byte != b'/' && !byte.is_ascii_whitespace() && byte != b'\x0b';
    if (1..=longest).contains(&name.len()) && name.bytes().all(plain) {
        Ok(name)
    } else {
        Err(CommandError::wrong(name, &format!("\"{key}\" not a valid ifname")))
    }
}

/// Parses a number as strtol(3) does: leading blanks, a sign, octal after 0, hexadecimal after 0x.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    // `from_str_radix` would accept a second sign.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

/// Parses a link-layer address as `ip` does: hexadecimal groups between colons, or an IPv4 address.
/// It may have any number of bytes.
pub(super) fn link_address(text: &str) -> Result<Vec<u8>, CommandError> {
    if !text.contains(':')
        && let Ok(ip) = text.parse::<std::net::Ipv4Addr>()
    {
        return Ok(ip.octets().to_vec());
    }
    text.split(':').map(octet).collect()
}

/// The Ethernet address of six bytes; `None` for another length.
pub(super) fn mac_address(bytes: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddr::new)
}

/// Parses a group as sscanf(3) does: only its leading digits count.
fn octet(group: &str) -> Result<u8, CommandError> {
    let digits = group.strip_prefix("0x").unwrap_or(group);
    let end = digits.find(|sign: char| !sign.is_ascii_hexdigit()).unwrap_or(digits.len());
    let number = u32::from_str_radix(&digits[..end], 16).ok();
    let octet = number.and_then(|number| u8::try_from(number).ok());
    octet.ok_or_else(|| CommandError::new(FAILED, format!("\"{group}\" is invalid lladdr.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_in_c() {
        for (text, wanted) in [
            ("1400", Some(1400)),
            (" 1400", Some(1400)),
            ("+1400", Some(1400)),
            ("-1", Some(-1)),
            ("0x500", Some(1280)),
            ("02500", Some(1344)),
            ("0", Some(0)),
            ("", None),
            ("-", None),
            ("0x", None),
            ("08", None),
            ("+-1", None),
            ("1400x", None),
            ("1400.5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(number(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn addresses_are_read_as_loosely_as_ip_does() {
        let bytes = |text| link_address(text).map_err(|error| error.text);
        assert_eq!(bytes("02:00:5e:10:00:01").unwrap(), [2, 0, 0x5e, 16, 0, 1]);
        assert_eq!(bytes("2:0:0:0:0:aa").unwrap(), [2, 0, 0, 0, 0, 0xaa]);
        assert_eq!(bytes("02:00:00:00:00:0z").unwrap(), [2, 0, 0, 0, 0, 0]);
        assert_eq!(bytes("foo").unwrap(), [15]);
        assert_eq!(bytes("1.2.3.4").unwrap(), [1, 2, 3, 4]);
        for (text, group) in [("02:00:00:00:00:1ff", "1ff"), ("x", "x"), ("02:", ""), ("", "")] {
            assert_eq!(bytes(text).unwrap_err(), format!("\"{group}\" is invalid lladdr."));
        }
    }

    #[test]
    fn invalid_interface_names_are_refused() {
        for name in ["", "a/b", "x y", "longer-than-15-b"] {
            let error = new_name("name", name).unwrap_err();
            let text = format!("Error: argument \"{name}\" is wrong: \"name\" not a valid ifname");
            assert_eq!((error.text, error.status), (text, 255));
        }
        new_name("name", "averylongname15").unwrap();
        known_name("an alternative name may be long".replace(' ', "-").as_str()).unwrap();
    }
}
