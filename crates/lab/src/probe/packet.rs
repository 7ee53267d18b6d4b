//! The frames and packets of the probes, and the tags that identify them.

use umacvlan_core::MacAddr;

use crate::station::Member;

/// The EtherType of ARP.
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;

/// Bytes of the ARP request: the shortest Ethernet frame, without its FCS.
const ARP_FRAME_LEN: usize = 60;

/// Bytes of the echo request.
const ECHO_LEN: usize = 8 + TAG_LEN;

/// Bytes of a [`Tag`].
const TAG_LEN: usize = 8;

/// The identification that a probe carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The same for all probes of one test.
    pub(super) nonce: u32,
    /// The round of sending in this test.
    pub(super) round: u8,
    /// The sender of the broadcast, or the destination of the echo request.
    pub(super) member: Member,
}

impl Tag {
    fn to_bytes(self) -> [u8; TAG_LEN] {
        let [a, b, c, d] = self.nonce.to_be_bytes();
        let member = Member::ALL.iter().position(|m| *m == self.member);
        let member = member.and_then(|m| u8::try_from(m).ok()).unwrap_or(u8::MAX);
        [a, b, c, d, self.round, member, b'u', b'm']
    }

    /// The tag in these bytes, or `None` if they are not a probe's.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, round, member, b'u', b'm'] = *bytes.first_chunk()? else {
            return None;
        };
        Some(Self {
            nonce: u32::from_be_bytes([a, b, c, d]),
            round,
            member: *Member::ALL.get(usize::from(member))?,
        })
    }
}

/// A broadcast ARP request of `tag.member` with this MAC address, for an unused IP address.
pub(super) fn arp_request(mac: MacAddr, tag: Tag) -> [u8; ARP_FRAME_LEN] {
    let mut frame = [0; ARP_FRAME_LEN];
    let parts: [&[u8]; 9] = [
        &MacAddr::BROADCAST.octets(),
        &mac.octets(),
        &ETHERTYPE_ARP.to_be_bytes(),
        // Ethernet, IPv4, their address lengths, request (RFC 826).
        &[0, 1, 8, 0, 6, 4, 0, 1],
        &mac.octets(),
        &tag.member.ip().octets(),
        &MacAddr::ZERO.octets(),
        &UNUSED_IP,
        // In the padding, which stacks ignore.
        &tag.to_bytes(),
    ];
    for (byte, from) in frame.iter_mut().zip(parts.into_iter().flatten()) {
        *byte = *from;
    }
    frame
}

/// The tag of a received ARP request, or `None` if it is not a probe.
pub(super) fn arp_tag(frame: &[u8]) -> Option<Tag> {
    Tag::from_bytes(frame.get(ARP_LEN..)?)
}

/// An ICMP echo request (RFC 792) to `tag.member`, without an IP header.
pub(super) fn echo_request(tag: Tag) -> [u8; ECHO_LEN] {
    let mut packet = [0; ECHO_LEN];
    packet[0] = ECHO_REQUEST;
    packet[8..].copy_from_slice(&tag.to_bytes());
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The tag of a received ICMP echo reply with its IPv4 header. `None` if it is another packet, or
/// not from the member that the request was sent to.
pub(super) fn echo_tag(packet: &[u8]) -> Option<Tag> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let source = packet.get(12..16)?;
    let icmp = packet.get(header_len..)?;
    if *icmp.first()? != ECHO_REPLY {
        return None;
    }
    let tag = Tag::from_bytes(icmp.get(8..)?)?;
    (tag.member.ip().octets() == source).then_some(tag)
}

/// The internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes
        .chunks_exact(2)
        .fold(0, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(pair[1]));
    let sum = (sum & 0xffff) + (sum >> 16);
    let [.., hi, lo] = (!(sum + (sum >> 16))).to_be_bytes();
    u16::from_be_bytes([hi, lo])
}

/// Where the ARP packet ends and the padding begins.
const ARP_LEN: usize = 14 + 28;

/// An unused address of the lab's network.
const UNUSED_IP: [u8; 4] = [10, 76, 0, 254];

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { nonce: 0xdead_beef, round: 3, member: Member::External };

    #[test]
    fn an_arp_request_is_valid_and_carries_its_tag() {
        let mac = Member::External.mac();
        let frame = arp_request(mac, TAG);
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::NetSlice::Arp(arp)) = parsed.net else {
            panic!("not ARP: {parsed:?}");
        };
        assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
        assert_eq!(arp.sender_hw_addr(), mac.octets());
        assert_eq!(arp.sender_protocol_addr(), Member::External.ip().octets());
        assert_eq!(arp_tag(&frame), Some(TAG));
        assert_eq!(arp_tag(&frame[..ARP_LEN]), None);
    }

    #[test]
    fn an_echo_request_has_a_correct_checksum() {
        let packet = echo_request(TAG);
        let icmp = etherparse::Icmpv4Slice::from_slice(&packet).unwrap();
        let header = icmp.header();
        assert_eq!(header.icmp_type.calc_checksum(icmp.payload()), icmp.checksum());
    }

    #[test]
    fn a_reply_counts_only_from_the_requested_member() {
        let mut packet = [0; 20 + ECHO_LEN];
        packet[0] = 0x45;
        packet[20..].copy_from_slice(&echo_request(TAG));
        packet[12..16].copy_from_slice(&Member::External.ip().octets());
        assert_eq!(echo_tag(&packet), None, "a request is no reply");
        packet[20] = ECHO_REPLY;
        assert_eq!(echo_tag(&packet), Some(TAG));
        packet[12..16].copy_from_slice(&Member::Host.ip().octets());
        assert_eq!(echo_tag(&packet), None);
    }
}
