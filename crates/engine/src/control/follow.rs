//! Following changes that users make to the interfaces of sub-interfaces, in whatever namespace.

use std::time::{Duration, Instant};

use umacvlan_core::{MacAddr, Mode, MulticastFilter, SubIndex, SwitchError};
use umacvlan_netlink::Link;

use super::Control;
use super::group_cache::GROUPS_MAX;
use super::inventory::{Interface, ParentId};
use super::looks::{Cause, Look};
use super::sub::{Seen, Sub};
use crate::control::engine::{Event, SubId};
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::worker::Worker;

/// How long looks may keep requests waiting.
const SLICE: Duration = Duration::from_millis(5);

/// How many sub-interfaces a sweep reads: a bounded cost, whatever their number.
const SWEEP_COUNT: usize = 8;

/// A change on an interface that is against the rules and has to be reverted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Undo {
    Down,
    Mac,
    Mtu,
}

impl Undo {
    /// Takes the change out of `now`, the state that an interface has.
    pub(super) fn restore(self, now: &mut Seen, before: Seen) {
        match self {
            Self::Down => now.up = false,
            Self::Mac => now.mac = before.mac,
            Self::Mtu => now.mtu = before.mtu,
        }
    }
}

impl Control {
    /// Notes that the sub-interface of an interface is to be read again, if it is one. The event has
    /// the state that was, perhaps before a change of our own.
    pub(super) fn note_changed(&mut self, interface: Interface, look: Look) {
        let ids = self.inventory.subs_at(interface);
        // Of several, all but one have moved away.
        let look = if ids.len() > 1 { Look::Locate } else { look };
        let (cause, now) = (Cause::Namespace(interface.nsid), Instant::now());
        for id in ids {
            self.looks.add(cause, id, look, now);
        }
    }

    /// Notes that the interface on top of another one has changed, and with it perhaps the addresses
    /// of that one. Another index in that namespace may be the same by chance.
    pub(super) fn note_upper(&mut self, nsid: Option<i32>, lower: Option<u32>) {
        if let Some(index) = lower {
            self.groups.mark_stale(self.inventory.subs_at(Interface { nsid, index }));
        }
    }

    /// Notes that an interface here is gone, which may be the host end of a sub-interface.
    pub(super) fn note_host_end_gone(&mut self, index: u32) {
        let is_its = |sub: &&Sub| sub.veth.is_some_and(|pair| pair.host_end == index);
        let ids: Vec<SubId> = self.inventory.subs().filter(is_its).map(|sub| sub.id).collect();
        self.note_all(Cause::Namespace(None), ids);
    }

    /// Notes that all of these are to be located again.
    pub(super) fn note_all(&mut self, cause: Cause, ids: Vec<SubId>) {
        let now = Instant::now();
        for id in ids {
            self.looks.add(cause, id, Look::Locate, now);
        }
    }

    /// Reads sub-interfaces again, for a while. The others are due at once, after requests.
    pub(super) fn take_looks(&mut self) {
        let mut now = Instant::now();
        let end = now + SLICE;
        let mut last = None;
        while now < end
            && let Some((cause, id, look)) = self.looks.next(now)
        {
            self.look(id, look);
            // After each and not after the last, or the host would get too much until then.
            self.settle_wire();
            let begun = std::mem::replace(&mut now, Instant::now());
            self.looks.take(cause, now - begun, now);
            last = Some(cause);
        }
        if let Some(cause) = last {
            // It follows from the looks, and takes longer the more sub-interfaces there are.
            self.settle_memberships();
            self.looks.take(cause, now.elapsed(), Instant::now());
            self.looks.tidy(now);
        }
    }

    fn look(&mut self, id: SubId, look: Look) {
        let Some(sub) = self.inventory.sub(id) else {
            return;
        };
        match look {
            Look::Locate => {
                self.resync(id);
            }
            // One that is gone or has moved has an event of its own.
            Look::Read => {
                if let Ok(Some(link)) = self.kernel.link(sub.interface) {
                    self.follow(id, &link);
                }
            }
        }
    }

    /// Notes that a namespace has ended. The interfaces in it are ending, one after the other.
    pub(super) fn lose_namespace(&mut self, nsid: i32) {
        self.reaping.extend(self.inventory.subs_in(nsid));
        self.reap();
    }

    /// Removes the sub-interfaces of ended namespaces whose interface has ended by now.
    pub(super) fn reap(&mut self) {
        for id in std::mem::take(&mut self.reaping) {
            self.lose_sub(id);
            if self.inventory.sub(id).is_some() {
                self.reaping.insert(id);
            }
        }
    }

    /// Has everything read again, because events were lost: parents at once, sub-interfaces one after
    /// the other.
    pub(super) fn resync_all(&mut self) {
        for index in self.inventory.device_indexes() {
            match self.kernel.rtnl.link_by_index(index) {
                Ok(Some(link)) => self.follow_device(&link),
                Ok(None) => self.lose_device(index, false),
                Err(_) => {}
            }
        }
        if self.inventory.find_device(|device| device.index.is_none()).is_some() {
            for link in self.kernel.rtnl.links().unwrap_or_default() {
                self.offer(&link);
            }
        }
        self.note_all(Cause::Lost, self.inventory.sub_ids());
    }

    /// Reads a few sub-interfaces again, for the changes without an event.
    pub(super) fn sweep(&mut self) {
        self.swept = Instant::now();
        for id in self.inventory.next_subs(self.swept_to, SWEEP_COUNT) {
            self.swept_to = id;
            self.resync(id);
        }
        self.sweep_groups();
    }

    /// Locates the interface of a sub-interface and follows everything about it. Returns the rule
    /// that forbids a change, if one does.
    pub(super) fn resync(&mut self, id: SubId) -> Option<SwitchError> {
        let sub = self.inventory.sub(id)?;
        let (handle, known) = (sub.handle()?, sub.known_netns());
        let Some(location) = self.kernel.locate(&handle, known) else {
            self.lose_sub(id);
            return None;
        };
        self.inventory.relocate(id, location.interface());
        let sub = self.inventory.sub_mut(id)?;
        let place = (location.netns, location.netns_cookie);
        let moved = (sub.netns, sub.netns_cookie) != place;
        (sub.netns, sub.netns_cookie) = place;
        sub.parent_nsid = location.parent_nsid;
        let refusal = self.follow(id, &location.link);
        if moved {
            // The programs in the kernel have to know it.
            if let Ok((_, parent)) = self.inventory.sub_and_parent_mut(id) {
                parent.memberships.mark_stale();
            }
            self.report_change(id);
        }
        self.groups.mark_stale([id]);
        refusal
    }

    /// Sets an interface to the MTU that its parent imposes.
    pub(super) fn impose_mtu(&mut self, parent: ParentId, index: SubIndex, mtu: u32) {
        let device = self.inventory[parent].device;
        let id = self.inventory.sub_with_index(device, index);
        let Some(sub) = id.and_then(|id| self.inventory.sub_mut(id)) else {
            return;
        };
        sub.seen.mtu = mtu;
        let Some(handle) = sub.handle() else {
            sub.show_accepted();
            let id = sub.id;
            return self.report_change(id);
        };
        if let Err(error) = self.kernel.visit(&handle, |rtnl, index| rtnl.set_mtu(index, mtu)) {
            let what = format!("{} keeps an MTU larger than its parent's: {error}", sub.name);
            self.events.trouble_of(sub.id, what);
        }
    }

    /// Applies the state of an interface to the switch. What the rules forbid is reverted, and the
    /// last such rule returned.
    pub(super) fn follow(&mut self, id: SubId, link: &Link) -> Option<SwitchError> {
        let sub = self.inventory.sub_mut(id)?;
        let (before, now) = (sub.seen, Seen::of(link));
        sub.link.clone_from(link);
        self.limit_tx_queue(id);
        self.check_queues(id);
        let (sub, parent) = self.inventory.sub_and_parent_mut(id).ok()?;
        if before == now && sub.name == link.name {
            return None;
        }
        sub.name.clone_from(&link.name);
        let (switch, index) = (parent.switch, sub.index);
        // A worker that has stopped follows nothing.
        let apply = move |worker: &mut Worker| apply(worker, (switch, index), before, now);
        let refused = parent.workers.tell(apply).ok()?;
        sub.seen = now;
        for (undo, _) in &refused {
            undo.restore(&mut sub.seen, before);
        }
        let accepted = sub.seen;
        let owns = sub.settings.mode == Mode::Passthru && accepted.mac != before.mac;
        parent.memberships.mark_stale();
        if let (true, Some(index)) = (owns, parent.addressed())
            && let Err(error) = self.kernel.rtnl.set_mac(index, accepted.mac)
        {
            let name = &link.name;
            let what = format!("the parent of {name} does not take its address: {error}");
            self.events.trouble_of(id, what);
        }
        if accepted.up {
            self.held.remove(&id);
        }
        for &(undo, refusal) in &refused {
            self.undo(id, undo, refusal);
        }
        self.set_filters(id);
        if accepted.up && !before.up {
            self.groups.mark_stale([id]);
        }
        self.report_change(id);
        refused.last().map(|&(_, refusal)| refusal)
    }

    /// Keeps the queue of a TAP as short as its owner wants it. The queue counts frames, of which each
    /// may have 64 KB, in the kernel's memory, so its user may shorten it and not lengthen it. In the
    /// engine's own namespace the owner himself sets it.
    pub(super) fn limit_tx_queue(&mut self, id: SubId) {
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let (asked, most) = (sub.link.txqlen, sub.txqlen_max);
        // A veth pair has no queue.
        if asked <= most || sub.veth.is_some() {
            return;
        }
        let (handle, name) = (sub.handle(), sub.name.clone());
        if let (Some(handle), Some(_)) = (handle, sub.interface.nsid) {
            match self.kernel.visit(&handle, |rtnl, index| rtnl.set_txqlen(index, most)) {
                Ok(()) => {
                    let why = format!(
                        "txqueuelen {asked} is more than its owner allows; it was set to {most} again"
                    );
                    self.events.send(Event::Reverted { number: id, sub: name, why });
                }
                Err(error) => {
                    let what = format!("{name} keeps a txqueuelen above {most}: {error}");
                    self.events.trouble_of(id, what);
                }
            }
        } else {
            sub.txqlen_max = asked;
            self.report_change(id);
        }
    }

    pub(super) fn undo(&mut self, id: SubId, undo: Undo, refusal: SwitchError) {
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let (name, seen) = (sub.name.clone(), sub.seen);
        let Some(handle) = &sub.handle() else {
            // Only its owner changes it, and is told of the rule.
            return sub.show_accepted();
        };
        let mut still_up = false;
        let (what, undone) = match undo {
            Undo::Down => (
                "set down until the address is free",
                self.kernel.visit(handle, |rtnl, index| {
                    still_up = rtnl.link_by_index(index)?.is_some_and(|link| link.is_up());
                    rtnl.set_up(index, false)
                }),
            ),
            Undo::Mac => (
                "given its old address again",
                self.kernel.visit(handle, |rtnl, index| rtnl.set_mac(index, seen.mac)),
            ),
            Undo::Mtu => (
                "given its old MTU again",
                self.kernel.visit(handle, |rtnl, index| rtnl.set_mtu(index, seen.mtu)),
            ),
        };
        // If its user has set it down meanwhile, it stays down.
        if still_up {
            self.hold_down(id);
        }
        match undone {
            Ok(()) => {
                let why = format!("{refusal}; it was {what}");
                self.events.send(Event::Reverted { number: id, sub: name, why });
            }
            Err(error) => {
                let what = format!("{name}: {refusal}, but it could not be {what}: {error}");
                self.events.trouble_of(id, what);
            }
        }
    }

    /// Gives the switch the multicast filter and the secondary addresses of a sub-interface. Returns
    /// those of them that others have.
    pub(super) fn set_filters(&mut self, id: SubId) -> Vec<MacAddr> {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return Vec::new();
        };
        let too_many = sub.groups.len() > GROUPS_MAX;
        let filter = MulticastFilter {
            groups: if too_many { Vec::new() } else { sub.groups.clone() },
            allmulti: sub.seen.allmulti || !sub.groups_known || too_many,
            promisc: sub.seen.promisc,
        };
        let secondary = sub.secondary.clone();
        let (switch, index) = (parent.switch, sub.index);
        parent.memberships.mark_stale();
        let set = move |worker: &mut Worker| {
            let switch = worker.switch_at_mut(switch);
            // The only refusal is that of a sub-interface that is gone.
            let _ = switch.set_filter(index, filter.clone());
            let _ = switch.set_secondary(index, secondary.clone());
            switch.sub(index).map(|sub| sub.secondary_in_use().collect::<Vec<_>>())
        };
        parent.workers.tell(set).ok().flatten().unwrap_or_default()
    }

    pub(super) fn report_change(&mut self, id: SubId) {
        if let Some(status) = self.sub_status(id) {
            self.events.send(Event::SubChanged(Box::new(status)));
        }
    }
}

/// Brings a worker from the state before to the state now, and returns what the rules forbid.
pub(super) fn apply(
    worker: &mut Worker,
    (switch, index): (SwitchId, SubIndex),
    before: Seen,
    now: Seen,
) -> Vec<(Undo, SwitchError)> {
    let mut refused = Vec::new();
    let mut try_to = |undo, done: Result<(), SwitchError>| {
        if let Err(refusal) = done {
            refused.push((undo, refusal));
        }
    };
    // Down first: an address may be wrong while it is down.
    if before.up && !now.up {
        try_to(Undo::Down, worker.set_up(index, false));
    }
    if before.mac != now.mac {
        try_to(Undo::Mac, worker.switch_at_mut(switch).set_mac(index, now.mac));
    }
    if before.mtu != now.mtu {
        try_to(Undo::Mtu, worker.switch_at_mut(switch).set_mtu(index, now.mtu));
    }
    if !before.up && now.up {
        try_to(Undo::Down, worker.set_up(index, true));
    }
    refused
}
