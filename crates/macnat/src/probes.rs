//! [`Probes`]: the IPv4 addresses that links are about to take (RFC 5227).
//!
//! A probe asks who has an address, and names none of its sender's. The answer, if there is one, names
//! none of the receiver's either, so that only the probe tells which link it is for.

use std::net::IpAddr;
use std::time::Instant;

use umacvlan_core::{MacAddr, SubIndex};

/// The probes that are remembered, in all and of one link.
const PROBES_MAX: usize = 128;
const LINK_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Probe {
    address: IpAddr,
    link: SubIndex,
    mac: MacAddr,
    at: Instant,
}

/// The last probes.
#[derive(Clone, Debug)]
pub(crate) struct Probes(Vec<Probe>);

impl Default for Probes {
    fn default() -> Self {
        Self(Vec::with_capacity(PROBES_MAX))
    }
}

impl Probes {
    /// Notes a probe, in place of the oldest of its link if that has many.
    pub(crate) fn note(&mut self, address: IpAddr, link: SubIndex, mac: MacAddr, at: Instant) {
        let probe = Probe { address, link, mac, at };
        let again = |other: &&mut Probe| other.link == link && other.address == address;
        if let Some(former) = self.0.iter_mut().find(again) {
            *former = probe;
            return;
        }
        let of_link = self.0.iter().filter(|other| other.link == link).count();
        let full = self.0.len() >= PROBES_MAX;
        if of_link < LINK_MAX && !full {
            return self.0.push(probe);
        }
        let replaced = |other: &&mut Probe| of_link < LINK_MAX || other.link == link;
        if let Some(oldest) = self.0.iter_mut().filter(replaced).min_by_key(|other| other.at) {
            *oldest = probe;
        }
    }

    /// The address of the link that has probed an address last.
    pub(crate) fn prober(&self, address: IpAddr) -> Option<MacAddr> {
        let probes = self.0.iter().filter(|probe| probe.address == address);
        probes.max_by_key(|probe| probe.at).map(|probe| probe.mac)
    }

    pub(crate) fn remove_link(&mut self, link: SubIndex) {
        self.0.retain(|probe| probe.link != link);
    }
}
