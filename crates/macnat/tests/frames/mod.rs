//! Frames of all kinds that a translation looks at.
#![allow(dead_code, reason = "each test uses a part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, IpNumber, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};
use umacvlan_core::MacAddr;
use umacvlan_core::offload::{VnetHeader, checksum};

pub(crate) const PARENT: MacAddr = MacAddr::new([0x02, 0xaa, 0, 0, 0, 0xff]);
pub(crate) const WIRE: MacAddr = MacAddr::new([0x02, 0xbb, 0, 0, 0, 0x99]);

/// The number of the host's address.
pub(crate) const HOST: u8 = 5;

pub(crate) fn link_mac(link: u8) -> MacAddr {
    MacAddr::new([0x02, 0xcc, 0, 0, 0x10, link])
}

pub(crate) fn address(number: u8, v6: bool) -> IpAddr {
    match v6 {
        true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(number)).into(),
        false => Ipv4Addr::new(10, 0, 0, number + 1).into(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ArpReply,
    ArpRequest,
    Dhcp,
    DhcpWithoutChecksum,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    NeighbourSolicitationBehindOptions,
    RouterAdvertisement,
    RouterSolicitation,
    TcpV4,
    TcpV6,
    UdpV4,
    UdpV6,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::ArpReply,
        Self::ArpRequest,
        Self::Dhcp,
        Self::DhcpWithoutChecksum,
        Self::NeighbourAdvertisement,
        Self::NeighbourSolicitation,
        Self::NeighbourSolicitationBehindOptions,
        Self::RouterAdvertisement,
        Self::RouterSolicitation,
        Self::TcpV4,
        Self::TcpV6,
        Self::UdpV4,
        Self::UdpV6,
    ];

    pub(crate) fn of(number: u8) -> Self {
        Self::ALL[usize::from(number) % Self::ALL.len()]
    }

    pub(crate) fn is_v6(self) -> bool {
        !matches!(
            self,
            Self::ArpReply
                | Self::ArpRequest
                | Self::Dhcp
                | Self::DhcpWithoutChecksum
                | Self::TcpV4
                | Self::UdpV4
        )
    }

    /// DHCP clients are known by their own address.
    pub(crate) fn names_the_client(self) -> bool {
        matches!(self, Self::Dhcp | Self::DhcpWithoutChecksum)
    }

    /// A frame from `src` to `dst`, from the address of this number to that one.
    pub(crate) fn build(self, src: MacAddr, dst: MacAddr, from: u8, to: u8) -> Vec<u8> {
        let (source, target) = (address(from, self.is_v6()), address(to, self.is_v6()));
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                self.build_v4(src, dst, source.octets(), target.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                self.build_v6(src, dst, source.octets(), target.octets())
            }
            _ => unreachable!("both are of one family"),
        }
    }

    fn build_v4(self, src: MacAddr, dst: MacAddr, source: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2(src.octets(), dst.octets()).ipv4(source, target, 64);
        match self {
            Self::ArpReply | Self::ArpRequest => {
                let operation = if self == Self::ArpReply { 2 } else { 1 };
                let named = if self == Self::ArpReply { dst.octets() } else { [0; 6] };
                frame.extend(dst.octets());
                frame.extend(src.octets());
                frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
                frame.extend([&src.octets()[..], &source, &named, &target].concat());
            }
            Self::Dhcp | Self::DhcpWithoutChecksum => {
                ip.udp(68, 67).write(&mut frame, &dhcp(src)).unwrap();
                if self == Self::DhcpWithoutChecksum {
                    frame[40..42].fill(0);
                }
            }
            Self::UdpV4 => ip.udp(68, 4000).write(&mut frame, &dhcp(src)[..33]).unwrap(),
            _ => ip.tcp(1, 2, 3, 4).write(&mut frame, b"some data").unwrap(),
        }
        frame
    }

    fn build_v6(self, src: MacAddr, dst: MacAddr, source: [u8; 16], target: [u8; 16]) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2(src.octets(), dst.octets()).ipv6(source, target, 255);
        let option = |kind: u8| [&[kind, 1][..], &src.octets()].concat();
        // One of an unknown kind comes first.
        let options = |kind| [&[14, 1, 1, 2, 3, 4, 5, 6][..], &option(kind)].concat();
        let message: Vec<u8> = match self {
            Self::NeighbourAdvertisement => {
                [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &source, &options(2)].concat()
            }
            Self::NeighbourSolicitation | Self::NeighbourSolicitationBehindOptions => {
                [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &options(1)].concat()
            }
            Self::RouterAdvertisement => [&[134, 0][..], &[0; 14], &options(1)].concat(),
            Self::RouterSolicitation => [&[133, 0][..], &[0; 6], &options(1)].concat(),
            Self::UdpV6 => {
                ip.udp(1, 2).write(&mut frame, b"some datum").unwrap();
                return frame;
            }
            _ => {
                ip.tcp(1, 2, 3, 4).write(&mut frame, b"some data").unwrap();
                return frame;
            }
        };
        let behind = self == Self::NeighbourSolicitationBehindOptions;
        let extension: &[u8] = if behind { &[58, 0, 1, 4, 0, 0, 0, 0] } else { &[] };
        let header = Ipv6Header {
            payload_length: u16::try_from(extension.len() + message.len()).unwrap(),
            next_header: if behind { IpNumber(0) } else { IpNumber::IPV6_ICMP },
            hop_limit: 255,
            source,
            destination: target,
            ..Ipv6Header::default()
        };
        frame.extend(dst.octets());
        frame.extend(src.octets());
        frame.extend(EtherType::IPV6.0.to_be_bytes());
        header.write(&mut frame).unwrap();
        frame.extend(extension);
        let at = frame.len();
        frame.extend(message);
        let sum = checksum(&pseudo(&frame, at, 58));
        frame[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// A DHCP message of a client without an address, with the options that a DISCOVER has.
fn dhcp(client: MacAddr) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4];
    message.resize(28, 0);
    message.extend(client.octets());
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    message
}

/// What the checksum of a transport covers: the pseudo-header, and all from the offset `at` on.
fn pseudo(frame: &[u8], at: usize, protocol: u8) -> Vec<u8> {
    let addresses = if frame[12] == 8 { &frame[26..34] } else { &frame[22..54] };
    let len = u32::try_from(frame.len() - at).unwrap();
    [addresses, &len.to_be_bytes(), &[0, 0, 0, protocol], &frame[at..]].concat()
}

/// The protocol and the offset of the transport, and that of its checksum.
fn transport(frame: &[u8]) -> Option<(u8, usize, usize)> {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    if !matches!(sliced.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))) {
        return None;
    }
    let (protocol, slice, offset) = match sliced.transport? {
        TransportSlice::Tcp(tcp) => (6, tcp.slice().len(), 16),
        TransportSlice::Udp(udp) => (17, udp.slice().len(), 6),
        TransportSlice::Icmpv6(icmp) => (58, icmp.slice().len(), 2),
        _ => return None,
    };
    let at = frame.len() - slice;
    Some((protocol, at, at + offset))
}

/// True if the checksums in a frame of a test are right, or absent.
pub(crate) fn checksum_is_right(frame: &[u8]) -> bool {
    let Some((protocol, at, field)) = transport(frame) else {
        return true;
    };
    protocol == 17 && frame[field..field + 2] == [0, 0]
        || checksum(&pseudo(frame, at, protocol)) == 0
}

/// Makes the checksum of a frame partial; `None` for one without.
pub(crate) fn make_partial(frame: &mut [u8]) -> Option<VnetHeader> {
    let (protocol, at, field) = transport(frame)?;
    if protocol == 17 && frame[field..field + 2] == [0, 0] {
        return None;
    }
    let head = pseudo(frame, at, protocol);
    let sum = !checksum(&head[..head.len() - (frame.len() - at)]);
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Some(VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        csum_start: u16::try_from(at).unwrap(),
        csum_offset: u16::try_from(field - at).unwrap(),
        ..VnetHeader::PLAIN
    })
}
