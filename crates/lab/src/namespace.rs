//! [`Namespace`]: one network namespace of the lab, and the operations in it.

use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_netlink::{BridgeOptions, Rtnl, set_sysctl};
use umacvlan_sys::netns::Netns;

use crate::error::{Context, Result};
use crate::station::Member;

/// A network namespace and a netlink socket in it.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) netns: Netns,
    pub(super) rtnl: Rtnl,
}

impl Namespace {
    pub(super) fn create(of: &str) -> Result<Self> {
        let netns = Netns::create().context(|| format!("creating the namespace of {of}"))?;
        for (name, value) in SYSCTLS {
            // Fails where /proc/sys is read-only or lacks the entry: there is then more noise, no
            // error.
            let _ = set_sysctl(&netns, name, value);
        }
        let rtnl = Rtnl::open_in(&netns).context(|| format!("entering the namespace of {of}"))?;
        Ok(Self { netns, rtnl })
    }

    /// Gives the member's interface its addresses and sets it up.
    pub(super) fn configure(&mut self, member: Member, mac: MacAddr) -> io::Result<()> {
        let index = self.index(member.interface_name())?;
        self.rtnl.set_mac(index, mac)?;
        self.rtnl.set_up(index, true)?;
        self.rtnl.add_address(index, member.ip().into(), 24)?;
        Ok(())
    }

    /// Adds a static neighbour entry for `other`.
    pub(super) fn add_neighbour(
        &mut self,
        member: Member,
        other: Member,
        mac: MacAddr,
    ) -> io::Result<()> {
        let index = self.index(member.interface_name())?;
        let ip = IpAddr::from(other.ip());
        Ok(self.rtnl.add_neighbour(index, ip, mac, true)?)
    }

    /// Waits until the member's interface has a carrier.
    pub(super) fn await_carrier(&mut self, member: Member) -> io::Result<()> {
        let end = Instant::now() + CARRIER_WAIT;
        loop {
            let link = self.rtnl.link(member.interface_name())?;
            if link.is_some_and(|link| link.is_running()) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn remove(&mut self, interface: &str) -> io::Result<()> {
        if let Some(link) = self.rtnl.link(interface)? {
            self.rtnl.delete(link.index)?;
        }
        Ok(())
    }

    pub(super) fn index(&mut self, interface: &str) -> io::Result<u32> {
        index(&mut self.rtnl, interface)
    }
}

/// Creates a bridge with these interfaces as ports and sets all of them up.
pub(super) fn bridge(rtnl: &mut Rtnl, ports: &[&str]) -> io::Result<()> {
    rtnl.add_bridge(BRIDGE, &BridgeOptions::default())?;
    let bridge = index(rtnl, BRIDGE)?;
    rtnl.set_up(bridge, true)?;
    for port in ports {
        let index = index(rtnl, port)?;
        rtnl.set_master(index, Some(bridge))?;
        rtnl.set_up(index, true)?;
    }
    Ok(())
}

/// The index of an interface, which must exist.
pub(super) fn index(rtnl: &mut Rtnl, interface: &str) -> io::Result<u32> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no interface {interface}"));
    Ok(rtnl.link(interface)?.ok_or_else(missing)?.index)
}

/// The name of a bridge.
pub(super) const BRIDGE: &str = "switch";

/// A new namespace inherits the machine's IPv4 settings: on a router, its hosts would forward. With
/// IPv6 off, no stack sends unasked.
const SYSCTLS: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// The kernel may take a second to pass a parent's carrier on to a sub-interface.
const CARRIER_WAIT: Duration = Duration::from_secs(3);
