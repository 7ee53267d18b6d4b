//! Several packet sockets that share the frames of one interface (`PACKET_FANOUT`, `packet(7)`).
//!
//! Who gets a frame is decided by its flow: addresses, protocol and ports, alike in both directions
//! (`fanout_demux_hash` in `net/packet/af_packet.c`: `hash * sockets >> 32`, with the hash of
//! `__skb_get_hash_symmetric`, which is also that of a TAP's queues). So one socket gets a flow in
//! order. A frame that is no IP packet belongs to the flow of its EtherType, and all fragments
//! between two addresses to one, whatever the ports of the first.
//!
//! The sockets stand in the group in the order in which they joined, which is that in which they
//! were opened: the kernel takes them out when the interface goes down, and in again by their age
//! (Linux 5.2; before that the other way round). While they come in again, one by one, some frames
//! of a flow can overtake others.

use std::io;
use std::os::fd::AsRawFd;

use socket2::SockFilter;

use super::packet::{PacketSocket, set_option};

/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING` of `linux/if_packet.h` (Linux 6.2; others do not look at
/// it): a group does not heed the option of its sockets.
const IGNORE_OUTGOING: u32 = 0x4000;

/// `PACKET_FANOUT_FLAG_UNIQUEID` of `linux/if_packet.h`: the kernel chooses a free number.
const UNIQUE: u32 = 0x2000;

impl PacketSocket {
    /// Opens so many sockets as [`PacketSocket::open`] does, of which each gets the frames of some
    /// flows, and all of them together every frame once.
    ///
    /// # Errors
    /// `NetworkDown` for an interface that is down, before Linux 6.13; else as
    /// [`PacketSocket::open`].
    pub fn open_group(index: u32, mtu: u32, count: usize) -> io::Result<Vec<Self>> {
        let unbound = (0..count).map(|_| Self::unbound(index, mtu));
        let sockets: Vec<Self> = unbound.collect::<io::Result<_>>()?;
        // A socket that is bound and not yet in the group gets every frame, and one in a group that
        // is not yet complete the frames of others: until all are in, none gets any.
        for packet in &sockets {
            packet.socket.attach_filter(&NOTHING)?;
            packet.bind()?;
        }
        let mut group = None;
        for packet in &sockets {
            packet.join_group(group)?;
            group = Some(packet.group()?);
        }
        for packet in &sockets {
            packet.socket.attach_filter(&INCOMING)?;
        }
        Ok(sockets)
    }

    /// Joins the group of that number, or a new one.
    fn join_group(&self, group: Option<u32>) -> io::Result<()> {
        let flags = match group {
            Some(_) => IGNORE_OUTGOING,
            None => IGNORE_OUTGOING | UNIQUE,
        };
        let request = group.unwrap_or(0) | (libc::PACKET_FANOUT_HASH | flags) << 16;
        set_option(&self.socket, libc::PACKET_FANOUT, &request).map_err(|error| {
            match error.raw_os_error() {
                // All else is right: the socket does not run, because its interface does not.
                Some(libc::EINVAL) => io::ErrorKind::NetworkDown.into(),
                _ => error,
            }
        })
    }

    /// The number of the group that the socket is in.
    fn group(&self) -> io::Result<u32> {
        let mut group: u32 = 0;
        let mut len = super::size::<u32>();
        let value: *mut u32 = &raw mut group;
        let fd = self.socket.as_raw_fd();
        // SAFETY: the value outlives the call and has the length given.
        let got = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, value.cast(), &raw mut len)
        };
        super::checked(got)?;
        Ok(group & 0xffff)
    }
}

/// Instructions of `linux/filter.h`: return, load a word, jump if equal.
const RETURN: u16 = 0x06;
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;

/// Where a filter finds out who a frame is for (`SKF_AD_OFF + SKF_AD_PKTTYPE`), and that it is one
/// that the machine sends itself (`PACKET_OUTGOING` of `linux/if_packet.h`).
const PACKET_TYPE: u32 = 0xffff_f004;
const OUTGOING: u32 = 4;

/// Lets no frame through.
const NOTHING: [SockFilter; 1] = [SockFilter::new(RETURN, 0, 0, 0)];

/// Lets whole frames through, but for those that the machine sends itself.
const INCOMING: [SockFilter; 4] = [
    SockFilter::new(LOAD, 0, 0, PACKET_TYPE),
    SockFilter::new(JUMP_EQUAL, 0, 1, OUTGOING),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
