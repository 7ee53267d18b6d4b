//! The network: a switch, a station beyond it, a parent with its host, and a namespace for each
//! sub-interface.
//!
//! ```text
//!  external          switch                 host                mac1 .. mac4
//!    eth0 --- to-external  to-parent --- p0 (the parent) - - -  sub-interfaces
//! ```
//! With [`Wire::Cable`] there is no switch, and `eth0` and `p0` are the two ends of one cable.
//! The sub-interfaces come and go ([`Network::attach`]), the rest stays, so that one network
//! serves every mode and every maker. All neighbours are static: what is not reached is then not
//! reached by unicast either way, and not for want of an ARP answer.

use std::any::Any;
use std::io;

use umacvlan_core::{MacAddr, Mode};
use umacvlan_netlink::{Macvlan, Rtnl};
use umacvlan_sys::netns::Netns;

use crate::error::{Doing, Result};
use crate::idle_subs;
use crate::namespace::{BRIDGE, Place, bridge, index};
use crate::oracle::{self, listed};
use crate::station::{Member, SUBS, Station};

/// Who implements the sub-interfaces.
#[derive(Clone, Copy)]
pub enum Maker<'m> {
    /// Nobody makes sub-interfaces: a Linux bridge joins the parent and a veth pair for each member.
    Bridge,
    /// The kernel's own macvlan driver.
    Kernel,
    /// Something in user space, such as ourselves: makes the sub-interfaces of a [`Site`], and
    /// returns what ends them when dropped.
    Userspace(&'m dyn Fn(&Site<'_>) -> io::Result<Box<dyn Any>>),
}

impl std::fmt::Debug for Maker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bridge => "Bridge",
            Self::Kernel => "Kernel",
            Self::Userspace(_) => "Userspace",
        })
    }
}

/// What is between the parent and the external station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing.
    Cable,
    /// A switch, which returns frames on the parent's port if told to.
    Switch,
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
    /// The sub-interfaces, those of a crowd last; passthru has one.
    pub subs: Vec<SubSite<'n>>,
}

/// One sub-interface that is wanted.
#[derive(Debug)]
pub struct SubSite<'n> {
    /// The name of its interface.
    pub name: String,
    /// Where its interface is to be. It may be down: the network sets it up.
    pub netns: &'n Netns,
    /// Its address; the parent's in passthru mode.
    pub mac: MacAddr,
    /// The addresses that it admits in source mode; empty in every other.
    pub sources: Vec<MacAddr>,
    /// It is one of a crowd, in the parent's namespace, at which nobody sends or listens.
    pub idle: bool,
}

impl Site<'_> {
    /// Makes a veth pair for each sub-interface, which is one end. Returns the names of the others,
    /// which are where the parent is, and up: for a switch that is to join them.
    ///
    /// # Errors
    /// The kernel refuses, or has no veth.
    pub fn lay_cables(&self) -> io::Result<Vec<String>> {
        lay_cables(&mut Rtnl::open_in(self.host)?, self)
    }
}

/// A laboratory's network. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Network {
    /// The first field, because the first to be dropped: it may be at work in the places.
    attached: Option<Attached>,
    /// How many sub-interfaces there are to be.
    wanted: usize,
    subs: Vec<Place>,
    host: Place,
    external: Place,
    switch: Option<Switch>,
}

/// The switch of [`Wire::Switch`].
#[derive(Debug)]
struct Switch {
    place: Place,
    /// The index of its port to the parent.
    port: u32,
}

/// The sub-interfaces that are there.
#[derive(Debug)]
struct Attached {
    mode: Mode,
    /// True if a bridge is there as well.
    bridge: bool,
    /// What removes them, if it is not we who do.
    guard: Option<Box<dyn Any>>,
    /// How many idle ones there are beyond the members.
    crowd: usize,
}

impl Network {
    /// Builds everything but the sub-interfaces, with a switch.
    ///
    /// # Errors
    /// Without the right to make namespaces, or where the kernel lacks veth or the bridge.
    pub fn build() -> Result<Self> {
        Self::build_with(Wire::Switch)
    }

    /// Builds everything but the sub-interfaces.
    ///
    /// # Errors
    /// Without the right to make namespaces, or where the kernel lacks veth or the bridge.
    pub fn build_with(wire: Wire) -> Result<Self> {
        let mut host = Place::make("the host")?;
        let mut external = Place::make("the external host")?;
        let subs = (0..SUBS).map(|_| Place::make("a sub-interface")).collect::<Result<_>>()?;
        let switch = match wire {
            Wire::Cable => {
                let (near, far) = (Member::Host.interface(), Member::External.interface());
                let laid = host.rtnl.add_veth(near, far, Some(&external.netns));
                laid.doing(|| "laying the cable").map(|()| None)?
            }
            Wire::Switch => Some(Switch::make(&host, &external)?),
        };
        for (member, place) in [(Member::Host, &mut host), (Member::External, &mut external)] {
            place
                .settle(member, member.mac())
                .doing(|| format!("giving {member} its addresses"))?;
        }
        let wanted = usize::from(SUBS);
        Ok(Self { wanted, subs, host, external, switch, attached: None })
    }

    /// Tells the switch whether to return frames on the parent's port.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no switch.
    pub fn set_hairpin(&mut self, on: bool) -> Result<()> {
        let doing = || "setting the switch's hairpin";
        let Some(Switch { place, port }) = &mut self.switch else {
            return Err(io::Error::from(io::ErrorKind::NotFound)).doing(doing);
        };
        place.rtnl.set_hairpin(*port, on).doing(doing)
    }

    /// Removes the sub-interfaces, and has [`Network::attach`] make so many from now on, and not
    /// [`SUBS`]: members first, each in its namespace, and an idle crowd in the parent's beyond them.
    /// Passthru has one all the same.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_subs(&mut self, count: usize) -> Result<()> {
        self.wanted = count;
        self.detach()
    }

    /// Makes the sub-interfaces of this mode, instead of those that are there.
    ///
    /// # Errors
    /// If one cannot be made or set up; of kind `Unsupported` if the kernel's driver is wanted
    /// and there is none.
    pub fn attach(&mut self, maker: Maker<'_>, mode: Mode) -> Result<()> {
        self.detach()?;
        let bridge = matches!(maker, Maker::Bridge);
        let size = if mode == Mode::Passthru { 0 } else { self.wanted.saturating_sub(SUBS.into()) };
        let attached = self.attached.insert(Attached { mode, bridge, guard: None, crowd: size });
        let Self { subs, host, wanted, .. } = self;
        let mut site = site(&subs[..(*wanted).min(subs.len())], &host.netns, mode);
        site.subs.extend(idle_subs::sites(&host.netns, size));
        let guard = match maker {
            Maker::Bridge => make_by_bridge(&mut host.rtnl, &site).map(|()| None),
            Maker::Kernel => make_by_kernel(&mut host.rtnl, &site).map(|()| None),
            Maker::Userspace(make) => make(&site).map(Some),
        };
        attached.guard = guard.doing(|| format!("making the sub-interfaces in mode {mode}"))?;
        if size > 0 {
            idle_subs::settle(host)?;
        }
        self.settle(mode)
    }

    /// Frames that all sub-interfaces of the crowd together were given so far; 0 without one.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn crowd_received(&self) -> Result<u64> {
        let is_there = self.attached.as_ref().is_some_and(|attached| attached.crowd > 0);
        if is_there { idle_subs::received(&self.host.netns) } else { Ok(0) }
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
        if attached.crowd > 0 {
            idle_subs::remove(&mut self.host)?;
        }
        if attached.bridge {
            self.host.remove(BRIDGE).doing(|| "removing the bridge")?;
        }
        for member in oracle::members(attached.mode) {
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
        self.members(mode).map(station).collect()
    }

    /// Sets the sub-interfaces up, and tells everyone where everyone is.
    fn settle(&mut self, mode: Mode) -> Result<()> {
        let members: Vec<Member> = self.members(mode).collect();
        for &member in &members {
            let place = self.place_mut(member);
            if matches!(member, Member::Sub(_)) {
                place
                    .settle(member, mac(mode, member))
                    .doing(|| format!("giving {member} its addresses"))?;
            }
            place.await_carrier(member).doing(|| format!("waiting for the carrier of {member}"))?;
            for &other in members.iter().filter(|other| **other != member) {
                place
                    .know(member, other, mac(mode, other))
                    .doing(|| format!("telling {member} where {other} is"))?;
            }
        }
        Ok(())
    }

    /// Everyone who is there in this mode, but for a crowd.
    fn members(&self, mode: Mode) -> impl Iterator<Item = Member> + use<> {
        let wanted = self.wanted;
        oracle::members(mode).filter(move |member| match member {
            Member::Sub(number) => usize::from(*number) <= wanted,
            _ => true,
        })
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

impl Switch {
    /// Puts a bridge between the parent and the external host.
    fn make(host: &Place, external: &Place) -> Result<Self> {
        let mut place = Place::make("the switch")?;
        let port = wire(&mut place, host, external).doing(|| "building the switch")?;
        Ok(Self { place, port })
    }
}

/// Makes the bridge of the switch and its ports; returns the index of the one to the parent.
fn wire(switch: &mut Place, host: &Place, external: &Place) -> io::Result<u32> {
    let ends = [(TO_EXTERNAL, Member::External, external), (TO_PARENT, Member::Host, host)];
    for (port, member, place) in ends {
        switch.rtnl.add_veth(port, member.interface(), Some(&place.netns))?;
    }
    bridge(&mut switch.rtnl, &[TO_EXTERNAL, TO_PARENT])?;
    switch.index(TO_PARENT)
}

/// Makes a bridge of the parent and of one end of a cable to each sub-interface.
fn make_by_bridge(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<()> {
    let ports = lay_cables(rtnl, site)?;
    let ports = ports.iter().map(String::as_str).chain([site.parent]);
    bridge(rtnl, &ports.collect::<Vec<_>>())
}

/// Makes a veth pair for each sub-interface, which is one end; returns the names of the others.
fn lay_cables(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<Vec<String>> {
    let lay = |sub: &SubSite<'_>| {
        let port = format!("to-{}", sub.name);
        rtnl.add_veth(&port, &sub.name, Some(sub.netns))?;
        let index = index(rtnl, &port)?;
        rtnl.set_up(index, true)?;
        Ok(port)
    };
    site.subs.iter().map(lay).collect()
}

/// What is asked of a maker, but for a crowd.
fn site<'n>(subs: &'n [Place], host: &'n Netns, mode: Mode) -> Site<'n> {
    let members = oracle::members(mode).filter(|member| matches!(member, Member::Sub(_)));
    let subs = members.zip(subs).map(|(member, place)| SubSite {
        name: member.interface().to_owned(),
        netns: &place.netns,
        mac: mac(mode, member),
        sources: match (mode, member) {
            (Mode::Source, Member::Sub(sub)) => listed(sub).iter().map(|m| m.mac()).collect(),
            _ => Vec::new(),
        },
        idle: false,
    });
    Site { host, parent: Member::Host.interface(), mode, subs: subs.collect() }
}

fn make_by_kernel(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let parent = rtnl.link(site.parent)?.ok_or_else(missing)?.index;
    for sub in &site.subs {
        let macvlan =
            Macvlan { macaddrs: sub.sources.clone(), ..Macvlan::new(kernel_mode(site.mode)) };
        rtnl.add_macvlan(&sub.name, parent, &macvlan, Some(sub.netns))?;
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
