//! Which interfaces can be parents.

use umacvlan_netlink::{Link, LinkFlags, Rtnl};

use crate::control::error::Error;

/// Checks that an interface in the namespace of `rtnl` can be a parent: it must carry Ethernet
/// frames for other addresses than its own, and not be a port of a bridge or bond.
///
/// # Errors
/// It cannot, or its bridge or bond cannot be read.
pub fn check_suitable(rtnl: &mut Rtnl, link: &Link) -> Result<(), Error> {
    let unsuitable = |what| Error::ParentUnsuitable { parent: link.name.clone(), what };
    if link.flags.contains(LinkFlags::Loopback) {
        return Err(unsuitable(
            "is a loopback interface: sub-interfaces need an Ethernet interface",
        ));
    }
    if link.link_type != ETHERNET || link.mac.is_none() {
        return Err(unsuitable(
            "does not carry Ethernet frames: sub-interfaces need an Ethernet interface",
        ));
    }
    match link.kind.as_deref() {
        Some("macvlan" | "macvtap") => {
            return Err(unsuitable(
                "is a macvlan of the kernel, which receives no frame for another address than its own: \
             use the interface below it",
            ));
        }
        Some("ipvlan" | "ipvtap") => {
            return Err(unsuitable(
                "is an ipvlan, which has no address of its own and receives no frame for another one: \
             use the interface below it",
            ));
        }
        _ => {}
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
