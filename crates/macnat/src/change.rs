//! [`Change`]: what of a frame for the wire, beside its source, is not to leave as it is.

use umacvlan_core::frame::HEADER_LEN;
use umacvlan_core::offload::VnetHeader;
use umacvlan_core::{DropReason, Frame, MacAddr};

use crate::packet::{ARP_SENDER_MAC, ARP_TARGET_MAC, Packet, icmpv6};

/// ND messages (RFC 4861) and options.
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// UDP and DHCP (RFC 2131): protocol, port of servers, offsets in a message and the broadcast flag.
const UDP: u8 = 17;
const UDP_LEN: usize = 8;
const SERVER_PORT: [u8; 2] = [0, 67];
const REQUEST: u8 = 1;
const FLAGS: usize = 10;
const CLIENT_ADDRESS: usize = 12;
const RELAY_ADDRESS: usize = 24;
const MESSAGE_MIN: usize = 44;
const BROADCAST: u8 = 0x80;

/// What is to be changed in a frame for the wire. It has been found in that frame, and can be applied to
/// a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The addresses of an ARP packet.
    Arp,
    /// The flag that has the server broadcast its answer. The server would send it to the client's own
    /// address, which the wire does not know.
    Dhcp {
        /// The offset of the UDP header.
        udp: usize,
    },
    /// The addresses in the options of an ND message.
    NeighbourDiscovery {
        /// The offset of the ICMPv6 message.
        icmp: usize,
        /// The offset of its options.
        options: usize,
    },
}

impl Change {
    /// Finds what is to be changed in a frame of a link for the wire; `None`: nothing but its source.
    ///
    /// # Errors
    /// [`DropReason::MacnatUntranslated`]: no answer to it could be given to the link, because it is
    /// neither ARP nor IP, or in a VLAN tag; or it is for the parent itself.
    #[inline]
    pub fn of(parent: MacAddr, frame: Frame<'_>) -> Result<Option<Self>, DropReason> {
        let bytes = frame.bytes();
        match Packet::of(bytes) {
            _ if frame.dst() == parent => Err(DropReason::MacnatUntranslated),
            None => Err(DropReason::MacnatUntranslated),
            Some(Packet::Arp(_)) => Ok(Some(Self::Arp)),
            Some(Packet::Ipv4 { .. }) => Ok(dhcp_request(bytes)),
            Some(Packet::Ipv6 { .. }) => Ok(neighbour_discovery(bytes)),
        }
    }

    /// Changes the frame, and its checksum. `header` is its vnet header: a checksum that is partial has
    /// none of the changed bytes in it.
    pub fn apply(self, parent: MacAddr, header: VnetHeader, frame: &mut [u8]) {
        match self {
            Self::Arp => apply_arp(parent, frame),
            Self::Dhcp { udp } => {
                let checksum = checksum_at(header, udp, 6);
                let at = udp + UDP_LEN + FLAGS;
                let flags = [frame[at] | BROADCAST, frame[at + 1]];
                // A checksum of zero means that there is none (RFC 768).
                let checksum = checksum.filter(|&at| frame[at..at + 2] != [0, 0]);
                replace(frame, at, &flags, checksum);
                if let Some(at) = checksum
                    && frame[at..at + 2] == [0, 0]
                {
                    frame[at..at + 2].fill(0xff);
                }
            }
            Self::NeighbourDiscovery { icmp, options } => {
                let checksum = checksum_at(header, icmp, 2);
                apply_nd(parent, frame, frame[icmp], options, checksum);
            }
        }
    }
}

/// The offset of a checksum that is complete; `None` for a partial one.
fn checksum_at(header: VnetHeader, start: usize, offset: usize) -> Option<usize> {
    let partial = usize::from(header.csum_start) + usize::from(header.csum_offset);
    let at = start + offset;
    (!header.needs_csum() || partial != at).then_some(at)
}

/// A DHCP request whose sender has no address yet, and which no relay has passed on.
fn dhcp_request(frame: &[u8]) -> Option<Change> {
    let packet = &frame[HEADER_LEN..];
    let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
    if packet[9] != UDP || offset != 0 {
        return None;
    }
    let udp = HEADER_LEN + usize::from(packet[0] & 0x0f) * 4;
    let datagram = frame.get(udp..)?;
    let message = datagram.get(UDP_LEN..).filter(|message| message.len() >= MESSAGE_MIN)?;
    let none = |at: usize| message[at..at + 4] == [0; 4];
    let asks = datagram[2..4] == SERVER_PORT && message[0] == REQUEST;
    let unicast = message[FLAGS] & BROADCAST == 0;
    (asks && unicast && none(CLIENT_ADDRESS) && none(RELAY_ADDRESS)).then_some(Change::Dhcp { udp })
}

fn neighbour_discovery(frame: &[u8]) -> Option<Change> {
    let icmp = icmpv6(frame)?;
    let options = icmp
        + match *frame.get(icmp)? {
            ROUTER_SOLICITATION => 8,
            ROUTER_ADVERTISEMENT => 16,
            NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => 24,
            REDIRECT => 40,
            _ => return None,
        };
    (options < frame.len()).then_some(Change::NeighbourDiscovery { icmp, options })
}

fn apply_arp(parent: MacAddr, frame: &mut [u8]) {
    let own = [&frame[6..12], &frame[ARP_SENDER_MAC..ARP_SENDER_MAC + 6]];
    // A link that announces an address may name itself as the target, too.
    let targets_itself = own.contains(&&frame[ARP_TARGET_MAC..ARP_TARGET_MAC + 6]);
    frame[ARP_SENDER_MAC..ARP_SENDER_MAC + 6].copy_from_slice(&parent.octets());
    if targets_itself {
        frame[ARP_TARGET_MAC..ARP_TARGET_MAC + 6].copy_from_slice(&parent.octets());
    }
}

/// Has the options name the parent in place of the sender. A redirect may name somebody else.
fn apply_nd(
    parent: MacAddr,
    frame: &mut [u8],
    kind: u8,
    mut option: usize,
    checksum: Option<usize>,
) {
    let own: [u8; 6] = [frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]];
    while let Some(&[name, len]) = frame.get(option..).and_then(<[u8]>::first_chunk) {
        let (at, end) = (option + 2, option + usize::from(len) * 8);
        let address = match (kind, name) {
            (NEIGHBOUR_ADVERTISEMENT, TARGET_ADDRESS) => true,
            (NEIGHBOUR_ADVERTISEMENT, _) => false,
            (REDIRECT, TARGET_ADDRESS) => frame.get(at..at + 6) == Some(&own[..]),
            (_, SOURCE_ADDRESS) => true,
            _ => false,
        };
        if address && len == 1 && end <= frame.len() {
            replace(frame, at, &parent.octets(), checksum);
        }
        if len == 0 {
            return;
        }
        option = end;
    }
}

/// Replaces bytes at an even distance from the start of what a checksum covers, and updates it
/// (RFC 1624).
fn replace(frame: &mut [u8], at: usize, bytes: &[u8], checksum: Option<usize>) {
    let Some(room) = frame.get_mut(at..at + bytes.len()) else {
        return;
    };
    let words = |bytes: &[u8]| -> u32 {
        let (words, _) = bytes.as_chunks();
        words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum()
    };
    let (before, after) = (words(room), words(bytes));
    let count = u32::try_from(bytes.len() / 2).unwrap_or(0);
    room.copy_from_slice(bytes);
    let Some(sum) = checksum.and_then(|at| frame.get_mut(at..)?.first_chunk_mut::<2>()) else {
        return;
    };
    // The complement of a word is 0xffff less that word.
    let mut total = u32::from(!u16::from_be_bytes(*sum)) + (count * 0xffff - before) + after;
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    let folded = u16::try_from(total).unwrap_or(0);
    *sum = (!folded).to_be_bytes();
}
