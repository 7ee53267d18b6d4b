//! The network: a switch, a station beyond it, a parent with its host, and a namespace for each
//! sub-interface.
//!
//! ```text
//!  external          switch                 host                mac1 .. mac4
//!    eth0 --- to-external  to-parent --- p0 (the parent) - - -  sub-interfaces
//! ```
//! The sub-interfaces come and go ([`Network::attach`]), the rest stays, so that one network
//! serves every mode and both makers. All neighbours are static: what is not reached is then not
//! reached by unicast either way, and not for want of an ARP answer.

use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use umacvlan_core::{MacAddr, Mode};

use crate::lab::error::{Doing, Result};
use crate::lab::expect::{listed, members};
use crate::lab::member::{Member, SUBS, Station};
use crate::netlink::{BridgeOptions, Macvlan, Rtnl, set_sysctl};
use crate::sys::netns::Netns;

/// Who implements the sub-interfaces.
#[derive(Clone, Copy)]
pub enum Maker<'m> {
    /// The kernel's own macvlan driver.
    Kernel,
    /// We do: makes the sub-interfaces of a [`Site`], and returns what removes them when dropped.
    Ours(&'m dyn Fn(&Site<'_>) -> io::Result<Box<dyn Any>>),
}

impl std::fmt::Debug for Maker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "Kernel",
            Self::Ours(_) => "Ours",
        })
    }
}

/// Where sub-interfaces are wanted, and which.
#[derive(Debug)]
pub struct Site<'n> {
    /// Where the parent is.
    pub host: &'n Netns,
    /// The parent's name there.
    pub parent: &'static str,
    /// The mode of all sub-interfaces.
    pub mode: Mode,
    /// The sub-interfaces; passthru has one.
    pub subs: Vec<SubSite<'n>>,
}

/// One sub-interface that is wanted.
#[derive(Debug)]
pub struct SubSite<'n> {
    /// Who it is; the name of its interface is [`Member::interface`].
    pub member: Member,
    /// Where its interface is to be. It may be down: the network sets it up.
    pub netns: &'n Netns,
    /// Its address; the parent's in passthru mode.
    pub mac: MacAddr,
    /// The addresses that it admits in source mode; empty in every other.
    pub sources: Vec<MacAddr>,
}

/// A laboratory's network. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Network {
    /// The first field, because the first to be dropped: it may be at work in the places.
    attached: Option<Attached>,
    subs: Vec<Place>,
    host: Place,
    external: Place,
    switch: Place,
    /// The index of the switch's port to the parent.
    port: u32,
}

/// The sub-interfaces that are there.
#[derive(Debug)]
struct Attached {
    mode: Mode,
    /// What removes them, if it is not we who do.
    guard: Option<Box<dyn Any>>,
}

impl Network {
    /// Builds everything but the sub-interfaces.
    ///
    /// # Errors
    /// Without the right to make namespaces, or where the kernel lacks veth or the bridge.
    pub fn build() -> Result<Self> {
        let mut switch = Place::make("the switch")?;
        let mut host = Place::make("the host")?;
        let mut external = Place::make("the external host")?;
        let subs = (0..SUBS).map(|_| Place::make("a sub-interface")).collect::<Result<_>>()?;
        let port = wire(&mut switch, &mut host, &mut external).doing(|| "building the switch")?;
        for (member, place) in [(Member::Host, &mut host), (Member::External, &mut external)] {
            place
                .settle(member, member.mac())
                .doing(|| format!("giving {member} its addresses"))?;
        }
        Ok(Self { subs, host, external, switch, port, attached: None })
    }

    /// Tells the switch whether to return frames on the parent's port.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_hairpin(&mut self, on: bool) -> Result<()> {
        self.switch.rtnl.set_hairpin(self.port, on).doing(|| "setting the switch's hairpin")
    }

    /// Makes the sub-interfaces of this mode, instead of those that are there.
    ///
    /// # Errors
    /// If one cannot be made or set up; of kind `Unsupported` if the kernel's driver is wanted
    /// and there is none.
    pub fn attach(&mut self, maker: Maker<'_>, mode: Mode) -> Result<()> {
        self.detach()?;
        self.attached = Some(Attached { mode, guard: None });
        let guard = match maker {
            Maker::Kernel => {
                make_by_kernel(&mut self.host.rtnl, &site(&self.subs, &self.host.netns, mode))
                    .map(|()| None)
            }
            Maker::Ours(make) => make(&site(&self.subs, &self.host.netns, mode)).map(Some),
        };
        let guard = guard.doing(|| format!("making the sub-interfaces in mode {mode}"))?;
        self.attached = Some(Attached { mode, guard });
        self.settle(mode)
    }

    /// Removes the sub-interfaces, if there are any.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self) -> Result<()> {
        let Some(attached) = self.attached.take() else {
            return Ok(());
        };
        drop(attached.guard);
        for member in members(attached.mode) {
            if let Some(place) = self.subs.get_mut(member.index()) {
                place.remove(member.interface()).doing(|| format!("removing {member}"))?;
            }
        }
        Ok(())
    }

    /// Everyone who is there now, in the order of [`Member::ALL`].
    pub fn stations(&self) -> Vec<Station<'_>> {
        let Some(Attached { mode, .. }) = self.attached else {
            return Vec::new();
        };
        let station = |member: Member| Station {
            member,
            netns: &self.place(member).netns,
            mac: mac(mode, member),
        };
        members(mode).map(station).collect()
    }

    /// Sets the sub-interfaces up, and tells everyone where everyone is.
    fn settle(&mut self, mode: Mode) -> Result<()> {
        for member in members(mode) {
            let place = self.place_mut(member);
            if matches!(member, Member::Sub(_)) {
                place
                    .settle(member, mac(mode, member))
                    .doing(|| format!("giving {member} its addresses"))?;
            }
            place.await_carrier(member).doing(|| format!("waiting for the carrier of {member}"))?;
            for other in members(mode).filter(|other| *other != member) {
                place
                    .know(member, other, mac(mode, other))
                    .doing(|| format!("telling {member} where {other} is"))?;
            }
        }
        Ok(())
    }

    fn place(&self, member: Member) -> &Place {
        match member {
            Member::Host => &self.host,
            Member::External => &self.external,
            Member::Sub(_) => &self.subs[member.index()],
        }
    }

    fn place_mut(&mut self, member: Member) -> &mut Place {
        match member {
            Member::Host => &mut self.host,
            Member::External => &mut self.external,
            Member::Sub(_) => &mut self.subs[member.index()],
        }
    }
}

/// A namespace, and a socket to furnish it with.
#[derive(Debug)]
struct Place {
    netns: Netns,
    rtnl: Rtnl,
}

impl Place {
    fn make(of: &str) -> Result<Self> {
        let netns = Netns::create().doing(|| format!("making the namespace of {of}"))?;
        for (name, value) in SYSCTLS {
            // Only noise if it fails: where /proc/sys is read-only, or has no such entry.
            let _ = set_sysctl(&netns, name, value);
        }
        let rtnl = Rtnl::open_in(&netns).doing(|| format!("entering the namespace of {of}"))?;
        Ok(Self { netns, rtnl })
    }

    /// Gives the member's interface its addresses and sets it up.
    fn settle(&mut self, member: Member, mac: MacAddr) -> io::Result<()> {
        let index = self.index(member.interface())?;
        self.rtnl.set_mac(index, mac)?;
        self.rtnl.set_up(index, true)?;
        self.rtnl.add_address(index, member.ip().into(), 24)?;
        Ok(())
    }

    /// A static neighbour.
    fn know(&mut self, member: Member, other: Member, mac: MacAddr) -> io::Result<()> {
        let index = self.index(member.interface())?;
        let ip = IpAddr::from(other.ip());
        Ok(self.rtnl.add_neighbour(index, ip, mac, true)?)
    }

    /// Waits until the member's interface can carry frames.
    fn await_carrier(&mut self, member: Member) -> io::Result<()> {
        let end = Instant::now() + CARRIER_WAIT;
        loop {
            let link = self.rtnl.link(member.interface())?;
            if link.is_some_and(|link| link.is_running()) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn remove(&mut self, interface: &str) -> io::Result<()> {
        if let Some(link) = self.rtnl.link(interface)? {
            self.rtnl.delete(link.index)?;
        }
        Ok(())
    }

    fn index(&mut self, interface: &str) -> io::Result<u32> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("no interface {interface}"));
        Ok(self.rtnl.link(interface)?.ok_or_else(missing)?.index)
    }
}

/// Puts a bridge between the parent and the external host; returns the index of its port to the
/// parent.
fn wire(switch: &mut Place, host: &mut Place, external: &mut Place) -> io::Result<u32> {
    let rtnl = &mut switch.rtnl;
    rtnl.add_bridge("switch", &BridgeOptions::default())?;
    for (port, member, place) in
        [(TO_EXTERNAL, Member::External, &*external), (TO_PARENT, Member::Host, &*host)]
    {
        rtnl.add_veth(port, member.interface(), Some(&place.netns))?;
    }
    let bridge = switch.index("switch")?;
    switch.rtnl.set_up(bridge, true)?;
    for port in [TO_EXTERNAL, TO_PARENT] {
        let index = switch.index(port)?;
        switch.rtnl.set_master(index, Some(bridge))?;
        switch.rtnl.set_up(index, true)?;
    }
    switch.index(TO_PARENT)
}

/// What is asked of a maker.
fn site<'n>(subs: &'n [Place], host: &'n Netns, mode: Mode) -> Site<'n> {
    let subs = members(mode).zip(subs).map(|(member, place)| SubSite {
        member,
        netns: &place.netns,
        mac: mac(mode, member),
        sources: match (mode, member) {
            (Mode::Source, Member::Sub(sub)) => listed(sub).iter().map(|m| m.mac()).collect(),
            _ => Vec::new(),
        },
    });
    Site {
        host,
        parent: Member::Host.interface(),
        mode,
        subs: subs.filter(|sub| matches!(sub.member, Member::Sub(_))).collect(),
    }
}

fn make_by_kernel(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let parent = rtnl.link(site.parent)?.ok_or_else(missing)?.index;
    for sub in &site.subs {
        let macvlan =
            Macvlan { macaddrs: sub.sources.clone(), ..Macvlan::new(kernel_mode(site.mode)) };
        rtnl.add_macvlan(sub.member.interface(), parent, &macvlan, Some(sub.netns))?;
    }
    Ok(())
}

/// The address of a member's interface while the sub-interfaces are of this mode.
const fn mac(mode: Mode, member: Member) -> MacAddr {
    match (mode, member) {
        (Mode::Passthru, Member::Sub(_)) => Member::Host.mac(),
        _ => member.mac(),
    }
}

/// `MACVLAN_MODE_*` (linux/if_link.h).
const fn kernel_mode(mode: Mode) -> u32 {
    match mode {
        Mode::Private => 1,
        Mode::Vepa => 2,
        Mode::Bridge => 4,
        Mode::Passthru => 8,
        Mode::Source => 16,
    }
}

/// The switch's ports.
const TO_EXTERNAL: &str = "to-external";
const TO_PARENT: &str = "to-parent";

/// A new namespace inherits the machine's IPv4 settings: a router's hosts would forward what is
/// not theirs. Without IPv6 nobody talks unasked.
const SYSCTLS: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// The kernel may take a second to tell a sub-interface that its parent has a carrier.
const CARRIER_WAIT: Duration = Duration::from_secs(3);
