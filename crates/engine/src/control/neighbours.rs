//! MAC-NAT: the IP addresses of the host and of the links of a parent whose MAC address they share.
//!
//! The workers learn which link has which address. The control thread follows them, for the filter that
//! keeps the frames of links from the host, for the status, and for the next workers or the next engine.
//! It tells the workers which addresses are the host's own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use umacvlan_core::switch::HostFilterRules;
use umacvlan_core::{MacAddr, Mode};

use super::Control;
use super::inventory::{DeviceId, ParentId};
use super::parent::Parent;
use crate::control::engine::{Event, NeighbourStatus, ParentOptions, SubId};
use crate::control::error::Error;
use umacvlan_datapath::worker::{Neighbour, Worker};

/// The translation of one parent.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// What links have, as the workers had it last; in order.
    known: Vec<NeighbourStatus>,
    /// What links had in an earlier engine, until they are adopted.
    former: Vec<NeighbourStatus>,
    /// What the host has, as the workers know it.
    host: BTreeSet<IpAddr>,
    /// The workers may know more.
    stale: bool,
    /// The host may have others.
    host_stale: bool,
}

impl Translation {
    /// For a parent with these options; `None` if its links have their own addresses.
    pub(super) fn new(options: &ParentOptions) -> Option<Self> {
        let former = options.neighbours.clone();
        options.macnat.then(|| Self { former, host_stale: true, ..Self::default() })
    }

    /// Has new workers get what the former had.
    pub(super) fn rebuild(&mut self) {
        let known = std::mem::take(&mut self.known);
        self.former.extend(known);
        (self.host, self.host_stale) = (BTreeSet::new(), true);
    }
}

/// Adds to the rules of a host filter that frames for the parent's own address are not all the host's.
pub(super) fn share(
    rules: &mut HostFilterRules,
    translation: Option<&Translation>,
    parent: MacAddr,
) {
    if translation.is_some() {
        rules.share(parent);
    }
}

impl Control {
    /// Refuses a mode that a parent whose address is shared cannot have.
    pub(super) fn check_mode(&self, id: ParentId, name: &str, mode: Mode) -> Result<(), Error> {
        match mode == Mode::Passthru && self.inventory[id].translation.is_some() {
            true => Err(Error::MacNat {
                name: name.to_owned(),
                why: "mode passthru takes the parent's address, which all links share with macnat: \
                      use another mode, or a parent without macnat",
            }),
            false => Ok(()),
        }
    }

    /// Has the workers of a parent translate, and follows the addresses of the host.
    pub(super) fn translate(&mut self, id: ParentId) -> Result<(), Error> {
        let parent = &mut self.inventory[id];
        if parent.translation.is_none() {
            return Ok(());
        }
        let switch = parent.switch;
        parent.workers.tell(move |worker| worker.translate(switch))?;
        if !self.follows_addresses {
            let followed = self.kernel.monitor.follow_addresses();
            followed.map_err(Error::system("follow the addresses of the host"))?;
            self.follows_addresses = true;
        }
        self.settle_host_addresses();
        Ok(())
    }

    /// Gives the worker of a parent the addresses that a new filter of the host hides.
    pub(super) fn hide_neighbours(&mut self, id: ParentId) {
        let Parent { host, workers, switch, .. } = &mut self.inventory[id];
        let switch = *switch;
        if let Some(hidden) = host.take_shared() {
            // There is one worker. One that has stopped has reported it.
            let _ = workers.ask(move |it| it.hide_neighbours(switch, Some(hidden)));
        }
    }

    /// Notes that a worker of a device has learned.
    pub(super) fn note_neighbours(&mut self, device: DeviceId) {
        for id in self.inventory.parents_on(device) {
            if let Some(translation) = &mut self.inventory[id].translation {
                translation.stale = true;
            }
        }
    }

    /// Notes that an interface of the host has got or lost an address.
    pub(super) fn note_host_addresses(&mut self) {
        for parent in self.inventory.parents_mut() {
            if let Some(translation) = &mut parent.translation {
                translation.host_stale = true;
            }
        }
    }

    /// Exchanges addresses with the workers, where something has changed.
    pub(super) fn settle_neighbours(&mut self) {
        if !self.follows_addresses {
            return;
        }
        self.settle_host_addresses();
        for id in self.inventory.parent_ids() {
            self.restore_neighbours(id);
            let Some(translation) = &mut self.inventory[id].translation else {
                continue;
            };
            if std::mem::take(&mut translation.stale) {
                self.read_neighbours(id);
            }
        }
    }

    /// Reads what the workers of a parent have learned.
    fn read_neighbours(&mut self, id: ParentId) {
        // A worker that has stopped has reported it.
        let Some(known) = self.neighbours_of(id) else {
            return;
        };
        let parent = &mut self.inventory[id];
        let Some(translation) = &mut parent.translation else {
            return;
        };
        let is_same = |(a, b): (&NeighbourStatus, &NeighbourStatus)| a.is_same(b);
        let same = known.len() == translation.known.len()
            && known.iter().zip(&translation.known).all(is_same);
        if same {
            return;
        }
        translation.known = known;
        let event = Event::Neighbours { parent: parent.handle.clone() };
        self.events.send(event);
    }

    /// What the workers of a parent know now, in order; `None` if they have stopped.
    pub(super) fn neighbours_of(&self, id: ParentId) -> Option<Vec<NeighbourStatus>> {
        let parent = &self.inventory[id];
        parent.translation.as_ref()?;
        let (switch, device) = (parent.switch, parent.device);
        let learned = parent.workers.ask(move |it: &mut Worker| it.neighbours(switch)).ok()?;
        let now = Instant::now();
        let status = |it: &Neighbour| {
            Some(NeighbourStatus {
                sub: self.inventory.sub_with_index(device, it.link)?,
                address: it.address,
                mac: it.mac,
                idle: now.saturating_duration_since(it.seen),
            })
        };
        let mut known: Vec<_> = learned.iter().filter_map(status).collect();
        known.sort_unstable_by_key(|it| (it.address, it.sub));
        Some(known)
    }

    /// Gives the workers of a parent what those sub-interfaces had before that are there by now.
    pub(super) fn restore_neighbours(&mut self, id: ParentId) {
        let Some(translation) = &mut self.inventory[id].translation else {
            return;
        };
        if translation.former.is_empty() {
            return;
        }
        let former = std::mem::take(&mut translation.former);
        let (mut there, mut absent) = (Vec::new(), Vec::new());
        for one in former {
            match self.inventory.sub(one.sub).filter(|sub| sub.parent == id) {
                Some(sub) => there.push(Neighbour {
                    address: one.address,
                    link: sub.index,
                    mac: one.mac,
                    // It has as much time as one that has just sent.
                    seen: Instant::now(),
                }),
                None => absent.push(one),
            }
        }
        let parent = &mut self.inventory[id];
        if let Some(translation) = &mut parent.translation {
            translation.former = absent;
            translation.stale |= !there.is_empty();
        }
        if !there.is_empty() {
            let switch = parent.switch;
            // A worker that has stopped has reported it.
            let _ = parent.workers.tell(move |it| it.restore_neighbours(switch, there.clone()));
        }
    }

    /// Tells the workers which addresses the host has, if they may be others by now.
    fn settle_host_addresses(&mut self) {
        let stale = |translation: &Translation| translation.host_stale;
        let all = self.inventory.parents();
        if !all.into_iter().any(|(_, parent)| parent.translation.as_ref().is_some_and(stale)) {
            return;
        }
        // It is asked again with the next event.
        let Ok(addresses) = self.kernel.rtnl.addresses() else {
            return;
        };
        // A link may be in the host's namespace, and its addresses are its own there.
        let of_subs: BTreeSet<u32> = self
            .inventory
            .subs()
            .filter(|sub| sub.interface.nsid.is_none())
            .map(|sub| sub.interface.index)
            .collect();
        let hosts = addresses.iter().filter(|address| !of_subs.contains(&address.index));
        let hosts: BTreeSet<IpAddr> = hosts.map(|address| address.at.ip()).collect();
        for parent in self.inventory.parents_mut() {
            let Some(translation) = &mut parent.translation else {
                continue;
            };
            translation.host_stale = false;
            // A VLAN that the host has no device for is none of its networks.
            if !parent.path.is_untagged() || translation.host == hosts {
                continue;
            }
            translation.host.clone_from(&hosts);
            translation.stale = true;
            let (switch, hosts) = (parent.switch, hosts.iter().copied().collect::<Vec<_>>());
            // A worker that has stopped has reported it.
            let _ = parent.workers.tell(move |it| it.set_host_addresses(switch, &hosts));
        }
    }
}

/// Why a parent with several workers cannot have its address shared: each would know other neighbours.
pub(super) fn several_workers(parent: &str) -> Error {
    let why = "macnat works with one worker: leave out workers, or set it to 1";
    Error::MacNat { name: parent.to_owned(), why }
}

impl NeighbourStatus {
    /// True if both are the same address of the same link.
    fn is_same(&self, other: &Self) -> bool {
        let Self { sub, address, mac, idle: _ } = self;
        (*sub, *address, *mac) == (other.sub, other.address, other.mac)
    }

    /// What an earlier engine had.
    pub const fn former(sub: SubId, address: IpAddr, mac: MacAddr) -> Self {
        Self { sub, address, mac, idle: Duration::ZERO }
    }
}
