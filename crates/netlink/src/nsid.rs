//! Requests to another namespace by its id, without entering it and without keeping it alive.
//!
//! Every namespace has small numbers (`nsid`) for other namespaces: ip-netns(8), "netnsid". An id does
//! not keep a namespace alive. When that namespace ends, the kernel sends `RTM_DELNSID`, and the id can
//! be assigned again.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use umacvlan_sys::netns::{self, Netns};

use super::link_requests::{indexed, named};
use super::{Error, Link, Result, Rtnl};

/// Requests about the interfaces of the namespace with this id; see [`Rtnl::within`].
#[derive(Debug)]
pub struct NetnsRequests<'a> {
    rtnl: &'a mut Rtnl,
    nsid: i32,
}

impl Rtnl {
    /// The id of `netns` in the socket's namespace. Assigns one if there is none.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, if an id must be assigned.
    pub fn nsid(&mut self, netns: &Netns) -> Result<i32> {
        if let Some(nsid) = self.known_nsid(netns)? {
            return Ok(nsid);
        }
        let mut message = NsidMessage::default();
        message.attributes = vec![descriptor(netns)?, NsidAttribute::Id(UNASSIGNED)];
        match self.request(ASSIGN, RouteNetlinkMessage::NewNsId(message), 0) {
            Ok(_) => {}
            // Another process has assigned one meanwhile.
            Err(e) if e.errno() == Some(libc::EEXIST) => {}
            Err(e) => return Err(e),
        }
        self.known_nsid(netns)?
            .ok_or_else(|| Error::new(ASSIGN, io::Error::other("the kernel still knows none")))
    }

    /// The id of `netns` in the socket's namespace, if it has one.
    ///
    /// # Errors
    /// The request failed.
    pub fn known_nsid(&mut self, netns: &Netns) -> Result<Option<i32>> {
        let mut message = NsidMessage::default();
        message.attributes = vec![descriptor(netns)?];
        let answer =
            self.request("read the id of a namespace", RouteNetlinkMessage::GetNsId(message), 0)?;
        Ok(answer.iter().find_map(|message| match message {
            RouteNetlinkMessage::NewNsId(message) => assigned(message),
            _ => None,
        }))
    }

    /// Moves an interface to the namespace with this id.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id, `EEXIST` if the interface's name is taken there.
    pub fn set_nsid(&mut self, index: u32, nsid: i32) -> Result<()> {
        let action = format!("move interface {index} to the namespace with id {nsid}");
        self.set(&action, index, LinkAttribute::IfNetnsId(nsid))
    }

    /// Requests to the namespace with the id `nsid` in the socket's. Neither the handle nor a request
    /// keeps that namespace alive. The kernel supports reading and deleting this way; to change an
    /// interface, use [`Rtnl::open_in`].
    pub fn within(&mut self, nsid: i32) -> NetnsRequests<'_> {
        NetnsRequests { rtnl: self, nsid }
    }
}

impl NetnsRequests<'_> {
    /// The interface called `name`, if there is one.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let action = format!("read interface {name} in the namespace with id {}", self.nsid);
        self.rtnl.one_link(&action, targeted(named(name), self.nsid))
    }

    /// The interface with this index, if there is one.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        let action = format!("read interface {index} in the namespace with id {}", self.nsid);
        self.rtnl.one_link(&action, targeted(indexed(index), self.nsid))
    }

    /// Every interface, by index.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let action = format!("list the interfaces in the namespace with id {}", self.nsid);
        self.rtnl.all_links(&action, targeted(LinkMessage::default(), self.nsid))
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id, `ENODEV` if there is no such interface.
    pub fn delete(&mut self, index: u32) -> Result<()> {
        let action = format!("delete interface {index} in the namespace with id {}", self.nsid);
        self.rtnl.delete_link(&action, targeted(indexed(index), self.nsid))
    }
}

/// The paths by which namespaces were found of which only the id is known. A path keeps no namespace
/// alive.
#[derive(Debug, Default)]
pub struct NetnsPaths(HashMap<i32, PathBuf>);

impl NetnsPaths {
    /// Opens the namespace with this id, by the path at which it was found before or by a search.
    ///
    /// # Errors
    /// `NotFound` if no path leads to it.
    pub fn open(&mut self, rtnl: &mut Rtnl, nsid: i32) -> io::Result<Netns> {
        let mut has_id =
            |netns: &Netns| matches!(rtnl.known_nsid(netns), Ok(Some(id)) if id == nsid);
        let known = self.0.get(&nsid).and_then(|path| path.to_str());
        if let Some(netns) = known.and_then(|path| Netns::open(path).ok()).filter(&mut has_id) {
            return Ok(netns);
        }
        let Some((path, netns)) = netns::find(has_id) else {
            self.0.remove(&nsid);
            let why = format!("no path leads to the namespace with id {nsid}");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        };
        self.0.insert(nsid, path);
        Ok(netns)
    }
}

/// The id in an `RTM_NEWNSID` or `RTM_DELNSID` message.
pub(super) fn assigned(message: &NsidMessage) -> Option<i32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(nsid) if *nsid != UNASSIGNED => Some(*nsid),
        _ => None,
    })
}

/// Adds `IFLA_TARGET_NETNSID`, for which the library has the older name.
fn targeted(mut message: LinkMessage, nsid: i32) -> LinkMessage {
    message.attributes.push(LinkAttribute::IfNetnsId(nsid));
    message
}

fn descriptor(netns: &Netns) -> Result<NsidAttribute> {
    let fd = u32::try_from(netns.as_fd().as_raw_fd())
        .map_err(|e| Error::new(ASSIGN, io::Error::other(e)))?;
    Ok(NsidAttribute::Fd(fd))
}

/// `NETNSA_NSID_NOT_ASSIGNED`: linux/net_namespace.h.
const UNASSIGNED: i32 = -1;
const ASSIGN: &str = "give a namespace an id";
