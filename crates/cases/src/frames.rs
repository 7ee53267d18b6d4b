//! Random addresses and frames, the same in every process.

use fastrand::Rng;
use umacvlan_core::MacAddr;
use umacvlan_core::offload::VnetHeader;

/// Bytes of the headers of the packets here: Ethernet, IPv4 and UDP.
pub(crate) const UDP_HEADERS: usize = 14 + 20 + 8;

/// Bytes of the headers of the packets here: Ethernet, IPv4 and TCP.
pub(crate) const TCP_HEADERS: usize = 14 + 20 + 20;

/// The random numbers of a case, from a fixed seed.
pub(crate) fn random() -> Rng {
    Rng::with_seed(42)
}

/// A random, locally administered unicast address.
pub(crate) fn random_mac(random: &mut Rng) -> MacAddr {
    let [a, b, c, d, e, ..] = random.u64(..).to_le_bytes();
    MacAddr::new([2, a, b, c, d, e])
}

/// The first bytes of a frame with an EtherType for local experiments (IEEE 802).
pub(crate) fn head(dst: MacAddr, src: MacAddr) -> [u8; 16] {
    let mut head = [0; 16];
    head[..6].copy_from_slice(&dst.octets());
    head[6..12].copy_from_slice(&src.octets());
    head[12..14].copy_from_slice(&[0x88, 0xb5]);
    head
}

/// A TCP GSO packet of `len` bytes, as the stack of a container sends it.
pub(crate) fn tcp(len: usize, gso_size: u16) -> (VnetHeader, Vec<u8>) {
    let mut frame =
        ipv4(6, len, MacAddr::new([2, 0, 0, 0, 0, 1]), MacAddr::new([2, 0, 0, 0, 0, 2]));
    // Twenty bytes of header, and ACK.
    frame[46..48].copy_from_slice(&[0x50, 0x10]);
    let header = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 54,
        gso_size,
        csum_start: 34,
        csum_offset: 16,
    };
    (header, frame)
}

/// A finished UDP datagram of `len` bytes, with all headers.
pub(crate) fn udp(len: usize, dst: MacAddr, src: MacAddr, id: u16) -> Vec<u8> {
    udp_from(0x3039, len, dst, src, id)
}

/// The same, from that port.
pub(crate) fn udp_from(port: u16, len: usize, dst: MacAddr, src: MacAddr, id: u16) -> Vec<u8> {
    let mut frame = ipv4(17, len, dst, src);
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    finish_ipv4(&mut frame);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&[0x30, 0x3a]);
    frame[38..40].copy_from_slice(&short(len - 34));
    finish_udp(&mut frame);
    frame
}

fn ipv4(protocol: u8, len: usize, dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let mut frame = head(dst, src)[..12].to_vec();
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(short(len - 14));
    // No fragment, 64 hops.
    frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    let body = (0..=255).cycle().take(len - frame.len());
    frame.extend(body);
    finish_ipv4(&mut frame);
    frame
}

fn finish_ipv4(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = umacvlan_core::offload::checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn finish_udp(frame: &mut [u8]) {
    frame[40..42].fill(0);
    let mut summed = frame[26..34].to_vec();
    summed.extend([0, 17]);
    summed.extend(short(frame.len() - 34));
    summed.extend(&frame[34..]);
    let sum = umacvlan_core::offload::checksum(&summed);
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
}

fn short(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("no packet is longer than 65 535 bytes").to_be_bytes()
}
