//! [`PacketSocket`]: sends raw frames, and returns received frames with their packet type.
//!
//! Outgoing frames are not returned. A VLAN tag that the kernel took out is put back, so a received
//! frame equals the sent one. Facts from packet(7).
#![allow(unsafe_code, reason = "packet sockets of the test's own, apart from the engine's")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};
use umacvlan_core::frame::HEADER_LEN;
use umacvlan_sys::netns::Netns;

/// A socket on one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    socket: Socket,
    /// Index of the interface.
    index: i32,
    /// The VLAN of the socket.
    tag: Option<[u8; 4]>,
}

/// A received frame.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The bytes, with the VLAN tag in its place.
    pub(crate) bytes: Vec<u8>,
    /// The packet type, such as `PACKET_HOST`.
    pub(crate) kind: u8,
    /// The interface on which the kernel delivered it.
    index: i32,
}

impl PacketSocket {
    /// Opens a socket on the interface `index` of `netns`. With one protocol it receives the frames
    /// that the kernel hands to protocols; with [`EVERY_PROTOCOL`], all frames before a driver such
    /// as macvlan can take them.
    pub(crate) fn open(netns: &Netns, index: u32, protocol: u16) -> io::Result<Self> {
        let socket =
            netns.run(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))))??;
        socket.set_nonblocking(true)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, ROOM)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        let index = i32::try_from(index).map_err(io::Error::other)?;
        bind(&socket, index, protocol)?;
        Ok(Self { socket, index, tag: None })
    }

    /// The same, but the socket tags every frame that it sends and ignores frames without the tag,
    /// like a host in that VLAN.
    pub(crate) fn tagging(self, tag: Option<[u8; 4]>) -> Self {
        Self { tag, ..self }
    }

    /// Sends a frame, or returns the errno.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), i32> {
        // An interface that was down meanwhile has left its error, which does not belong to this
        // frame.
        let _ = self.socket.take_error();
        let tagged = self.tag.filter(|_| frame.len() >= HEADER_LEN).map(|tag| {
            let (addresses, rest) = frame.split_at(12);
            [addresses, &tag, rest].concat()
        });
        match self.socket.send(tagged.as_deref().unwrap_or(frame)) {
            Ok(_) => Ok(()),
            Err(e) => Err(e.raw_os_error().unwrap_or_default()),
        }
    }

    /// The next received frame, if there is one.
    pub(crate) fn recv(&self) -> Option<Received> {
        loop {
            match receive(&self.socket) {
                Ok(mut received) if received.index == self.index => {
                    let Some(tag) = self.tag else {
                        return Some(received);
                    };
                    if received.bytes.get(12..16) == Some(&tag) {
                        received.bytes.drain(12..16);
                        return Some(received);
                    }
                }
                // A socket for one protocol also receives frames that arrived on its interface and
                // were handed on to another: unicast that macvlan took (`orig_dev` in
                // net/core/dev.c).
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                // The interface went down; there may still be frames from before.
                Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(e) => panic!("cannot receive: {e}"),
            }
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(socket: &Socket, index: i32, protocol: u16) -> io::Result<()> {
    let mut address = nobody();
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    let len = length::<libc::sockaddr_ll>();
    // SAFETY: the address outlives the call and has the length given.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = length::<i32>();
    let value = (&raw const value).cast();
    // SAFETY: the value outlives the call and has the length given.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn receive(socket: &Socket) -> io::Result<Received> {
    let mut bytes = vec![0; LONGEST];
    let mut control = [0_u64; 8];
    let mut from = nobody();
    let mut data = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a message header: of no address, no data and no control.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = length::<libc::sockaddr_ll>();
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: everything that the header points to lives through the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(len);
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    if let Some((tpid, tci)) = taken_tag(&control[..message.msg_controllen as usize]) {
        let [a, b] = tpid.to_be_bytes();
        let [c, d] = tci.to_be_bytes();
        bytes.splice(12..12, [a, b, c, d]);
    }
    Ok(Received { bytes, kind: from.sll_pkttype, index: from.sll_ifindex })
}

/// The tag that the kernel took out, from the one control message that was asked for: a
/// `struct cmsghdr` of 16 bytes and a `struct tpacket_auxdata` of 20.
fn taken_tag(control: &[u8]) -> Option<(u16, u16)> {
    let auxdata = control.get(16..36)?;
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let tci = u16::from_ne_bytes(*auxdata[16..].first_chunk()?);
    let tpid = u16::from_ne_bytes(*auxdata[18..].first_chunk()?);
    (status & libc::TP_STATUS_VLAN_VALID != 0).then_some((tpid, tci))
}

fn nobody() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("it is 17"),
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a type is short")
}

/// `ETH_P_ALL`.
pub(crate) const EVERY_PROTOCOL: u16 = 3;

/// `linux/if_packet.h` (Linux 4.20).
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// More bytes than any frame here.
const LONGEST: usize = 2048;

/// Room in a socket for a whole batch, many times over.
const ROOM: i32 = 32 << 20;
