//! The generator's frames. The receiver can verify every byte of them.
//!
//! After the headers: the number of the trial (2 bytes), the number of the frame (4), its due time
//! (8), and a pattern derived from these three up to the end.

use std::net::Ipv4Addr;

use umacvlan_core::MacAddr;
use umacvlan_core::offload::checksum;

/// The first EtherType that IEEE 802 reserves for local experiments.
pub(super) const ETHERTYPE: u16 = 0x88b5;

/// Bytes of the longest frame without its FCS.
pub(super) const FRAME_MAX: usize = 1514;

/// Bytes of the FCS, which RFC 2544 counts and programs do not see.
const FCS_LEN: u16 = 4;

const ETHERNET_LEN: usize = 14;
const NUMBERS_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// The datagrams' destination port and their first source port. The namespaces have no other users.
pub(super) const PORT: u16 = 7609;

/// The lengths of frames as RFC 2544 counts them: with the FCS, 64 to 1518 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// One length.
    Fixed(u16),
    /// 7 frames of 64 bytes, 4 of 570 and 1 of 1518, interleaved.
    Imix,
}

impl Sizes {
    /// Bytes of the frame of this number, without the FCS.
    fn of(self, number: u32) -> usize {
        let size = match self {
            Self::Fixed(size) => size.clamp(64, 1518),
            Self::Imix => IMIX[number as usize % IMIX.len()],
        };
        usize::from(size - FCS_LEN)
    }
}

const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64];

/// The identification that a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The frame's trial.
    pub(super) trial: u16,
    /// The frame's number in the trial.
    pub(super) number: u32,
    /// The frame's due time, in nanoseconds of CLOCK_REALTIME.
    pub(super) due: u64,
}

impl Tag {
    fn to_bytes(self) -> [u8; NUMBERS_LEN] {
        let mut bytes = [0; NUMBERS_LEN];
        bytes[..2].copy_from_slice(&self.trial.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.number.to_be_bytes());
        bytes[6..].copy_from_slice(&self.due.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; NUMBERS_LEN]) -> Self {
        let [t0, t1, n0, n1, n2, n3, due @ ..] = bytes;
        Self {
            trial: u16::from_be_bytes([t0, t1]),
            number: u32::from_be_bytes([n0, n1, n2, n3]),
            due: u64::from_be_bytes(due),
        }
    }

    /// The start of the pattern (splitmix64's finish): the patterns of two tags are unrelated.
    fn seed(self) -> u64 {
        let mixed = self.due ^ (u64::from(self.number) << 16 | u64::from(self.trial));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The properties that all frames of a stream share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) from: MacAddr,
    pub(super) to: MacAddr,
    pub(super) sizes: Sizes,
    /// Source and destination if the frames are UDP datagrams; otherwise they have [`ETHERTYPE`].
    pub(super) ips: Option<(Ipv4Addr, Ipv4Addr)>,
    /// The number of source ports, used in turn; at least one.
    pub(super) flows: u16,
}

/// A defect of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Its addresses are not those of the stream.
    #[error("a frame with wrong addresses came")]
    Addresses,
    /// Its length is not that of the frame with its number.
    #[error("a frame of a wrong length came")]
    Length,
    /// Its bytes differ from those that were sent.
    #[error("a frame with wrong bytes came")]
    Payload,
}

impl Stream {
    /// Bytes of the headers before the tag.
    pub(super) const fn headers_len(&self) -> usize {
        match self.ips {
            None => ETHERNET_LEN,
            Some(_) => ETHERNET_LEN + IPV4_LEN + UDP_LEN,
        }
    }

    /// Writes the constant part of every frame into a buffer.
    pub(super) fn begin(&self, buffer: &mut [u8; FRAME_MAX]) {
        buffer[..6].copy_from_slice(&self.to.octets());
        buffer[6..12].copy_from_slice(&self.from.octets());
        let ethertype = if self.ips.is_some() { IPV4 } else { ETHERTYPE };
        buffer[12..14].copy_from_slice(&ethertype.to_be_bytes());
    }

    /// Writes one frame into a buffer that [`Stream::begin`] has prepared. Returns its length.
    pub(super) fn write(&self, tag: Tag, buffer: &mut [u8; FRAME_MAX]) -> usize {
        let len = self.sizes.of(tag.number);
        let own = &mut buffer[self.headers_len()..len];
        let (numbers, pattern_bytes) = own.split_at_mut(NUMBERS_LEN);
        numbers.copy_from_slice(&tag.to_bytes());
        let (words, rest) = pattern_bytes.as_chunks_mut::<8>();
        let mut pattern = Pattern(tag.seed());
        words.iter_mut().for_each(|word| *word = pattern.next());
        let last = pattern.next();
        rest.iter_mut().zip(last).for_each(|(byte, wanted)| *byte = wanted);
        if let Some(ips) = self.ips {
            let port = PORT + self.flow(tag.number);
            let id = tag.number / u32::from(self.flows.max(1));
            write_headers(ips, (port, id), &mut buffer[ETHERNET_LEN..len]);
        }
        len
    }

    /// The flow of the frame of this number.
    pub(super) fn flow(&self, number: u32) -> u16 {
        // The remainder is below `flows`.
        u16::try_from(number % u32::from(self.flows.max(1))).unwrap_or(0)
    }

    /// Verifies every byte and returns the tag. `bytes` is a frame, or a datagram's payload.
    ///
    /// # Errors
    /// The first defect found.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Tag, BadFrame> {
        let own = match self.ips {
            Some(_) => bytes,
            None => {
                let (header, own) = bytes.split_at_checked(ETHERNET_LEN).ok_or(BadFrame::Length)?;
                if header[..6] != self.to.octets() || header[6..12] != self.from.octets() {
                    return Err(BadFrame::Addresses);
                }
                own
            }
        };
        let (numbers, pattern_bytes) = own.split_first_chunk().ok_or(BadFrame::Length)?;
        let tag = Tag::from_bytes(*numbers);
        let (words, rest) = pattern_bytes.as_chunks::<8>();
        let mut pattern = Pattern(tag.seed());
        // Without a branch for each word, which is faster.
        let differing = words.iter().fold(0, |differing, word| {
            differing | (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(pattern.next()))
        });
        if differing != 0 || !rest.iter().zip(pattern.next()).all(|(byte, wanted)| *byte == wanted)
        {
            return Err(BadFrame::Payload);
        }
        // Last, because the number is only now known to be valid.
        if self.headers_len() + own.len() != self.sizes.of(tag.number) {
            return Err(BadFrame::Length);
        }
        Ok(tag)
    }
}

/// Writes the headers of IPv4 (RFC 791) and UDP (RFC 768) before the packet's payload. `id` counts the
/// datagrams of the port, as the stack does for a connected socket.
fn write_headers((from, to): (Ipv4Addr, Ipv4Addr), (port, id): (u16, u32), packet: &mut [u8]) {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let total = length(packet);
    let [_, _, id_high, id_low] = id.to_be_bytes();
    let (ip, udp) = packet.split_at_mut(IPV4_LEN);
    ip.copy_from_slice(&[
        0x45, 0, total[0], total[1], id_high, id_low, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..].copy_from_slice(&to.octets());
    let sum = checksum(ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp_length = length(udp);
    udp[..2].copy_from_slice(&port.to_be_bytes());
    udp[2..4].copy_from_slice(&PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_length);
    udp[6..8].fill(0);
    let mut pseudo = [0; 12];
    pseudo[..8].copy_from_slice(&ip[12..]);
    pseudo[9] = 17;
    pseudo[10..].copy_from_slice(&udp_length);
    // Both checksums are complements of sums, which are added with the carry.
    let (sum, carry) = (!checksum(&pseudo)).overflowing_add(!checksum(udp));
    let sum = !(sum + u16::from(carry));
    udp[6..8].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
}

/// The EtherType of IPv4.
const IPV4: u16 = 0x0800;

/// A sequence of words that is cheap to compute and differs from word to word.
struct Pattern(u64);

impl Pattern {
    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::Member;

    const TAG: Tag = Tag { trial: 3, number: 7, due: 1_234_567_890_123 };

    fn stream(sizes: Sizes) -> Stream {
        Stream {
            from: Member::External.mac(),
            to: Member::Sub(1).mac(),
            sizes,
            ips: None,
            flows: 1,
        }
    }

    fn frame(stream: Stream, tag: Tag) -> Vec<u8> {
        let mut buffer = [0; FRAME_MAX];
        stream.begin(&mut buffer);
        let len = stream.write(tag, &mut buffer);
        buffer[..len].to_vec()
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for size in [64, 65, 128, 1518] {
            let stream = stream(Sizes::Fixed(size));
            let frame = frame(stream, TAG);
            assert_eq!(frame.len(), usize::from(size) - 4);
            assert_eq!(stream.read(&frame), Ok(TAG));
        }
    }

    #[test]
    fn any_byte_that_changes_on_the_way_is_found() {
        let stream = stream(Sizes::Fixed(131));
        let good = frame(stream, TAG);
        for at in (0..good.len()).filter(|at| !(12..14).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let wrong = if at < 12 { BadFrame::Addresses } else { BadFrame::Payload };
            assert_eq!(stream.read(&bad), Err(wrong), "byte {at}");
        }
        assert_eq!(stream.read(&good[..good.len() - 1]), Err(BadFrame::Length));
        assert_eq!(stream.read(&good[..20]), Err(BadFrame::Length));
    }

    #[test]
    fn a_datagram_has_the_headers_and_checksums_that_are_expected() {
        let ips = Some((Member::External.ip(), Member::Sub(1).ip()));
        for number in 0..500 {
            let stream = Stream { ips, flows: 3, ..stream(Sizes::Imix) };
            let tag = Tag { number, ..TAG };
            let frame = frame(stream, tag);
            let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else {
                panic!("not IPv4: {frame:?}");
            };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let Some(etherparse::TransportSlice::Udp(udp)) = packet.transport else {
                panic!("not UDP: {frame:?}");
            };
            let wanted = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
            assert_eq!((udp.checksum(), udp.destination_port()), (wanted, PORT));
            assert_eq!(u32::from(udp.source_port() - PORT), number % 3);
            assert_eq!(stream.read(udp.payload()), Ok(tag));
        }
    }

    #[test]
    fn a_mix_is_seven_four_and_one() {
        let sizes: Vec<_> = (0..12).map(|number| Sizes::Imix.of(number)).collect();
        let count = |len| sizes.iter().filter(|size| **size == len).count();
        assert_eq!((count(60), count(566), count(1514)), (7, 4, 1));
    }
}
