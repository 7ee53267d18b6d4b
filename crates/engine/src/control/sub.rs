//! Sub-interfaces: what is known of them, and their end.

use std::sync::Arc;

use umacvlan_core::{MacAddr, Mode, SubIndex};
use umacvlan_netlink::Link;
use umacvlan_sys::netns::NetnsId;
use umacvlan_sys::tap::Tap;

use super::Control;
use super::parent::Parent;
use crate::control::engine::{Event, SubId, SubStatus};
use crate::control::error::Error;

/// A sub-interface, by trunk and by its number in the workers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubKey {
    pub(super) trunk: u64,
    pub(super) id: SubIndex,
}

/// A sub-interface as the control thread knows it.
pub(super) struct Sub {
    pub(super) number: SubId,
    pub(super) id: SubIndex,
    pub(super) mode: Mode,
    /// Its TAP, by the queue of the first worker.
    pub(super) tap: Arc<Tap>,
    /// True when its interface outlives the engine.
    pub(super) kept: bool,
    /// Where its interface is: the id of the namespace, or `None` for the engine's own.
    pub(super) nsid: Option<i32>,
    pub(super) netns: NetnsId,
    /// The id that its namespace has for the engine's, if that is another one.
    pub(super) parent_nsid: Option<i32>,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) seen: Seen,
    /// All that the kernel last told of it.
    pub(super) link: Link,
    /// The groups it has joined, in order.
    pub(super) groups: Vec<MacAddr>,
    /// True when it may have joined others by now.
    pub(super) groups_stale: bool,
}

/// What the interface was last seen to be, as far as it was accepted.
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

impl Sub {
    /// Gives the interface the address that its parent has got.
    pub(super) fn take_mac(&mut self, mac: MacAddr) {
        self.seen.mac = mac;
        // Refused only by a TAP that is gone, of which its own event tells.
        let _ = self.tap.set_mac(mac);
    }

    pub(super) fn status(&self, parent: &str, info: &umacvlan_core::Sub) -> SubStatus {
        SubStatus {
            number: self.number,
            name: self.name.clone(),
            parent: parent.to_owned(),
            mac: info.mac(),
            settings: info.settings().clone(),
            mtu: info.mtu(),
            up: info.up(),
            index: self.index,
            nsid: self.nsid,
            netns: self.netns,
            parent_nsid: self.parent_nsid,
            kept: self.kept,
            all_groups: info.filter().accepts_all(),
            groups: info.filter().groups.clone(),
            queue_drops: self.link.stats.tx_dropped,
            link: self.link.clone(),
        }
    }
}

impl Control {
    pub(crate) fn remove_sub(&mut self, number: SubId) -> Result<(), Error> {
        let key = self.numbered(number)?;
        self.remove(key);
        Ok(())
    }

    pub(crate) fn sub(&mut self, number: SubId) -> Result<SubStatus, Error> {
        let key = self.numbered(number)?;
        self.sub_status(key).ok_or(Error::Stopped)
    }

    /// The parent's place in the list, and the sub-interface's in its own.
    pub(super) fn find(&self, key: SubKey) -> Option<(usize, usize)> {
        let on_trunk = |(_, parent): &(usize, &Parent)| parent.trunk == key.trunk;
        self.parents.iter().enumerate().filter(on_trunk).find_map(|(at, parent)| {
            Some((at, parent.subs.iter().position(|sub| sub.id == key.id)?))
        })
    }

    pub(super) fn numbered(&self, number: SubId) -> Result<SubKey, Error> {
        let found = self.keys(|sub| sub.number == number).first().copied();
        found.ok_or_else(|| Error::NoSuchSub(format!("number {number}")))
    }

    /// The number for a new sub-interface.
    pub(super) fn claim(&mut self, wanted: Option<SubId>) -> Result<SubId, Error> {
        let number = wanted.unwrap_or(SubId(self.next_sub));
        if self.numbered(number).is_ok() {
            return Err(Error::NumberTaken(number));
        }
        self.next_sub = self.next_sub.max(number.0.saturating_add(1));
        Ok(number)
    }

    pub(super) fn keys(&self, wanted: impl Fn(&Sub) -> bool) -> Vec<SubKey> {
        let of = |parent: &Parent| {
            let subs = parent.subs.iter().filter(|sub| wanted(sub));
            let key = |sub: &Sub| SubKey { trunk: parent.trunk, id: sub.id };
            subs.map(key).collect::<Vec<_>>()
        };
        self.parents.iter().flat_map(of).collect()
    }

    pub(super) fn sub_status(&mut self, key: SubKey) -> Option<SubStatus> {
        self.refresh(key);
        let (at, place) = self.find(key)?;
        let parent = &self.parents[at];
        let switch = parent.at;
        let info =
            parent.workers.ask(move |it| it.switch_at(switch).sub(key.id).cloned()).ok()??;
        Some(parent.subs[place].status(&parent.name, &info))
    }

    /// Removes a sub-interface with its interface.
    pub(super) fn remove(&mut self, key: SubKey) {
        self.end(key, Self::drop_sub);
    }

    /// Ends what the engine knows of a sub-interface, and leaves its interface where it is.
    pub(super) fn leave(&mut self, key: SubKey) {
        self.end(key, |_, parent, sub| let_go(parent, sub));
    }

    fn end(&mut self, key: SubKey, end: impl FnOnce(&mut Self, &Parent, Sub)) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        self.release_to_host(at, key.id);
        let sub = self.parents[at].subs.remove(place);
        // Out of the list meanwhile, so that both can be used.
        let mut parent = self.parents.remove(at);
        end(self, &parent, sub);
        parent.memberships.mark();
        self.parents.insert(at, parent);
    }

    /// Ends a sub-interface that is no longer in the list of its parent. The ports go first, so
    /// that no worker does find the interface missing.
    pub(super) fn drop_sub(&mut self, parent: &Parent, sub: Sub) {
        let id = sub.id;
        // A worker that has stopped has no port left.
        let _ = parent.workers.tell(move |worker| worker.remove(id));
        if sub.kept {
            // Refused only by a TAP that is gone.
            let _ = sub.tap.set_persistent(false);
        }
        // Deleted by netlink, because a ring may hold on to the descriptor for some milliseconds.
        if let Some(place) = self.locate(&sub.tap, (sub.netns, sub.parent_nsid)) {
            // It goes with its descriptor at the latest.
            let _ = match place.nsid {
                None => self.rtnl.delete(place.link.index),
                Some(nsid) => self.rtnl.within(nsid).delete(place.link.index),
            };
        }
        if sub.mode == Mode::Passthru && !parent.path.is_untagged() {
            let (at, mac) = (parent.at, parent.own_mac);
            // The interface may have got another one meanwhile. One that has stopped has none.
            let _ = parent.workers.tell(move |it| it.switch_at_mut(at).set_parent_mac(mac));
        }
        if sub.mode == Mode::Passthru
            && let Some(index) = parent.addressed()
            && parent.own_mac != sub.seen.mac
            && let Err(error) = self.rtnl.set_mac(index, parent.own_mac)
        {
            self.trouble(format!("{} keeps the address of {}: {error}", parent.name, sub.name));
        }
    }

    /// Ends what the engine knows of a sub-interface whose interface is gone.
    pub(super) fn lose_sub(&mut self, key: SubKey) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        let sub = &self.parents[at].subs[place];
        // A late notice about an earlier owner of the number.
        if sub.tap.name().is_ok() {
            return;
        }
        let gone = Event::SubGone { number: sub.number, sub: sub.name.clone() };
        self.remove(key);
        self.tell(gone);
    }
}

/// Serves a sub-interface no longer. Its interface loses its carrier with the descriptor.
pub(super) fn let_go(parent: &Parent, sub: Sub) {
    let id = sub.id;
    // A worker that has stopped has no port left.
    let _ = parent.workers.tell(move |worker| worker.remove(id));
    drop(sub);
}
