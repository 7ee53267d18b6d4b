//! [`UdpBatch`]: a UDP socket for measurements, which reads datagrams in batches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use super::packet::force_receive_buffer;
use super::size;

/// The most datagrams that one call reads.
const BATCH: usize = 64;

/// Bytes of one buffer: the longest datagram in an Ethernet frame of MTU 1500 fits.
const BUFFER_LEN: usize = 1536;

/// Bytes of the receive buffer, which includes the kernel's overhead.
const QUEUE_BYTES: libc::c_int = 32 << 20;

/// `SK_MEMINFO_DROPS` of `linux/sock_diag.h`, and how many such values there are.
const DROPS: usize = 8;
const MEMINFO_VALUES: usize = 9;

/// A bound UDP socket and the buffers of one batch.
pub struct UdpBatch {
    socket: Socket,
    buffers: Box<[[u8; BUFFER_LEN]; BATCH]>,
    /// The kernel's count of dropped datagrams at the last [`UdpBatch::take_drops`].
    dropped: u32,
}

impl std::fmt::Debug for UdpBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpBatch").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl UdpBatch {
    /// Opens a socket at this address, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The error of socket(2) or bind(2): the address is not local, or taken.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        force_receive_buffer(&socket, QUEUE_BYTES);
        socket.bind(&address.into())?;
        Ok(Self { socket, buffers: Box::new([[0; BUFFER_LEN]; BATCH]), dropped: 0 })
    }

    /// Passes the datagrams of one batch (recvmmsg(2)) to `datagram`, truncated to the MTU of usual
    /// Ethernet; false if none waits.
    ///
    /// # Errors
    /// The error of recvmmsg(2).
    pub fn read(&mut self, mut datagram: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut parts = self.buffers.each_mut().map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: BUFFER_LEN,
        });
        let mut messages = parts.each_mut().map(|part| libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: std::ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: part,
                msg_iovlen: 1,
                msg_control: std::ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        });
        let (fd, room) = (self.socket.as_raw_fd(), libc::c_uint::try_from(BATCH).unwrap_or(0));
        let no_limit = std::ptr::null_mut();
        // SAFETY: each of the BATCH messages points to a part, and that to a whole buffer; all outlive
        // the call.
        let read = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), room, libc::MSG_DONTWAIT, no_limit)
        };
        let Ok(count) = usize::try_from(read) else {
            return match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
                e => Err(e),
            };
        };
        for (message, buffer) in messages.iter().zip(&*self.buffers).take(count) {
            datagram(&buffer[..(message.msg_len as usize).min(BUFFER_LEN)]);
        }
        Ok(count > 0)
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since the last call.
    ///
    /// # Errors
    /// The error of `getsockopt`.
    pub fn take_drops(&mut self) -> io::Result<u64> {
        let mut values = [0_u32; MEMINFO_VALUES];
        let mut len = size::<[u32; MEMINFO_VALUES]>();
        let fd = self.socket.as_raw_fd();
        let value: *mut [u32; MEMINFO_VALUES] = &raw mut values;
        // SAFETY: `values` has `len` bytes and outlives the call.
        let got = unsafe {
            libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, value.cast(), &raw mut len)
        };
        super::checked(got)?;
        let drops = values[DROPS].wrapping_sub(self.dropped);
        self.dropped = values[DROPS];
        Ok(u64::from(drops))
    }
}

impl AsFd for UdpBatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
