//! [`VlanPair`]: two hosts joined by a veth pair, each with an engine and one sub-interface, in a
//! VLAN or untagged.
//!
//! ```text
//!  mac1 - - -  p0 (.10) ------------ p0 (.10) - - - eth0
//! ```
//! One engine pushes the tag and the other pops it, so that a tagged and an untagged pair differ in
//! nothing else.

use std::io;

use umacvlan_engine::engine::{Engine, ParentOptions, SubOptions};

use crate::error::{Context, Result};
use crate::namespace::Namespace;
use crate::station::{Member, Station};

/// The members at the two ends.
const MEMBERS: [Member; 2] = [Member::Sub(1), Member::External];

/// Two sub-interfaces with a veth pair between their parents. It is removed when this value is
/// dropped or the process ends.
#[derive(Debug)]
pub struct VlanPair {
    /// The first field, so that it is dropped first: the engines use the namespaces.
    engines: Vec<Engine>,
    guests: Vec<Namespace>,
    _hosts: Vec<Namespace>,
}

impl VlanPair {
    /// Builds the pair. `vlan` is the part after the dot in the parents' names: `10`, `10.20`, or
    /// empty for untagged parents. `parent` has all other options of the parents.
    ///
    /// # Errors
    /// Namespaces may not be created, or the kernel lacks veth or TAP.
    pub fn build(vlan: &str, parent: &ParentOptions) -> Result<Self> {
        let mut hosts =
            vec![Namespace::create("one machine")?, Namespace::create("the other machine")?];
        let name = Member::Host.interface_name();
        let [near, far] = &mut hosts[..] else { unreachable!("there are two") };
        near.rtnl.add_veth(name, name, Some(&far.netns)).context(|| "creating the veth pair")?;
        for host in [near, far] {
            let up = host.index(name).and_then(|index| Ok(host.rtnl.set_up(index, true)?));
            up.context(|| "setting the veth pair up")?;
        }
        let dot = if vlan.is_empty() { "" } else { "." };
        let parent = ParentOptions { name: format!("{name}{dot}{vlan}"), ..parent.clone() };
        let (mut engines, mut guests) = (Vec::new(), Vec::new());
        for (host, member) in hosts.iter().zip(MEMBERS) {
            let mut guest = Namespace::create("a sub-interface")?;
            engines.push(
                start_engine(host, &mut guest, member, &parent)
                    .context(|| format!("adding the sub-interface of {member}"))?,
            );
            guests.push(guest);
        }
        for (guest, member) in guests.iter_mut().zip(MEMBERS) {
            guest.await_carrier(member).context(|| format!("waiting for {member}"))?;
        }
        Ok(Self { engines, guests, _hosts: hosts })
    }

    /// The sub-interfaces of the first and of the second engine.
    pub fn stations(&self) -> [Station<'_>; 2] {
        let station = |at: usize| {
            let (member, netns) = (MEMBERS[at], &self.guests[at].netns);
            Station { member, netns, mac: member.mac() }
        };
        [station(0), station(1)]
    }

    /// True if both engines account for every frame.
    ///
    /// # Errors
    /// An engine has stopped.
    pub fn is_balanced(&self) -> std::result::Result<bool, umacvlan_engine::Error> {
        let mut all = true;
        for engine in &self.engines {
            all &= engine.status()?.iter().all(|parent| parent.counters.is_balanced());
        }
        Ok(all)
    }
}

/// Starts an engine with a parent and one sub-interface.
fn start_engine(
    host: &Namespace,
    guest: &mut Namespace,
    member: Member,
    parent: &ParentOptions,
) -> io::Result<Engine> {
    let engine = host.netns.run(Engine::start)?.map_err(io::Error::other)?;
    engine.add_parent(parent.clone()).map_err(io::Error::other)?;
    let options = SubOptions {
        name: member.interface_name().to_owned(),
        mac: Some(member.mac()),
        netns: Some(guest.netns.try_clone()?),
        up: true,
        ..SubOptions::default()
    };
    engine.add_sub(&parent.name, options).map_err(io::Error::other)?;
    guest.configure(member, member.mac())?;
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use umacvlan_testkit::root_or_skip;

    use super::*;
    use crate::measure::{Path, tcp_throughput};

    #[test]
    fn bytes_go_both_ways_with_tags_and_without() {
        if !root_or_skip() {
            return;
        }
        for vlan in ["", "10", "10.20"] {
            let pair = VlanPair::build(vlan, &ParentOptions::default()).unwrap();
            let [one, other] = &pair.stations();
            for (from, to) in [(one, other), (other, one)] {
                let path = Path { from, to, cores: None };
                assert!(tcp_throughput(path, Duration::from_millis(50), None).unwrap().bytes > 0);
            }
            assert!(pair.is_balanced().unwrap(), "{vlan}");
        }
    }
}
