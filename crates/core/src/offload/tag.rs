//! Putting back the VLAN tag that Linux took off.
//!
//! Linux moves the outer tag of a received frame into the metadata of the packet before packet
//! sockets see it, whether anybody has asked for that or not (`__netif_receive_skb_core`,
//! packet(7) under `PACKET_AUXDATA`). A switch has to hand on the frame as it was on the wire.

use super::{VNET_LEN, VnetHeader};
use crate::frame::TAG_LEN;

/// Bytes that make room: the header and both addresses.
const MOVED: usize = VNET_LEN + 12;

/// Puts a VLAN tag into the unit `[header | frame]` that starts `at` this offset of a slot.
///
/// Header and addresses move 4 bytes towards lower addresses into headroom of the slot, TPID and
/// TCI fill the gap, and `csum_start` and `hdr_len` grow by 4 unless zero. Returns where the unit
/// starts now. The TPID is an argument because an outer tag may be of the 802.1ad kind (0x88a8).
///
/// `None`, with the slot untouched, if there is no headroom of 4 bytes, if the slot ends before
/// the addresses do, or if `csum_start` is too large to be moved.
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

/// The header of a frame that has grown by a tag in front of its network header.
fn shifted(mut header: VnetHeader) -> Option<VnetHeader> {
    if header.csum_start != 0 {
        header.csum_start = header.csum_start.checked_add(4)?;
    }
    if header.hdr_len != 0 {
        // Only a hint, so at its end it may stay behind.
        header.hdr_len = header.hdr_len.saturating_add(4);
    }
    Some(header)
}

#[cfg(test)]
mod tests {
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

    fn open() -> VnetHeader {
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
        let mut slot = slot(open());
        let at = insert_tag(&mut slot, 6, 0x8100, 7).unwrap();
        let header = VnetHeader::parse(slot[at..].first_chunk().unwrap());
        let expected = VnetHeader { hdr_len: 58, csum_start: 38, ..open() };
        assert_eq!(header, expected);
    }

    #[test]
    fn two_tags_can_go_in_one_after_the_other() {
        let mut slot = slot(open());
        slot.splice(0..0, [0xee; 2]);
        let at = insert_tag(&mut slot, 8, 0x8100, 1).unwrap();
        let at = insert_tag(&mut slot, at, 0x88a8, 2).unwrap();
        assert_eq!(at, 0);
        let header = VnetHeader::parse(slot.first_chunk().unwrap());
        assert_eq!((header.csum_start, header.hdr_len), (42, 62));
        assert_eq!(slot[22..30], [0x88, 0xa8, 0, 2, 0x81, 0, 0, 1]);
    }

    #[test]
    fn what_has_no_room_is_left_alone() {
        let far = VnetHeader { csum_start: 65_532, ..open() };
        for (mut slot, at) in
            [(slot(open()), 3), (slot(open()), 7 + 3), (slot(open()), 900), (slot(far), 6)]
        {
            let before = slot.clone();
            assert_eq!(insert_tag(&mut slot, at, 0x8100, 1), None, "at {at}");
            assert_eq!(slot, before);
        }
    }
}
