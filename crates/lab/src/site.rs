//! [`Site`]: the sub-interfaces that a measurement needs, and the [`Provider`] that creates them.

use std::any::Any;
use std::io;

use umacvlan_core::{MacAddr, Mode};
use umacvlan_netlink::Rtnl;
use umacvlan_sys::netns::Netns;

use crate::namespace::index;

/// What implements the sub-interfaces.
#[derive(Clone, Copy)]
pub enum Provider<'m> {
    /// A Linux bridge that joins the parent and a veth pair for each member, instead of
    /// sub-interfaces.
    Bridge,
    /// The kernel's macvlan driver.
    Kernel,
    /// A userspace implementation: creates the sub-interfaces of a [`Site`] and returns a value
    /// whose drop removes them.
    Userspace(&'m dyn Fn(&Site<'_>) -> io::Result<Box<dyn Any>>),
}

impl std::fmt::Debug for Provider<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bridge => "Bridge",
            Self::Kernel => "Kernel",
            Self::Userspace(_) => "Userspace",
        })
    }
}

/// The sub-interfaces that a [`Provider`] has to create, and where.
#[derive(Debug)]
pub struct Site<'n> {
    /// The parent's namespace.
    pub host: &'n Netns,
    /// The parent's name in it.
    pub parent: &'static str,
    /// The mode of all sub-interfaces.
    pub mode: Mode,
    /// The sub-interfaces, idle ones last. Passthru has one.
    pub subs: Vec<SubSite<'n>>,
}

/// One sub-interface to create.
#[derive(Debug)]
pub struct SubSite<'n> {
    /// The name of its interface.
    pub name: String,
    /// The namespace that its interface has to be in. The interface may be down: the network sets
    /// it up.
    pub netns: &'n Netns,
    /// Its address; the parent's in passthru mode.
    pub mac: MacAddr,
    /// The source addresses that it admits in source mode; empty in the other modes.
    pub sources: Vec<MacAddr>,
    /// True for an idle sub-interface in the parent's namespace, without traffic of its own.
    pub idle: bool,
}

impl Site<'_> {
    /// Creates a veth pair for each sub-interface, which is one end of it. Returns the names of the
    /// other ends, which are in the parent's namespace and up, as ports for a switch.
    ///
    /// # Errors
    /// The kernel refuses, or lacks veth.
    pub fn add_veth_pairs(&self) -> io::Result<Vec<String>> {
        add_veth_pairs(&mut Rtnl::open_in(self.host)?, self)
    }
}

/// As [`Site::add_veth_pairs`], with a netlink socket in the parent's namespace.
pub(crate) fn add_veth_pairs(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<Vec<String>> {
    let add = |sub: &SubSite<'_>| {
        let port = format!("to-{}", sub.name);
        rtnl.add_veth(&port, &sub.name, Some(sub.netns))?;
        let index = index(rtnl, &port)?;
        rtnl.set_up(index, true)?;
        Ok(port)
    };
    site.subs.iter().map(add).collect()
}
