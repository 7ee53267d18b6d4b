//! The unicast and multicast filter of a parent.
//!
//! It passes the same as under the kernel's macvlan (`dev_uc_add`, `dev_mc_sync`), by memberships of
//! a socket of its own: a driver with an address filter keeps filtering, any other turns promiscuous
//! by itself, and all of it ends with the socket, however the process ended.

use std::collections::BTreeSet;

use umacvlan_core::{Mode, Switch, VlanPath};
use umacvlan_sys::address_filter::{AddressFilter, Membership};

use super::Control;
use super::host_filter::vlans_on;
use super::parent_device::ParentDevice;

/// The groups of a parent's filter at most. With more it passes all of them.
const GROUPS_MAX: usize = 8192;

/// The memberships of one uplink.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    joined: BTreeSet<Membership>,
    /// True when the sub-interfaces may want others by now.
    stale: bool,
    /// Counts up with each change of a sub-interface.
    marks: u64,
    /// True when it was reported that some were refused.
    reported: bool,
}

impl Memberships {
    /// Notes that a sub-interface has changed.
    pub(super) fn mark_stale(&mut self) {
        self.stale = true;
        self.marks += 1;
    }

    /// Notes that the socket has gone, and all memberships with it.
    pub(super) fn forget(&mut self) {
        *self = Self { stale: true, marks: self.marks + 1, ..Self::default() };
    }

    /// The number of changes so far: another one than before if there was a change.
    pub(super) fn marks(&self) -> u64 {
        self.marks
    }

    /// Leaves everything.
    pub(super) fn leave(self, filter: Option<&AddressFilter>) {
        if let Some(filter) = filter {
            leave(filter, &self.joined);
        }
    }
}

impl Control {
    /// Divides the frames from the wire between the engine and the host as the switches have it
    /// now.
    pub(crate) fn settle_wire(&mut self) {
        if self.hold_adopted {
            // The program for the host takes longer to load than sub-interfaces to adopt.
            return;
        }
        self.settle_neighbours();
        self.settle_redirects();
        self.settle_kernel_answers();
        self.settle_host_filters();
    }

    /// Has every uplink redirect the frames that its sub-interfaces take now.
    fn settle_redirects(&mut self) {
        for id in self.inventory.device_ids() {
            let on_device = self.inventory.parents_on(id);
            let parents = on_device.iter().map(|&parent| &self.inventory[parent]);
            let marks = self.inventory[id].marks(parents.clone());
            let served: Vec<VlanPath> = parents.map(|parent| parent.path).collect();
            let ParentDevice { uplink, workers, name, index, .. } = &mut self.inventory[id];
            let Some(index) = *index else {
                continue;
            };
            let settled = uplink
                .settle(workers, marks, &served)
                .and_then(|()| uplink.settle_vlans(|| vlans_on(&mut self.kernel.rtnl, index)));
            if let Err(error) = settled {
                let what = format!("some frames of {name} go the wrong way: {error}");
                self.events.trouble(what);
            }
        }
    }

    /// Updates the memberships of every uplink.
    pub(super) fn settle_memberships(&mut self) {
        for id in self.inventory.parent_ids() {
            let parent = &mut self.inventory[id];
            if !parent.memberships.stale || parent.index.is_none() {
                continue;
            }
            parent.memberships.stale = false;
            let joined = std::mem::take(&mut parent.memberships.joined);
            let (switch, tagged) = (parent.switch, !parent.path.is_untagged());
            let device = parent.device;
            let filters = self.open_vlan_filter(device, tagged);
            let shared = self.inventory[id].translation.is_some();
            let parent = &mut self.inventory[id];
            let wanted = parent.workers.ask(move |worker| {
                let mut wanted = wanted(worker.switch_at(switch), tagged);
                if shared {
                    // The wire knows the parent's own address alone.
                    wanted.retain(|it| !matches!(it, Membership::Unicast(_)));
                }
                if filters && !wanted.is_empty() {
                    wanted.insert(Membership::Promiscuous);
                }
                wanted
            });
            // A worker that has stopped wants nothing. A device that is down has no filter yet.
            let (Ok(wanted), Some(filter)) = (wanted, &self.inventory[device].filter) else {
                continue;
            };
            let (joined, refused) = settle(filter, joined, &wanted);
            let parent = &mut self.inventory[id];
            parent.memberships.joined = joined;
            let news = refused && !parent.memberships.reported;
            parent.memberships.reported = refused;
            if news {
                let name = &parent.name;
                self.events.trouble(format!(
                    "{name} takes no more addresses into its filter, so it is promiscuous now"
                ));
            }
            let index = parent.index;
            self.follow_promiscuity(index);
        }
    }

    /// Reads a parent again: no event reports that a driver without a filter turned promiscuous.
    fn follow_promiscuity(&mut self, index: Option<u32>) {
        // A parent that is gone meanwhile has an event of its own.
        if let Some(index) = index
            && let Ok(Some(link)) = self.kernel.rtnl.link_by_index(index)
        {
            self.follow_device(&link);
        }
    }
}

/// The memberships for the sub-interfaces that are up. `tagged`: those of a VLAN, whose address may
/// be another than the interface's.
fn wanted(switch: &Switch, tagged: bool) -> BTreeSet<Membership> {
    let mut wanted = BTreeSet::new();
    for (_, sub) in switch.subs().filter(|(_, sub)| sub.up()) {
        let filter = sub.filter();
        let promiscuous = match sub.mode() {
            Mode::Passthru => !sub.nopromisc(),
            _ => filter.promisc,
        };
        if promiscuous {
            wanted.insert(Membership::Promiscuous);
        }
        if sub.mode() != Mode::Passthru || tagged {
            wanted.insert(Membership::Unicast(sub.mac()));
        }
        wanted.extend(sub.secondary().iter().map(|&mac| Membership::Unicast(mac)));
        if filter.allmulti {
            wanted.insert(Membership::AllMulticast);
        }
        wanted.extend(filter.groups.iter().map(|&group| Membership::Group(group)));
    }
    let is_group = |membership: &Membership| matches!(membership, Membership::Group(_));
    if wanted.iter().filter(|membership| is_group(membership)).count() > GROUPS_MAX {
        wanted.retain(|membership| !is_group(membership));
        wanted.insert(Membership::AllMulticast);
    }
    wanted
}

/// Joins what is wanted, and leaves the rest. Returns the memberships then, and whether one was
/// refused: then the parent turns promiscuous instead.
fn settle(
    filter: &AddressFilter,
    mut joined: BTreeSet<Membership>,
    wanted: &BTreeSet<Membership>,
) -> (BTreeSet<Membership>, bool) {
    let all = Membership::Promiscuous;
    let missing: Vec<_> = wanted.difference(&joined).copied().collect();
    joined.extend(missing.into_iter().filter(|&it| filter.join(it).is_ok()));
    let refused = !joined.is_superset(wanted);
    if refused && !joined.contains(&all) && filter.join(all).is_ok() {
        joined.insert(all);
    }
    let kept =
        |membership: &Membership| wanted.contains(membership) || refused && *membership == all;
    let (joined, left): (BTreeSet<_>, BTreeSet<_>) = joined.into_iter().partition(kept);
    leave(filter, &left);
    (joined, refused)
}

fn leave(filter: &AddressFilter, these: &BTreeSet<Membership>) {
    for &membership in these {
        // One that cannot be left has ended with its interface.
        let _ = filter.leave(membership);
    }
}
