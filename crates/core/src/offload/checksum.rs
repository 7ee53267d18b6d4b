//! The Internet checksum (RFC 1071), and the completion of a partial one.

use super::{VnetError, VnetHeader};

/// The Internet checksum of these bytes, as a number that is big-endian on the wire.
///
/// Over data that contains its checksum, zero means that the checksum is right.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).checksum()
}

/// Completes a partial transport checksum, and makes the header plain.
///
/// A partial checksum field holds the sum of the pseudo-header (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
/// A result of zero is written as 0xffff, which verifies alike: in UDP a zero would mean "none"
/// (RFC 768). Linux does so for every protocol (`skb_checksum_help`). Without a partial checksum,
/// the header becomes plain and the frame is unchanged.
///
/// # Errors
/// Those of [`VnetHeader::validate`] on the checksum, and [`VnetError::Unsegmented`] for a GSO
/// packet, which needs a checksum for each segment. Frame and header are unchanged then.
pub fn complete_checksum(header: &mut VnetHeader, frame: &mut [u8]) -> Result<(), VnetError> {
    if header.is_gso() {
        return Err(VnetError::Unsegmented);
    }
    header.check_checksum(frame)?;
    if header.needs_csum() {
        fill_checksum(*header, frame);
    }
    *header = VnetHeader::PLAIN;
    Ok(())
}

/// Completes the checksum of a frame that passed [`VnetHeader::check_checksum`].
pub(super) fn fill_checksum(header: VnetHeader, frame: &mut [u8]) {
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    let value = nonzero(checksum(&frame[start..]));
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// This checksum, with 0xffff in place of zero, which means "none" in UDP.
pub(super) const fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A one's complement sum in progress.
///
/// It adds 32-bit words in the byte order of the machine into 64 bits: the sum of swapped words is
/// the swapped sum, and carries are folded at the end only (RFC 1071, section 2). With eight lanes
/// the compiler uses vector instructions; one frame can have 64 KB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// The sum with these bytes added. Only the last piece may have an odd length.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut lanes = [0_u64; 8];
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        let sum = lanes.iter().sum::<u64>() + u64::from(u32::from_ne_bytes(last));
        Self(self.0 + (sum & 0xffff_ffff) + (sum >> 32))
    }

    /// The sum with a big-endian number added.
    pub(super) fn number(self, value: u16) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(value.to_be_bytes())))
    }

    /// The sum without a big-endian number that is in it.
    pub(super) fn without(self, value: u16) -> Self {
        self.number(!value)
    }

    /// The checksum of all added data, as a number that is big-endian on the wire.
    pub(super) fn checksum(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let [low, high, ..] = sum.to_le_bytes();
        let folded = u16::from_le_bytes([low, high]);
        !u16::from_be_bytes(folded.to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 word by word: 16-bit words, end-around carry.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_reference(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], 0..300),
        ) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
        }

        #[test]
        fn a_sum_in_pieces_equals_the_sum_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0..150_usize,
        ) {
            let (head, tail) = bytes.split_at((2 * cut).min(bytes.len()));
            prop_assert_eq!(Sum::default().bytes(head).bytes(tail).checksum(), reference(&bytes));
        }

        #[test]
        fn an_added_number_can_be_subtracted(bytes in any::<[u8; 6]>(), value: u16) {
            let sum = Sum::default().bytes(&bytes).number(value).without(value);
            prop_assert_eq!(nonzero(sum.checksum()), nonzero(reference(&bytes)));
        }
    }

    #[test]
    fn sums_the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn the_largest_frame_of_the_largest_bytes_does_not_overflow() {
        assert_eq!(checksum(&[0xff; 65_536]), 0);
        assert_eq!(Sum(u64::from(u32::MAX)).bytes(&[0xff; 3]).checksum(), 0xff);
    }

    fn partial() -> (VnetHeader, [u8; 24]) {
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            csum_start: 14,
            csum_offset: 6,
            ..VnetHeader::PLAIN
        };
        (header, [0; 24])
    }

    #[test]
    fn completion_fills_in_the_checksum_and_clears_the_header() {
        let (mut header, mut frame) = partial();
        frame[14..24].copy_from_slice(&[0, 53, 0, 53, 0, 10, 0x12, 0x34, 7, 7]);
        complete_checksum(&mut header, &mut frame).unwrap();
        assert_eq!(header, VnetHeader::PLAIN);
        assert_eq!(checksum(&frame[14..]), 0x1234, "all but the pseudo-header");
    }

    #[test]
    fn a_zero_checksum_is_written_as_all_ones() {
        let (mut header, mut frame) = partial();
        frame[14..16].copy_from_slice(&[0xff, 0xff]);
        complete_checksum(&mut header, &mut frame).unwrap();
        assert_eq!(frame[20..22], [0xff, 0xff]);
    }

    #[test]
    fn a_frame_without_a_partial_checksum_is_unchanged() {
        let mut header = VnetHeader { flags: VnetHeader::DATA_VALID, ..VnetHeader::PLAIN };
        let mut frame = [9; 24];
        complete_checksum(&mut header, &mut frame).unwrap();
        assert_eq!((header, frame), (VnetHeader::PLAIN, [9; 24]));
    }

    #[test]
    fn a_frame_with_an_error_is_unchanged() {
        let (mut header, mut frame) = partial();
        header.gso_type = VnetHeader::GSO_TCPV4;
        let result = complete_checksum(&mut header, &mut frame);
        assert_eq!(result, Err(VnetError::Unsegmented));
        header.gso_type = VnetHeader::GSO_NONE;
        header.csum_start = 17;
        let result = complete_checksum(&mut header, &mut frame);
        assert_eq!(result, Err(VnetError::ChecksumOutside));
        assert!(header.needs_csum());
        assert_eq!(frame, [0; 24]);
    }
}
