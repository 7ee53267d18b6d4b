//! Sockets of the stacks, and the options for which there is no safe function.
#![allow(unsafe_code, reason = "three system calls that no dependency wraps")]

use std::ffi::c_int;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use umacvlan_testkit::LIMIT;

use crate::world::Station;

impl Station {
    /// A socket of this station's stack that waits for at most [`LIMIT`].
    pub(crate) fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Socket {
        let make = || Socket::new(domain, kind, protocol);
        let socket = self.netns.run(make).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    }

    /// A UDP socket on this port of every address that the station has or gets, broadcasts
    /// included. Bound to the interface, as if there were others.
    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        let socket = self.socket(Domain::IPV4, Type::DGRAM, None);
        socket.bind_device(Some(self.name.as_bytes())).unwrap();
        socket.set_broadcast(true).unwrap();
        bound(&socket, (Ipv4Addr::UNSPECIFIED, port).into());
        socket.into()
    }

    pub(crate) fn udp_v6(&self, port: u16) -> UdpSocket {
        let socket = self.socket(Domain::IPV6, Type::DGRAM, None);
        socket.set_only_v6(true).unwrap();
        socket.bind_device(Some(self.name.as_bytes())).unwrap();
        bound(&socket, (Ipv6Addr::UNSPECIFIED, port).into());
        socket.into()
    }
}

fn bound(socket: &Socket, address: SocketAddr) {
    socket.bind(&SockAddr::from(address)).unwrap();
}

/// Waits for one datagram and returns it.
pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A sequence of bytes without repetition, different for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| step()).collect()
}

/// Sets an option whose value is a number.
pub(crate) fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) {
    let fd = socket.as_fd().as_raw_fd();
    let length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap();
    // SAFETY: a whole `c_int`, alive during the call, with its own size.
    let done = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) };
    assert_eq!(done, 0, "{level} {name}: {}", io::Error::last_os_error());
}

/// Receives one frame into `buffer`: its length, and its auxiliary data if it has any.
pub(crate) fn receive_with_auxdata(
    socket: &impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<Auxdata>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Eight-byte numbers, because a control message begins with one.
    let mut control = [0_u64; 16];
    let mut message = libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut part,
        msg_iovlen: 1,
        msg_control: control.as_mut_ptr().cast(),
        msg_controllen: size_of_val(&control),
        msg_flags: 0,
    };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `message` points to `part`, which points to `buffer`, and to `control`, each with
    // its own length, and all of them outlive the call.
    let length = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let data = control[..message.msg_controllen].get(size_of::<libc::cmsghdr>()..);
    Ok((length, data.and_then(Auxdata::read)))
}

/// The part of `struct tpacket_auxdata` (linux/if_packet.h) that is about VLAN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Auxdata {
    pub(crate) status: u32,
    pub(crate) tci: u16,
    pub(crate) tpid: u16,
}

impl Auxdata {
    fn read(data: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk()?));
        Some(Self {
            status: u32::from_ne_bytes(*data.first_chunk()?),
            tci: half(16)?,
            tpid: half(18)?,
        })
    }
}

/// Sets a feature of the interface by one of the `ETHTOOL_S*` commands of linux/ethtool.h.
pub(crate) fn set_feature(station: &Station, command: u32, on: bool) {
    let socket = station.socket(Domain::IPV4, Type::DGRAM, None);
    let mut value = [command, u32::from(on)];
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(station.name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: value.as_mut_ptr().cast() },
    };
    let fd = socket.as_raw_fd();
    // SAFETY: `request` points to `value`, a whole `struct ethtool_value`; both outlive the call.
    let done = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL, &raw mut request) };
    assert_eq!(done, 0, "{command:#x}: {}", io::Error::last_os_error());
}
