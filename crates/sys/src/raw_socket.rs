//! Packet sockets for tests, measurements and a few messages: frames are sent in batches and received one
//! by one.
//!
//! [`packet`](super::packet) has the engine's socket, which is faster. The sockets here have no ring,
//! no offload and no promiscuous mode, so that they receive what an ordinary program receives.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::SockRef;

use super::packet::{force_receive_buffer, set_option};
use super::{checked, size};

/// The most frames that one call of [`send`] sends.
pub const BATCH: usize = 64;

/// Bytes of the receive buffer: some seconds of small frames, so that no frame is lost while a busy
/// machine does not run the reader.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// A non-blocking packet socket (packet(7)) on the interface of this index, in the calling
/// thread's network namespace. It receives the frames of one EtherType, or none if that is 0.
///
/// A socket of one EtherType receives what the interface's own stack receives, without the frames
/// that an rx_handler consumed before (net/core/dev.c). A frame on it has reached the stack.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW`; `ENODEV` if there is no such interface.
pub fn open(index: u32, ethertype: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Protocol 0: it receives nothing until it is bound, so no frame of another interface.
    // SAFETY: socket takes no pointers.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: socket has just made this descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    force_receive_buffer(&SockRef::from(&socket), RECEIVE_BUFFER);
    bind(socket.as_fd(), index, ethertype)?;
    Ok(socket)
}

/// Makes each frame that a packet socket sends or receives begin with a vnet header of 10 bytes, so
/// that it may be a GSO packet.
///
/// # Errors
/// The error of setsockopt(2).
pub fn expect_vnet_headers(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(&SockRef::from(&socket), libc::PACKET_VNET_HDR, &1)
}

/// Makes a packet socket receive the frames of one EtherType from the interface of this index.
pub(super) fn bind(socket: BorrowedFd<'_>, index: u32, ethertype: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(index)
            .map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a whole sockaddr_ll that outlives the call.
    checked(unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size::<libc::sockaddr_ll>())
    })?;
    Ok(())
}

/// Sends `count` copies of `frame`, at most [`BATCH`], in one call (sendmmsg(2)), and returns the
/// number that the kernel accepted: 0 if its queues are full.
///
/// # Errors
/// The error of sendmmsg(2) other than full queues: `ENETDOWN`, `EMSGSIZE`.
pub fn send(socket: BorrowedFd<'_>, frame: &[u8], count: usize) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    let message = libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: &raw mut part,
            msg_iovlen: 1,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    };
    let mut batch = [message; BATCH];
    let count = u32::try_from(count.min(BATCH)).unwrap_or(u32::MAX);
    // SAFETY: the first `count` messages of `batch` point to `part`, and that to `frame`; all outlive
    // the call, and a send only reads the frame.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => full_is_zero(io::Error::last_os_error()),
    }
}

/// Reads one waiting frame into `buffer`; returns its length, or `None` if none waits.
///
/// # Errors
/// The error of recv(2): `ENETDOWN` once when the interface goes down or is deleted.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: `buffer` is writable for its whole length.
    let length = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            e => Err(e),
        },
    }
}

/// The index of an interface in the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` if there is none of that name.
pub fn index_of(interface: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: `name` ends with a zero byte and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// 0 for the errors that mean a full queue.
fn full_is_zero(error: io::Error) -> io::Result<usize> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => Ok(0),
        _ => Err(error),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a constant, 17; the two types are the kernel's"
)]
const AF_PACKET: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;
