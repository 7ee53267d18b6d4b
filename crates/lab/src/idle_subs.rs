//! Idle sub-interfaces: they have no traffic of their own, and show the cost of many.
//!
//! All are in the parent's namespace. Moving one interface takes the kernel tens of milliseconds;
//! removing a namespace with thousands of them takes hardly longer.

use umacvlan_core::MacAddr;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::error::{Context, Result};
use crate::namespace::Namespace;
use crate::site::SubSite;

/// The idle sub-interfaces to create in this namespace.
pub(super) fn sites(netns: &Netns, size: usize) -> impl Iterator<Item = SubSite<'_>> {
    (0..size).map(move |number| SubSite {
        name: format!("{PREFIX}{number}"),
        netns,
        mac: mac(number),
        sources: Vec::new(),
        idle: true,
    })
}

/// Sets all of them up, and sets the MAC addresses that differ.
pub(super) fn set_up(host: &mut Namespace) -> Result<()> {
    let context = || "setting the idle sub-interfaces up";
    for (number, link) in links(&mut host.rtnl).context(context)? {
        if link.mac != Some(mac(number)) {
            host.rtnl.set_mac(link.index, mac(number)).context(context)?;
        }
        if !link.is_up() {
            host.rtnl.set_up(link.index, true).context(context)?;
        }
    }
    Ok(())
}

/// Removes those that still exist.
pub(super) fn remove(host: &mut Namespace) -> Result<()> {
    let context = || "removing the idle sub-interfaces";
    let found = links(&mut host.rtnl).context(context)?;
    found.into_iter().try_for_each(|(_, link)| host.rtnl.delete(link.index).context(context))
}

/// The number of frames that all of them together have received.
pub(super) fn received(host: &Netns) -> Result<u64> {
    let context = || "counting the frames of the idle sub-interfaces";
    let mut rtnl = Rtnl::open_in(host).context(context)?;
    let found = links(&mut rtnl).context(context)?;
    Ok(found.iter().map(|(_, link)| link.stats.rx_packets).sum())
}

/// All of them, each with its number.
fn links(rtnl: &mut Rtnl) -> umacvlan_netlink::Result<Vec<(usize, Link)>> {
    let number = |link: &Link| link.name.strip_prefix(PREFIX)?.parse().ok();
    let all = rtnl.links()?.into_iter();
    Ok(all.filter_map(|link| Some((number(&link)?, link))).collect())
}

/// The MAC address of an idle sub-interface; no member has it.
const fn mac(number: usize) -> MacAddr {
    let [.., high, low] = number.to_be_bytes();
    MacAddr::new([0x02, 0x4c, 0x41, 0x43, high, low])
}

/// The prefix of their names.
const PREFIX: &str = "idle";
