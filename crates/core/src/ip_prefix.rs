//! [`IpPrefix`]: an IP address with a prefix length; [`Destination`]: one address, or all of a
//! network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP address with the length of its network prefix: `10.1.2.3/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    ip: IpAddr,
    len: u8,
}

/// A text that is not an [`IpPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address with a prefix length, such as 10.1.2.3/24 or fd00::3/64")]
pub struct IpPrefixError(String);

impl IpPrefix {
    /// The address `ip` with a prefix of `len` bits; `None` if the address has fewer bits.
    pub fn new(ip: IpAddr, len: u8) -> Option<Self> {
        (len <= bits(ip)).then_some(Self { ip, len })
    }

    /// The prefix of every address of the family of `ip`: `0.0.0.0/0` or `::/0`.
    pub const fn any(ip: IpAddr) -> Self {
        let ip = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { ip, len: 0 }
    }

    /// The address, with its host bits.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// Bits of the prefix.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// True for `0.0.0.0/0` and `::/0`.
    pub fn is_any(self) -> bool {
        self == Self::any(self.ip)
    }

    /// True if the prefix has all bits, so that the network is this address alone.
    pub const fn is_single(self) -> bool {
        self.len == bits(self.ip)
    }

    /// True if `ip` is in the network.
    pub fn contains(self, ip: IpAddr) -> bool {
        Self::new(ip, self.len).is_some_and(|other| other.network() == self.network())
    }

    /// The network, with the host bits zero.
    pub fn network(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.len)).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.len)).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        };
        Self { ip, len: self.len }
    }

    /// The broadcast address of an IPv4 network; `None` for IPv6 and for prefixes of 31 and 32 bits
    /// (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.ip {
            IpAddr::V4(ip) if self.len < 31 => {
                let others = u32::MAX.checked_shr(u32::from(self.len)).unwrap_or(0);
                Some(Ipv4Addr::from_bits(ip.to_bits() | others))
            }
            _ => None,
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let read = || {
            let (ip, len) = text.split_once('/')?;
            // `parse` alone accepts a plus sign.
            let len = len.bytes().all(|byte| byte.is_ascii_digit()).then_some(len)?;
            Self::new(ip.parse().ok()?, len.parse().ok()?)
        };
        read().ok_or_else(|| IpPrefixError(text.to_owned()))
    }
}

const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// One address, or all addresses of a network: `10.1.2.3` or `10.1.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination(IpPrefix);

/// A text that is not a [`Destination`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network, such as 10.1.2.3, 10.1.2.0/24 or fd00::3")]
pub struct DestinationError(String);

impl Destination {
    /// The prefix of its addresses, with the host bits zero.
    pub const fn prefix(self) -> IpPrefix {
        self.0
    }

    /// The address, if it is a single one.
    pub fn address(self) -> Option<IpAddr> {
        self.0.is_single().then_some(self.0.ip)
    }
}

impl From<IpAddr> for Destination {
    fn from(ip: IpAddr) -> Self {
        Self(IpPrefix { ip, len: bits(ip) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(ip) => ip.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let wrong = || DestinationError(text.to_owned());
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(ip.into()),
            Err(_) => {
                text.parse().map(|prefix: IpPrefix| Self(prefix.network())).map_err(|_| wrong())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn parsing_and_formatting_are_inverse() {
        for text in ["10.1.2.3/24", "0.0.0.0/0", "fd00::3/64", "::/0", "10.1.2.3/32", "::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
    }

    #[test]
    fn a_text_without_an_address_or_a_length_is_refused() {
        for text in ["", "/", "10.1.2.3", "10.1.2.3/", "10.1.2.3/33", "::/129", "::/+1", "a/1"] {
            let error = text.parse::<IpPrefix>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }

    #[test]
    fn a_destination_is_an_address_or_a_network() {
        for (text, shown) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("fd00::3", "fd00::3"),
            ("fd00::3/64", "fd00::/64"),
        ] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(read.address().is_some(), !shown.contains('/'));
        }
        for text in ["", "10.1.2", "10.1.2.3/33", "web", "fd00::3/64/1"] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn the_host_bits_of_a_network_are_zero() {
        for (text, network) in [
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("fd00::3/64", "fd00::/64"),
            ("fd00::3/0", "::/0"),
            ("fd00::3/128", "fd00::3/128"),
        ] {
            assert_eq!(prefix(text).network(), prefix(network), "{text}");
        }
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, ip, contained) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.9/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("0.0.0.0/0", "10.0.0.2", true),
            ("2001:db8::/64", "2001:db8::7", true),
            ("2001:db8::/64", "2001:db8:1::7", false),
            ("::/0", "2001:db8::7", true),
            ("::/0", "10.0.0.2", false),
            ("10.0.0.0/8", "a00::1", false),
        ] {
            assert_eq!(prefix(network).contains(ip.parse().unwrap()), contained, "{network} {ip}");
        }
        assert!(prefix("::/0").is_any() && !prefix("10.0.0.0/0").is_any());
    }

    #[test]
    fn only_a_network_of_more_than_two_addresses_has_a_broadcast_address() {
        let of = |text| prefix(text).broadcast();
        assert_eq!(of("10.1.2.3/24"), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(of("10.1.2.3/0"), Some(Ipv4Addr::BROADCAST));
        assert_eq!((of("10.1.2.3/31"), of("10.1.2.3/32"), of("fd00::3/64")), (None, None, None));
    }
}
