//! Which links get their addresses by DHCP, and where they are: for the thread that does it.

use nix::libc::EINVAL;
use umacvlan_api::{Code, DhcpView, LinkSpec, Problem};

use super::Service;
use super::problem::plain;
use crate::ServiceError;
use crate::leases::{Followed, Place};

/// Refuses a link that cannot get an address by DHCP.
///
/// # Errors The reason.
pub(super) fn check_dhcp(spec: &LinkSpec) -> Result<(), ServiceError> {
    let Some(dhcp) = &spec.dhcp else {
        return Ok(());
    };
    let fault = match spec.port {
        Some(_) => {
            Some("DHCP is for links with an interface: a program has its own client".to_owned())
        }
        None => dhcp.fault(),
    };
    fault.map_or(Ok(()), |message| {
        let problem = plain(Code::Refused, message).0;
        Err(ServiceError(Problem { errno: Some(EINVAL), ..problem }))
    })
}

impl Service {
    /// What a link has by DHCP; `None` if it does not ask for it.
    pub(super) fn lease(&self, id: u64) -> Option<DhcpView> {
        let wish = self.links.get(&id)?.dhcp.as_ref()?;
        Some(self.leases.view(id, wish))
    }

    /// Has a link that gets its address by DHCP followed, as it is now.
    pub(super) fn follow_lease(&self, id: u64) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let Some(wish) = link.dhcp.clone() else {
            return;
        };
        let seen = &link.seen;
        let place = || Place::new(seen.netns, seen.netns_cookie, seen.index);
        let place = (seen.up && !seen.held).then(place);
        let followed = Followed { ifname: seen.name.clone(), mac: seen.mac, wish, place };
        self.leases.follow(id, followed);
    }

    /// Gives the address of a link back, if it has one by DHCP, and asks for none any more.
    pub(super) fn release_lease(&self, id: u64) {
        if self.links.get(&id).is_some_and(|link| link.dhcp.is_some()) {
            self.leases.release(id);
        }
    }

    /// Gives the addresses of an owner's links back, because their interfaces are about to leave the
    /// places where they have them.
    pub fn release_owned(&self, owner: &str) {
        let links = self.links.iter();
        let owned = links.filter(|(_, link)| link.owner.as_deref() == Some(owner));
        owned.for_each(|(&id, _)| self.release_lease(id));
    }
}
