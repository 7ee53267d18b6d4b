//! [`Frame`]: an Ethernet frame, checked once.

use crate::MacAddr;

/// Bytes of an Ethernet header: destination, source, EtherType.
pub const HEADER_LEN: usize = 14;

/// Bytes of one VLAN tag: TPID and TCI.
pub const TAG_LEN: usize = 4;

/// An Ethernet frame without its FCS, borrowed for one decision.
///
/// [`Frame::new`] is the only length check: no accessor can fail afterwards.
///
/// ```
/// use umacvlan_core::Frame;
///
/// let bytes = [0xff; 60];
/// let frame = Frame::new(&bytes).expect("60 bytes are no runt");
/// assert!(frame.dst().is_broadcast());
/// assert!(Frame::new(&bytes[..13]).is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A view of these bytes as a frame, or `None` for a runt: fewer than 14 bytes.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first_chunk() {
            Some(head) => Some(Self { head, bytes }),
            None => None,
        }
    }

    /// The destination address.
    #[inline]
    pub const fn dst(self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.head;
        MacAddr::new([a, b, c, d, e, f])
    }

    /// The source address.
    #[inline]
    pub const fn src(self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.head;
        MacAddr::new([a, b, c, d, e, f])
    }

    /// The destination as [`MacAddr::to_u64`] gives it, with a single load.
    #[inline]
    pub(crate) const fn dst_key(self) -> u64 {
        match self.head.first_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes) >> 16,
            // Not reached: a header is longer.
            None => 0,
        }
    }

    /// The source as [`MacAddr::to_u64`] gives it, with a single load.
    #[inline]
    pub(crate) const fn src_key(self) -> u64 {
        match self.head.last_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes) >> 16,
            // Not reached: a header is longer.
            None => 0,
        }
    }

    /// The two bytes behind the addresses: the EtherType, or the TPID of a tagged frame.
    #[inline]
    pub const fn ethertype(self) -> u16 {
        let [.., hi, lo] = *self.head;
        u16::from_be_bytes([hi, lo])
    }

    /// The outer VLAN tag, if there is a complete one.
    pub fn tag(self) -> Option<Tag> {
        let tpid = self.ethertype();
        if !is_tpid(tpid) {
            return None;
        }
        let tci = self.bytes.get(HEADER_LEN..)?.first_chunk()?;
        Some(Tag { tpid, tci: u16::from_be_bytes(*tci) })
    }

    /// The EtherType without the outer tag.
    pub(crate) fn ethertype_untagged(self) -> u16 {
        if self.tag().is_none() {
            return self.ethertype();
        }
        match self.bytes.get(HEADER_LEN + 2..) {
            Some(&[hi, lo, ..]) => u16::from_be_bytes([hi, lo]),
            // The tag is complete, but nothing follows it.
            _ => self.ethertype(),
        }
    }

    /// The whole frame, header included.
    #[inline]
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// A VLAN tag (IEEE 802.1Q). The switch ignores tags, except to detect MAC control behind one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The kind of tag: 0x8100 (802.1Q), or 0x88a8 for a provider's (802.1ad).
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier; zero marks a tag that only carries a priority.
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }
}

/// TPID of a customer's tag (`ETH_P_8021Q`).
pub(crate) const VLAN: u16 = 0x8100;
/// TPID of a provider's tag (`ETH_P_8021AD`).
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;

/// True for an EtherType that is a TPID: a tag follows.
#[inline]
pub(crate) const fn is_tpid(ethertype: u16) -> bool {
    ethertype == VLAN || ethertype == SERVICE_VLAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runt_is_not_a_frame() {
        assert!(Frame::new(&[0; 13]).is_none());
        assert!(Frame::new(&[0; 14]).is_some());
    }

    #[test]
    fn reads_the_header_in_wire_order() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0x08, 99];
        let frame = Frame::new(&bytes).unwrap();
        assert_eq!(frame.dst(), MacAddr::new([1, 2, 3, 4, 5, 6]));
        assert_eq!(frame.src(), MacAddr::new([7, 8, 9, 10, 11, 12]));
        assert_eq!(frame.dst_key(), frame.dst().to_u64());
        assert_eq!(frame.src_key(), frame.src().to_u64());
        assert_eq!(frame.ethertype(), 0x8808);
        assert_eq!(frame.bytes().len(), 15);
    }

    #[test]
    fn reads_a_complete_tag_and_no_other() {
        let mut bytes = [0; 18];
        bytes[12..16].copy_from_slice(&[0x81, 0x00, 0x60, 0x0a]);
        let tag = |bytes: &[u8]| Frame::new(bytes).unwrap().tag();
        assert_eq!(tag(&bytes), Some(Tag { tpid: 0x8100, tci: 0x600a }));
        assert_eq!(tag(&bytes).unwrap().vid(), 10);
        assert_eq!(tag(&bytes[..15]), None);
        bytes[12..14].copy_from_slice(&[0x88, 0xa8]);
        assert_eq!(tag(&bytes).unwrap().tpid, 0x88a8);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(tag(&bytes), None);
    }

    #[test]
    fn looks_behind_one_tag_for_the_ethertype() {
        let mut bytes = [0; 22];
        bytes[12..22].copy_from_slice(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x88, 0x08]);
        let ethertype = |bytes: &[u8]| Frame::new(bytes).unwrap().ethertype_untagged();
        assert_eq!(ethertype(&bytes), 0x8100);
        assert_eq!(ethertype(&bytes[..17]), 0x88a8);
        bytes[12..14].copy_from_slice(&[0x88, 0x08]);
        assert_eq!(ethertype(&bytes), 0x8808);
    }
}
