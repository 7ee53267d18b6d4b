//! Requests to another namespace by its id, without entering it and without keeping it alive.
//!
//! Every namespace has small numbers (`nsid`) for other namespaces: ip-netns(8), "netnsid". An id does
//! not keep a namespace alive. When that namespace ends, the kernel sends `RTM_DELNSID`, and the id can
//! be assigned again.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use umacvlan_sys::netns::Netns;

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
            .ok_or_else(|| Error::new(ASSIGN, std::io::Error::other("the kernel still knows none")))
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
        .map_err(|e| Error::new(ASSIGN, std::io::Error::other(e)))?;
    Ok(NsidAttribute::Fd(fd))
}

/// `NETNSA_NSID_NOT_ASSIGNED`: linux/net_namespace.h.
const UNASSIGNED: i32 = -1;
const ASSIGN: &str = "give a namespace an id";
