//! Insertion and removal of VLAN tags.
//!
//! Linux always moves the outer tag of a received frame into the metadata of the packet before
//! packet sockets see it (`__netif_receive_skb_core`, packet(7) under `PACKET_AUXDATA`). A switch
//! has to deliver the frame as it was on the wire, and the switch of a VLAN without its tags.

use super::{VNET_LEN, VnetHeader};
use crate::MacAddr;
use crate::frame::TAG_LEN;
use crate::vlan::{TAGS_LEN, VlanPath, tag_after_addresses};

/// Bytes that move to make room for a tag: the header and both addresses.
const MOVED: usize = VNET_LEN + 12;

/// The offset of the source address in a unit.
const SOURCE: usize = VNET_LEN + 6;

/// Bytes of a unit that a [`TaggedPrefix`] replaces: the header and both addresses.
pub const UNTAGGED_PREFIX_LEN: usize = MOVED;

/// Inserts a VLAN tag into the unit `[header | frame]` that starts at offset `at` of a slot.
///
/// Header and addresses move 4 bytes into the headroom of the slot, TPID and TCI fill the gap, and
/// `csum_start` and `hdr_len` grow by 4 unless zero. Returns the new offset of the unit. The TPID
/// is an argument because an outer tag may be of the 802.1ad kind (0x88a8).
///
/// Returns `None` and leaves the slot unchanged if there are no 4 bytes of headroom, if the slot
/// ends before the addresses do, or if `csum_start` would overflow.
pub fn insert_tag(slot: &mut [u8], at: usize, tpid: u16, tci: u16) -> Option<usize> {
    let start = at.checked_sub(TAG_LEN)?;
    let unit = slot.get_mut(start..)?;
    let header = VnetHeader::parse(unit.get(TAG_LEN..TAG_LEN + MOVED)?.first_chunk()?);
    let header = shifted(header)?;
    unit.copy_within(TAG_LEN..TAG_LEN + MOVED, 0);
    header.write_to(unit.first_chunk_mut()?);
    unit[MOVED..MOVED + 2].copy_from_slice(&tpid.to_be_bytes());
    unit[MOVED + 2..MOVED + TAG_LEN].copy_from_slice(&tci.to_be_bytes());
    Some(start)
}

/// The header of a frame with one more tag.
fn shifted(mut header: VnetHeader) -> Option<VnetHeader> {
    if header.csum_start != 0 {
        header.csum_start = header.csum_start.checked_add(4)?;
    }
    if header.hdr_len != 0 {
        // Only a hint, so it may saturate.
        header.hdr_len = header.hdr_len.saturating_add(4);
    }
    Some(header)
}

/// Removes the outer VLAN tag of the unit `[header | frame]` that starts at offset `at` of a slot.
///
/// Header and addresses move 4 bytes towards the rest, and `csum_start` and `hdr_len` shrink by 4
/// unless zero. Returns the new offset of the unit.
///
/// Returns `None` and leaves the slot unchanged if there is no tag with an EtherType behind it, or
/// if the header says that the checksum starts before the end of the tag.
pub fn pop_tag(slot: &mut [u8], at: usize) -> Option<usize> {
    let unit = slot.get_mut(at..)?;
    let mut header = VnetHeader::parse(unit.first_chunk()?);
    tag_after_addresses(unit.get(VNET_LEN..)?).filter(|_| unit.len() >= MOVED + TAG_LEN + 2)?;
    if header.csum_start != 0 {
        header.csum_start = header.csum_start.checked_sub(4).filter(|&start| start >= 14)?;
    }
    // Only a hint.
    header.hdr_len = header.hdr_len.saturating_sub(4);
    unit.copy_within(..MOVED, TAG_LEN);
    header.write_to(unit[TAG_LEN..].first_chunk_mut()?);
    Some(at + TAG_LEN)
}

/// Header, addresses and tags, to be sent in place of the first [`UNTAGGED_PREFIX_LEN`] bytes of a
/// unit. The unit itself stays unchanged for receivers without tags.
#[derive(Clone, Copy, Debug)]
pub struct TaggedPrefix {
    bytes: [u8; MOVED + TAGS_LEN],
    len: usize,
}

impl TaggedPrefix {
    /// An empty prefix.
    pub const EMPTY: Self = Self { bytes: [0; MOVED + TAGS_LEN], len: 0 };

    /// The prefix of this unit with these tags; `None` if the unit is shorter than
    /// [`UNTAGGED_PREFIX_LEN`], or if its `csum_start` would overflow.
    pub fn new(unit: &[u8], path: &VlanPath) -> Option<Self> {
        let head: &[u8; MOVED] = unit.first_chunk()?;
        let tags = path.as_bytes();
        let mut header = VnetHeader::parse(head.first_chunk()?);
        for _ in path.tags() {
            header = shifted(header)?;
        }
        let mut tagged = Self { len: MOVED + tags.len(), ..Self::EMPTY };
        tagged.bytes[..MOVED].copy_from_slice(head);
        header.write_to(tagged.bytes.first_chunk_mut()?);
        tagged.bytes[MOVED..tagged.len].copy_from_slice(tags);
        Some(tagged)
    }

    /// Replaces the source address.
    pub fn set_source(&mut self, source: MacAddr) {
        self.bytes[SOURCE..MOVED].copy_from_slice(&source.octets());
    }

    /// The bytes to send.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn slot(header: VnetHeader) -> Vec<u8> {
        let mut unit = [0; VNET_LEN];
        header.write_to(&mut unit);
        let mut slot = vec![0xee; 6];
        slot.extend(unit);
        slot.extend(MACS);
        slot.extend([0x08, 0x00, 0x45]);
        slot
    }

    fn partial() -> VnetHeader {
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: VnetHeader::GSO_TCPV4,
            hdr_len: 54,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        }
    }

    #[test]
    fn a_tag_goes_between_the_addresses_and_the_ethertype() {
        for tpid in [0x8100_u16, 0x88a8] {
            let mut slot = slot(VnetHeader::PLAIN);
            assert_eq!(insert_tag(&mut slot, 6, tpid, 0x6007), Some(2));
            assert_eq!(slot[..2], [0xee; 2]);
            assert_eq!(slot[2..12], [0; VNET_LEN], "a plain header stays plain");
            assert_eq!(slot[12..24], MACS);
            assert_eq!(slot[24..26], tpid.to_be_bytes());
            assert_eq!(slot[26..], [0x60, 0x07, 0x08, 0x00, 0x45]);
        }
    }

    #[test]
    fn the_checksum_moves_with_the_headers_behind_the_tag() {
        let mut slot = slot(partial());
        let at = insert_tag(&mut slot, 6, 0x8100, 7).unwrap();
        let header = VnetHeader::parse(slot[at..].first_chunk().unwrap());
        let expected = VnetHeader { hdr_len: 58, csum_start: 38, ..partial() };
        assert_eq!(header, expected);
    }

    #[test]
    fn two_tags_can_go_in_one_after_the_other() {
        let mut slot = slot(partial());
        slot.splice(0..0, [0xee; 2]);
        let at = insert_tag(&mut slot, 8, 0x8100, 1).unwrap();
        let at = insert_tag(&mut slot, at, 0x88a8, 2).unwrap();
        assert_eq!(at, 0);
        let header = VnetHeader::parse(slot.first_chunk().unwrap());
        assert_eq!((header.csum_start, header.hdr_len), (42, 62));
        assert_eq!(slot[22..30], [0x88, 0xa8, 0, 2, 0x81, 0, 0, 1]);
    }

    #[test]
    fn a_slot_without_room_is_unchanged() {
        let far = VnetHeader { csum_start: 65_532, ..partial() };
        for (mut slot, at) in
            [(slot(partial()), 3), (slot(partial()), 7 + 3), (slot(partial()), 900), (slot(far), 6)]
        {
            let before = slot.clone();
            assert_eq!(insert_tag(&mut slot, at, 0x8100, 1), None, "at {at}");
            assert_eq!(slot, before);
        }
    }

    #[test]
    fn removal_inverts_insertion() {
        let mut slot = slot(partial());
        let before = slot.clone();
        let at = insert_tag(&mut slot, 6, 0x8100, 7).unwrap();
        assert_eq!(pop_tag(&mut slot, at), Some(6));
        assert_eq!(slot[6..], before[6..]);
        assert_eq!(pop_tag(&mut slot, 6), None, "there is none");
    }

    #[test]
    fn an_incomplete_tag_is_not_removed() {
        let near = VnetHeader { csum_start: 17, ..partial() };
        let mut cut = slot(VnetHeader::PLAIN);
        cut.truncate(6 + MOVED);
        cut.extend([0x81, 0, 0, 7, 8]);
        let mut inside = slot(near);
        inside.splice(6 + MOVED..6 + MOVED, [0x81, 0, 0, 7]);
        for mut slot in [cut, inside, vec![0; 8]] {
            let before = slot.clone();
            assert_eq!(pop_tag(&mut slot, 6), None);
            assert_eq!(slot, before);
        }
    }

    proptest! {
        #[test]
        fn a_tagged_prefix_equals_inserted_tags(
            outer in 1..=4094_i64, inner in proptest::option::of(1..=4094_i64),
            csum_start in 34..=100_u16, payload in proptest::collection::vec(any::<u8>(), 2..50),
        ) {
            let header = VnetHeader { csum_start, ..partial() };
            let mut slot = slot(header);
            slot.splice(0..0, [0; 2]);
            slot.extend(payload);
            let unit = slot[8..].to_vec();
            let path = match inner {
                Some(inner) => VlanPath::stacked(outer, inner).unwrap(),
                None => VlanPath::single(outer).unwrap(),
            };
            let head = TaggedPrefix::new(&unit, &path).unwrap();
            let sent = [head.as_bytes(), &unit[UNTAGGED_PREFIX_LEN..]].concat();
            let tags: Vec<_> = path.tags().collect();
            let at = tags.iter().rev().fold(8, |at, tag| {
                insert_tag(&mut slot, at, tag.tpid, tag.tci).unwrap()
            });
            prop_assert_eq!(&sent[..], &slot[at..]);
            let at = tags.iter().fold(at, |at, _| pop_tag(&mut slot, at).unwrap());
            prop_assert_eq!(&unit[..], &slot[at..]);
        }

        #[test]
        fn no_input_panics(mut unit in proptest::collection::vec(any::<u8>(), 0..60)) {
            TaggedPrefix::new(&unit, &VlanPath::stacked(1, 2).unwrap());
            pop_tag(&mut unit, 0);
        }
    }
}
