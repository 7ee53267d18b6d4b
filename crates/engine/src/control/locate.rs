//! Where the interfaces of sub-interfaces are, and visits to them.

use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::{Netns, NetnsId};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::sub::SubKey;
use crate::control::error::Error;

/// Where an interface was found, and what it looked like there.
pub(super) struct Location {
    /// The id of its namespace, `None` for the engine's own.
    pub(super) nsid: Option<i32>,
    pub(super) netns: NetnsId,
    /// The id that its namespace has for the engine's, if that is another one.
    pub(super) parent_nsid: Option<i32>,
    pub(super) link: Link,
}

impl Control {
    /// Where a TAP is now; `None` if it is gone. `known` is what was known of it before.
    pub(super) fn locate(&mut self, tap: &Tap, known: (NetnsId, Option<i32>)) -> Option<Location> {
        // It may move or be renamed between two questions.
        for _ in 0..4 {
            let netns = Netns::from(tap.namespace().ok()?);
            let name = tap.name().ok()?;
            let id = netns.id();
            let (nsid, link) = match id == self.home.id() {
                true => (None, self.rtnl.link(&name)),
                false => {
                    let nsid = self.rtnl.nsid(&netns).ok()?;
                    (Some(nsid), self.rtnl.within(nsid).link(&name))
                }
            };
            if let Ok(Some(link)) = link {
                // To be asked only inside, and for good: an id that is given is not taken away.
                let parent_nsid = match known {
                    (before, Some(nsid)) if before == id => Some(nsid),
                    _ => self.nsid_in(&netns),
                };
                return Some(Location { nsid, netns: id, parent_nsid, link });
            }
        }
        None
    }

    /// The id that a namespace has for the engine's own, if that is another one.
    pub(super) fn nsid_in(&self, netns: &Netns) -> Option<i32> {
        match netns.id() == self.home.id() {
            true => None,
            false => Rtnl::open_in(netns).ok()?.nsid(&self.home).ok(),
        }
    }

    /// Does something to the interface of a sub-interface, wherever it is.
    pub(super) fn visit(
        &mut self,
        tap: &Tap,
        visit: impl FnOnce(&mut Rtnl, u32) -> Result<(), umacvlan_netlink::Error>,
    ) -> Result<(), Error> {
        let netns = tap
            .namespace()
            .map(Netns::from)
            .map_err(Error::system("find the namespace of a TAP"))?;
        let mut rtnl = Rtnl::open_in(&netns)?;
        let name = tap.name().map_err(Error::system("ask a TAP for its name"))?;
        let link = rtnl.link(&name)?.ok_or(Error::NoSuchSub(name))?;
        Ok(visit(&mut rtnl, link.index)?)
    }

    /// Reads what the kernel tells about the interface of a sub-interface now. One that is gone or
    /// has moved is followed by its own event, and shown as it was until then.
    pub(super) fn refresh(&mut self, key: SubKey) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        let sub = &mut self.parents[at].subs[place];
        let link = match sub.nsid {
            None => self.rtnl.link_by_index(sub.index),
            Some(nsid) => self.rtnl.within(nsid).link_by_index(sub.index),
        };
        if let Ok(Some(link)) = link
            && link.persist.is_some()
        {
            sub.link = link;
        }
    }
}
