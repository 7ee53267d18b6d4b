//! [`Kernel`]: the rtnetlink sockets, and where interfaces are.
//!
//! The sockets are in the engine's own namespace, and reach into others by id (`nsid`). Nothing here
//! keeps the namespace of a user alive: a TAP is located through its own descriptor, the interface of
//! a veth pair through the end of it that is here, and a socket inside its namespace lives for one
//! visit.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use umacvlan_netlink::{Link, Monitor, NetnsPaths, Rtnl};
use umacvlan_sys::netns::{self, Netns, NetnsId};
use umacvlan_sys::tap::Tap;

use super::inventory::Interface;
use crate::control::error::Error;

/// How often an interface may move or be renamed while it is located.
const LOCATE_ATTEMPTS: usize = 4;

/// A namespace as it was last seen: its identity, its cookie, and the id that it has for the engine's.
pub(super) type KnownNetns = (NetnsId, Option<u64>, Option<i32>);

/// How the interface of a sub-interface is found, wherever it is.
#[derive(Clone, Debug)]
pub(super) enum Handle {
    /// It is this TAP.
    Tap(Arc<Tap>),
    /// It is the peer of the interface with this index, which is in the engine's own namespace.
    VethPeer(u32),
}

/// The kernel's side of the interfaces.
pub(super) struct Kernel {
    pub(super) rtnl: Rtnl,
    /// Reports changes in every namespace that has an id in the engine's own.
    pub(super) monitor: Monitor,
    /// The engine's own namespace.
    home: Netns,
    /// The number that no other namespace has.
    pub(super) cookie: u64,
    /// Where namespaces were opened that have these ids, if not through a TAP.
    paths: NetnsPaths,
}

/// Where an interface is, and its attributes there.
pub(super) struct Location {
    /// The id of its namespace, or `None` for the engine's own.
    pub(super) nsid: Option<i32>,
    pub(super) netns: NetnsId,
    /// The cookie of its namespace, which no other namespace has until the next boot; `None` before
    /// Linux 5.14.
    pub(super) netns_cookie: Option<u64>,
    /// The id that its namespace has for the engine's, if that is another one.
    pub(super) parent_nsid: Option<i32>,
    pub(super) link: Link,
}

impl Location {
    pub(super) fn interface(&self) -> Interface {
        Interface { nsid: self.nsid, index: self.link.index }
    }
}

impl Kernel {
    /// Opens the sockets in the namespace of the calling thread.
    ///
    /// # Errors
    /// No socket is to be had.
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self {
            monitor: Monitor::open().map_err(Error::system("listen to netlink"))?,
            home: Netns::current().map_err(Error::system("open this network namespace"))?,
            cookie: netns::cookie().map_err(Error::system("identify this network namespace"))?,
            rtnl: Rtnl::open()?,
            paths: NetnsPaths::default(),
        })
    }

    pub(super) fn is_home(&self, netns: NetnsId) -> bool {
        netns == self.home.id()
    }

    /// The location of an interface in the engine's own namespace.
    pub(super) fn at_home(&self, link: Link) -> Location {
        let netns_cookie = self.rtnl.netns_cookie();
        Location { nsid: None, netns: self.home.id(), netns_cookie, parent_nsid: None, link }
    }

    /// The location of an interface in a namespace.
    ///
    /// # Errors
    /// The namespace has no id and gets none.
    pub(super) fn location_in(&mut self, netns: &Netns, link: Link) -> Result<Location, Error> {
        let nsid = match self.is_home(netns.id()) {
            true => None,
            false => Some(self.rtnl.nsid(netns)?),
        };
        let (netns_cookie, parent_nsid) = self.ids_in(netns);
        Ok(Location { nsid, netns: netns.id(), netns_cookie, parent_nsid, link })
    }

    /// Locates an interface; `None` if it is gone. `known` is the namespace in which it was, with its cookie
    /// and the id that it has for the engine's.
    pub(super) fn locate(&mut self, handle: &Handle, known: KnownNetns) -> Option<Location> {
        let (netns, nsid, link) = self.find(|kernel| kernel.place(handle))?;
        let id = netns.id();
        // Only a socket inside can ask for these. They are constant once they are assigned.
        let (netns_cookie, parent_nsid) = match known {
            (before, cookie, Some(nsid)) if before == id => (cookie, Some(nsid)),
            _ => self.ids_in(&netns),
        };
        Some(Location { nsid, netns: id, netns_cookie, parent_nsid, link })
    }

    /// Locates the peer of an interface in the engine's own namespace.
    pub(super) fn locate_peer(&mut self, host_end: u32) -> Option<Location> {
        self.locate(&Handle::VethPeer(host_end), (self.home.id(), None, None))
    }

    /// Locates a TAP as [`Self::locate`] does, and opens its namespace, without entering it if it is
    /// the one that it was in, with the cookie that it had; the other id is not known then.
    pub(super) fn locate_kept(
        &mut self,
        tap: &Tap,
        known: Option<(NetnsId, u64)>,
    ) -> Option<(Netns, Location)> {
        let (netns, nsid, link) =
            self.find(|_| Ok((Netns::from(tap.namespace()?), tap.name()?)))?;
        let id = netns.id();
        let (netns_cookie, parent_nsid) = match known {
            Some((before, cookie)) if before == id => (Some(cookie), None),
            _ => self.ids_in(&netns),
        };
        Some((netns, Location { nsid, netns: id, netns_cookie, parent_nsid, link }))
    }

    /// The namespace of an interface, its id, and the attributes of the interface there; `None` if it is
    /// gone.
    fn find(
        &mut self,
        place: impl Fn(&mut Self) -> io::Result<(Netns, String)>,
    ) -> Option<(Netns, Option<i32>, Link)> {
        // It may move or be renamed between two requests.
        for _ in 0..LOCATE_ATTEMPTS {
            let (netns, name) = place(self).ok()?;
            let id = netns.id();
            let (nsid, link) = match self.is_home(id) {
                true => (None, self.rtnl.link(&name)),
                false => {
                    let nsid = self.rtnl.nsid(&netns).ok()?;
                    (Some(nsid), self.rtnl.within(nsid).link(&name))
                }
            };
            if let Ok(Some(link)) = link {
                return Some((netns, nsid, link));
            }
        }
        None
    }

    /// The namespace of an interface, and its name there.
    ///
    /// # Errors
    /// `EBADFD` if it is gone, `EINVAL` while the kernel removes the namespace of a TAP, `NotFound` if
    /// the namespace of a veth peer cannot be opened from here.
    pub(super) fn place(&mut self, handle: &Handle) -> io::Result<(Netns, String)> {
        let host_end = match handle {
            Handle::Tap(tap) => return Ok((Netns::from(tap.namespace()?), tap.name()?)),
            Handle::VethPeer(host_end) => *host_end,
        };
        let gone = || io::Error::from_raw_os_error(libc::EBADFD);
        let host = self.rtnl.link_by_index(host_end).map_err(io::Error::other)?;
        let host = host.filter(is_veth).ok_or_else(gone)?;
        let index = host.lower.ok_or_else(gone)?;
        let link = match host.link_netnsid {
            None => self.rtnl.link_by_index(index),
            Some(nsid) => self.rtnl.within(nsid).link_by_index(index),
        };
        let name = link.map_err(io::Error::other)?.ok_or_else(gone)?.name;
        let netns = match host.link_netnsid {
            None => self.home.try_clone()?,
            Some(nsid) => self.paths.open(&mut self.rtnl, nsid)?,
        };
        Ok((netns, name))
    }

    /// True unless the interface is gone.
    pub(super) fn exists(&mut self, handle: &Handle) -> bool {
        match handle {
            Handle::Tap(tap) => tap.name().is_ok(),
            Handle::VethPeer(host_end) => match self.rtnl.link_by_index(*host_end) {
                Ok(link) => link.as_ref().is_some_and(is_veth),
                // Not known to be gone.
                Err(_) => true,
            },
        }
    }

    /// The cookie of a namespace, and the id that it has for the engine's own, if that is another one.
    fn ids_in(&self, netns: &Netns) -> (Option<u64>, Option<i32>) {
        if self.is_home(netns.id()) {
            return (self.rtnl.netns_cookie(), None);
        }
        let Ok(mut rtnl) = Rtnl::open_in(netns) else {
            return (None, None);
        };
        (rtnl.netns_cookie(), rtnl.nsid(&self.home).ok())
    }

    /// The namespaces, other than the engine's own, that these queues keep alive.
    pub(super) fn pins(&self, queues: &[Arc<Tap>]) -> BTreeSet<NetnsId> {
        // Refused only where nothing can be done in the namespace anyway.
        let opened = queues.iter().filter_map(|queue| queue.opened_in().ok());
        opened.map(|fd| Netns::from(fd).id()).filter(|&id| !self.is_home(id)).collect()
    }

    /// Runs `visit` with a socket in the namespace of an interface and its index there.
    ///
    /// # Errors
    /// The interface is gone, its namespace cannot be entered, or what `visit` returns.
    pub(super) fn visit(
        &mut self,
        handle: &Handle,
        visit: impl FnOnce(&mut Rtnl, u32) -> Result<(), umacvlan_netlink::Error>,
    ) -> Result<(), Error> {
        let (netns, name) =
            self.place(handle).map_err(Error::system("find the namespace of a link"))?;
        let mut rtnl = Rtnl::open_in(&netns)?;
        let link = rtnl.link(&name)?.ok_or(Error::NoSuchSub(name))?;
        Ok(visit(&mut rtnl, link.index)?)
    }

    /// Reads the attributes of an interface; `None` if there is none of that index.
    pub(super) fn link(&mut self, interface: Interface) -> umacvlan_netlink::Result<Option<Link>> {
        let Interface { nsid, index } = interface;
        match nsid {
            None => self.rtnl.link_by_index(index),
            Some(nsid) => self.rtnl.within(nsid).link_by_index(index),
        }
    }

    /// Reads the attributes of all interfaces of a namespace, in one request.
    pub(super) fn links(&mut self, nsid: Option<i32>) -> umacvlan_netlink::Result<Vec<Link>> {
        match nsid {
            None => self.rtnl.links(),
            Some(nsid) => self.rtnl.within(nsid).links(),
        }
    }

    /// Deletes an interface.
    pub(super) fn delete(&mut self, interface: Interface) -> umacvlan_netlink::Result<()> {
        let Interface { nsid, index } = interface;
        match nsid {
            None => self.rtnl.delete(index),
            Some(nsid) => self.rtnl.within(nsid).delete(index),
        }
    }
}

/// True for an end of a veth pair.
pub(super) fn is_veth(link: &Link) -> bool {
    link.kind.as_deref() == Some("veth")
}
