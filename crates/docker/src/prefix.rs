//! [`Prefix`]: an IP address with its prefix length, as in `192.0.2.7/24`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

/// An IP address and its prefix length.
#[derive(Clone, Copy, Debug, DeserializeFromStr, PartialEq, Eq, SerializeDisplay)]
pub(crate) struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    /// True for `0.0.0.0/0` and `::/0`, which stand for no addresses.
    pub(crate) const fn is_nothing(self) -> bool {
        self.length == 0 && self.address.is_unspecified()
    }

    /// True if `other` is an address of this subnet and has the same prefix length.
    pub(crate) fn has(self, other: Self) -> bool {
        self.length == other.length
            && match (self.address, other.address) {
                (IpAddr::V4(one), IpAddr::V4(other)) => {
                    same(one.to_bits().into(), other.to_bits().into(), 32 - self.length)
                }
                (IpAddr::V6(one), IpAddr::V6(other)) => {
                    same(one.to_bits(), other.to_bits(), 128 - self.length)
                }
                _ => false,
            }
    }
}

/// Whether two addresses are equal except for their last `bits` bits.
fn same(one: u128, other: u128, bits: u8) -> bool {
    (one ^ other).checked_shr(bits.into()).unwrap_or(0) == 0
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address with a prefix length, as in 192.0.2.7/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?;
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, address, has) in [
            ("10.0.0.0/8", "10.255.0.1/8", true),
            ("10.0.0.0/8", "11.0.0.1/8", false),
            ("10.0.0.0/8", "10.0.0.1/24", false),
            ("10.0.0.0/31", "10.0.0.1/31", true),
            ("10.0.0.0/31", "10.0.0.2/31", false),
            ("0.0.0.0/0", "10.0.0.2/0", true),
            ("2001:db8::/64", "2001:db8::7/64", true),
            ("2001:db8::/64", "2001:db8:1::7/64", false),
            ("::/0", "2001:db8::7/0", true),
            ("::/0", "10.0.0.2/0", false),
        ] {
            assert_eq!(prefix(network).has(prefix(address)), has, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "::/129", "a/8", "1.2.3/8"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        assert_eq!(prefix("::1/128").to_string(), "::1/128");
    }
}
