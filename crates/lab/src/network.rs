//! [`Network`]: an external host, a switch, a parent with its host, and a namespace for each
//! sub-interface.
//!
//! ```text
//!  external          switch                 host                mac1 .. mac4
//!    eth0 --- to-external  to-parent --- p0 (the parent) - - -  sub-interfaces
//! ```
//! With [`Wire::VethPair`] there is no switch, and `eth0` and `p0` are the two ends of one veth
//! pair. [`Network::attach`] replaces the sub-interfaces and keeps the rest, so that one network is
//! used for every mode and every provider. All neighbour entries are static: a failed unicast probe
//! then means lost unicast frames, and not a lost ARP reply.

use std::any::Any;
use std::io;

use umacvlan_core::{MacAddr, Mode};
use umacvlan_netlink::{Macvlan, Rtnl};
use umacvlan_sys::netns::Netns;

pub use umacvlan_netlink::TokenBucket;

use crate::error::{Context, Result};
use crate::idle_subs;
use crate::namespace::{BRIDGE, Namespace, bridge};
use crate::oracle::{self, listed};
use crate::parent_queue;
use crate::site::{Provider, Site, SubSite, add_veth_pairs};
use crate::station::{Member, SUBS, Station};

/// The link between the parent and the external host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A veth pair.
    VethPair,
    /// A switch, which returns frames on the parent's port if its hairpin mode is on.
    Switch,
}

/// The network of a lab. It is removed when this value is dropped or the process ends.
#[derive(Debug)]
pub struct Network {
    /// The first field, so that it is dropped first: it may use the namespaces.
    attached: Option<Attached>,
    /// How many sub-interfaces [`Network::attach`] creates.
    wanted: usize,
    subs: Vec<Namespace>,
    host: Namespace,
    external: Namespace,
    switch: Option<Switch>,
}

/// The switch of [`Wire::Switch`].
#[derive(Debug)]
struct Switch {
    namespace: Namespace,
    /// The index of its port to the parent.
    port: u32,
}

/// The current sub-interfaces.
#[derive(Debug)]
struct Attached {
    mode: Mode,
    /// True if a bridge exists too.
    bridge: bool,
    /// Removes them when dropped, if a userspace provider created them.
    guard: Option<Box<dyn Any>>,
    /// How many idle ones exist beside the members.
    idle: usize,
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
        let mut host = Namespace::create("the host")?;
        let mut external = Namespace::create("the external host")?;
        let subs =
            (0..SUBS).map(|_| Namespace::create("a sub-interface")).collect::<Result<_>>()?;
        let switch = match wire {
            Wire::VethPair => {
                let (near, far) =
                    (Member::Host.interface_name(), Member::External.interface_name());
                let laid = host.rtnl.add_veth(near, far, Some(&external.netns));
                laid.context(|| "creating the veth pair").map(|()| None)?
            }
            Wire::Switch => Some(Switch::create(&host, &external)?),
        };
        for (member, namespace) in [(Member::Host, &mut host), (Member::External, &mut external)] {
            namespace
                .configure(member, member.mac())
                .context(|| format!("giving {member} its addresses"))?;
        }
        let wanted = usize::from(SUBS);
        Ok(Self { wanted, subs, host, external, switch, attached: None })
    }

    /// Sets whether the switch returns frames on the parent's port.
    ///
    /// # Errors
    /// The kernel refuses, or there is no switch.
    pub fn set_hairpin(&mut self, on: bool) -> Result<()> {
        let context = || "setting the switch's hairpin";
        let Some(Switch { namespace, port }) = &mut self.switch else {
            return Err(io::Error::from(io::ErrorKind::NotFound)).context(context);
        };
        namespace.rtnl.set_hairpin(*port, on).context(context)
    }

    /// Removes the sub-interfaces and sets how many [`Network::attach`] creates ([`SUBS`] by
    /// default): members first, each in its namespace, the rest idle in the parent's. Passthru
    /// still has one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_subs(&mut self, count: usize) -> Result<()> {
        self.wanted = count;
        self.detach()
    }

    /// Replaces the sub-interfaces by new ones of this mode.
    ///
    /// # Errors
    /// A sub-interface cannot be created or set up. The kind is `Unsupported` if the kernel lacks
    /// the driver.
    pub fn attach(&mut self, provider: Provider<'_>, mode: Mode) -> Result<()> {
        self.detach()?;
        let bridge = matches!(provider, Provider::Bridge);
        let size = if mode == Mode::Passthru { 0 } else { self.wanted.saturating_sub(SUBS.into()) };
        let attached = self.attached.insert(Attached { mode, bridge, guard: None, idle: size });
        let Self { subs, host, wanted, .. } = self;
        let mut site = site(&subs[..(*wanted).min(subs.len())], &host.netns, mode);
        site.subs.extend(idle_subs::sites(&host.netns, size));
        let guard = match provider {
            Provider::Bridge => create_bridge(&mut host.rtnl, &site).map(|()| None),
            Provider::Kernel => create_macvlans(&mut host.rtnl, &site).map(|()| None),
            Provider::Userspace(make) => make(&site).map(Some),
        };
        attached.guard = guard.context(|| format!("making the sub-interfaces in mode {mode}"))?;
        if size > 0 {
            idle_subs::set_up(host)?;
        }
        self.configure(mode)
    }

    /// The number of frames that all idle sub-interfaces together have received; 0 without any.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn idle_received(&self) -> Result<u64> {
        let exist = self.attached.as_ref().is_some_and(|attached| attached.idle > 0);
        if exist { idle_subs::received(&self.host.netns) } else { Ok(0) }
    }

    /// Gives the parent a queue in front of the wire, in place of the one that it has.
    ///
    /// # Errors
    /// The kernel refuses, for instance without tbf.
    pub fn set_queue(&self, bucket: TokenBucket) -> Result<()> {
        parent_queue::set(&self.host.netns, bucket)
    }

    /// Removes the queue that the parent was given.
    ///
    /// # Errors
    /// It was given none.
    pub fn remove_queue(&self) -> Result<()> {
        parent_queue::remove(&self.host.netns)
    }

    /// The packets that the queue of the parent has dropped; 0 without a queue.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn queue_drops(&self) -> Result<u64> {
        parent_queue::drops(&self.host.netns)
    }

    /// Removes the sub-interfaces, if any.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach(&mut self) -> Result<()> {
        let Some(attached) = self.attached.take() else {
            return Ok(());
        };
        drop(attached.guard);
        if attached.idle > 0 {
            idle_subs::remove(&mut self.host)?;
        }
        if attached.bridge {
            self.host.remove(BRIDGE).context(|| "removing the bridge")?;
        }
        for member in oracle::members(attached.mode) {
            if let Some(namespace) = self.subs.get_mut(member.index()) {
                namespace
                    .remove(member.interface_name())
                    .context(|| format!("removing {member}"))?;
            }
        }
        Ok(())
    }

    /// The current members, in the order of [`Member::ALL`].
    pub fn stations(&self) -> Vec<Station<'_>> {
        let Some(Attached { mode, .. }) = self.attached else {
            return Vec::new();
        };
        let station = |member: Member| Station {
            member,
            netns: &self.namespace(member).netns,
            mac: mac(mode, member),
        };
        self.members(mode).map(station).collect()
    }

    /// The external host and the parent's host, which reach each other without sub-interfaces.
    ///
    /// # Errors
    /// They have no carrier in time.
    pub fn wire_ends(&mut self) -> Result<[Station<'_>; 2]> {
        let ends = [Member::External, Member::Host];
        for member in ends {
            self.namespace_mut(member)
                .await_carrier(member)
                .context(|| format!("waiting for the carrier of {member}"))?;
        }
        Ok(ends.map(|member| Station {
            member,
            netns: &self.namespace(member).netns,
            mac: member.mac(),
        }))
    }

    /// Sets the sub-interfaces up and gives each member its static neighbour entries.
    fn configure(&mut self, mode: Mode) -> Result<()> {
        let members: Vec<Member> = self.members(mode).collect();
        for &member in &members {
            let namespace = self.namespace_mut(member);
            if matches!(member, Member::Sub(_)) {
                namespace
                    .configure(member, mac(mode, member))
                    .context(|| format!("giving {member} its addresses"))?;
            }
            namespace
                .await_carrier(member)
                .context(|| format!("waiting for the carrier of {member}"))?;
            for &other in members.iter().filter(|other| **other != member) {
                namespace
                    .add_neighbour(member, other, mac(mode, other))
                    .context(|| format!("adding the neighbour {other} to {member}"))?;
            }
        }
        Ok(())
    }

    /// The members that exist in this mode.
    fn members(&self, mode: Mode) -> impl Iterator<Item = Member> + use<> {
        let wanted = self.wanted;
        oracle::members(mode).filter(move |member| match member {
            Member::Sub(number) => usize::from(*number) <= wanted,
            _ => true,
        })
    }

    fn namespace(&self, member: Member) -> &Namespace {
        match member {
            Member::Host => &self.host,
            Member::External => &self.external,
            Member::Sub(_) => &self.subs[member.index()],
        }
    }

    fn namespace_mut(&mut self, member: Member) -> &mut Namespace {
        match member {
            Member::Host => &mut self.host,
            Member::External => &mut self.external,
            Member::Sub(_) => &mut self.subs[member.index()],
        }
    }
}

impl Switch {
    /// Creates a bridge between the parent and the external host.
    fn create(host: &Namespace, external: &Namespace) -> Result<Self> {
        let mut namespace = Namespace::create("the switch")?;
        let port = connect(&mut namespace, host, external).context(|| "building the switch")?;
        Ok(Self { namespace, port })
    }
}

/// Creates the switch's bridge and its ports. Returns the index of the port to the parent.
fn connect(switch: &mut Namespace, host: &Namespace, external: &Namespace) -> io::Result<u32> {
    let ends = [(TO_EXTERNAL, Member::External, external), (TO_PARENT, Member::Host, host)];
    for (port, member, namespace) in ends {
        switch.rtnl.add_veth(port, member.interface_name(), Some(&namespace.netns))?;
    }
    bridge(&mut switch.rtnl, &[TO_EXTERNAL, TO_PARENT])?;
    switch.index(TO_PARENT)
}

/// Creates a bridge of the parent and a veth pair for each sub-interface.
fn create_bridge(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<()> {
    let ports = add_veth_pairs(rtnl, site)?;
    let ports = ports.iter().map(String::as_str).chain([site.parent]);
    bridge(rtnl, &ports.collect::<Vec<_>>())
}

/// The site for a provider, without idle sub-interfaces.
fn site<'n>(subs: &'n [Namespace], host: &'n Netns, mode: Mode) -> Site<'n> {
    let members = oracle::members(mode).filter(|member| matches!(member, Member::Sub(_)));
    let subs = members.zip(subs).map(|(member, namespace)| SubSite {
        name: member.interface_name().to_owned(),
        netns: &namespace.netns,
        mac: mac(mode, member),
        sources: match (mode, member) {
            (Mode::Source, Member::Sub(sub)) => listed(sub).iter().map(|m| m.mac()).collect(),
            _ => Vec::new(),
        },
        idle: false,
    });
    Site { host, parent: Member::Host.interface_name(), mode, subs: subs.collect() }
}

fn create_macvlans(rtnl: &mut Rtnl, site: &Site<'_>) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let parent = rtnl.link(site.parent)?.ok_or_else(missing)?.index;
    for sub in &site.subs {
        let macvlan =
            Macvlan { macaddrs: sub.sources.clone(), ..Macvlan::new(kernel_mode(site.mode)) };
        rtnl.add_macvlan(&sub.name, parent, &macvlan, Some(sub.netns))?;
    }
    Ok(())
}

/// The MAC address of a member's interface in this mode.
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

/// The names of the switch's ports.
const TO_EXTERNAL: &str = "to-external";
const TO_PARENT: &str = "to-parent";
