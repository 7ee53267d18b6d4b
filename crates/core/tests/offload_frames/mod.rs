//! GSO packets as a Linux sender creates them, for the tests of the offloads.

use umacvlan_core::offload::VnetHeader;

/// A packet to be built. The defaults are the simplest one; each test changes what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) tags: Vec<u16>,
    pub(crate) v6: bool,
    pub(crate) udp: bool,
    /// Bytes of IPv4 options (a multiple of 4), or of IPv6 destination options (of 8).
    pub(crate) ip_options: usize,
    /// Bytes of TCP options, a multiple of 4.
    pub(crate) tcp_options: usize,
    pub(crate) tcp_flags: u8,
    pub(crate) sequence: u32,
    pub(crate) id: u16,
    pub(crate) payload: Vec<u8>,
    pub(crate) gso_size: u16,
    /// [`VnetHeader::GSO_ECN`] and the like.
    pub(crate) gso_bits: u8,
}

impl Default for Packet {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            v6: false,
            udp: false,
            ip_options: 0,
            tcp_options: 0,
            tcp_flags: 0x10,
            sequence: 1,
            id: 1,
            payload: (0..=255).cycle().take(3000).collect(),
            gso_size: 1000,
            gso_bits: 0,
        }
    }
}

impl Packet {
    pub(crate) fn network(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub(crate) fn transport(&self) -> usize {
        self.network() + if self.v6 { 40 } else { 20 } + self.ip_options
    }

    pub(crate) fn headers(&self) -> usize {
        self.transport() + if self.udp { 8 } else { 20 + self.tcp_options }
    }

    /// The virtio_net header that goes with the frame.
    pub(crate) fn header(&self) -> VnetHeader {
        let gso_type = match (self.udp, self.v6) {
            (true, _) => VnetHeader::GSO_UDP_L4,
            (false, true) => VnetHeader::GSO_TCPV6,
            (false, false) => VnetHeader::GSO_TCPV4,
        };
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type: gso_type | self.gso_bits,
            hdr_len: u16::try_from(self.headers()).unwrap(),
            gso_size: self.gso_size,
            csum_start: u16::try_from(self.transport()).unwrap(),
            csum_offset: if self.udp { 6 } else { 16 },
        }
    }

    /// The frame, with a partial checksum.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (number, tpid) in (1_u16..).zip(&self.tags) {
            frame.extend(tpid.to_be_bytes());
            frame.extend(number.to_be_bytes());
        }
        let transport = self.transport_packet();
        let sum = if self.v6 {
            self.push_v6(&mut frame, transport.len())
        } else {
            self.push_v4(&mut frame, transport.len())
        };
        let at = frame.len() + usize::from(self.header().csum_offset);
        frame.extend(transport);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    /// Returns the sum of the pseudo-header.
    fn push_v4(&self, frame: &mut Vec<u8>, len: usize) -> u16 {
        let header = 20 + self.ip_options;
        let mut ip = vec![0x45 + u8::try_from(self.ip_options / 4).unwrap(), 0x02];
        ip.extend(short(header + len).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend([0x40, 0, 64, self.protocol(), 0, 0]);
        ip.extend([192, 0, 2, 1, 198, 51, 100, 2]);
        // No-operation options, each of one byte.
        ip.resize(header, 1);
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let addresses = ip[12..20].to_vec();
        frame.extend([0x08, 0x00]);
        frame.extend(ip);
        pseudo(&addresses, self.protocol(), len)
    }

    /// Returns the sum of the pseudo-header.
    fn push_v6(&self, frame: &mut Vec<u8>, len: usize) -> u16 {
        let next = if self.ip_options > 0 { 60 } else { self.protocol() };
        let mut addresses = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        addresses.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        frame.extend([0x86, 0xdd, 0x60, 0x01, 0x23, 0x45]);
        frame.extend(short(self.ip_options + len).to_be_bytes());
        frame.extend([next, 64]);
        frame.extend(&addresses);
        if self.ip_options > 0 {
            let mut options = vec![self.protocol(), u8::try_from(self.ip_options / 8 - 1).unwrap()];
            // One PadN option for the rest.
            options.extend([1, u8::try_from(self.ip_options - 4).unwrap()]);
            options.resize(self.ip_options, 0);
            frame.extend(options);
        }
        pseudo(&addresses, self.protocol(), len)
    }

    fn transport_packet(&self) -> Vec<u8> {
        let mut packet = vec![0x30, 0x39, 0x00, 0x50];
        if self.udp {
            packet.extend(short(8 + self.payload.len()).to_be_bytes());
            packet.extend([0, 0]);
        } else {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([0x11, 0x22, 0x33, 0x44]);
            packet.push(u8::try_from((20 + self.tcp_options) / 4).unwrap() << 4);
            packet.extend([self.tcp_flags, 0x12, 0x34, 0, 0, 0, 0]);
            packet.resize(20 + self.tcp_options, 1);
        }
        packet.extend(&self.payload);
        packet
    }
}

/// The one's complement sum of RFC 1071.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = u16::overflowing_add(sum, word);
        sum + u16::from(carry)
    })
}

fn pseudo(addresses: &[u8], protocol: u8, len: usize) -> u16 {
    let mut bytes = addresses.to_vec();
    bytes.extend([0, protocol]);
    bytes.extend(short(len).to_be_bytes());
    sum(&bytes)
}

fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap()
}
