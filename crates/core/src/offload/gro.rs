//! Generic receive offload (GRO): finished frames of one flow become one GSO packet, so that the
//! receiver's stack processes one packet instead of many.
//!
//! It is the strict inverse of segmentation: [`segment`](super::segment()) turns the merged packet
//! into the same bytes again. That is stricter than the GRO of Linux (which allows constant
//! identifications, for example), and makes merging invisible in the frames.

use super::checksum::{Sum, checksum, nonzero};
use super::layout::{IPV4, IPV6, Transport, network, number};
use super::{VNET_LEN, VnetHeader};

/// The most frames in one packet: what every Linux with USO accepts (`UDP_MAX_SEGMENTS` before
/// 6.9).
const FRAMES: u32 = 64;

/// The longest IP packet.
const PACKET: usize = 65_535;

/// The least payload of a TCP segment in Linux (`TCP_MIN_GSO_SIZE`).
const TCP_SIZE: usize = 8;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// A GSO packet that is built from frames of one flow.
#[derive(Clone, Copy, Debug)]
pub struct GroBuilder {
    shape: Shape,
    /// Payload bytes of each frame but the last.
    size: usize,
    /// Bytes of the packet so far, with its Ethernet header.
    len: usize,
    frames: u32,
    /// True when the last frame may have no successor: it was short, or had PSH set.
    closed: bool,
}

/// The header offsets of a frame that may be merged: no IP options, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    v6: bool,
    kind: Transport,
    network: usize,
    transport: usize,
    payload: usize,
}

impl GroBuilder {
    /// Starts a packet with this frame; `None` for a frame that cannot be merged. It reads headers
    /// only, so it is cheap enough for every frame.
    #[inline]
    pub fn of(header: VnetHeader, frame: &[u8]) -> Option<Self> {
        if header.is_gso() {
            return None;
        }
        let shape = Shape::of(frame)?;
        let size = frame.len() - shape.payload;
        let (least, closed) = match shape.kind {
            Transport::Udp => (1, false),
            Transport::Tcp => (TCP_SIZE, frame[shape.transport + 13] & PSH != 0),
        };
        (size >= least && !closed).then_some(Self {
            shape,
            size,
            len: frame.len(),
            frames: 1,
            closed: false,
        })
    }

    /// The number of merged frames.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of headers in front of the payload of each frame.
    pub const fn headers(&self) -> usize {
        self.shape.payload
    }

    /// The GSO type of the packet.
    pub const fn gso_type(&self) -> u8 {
        match (self.shape.kind, self.shape.v6) {
            (Transport::Udp, _) => VnetHeader::GSO_UDP_L4,
            (Transport::Tcp, false) => VnetHeader::GSO_TCPV4,
            (Transport::Tcp, true) => VnetHeader::GSO_TCPV6,
        }
    }

    /// True for IPv6.
    pub const fn is_v6(&self) -> bool {
        self.shape.v6
    }

    /// Appends `frame` if it continues the packet, and returns whether it did. `unit` then holds
    /// the bytes so far, behind [`VNET_LEN`] bytes for the header that [`Self::finish`] writes. The
    /// call for the second frame also copies `first`, the frame that the packet was started with.
    ///
    /// Every checksum is verified first; a partial one must be the sum of the pseudo-header.
    pub fn push(
        &mut self,
        unit: &mut [u8],
        first: (VnetHeader, &[u8]),
        header: VnetHeader,
        frame: &[u8],
    ) -> bool {
        let Self { shape, size, len, frames, closed } = *self;
        if closed || frames == FRAMES || header.is_gso() || !self.continues(first.1, frame) {
            return false;
        }
        let payload = &frame[shape.payload..];
        let end = VNET_LEN + len + payload.len();
        if end > unit.len() || len + payload.len() - shape.network > PACKET {
            return false;
        }
        // From the third frame on, the first one has been verified.
        if frames == 1 && !shape.is_intact(first.0, first.1) || !shape.is_intact(header, frame) {
            return false;
        }
        if frames == 1 {
            unit[VNET_LEN..VNET_LEN + len].copy_from_slice(first.1);
        }
        unit[VNET_LEN + len..end].copy_from_slice(payload);
        let pushed = shape.kind == Transport::Tcp && frame[shape.transport + 13] & PSH != 0;
        if pushed {
            unit[VNET_LEN + shape.transport + 13] |= PSH;
        }
        self.len += payload.len();
        self.frames += 1;
        self.closed = pushed || payload.len() < size;
        true
    }

    /// Completes a packet of at least two frames: lengths, the IP checksum, the partial transport
    /// checksum, and the virtio_net header. Returns the length of the unit in bytes.
    ///
    /// # Panics
    /// If `unit` is shorter than the one that was pushed into.
    pub fn finish(&self, unit: &mut [u8]) -> usize {
        let Self { shape, size, len, .. } = *self;
        let (head, rest) = unit.split_at_mut(VNET_LEN);
        let frame = &mut rest[..len];
        let packet = short(len - shape.network);
        if shape.v6 {
            put(frame, shape.network + 4, packet - 40);
        } else {
            put(frame, shape.network + 2, packet);
            put(frame, shape.network + 10, 0);
            let sum = checksum(&frame[shape.network..shape.transport]);
            put(frame, shape.network + 10, sum);
        }
        if shape.kind == Transport::Udp {
            put(frame, shape.transport + 4, short(len - shape.transport));
        }
        let partial = !shape.pseudo(frame).checksum();
        put(frame, shape.transport + shape.kind.checksum(), partial);
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: self.gso_type(),
            hdr_len: short(shape.payload),
            gso_size: short(size),
            csum_start: short(shape.transport),
            csum_offset: short(shape.kind.checksum()),
        };
        if let Some(head) = head.first_chunk_mut() {
            header.write_to(head);
        }
        VNET_LEN + len
    }

    /// True if `frame` is the next segment of a packet that begins with `first`.
    #[inline]
    fn continues(&self, first: &[u8], frame: &[u8]) -> bool {
        let Self { shape, size, frames, .. } = *self;
        let Shape { v6, kind, network, transport, payload } = shape;
        // Equal headers have an equal shape, but for lengths, which are compared here.
        let fits = frame.len() > payload && frame.len() - payload <= size;
        if !fits || frame[..network] != first[..network] || Shape::of(frame) != Some(shape) {
            return false;
        }
        let (ip, first_ip) = (&frame[network..transport], &first[network..transport]);
        let same_ip = if v6 {
            ip[..4] == first_ip[..4] && ip[6..] == first_ip[6..]
        } else {
            let [_, _, high, low] = frames.to_be_bytes();
            let id = identification(first_ip).wrapping_add(u16::from_be_bytes([high, low]));
            ip[..2] == first_ip[..2]
                && identification(ip) == id
                && ip[6..10] == first_ip[6..10]
                && ip[12..] == first_ip[12..]
        };
        let (head, first_head) = (&frame[transport..payload], &first[transport..payload]);
        same_ip
            && match kind {
                Transport::Udp => head[..4] == first_head[..4],
                Transport::Tcp => {
                    let sent = u32::try_from(size).unwrap_or(u32::MAX).wrapping_mul(frames);
                    head[..4] == first_head[..4]
                        && sequence(head) == sequence(first_head).wrapping_add(sent)
                        && head[8..13] == first_head[8..13]
                        && head[13] & !PSH == first_head[13]
                        && head[14..16] == first_head[14..16]
                        && head[18..] == first_head[18..]
                }
            }
    }
}

impl Shape {
    /// The shape of a frame that may be merged; `None` for any other.
    #[inline]
    fn of(frame: &[u8]) -> Option<Self> {
        let (ethertype, network) = network(frame)?;
        let packet = frame.len() - network;
        let (protocol, transport, v6) = match ethertype {
            IPV4 => {
                let ip: &[u8; 20] = frame[network..].first_chunk()?;
                // No fragment, and "reserved" is zero.
                let whole = u16::from_be_bytes([ip[6], ip[7]]) & 0xbfff == 0;
                let fits = usize::from(u16::from_be_bytes([ip[2], ip[3]])) == packet;
                (ip[0] == 0x45 && whole && fits).then_some((ip[9], network + 20, false))?
            }
            IPV6 => {
                let ip: &[u8; 40] = frame[network..].first_chunk()?;
                let fits = usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40 == packet;
                (ip[0] >> 4 == 6 && fits).then_some((ip[6], network + 40, true))?
            }
            _ => return None,
        };
        let rest = &frame[transport..];
        let (kind, len) = match protocol {
            6 => {
                let head: &[u8; 20] = rest.first_chunk()?;
                let len = usize::from(head[12] >> 4) * 4;
                // Only plain data in the middle of a stream is merged.
                let plain = matches!(head[13] & !(PSH | ECE), ACK) && head[18..] == [0, 0];
                (plain && len >= head.len() && len <= rest.len())
                    .then_some((Transport::Tcp, len))?
            }
            17 => {
                let fits = usize::from(number(rest, 4)?) == rest.len();
                // Segmentation would add a checksum to a datagram without one.
                (fits && number(rest, 6)? != 0).then_some((Transport::Udp, 8))?
            }
            _ => return None,
        };
        Some(Self { v6, kind, network, transport, payload: transport + len })
    }

    /// True if the checksums are right, or partial with the right sum.
    fn is_intact(self, header: VnetHeader, frame: &[u8]) -> bool {
        let ip = &frame[self.network..self.transport];
        if !self.v6 {
            let sum = Sum::default().bytes(&ip[..10]).bytes(&ip[12..]).checksum();
            if number(ip, 10) != Some(sum) {
                return false;
            }
        }
        let at = self.transport + self.kind.checksum();
        let field = number(frame, at);
        let pseudo = self.pseudo(frame);
        if header.needs_csum() {
            let placed = usize::from(header.csum_start) == self.transport
                && usize::from(header.csum_offset) == self.kind.checksum();
            return placed && field == Some(!pseudo.checksum());
        }
        let sum = pseudo.bytes(&frame[self.transport..at]).bytes(&frame[at + 2..]).checksum();
        match self.kind {
            Transport::Tcp => field == Some(sum),
            Transport::Udp => field == Some(nonzero(sum)),
        }
    }

    /// The sum of the pseudo-header.
    fn pseudo(self, frame: &[u8]) -> Sum {
        let ip = &frame[self.network..self.transport];
        let addresses = if self.v6 { &ip[8..40] } else { &ip[12..20] };
        let protocol = match self.kind {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        let len = short(frame.len() - self.transport);
        Sum::default().bytes(addresses).number(protocol).number(len)
    }
}

fn identification(ip: &[u8]) -> u16 {
    u16::from_be_bytes([ip[4], ip[5]])
}

fn sequence(tcp: &[u8]) -> u32 {
    u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])
}

/// A length within an IP packet.
fn short(len: usize) -> u16 {
    // Never larger: `push` stops before the longest packet.
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
