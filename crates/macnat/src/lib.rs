//! MAC-NAT: many links behind the one MAC address of their parent.
//!
//! A Wi-Fi access point, the virtual switch of a hypervisor and the network of a cloud pass frames from
//! one source address for each port. So every frame for the wire gets the parent's address as its
//! source, and every frame from the wire for that address is given to the link that has its destination
//! IP address, as a router does with ports.
//!
//! * [`MacNat::learn`] notes which IP addresses a link sends from, and refuses those of others.
//! * [`Change::of`] finds what else of a frame for the wire names the sender's MAC address: ARP and
//!   neighbour discovery (ND); and it finds DHCP requests, whose answers have to be broadcast.
//! * [`MacNat::incoming`] finds the link of a frame from the wire, and puts its address in.
//!
//! The caller writes the source address itself, as the last step before a frame leaves, so that no frame
//! can be missed.
//!
//! Architecture invariant: no I/O, no clock, no log, no `unsafe`, and no allocation for a frame; the time
//! is passed in.
#![forbid(unsafe_code)]

mod change;
mod packet;
mod probes;
mod table;

use std::net::IpAddr;
use std::time::Instant;

use hashbrown::HashSet;
use umacvlan_core::{DropReason, Frame, MacAddr, SubIndex};

pub use change::Change;
pub use table::{LIFETIME, LINK_MAX, Neighbour, TABLE_MAX};

use packet::{Arp, Packet};
use probes::Probes;
use table::Table;

/// Which link a frame from the wire is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Several: it is for a group by its IP address, which is its destination now. An access point may send
    /// such a frame to each of its stations.
    Group,
    /// The host: it is for the parent's address, and its IP address is no link's.
    Host,
    /// One of the links: the destination is that link's address now.
    Link,
    /// It is not for the parent's address: a frame for a group, or for another address.
    Other,
    /// A frame of this parent that the network has sent back.
    Reflected,
}

/// The translation of one parent.
#[derive(Clone, Debug, Default)]
pub struct MacNat {
    table: Table,
    probes: Probes,
    /// The IP addresses of the host itself.
    host: HashSet<IpAddr>,
}

impl MacNat {
    /// A translation without neighbours.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the IP addresses of the host, of which no link can have one.
    pub fn set_host(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.host.clear();
        self.host.extend(addresses);
        for &address in &self.host {
            self.table.remove(address);
        }
    }

    /// Puts a neighbour in that an earlier translation had, unless somebody has its address.
    pub fn restore(&mut self, neighbour: Neighbour) {
        let Neighbour { address, link, mac, seen } = neighbour;
        if !self.host.contains(&address) && self.table.get(address).is_none() {
            // One too many is learned again when it sends.
            let _ = self.table.claim(address, link, mac, seen);
        }
    }

    /// Forgets the neighbours of a link that is removed.
    pub fn remove_link(&mut self, link: SubIndex) {
        self.table.remove_link(link);
        self.probes.remove_link(link);
    }

    /// Frees the addresses of a link that is down: it has them until another link sends from one.
    pub fn release_link(&mut self, link: SubIndex) {
        self.table.release_link(link);
    }

    /// The neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.table.iter()
    }

    /// Counts up when a neighbour comes, goes or gets another address.
    pub const fn changes(&self) -> u64 {
        self.table.changes()
    }

    /// Counts up when a neighbour goes, or its address goes to another.
    pub const fn removals(&self) -> u64 {
        self.table.removals()
    }

    /// True if an address is that of a link.
    pub fn is_link(&self, address: IpAddr) -> bool {
        self.owner(address).is_some()
    }

    /// The addresses that a frame names as those of its sender.
    pub fn senders(frame: Frame<'_>) -> impl Iterator<Item = IpAddr> {
        let senders = Packet::of(frame.bytes()).map(|packet| packet.senders());
        let (first, second) = senders.unwrap_or_default();
        [first, second].into_iter().flatten()
    }

    /// Learns from a frame of a link, whose source address is its own, which IP addresses it has.
    ///
    /// # Errors
    /// [`MacnatClaimed`](DropReason::MacnatClaimed): the host or another link that is alive has one of
    /// them, and nothing is learned. [`MacnatFull`](DropReason::MacnatFull): there is no room for one.
    #[inline]
    pub fn learn(
        &mut self,
        link: SubIndex,
        frame: Frame<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(packet) = Packet::of(frame.bytes()) else {
            return Ok(());
        };
        let mac = frame.src();
        if let Packet::Arp(Arp { probed: Some(address), .. }) = packet {
            self.probes.note(address, link, mac, now);
        }
        let (first, second) = packet.senders();
        let mut known = |address: Option<IpAddr>| {
            address.is_none_or(|address| self.table.refresh(address, link, mac, now))
        };
        match known(first) && known(second) {
            true => Ok(()),
            false => self.learn_new([first, second], link, mac, now),
        }
    }

    #[cold]
    fn learn_new(
        &mut self,
        addresses: [Option<IpAddr>; 2],
        link: SubIndex,
        mac: MacAddr,
        now: Instant,
    ) -> Result<(), DropReason> {
        for address in addresses.into_iter().flatten() {
            if self.host.contains(&address) || self.table.is_held(address, link, now) {
                return Err(DropReason::MacnatClaimed);
            }
        }
        for address in addresses.into_iter().flatten() {
            self.table.claim(address, link, mac, now)?;
        }
        Ok(())
    }

    /// Finds whom a frame from the wire is for, and makes it the frame that it would be without the
    /// translation: with the address of its link as destination, also in ARP.
    #[inline]
    pub fn incoming(&self, parent: MacAddr, frame: &mut [u8]) -> Incoming {
        let Some(view) = Frame::new(frame) else {
            return Incoming::Other;
        };
        if view.src() == parent {
            return Incoming::Reflected;
        }
        if view.dst() != parent {
            return Incoming::Other;
        }
        let Some(packet) = Packet::of(frame) else {
            return Incoming::Host;
        };
        if let Some(group) = packet.target().and_then(packet::group_mac) {
            frame[..6].copy_from_slice(&group.octets());
            return Incoming::Group;
        }
        let found = packet.target().and_then(|target| self.owner(target));
        let found = found.or_else(|| match packet {
            // The answer to a probe (RFC 5227): whoever has probed has no address yet.
            Packet::Arp(Arp { target: None, sender: Some(sender), .. }) => {
                self.probes.prober(sender)
            }
            _ => None,
        });
        let Some(mac) = found else {
            return Incoming::Host;
        };
        if let Packet::Arp(_) = packet {
            packet::replace_arp_target(frame, parent, mac);
        }
        frame[..6].copy_from_slice(&mac.octets());
        Incoming::Link
    }

    /// The address of the link that has an IP address, which is none of the host's.
    #[inline]
    fn owner(&self, address: IpAddr) -> Option<MacAddr> {
        self.table.get(address).map(|neighbour| neighbour.mac)
    }
}
