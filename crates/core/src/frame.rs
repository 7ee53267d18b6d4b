//! [`Frame`]: an Ethernet frame, checked once.

use crate::MacAddr;

/// Bytes of an Ethernet header: destination, source, EtherType.
pub const HEADER_LEN: usize = 14;

/// Bytes of one VLAN tag: TPID and TCI.
pub const TAG_LEN: usize = 4;

/// An Ethernet frame without its checksum, borrowed for the length of one decision.
///
/// [`Frame::new`] is the only length check: no accessor can fail afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A view of these bytes as a frame, or `None` for a runt: fewer than 14 bytes.
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first_chunk() {
            Some(head) => Some(Self { head, bytes }),
            None => None,
        }
    }

    /// The destination address.
    pub const fn dst(self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.head;
        MacAddr::new([a, b, c, d, e, f])
    }

    /// The source address.
    pub const fn src(self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.head;
        MacAddr::new([a, b, c, d, e, f])
    }

    /// The two bytes behind the addresses: the EtherType, or the TPID of a tagged frame.
    pub const fn ethertype(self) -> u16 {
        let [.., hi, lo] = *self.head;
        u16::from_be_bytes([hi, lo])
    }

    /// The whole frame, header included.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }
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
        assert_eq!(frame.ethertype(), 0x8808);
        assert_eq!(frame.bytes().len(), 15);
    }
}
