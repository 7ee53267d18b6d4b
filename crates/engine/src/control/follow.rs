//! Following what users do to the interfaces of sub-interfaces, in whatever namespace they are.

use std::sync::Arc;

use umacvlan_core::{MulticastFilter, SubIndex, SwitchError};
use umacvlan_netlink::Link;

use super::Control;
use super::locate::Location;
use super::sub::{Seen, SubKey};
use crate::SwitchId;
use crate::control::engine::Event;
use crate::datapath::worker::Worker;

/// How many sub-interfaces a sweep looks at: a bounded cost, whatever their number.
const SWEEP_COUNT: usize = 8;

/// What was done on an interface against the rules, and is to be undone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Undo {
    Down,
    Mac,
    Mtu,
}

impl Control {
    /// The sub-interface whose interface is there.
    pub(super) fn sub_at(&self, nsid: Option<i32>, index: u32) -> Option<SubKey> {
        self.keys(|sub| sub.nsid == nsid && sub.index == index).first().copied()
    }

    /// Follows an interface of which an event tells, if it is a sub-interface's. The event tells
    /// what was, perhaps before a change of our own that would then be undone: what is counts.
    pub(super) fn follow_link(&mut self, nsid: Option<i32>, index: u32) {
        let Some(key) = self.sub_at(nsid, index) else {
            return;
        };
        let link = match nsid {
            None => self.rtnl.link_by_index(index),
            Some(nsid) => self.rtnl.within(nsid).link_by_index(index),
        };
        // One that is gone or has moved has an event of its own.
        if let Ok(Some(link)) = link {
            self.follow(key, &link);
        }
    }

    /// An interface is gone from there: find out whether it is gone, or moved.
    pub(super) fn find_again(&mut self, nsid: Option<i32>, index: u32) {
        if let Some(key) = self.sub_at(nsid, index) {
            self.resync(key);
        }
    }

    /// A namespace has ended, and the interfaces in it are ending, one after the other.
    pub(super) fn lose_namespace(&mut self, nsid: i32) {
        let keys = self.keys(|sub| sub.nsid == Some(nsid));
        self.dying.extend(keys);
        self.reap();
    }

    /// Lets go of those whose interface has ended by now.
    pub(super) fn reap(&mut self) {
        for key in std::mem::take(&mut self.dying) {
            self.lose_sub(key);
            if self.find(key).is_some() {
                self.dying.push(key);
            }
        }
    }

    /// Events were lost: looks at everything again.
    pub(super) fn resync_all(&mut self) {
        for at in 0..self.trunks.len() {
            let (index, name) = (self.trunks[at].index, self.trunks[at].name.clone());
            let link = match index {
                Some(index) => self.rtnl.link_by_index(index),
                None => self.rtnl.link(&name),
            };
            match (link, index) {
                (Ok(Some(link)), _) => self.follow_trunk(&link),
                (Ok(None), Some(index)) => self.lose_trunk(index),
                (Ok(None), None) | (Err(_), _) => {}
            }
        }
        let keys = self.keys(|_| true);
        for key in keys {
            self.resync(key);
        }
    }

    /// Looks at a few sub-interfaces again, for the changes that no event tells of.
    pub(super) fn sweep(&mut self) {
        self.swept = std::time::Instant::now();
        let keys = self.keys(|_| true);
        if keys.is_empty() {
            return;
        }
        for step in 0..SWEEP_COUNT.min(keys.len()) {
            self.resync(keys[(self.sweep_at + step) % keys.len()]);
        }
        self.sweep_at = (self.sweep_at + SWEEP_COUNT) % keys.len();
    }

    /// Finds the interface of a sub-interface, wherever it is, and follows everything about it.
    /// The rule, if one forbids what it looks like.
    pub(super) fn resync(&mut self, key: SubKey) -> Option<SwitchError> {
        let (at, place) = self.find(key)?;
        let sub = &self.parents[at].subs[place];
        let (tap, known) = (Arc::clone(&sub.tap), (sub.netns, sub.parent_nsid));
        let Some(Location { nsid, netns, parent_nsid, link }) = self.locate(&tap, known) else {
            self.lose_sub(key);
            return None;
        };
        let sub = &mut self.parents[at].subs[place];
        (sub.nsid, sub.netns, sub.parent_nsid) = (nsid, netns, parent_nsid);
        sub.index = link.index;
        let refusal = self.follow(key, &link);
        self.mark_groups(key);
        refusal
    }

    /// Sets an interface to the MTU that its parent imposes.
    pub(super) fn impose_mtu(&mut self, at: usize, id: SubIndex, mtu: u32) {
        let Some(sub) = self.parents[at].subs.iter_mut().find(|sub| sub.id == id) else {
            return;
        };
        sub.seen.mtu = mtu;
        let (tap, name) = (Arc::clone(&sub.tap), sub.name.clone());
        if let Err(error) = self.visit(&tap, |rtnl, index| rtnl.set_mtu(index, mtu)) {
            self.trouble(format!("{name} keeps an MTU larger than its parent's: {error}"));
        }
    }

    /// Takes over what an interface looks like; what the rules forbid is undone, and the last such
    /// rule returned.
    fn follow(&mut self, key: SubKey, link: &Link) -> Option<SwitchError> {
        let (at, place) = self.find(key)?;
        let parent = &mut self.parents[at];
        let sub = &mut parent.subs[place];
        let (before, now) = (sub.seen, Seen::of(link));
        sub.link.clone_from(link);
        if before == now && sub.name == link.name {
            return None;
        }
        sub.name.clone_from(&link.name);
        let id = key.id;
        let switch = parent.at;
        // A worker that has stopped follows nothing.
        let apply = move |worker: &mut Worker| apply(worker, (switch, id), before, now);
        let undone = parent.workers.tell(apply).ok()?;
        let sub = &mut parent.subs[place];
        sub.seen = now;
        for (undo, _) in &undone {
            match undo {
                Undo::Down => sub.seen.up = false,
                Undo::Mac => sub.seen.mac = before.mac,
                Undo::Mtu => sub.seen.mtu = before.mtu,
            }
        }
        let accepted = sub.seen;
        let owned = sub.mode == umacvlan_core::Mode::Passthru && accepted.mac != before.mac;
        parent.memberships.mark();
        if let (true, Some(index)) = (owned, parent.addressed())
            && let Err(error) = self.rtnl.set_mac(index, accepted.mac)
        {
            self.trouble(format!("the parent of {} does not take its address: {error}", link.name));
        }
        for &(undo, refusal) in &undone {
            self.undo(at, place, undo, refusal);
        }
        self.set_filter(at, place);
        if accepted.up && !before.up {
            self.mark_groups(key);
        }
        self.tell_change(key);
        undone.last().map(|&(_, refusal)| refusal)
    }

    fn undo(&mut self, at: usize, place: usize, undo: Undo, refusal: SwitchError) {
        let sub = &self.parents[at].subs[place];
        let (tap, name, seen) = (Arc::clone(&sub.tap), sub.name.clone(), sub.seen);
        let number = sub.number;
        let (what, undone) = match undo {
            Undo::Down => {
                ("set down again", self.visit(&tap, |rtnl, index| rtnl.set_up(index, false)))
            }
            Undo::Mac => (
                "given its old address again",
                self.visit(&tap, |rtnl, index| rtnl.set_mac(index, seen.mac)),
            ),
            Undo::Mtu => (
                "given its old MTU again",
                self.visit(&tap, |rtnl, index| rtnl.set_mtu(index, seen.mtu)),
            ),
        };
        match undone {
            Ok(()) => {
                let why = format!("{refusal}; it was {what}");
                self.tell(Event::Reverted { number, sub: name, why });
            }
            Err(error) => {
                self.trouble(format!("{name}: {refusal}, but it could not be {what}: {error}"))
            }
        }
    }

    pub(super) fn set_filter(&mut self, at: usize, place: usize) {
        let parent = &mut self.parents[at];
        let sub = &parent.subs[place];
        let filter = MulticastFilter {
            groups: sub.groups.clone(),
            allmulti: sub.seen.allmulti,
            promisc: sub.seen.promisc,
        };
        let (at, id) = (parent.at, sub.id);
        parent.memberships.mark();
        // The only refusal is that of a sub-interface that is gone.
        let set = move |it: &mut Worker| it.switch_at_mut(at).set_filter(id, filter.clone());
        let _ = parent.workers.tell(set);
    }

    pub(super) fn tell_change(&mut self, key: SubKey) {
        if let Some(status) = self.sub_status(key) {
            self.tell(Event::SubChanged(Box::new(status)));
        }
    }
}

/// Brings a worker from what an interface was to what it is, and returns what the rules forbid.
fn apply(
    worker: &mut Worker,
    (at, id): (SwitchId, SubIndex),
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
        try_to(Undo::Down, worker.set_up(id, false));
    }
    if before.mac != now.mac {
        try_to(Undo::Mac, worker.switch_at_mut(at).set_mac(id, now.mac));
    }
    if before.mtu != now.mtu {
        try_to(Undo::Mtu, worker.switch_at_mut(at).set_mtu(id, now.mtu));
    }
    if !before.up && now.up {
        try_to(Undo::Down, worker.set_up(id, true));
    }
    refused
}
