//! The multicast groups that sub-interfaces have joined, and the secondary unicast addresses that
//! their stacks have added.
//!
//! The kernel lists the groups of a whole namespace at once, which takes milliseconds where a
//! thousand interfaces are; the addresses it lists by interface. So the control thread reads a namespace again only after some times the duration
//! of the last reading: the first change is followed at once, and a storm of them costs a bounded
//! share of the thread's time, however many interfaces there are.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use umacvlan_core::MacAddr;
use umacvlan_netlink::{Rtnl, all_groups};
use umacvlan_sys::netns::{Netns, NetnsId};
use umacvlan_sys::process;

use super::Control;
use crate::control::engine::SubId;

/// The groups of one sub-interface that are followed. With more it gets all groups: the parent's lists
/// are searched for each, and anybody can join tens of thousands.
pub(super) const GROUPS_MAX: usize = 256;

/// How much longer a namespace is left alone than it took to read it.
const SPARING: u32 = 16;

/// The CPU time that a sweep spends on groups, once a second: 0.3 % of a CPU.
const SWEEP_TIME: Duration = Duration::from_millis(3);

/// How many sub-interfaces a sweep reads the groups of at most.
const SWEEP_MAX: usize = 4096;

/// The last reading of each namespace until that may be read again, and who waits for the next.
#[derive(Debug, Default)]
pub(super) struct GroupCache {
    lists: Lists,
    /// Sub-interfaces whose groups may have changed. Some may be gone by now.
    stale: BTreeSet<SubId>,
    /// True if one of these was marked since they were looked through.
    marked: bool,
    /// When the first of them may be updated.
    due: Option<Instant>,
    /// The last sub-interface whose groups a sweep has read.
    swept_to: SubId,
}

type Lists = HashMap<NetnsId, List>;

/// The groups of every interface of a namespace, by index.
#[derive(Debug)]
struct List {
    groups: HashMap<u32, Vec<MacAddr>>,
    /// Reads the secondary addresses there. It keeps the namespace alive, so nobody has it for long.
    rtnl: Option<Rtnl>,
    /// The time that it took to read them and to follow them.
    cost: Duration,
    /// When the namespace may be read again.
    due: Instant,
}

impl GroupCache {
    /// Notes that these sub-interfaces may have joined or left groups.
    pub(super) fn mark_stale(&mut self, subs: impl IntoIterator<Item = SubId>) {
        for id in subs {
            self.marked |= self.stale.insert(id);
        }
    }
}

impl List {
    /// Reads a namespace, with a socket there for secondary addresses; `None` if that fails, because it
    /// is ending.
    fn read(netns: &Netns) -> Option<Self> {
        let mut list = Self::read_groups(netns)?;
        list.rtnl = Rtnl::open_in(netns).ok();
        Some(list)
    }

    /// Reads the groups of a namespace; `None` if that fails, because it is ending.
    fn read_groups(netns: &Netns) -> Option<Self> {
        let begun = Instant::now();
        let mut groups: HashMap<u32, Vec<MacAddr>> = HashMap::new();
        for (index, group) in all_groups(netns).ok()? {
            groups.entry(index).or_default().push(group);
        }
        for groups in groups.values_mut() {
            groups.sort_unstable();
            groups.dedup();
            // One more tells that there are too many.
            groups.truncate(GROUPS_MAX + 1);
        }
        let mut list = Self { groups, rtnl: None, cost: Duration::ZERO, due: begun };
        list.charge(begun);
        Some(list)
    }

    /// The secondary addresses of an interface; `None` if they cannot be read, and once no more can.
    fn secondary(&mut self, index: u32) -> Option<Vec<MacAddr>> {
        let read = self.rtnl.as_mut()?.unicast_list(index);
        if read.is_err() {
            self.rtnl = None;
        }
        read.ok()
    }

    /// Adds the time since then to the cost.
    fn charge(&mut self, begun: Instant) {
        let now = Instant::now();
        self.cost += now.duration_since(begun);
        self.due = now + SPARING * self.cost;
    }
}

impl Control {
    /// Updates the groups of all sub-interfaces that are marked, except where a namespace may not
    /// be read again yet.
    pub(super) fn settle_groups(&mut self) {
        let now = Instant::now();
        if !self.groups.marked && self.groups.due.is_none_or(|due| due > now) {
            return;
        }
        self.groups.marked = false;
        self.groups.lists.retain(|_, list| list.due > now);
        let mut fresh = Lists::new();
        for id in self.groups.stale.clone() {
            match self.inventory.sub(id) {
                Some(sub) if self.groups.lists.contains_key(&sub.netns) => {}
                Some(_) => self.update_groups(id, &mut fresh),
                None => _ = self.groups.stale.remove(&id),
            }
        }
        fresh.values_mut().for_each(|list| list.rtnl = None);
        self.groups.lists.extend(fresh);
        let lists = &self.groups.lists;
        let due = |&id| self.inventory.sub(id).and_then(|sub| lists.get(&sub.netns)).map(|l| l.due);
        self.groups.due = self.groups.stale.iter().filter_map(due).min();
    }

    /// Updates the groups of one sub-interface now, and of others where that costs nothing more.
    pub(super) fn settle_groups_of(&mut self, id: SubId) {
        if let Some(sub) = self.inventory.sub(id) {
            self.groups.lists.remove(&sub.netns);
        }
        self.groups.mark_stale([id]);
        self.groups.marked = true;
        self.settle_groups();
    }

    /// Updates the groups of a sub-interface from the cache, and marks it, so that its namespace is
    /// read again soon.
    pub(super) fn settle_groups_from_cache(&mut self, id: SubId) {
        let mut lists = std::mem::take(&mut self.groups.lists);
        self.update_groups(id, &mut lists);
        lists.values_mut().for_each(|list| list.rtnl = None);
        self.groups.lists = lists;
        self.groups.mark_stale([id]);
    }

    /// Reads the groups of sub-interfaces in turn, for those that are joined without an event.
    pub(super) fn sweep_groups(&mut self) {
        // Without a clock of the thread's CPU time nothing more is read than before.
        let spent = || process::thread_cpu_time().unwrap_or(Duration::MAX);
        let (now, begun) = (Instant::now(), spent());
        self.groups.lists.retain(|_, list| list.due > now);
        let mut read = Lists::new();
        for id in self.inventory.next_subs(self.groups.swept_to, SWEEP_MAX) {
            if spent().saturating_sub(begun) >= SWEEP_TIME {
                break;
            }
            self.groups.swept_to = id;
            let place = self.inventory.sub(id).and_then(|sub| {
                let (netns, _) = self.kernel.place(&sub.handle()?).ok()?;
                Some(netns)
            });
            // A namespace that costs much is left alone for a while.
            let Some(netns) = place.filter(|it| !self.groups.lists.contains_key(&it.id())) else {
                continue;
            };
            let place = netns.id();
            if !read.contains_key(&place) {
                read.extend(List::read_groups(&netns).map(|list| (place, list)));
            }
            if let Some(list) = read.get_mut(&place) {
                self.follow_groups(id, list);
            }
        }
        self.groups.lists.extend(read);
    }

    /// The time until a namespace may be read for a marked sub-interface.
    pub(super) fn groups_due(&self) -> Option<Duration> {
        match self.groups.marked {
            true => Some(Duration::ZERO),
            false => self.groups.due.map(|due| due.saturating_duration_since(Instant::now())),
        }
    }

    /// Gives a sub-interface the groups that `lists` has for it, after reading its namespace if
    /// that is not among them, and its secondary addresses, if that has just been read.
    fn update_groups(&mut self, id: SubId, lists: &mut Lists) {
        self.groups.stale.remove(&id);
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let Some(handle) = sub.handle() else {
            return;
        };
        // An interface that is gone has no groups, and an event of its own.
        let Ok((netns, _)) = self.kernel.place(&handle) else {
            return;
        };
        let place = netns.id();
        if !lists.contains_key(&place) {
            lists.extend(List::read(&netns).map(|list| (place, list)));
        }
        if let Some(list) = lists.get_mut(&place) {
            self.follow_groups(id, list);
        }
    }

    /// Gives a sub-interface the groups that the list of its namespace has for it, and its secondary
    /// addresses, if the list has a socket to read them.
    fn follow_groups(&mut self, id: SubId, list: &mut List) {
        let begun = Instant::now();
        let Some(sub) = self.inventory.sub_mut(id) else {
            return;
        };
        let index = sub.interface.index;
        let groups = list.groups.get(&index).cloned().unwrap_or_default();
        let secondary = list.secondary(index).unwrap_or_else(|| sub.secondary.clone());
        let joined = groups != sub.groups || !sub.groups_known;
        let added = secondary != sub.secondary;
        if joined || added {
            (sub.groups, sub.secondary) = (groups, secondary);
            sub.groups_known = true;
            let in_use = self.set_filters(id);
            if added {
                self.report_in_use(id, &in_use);
            }
            self.report_change(id);
        }
        list.charge(begun);
    }

    /// Reports the secondary addresses of a sub-interface that others have.
    fn report_in_use(&self, id: SubId, in_use: &[MacAddr]) {
        let (Some(first), Some(sub)) = (in_use.first(), self.inventory.sub(id)) else {
            return;
        };
        let more = match in_use.len() {
            1 => String::new(),
            number => format!(" and {} others", number - 1),
        };
        let what = format!(
            "{} does not get the frames for {first}{more}, which its stack has added: the parent or \
             another sub-interface has the address",
            sub.name
        );
        self.events.trouble_of(id, what);
    }
}
