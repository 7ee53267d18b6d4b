//! GSO packets in tunnels: each segment equals the frame that a sender without offloads builds.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use proptest::prelude::*;
use umacvlan_core::offload::{
    Offloads, SEGMENT_BUFFER_LEN, VNET_LEN, VnetError, VnetHeader, complete_checksum, segment,
    segment_count,
};

use offload_frames::{Packet, sum};

#[allow(dead_code, reason = "other tests use the rest")]
mod offload_frames;

/// The tunnels that are known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tunnel {
    Geneve { options: usize, ethernet: bool },
    Gre { checksum: bool, key: bool, ethernet: bool },
    Ip,
    Vxlan,
}

/// A packet in a tunnel.
#[derive(Clone, Debug)]
struct Tunneled {
    tunnel: Tunnel,
    /// The inner packet; its VLAN tags count if the tunnel carries Ethernet frames.
    inner: Packet,
    tags: Vec<u16>,
    v6: bool,
    id: u16,
    /// Whether the outer UDP header has a checksum.
    checksum: bool,
    /// Bytes of options of the outer IP header.
    options: usize,
}

impl Tunneled {
    fn is_ethernet(&self) -> bool {
        match self.tunnel {
            Tunnel::Geneve { ethernet, .. } | Tunnel::Gre { ethernet, .. } => ethernet,
            Tunnel::Ip => false,
            Tunnel::Vxlan => true,
        }
    }

    /// The headers between the outer IP header and the inner packet, with right fields for it.
    fn between(&self, inner: &[u8]) -> Vec<u8> {
        let ip: [u8; 2] = if self.inner.v6 { [0x86, 0xdd] } else { [0x08, 0] };
        let protocol = if self.is_ethernet() { [0x65, 0x58] } else { ip };
        let udp = |port: u16, header: &[u8]| {
            let len = u16::try_from(8 + header.len() + inner.len()).unwrap();
            let mut bytes = [0xc0, 0x01].to_vec();
            bytes.extend(port.to_be_bytes());
            bytes.extend(len.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(header);
            bytes
        };
        match self.tunnel {
            Tunnel::Geneve { options, .. } => {
                let words = u8::try_from(options).unwrap();
                let mut header = vec![words, 0, protocol[0], protocol[1], 0, 0, 7, 0];
                header.resize(8 + 4 * options, 0xab);
                udp(6081, &header)
            }
            Tunnel::Gre { checksum, key, .. } => {
                let flags = if checksum { 0x80 } else { 0 } | if key { 0x20 } else { 0 };
                let mut header = vec![flags, 0, protocol[0], protocol[1]];
                header.extend(if checksum { &[0; 4][..] } else { &[] });
                header.extend(if key { &[0, 0, 0, 9][..] } else { &[] });
                if checksum {
                    let checksum = !sum(&[&header[..], inner].concat());
                    header[4..6].copy_from_slice(&checksum.to_be_bytes());
                }
                header
            }
            Tunnel::Ip => Vec::new(),
            Tunnel::Vxlan => udp(4789, &[8, 0, 0, 0, 0, 0, 5, 0]),
        }
    }

    fn protocol(&self) -> u8 {
        match self.tunnel {
            Tunnel::Geneve { .. } | Tunnel::Vxlan => 17,
            Tunnel::Gre { .. } => 47,
            Tunnel::Ip if self.inner.v6 => 41,
            Tunnel::Ip => 4,
        }
    }

    /// The frame with `inner` (which has its Ethernet header) in the tunnel, as number `index` of
    /// the packets of this sender, finished.
    fn around(&self, inner: &[u8], index: u16) -> Vec<u8> {
        let inner = if self.is_ethernet() { inner } else { &inner[14..] };
        let mut packet = self.between(inner);
        packet.extend(inner);
        // The outer IP header is that of a packet without payload, with another length.
        let outer = Packet {
            tags: self.tags.clone(),
            v6: self.v6,
            udp: true,
            ip_options: self.options,
            id: self.id.wrapping_add(index),
            payload: Vec::new(),
            ..Packet::default()
        };
        let mut frame = outer.frame();
        let (network, transport) = (outer.network(), outer.transport());
        frame.truncate(transport);
        frame.extend(&packet);
        let len = frame.len() - network;
        let ip = &mut frame[network..transport];
        if self.v6 {
            ip[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
            let next = if self.options > 0 { 40 } else { 6 };
            ip[next] = self.protocol();
        } else {
            ip[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            ip[9] = self.protocol();
            ip[10..12].fill(0);
            let checksum = !sum(ip);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        if self.protocol() == 17 && self.checksum {
            let addresses = if self.v6 { &ip[8..40] } else { &ip[12..20] };
            let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
            let pseudo = [addresses, &[0, 17], &len, &packet].concat();
            let checksum = Some(!sum(&pseudo)).filter(|sum| *sum != 0).unwrap_or(0xffff);
            frame[transport + 6..transport + 8].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }

    /// Bytes in front of the inner frame, or in front of its IP header.
    fn prefix(&self) -> usize {
        let whole = self.around(&self.inner.frame(), 0).len();
        whole - (self.inner.frame().len() - if self.is_ethernet() { 0 } else { 14 })
    }

    /// The header that Linux describes the packet with: that of the inner packet.
    fn header(&self) -> VnetHeader {
        let before = self.prefix() - if self.is_ethernet() { 0 } else { 14 };
        let before = u16::try_from(before).unwrap();
        let header = self.inner.header();
        VnetHeader {
            hdr_len: header.hdr_len + before,
            csum_start: header.csum_start + before,
            ..header
        }
    }

    /// The segments as a sender without offloads builds them: each of a packet of its own.
    fn expected(&self) -> Vec<Vec<u8>> {
        let pieces = self.inner.payload.chunks(usize::from(self.inner.gso_size));
        let last = pieces.len() - 1;
        let mut sequence = self.inner.sequence;
        let mut frames = Vec::new();
        for (index, payload) in pieces.enumerate() {
            let number = u16::try_from(index).unwrap();
            let mut packet = Packet { payload: payload.to_vec(), ..self.inner.clone() };
            packet.id = packet.id.wrapping_add(number);
            packet.sequence = sequence;
            sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
            packet.tcp_flags &= if index == last { 0xff } else { !0x09 };
            packet.tcp_flags &= if index == 0 { 0xff } else { !0x80 };
            let mut inner = packet.frame();
            let mut header = VnetHeader { gso_type: 0, ..packet.header() };
            complete_checksum(&mut header, &mut inner).unwrap();
            // A segment has TCP's checksum as it is, zero too, which completion writes as 0xffff.
            let at = packet.transport() + 16;
            if !packet.udp && inner[at..at + 2] == [0xff; 2] {
                inner[at..at + 2].fill(0);
            }
            frames.push(self.around(&inner, number));
        }
        frames
    }
}

/// The segments, or the error.
fn cut(header: VnetHeader, frame: &[u8]) -> Result<Vec<Vec<u8>>, VnetError> {
    let mut scratch = Box::new([0xee; SEGMENT_BUFFER_LEN]);
    let mut frames = Vec::new();
    let count = segment(header, frame, &mut scratch, |unit| {
        assert_eq!(unit[..VNET_LEN], [0; VNET_LEN], "the header is plain");
        frames.push(unit[VNET_LEN..].to_vec());
    })?;
    assert_eq!(count, frames.len());
    assert_eq!(segment_count(header, frame), count, "the count without segmentation");
    Ok(frames)
}

fn tunnels() -> impl Strategy<Value = Tunnel> {
    prop_oneof![
        (0..20_usize, any::<bool>())
            .prop_map(|(options, ethernet)| Tunnel::Geneve { options, ethernet }),
        (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(checksum, key, ethernet)| Tunnel::Gre { checksum, key, ethernet }),
        Just(Tunnel::Ip),
        Just(Tunnel::Vxlan),
    ]
}

fn packets() -> impl Strategy<Value = Tunneled> {
    let tags = || prop_oneof![Just(vec![]), Just(vec![0x8100]), Just(vec![0x88a8, 0x8100])];
    let inner = (tags(), any::<bool>(), any::<bool>(), 0..10_usize, any::<(u8, u32, u16)>());
    let data = (proptest::collection::vec(any::<u8>(), 1..3000), 32..1500_u16);
    let outer = (tunnels(), tags(), any::<bool>(), any::<u16>(), any::<bool>(), 0..3_usize);
    (inner, data, outer).prop_map(|(inner, (payload, gso_size), outer)| {
        let (inner_tags, inner_v6, udp, tcp_options, (tcp_flags, sequence, inner_id)) = inner;
        let (tunnel, tags, v6, id, checksum, options) = outer;
        let mut packet = Tunneled {
            tunnel,
            inner: Packet {
                tags: inner_tags,
                v6: inner_v6,
                udp,
                tcp_options: tcp_options * 4,
                tcp_flags,
                sequence,
                id: inner_id,
                payload,
                gso_size,
                ..Packet::default()
            },
            tags,
            v6,
            id,
            checksum,
            options: 8 * options,
        };
        if !packet.is_ethernet() {
            packet.inner.tags.clear();
        }
        // The destination behind IPv6 options is not looked for.
        packet.checksum &= !v6 || options == 0;
        packet
    })
}

proptest! {
    #[test]
    fn segments_equal_frames_that_were_built_one_by_one(packet in packets()) {
        let frame = packet.around(&packet.inner.frame(), 0);
        let header = packet.header();
        prop_assert!(header.is_tunneled(&frame));
        prop_assert_eq!(header.validate(&frame), Err(VnetError::Tunnel));
        prop_assert!(!Offloads::ALL.accepts(header, &frame), "no receiver cuts it right");
        prop_assert_eq!(cut(header, &frame).unwrap(), packet.expected());
    }

    #[test]
    fn a_packet_without_a_tunnel_is_in_none(tags in 0..3_usize, v6: bool, udp: bool) {
        let packet = Packet { tags: vec![0x8100; tags], v6, udp, ..Packet::default() };
        prop_assert!(!packet.header().is_tunneled(&packet.frame()));
        prop_assert!(Offloads::ALL.accepts(packet.header(), &packet.frame()));
    }

    #[test]
    fn a_changed_header_of_a_tunnel_never_panics(
        packet in packets(), changes in proptest::collection::vec((0..200_usize, any::<u8>()), 1..4),
        csum_start in proptest::option::of(14..200_u16),
    ) {
        let mut frame = packet.around(&packet.inner.frame(), 0);
        let mut header = packet.header();
        header.csum_start = csum_start.unwrap_or(header.csum_start);
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        match (header.validate(&frame), cut(header, &frame)) {
            (Ok(()), cut) => prop_assert!(cut.is_ok()),
            (Err(VnetError::Tunnel), _) => {}
            (Err(error), cut) => prop_assert_eq!(cut, Err(error)),
        }
    }
}

/// A VXLAN packet with 3000 bytes of TCP.
fn vxlan() -> Tunneled {
    Tunneled {
        tunnel: Tunnel::Vxlan,
        inner: Packet::default(),
        tags: Vec::new(),
        v6: false,
        id: 7,
        checksum: true,
        options: 0,
    }
}

#[test]
fn a_tunnel_in_a_tunnel_is_not_segmented() {
    // The packet in the middle would keep its length.
    let inner = Tunneled { tunnel: Tunnel::Ip, ..vxlan() };
    let frame = vxlan().around(&inner.around(&inner.inner.frame(), 0), 0);
    let header =
        VnetHeader { csum_start: vxlan().header().csum_start + 20, hdr_len: 0, ..vxlan().header() };
    assert!(header.is_tunneled(&frame));
    assert_eq!(cut(header, &frame), Err(VnetError::Tunnel));
}

#[test]
fn an_unknown_tunnel_is_not_segmented() {
    let mut frame = vxlan().around(&vxlan().inner.frame(), 0);
    // Another flag than that of the network identifier.
    frame[42] = 0x0c;
    assert_eq!(cut(vxlan().header(), &frame), Err(VnetError::Tunnel));
}
