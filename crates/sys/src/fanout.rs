//! Several packet sockets that share the frames of one interface (`PACKET_FANOUT`, `packet(7)`).
//!
//! A hash of its flow selects the socket of a frame: addresses, protocol and ports, equal in both
//! directions (`fanout_demux_hash` in `net/packet/af_packet.c`: `hash * sockets >> 32`, with the hash of
//! `__skb_get_hash_symmetric`, which the queues of a TAP use too). So one socket gets a flow in
//! order. A frame that is not an IP packet belongs to the flow of its EtherType. All fragments between
//! two addresses belong to one flow, whatever the ports in the first fragment.
//!
//! The order of the sockets in the group is that in which they were opened. The kernel removes them
//! when the interface goes down and adds them again, the oldest first (since Linux 5.2; before that
//! the newest first). While it adds them, frames of a flow can be reordered.

use std::io;
use std::os::fd::AsRawFd;

use socket2::SockFilter;

use super::packet::{PacketSocket, set_option};

/// `PACKET_FANOUT_FLAG_IGNORE_OUTGOING` of `linux/if_packet.h` (since Linux 6.2, and ignored
/// before): a group ignores the option of its sockets.
const IGNORE_OUTGOING: u32 = 0x4000;

/// `PACKET_FANOUT_FLAG_UNIQUEID` of `linux/if_packet.h`: the kernel chooses a free number.
const UNIQUE: u32 = 0x2000;

impl PacketSocket {
    /// Opens `count` sockets as [`PacketSocket::open`] does. Each gets the frames of some flows, and
    /// all together get every frame once.
    ///
    /// # Errors
    /// `NetworkDown` for an interface that is down, before Linux 6.13; else as
    /// [`PacketSocket::open`].
    pub fn open_group(index: u32, mtu: u32, count: usize) -> io::Result<Vec<Self>> {
        let unbound = (0..count).map(|_| Self::unbound(index, mtu));
        let sockets: Vec<Self> = unbound.collect::<io::Result<_>>()?;
        // A bound socket outside the group gets every frame, and one in an incomplete group gets frames
        // of others. So a filter drops all frames until the group is complete.
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

    /// Joins the group with that number, or a new group.
    fn join_group(&self, group: Option<u32>) -> io::Result<()> {
        let flags = match group {
            Some(_) => IGNORE_OUTGOING,
            None => IGNORE_OUTGOING | UNIQUE,
        };
        let request = group.unwrap_or(0) | (libc::PACKET_FANOUT_HASH | flags) << 16;
        set_option(&self.socket, libc::PACKET_FANOUT, &request).map_err(|error| {
            match error.raw_os_error() {
                // The other causes are excluded: the interface of the socket is down.
                Some(libc::EINVAL) => io::ErrorKind::NetworkDown.into(),
                _ => error,
            }
        })
    }

    /// The number of the socket's group.
    fn group(&self) -> io::Result<u32> {
        Ok(self.fanout()? & 0xffff)
    }

    /// The group of the socket as the kernel describes it: number, kind and flags; 0 without a group.
    pub(super) fn fanout(&self) -> io::Result<u32> {
        let mut group: u32 = 0;
        let mut len = super::size::<u32>();
        let value: *mut u32 = &raw mut group;
        let fd = self.socket.as_raw_fd();
        // SAFETY: `group` is a whole u32 that outlives the call.
        let got = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, value.cast(), &raw mut len)
        };
        super::checked(got)?;
        Ok(group)
    }
}

/// Instructions of `linux/filter.h`: return, load a word, jump if equal.
const RETURN: u16 = 0x06;
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;

/// The offset of a frame's packet type (`SKF_AD_OFF + SKF_AD_PKTTYPE`), and the type of frames that
/// the machine sends (`PACKET_OUTGOING` of `linux/if_packet.h`).
const PACKET_TYPE: u32 = 0xffff_f004;
const OUTGOING: u32 = 4;

/// Accepts no frame.
const NOTHING: [SockFilter; 1] = [SockFilter::new(RETURN, 0, 0, 0)];

/// Accepts whole frames, except those that the machine sends.
pub(super) const INCOMING: [SockFilter; 4] = [
    SockFilter::new(LOAD, 0, 0, PACKET_TYPE),
    SockFilter::new(JUMP_EQUAL, 0, 1, OUTGOING),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
