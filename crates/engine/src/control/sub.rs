//! Sub-interfaces: their state in the control thread, and their end.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use umacvlan_core::options::{PortKind, ProgramKind};
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, SubIndex, Switch, SwitchError};
use umacvlan_netlink::Link;
use umacvlan_sys::netns::{Netns, NetnsId};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::inventory::{Interface, ParentId};
use super::kernel::{Handle, KnownNetns};
use super::parent::Parent;
use super::program_end::ProgramEnd;
use crate::control::engine::{Event, PortStatus, SubId, SubStatus, VethStatus};
use crate::control::error::Error;

/// A sub-interface.
pub(super) struct Sub {
    pub(super) id: SubId,
    pub(super) parent: ParentId,
    /// Its index in the switches of its parent's workers.
    pub(super) index: SubIndex,
    /// Its settings, as the switch has them.
    pub(super) settings: MacvlanSettings,
    pub(super) far: FarEnd,
    /// The pair of which its interface is one end; `None` if its interface is the TAP.
    pub(super) veth: Option<VethPair>,
    /// Why it is a TAP, if a veth pair was tried first; else empty.
    pub(super) instead_of_veth: String,
    /// Queues of its TAP that others have attached, as last seen.
    pub(super) extra_queues: u32,
    /// The namespaces, other than the engine's own, that its queues keep alive.
    pub(super) pins: BTreeSet<NetnsId>,
    /// What workers have counted that were replaced.
    pub(super) carried: SubStats,
    /// True when its interface outlives the engine.
    pub(super) kept: bool,
    /// True when no other one may be made with its address, though it is down.
    pub(super) claims_mac: bool,
    /// The most frames that its TAP may queue: what its owner set, or the default.
    pub(super) txqlen_max: u32,
    /// Where its interface is. [`Inventory::relocate`](super::inventory::Inventory::relocate)
    /// changes it.
    pub(super) interface: Interface,
    pub(super) netns: NetnsId,
    /// The cookie of its namespace.
    pub(super) netns_cookie: Option<u64>,
    /// The id that its namespace has for the engine's, if that is another one.
    pub(super) parent_nsid: Option<i32>,
    pub(super) name: String,
    pub(super) seen: Seen,
    /// All attributes of its interface, as last read.
    pub(super) link: Link,
    /// The groups it has joined, in order.
    pub(super) groups: Vec<MacAddr>,
    /// The secondary unicast addresses that its stack has added, in order.
    pub(super) secondary: Vec<MacAddr>,
    /// False until they are read for the first time: it gets the frames of every group meanwhile.
    pub(super) groups_known: bool,
}

/// The other end of the interface of a sub-interface, which is in the engine's own namespace beside the
/// TAP.
#[derive(Clone, Copy, Debug)]
pub(super) struct VethPair {
    /// Its index.
    pub(super) host_end: u32,
    /// The index of the TAP.
    pub(super) tap: u32,
    /// The slot of the sub-interface in the programs of its parent.
    pub(super) slot: u32,
    /// The cookie of the namespace of both.
    pub(super) netns_cookie: u64,
}

impl VethPair {
    const fn status(self) -> VethStatus {
        let Self { host_end, tap, netns_cookie, .. } = self;
        VethStatus { host_end, tap, netns_cookie }
    }
}

/// What is at the far end of the port of a sub-interface.
pub(super) enum FarEnd {
    /// A program, and no interface.
    Program(Box<ProgramEnd>),
    /// An interface: the TAP to the engine, by the queue of the first worker, and its other queues, in
    /// their order.
    Tap(Arc<Tap>, Vec<Arc<Tap>>),
}

impl FarEnd {
    /// A TAP with these queues, of which there is at least one.
    pub(super) fn tap(queues: &[Arc<Tap>]) -> Self {
        Self::Tap(Arc::clone(&queues[0]), queues[1..].to_vec())
    }
}

/// The state of an interface as last read, as far as the rules accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) promisc: bool,
    pub(super) allmulti: bool,
}

impl Seen {
    pub(super) fn of(link: &Link) -> Self {
        Self {
            mac: link.mac.unwrap_or_default(),
            mtu: link.mtu,
            up: link.is_up(),
            promisc: link.is_promiscuous(),
            allmulti: link.is_allmulti(),
        }
    }
}

/// The part of a sub-interface that the switch has.
#[derive(Clone, Debug)]
pub(super) struct InSwitch {
    mac: MacAddr,
    settings: MacvlanSettings,
    mtu: u32,
    up: bool,
    all_groups: bool,
    groups: Vec<MacAddr>,
    secondary: Vec<MacAddr>,
    conflict: Option<SwitchError>,
}

impl InSwitch {
    /// The sub-interface with that index, if there is one.
    pub(super) fn read(switch: &Switch, index: SubIndex) -> Option<Self> {
        let sub = switch.sub(index)?;
        Some(Self {
            mac: sub.mac(),
            settings: sub.settings().clone(),
            mtu: sub.mtu(),
            up: sub.up(),
            all_groups: sub.filter().accepts_all(),
            groups: sub.filter().groups.clone(),
            secondary: sub.secondary().to_vec(),
            conflict: switch.check_up(index, true).err(),
        })
    }

    /// What a switch would have that is made anew, while no worker runs.
    pub(super) fn last_known(sub: &Sub) -> Self {
        Self {
            mac: sub.seen.mac,
            settings: sub.settings.clone(),
            mtu: sub.seen.mtu,
            up: sub.seen.up,
            all_groups: sub.seen.allmulti || sub.seen.promisc || !sub.groups_known,
            groups: sub.groups.clone(),
            secondary: sub.secondary.clone(),
            conflict: None,
        }
    }
}

impl Sub {
    /// Its TAP, by the queue of the first worker; `None` if its far end is a program.
    pub(super) fn tap(&self) -> Option<&Arc<Tap>> {
        match &self.far {
            FarEnd::Program(_) => None,
            FarEnd::Tap(tap, _) => Some(tap),
        }
    }

    /// How the program at its far end is connected; `None` if that is an interface.
    pub(super) fn program_kind(&self) -> Option<ProgramKind> {
        match &self.far {
            FarEnd::Program(end) => Some(end.kind()),
            FarEnd::Tap(..) => None,
        }
    }

    /// The queues of its TAP, in their order.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<Tap>> {
        let (first, others): (_, &[_]) = match &self.far {
            FarEnd::Program(_) => (None, &[]),
            FarEnd::Tap(tap, others) => (Some(tap), others),
        };
        first.into_iter().chain(others)
    }

    /// Its namespace as it was last seen.
    pub(super) fn known_netns(&self) -> KnownNetns {
        (self.netns, self.netns_cookie, self.parent_nsid)
    }

    /// How its interface is found; `None` if it has none, because its far end is a program.
    pub(super) fn handle(&self) -> Option<Handle> {
        match self.veth {
            None => self.tap().cloned().map(Handle::Tap),
            Some(VethPair { host_end, .. }) => Some(Handle::VethPeer(host_end)),
        }
    }

    /// Its status. `info` is the switch's part, `parent` the name of the parent; `held`: it is down
    /// until its address is free.
    pub(super) fn status(&self, parent: &str, info: &InSwitch, held: bool) -> SubStatus {
        SubStatus {
            number: self.id,
            name: self.name.clone(),
            parent: parent.to_owned(),
            mac: info.mac,
            settings: info.settings.clone(),
            mtu: info.mtu,
            up: info.up,
            conflict: info.conflict,
            held,
            index: self.interface.index,
            nsid: self.interface.nsid,
            netns: self.netns,
            netns_cookie: self.netns_cookie,
            parent_nsid: self.parent_nsid,
            txqlen_max: self.txqlen_max,
            extra_queues: self.extra_queues,
            kept: self.kept,
            port: PortStatus {
                kind: if self.veth.is_some() { PortKind::Veth } else { PortKind::Tap },
                beside: self.veth.map(VethPair::status),
                why: self.instead_of_veth.clone(),
                answered: 0,
            },
            all_groups: info.all_groups,
            groups: info.groups.clone(),
            secondary: sorted(&info.secondary),
            program: match &self.far {
                FarEnd::Program(program) => Some(program.status()),
                FarEnd::Tap(..) => None,
            },
            queue_drops: self.link.stats.tx_dropped,
            link: self.link.clone(),
        }
    }
}

/// These addresses in order.
fn sorted(macs: &[MacAddr]) -> Vec<MacAddr> {
    let mut macs = macs.to_vec();
    macs.sort_unstable();
    macs
}

impl Control {
    pub(crate) fn queues(&mut self, id: SubId) -> Result<Vec<OwnedFd>, Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        let copies: std::io::Result<Vec<_>> =
            sub.queues().map(|queue| queue.try_clone().map(OwnedFd::from)).collect();
        copies.map_err(Error::system(format!("duplicate the queues of {}", sub.name)))
    }

    /// The namespace of the interface of a sub-interface.
    pub(crate) fn namespace(&mut self, id: SubId) -> Result<Netns, Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        let what = format!("open the namespace of {}", sub.name);
        let no_interface = || std::io::Error::from_raw_os_error(libc::ENODEV);
        let place = sub.handle().map(|handle| self.kernel.place(&handle));
        let place = place.unwrap_or_else(|| Err(no_interface()));
        place.map(|(netns, _)| netns).map_err(Error::system(what))
    }

    pub(crate) fn pinned_namespaces(&mut self) -> BTreeSet<NetnsId> {
        self.inventory.subs().flat_map(|sub| sub.pins.iter().copied()).collect()
    }

    pub(crate) fn remove_sub(&mut self, id: SubId) -> Result<(), Error> {
        self.inventory.sub_and_parent(id)?;
        self.remove(id);
        Ok(())
    }

    /// Removes a sub-interface with its interface.
    pub(super) fn remove(&mut self, id: SubId) {
        self.end(id, Self::drop_sub);
    }

    /// Ends a sub-interface, and leaves its interface where it is, without carrier.
    pub(super) fn leave(&mut self, id: SubId) {
        self.end(id, |control, sub| {
            let parent = &mut control.inventory[sub.parent];
            close_port(parent, &sub);
            if let Some(pair) = sub.veth {
                parent.kernel.remove_port(pair.slot);
            }
        });
    }

    fn end(&mut self, id: SubId, end: impl FnOnce(&mut Self, Sub)) {
        self.release_to_host(id);
        self.held.remove(&id);
        if let Some(sub) = self.inventory.remove_sub(id) {
            let parent = sub.parent;
            end(self, sub);
            self.inventory[parent].memberships.mark_stale();
        }
    }

    /// Deletes the interface of a sub-interface that is no longer in the inventory. The ports go
    /// first, so that no worker finds the interface missing.
    fn drop_sub(&mut self, sub: Sub) {
        let parent = &mut self.inventory[sub.parent];
        close_port(parent, &sub);
        if let FarEnd::Program(end) = &sub.far {
            self.give_back_interface(end);
        }
        let parent = &mut self.inventory[sub.parent];
        if let Some(pair) = sub.veth {
            let stats = parent.kernel.remove_port(pair.slot);
            parent.carried.keep(&stats);
        }
        if let Some(tap) = sub.tap().filter(|_| sub.kept) {
            // Refused only by a TAP that is gone.
            let _ = tap.set_persistent(false);
        }
        if let Some(pair) = sub.veth {
            // Its peer goes with it. It fails if both are gone.
            let _ = self.kernel.delete(Interface { nsid: None, index: pair.host_end });
        }
        // Deleted by netlink, because a ring may hold on to the descriptor for some milliseconds.
        if let Some(tap) = sub.tap().cloned()
            && let Some(location) = self.kernel.locate(&Handle::Tap(tap), sub.known_netns())
        {
            // It goes with its descriptor at the latest.
            let _ = self.kernel.delete(location.interface());
        }
        if sub.settings.mode == Mode::Passthru && !parent.path.is_untagged() {
            let (switch, mac) = (parent.switch, parent.own_mac);
            // The interface may have another address by now. A worker that has stopped needs none.
            let _ = parent.workers.tell(move |it| it.switch_at_mut(switch).set_parent_mac(mac));
        }
        if sub.settings.mode == Mode::Passthru
            && let Some(index) = parent.addressed()
            && parent.own_mac != sub.seen.mac
            && let Err(error) = self.kernel.rtnl.set_mac(index, parent.own_mac)
        {
            let what = format!("{} keeps the address of {}: {error}", parent.name, sub.name);
            self.events.trouble(what);
        }
    }

    /// Removes a sub-interface whose interface is gone, and reports it. One whose interface exists
    /// stays.
    pub(super) fn lose_sub(&mut self, id: SubId) {
        let Some(sub) = self.inventory.sub(id) else {
            return;
        };
        // A late notice, about an earlier sub-interface with the same index.
        if sub.tap().is_none_or(|tap| tap.name().is_ok())
            && sub.handle().is_none_or(|handle| self.kernel.exists(&handle))
        {
            return;
        }
        let gone = Event::SubGone { number: id, sub: sub.name.clone() };
        self.remove(id);
        self.events.send(gone);
    }
}

/// Ends the ports of a sub-interface. Its interface loses its carrier with the descriptor.
pub(super) fn close_port(parent: &Parent, sub: &Sub) {
    let index = sub.index;
    // A worker that has stopped has no port left.
    let _ = parent.workers.tell(move |worker| worker.remove(index));
    parent.workers.forget_sub(parent.switch, index);
}
