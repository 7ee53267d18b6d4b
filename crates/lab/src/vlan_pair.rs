//! [`Trunk`]: a cable between two machines, and on each an engine with one link, tagged or not.
//!
//! ```text
//!  mac1 - - -  p0 (.10) ------------ p0 (.10) - - - eth0
//! ```
//! What one puts on, the other takes off, so a VLAN and no VLAN can be compared with nothing else
//! different.

use std::io;

use umacvlan_engine::engine::{Engine, ParentOptions, SubOptions};

use crate::error::{Doing, Result};
use crate::namespace::Place;
use crate::station::{Member, Station};

/// The two ends.
const MEMBERS: [Member; 2] = [Member::Sub(1), Member::External];

/// Two links on one cable. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Trunk {
    /// The first field, because the first to be dropped: they are at work in the places.
    engines: Vec<Engine>,
    guests: Vec<Place>,
    _hosts: Vec<Place>,
}

impl Trunk {
    /// Builds all of it. `vlan` is what stands behind the dot of the parents' names: `10`, `10.20`,
    /// or nothing for untagged ones. All else about the parents is `parent`'s.
    ///
    /// # Errors
    /// Without the right to make namespaces, or where the kernel lacks veth or a TAP.
    pub fn build(vlan: &str, parent: &ParentOptions) -> Result<Self> {
        let mut hosts = vec![Place::make("one machine")?, Place::make("the other machine")?];
        let name = Member::Host.interface();
        let [near, far] = &mut hosts[..] else { unreachable!("there are two") };
        near.rtnl.add_veth(name, name, Some(&far.netns)).doing(|| "laying the cable")?;
        for host in [near, far] {
            let up = host.index(name).and_then(|index| Ok(host.rtnl.set_up(index, true)?));
            up.doing(|| "setting the cable up")?;
        }
        let dot = if vlan.is_empty() { "" } else { "." };
        let parent = ParentOptions { name: format!("{name}{dot}{vlan}"), ..parent.clone() };
        let (mut engines, mut guests) = (Vec::new(), Vec::new());
        for (host, member) in hosts.iter().zip(MEMBERS) {
            let mut guest = Place::make("a link")?;
            engines.push(
                link(host, &mut guest, member, &parent)
                    .doing(|| format!("making the link of {member}"))?,
            );
            guests.push(guest);
        }
        for (guest, member) in guests.iter_mut().zip(MEMBERS) {
            guest.await_carrier(member).doing(|| format!("waiting for {member}"))?;
        }
        Ok(Self { engines, guests, _hosts: hosts })
    }

    /// The links: that of the first engine, then that of the second.
    pub fn stations(&self) -> [Station<'_>; 2] {
        let station = |at: usize| {
            let (member, netns) = (MEMBERS[at], &self.guests[at].netns);
            Station { member, netns, mac: member.mac() }
        };
        [station(0), station(1)]
    }

    /// True if both engines have a fate for every frame.
    ///
    /// # Errors
    /// One has stopped.
    pub fn is_balanced(&self) -> std::result::Result<bool, umacvlan_engine::Error> {
        let mut all = true;
        for engine in &self.engines {
            all &= engine.status()?.iter().all(|parent| parent.counters.is_balanced());
        }
        Ok(all)
    }
}

/// An engine with a parent and one link, which knows nobody yet.
fn link(
    host: &Place,
    guest: &mut Place,
    member: Member,
    parent: &ParentOptions,
) -> io::Result<Engine> {
    let engine = host.netns.run(Engine::start)?.map_err(io::Error::other)?;
    engine.add_parent(parent.clone()).map_err(io::Error::other)?;
    let options = SubOptions {
        name: member.interface().to_owned(),
        mac: Some(member.mac()),
        netns: Some(guest.netns.try_clone()?),
        up: true,
        ..SubOptions::default()
    };
    engine.add_sub(&parent.name, options).map_err(io::Error::other)?;
    guest.settle(member, member.mac())?;
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
            let trunk = Trunk::build(vlan, &ParentOptions::default()).unwrap();
            let [one, other] = &trunk.stations();
            for (from, to) in [(one, other), (other, one)] {
                let path = Path { from, to, cores: None };
                assert!(tcp_throughput(path, Duration::from_millis(50), None).unwrap().bytes > 0);
            }
            assert!(trunk.is_balanced().unwrap(), "{vlan}");
        }
    }
}
