//! [`VnetHeader`]: the virtio_net header and its validation.

use super::layout::Layout;
use super::tunnel::is_tunneled;
use crate::frame::HEADER_LEN;

/// Bytes of the header: the legacy layout, without the buffer count that virtio 1.0 added.
pub const VNET_LEN: usize = 10;

/// The `virtio_net_hdr` in front of a frame (`linux/virtio_net.h`, virtio 1.3 section 5.1.6).
///
/// Numbers are in the byte order of the machine, the default of TAPs and AF_PACKET sockets. Offsets
/// count from the first byte of the Ethernet frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`Self::NEEDS_CSUM`] and [`Self::DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_` types, with or without [`Self::GSO_ECN`] or [`Self::GSO_ACCECN`].
    pub gso_type: u8,
    /// A hint for the length of all headers. Linux sets it to the length of its first buffer, so it
    /// may cover a part of the headers or all of the frame.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// The offset at which the sum of a partial checksum starts: the transport header.
    pub csum_start: u16,
    /// The offset of the checksum field, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// The header of a finished frame: ten zero bytes.
    pub const PLAIN: Self =
        Self { flags: 0, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

    /// Flag: the checksum is partial; its field holds the sum of the pseudo-header.
    pub const NEEDS_CSUM: u8 = 1;
    /// Flag: the checksum has been verified.
    pub const DATA_VALID: u8 = 2;

    /// Type: one frame, nothing to segment.
    pub const GSO_NONE: u8 = 0;
    /// Type: TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// Type: one UDP datagram to be sent as IP fragments (UFO). Linux creates none since 4.14.
    pub const GSO_UDP: u8 = 3;
    /// Type: TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// Type: many UDP datagrams over IPv4 or IPv6 (USO), since Linux 6.2.
    pub const GSO_UDP_L4: u8 = 5;
    /// Bit of the type: the TCP header has CWR set, for the first segment only (RFC 3168).
    pub const GSO_ECN: u8 = 0x80;
    /// Bit of the type: CWR belongs to a counter and stays in each segment (AccECN), since Linux
    /// 6.18.
    pub const GSO_ACCECN: u8 = 0x10;

    const FLAGS: u8 = Self::NEEDS_CSUM | Self::DATA_VALID;
    const ECN_BITS: u8 = Self::GSO_ECN | Self::GSO_ACCECN;

    /// Parses a header. Any bytes are accepted, so an untrusted one needs [`Self::validate`].
    pub const fn parse(bytes: &[u8; VNET_LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// Writes the header into these bytes.
    pub const fn write_to(self, bytes: &mut [u8; VNET_LEN]) {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        *bytes = [self.flags, self.gso_type, a, b, c, d, e, f, g, h];
    }

    /// True for a finished frame: no partial checksum, no segmentation, no unknown flag.
    ///
    /// Most small frames are plain. They need no [`Self::validate`], and every receiver accepts
    /// them.
    pub const fn is_plain(self) -> bool {
        self.flags & !Self::DATA_VALID == 0 && self.gso_type == Self::GSO_NONE
    }

    /// True if the checksum is partial.
    pub const fn needs_csum(self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0
    }

    /// True for a GSO packet, which stands for several segments.
    pub const fn is_gso(self) -> bool {
        self.gso_type != Self::GSO_NONE
    }

    /// The type without its ECN bits.
    pub const fn gso_kind(self) -> u8 {
        self.gso_type & !Self::ECN_BITS
    }

    /// True if one of the ECN bits of the type is set.
    pub const fn has_ecn(self) -> bool {
        self.gso_type & Self::ECN_BITS != 0
    }

    /// Checks that this header is valid for the frame behind it.
    ///
    /// A container can write both through a packet socket, so neither is trusted. The rules are
    /// those of Linux for a header from user space (`linux/virtio_net.h` and the checks of its
    /// segmentation code), and more where Linux would segment nonsense: the headers must be
    /// complete, the packet no fragment, the segments few and short enough. `hdr_len` may be too
    /// small, as in Linux, but must lie within the frame.
    ///
    /// # Errors
    /// The first rule that is broken; [`VnetError::Tunnel`] for a GSO packet in a tunnel, also for one
    /// that can be segmented.
    pub fn validate(self, frame: &[u8]) -> Result<(), VnetError> {
        match self.layout(frame) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(Layout::tunneled(self, frame, error).err().unwrap_or(VnetError::Tunnel))
            }
        }
    }

    /// True for a GSO packet in a tunnel: only [`segment`](super::segment()) can deal with it.
    pub fn is_tunneled(self, frame: &[u8]) -> bool {
        is_tunneled(self, frame)
    }

    /// The layout of a valid GSO packet; `None` for any other valid frame.
    pub(super) fn layout(self, frame: &[u8]) -> Result<Option<Layout>, VnetError> {
        if self.flags & !Self::FLAGS != 0 {
            return Err(VnetError::UnknownFlags(self.flags));
        }
        if usize::from(self.hdr_len) > frame.len() {
            return Err(VnetError::HdrLenOutside);
        }
        self.check_checksum(frame)?;
        if self.is_gso() { Layout::of(self, frame).map(Some) } else { Ok(None) }
    }

    /// The rules for a partial checksum.
    pub(super) fn check_checksum(self, frame: &[u8]) -> Result<(), VnetError> {
        if !self.needs_csum() {
            return Ok(());
        }
        let start = usize::from(self.csum_start);
        if start < HEADER_LEN {
            return Err(VnetError::ChecksumInEthernet);
        }
        if start + usize::from(self.csum_offset) + 2 > frame.len() {
            return Err(VnetError::ChecksumOutside);
        }
        Ok(())
    }
}

/// A virtio_net header that is not valid for its frame, by the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VnetError {
    /// `csum_start` lies in the Ethernet header.
    #[error("the checksum starts within the 14 bytes of the Ethernet header")]
    ChecksumInEthernet,
    /// `csum_start` or `csum_offset` is not where the transport protocol has them.
    #[error("the checksum offset is not that of the TCP or UDP header of this GSO packet")]
    ChecksumMisplaced,
    /// `csum_start` + `csum_offset` + 2 is more than the frame has.
    #[error("the checksum lies behind the end of the frame")]
    ChecksumOutside,
    /// The type says IPv4 or IPv6 and the frame is something else.
    #[error("the frame does not have the network protocol of its GSO type")]
    EthertypeMismatch,
    /// Segmentation of a packet that is an IP fragment.
    #[error("an IP fragment cannot be segmented")]
    Fragment,
    /// A GSO type without a partial checksum.
    #[error("a GSO packet must have a partial checksum (flag 1)")]
    GsoWithoutChecksum,
    /// More than 512 bytes of headers in front of a payload to be segmented.
    #[error(
        "the headers of a GSO packet are longer than 512 bytes: each segment would repeat them"
    )]
    HeadersTooLong,
    /// `hdr_len` is more than the frame has.
    #[error("the header length lies behind the end of the frame")]
    HdrLenOutside,
    /// An IP header that is truncated or malformed.
    #[error("the IP header of this GSO packet is truncated or malformed")]
    IpHeader,
    /// The type says TCP or UDP and the packet is something else.
    #[error("the packet does not have the transport protocol of its GSO type")]
    ProtocolMismatch,
    /// A `gso_size` of zero, below 8 for TCP, or 0xffff, which Linux reserves.
    #[error("{0} bytes are no valid payload size of a segment")]
    SegmentSize(u16),
    /// A segment that would be longer than an IP packet can be.
    #[error("a segment would be longer than the 65535 bytes of an IP packet")]
    SegmentTooLong,
    /// A USO packet of more than 128 datagrams.
    #[error("the frame stands for more than 128 UDP datagrams")]
    TooManySegments,
    /// A TCP or UDP header that is truncated or too short.
    #[error("the TCP or UDP header of this GSO packet is truncated or too short")]
    TransportHeader,
    /// A GSO packet in a tunnel, whose checksum starts in the inner packet.
    #[error(
        "the GSO packet is inside a tunnel: it must be segmented, which works for VXLAN, Geneve, GRE and IP in IP"
    )]
    Tunnel,
    /// Type 3, UDP fragmentation offload.
    #[error("UDP fragmentation offload (GSO type 3) is not supported: do not offer UFO to senders")]
    Ufo,
    /// Unknown bits in `flags`.
    #[error("flags {0:#04x} have bits other than needs-checksum (1) and data-valid (2)")]
    UnknownFlags(u8),
    /// An unknown `gso_type`.
    #[error("GSO type {0:#04x} is none of TCPv4 (1), TCPv6 (4) and UDP (5)")]
    UnknownGsoType(u8),
    /// A GSO packet where a single frame is expected.
    #[error("a GSO packet must be segmented, not completed: each segment has its own checksum")]
    Unsegmented,
}
