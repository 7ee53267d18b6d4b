//! [`AddressFilter`]: which frames the unicast and multicast filter of a parent lets pass, by the
//! memberships of a packet socket (`packet(7)`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};
use umacvlan_core::MacAddr;

use super::packet::set_option;

/// Frames that a socket makes the unicast and multicast filters of an interface accept. The kernel
/// undoes every membership when the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// Every multicast frame.
    AllMulticast,
    /// Frames to one group.
    Group(MacAddr),
    /// Every frame.
    Promiscuous,
    /// Unicast frames to one more address. A driver without a unicast filter becomes promiscuous.
    Unicast(MacAddr),
}

/// A packet socket that receives nothing and has memberships. They end with it, and not with the
/// sockets that receive, which may outlive the process that knows what was joined.
#[derive(Debug)]
pub struct AddressFilter {
    socket: Socket,
    index: libc::c_int,
}

impl AddressFilter {
    /// Opens one without memberships for the interface of that index, in the namespace of the calling
    /// thread.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; no descriptor is left.
    pub fn open(index: u32) -> io::Result<Self> {
        let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        Ok(Self { socket, index })
    }

    /// Adds a membership.
    ///
    /// # Errors
    /// No memory, or the interface was deleted.
    pub fn join(&self, membership: Membership) -> io::Result<()> {
        let request = request(self.index, membership);
        set_option(&self.socket, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Removes a membership.
    ///
    /// # Errors
    /// There is no such membership, or the interface was deleted.
    pub fn leave(&self, membership: Membership) -> io::Result<()> {
        let request = request(self.index, membership);
        set_option(&self.socket, libc::PACKET_DROP_MEMBERSHIP, &request)
    }
}

impl AsFd for AddressFilter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The request for a membership on the interface of that index.
pub(super) fn request(index: libc::c_int, membership: Membership) -> libc::packet_mreq {
    let (kind, mac) = match membership {
        Membership::AllMulticast => (libc::PACKET_MR_ALLMULTI, MacAddr::ZERO),
        Membership::Group(mac) => (libc::PACKET_MR_MULTICAST, mac),
        Membership::Promiscuous => (libc::PACKET_MR_PROMISC, MacAddr::ZERO),
        Membership::Unicast(mac) => (libc::PACKET_MR_UNICAST, mac),
    };
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac.octets());
    libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::c_ushort::try_from(kind).unwrap_or(0),
        mr_alen: 6,
        mr_address: address,
    }
}
