//! Announcements of sub-interfaces, after which switches and neighbours find them again: when their
//! parent fails over to another port (bond, team), or has returned.
//!
//! The kernel passes `NETDEV_NOTIFY_PEERS` of a parent on to its macvlans (`macvlan_device_event` of
//! drivers/net/macvlan.c), whose stacks then send a gratuitous ARP request for each IPv4 address
//! (`inetdev_send_gratuitous_arp`, net/ipv4/devinet.c) and an unsolicited neighbour advertisement for
//! each IPv6 address (`ndisc_send_unsol_na`, net/ipv6/ndisc.c). Nothing passes it on to a TAP, so the
//! same frames are sent here, out of the interface itself: they are counted and forwarded as any other
//! frame of it.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_core::announcement::{gratuitous_arp, neighbour_advertisement};
use umacvlan_netlink::{Address, Rtnl, sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::raw_socket;

use super::Control;
use super::inventory::DeviceId;

/// How long announcements may keep requests waiting.
const SLICE: Duration = Duration::from_millis(5);

impl Control {
    /// Has the sub-interfaces of a device announce their addresses, each as soon as it can send.
    pub(super) fn announce(&mut self, device: DeviceId) {
        let parents = self.inventory.parents_on(device);
        let subs = parents.into_iter().flat_map(|parent| self.inventory.subs_of(parent));
        self.announcing.extend(subs.filter(|sub| sub.seen.up).map(|sub| sub.id));
    }

    /// Sends announcements, for a while. The others are due at once, after requests and events.
    pub(super) fn settle_announcements(&mut self) {
        let end = Instant::now() + SLICE;
        self.announcements_due = false;
        for id in self.announcing.iter().copied().collect::<Vec<_>>() {
            let Some(sub) = self.inventory.sub(id) else {
                self.announcing.remove(&id);
                continue;
            };
            // An event follows when it has a carrier.
            if !sub.link.is_running() {
                continue;
            }
            if Instant::now() >= end {
                self.announcements_due = true;
                return;
            }
            // What is behind a program announces itself.
            let Some(handle) = sub.handle() else {
                self.announcing.remove(&id);
                continue;
            };
            match self.kernel.place(&handle).and_then(|(netns, name)| announce(&netns, &name)) {
                Ok(false) => {}
                Ok(true) => {
                    self.announcing.remove(&id);
                }
                Err(error) => {
                    let what = format!("{} does not announce its addresses: {error}", sub.name);
                    self.announcing.remove(&id);
                    self.events.trouble_of(id, what);
                }
            }
        }
    }
}

/// Announces the addresses of an interface; false if it has no carrier.
fn announce(netns: &Netns, name: &str) -> io::Result<bool> {
    let mut rtnl = Rtnl::open_in(netns).map_err(io::Error::other)?;
    let found = rtnl.link(name).map_err(io::Error::other)?;
    let Some((link, mac)) = found.and_then(|link| link.mac.map(|mac| (link, mac))) else {
        // It has moved or is gone, which has an event of its own.
        return Ok(false);
    };
    if !link.is_running() {
        return Ok(false);
    }
    let forwards = sysctl(netns, &format!("ipv6/conf/{name}/forwarding"));
    let frames: Vec<Vec<u8>> = rtnl
        .addresses()
        .map_err(io::Error::other)?
        .iter()
        .filter(|address| address.index == link.index)
        .filter_map(|address| frame(mac, address, forwards.as_deref().ok()))
        .collect();
    if frames.is_empty() {
        return Ok(true);
    }
    let socket = netns.run(|| raw_socket::open(link.index, 0))??;
    for frame in frames {
        raw_socket::send(socket.as_fd(), &frame, 1)?;
    }
    Ok(true)
}

/// The frame that announces an address; `None` for one that is not in use. `forwards` is the sysctl
/// of that name: an advertisement of a router that does not say so ends its use as a router, so none is
/// made if it is not known.
fn frame(mac: MacAddr, address: &Address, forwards: Option<&str>) -> Option<Vec<u8>> {
    match address.at.ip() {
        IpAddr::V4(ip) => Some(gratuitous_arp(mac, ip)),
        IpAddr::V6(_) if address.tentative || address.duplicate => None,
        IpAddr::V6(ip) => Some(neighbour_advertisement(mac, ip, forwards? != "0")),
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_netlink::IpPrefix;

    use super::*;

    #[test]
    fn an_address_that_is_not_in_use_is_not_announced() {
        let at = |ip: &str| IpPrefix::new(ip.parse().unwrap(), 24).unwrap();
        let used = Address { index: 1, at: at("fd00::7"), tentative: false, duplicate: false };
        let announced = |address: &Address, forwards| frame(MacAddr::ZERO, address, forwards);
        assert!(announced(&used, Some("0")).is_some());
        assert!(announced(&Address { tentative: true, ..used }, Some("0")).is_none());
        assert!(announced(&Address { duplicate: true, ..used }, Some("0")).is_none());
        // Whether it is a router's cannot be told.
        assert!(announced(&used, None).is_none());
        assert!(announced(&Address { at: at("10.0.0.7"), ..used }, None).is_some());
    }
}
