//! A packet socket that receives the messages of DHCP servers on one interface, and nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{SockFilter, SockRef};

use super::raw_socket;

/// Bytes of the receive buffer: some dozens of messages.
const RECEIVE_BUFFER: usize = 128 << 10;

/// The EtherType of IPv4 (`ETH_P_IP` of linux/if_ether.h).
const IPV4: u16 = 0x0800;

/// An instruction code.
#[allow(clippy::cast_possible_truncation, reason = "constants below 256; the type is the kernel's")]
const fn code(bits: u32) -> u16 {
    bits as u16
}

/// Accepts whole UDP datagrams to port 68. Offsets count from the Ethernet header.
const TO_CLIENTS: [SockFilter; 9] = [
    // The protocol is UDP.
    SockFilter::new(code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS), 0, 0, 23),
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 6, 17),
    // It is the first fragment.
    SockFilter::new(code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS), 0, 0, 20),
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), 4, 0, 0x1fff),
    // The destination port, behind a header of any length.
    SockFilter::new(code(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH), 0, 0, 14),
    SockFilter::new(code(libc::BPF_LD | libc::BPF_H | libc::BPF_IND), 0, 0, 16),
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 1, 68),
    SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
    SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
];

/// Opens such a socket in the calling thread's network namespace. Frames that are
/// [sent](raw_socket::send) by it leave by the interface of this index, as they are.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`; `ENODEV` if there is no such interface.
pub fn open(index: u32) -> io::Result<OwnedFd> {
    // It receives nothing before it has its filter.
    let socket = raw_socket::open(index, 0)?;
    let options = SockRef::from(&socket);
    options.attach_filter(&TO_CLIENTS)?;
    options.set_recv_buffer_size(RECEIVE_BUFFER)?;
    raw_socket::bind(socket.as_fd(), index, IPV4)?;
    Ok(socket)
}
