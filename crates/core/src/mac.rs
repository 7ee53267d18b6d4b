//! [`MacAddr`]: a 48-bit Ethernet address.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address, in wire order.
///
/// ```
/// use umacvlan_core::MacAddr;
///
/// let mac: MacAddr = "02:00:5e:10:00:01".parse()?;
/// assert!(mac.is_valid_unicast() && mac.is_locally_administered());
/// assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`, the broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// `00:00:00:00:00:00`, which no interface may have.
    pub const ZERO: Self = Self([0; 6]);

    /// The address with these six bytes, in wire order.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six bytes, in wire order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// True for multicast and broadcast: the group bit is set.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// True for `ff:ff:ff:ff:ff:ff`.
    pub const fn is_broadcast(self) -> bool {
        self.to_u64() == Self::BROADCAST.to_u64()
    }

    /// True for a locally administered address, false for one that a manufacturer assigned.
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// True for an address that an interface may have: neither a group nor zero, as
    /// `is_valid_ether_addr` of the kernel's `etherdevice.h`.
    pub const fn is_valid_unicast(self) -> bool {
        !self.is_group() && self.to_u64() != 0
    }

    /// The address as a number below 2^48: the form in which the switch hashes and compares it.
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address: six groups of two hex digits, as in 02:00:5e:10:00:01")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Parses exactly six groups of exactly two hex digits with colons between them.
    ///
    /// # Errors
    /// Anything else, including forms that `u8::from_str_radix` accepts (`+a`).
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let error = || ParseMacError(text.to_owned());
        let mut octets = [0; 6];
        let mut groups = text.split(':');
        for octet in &mut octets {
            let group = groups.next().ok_or_else(error)?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *octet = u8::from_str_radix(group, 16).map_err(|_| error())?;
        }
        match groups.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(error()),
        }
    }
}

/// The FNV-1a hash of a name, from which stable addresses are made: unlike the hashes of std it is the
/// same in every release.
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let text = "02:0a:ff:00:5e:10";
        assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), text);
        assert_eq!("02:0A:FF:00:5E:10".parse::<MacAddr>().unwrap().to_string(), text);
    }

    #[test]
    fn refuses_everything_but_six_pairs_of_hex_digits() {
        for bad in [
            "",
            "02",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "02:00:00:00:00:0",
            "+2:00:00:00:00:00",
            "02-00-00-00-00-00",
            "02:00:00:00:00:0g",
            " 02:00:00:00:00:00",
            "02:00:00:00:00:00 ",
            "2:0:0:0:0:0",
            "02:00:00:00:00:é",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn tells_unicast_addresses_from_groups() {
        assert!(MacAddr::BROADCAST.is_group() && MacAddr::BROADCAST.is_broadcast());
        assert!(MacAddr::new([1, 0, 0x5e, 0, 0, 1]).is_group());
        assert!(!MacAddr::ZERO.is_valid_unicast());
        assert!(MacAddr::new([2, 0, 0, 0, 0, 1]).is_valid_unicast());
        assert!(MacAddr::new([2, 0, 0, 0, 0, 1]).is_locally_administered());
    }
}
