//! The crowd: sub-interfaces beyond the laboratory's members, where nobody sends or listens. They are
//! there to be many.
//!
//! All are in the parent's namespace: to move an interface takes the kernel tens of milliseconds,
//! and to take down a whole namespace with thousands of them hardly more.

use umacvlan_core::MacAddr;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::error::{Doing, Result};
use crate::namespace::Place;
use crate::network::SubSite;

/// The idle sub-interfaces that are wanted there.
pub(super) fn sites(netns: &Netns, size: usize) -> impl Iterator<Item = SubSite<'_>> {
    (0..size).map(move |number| SubSite {
        name: format!("{PREFIX}{number}"),
        netns,
        mac: mac(number),
        sources: Vec::new(),
        idle: true,
    })
}

/// Sets all of them up and gives those their addresses that have others.
pub(super) fn settle(host: &mut Place) -> Result<()> {
    let doing = || "setting the idle sub-interfaces up";
    for (number, link) in links(&mut host.rtnl).doing(doing)? {
        if link.mac != Some(mac(number)) {
            host.rtnl.set_mac(link.index, mac(number)).doing(doing)?;
        }
        if !link.is_up() {
            host.rtnl.set_up(link.index, true).doing(doing)?;
        }
    }
    Ok(())
}

/// Removes those that are still there.
pub(super) fn remove(host: &mut Place) -> Result<()> {
    let doing = || "removing the idle sub-interfaces";
    let found = links(&mut host.rtnl).doing(doing)?;
    found.into_iter().try_for_each(|(_, link)| host.rtnl.delete(link.index).doing(doing))
}

/// Frames that all of them together were given so far.
pub(super) fn received(host: &Netns) -> Result<u64> {
    let doing = || "counting what the idle sub-interfaces were given";
    let mut rtnl = Rtnl::open_in(host).doing(doing)?;
    let found = links(&mut rtnl).doing(doing)?;
    Ok(found.iter().map(|(_, link)| link.stats.rx_packets).sum())
}

/// All of them, with their numbers.
fn links(rtnl: &mut Rtnl) -> umacvlan_netlink::Result<Vec<(usize, Link)>> {
    let number = |link: &Link| link.name.strip_prefix(PREFIX)?.parse().ok();
    let all = rtnl.links()?.into_iter();
    Ok(all.filter_map(|link| Some((number(&link)?, link))).collect())
}

/// An address for each, none of which a member has.
const fn mac(number: usize) -> MacAddr {
    let [.., high, low] = number.to_be_bytes();
    MacAddr::new([0x02, 0x4c, 0x41, 0x43, high, low])
}

/// What their names begin with.
const PREFIX: &str = "idle";
