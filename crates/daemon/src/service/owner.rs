//! What is asked for links that are moved and renamed by others: container runtimes.

use umacvlan_engine::check_suitable;
use umacvlan_netlink::Link;

use super::Service;
use crate::error::ServiceError;
use umacvlan_api::LinkView;

impl Service {
    /// The link of an owner, if there is one; the first of several.
    pub fn link_of_owner(&mut self, owner: &str) -> Result<Option<LinkView>, ServiceError> {
        let found = self.links.iter().find(|(_, link)| link.owner.as_deref() == Some(owner));
        let id = found.map(|(&id, _)| id);
        id.map(|id| self.show(id)).transpose()
    }

    /// Every link that has an owner which begins like this: the owner, and whether the link is in
    /// the daemon's namespace.
    pub fn owners_with_prefix(&self, beginning: &str) -> Vec<(String, bool)> {
        let owned = self.links.values().filter_map(|link| {
            let owner = link.owner.as_ref().filter(|owner| owner.starts_with(beginning))?;
            Some((owner.clone(), link.seen.netns == self.home))
        });
        owned.collect()
    }

    /// An interface of the daemon's namespace; `None` if there is none of that name.
    pub fn interface(&mut self, name: &str) -> Result<Option<Link>, ServiceError> {
        Ok(self.rtnl.link(name)?)
    }

    /// Says why an interface cannot be a parent, if it cannot.
    pub fn check_parent(&mut self, link: &Link) -> Result<(), ServiceError> {
        Ok(check_suitable(&mut self.rtnl, link)?)
    }

    /// Sets an interface up whose frames go nowhere, with this MTU if it is not the usual one.
    pub fn bring_up_dummy(&mut self, link: &Link, mtu: Option<u32>) -> Result<(), ServiceError> {
        // There is nothing to wait for, and a discipline for each queue that a TAP might have takes
        // 25 MB. A kernel without them does without already.
        let _ = self.rtnl.set_noqueue(link.index);
        if let Some(mtu) = mtu.filter(|&mtu| mtu > link.mtu) {
            self.rtnl.set_mtu(link.index, mtu)?;
        }
        Ok(self.rtnl.set_up(link.index, true)?)
    }
}
