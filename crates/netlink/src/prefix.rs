//! [`IpPrefix`]: an address and how much of it names a network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address, and how many of its first bits name its network: `10.1.2.3/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    ip: IpAddr,
    len: u8,
}

/// Text that is no [`IpPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no address with a prefix length, as 10.1.2.3/24 or fd00::3/64 is")]
pub struct IpPrefixError(String);

impl IpPrefix {
    /// The address `ip` with the first `len` bits as its network; `None` if it has fewer bits.
    pub fn new(ip: IpAddr, len: u8) -> Option<Self> {
        (len <= bits(ip)).then_some(Self { ip, len })
    }

    /// Everything that has an address of the same family as `ip`: `0.0.0.0/0` or `::/0`.
    pub const fn everything(ip: IpAddr) -> Self {
        let ip = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { ip, len: 0 }
    }

    /// The whole address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// How many of its first bits name the network.
    pub const fn len(self) -> u8 {
        self.len
    }

    /// It has no bits that name a network, so everything of its family is in it.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The network alone, all other bits zero.
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

    /// The address of everybody in an IPv4 network; `None` for IPv6 and for a network of one or
    /// two (RFC 3021).
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
            // A sign is no digit.
            let len = len.bytes().all(|byte| byte.is_ascii_digit()).then_some(len)?;
            Self::new(ip.parse().ok()?, len.parse().ok()?)
        };
        read().ok_or_else(|| IpPrefixError(text.to_owned()))
    }
}

fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_read_is_shown_again() {
        for text in ["10.1.2.3/24", "0.0.0.0/0", "fd00::3/64", "::/0", "10.1.2.3/32", "::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_with_a_length_is_refused() {
        for text in ["", "/", "10.1.2.3", "10.1.2.3/", "10.1.2.3/33", "::/129", "::/+1", "a/1"] {
            let error = text.parse::<IpPrefix>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }

    #[test]
    fn the_network_has_no_bits_of_the_host() {
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
    fn only_a_network_of_more_than_two_has_a_broadcast_address() {
        let of = |text| prefix(text).broadcast();
        assert_eq!(of("10.1.2.3/24"), Some(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(of("10.1.2.3/0"), Some(Ipv4Addr::BROADCAST));
        assert_eq!((of("10.1.2.3/31"), of("10.1.2.3/32"), of("fd00::3/64")), (None, None, None));
    }
}
