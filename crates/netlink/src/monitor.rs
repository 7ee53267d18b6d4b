//! [`Monitor`]: notifications about interfaces, in this and in other namespaces.
//!
//! One socket receives the notifications of its own namespace and of every namespace that has an id
//! there ([`Rtnl::nsid`](super::Rtnl::nsid) assigns one), through `NETLINK_LISTEN_ALL_NSID`. A socket
//! inside each namespace would receive them too, but would keep the namespace alive, and the
//! interfaces of a deleted container would never disappear.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkBuffer, NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::link::{LinkAttribute, LinkEvent, LinkHeader, LinkMessage};
use netlink_packet_route::nsid::NsidMessage;
use umacvlan_sys::netlink::{NetlinkSocket, Received};
use umacvlan_sys::netns::Netns;

use super::nsid::assigned;
use super::rtnl::{invalid, split};
use super::utf8::make_utf8;
use super::{Link, Rtnl};

/// A nonblocking socket for notifications about interfaces and namespaces; wait for it with epoll.
#[derive(Debug)]
pub struct Monitor {
    socket: NetlinkSocket,
    /// Holds one datagram.
    buffer: Vec<u8>,
    /// Sends requests in the socket's namespace, whichever thread reads.
    rtnl: Rtnl,
    /// The socket's namespace.
    home: Netns,
    /// The id of the socket's namespace in itself, if it has one. Kernels before May 2026 send it with
    /// notifications of the own namespace; later ones send none.
    own: Option<i32>,
    /// The kernel sends notifications of multicast groups.
    reports_groups: bool,
}

/// A change. An `nsid` is the id of its namespace in the monitor's; `None` is the monitor's own.
#[derive(Clone, Debug)]
pub enum Event {
    /// An interface in the namespace of the monitor has got or lost an IP address, which
    /// [`Monitor::follow_addresses`] asks for.
    AddressesChanged,
    /// An interface joined or left a multicast group of IPv4 or IPv6: read
    /// [`joined_groups`](super::joined_groups) again. Packet sockets and `ip maddr` join without
    /// this event.
    GroupsChanged {
        /// The namespace.
        nsid: Option<i32>,
        /// Index of the interface.
        index: u32,
    },
    /// An interface was deleted, or moved away.
    LinkGone {
        /// The namespace that it left.
        nsid: Option<i32>,
        /// Its index there.
        index: u32,
        /// Its name there.
        name: String,
        /// Index of the interface below it, if it had one, or of its peer.
        lower: Option<u32>,
        /// Its new namespace, if it was moved.
        moved_to: Option<MovedTo>,
    },
    /// An interface of another namespace is new or has changed: read it again if it matters. Only
    /// these indexes are decoded, because anybody may cause thousands of these in a second.
    LinkChanged {
        /// The namespace.
        nsid: i32,
        /// Index of the interface.
        index: u32,
        /// Index of the interface below it, if it has one, or of its peer.
        lower: Option<u32>,
    },
    /// An interface of the monitor's own namespace is new or has changed. Some changes to the counts of [`Link`] cause no event: a
    /// packet socket or a multicast router that wants all groups, and a second address that makes a
    /// driver promiscuous (as under a macvlan).
    LinkNew {
        /// The interface.
        link: Box<Link>,
        /// Its driver wants everybody to learn where its addresses are now (`NETDEV_NOTIFY_PEERS`),
        /// as after the failover of a bond.
        notify_peers: bool,
    },
    /// Events were lost, or one of the own namespace could not be decoded: read everything again.
    Lost,
    /// An event of another namespace could not be decoded: read everything there again.
    LostIn {
        /// The namespace.
        nsid: i32,
    },
    /// A namespace ended with every interface in it, without an [`Event::LinkGone`] for each. The id may
    /// be assigned to another namespace.
    NamespaceGone {
        /// The id that it had.
        nsid: i32,
    },
}

/// The destination of a moved interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedTo {
    /// The new namespace, by its id in the namespace that the interface *left*.
    pub nsid: i32,
    /// Index of the interface there; `None` from an old kernel.
    pub index: Option<u32>,
}

impl Monitor {
    /// Opens a monitor in the namespace of the calling thread, for it and all namespaces with an id
    /// there.
    ///
    /// # Errors
    /// The socket cannot be opened; `EPERM` without `CAP_NET_BROADCAST`.
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

    /// Reports [`Event::AddressesChanged`] from now on.
    ///
    /// # Errors
    /// The error of setsockopt(2).
    pub fn follow_addresses(&self) -> io::Result<()> {
        self.socket.add_membership(RTNLGRP_IPV4_IFADDR)?;
        self.socket.add_membership(RTNLGRP_IPV6_IFADDR)
    }

    /// True if the kernel sends [`Event::GroupsChanged`] (since Linux 6.14).
    pub fn reports_groups(&self) -> bool {
        self.reports_groups
    }

    /// Waits until there is an event; false if none arrived within `timeout`.
    ///
    /// # Errors
    /// The error of poll(2).
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        self.socket.wait(timeout)
    }

    /// Calls `on_event` with the events since the last call, in order; with some of them if they are
    /// very many, so that a caller with more to do is not kept from it.
    ///
    /// # Errors
    /// The error of recvmsg(2). Lost events are reported as [`Event::Lost`].
    pub fn read(&mut self, mut on_event: impl FnMut(Event)) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let (len, nsid) = match self.socket.recv(&mut self.buffer)? {
                Received::Empty => return Ok(()),
                Received::Lost => {
                    on_event(Event::Lost);
                    continue;
                }
                Received::Messages { len, nsid } => (len, nsid),
            };
            let nsid = foreign_nsid(nsid, self.own);
            let mut renamed = false;
            make_utf8(&mut self.buffer[..len]);
            for message in split(&self.buffer[..len]) {
                match message.and_then(|message| Notification::read(&message, nsid)) {
                    Ok(Notification::Event(event)) => on_event(event),
                    Ok(Notification::NsidAssigned) => renamed = true,
                    Ok(Notification::Nothing) => {}
                    Err(_) => on_event(nsid.map_or(Event::Lost, |nsid| Event::LostIn { nsid })),
                }
            }
            if renamed {
                self.own = self.rtnl.known_nsid(&self.home)?;
            }
        }
        Ok(())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The meaning of one message.
pub(super) enum Notification {
    Event(Event),
    /// The socket's namespace has assigned an id, perhaps to itself.
    NsidAssigned,
    Nothing,
}

impl Notification {
    pub(super) fn read(message: &NetlinkBuffer<&[u8]>, nsid: Option<i32>) -> io::Result<Self> {
        let payload = message.payload();
        Ok(match message.message_type() {
            RTM_NEWLINK => match nsid {
                Some(nsid) => Self::link_changed(payload, nsid)?,
                None => Self::link_new(LinkMessage::parse(payload).map_err(invalid)?),
            },
            RTM_DELLINK => Self::link_gone(LinkMessage::parse(payload).map_err(invalid)?, nsid),
            // Ids in other namespaces do not matter here.
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
            // Those of other namespaces do not matter here.
            RTM_NEWADDR | RTM_DELADDR if nsid.is_none() => Self::Event(Event::AddressesChanged),
            _ => Self::Nothing,
        })
    }

    fn link_changed(payload: &[u8], nsid: i32) -> io::Result<Self> {
        let header = LinkHeader::parse(payload).map_err(invalid)?;
        Ok(match header.interface_family {
            AddressFamily::Unspec => {
                let (index, lower) = (header.index, lower(payload));
                Self::Event(Event::LinkChanged { nsid, index, lower })
            }
            _ => Self::Nothing,
        })
    }

    fn link_new(message: LinkMessage) -> Self {
        if message.header.interface_family != AddressFamily::Unspec {
            return Self::Nothing;
        }
        let notify = LinkAttribute::Event(LinkEvent::NotifyPeers);
        let notify_peers = message.attributes.contains(&notify);
        let link = Box::new(Link::from_message(message));
        Self::Event(Event::LinkNew { link, notify_peers })
    }

    /// A port that leaves a bridge is "deleted" too, in the family of the bridge; the interface stays.
    fn link_gone(message: LinkMessage, nsid: Option<i32>) -> Self {
        if message.header.interface_family != AddressFamily::Unspec {
            return Self::Nothing;
        }
        let moved_to = moved_to(&message);
        let link = Link::from_message(message);
        let Link { index, name, lower, .. } = link;
        Self::Event(Event::LinkGone { nsid, index, name, lower, moved_to })
    }
}

/// The sending namespace; `None` for the socket's own.
fn foreign_nsid(nsid: Option<i32>, own: Option<i32>) -> Option<i32> {
    nsid.filter(|_| nsid != own)
}

/// The index of the interface below that of a message about an interface.
fn lower(payload: &[u8]) -> Option<u32> {
    let attributes = NlasIterator::new(payload.get(LINK_HEADER_LEN..)?);
    let mut found = attributes.map_while(Result::ok);
    let link = found.find(|attribute| attribute.kind() == IFLA_LINK)?;
    Some(u32::from_ne_bytes(*link.value().first_chunk()?)).filter(|&index| index != 0)
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

/// Datagrams that one call reads. The rest waits in the receive buffer.
const AT_ONCE: usize = 512;
/// Bytes for some thousand events while the control thread is busy.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Bytes of the buffer: more than a message about one interface.
const DATAGRAM: usize = 64 * 1024;

// linux/rtnetlink.h.
const IFLA_LINK: u16 = 5;
const LINK_HEADER_LEN: usize = 16;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWMULTICAST: u16 = 56;
const RTM_DELMULTICAST: u16 = 57;
const RTM_NEWNSID: u16 = 88;
const RTM_DELNSID: u16 = 89;
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_NSID: u32 = 28;
const RTNLGRP_IPV4_MCADDR: u32 = 37;
const RTNLGRP_IPV6_MCADDR: u32 = 38;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_has_no_id() {
        assert_eq!(foreign_nsid(Some(3), Some(3)), None);
        assert_eq!(foreign_nsid(Some(3), Some(4)), Some(3));
        assert_eq!(foreign_nsid(Some(3), None), Some(3));
        assert_eq!(foreign_nsid(None, Some(3)), None);
        assert_eq!(foreign_nsid(None, None), None);
    }

    #[test]
    fn the_failover_of_a_bond_asks_for_announcements() {
        let notify_peers = |attributes: &[u8]| {
            let length = 32 + u32::try_from(attributes.len()).unwrap();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(RTM_NEWLINK.to_ne_bytes());
            bytes.resize(32, 0);
            bytes.extend(attributes);
            match Notification::read(&NetlinkBuffer::new(&bytes), None).unwrap() {
                Notification::Event(Event::LinkNew { notify_peers, .. }) => notify_peers,
                _ => panic!("another event"),
            }
        };
        // IFLA_EVENT is 44; IFLA_EVENT_NOTIFY_PEERS is 4, IFLA_EVENT_FEATURES is 2.
        assert!(notify_peers(&[8, 0, 44, 0, 4, 0, 0, 0]));
        assert!(!notify_peers(&[8, 0, 44, 0, 2, 0, 0, 0]));
        assert!(!notify_peers(&[]));
    }

    #[test]
    fn a_change_names_the_interface_below() {
        let mut bytes = vec![0; 32];
        bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        bytes[20..24].copy_from_slice(&7_u32.to_ne_bytes());
        for (kind, value) in [(3_u16, 9_u32), (IFLA_LINK, 4)] {
            bytes.extend([8_u16, kind].iter().flat_map(|number| number.to_ne_bytes()));
            bytes.extend(value.to_ne_bytes());
        }
        for (below, len) in [(Some(4), bytes.len()), (None, bytes.len() - 8), (None, 32)] {
            bytes.truncate(len);
            bytes[..4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            let event = Notification::read(&NetlinkBuffer::new(&bytes), Some(1)).unwrap();
            let Notification::Event(Event::LinkChanged { nsid: 1, index: 7, lower }) = event else {
                panic!("another event");
            };
            assert_eq!(lower, below);
        }
    }

    #[test]
    fn an_invalid_message_is_an_error_and_an_unknown_one_is_ignored() {
        let message = |kind: u16| {
            let mut bytes = 20_u32.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(20, 0);
            bytes
        };
        for kind in [RTM_NEWLINK, RTM_DELLINK, RTM_NEWMULTICAST] {
            let bytes = message(kind);
            assert!(Notification::read(&NetlinkBuffer::new(&bytes), None).is_err());
        }
        let bytes = message(9999);
        let notification = Notification::read(&NetlinkBuffer::new(&bytes), None).unwrap();
        assert!(matches!(notification, Notification::Nothing));
    }
}
