//! [`EtherType`]: an EtherType with the words of tc(8).

use std::fmt;
use std::str::FromStr;

use crate::Frame;

/// Numbers below are the length of an IEEE 802.3 frame.
const FIRST: u16 = 0x600;

/// The EtherType of a frame; all frames that have a length in its place count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(u16);

const NAMES: [(&str, u16); 8] = [
    ("802.1Q", 0x8100),
    ("802.1ad", 0x88a8),
    ("802_3", 0),
    ("arp", 0x0806),
    ("eapol", 0x888e),
    ("ipv4", 0x0800),
    ("ipv6", 0x86dd),
    ("lldp", 0x88cc),
];

impl EtherType {
    /// ARP.
    pub(super) const ARP: Self = Self(0x0806);
    /// RARP, whose packets have the fields of ARP.
    pub(super) const RARP: Self = Self(0x8035);
    /// IPv4.
    pub(super) const IPV4: Self = Self(0x0800);
    /// IPv6.
    pub(super) const IPV6: Self = Self(0x86dd);

    /// The EtherType with this number; lengths become one.
    pub const fn new(number: u16) -> Self {
        if number < FIRST { Self(0) } else { Self(number) }
    }

    /// Its number; 0 for lengths.
    pub(crate) const fn number(self) -> u16 {
        self.0
    }

    /// The types of a frame: that of its outer tag, unless it only has a priority, and what follows.
    pub(crate) fn of(frame: Frame<'_>) -> [Self; 2] {
        let inner = Self::new(frame.ethertype_untagged());
        match frame.tag() {
            Some(tag) if tag.vid() != 0 => [Self::new(tag.tpid), inner],
            _ => [inner; 2],
        }
    }
}

impl FromStr for EtherType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some(&(_, number)) = named {
            return Ok(Self(number));
        }
        if text.eq_ignore_ascii_case("ip") {
            return Ok(Self::IPV4);
        }
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).ok_or(())?;
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u16::from_str_radix(hex, 16).ok().filter(|_| digits).ok_or(())?;
        if number < FIRST { Err(()) } else { Ok(Self(number)) }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_names_or_hexadecimal_numbers() {
        for (text, shown) in [
            ("ipv4", "ipv4"),
            ("IP", "ipv4"),
            ("0x0800", "ipv4"),
            ("0x88B5", "0x88b5"),
            ("0x600", "0x0600"),
            ("802.1q", "802.1Q"),
            ("802_3", "802_3"),
        ] {
            let read: EtherType = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(shown.parse(), Ok(read));
        }
        for text in ["", "0x", "0x5ff", "0x10000", "2048", "0x+800", "ipx"] {
            assert!(text.parse::<EtherType>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_frame_has_the_type_of_its_tag_and_the_one_behind_it() {
        let types = |bytes: &[u8]| {
            let frame = [&[2; 12], bytes, &[0; 20]].concat();
            EtherType::of(Frame::new(&frame).unwrap()).map(|kind| kind.to_string())
        };
        assert_eq!(types(&[8, 0]), ["ipv4", "ipv4"]);
        assert_eq!(types(&[0x81, 0, 0, 7, 8, 6]), ["802.1Q", "arp"]);
        assert_eq!(types(&[0x81, 0, 0x20, 0, 8, 6]), ["arp", "arp"]);
        assert_eq!(types(&[0x88, 0xa8, 0, 7, 0x81, 0]), ["802.1ad", "802.1Q"]);
        assert_eq!(types(&[0, 38]), ["802_3", "802_3"]);
    }
}
