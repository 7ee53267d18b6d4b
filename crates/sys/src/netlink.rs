//! [`NetlinkSocket`]: a netlink(7) socket that sends and receives bytes.
//!
//! `umacvlan-netlink` encodes and decodes the messages. The socket stays in the namespace in which it
//! was opened, and keeps it alive.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Not in the libc crate for every target (`asm-generic/socket.h`).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// A bound `NETLINK_ROUTE` or `NETLINK_GENERIC` socket, closed on exec.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: Socket,
}

/// The result of one [`NetlinkSocket::recv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing waits; only a nonblocking socket returns this.
    Empty,
    /// The kernel dropped messages because the buffer was full (`ENOBUFS`): their content must be read
    /// again.
    Lost,
    /// One datagram of the kernel, with one or more messages in it.
    Messages {
        /// Bytes of the datagram in the buffer.
        len: usize,
        /// The sending namespace, by its id in the socket's namespace; `None` for the socket's own.
        /// Set only after [`NetlinkSocket::listen_all_nsid`].
        nsid: Option<i32>,
    },
}

impl NetlinkSocket {
    /// A blocking socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// The error of socket(2) or bind(2); `EPROTONOSUPPORT` on a kernel without netlink.
    pub fn open() -> io::Result<Self> {
        Self::open_to(libc::NETLINK_ROUTE)
    }

    /// A blocking `NETLINK_GENERIC` socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// As [`NetlinkSocket::open`].
    pub fn open_generic() -> io::Result<Self> {
        Self::open_to(libc::NETLINK_GENERIC)
    }

    fn open_to(protocol: libc::c_int) -> io::Result<Self> {
        let protocol = Protocol::from(protocol);
        let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
        bind(&socket)?;
        Ok(Self { socket })
    }

    /// Makes [`Self::recv`] return [`Received::Empty`] instead of waiting.
    ///
    /// # Errors
    /// The error of fcntl(2).
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// Sets the receive buffer to `bytes`; without privilege to at most `net.core.rmem_max`.
    ///
    /// # Errors
    /// The error of setsockopt(2) for the unprivileged option.
    pub fn set_receive_buffer(&self, bytes: i32) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
            .or_else(|_| set_option(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
    }

    /// Makes the kernel add a text to its errors, and omit the request from them.
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

    /// Extends the subscriptions to every namespace that has an id in the socket's namespace, and over
    /// whose user namespace the process has `CAP_NET_BROADCAST` (netlink(7),
    /// `NETLINK_LISTEN_ALL_NSID`).
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_BROADCAST`.
    pub fn listen_all_nsid(&self) -> io::Result<()> {
        set_option(&self.socket, libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, 1)
    }

    /// The cookie of the socket's namespace: a number that no other namespace has until the next boot.
    /// `None` before Linux 5.14.
    pub fn netns_cookie(&self) -> Option<u64> {
        let mut cookie = 0_u64;
        let mut len = super::size::<u64>();
        // SAFETY: SO_NETNS_COOKIE writes at most `len` bytes, the size of the number it is given.
        let read = super::checked(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        });
        read.ok().map(|_| cookie)
    }

    /// Sends one message to the kernel.
    ///
    /// # Errors
    /// The error of send(2). The kernel reports a failed request as a message, not here.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        // A datagram is sent whole or not at all.
        self.socket.send(message).map(|_| ())
    }

    /// Waits until a message can be received; false if none arrived within `timeout`.
    ///
    /// # Errors
    /// The error of poll(2).
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
    /// The error of recvmsg(2), and `EMSGSIZE` if the datagram was longer than the buffer. An empty
    /// queue and lost messages are not errors: see [`Received`].
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
            // Processes can send to this socket too; the kernel has port 0.
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

/// The metadata of a received datagram.
struct Datagram {
    len: usize,
    truncated: bool,
    /// Netlink port of the sender.
    sender: u32,
    nsid: Option<i32>,
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Datagram> {
    // SAFETY: sockaddr_nl has only integers, for which zero is valid.
    let mut sender: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr has only integers and raw pointers, for which zero is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut sender).cast();
    header.msg_namelen = address_len()?;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // The width of the field is the C library's choice.
    header.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `header` is to a local or to the exclusively borrowed `buffer`, with its
    // length beside it; all outlive the call.
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

/// The id in the `NETLINK_LISTEN_ALL_NSID` control message. cmsg(3) gives the layout: a length of the
/// width of `size_t`, level, type, and the aligned data. A kernel from before May 2026 may send -1
/// with a message of the own namespace, if a socket in another namespace listens to all (a flag in
/// `do_one_broadcast` stayed set from the copy for that socket).
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

/// Binds the socket to an address that the kernel chooses. The first send would bind it too, but until
/// then it has port 0, which gets no notifications of groups.
fn bind(socket: &Socket) -> io::Result<()> {
    // SAFETY: sockaddr_nl has only integers, for which zero is valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).map_err(io::Error::other)?;
    // SAFETY: `address` is a whole sockaddr_nl that outlives the call.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), address_len()?) };
    check(result)
}

/// One poll(2) for input, rounded up to a millisecond.
fn poll(socket: &Socket, timeout: Duration) -> io::Result<bool> {
    let millis = timeout.as_micros().div_ceil(1000);
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `entry` is one pollfd that outlives the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, i32::try_from(millis).unwrap_or(i32::MAX)) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ready > 0)
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a whole i32 that outlives the call.
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
    fn control_messages_with_a_wrong_length_are_ignored() {
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
    fn a_socket_without_messages_is_empty() {
        let socket = NetlinkSocket::open().unwrap();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).unwrap(), Received::Empty);
    }

    #[test]
    fn an_unknown_group_is_an_error() {
        let socket = NetlinkSocket::open().unwrap();
        let error = socket.add_membership(100_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
