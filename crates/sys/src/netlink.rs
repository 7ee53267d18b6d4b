//! A socket of the kernel's netlink, as a rule its routing one (rtnetlink(7)): bytes out, bytes in.
//!
//! What the bytes mean is the business of `umacvlan-netlink`. The socket stays in the namespace in
//! which it was opened, and keeps it alive.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// A `NETLINK_ROUTE` or `NETLINK_GENERIC` socket with an address of its own, closed on exec.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: Socket,
}

/// What one [`NetlinkSocket::recv`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing is waiting; only a nonblocking socket says so.
    Empty,
    /// The kernel dropped messages for want of buffer space (`ENOBUFS`): what they told must be
    /// read again.
    Lost,
    /// One datagram of the kernel's, with one or more messages in it.
    Messages {
        /// How many bytes of the buffer it fills.
        len: usize,
        /// The namespace that sent it, by the id that ours has for it; `None` for our own.
        /// Only after [`NetlinkSocket::listen_all_nsid`].
        nsid: Option<i32>,
    },
}

impl NetlinkSocket {
    /// A blocking socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say; `EPROTONOSUPPORT` on a kernel without netlink.
    pub fn open() -> io::Result<Self> {
        Self::open_to(libc::NETLINK_ROUTE)
    }

    /// The same to the generic netlink of families with names.
    ///
    /// # Errors
    /// As there.
    pub fn open_generic() -> io::Result<Self> {
        Self::open_to(libc::NETLINK_GENERIC)
    }

    fn open_to(protocol: libc::c_int) -> io::Result<Self> {
        let protocol = Protocol::from(protocol);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
        bind(&socket)?;
        Ok(Self { socket })
    }

    /// Makes [`Self::recv`] answer [`Received::Empty`] instead of waiting.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// Asks for room for `bytes` of messages: beyond the limit of the machine where the privilege
    /// suffices, else as much as `net.core.rmem_max` allows.
    ///
    /// # Errors
    /// What setsockopt(2) says to the smaller wish.
    pub fn set_receive_buffer(&self, bytes: i32) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
            .or_else(|_| set_option(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
    }

    /// Asks the kernel to explain its refusals in words, and not to send our request back.
    ///
    /// # Errors
    /// `ENOPROTOOPT` before Linux 4.12; requests work without it.
    pub fn explain_errors(&self) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        set_option(&self.socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1)
    }

    /// Subscribes to the multicast group number `group` (`RTNLGRP_*`).
    ///
    /// # Errors
    /// `EINVAL` if this kernel has no such group.
    pub fn add_membership(&self, group: u32) -> io::Result<()> {
        let group = i32::try_from(group).map_err(io::Error::other)?;
        set_option(&self.socket, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Extends the subscriptions to every namespace that has an id in ours and over whose user
    /// namespace we have `CAP_NET_BROADCAST` (netlink(7), `NETLINK_LISTEN_ALL_NSID`).
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_BROADCAST`.
    pub fn listen_all_nsid(&self) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, 1)
    }

    /// Sends one message to the kernel.
    ///
    /// # Errors
    /// What send(2) says. A refusal of the request comes as a message, not here.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        // A datagram goes whole or not at all.
        self.socket.send(message).map(|_| ())
    }

    /// Waits until there is something to receive; false if nothing came for `timeout`.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&self.socket, left) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Receives one datagram into `buffer`.
    ///
    /// # Errors
    /// What recvmsg(2) says, and `EMSGSIZE` if the datagram was longer than the buffer. Neither
    /// an empty queue nor lost messages are errors: see [`Received`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let datagram = match receive(&self.socket, buffer) {
                Ok(datagram) => datagram,
                Err(e) => match e.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Received::Empty),
                    Some(libc::EINTR) => continue,
                    Some(libc::ENOBUFS) => return Ok(Received::Lost),
                    _ => return Err(e),
                },
            };
            // Processes may send to this socket too; only the kernel is port 0.
            if datagram.sender != 0 {
                continue;
            }
            if datagram.truncated {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            return Ok(Received::Messages { len: datagram.len, nsid: datagram.nsid });
        }
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What recvmsg(2) tells beside the bytes.
struct Datagram {
    len: usize,
    truncated: bool,
    /// Netlink port of the sender.
    sender: u32,
    nsid: Option<i32>,
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Datagram> {
    // SAFETY: sockaddr_nl is plain integers, for which zero is a value.
    let mut sender: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut sender).cast();
    header.msg_namelen = address_len()?;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // The width of the field is the C library's choice.
    header.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `header` is to a local or to `buffer`, exclusively borrowed, with
    // its own length beside it; all of them outlive the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
    let Ok(len) = usize::try_from(len) else {
        return Err(io::Error::last_os_error());
    };
    // The width of the field is the C library's choice.
    let filled = control.0.len().min(header.msg_controllen as usize);
    Ok(Datagram {
        len,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        sender: sender.nl_pid,
        nsid: nsid_of(&control.0[..filled]),
    })
}

/// Room for control messages, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// The `NETLINK_LISTEN_ALL_NSID` message among these: cmsg(3) gives the layout, which is a length
/// of the width of `size_t`, level, type, and the data from the next aligned place on. A kernel
/// from before May 2026 may send -1 with a message of our own namespace, if somebody in another
/// listens as we do (a flag in `do_one_broadcast` stayed set from that one's copy).
fn nsid_of(mut control: &[u8]) -> Option<i32> {
    const WORD: usize = size_of::<usize>();
    const DATA: usize = (WORD + 8).next_multiple_of(WORD);
    loop {
        let len = usize::from_ne_bytes(*control.first_chunk()?);
        let message = control.get(..len)?;
        let level = i32::from_ne_bytes(*message.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*message.get(WORD + 4..)?.first_chunk()?);
        if level == libc::SOL_NETLINK && kind == libc::NETLINK_LISTEN_ALL_NSID {
            let nsid = i32::from_ne_bytes(*message.get(DATA..)?.first_chunk()?);
            return (nsid >= 0).then_some(nsid);
        }
        control = control.get(len.next_multiple_of(WORD)..)?;
    }
}

/// Gives the socket an address that the kernel chooses. Not left to the first send: a socket
/// without an address is port 0, which the kernel leaves out when it notifies groups.
fn bind(socket: &Socket) -> io::Result<()> {
    // SAFETY: sockaddr_nl is plain integers, for which zero is a value.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a local sockaddr_nl and the length is its own.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), address_len()?) };
    check(result)
}

/// One poll(2) for input, rounded up to a millisecond.
fn poll(socket: &Socket, timeout: Duration) -> io::Result<bool> {
    let millis = timeout.as_micros().div_ceil(1000);
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one local pollfd, and 1 is how many it says there are.
    let ready = unsafe { libc::poll(&raw mut entry, 1, i32::try_from(millis).unwrap_or(i32::MAX)) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ready > 0)
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a local i32 and the length is its own.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    check(result)
}

fn address_len() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_nl>()).map_err(io::Error::other)
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_namespace_is_found_behind_other_control_messages() {
        let mut bytes = control(libc::SOL_NETLINK, libc::NETLINK_PKTINFO, &[1, 2, 3, 4]);
        assert_eq!(nsid_of(&bytes), None);
        bytes.extend(control(
            libc::SOL_NETLINK,
            libc::NETLINK_LISTEN_ALL_NSID,
            &7_i32.to_ne_bytes(),
        ));
        assert_eq!(nsid_of(&bytes), Some(7));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_namespace_without_an_id_is_our_own() {
        let data = (-1_i32).to_ne_bytes();
        let bytes = control(libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, &data);
        assert_eq!(nsid_of(&bytes), None);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn control_messages_that_lie_about_their_length_are_no_trap() {
        let good = control(libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, &7_i32.to_ne_bytes());
        for cut in 0..20 {
            assert_eq!(nsid_of(&good[..cut]), None, "cut to {cut}");
        }
        for len in [0, 8, 15, 19, usize::MAX] {
            let mut bad = good.clone();
            bad[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(nsid_of(&bad), None, "length {len}");
        }
    }

    #[test]
    fn a_socket_without_messages_is_empty_not_broken() {
        let socket = NetlinkSocket::open().unwrap();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).unwrap(), Received::Empty);
    }

    #[test]
    fn a_group_that_the_kernel_does_not_know_is_refused() {
        let socket = NetlinkSocket::open().unwrap();
        let error = socket.add_membership(100_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
