//! Links by owner tag, and interfaces, for container engines, which move and rename links.

use umacvlan_engine::check_suitable;
use umacvlan_engine::engine::SubId;
use umacvlan_netlink::Link;

use super::Service;
use super::host_access::HOST_OWNER;
use super::problem::plain;
use crate::ServiceError;
use umacvlan_api::{Code, LinkView};

/// The longest owner tag, in bytes. One of a container engine has the names of a network and of an
/// interface and the id of a container.
const OWNER_MAX: usize = 1024;

/// Checks the owner tag of a new link. Tags are written into log lines and state files, and those of
/// the host's links are given by the daemon alone.
///
/// # Errors It is empty, too long, has a control character, or is one of the host's links.
pub(super) fn check_owner(owner: &str) -> Result<(), ServiceError> {
    let wrong = match owner {
        "" => "it is empty: leave it out for a link without an owner".to_owned(),
        _ if owner.len() > OWNER_MAX => {
            format!("it has {} bytes, of {OWNER_MAX} at most", owner.len())
        }
        _ if owner.contains(char::is_control) => "it has a control character".to_owned(),
        _ if owner.starts_with(HOST_OWNER) => {
            format!("tags that begin with {HOST_OWNER:?} are those of links of the host")
        }
        _ => return Ok(()),
    };
    Err(plain(Code::Malformed, format!("owner: {wrong}")))
}

impl Service {
    /// The link of an owner; the first of several.
    ///
    /// # Errors The engine does not respond.
    pub fn link_of_owner(&mut self, owner: &str) -> Result<Option<LinkView>, ServiceError> {
        let found = self.links.iter().find(|(_, link)| link.owner.as_deref() == Some(owner));
        let id = found.map(|(&id, _)| id);
        id.map(|id| self.show(id)).transpose()
    }

    /// Checks that the links of an owner could come up with their addresses.
    ///
    /// # Errors The address of one is in use.
    pub fn check_owned_addresses(&self, owner: &str) -> Result<(), ServiceError> {
        let owned = self.links.iter().filter(|(_, link)| link.owner.as_deref() == Some(owner));
        for (&id, _) in owned {
            self.engine.check_mac_free(SubId(id))?;
        }
        Ok(())
    }

    /// All owners that begin with `beginning`, each with whether its link is in the daemon's
    /// namespace. A link that waits to be found counts as one elsewhere.
    pub fn owners_with_prefix(&self, beginning: &str) -> Vec<(String, bool)> {
        let links = self.links.values().map(|link| (&link.owner, link.seen.netns == self.home));
        let waiting = self.waiting.iter().filter(|one| !one.removed);
        let owners = links.chain(waiting.map(|one| (&one.record.owner, false)));
        let owned = owners.filter_map(|(owner, home)| {
            let owner = owner.as_ref().filter(|owner| owner.starts_with(beginning))?;
            Some((owner.clone(), home))
        });
        owned.collect()
    }

    /// An interface in the daemon's namespace.
    ///
    /// # Errors The netlink request fails.
    pub fn interface_named(&mut self, name: &str) -> Result<Option<Link>, ServiceError> {
        Ok(self.rtnl.link(name)?)
    }

    /// Checks that an interface can be a parent.
    ///
    /// # Errors It cannot; the error says why.
    pub fn check_parent(&mut self, link: &Link) -> Result<(), ServiceError> {
        Ok(check_suitable(&mut self.rtnl, link)?)
    }

    /// Sets up an interface that has no wire, with this MTU if it is larger than the present one.
    ///
    /// # Errors The kernel refuses it.
    pub fn bring_up_dummy(&mut self, link: &Link, mtu: Option<u32>) -> Result<(), ServiceError> {
        // Nothing is queued here, and a queueing discipline for each possible queue of a TAP takes
        // 25 MB. Kernels without `noqueue` refuse this, which does no harm.
        let _ = self.rtnl.set_noqueue(link.index);
        if let Some(mtu) = mtu.filter(|&mtu| mtu > link.mtu) {
            self.rtnl.set_mtu(link.index, mtu)?;
        }
        Ok(self.rtnl.set_up(link.index, true)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_tag_is_bounded_text_and_none_of_the_hosts() {
        let longest = "x".repeat(OWNER_MAX);
        for good in ["cni/net/0a1b/eth0", "host", "hosts ä", &longest] {
            check_owner(good).unwrap();
        }
        let longer = "x".repeat(OWNER_MAX + 1);
        for (bad, words) in [
            ("", "it is empty"),
            ("a\nb", "control character"),
            ("host eth0", "links of the host"),
            (&longer, "1025 bytes, of 1024 at most"),
        ] {
            let problem = check_owner(bad).unwrap_err().0;
            assert_eq!(problem.code, Code::Malformed);
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }
}
