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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_core::offload::checksum;
use umacvlan_netlink::{Address, Rtnl, sysctl};
use umacvlan_sys::netns::Netns;
use umacvlan_sys::raw_socket;
use umacvlan_sys::tap::Tap;

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
            match announce(&sub.tap) {
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

/// Announces the addresses of a TAP's interface; false if it has no carrier.
fn announce(tap: &Tap) -> io::Result<bool> {
    let netns = Netns::from(tap.namespace()?);
    let name = tap.name()?;
    let mut rtnl = Rtnl::open_in(&netns).map_err(io::Error::other)?;
    let found = rtnl.link(&name).map_err(io::Error::other)?;
    let Some((link, mac)) = found.and_then(|link| link.mac.map(|mac| (link, mac))) else {
        // It has moved or is gone, which has an event of its own.
        return Ok(false);
    };
    if !link.is_running() {
        return Ok(false);
    }
    let forwards = sysctl(&netns, &format!("ipv6/conf/{name}/forwarding"));
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

/// A broadcast ARP request for the sender's own address (RFC 5227 section 3, "ARP announcement").
fn gratuitous_arp(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(MacAddr::BROADCAST, mac, 0x0806);
    // Ethernet and IPv4 with addresses of 6 and 4 bytes; a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.octets());
    frame.extend(ip.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 section 7.2.6).
fn neighbour_advertisement(mac: MacAddr, ip: Ipv6Addr, router: bool) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const LENGTH: u8 = 32;
    const ICMPV6: u8 = 58;
    let flags = if router { 0xa0 } else { 0x20 };
    let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
    message.extend(ip.octets());
    // The target's link-layer address, in units of 8 bytes.
    message.extend([2, 1]);
    message.extend(mac.octets());
    let mut summed = [ip.octets(), ALL_NODES.octets()].concat();
    summed.extend([0, 0, 0, LENGTH, 0, 0, 0, ICMPV6]);
    summed.extend(&message);
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());

    let mut frame = ethernet(MacAddr::new([0x33, 0x33, 0, 0, 0, 1]), mac, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, LENGTH, ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: MacAddr, from: MacAddr, ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.octets());
    frame.extend(from.octets());
    frame.extend(ethertype.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use umacvlan_netlink::IpPrefix;

    use super::*;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn address(ip: &str) -> Address {
        let at = IpPrefix::new(ip.parse().unwrap(), 24).unwrap();
        Address { index: 1, at, tentative: false, duplicate: false }
    }

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let frame = frame(MAC, &address("10.0.0.7"), None).unwrap();
        assert_eq!((&frame[..6], &frame[6..12]), (&[0xff; 6][..], &MAC.octets()[..]));
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!((&frame[22..28], &frame[28..32]), (&MAC.octets()[..], &[10, 0, 0, 7][..]));
        assert_eq!((&frame[32..38], &frame[38..]), (&[0; 6][..], &[10, 0, 0, 7][..]));
    }

    #[test]
    fn an_ipv6_address_is_advertised_with_a_right_checksum() {
        for (forwards, flags) in [("0", 0x20), ("1", 0xa0)] {
            let frame = frame(MAC, &address("fd00::7"), Some(forwards)).unwrap();
            assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
            let (ip, message) = frame[14..].split_at(40);
            assert_eq!((ip[6], ip[7], message[0], message[4]), (58, 255, 136, flags));
            let target: [u8; 16] = message[8..24].try_into().unwrap();
            assert_eq!(Ipv6Addr::from(target).to_string(), "fd00::7");
            assert_eq!(message[26..], MAC.octets());
            let pseudo = [&ip[8..], &[0, 0, 0, 32, 0, 0, 0, 58], message].concat();
            assert_eq!(checksum(&pseudo), 0);
        }
    }

    #[test]
    fn an_address_that_is_not_in_use_is_not_announced() {
        let tentative = Address { tentative: true, ..address("fd00::7") };
        let duplicate = Address { duplicate: true, ..address("fd00::7") };
        assert_eq!(frame(MAC, &tentative, Some("0")), None);
        assert_eq!(frame(MAC, &duplicate, Some("0")), None);
        // Whether it is a router's cannot be told.
        assert_eq!(frame(MAC, &address("fd00::7"), None), None);
    }
}
