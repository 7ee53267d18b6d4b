//! Which interfaces can be parents.

use umacvlan_netlink::{Link, LinkFlags, Rtnl};

use crate::control::error::Error;

/// Checks that an interface in the namespace of `rtnl` can be a parent: it must carry Ethernet
/// frames, and not be a port of a bridge or bond.
///
/// # Errors
/// It cannot, or its bridge or bond cannot be read.
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
