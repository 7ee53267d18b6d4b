//! [`PacketSocket`]: the AF_PACKET socket on a parent.
//!
//! The kernel accepts the options in one order only: version, vnet header and reserve before the
//! ring, and the ring before bind. Facts from `packet(7)` and
//! `net/packet/af_packet.c`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::address_filter::{Membership, request};
use super::fanout::INCOMING;
use super::rx_ring::{RESERVE, RxRing};

/// `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h` (Linux 4.20).
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// `PACKET_COPY_THRESH` of `linux/if_packet.h`: also queue a frame that does not fit its slot.
const PACKET_COPY_THRESH: libc::c_int = 7;

/// Bytes of frames that may be queued because they do not fit a slot.
const QUEUE_BYTES: libc::c_int = 32 << 20;

/// Bytes of frames that the kernel holds for the parent before the socket is full; it doubles the
/// number for its own structures. The socket is writable again with less than half of that, which is
/// one GSO packet of 64 KB: so the parent still has one when the next is sent, and three at most. Those
/// are 8 milliseconds at 200 Mbit/s, which is what the frame of another link waits there.
const SEND_BYTES: usize = 80 << 10;

/// A raw socket bound to one interface, with its RX ring.
#[derive(Debug)]
pub struct PacketSocket {
    pub(super) socket: Socket,
    /// The ring that the kernel fills.
    pub ring: RxRing,
    pub(super) index: libc::c_int,
}

impl PacketSocket {
    /// Opens a socket on the interface of that index and MTU in the namespace of the calling thread.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; `OutOfMemory` without memory for the ring; `ENODEV` or
    /// `ENXIO` if there is no such interface.
    pub fn open(index: u32, mtu: u32) -> io::Result<Self> {
        let packet = Self::unbound(index, mtu)?;
        packet.bind()?;
        Ok(packet)
    }

    /// A socket with its ring that is not bound and receives nothing.
    pub(super) fn unbound(index: u32, mtu: u32) -> io::Result<Self> {
        let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        // Protocol 0: the socket receives nothing before bind, when the ring is ready.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        set_option(
            &socket,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V2 as libc::c_int),
        )?;
        set_option(&socket, libc::PACKET_VNET_HDR, &1)?;
        set_option(&socket, libc::PACKET_RESERVE, &RESERVE)?;
        set_option(&socket, PACKET_IGNORE_OUTGOING, &1)?;
        set_option(&socket, PACKET_COPY_THRESH, &1)?;
        force_receive_buffer(&socket, QUEUE_BYTES);
        socket.set_send_buffer_size(SEND_BYTES)?;
        let ring = RxRing::new(&socket, mtu)?;
        Ok(Self { socket, ring, index })
    }

    /// Adds a membership, which ends with the socket.
    ///
    /// # Errors
    /// No memory, or the interface was deleted.
    pub fn join(&self, membership: Membership) -> io::Result<()> {
        let request = request(self.index, membership);
        set_option(&self.socket, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Has a BPF program of type socket filter decide what the socket receives, in place of the filter
    /// that it has.
    ///
    /// # Errors
    /// The descriptor is not of such a program.
    pub fn set_filter(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let fd = program.as_raw_fd();
        let value: *const libc::c_int = &raw const fd;
        let (socket, len) = (self.socket.as_raw_fd(), super::size::<libc::c_int>());
        // SAFETY: `fd` is a whole int that outlives the call.
        let set = unsafe {
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, value.cast(), len)
        };
        super::checked(set)?;
        Ok(())
    }

    /// Has the socket receive everything, as when it was opened, in place of what a filter lets pass.
    ///
    /// # Errors
    /// No memory is left.
    pub fn reset_filter(&self) -> io::Result<()> {
        if self.fanout()? != 0 {
            return self.socket.attach_filter(&INCOMING);
        }
        match self.socket.detach_filter() {
            // It has none.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            detached => detached,
        }
    }

    /// Reads the queued frame of the slot that was received last ([`Extent::Queued`]), vnet header
    /// included. Returns its full length, even if the buffer is shorter.
    ///
    /// [`Extent::Queued`]: super::rx_ring::Extent::Queued
    ///
    /// # Errors
    /// The kernel could not describe the frame in a vnet header, and dropped it.
    pub fn recv_queued(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        super::syscall_count::record();
        // SAFETY: the buffer is writable for its whole length.
        let read = unsafe {
            libc::recv(self.socket.as_raw_fd(), start, len, libc::MSG_DONTWAIT | libc::MSG_TRUNC)
        };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Clears the error that is pending after the interface went down (ENETDOWN), so that a wait for
    /// the socket blocks again. The socket works again when the interface is up.
    pub fn clear_error(&self) {
        // Reading the expected error clears it.
        let _ = self.socket.take_error();
    }

    /// Frames that the kernel had no slot for since the last call.
    ///
    /// # Errors
    /// The error of `getsockopt`.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = super::size::<libc::tpacket_stats>();
        let value: *mut libc::tpacket_stats = &raw mut stats;
        let fd = self.socket.as_raw_fd();
        // SAFETY: `stats` is a whole tpacket_stats that outlives the call.
        let got = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                value.cast(),
                &raw mut len,
            )
        };
        super::checked(got)?;
        Ok(u64::from(stats.tp_drops))
    }

    pub(super) fn bind(&self) -> io::Result<()> {
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(0);
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
        address.sll_ifindex = self.index;
        let len = super::size::<libc::sockaddr_ll>();
        let fd = self.socket.as_raw_fd();
        // SAFETY: `address` is a whole sockaddr_ll that outlives the call.
        super::checked(unsafe { libc::bind(fd, (&raw const address).cast(), len) })?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets the receive buffer of a socket, beyond the system's limit if the privilege suffices.
pub(super) fn force_receive_buffer(socket: &Socket, bytes: libc::c_int) {
    let value: *const libc::c_int = &raw const bytes;
    let (fd, len) = (socket.as_raw_fd(), super::size::<libc::c_int>());
    // SAFETY: `bytes` is a whole int that outlives the call.
    let forced =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value.cast(), len) };
    if forced < 0 {
        // With a smaller buffer the kernel drops and counts more frames.
        let _ = socket.set_recv_buffer_size(bytes.unsigned_abs() as usize);
    }
}

pub(super) fn set_option<T>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    let value: *const T = value;
    // SAFETY: the kernel reads `size::<T>()` bytes of `value`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            value.cast(),
            super::size::<T>(),
        )
    };
    super::checked(set)?;
    Ok(())
}
