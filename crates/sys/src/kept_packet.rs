//! Packet sockets that outlive their process: the next one goes on in the ring where the former one has
//! stopped, and finds what has arrived meanwhile.
//!
//! Of what the former process had received, nobody knows whether it was forwarded. So those frames are
//! counted as lost, and not forwarded twice.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::packet::PacketSocket;
use super::rx_ring::{RESERVE, RxRing, SLOTS};

/// Bytes of a frame by which it is told from others: addresses, EtherType, and the headers of IP and
/// TCP with their numbers.
const BEGINNING: usize = 54;

/// The longest time between the moment when the kernel queues a frame and that when its slot has it.
const SLOT_DELAY: Duration = Duration::from_millis(1);

impl PacketSocket {
    /// Takes over the socket of a former process on the interface of that index and MTU. Returns it with
    /// the number of frames that this process had received and not finished.
    ///
    /// # Errors
    /// It is no such socket: `InvalidInput` for another kind or interface, `EINVAL` for a ring of another
    /// size, `InvalidData` if its ring does not tell where to go on.
    pub fn from_kept(fd: OwnedFd, index: u32, mtu: u32) -> io::Result<(Self, usize)> {
        let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let socket = Socket::from(fd);
        if !is_raw_packet(&socket)? || !is_as_opened(&socket)? || bound_index(&socket)? != index {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (ring, unfinished) = RxRing::resume(&socket, mtu)?;
        let kept = Self { socket, ring, index };
        let unread = kept.drop_unmatched();
        Ok((kept, unfinished.max(unread)))
    }

    /// Drops the queued frames whose slots the former process had received. Returns their number.
    ///
    /// The queue has a frame before its slot says so. One without a slot is therefore looked for twice.
    fn drop_unmatched(&self) -> usize {
        let (mut dropped, mut waited) = (0, false);
        while dropped < SLOTS {
            let mut beginning = [0; BEGINNING];
            let Ok(len) = self.peek_queued(&mut beginning) else {
                return dropped;
            };
            let len = len.min(BEGINNING);
            match self.ring.first_queued() {
                Some(slot) if slot.starts_with(&beginning[..len.min(slot.len())]) => {
                    return dropped;
                }
                None if !waited => {
                    waited = true;
                    sleep(SLOT_DELAY);
                    continue;
                }
                _ => {}
            }
            let _ = self.recv_queued(&mut []);
            (dropped, waited) = (dropped + 1, false);
        }
        dropped
    }

    /// Reads the beginning of the next queued frame, without its vnet header, and leaves it in the queue.
    fn peek_queued(&self, beginning: &mut [u8; BEGINNING]) -> io::Result<usize> {
        use umacvlan_core::offload::VNET_LEN;
        let mut buffer = [MaybeUninit::uninit(); VNET_LEN + BEGINNING];
        let len = self.socket.recv_with_flags(&mut buffer, libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
        let read = buffer.get(VNET_LEN..len).unwrap_or_default();
        for (to, from) in beginning.iter_mut().zip(read) {
            // SAFETY: the kernel has written the first `len` bytes.
            *to = unsafe { from.assume_init() };
        }
        Ok(read.len())
    }
}

/// True for a raw packet socket.
///
/// # Errors
/// The descriptor is no socket.
pub fn is_raw_packet(descriptor: &impl AsFd) -> io::Result<bool> {
    let socket = SockRef::from(descriptor);
    Ok(socket.domain()? == Domain::PACKET && socket.r#type()? == Type::RAW)
}

/// True for the options that [`PacketSocket::open`] has set: they decide where a frame lies in its slot.
fn is_as_opened(socket: &Socket) -> io::Result<bool> {
    let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
    Ok(option(socket, libc::PACKET_VERSION)? == version
        && option(socket, libc::PACKET_VNET_HDR)? == 1
        && option(socket, libc::PACKET_RESERVE)? == RESERVE)
}

fn option(socket: &Socket, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = super::size::<libc::c_int>();
    let (to, fd): (*mut libc::c_int, _) = (&raw mut value, socket.as_raw_fd());
    // SAFETY: `value` is a whole int that outlives the call.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_PACKET, name, to.cast(), &raw mut len) };
    super::checked(got)?;
    Ok(value)
}

/// The index of the interface that the socket is bound to; -1 if that is gone.
fn bound_index(socket: &Socket) -> io::Result<libc::c_int> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut len = super::size::<libc::sockaddr_ll>();
    let (to, fd): (*mut libc::sockaddr_ll, _) = (&raw mut address, socket.as_raw_fd());
    // SAFETY: `address` is a whole sockaddr_ll that outlives the call, and `len` its size.
    super::checked(unsafe { libc::getsockname(fd, to.cast(), &raw mut len) })?;
    let all = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    Ok(if address.sll_protocol == all { address.sll_ifindex } else { -1 })
}
