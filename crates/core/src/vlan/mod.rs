//! VLANs of an interface: their names, their tags, and which parent a frame belongs to.
//!
//! The switch of a VLAN is a [`Switch`](crate::Switch) like any other and sees no tags: the engine
//! removes them before the decision and adds them to a frame for the wire.

mod name;
mod table;

use std::fmt;

use crate::frame::{SERVICE_VLAN, TAG_LEN, Tag, VLAN};

pub use name::{VlanName, VlanNameError};
pub use table::{VlanTable, tag_after_addresses};

/// The valid VLAN identifiers (IEEE 802.1Q): 0 means no VLAN, and 4095 is reserved.
pub const VIDS: std::ops::RangeInclusive<u16> = 1..=4094;

/// Bytes of the longest path: two tags.
pub const TAGS_LEN: usize = 2 * TAG_LEN;

/// The tags that select one parent among those of an interface: none, one, or two with the outer
/// one first.
///
/// ```
/// use umacvlan_core::VlanPath;
///
/// let path = VlanPath::stacked(10, 20)?;
/// assert_eq!(path.as_bytes(), [0x88, 0xa8, 0, 10, 0x81, 0, 0, 20]);
/// assert_eq!(path.to_string(), "10.20");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanPath {
    /// The tags in wire order.
    bytes: [u8; TAGS_LEN],
    /// Their length in bytes.
    len: u8,
}

/// A number that is no VLAN identifier. The text is that of Docker's own macvlan driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vlan id must be between 1-4094, received: {0}")]
pub struct VlanRangeError(pub i64);

impl VlanPath {
    /// No tag.
    pub const UNTAGGED: Self = Self { bytes: [0; TAGS_LEN], len: 0 };

    /// One tag of the usual kind (802.1Q, 0x8100), as `ip link add .. type vlan id N` has it.
    ///
    /// # Errors
    /// The number is not in [`VIDS`].
    pub fn single(vid: i64) -> Result<Self, VlanRangeError> {
        Ok(Self::UNTAGGED.push(VLAN, check(vid)?))
    }

    /// A tag of the usual kind inside a provider's (802.1ad, 0x88a8).
    ///
    /// # Errors
    /// One of the numbers is not in [`VIDS`].
    pub fn stacked(outer: i64, inner: i64) -> Result<Self, VlanRangeError> {
        let (outer, inner) = (check(outer)?, check(inner)?);
        Ok(Self::UNTAGGED.push(SERVICE_VLAN, outer).push(VLAN, inner))
    }

    /// The path with one more tag inside.
    fn push(mut self, tpid: u16, vid: u16) -> Self {
        let at = usize::from(self.len);
        self.bytes[at..at + 2].copy_from_slice(&tpid.to_be_bytes());
        self.bytes[at + 2..at + TAG_LEN].copy_from_slice(&vid.to_be_bytes());
        Self { len: self.len + 4, ..self }
    }

    /// True for the path without tags.
    #[inline]
    pub const fn is_untagged(&self) -> bool {
        self.len == 0
    }

    /// The tags in wire order, with priority 0: 0, 4 or 8 bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The tags, the outer one first.
    pub fn tags(&self) -> impl Iterator<Item = Tag> {
        let (tags, _) = self.as_bytes().as_chunks();
        tags.iter().map(|&[a, b, c, d]| Tag {
            tpid: u16::from_be_bytes([a, b]),
            tci: u16::from_be_bytes([c, d]),
        })
    }

    /// The MTU of a parent with these tags on an interface with this MTU, both in bytes.
    ///
    /// A frame with one tag may be four bytes longer than one without, on Ethernet and for packet
    /// sockets (`packet_snd` in `net/packet/af_packet.c`, which accepts 0x8100 and no other tag). A
    /// second tag takes its four bytes from the MTU.
    pub const fn mtu(&self, of_link: u32) -> u32 {
        match self.len {
            0 | 4 => of_link,
            len => of_link.saturating_sub(len as u32),
        }
    }
}

impl fmt::Display for VlanPath {
    /// Writes the identifiers with dots between them, as in a [`VlanName`]; nothing without a tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, tag) in self.tags().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            write!(f, "{dot}{}", tag.vid())?;
        }
        Ok(())
    }
}

fn check(vid: i64) -> Result<u16, VlanRangeError> {
    u16::try_from(vid).ok().filter(|vid| VIDS.contains(vid)).ok_or(VlanRangeError(vid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_tags_in_wire_order() {
        assert_eq!(VlanPath::single(10).unwrap().as_bytes(), [0x81, 0, 0, 10]);
        let stacked = VlanPath::stacked(256, 20).unwrap();
        assert_eq!(stacked.as_bytes(), [0x88, 0xa8, 1, 0, 0x81, 0, 0, 20]);
        let tags: Vec<_> = stacked.tags().collect();
        assert_eq!(tags, [Tag { tpid: 0x88a8, tci: 256 }, Tag { tpid: 0x8100, tci: 20 }]);
        assert_eq!(
            (stacked.to_string(), VlanPath::UNTAGGED.to_string()),
            ("256.20".into(), "".into())
        );
        assert!(VlanPath::UNTAGGED.is_untagged() && VlanPath::UNTAGGED.as_bytes().is_empty());
    }

    #[test]
    fn a_second_tag_takes_room_from_the_payload() {
        assert_eq!(VlanPath::UNTAGGED.mtu(1500), 1500);
        assert_eq!(VlanPath::single(1).unwrap().mtu(1500), 1500);
        assert_eq!(VlanPath::stacked(1, 1).unwrap().mtu(1500), 1492);
    }
}
