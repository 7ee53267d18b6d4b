//! The groups that sub-interfaces have joined, followed.
//!
//! The kernel tells those of a whole namespace at once, which takes milliseconds where a thousand
//! interfaces are. So by itself the control thread reads a namespace again no sooner than after
//! some times what the last reading took: the first change is followed at once, and a storm of
//! them costs a bounded part of the thread's time, however many interfaces there are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_netlink::all_groups;
use umacvlan_sys::netns::{Netns, NetnsId};

use super::Control;
use super::sub::SubKey;

/// How much longer a namespace is left alone than it took to read it.
const SPARING: u32 = 8;

/// What was last read of each namespace, for as long as that is not read again.
#[derive(Debug, Default)]
pub(super) struct GroupCache(HashMap<NetnsId, List>);

/// The groups of every interface of a namespace, by index.
#[derive(Debug)]
struct List {
    groups: HashMap<u32, Vec<MacAddr>>,
    /// When it may be read again.
    due: Instant,
}

impl List {
    /// `None` for a namespace that cannot be read: it is ending.
    fn read(netns: &Netns) -> Option<Self> {
        let begun = Instant::now();
        let mut groups: HashMap<u32, Vec<MacAddr>> = HashMap::new();
        for (index, group) in all_groups(netns).ok()? {
            groups.entry(index).or_default().push(group);
        }
        for groups in groups.values_mut() {
            groups.sort_unstable();
            groups.dedup();
        }
        let now = Instant::now();
        Some(Self { groups, due: now + SPARING * now.duration_since(begun) })
    }
}

impl Control {
    /// Notes that a sub-interface may have joined or left groups.
    pub(super) fn mark_groups(&mut self, key: SubKey) {
        if let Some((at, place)) = self.find(key) {
            self.parents[at].subs[place].groups_stale = true;
        }
    }

    /// Reads the groups again of all that may have others by now, and lets them through, except
    /// where that has to wait.
    pub(super) fn settle_groups(&mut self) {
        let now = Instant::now();
        self.lists.0.retain(|_, list| list.due > now);
        let mut settled = GroupCache::default();
        for key in self.keys(|sub| sub.groups_stale) {
            let Some(netns) = self.netns_of(key) else {
                continue;
            };
            if !self.lists.0.contains_key(&netns) {
                self.take(key, &mut settled);
            }
        }
        self.lists.0.extend(settled.0);
    }

    /// Reads the groups of one sub-interface now, and of others where that costs nothing more.
    pub(super) fn settle_groups_of(&mut self, key: SubKey) {
        if let Some(netns) = self.netns_of(key) {
            self.lists.0.remove(&netns);
        }
        self.mark_groups(key);
        self.settle_groups();
    }

    /// Lets through what a sub-interface has joined by what is known of its namespace; soon it is
    /// looked at again.
    pub(super) fn glance_at_groups(&mut self, key: SubKey) {
        let mut lists = std::mem::take(&mut self.lists);
        self.take(key, &mut lists);
        self.lists = lists;
        self.mark_groups(key);
    }

    /// How long until groups are to be read that may have changed.
    pub(super) fn groups_due(&self) -> Option<Duration> {
        let waiting = self.keys(|sub| sub.groups_stale);
        let due =
            waiting.into_iter().filter_map(|key| {
                let list = self.lists.0.get(&self.netns_of(key)?);
                Some(list.map_or(Duration::ZERO, |list| {
                    list.due.saturating_duration_since(Instant::now())
                }))
            });
        due.min()
    }

    fn netns_of(&self, key: SubKey) -> Option<NetnsId> {
        let (at, place) = self.find(key)?;
        Some(self.parents[at].subs[place].netns)
    }

    /// Gives a sub-interface the groups that `lists` has for it; its namespace is read if it is not
    /// among them.
    fn take(&mut self, key: SubKey, lists: &mut GroupCache) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        let sub = &mut self.parents[at].subs[place];
        sub.groups_stale = false;
        // A TAP that is gone has no groups, and its own event tells.
        let Ok(netns) = sub.tap.namespace().map(Netns::from) else {
            return;
        };
        let id = netns.id();
        if !lists.0.contains_key(&id) {
            lists.0.extend(List::read(&netns).map(|list| (id, list)));
        }
        let Some(list) = lists.0.get(&id) else {
            return;
        };
        let groups = list.groups.get(&sub.index).cloned().unwrap_or_default();
        if groups == sub.groups {
            return;
        }
        sub.groups = groups;
        self.set_filter(at, place);
        self.tell_change(key);
    }
}
