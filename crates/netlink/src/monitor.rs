//! [`Monitor`]: what happens to interfaces, here and in other namespaces.
//!
//! One socket in our own namespace hears of every namespace that has an id in ours
//! ([`Rtnl::nsid`](super::Rtnl::nsid) gives one), through `NETLINK_LISTEN_ALL_NSID`. A socket
//! inside each would hear as much, but would keep the namespace alive, so that the interfaces of a
//! deleted container would never go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkBuffer, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::NsidMessage;
use umacvlan_sys::netlink::{NetlinkSocket, Received};
use umacvlan_sys::netns::Netns;

use super::nsid::assigned;
use super::rtnl::{invalid, split};
use super::{Link, Rtnl};

/// A nonblocking socket that tells of interfaces and namespaces; wait for it with epoll.
#[derive(Debug)]
pub struct Monitor {
    socket: NetlinkSocket,
    /// Holds one datagram.
    buffer: Vec<u8>,
    /// Asks in the socket's namespace, whichever thread reads.
    rtnl: Rtnl,
    /// The socket's namespace.
    home: Netns,
    /// The id that it has for itself, if somebody gave it one. A kernel from before May 2026 tells
    /// of our own interfaces by that, a later one by none.
    own: Option<i32>,
    reports_groups: bool,
}

/// Something that happened. `nsid` is the namespace by its id in ours; `None` is our own.
#[derive(Clone, Debug)]
pub enum Event {
    /// An interface joined or left a multicast group of IPv4 or IPv6: read
    /// [`joined_groups`](super::joined_groups) again. Packet sockets and `ip maddr` join without
    /// this event.
    GroupsChanged {
        /// Where.
        nsid: Option<i32>,
        /// Which interface.
        index: u32,
    },
    /// An interface was deleted, or moved away.
    LinkGone {
        /// Where it was.
        nsid: Option<i32>,
        /// Index that it had there.
        index: u32,
        /// Name that it had there.
        name: String,
        /// Where it went, if it was moved.
        moved_to: Option<MovedTo>,
    },
    /// An interface is new or something about it changed. Not everything does this: a packet
    /// socket or a multicast router that wants all groups, and a second address that makes a
    /// driver promiscuous (as under a macvlan), change the counts of [`Link`] in silence.
    LinkNew {
        /// Where.
        nsid: Option<i32>,
        /// All about it.
        link: Box<Link>,
    },
    /// Events were lost, or one could not be read: read everything again.
    Lost,
    /// A namespace ended, and every interface in it with it; those go without a
    /// [`Event::LinkGone`]. The id may be another namespace's from now on.
    NamespaceGone {
        /// Which.
        nsid: i32,
    },
}

/// Where a moved interface went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedTo {
    /// The namespace, by the id that the namespace has for it *which the interface left*.
    pub nsid: i32,
    /// Index of the interface there; `None` from a kernel that does not tell.
    pub index: Option<u32>,
}

impl Monitor {
    /// Listens in the namespace of the calling thread, and from there to all that have an id.
    ///
    /// # Errors
    /// If the socket cannot be had; `EPERM` without `CAP_NET_BROADCAST`.
    pub fn open() -> io::Result<Self> {
        let socket = NetlinkSocket::open()?;
        socket.set_nonblocking(true)?;
        socket.set_receive_buffer(RECEIVE_BUFFER)?;
        socket.listen_all_nsid()?;
        socket.add_membership(RTNLGRP_LINK)?;
        socket.add_membership(RTNLGRP_NSID)?;
        let reports_groups = socket.add_membership(RTNLGRP_IPV4_MCADDR).is_ok()
            && socket.add_membership(RTNLGRP_IPV6_MCADDR).is_ok();
        let mut rtnl = Rtnl::open()?;
        let home = Netns::current()?;
        let own = rtnl.known_nsid(&home)?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM], rtnl, home, own, reports_groups })
    }

    /// Whether this kernel tells of multicast groups ([`Event::GroupsChanged`]; Linux 6.14 and
    /// later do).
    pub fn reports_groups(&self) -> bool {
        self.reports_groups
    }

    /// Waits until there is something to read; false if nothing came for `timeout`.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        self.socket.wait(timeout)
    }

    /// Calls `on_event` with everything that has happened since the last call, in its order.
    ///
    /// # Errors
    /// What recvmsg(2) says. Lost events are an event.
    pub fn read(&mut self, mut on_event: impl FnMut(Event)) -> io::Result<()> {
        loop {
            let (len, nsid) = match self.socket.recv(&mut self.buffer)? {
                Received::Empty => return Ok(()),
                Received::Lost => {
                    on_event(Event::Lost);
                    continue;
                }
                Received::Messages { len, nsid } => (len, nsid),
            };
            let nsid = elsewhere(nsid, self.own);
            let mut renamed = false;
            for message in split(&self.buffer[..len]) {
                match message.and_then(|message| Notice::read(&message, nsid)) {
                    Ok(Notice::Event(event)) => on_event(event),
                    Ok(Notice::NsidAssigned) => renamed = true,
                    Ok(Notice::Nothing) => {}
                    Err(_) => on_event(Event::Lost),
                }
            }
            if renamed {
                self.own = self.rtnl.known_nsid(&self.home)?;
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What one message means.
enum Notice {
    Event(Event),
    /// Our namespace has a new id for some namespace, perhaps for itself.
    NsidAssigned,
    Nothing,
}

impl Notice {
    fn read(message: &NetlinkBuffer<&[u8]>, nsid: Option<i32>) -> io::Result<Self> {
        let payload = message.payload();
        Ok(match message.message_type() {
            RTM_NEWLINK => Self::link_new(LinkMessage::parse(payload).map_err(invalid)?, nsid),
            RTM_DELLINK => Self::link_gone(LinkMessage::parse(payload).map_err(invalid)?, nsid),
            // Ids that other namespaces have for each other are none of our numbers.
            RTM_NEWNSID | RTM_DELNSID if nsid.is_some() => Self::Nothing,
            RTM_NEWNSID => Self::NsidAssigned,
            RTM_DELNSID => match assigned(&NsidMessage::parse(payload).map_err(invalid)?) {
                Some(nsid) => Self::Event(Event::NamespaceGone { nsid }),
                None => Self::Nothing,
            },
            RTM_NEWMULTICAST | RTM_DELMULTICAST => Self::Event(Event::GroupsChanged {
                nsid,
                index: AddressHeader::parse(payload).map_err(invalid)?.index,
            }),
            _ => Self::Nothing,
        })
    }

    fn link_new(message: LinkMessage, nsid: Option<i32>) -> Self {
        if message.header.interface_family != AddressFamily::Unspec {
            return Self::Nothing;
        }
        let link = Box::new(Link::from_message(message));
        Self::Event(Event::LinkNew { nsid, link })
    }

    /// A port that leaves a bridge is "deleted" too, in the bridge's family; the interface stays.
    fn link_gone(message: LinkMessage, nsid: Option<i32>) -> Self {
        if message.header.interface_family != AddressFamily::Unspec {
            return Self::Nothing;
        }
        let moved_to = moved_to(&message);
        let link = Link::from_message(message);
        Self::Event(Event::LinkGone { nsid, index: link.index, name: link.name, moved_to })
    }
}

/// The namespace that a message is from, unless it is our own.
fn elsewhere(nsid: Option<i32>, own: Option<i32>) -> Option<i32> {
    nsid.filter(|_| nsid != own)
}

fn moved_to(message: &LinkMessage) -> Option<MovedTo> {
    let attributes = &message.attributes;
    let nsid = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::NewNetnsId(nsid) => Some(*nsid),
        _ => None,
    })?;
    let index = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::NewIfIndex(index) => u32::try_from(*index).ok(),
        _ => None,
    });
    Some(MovedTo { nsid, index })
}

/// Room for some thousand events, should the control thread be busy for a while.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Longer than the kernel tells about one interface.
const DATAGRAM: usize = 64 * 1024;

// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWMULTICAST: u16 = 56;
const RTM_DELMULTICAST: u16 = 57;
const RTM_NEWNSID: u16 = 88;
const RTM_DELNSID: u16 = 89;
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NSID: u32 = 28;
const RTNLGRP_IPV4_MCADDR: u32 = 37;
const RTNLGRP_IPV6_MCADDR: u32 = 38;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_our_own_namespace_is_none() {
        assert_eq!(elsewhere(Some(3), Some(3)), None);
        assert_eq!(elsewhere(Some(3), Some(4)), Some(3));
        assert_eq!(elsewhere(Some(3), None), Some(3));
        assert_eq!(elsewhere(None, Some(3)), None);
        assert_eq!(elsewhere(None, None), None);
    }

    #[test]
    fn a_message_that_cannot_be_read_is_an_error_and_an_unknown_one_is_nothing() {
        let message = |kind: u16| {
            let mut bytes = 20_u32.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(20, 0);
            bytes
        };
        for kind in [RTM_NEWLINK, RTM_DELLINK, RTM_NEWMULTICAST] {
            let bytes = message(kind);
            assert!(Notice::read(&NetlinkBuffer::new(&bytes), None).is_err());
        }
        let bytes = message(9999);
        let notice = Notice::read(&NetlinkBuffer::new(&bytes), None).unwrap();
        assert!(matches!(notice, Notice::Nothing));
    }
}
