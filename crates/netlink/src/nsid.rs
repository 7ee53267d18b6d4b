//! Reaching into another namespace by its id, without entering it and without holding it.
//!
//! Every namespace has its own small numbers (`nsid`) for those others that it has met:
//! ip-netns(8), "netnsid". A number holds nothing: when the other namespace ends, `RTM_DELNSID`
//! tells, and the number is free for the next.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use umacvlan_sys::netns::Netns;

use super::set::{indexed, named};
use super::{Error, Link, Result, Rtnl};

/// Requests about the interfaces of the namespace with this id. See [`Rtnl::within`].
#[derive(Debug)]
pub struct Within<'a> {
    rtnl: &'a mut Rtnl,
    nsid: i32,
}

impl Rtnl {
    /// The id that the socket's namespace has for `netns`, which gets one if it has none.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, if it has no id yet.
    pub fn nsid(&mut self, netns: &Netns) -> Result<i32> {
        if let Some(nsid) = self.known_nsid(netns)? {
            return Ok(nsid);
        }
        let mut message = NsidMessage::default();
        message.attributes = vec![descriptor(netns)?, NsidAttribute::Id(UNASSIGNED)];
        match self.request(ASSIGN, RouteNetlinkMessage::NewNsId(message), 0) {
            Ok(_) => {}
            // Somebody else was quicker.
            Err(e) if e.errno() == Some(libc::EEXIST) => {}
            Err(e) => return Err(e),
        }
        self.known_nsid(netns)?
            .ok_or_else(|| Error::new(ASSIGN, std::io::Error::other("the kernel still knows none")))
    }

    /// The id that the socket's namespace has for `netns`, if it has one.
    ///
    /// # Errors
    /// If the kernel does not tell.
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

    /// Requests about the namespace that has the id `nsid` in the socket's own. Neither the handle
    /// nor a request keeps that namespace alive. The kernel lets one read and delete this way; to
    /// change an interface there, visit with [`Rtnl::open_in`].
    pub fn within(&mut self, nsid: i32) -> Within<'_> {
        Within { rtnl: self, nsid }
    }
}

impl Within<'_> {
    /// The interface called `name`, if there is one.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id (any more).
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let action = format!("read interface {name} in the namespace with id {}", self.nsid);
        self.rtnl.one_link(&action, targeted(named(name), self.nsid))
    }

    /// The interface with this index, if there is one.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id (any more).
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        let action = format!("read interface {index} in the namespace with id {}", self.nsid);
        self.rtnl.one_link(&action, targeted(indexed(index), self.nsid))
    }

    /// Every interface, by index.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id (any more).
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let action = format!("list the interfaces in the namespace with id {}", self.nsid);
        self.rtnl.all_links(&action, targeted(LinkMessage::default(), self.nsid))
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// `EINVAL` if no namespace has the id (any more), `ENODEV` if the interface is gone already.
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

/// Adds `IFLA_TARGET_NETNSID`, which this library calls by its older name.
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
