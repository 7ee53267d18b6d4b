//! What the parent's receive filter lets in for the sub-interfaces.
//!
//! The same that the kernel's macvlan asks of its parent (`dev_uc_add`, `dev_mc_sync`), by
//! memberships of the uplink's socket: a driver with an address filter keeps filtering, any other
//! turns promiscuous by itself, and all of it ends with the socket, however the process ended. Of
//! several workers it is the first whose socket asks: the filter is the parent's.

use std::collections::BTreeSet;

use umacvlan_core::{Mode, Switch, VlanPath};
use umacvlan_sys::packet::Membership;

use super::Control;
use super::host_filter::vlans_on;
use super::parent_device::ParentDevice;
use super::workers::Workers;
use crate::control::engine::Event;
use crate::datapath::uplink::{PacketUplink, Uplink};

/// The memberships of one uplink.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    joined: BTreeSet<Membership>,
    /// True when the sub-interfaces may want others by now.
    stale: bool,
    /// How often that was noted.
    marks: u64,
    /// True when it has been told that some were refused.
    told: bool,
}

impl Memberships {
    /// Notes that a sub-interface has changed.
    pub(super) fn mark(&mut self) {
        self.stale = true;
        self.marks += 1;
    }

    /// Notes that the socket has gone, and all memberships with it.
    pub(super) fn forget(&mut self) {
        *self = Self { stale: true, marks: self.marks + 1, ..Self::default() };
    }

    /// How many changes were noted: another number than before if there was one.
    pub(super) fn marks(&self) -> u64 {
        self.marks
    }
}

impl Memberships {
    /// Leaves everything at once. A ring may hold on to the socket for some milliseconds after the
    /// worker has ended, and the parent is to be as it was when the engine has.
    pub(super) fn leave(self, workers: &Workers) {
        // A worker that has stopped has let go of its socket, too.
        let _ = workers.ask(move |worker| {
            if let Some(packet) = worker.uplink().and_then(Uplink::packet) {
                settle(packet, self.joined, &BTreeSet::new());
            }
        });
    }
}

impl Control {
    /// Divides what comes from the wire between the engine and the host as the switches have it by
    /// now.
    pub(crate) fn settle_wire(&mut self) {
        self.settle_redirects();
        self.settle_host_filters();
    }

    /// Has every uplink redirect what its sub-interfaces take by now.
    fn settle_redirects(&mut self) {
        for trunk in &mut self.trunks {
            let number = trunk.number;
            let parents = self.parents.iter().filter(|parent| parent.trunk == number);
            let marks = trunk.marks(parents.clone());
            let served: Vec<VlanPath> = parents.map(|parent| parent.path).collect();
            let ParentDevice { reach, workers, name, index, .. } = trunk;
            let Some(index) = *index else {
                continue;
            };
            let settled = reach
                .settle(workers, marks, &served)
                .and_then(|()| reach.settle_vlans(|| vlans_on(&mut self.rtnl, index)));
            if let Err(error) = settled {
                let what = format!("some frames of {name} go the wrong way: {error}");
                // Nobody listens: then nobody wants to know.
                let _ = self.events.send(Event::Trouble { what });
            }
        }
    }

    /// Brings the memberships of every uplink up to date.
    pub(super) fn settle_memberships(&mut self) {
        for at in 0..self.parents.len() {
            let parent = &mut self.parents[at];
            if !parent.memberships.stale || parent.index.is_none() {
                continue;
            }
            parent.memberships.stale = false;
            let joined = std::mem::take(&mut parent.memberships.joined);
            let (at, tagged) = (parent.at, !parent.path.is_untagged());
            let link = parent.index.filter(|_| tagged);
            // Gone meanwhile: an event tells.
            let link = link.and_then(|index| self.rtnl.link_by_index(index).ok().flatten());
            // One that no driver of the kernel's own makes is a card, and filters VLANs, of which
            // only the kernel's VLAN devices could tell it.
            let filters = link.is_some_and(|link| link.kind.is_none());
            let settled = parent.workers.ask(move |worker| {
                let mut wanted = wanted(worker.switch_at(at), tagged);
                if filters && !wanted.is_empty() {
                    wanted.insert(Membership::Promiscuous);
                }
                match worker.uplink().and_then(Uplink::packet) {
                    Some(packet) => settle(packet, joined, &wanted),
                    None => (joined, false),
                }
            });
            // A worker that has stopped wants nothing.
            let Ok((joined, refused)) = settled else {
                continue;
            };
            parent.memberships.joined = joined;
            let news = refused && !parent.memberships.told;
            parent.memberships.told = refused;
            let (name, index) = (parent.name.clone(), parent.index);
            if news {
                self.trouble(format!(
                    "{name} takes no more addresses into its filter, so it is promiscuous now"
                ));
            }
            self.see_promiscuity(index);
        }
    }

    /// No event tells that a driver without a filter has turned promiscuous: look.
    fn see_promiscuity(&mut self, index: Option<u32>) {
        // A parent that is gone meanwhile is told of by an event.
        if let Some(index) = index
            && let Ok(Some(link)) = self.rtnl.link_by_index(index)
        {
            self.follow_trunk(&link);
        }
    }
}

/// What the sub-interfaces that are up want to receive. `tagged`: those of a VLAN, whose address
/// may be another than the interface's.
fn wanted(switch: &Switch, tagged: bool) -> BTreeSet<Membership> {
    let mut wanted = BTreeSet::new();
    for (_, sub) in switch.subs().filter(|(_, sub)| sub.up()) {
        let filter = sub.filter();
        let greedy = match sub.mode() {
            Mode::Passthru => !sub.nopromisc(),
            _ => filter.promisc,
        };
        if greedy {
            wanted.insert(Membership::Promiscuous);
        }
        if sub.mode() != Mode::Passthru || tagged {
            wanted.insert(Membership::Unicast(sub.mac()));
        }
        if filter.allmulti {
            wanted.insert(Membership::AllMulticast);
        }
        wanted.extend(filter.groups.iter().map(|&group| Membership::Group(group)));
    }
    wanted
}

/// Joins and leaves; returns what is joined then, and whether something was refused. What cannot
/// be joined one by one is had by receiving everything.
fn settle(
    packet: &PacketUplink,
    mut joined: BTreeSet<Membership>,
    wanted: &BTreeSet<Membership>,
) -> (BTreeSet<Membership>, bool) {
    let all = Membership::Promiscuous;
    let missing: Vec<_> = wanted.difference(&joined).copied().collect();
    joined.extend(missing.iter().filter(|&&membership| packet.socket.join(membership).is_ok()));
    let refused = !joined.is_superset(wanted);
    if refused && !joined.contains(&all) && packet.socket.join(all).is_ok() {
        joined.insert(all);
    }
    joined.retain(|membership| {
        let kept = wanted.contains(membership) || refused && *membership == all;
        if !kept {
            // One that cannot be left has ended with its interface.
            let _ = packet.socket.leave(*membership);
        }
        kept
    });
    (joined, refused)
}
