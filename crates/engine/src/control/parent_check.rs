//! Which interfaces can be parents.

use umacvlan_netlink::{Link, LinkFlags, Rtnl};

use crate::control::error::Error;

/// Says why an interface of the namespace that `rtnl` asks cannot be a parent: it must carry
/// Ethernet, and no bridge or bond may have it.
///
/// # Errors
/// It cannot; or it could not be found out.
pub fn check_suitable(rtnl: &mut Rtnl, link: &Link) -> Result<(), Error> {
    let unsuitable = |what| Error::ParentUnsuitable { parent: link.name.clone(), what };
    if link.flags.contains(LinkFlags::Loopback) {
        return Err(unsuitable("is a loopback interface"));
    }
    if link.link_type != ETHERNET || link.mac.is_none() {
        return Err(unsuitable("does not carry Ethernet frames"));
    }
    let Some(index) = link.master else {
        return Ok(());
    };
    let busy = |master| Error::ParentBusy { parent: link.name.clone(), master };
    match rtnl.link_by_index(index)? {
        // A VRF takes packets and leaves frames alone; bridges, bonds and teams take frames.
        Some(master) if master.kind.as_deref() == Some("vrf") => Ok(()),
        Some(master) => Err(busy(master.name)),
        None => Err(busy(format!("interface {index}"))),
    }
}

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: u16 = 1;
