//! The order of the steps of links: a step waits until its resources are free, and a link is
//! removed as late as possible.

use std::collections::{BTreeMap, HashMap, HashSet};

use umacvlan_core::{MacAddr, Mode};

use super::super::running::{Running, RunningLink};
use super::link::Rank;
use super::step::Step;
use umacvlan_api::LinkChange;

/// The steps of links, unordered.
#[derive(Debug, Default)]
pub(super) struct LinkSteps {
    pub(super) changes: Vec<(Rank, Step)>,
    pub(super) added: Vec<Step>,
    /// Links that are removed, including those that are made again, by entry key.
    pub(super) removed: BTreeMap<String, RunningLink>,
}

/// A resource that one link may have to free before another can take it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Resource {
    /// An address on a parent.
    Address(String, MacAddr),
    /// The name of an interface, in whatever namespace: a namespace has several names, which cannot
    /// be compared.
    Name(String),
    /// A parent with one link only.
    Own(String),
    /// A parent with several links.
    Share(String),
    /// The entry of the configuration.
    EntryKey(String),
}

impl LinkSteps {
    /// All steps, in order.
    pub(super) fn in_order(self, running: &Running) -> Vec<Step> {
        let Self { mut changes, added, removed } = self;
        changes.sort_by_key(|(rank, _)| *rank);
        let pending: Vec<Step> = changes.into_iter().map(|(_, step)| step).chain(added).collect();
        let mut scheduler =
            Scheduler { running, held: HashMap::new(), pending, removed, done: Vec::new() };
        scheduler.hold();
        while !scheduler.pending.is_empty() {
            if !(scheduler.take_free() || scheduler.remove_needed() || scheduler.open_circle()) {
                // The rest waits for something unknown here; the kernel decides on it.
                let rest = std::mem::take(&mut scheduler.pending);
                scheduler.done.extend(rest);
            }
        }
        let Scheduler { removed, mut done, .. } = scheduler;
        done.extend(removed.into_iter().map(|(key, now)| removal(&key, now)));
        done
    }
}

struct Scheduler<'r> {
    running: &'r Running,
    /// Who holds a resource that others may wait for, by entry key.
    held: HashMap<Resource, Vec<String>>,
    pending: Vec<Step>,
    removed: BTreeMap<String, RunningLink>,
    done: Vec<Step>,
}

impl Scheduler<'_> {
    /// Records all resources that pending steps free.
    fn hold(&mut self) {
        let changed = self.pending.iter().filter_map(|step| {
            let (key, address) = given_up(step, self.running)?;
            Some((address, key))
        });
        let removed = self.removed.iter().flat_map(|(key, now)| {
            let held = holds(key, now);
            held.into_iter().map(move |resource| (resource, key.clone()))
        });
        let all: Vec<_> = changed.chain(removed).collect();
        for (resource, key) in all {
            self.held.entry(resource).or_default().push(key);
        }
    }

    fn release(&mut self, resource: &Resource, key: &str) {
        if let Some(holders) = self.held.get_mut(resource) {
            holders.retain(|holder| holder != key);
        }
    }

    /// Takes every step that need not wait. Steps of one link keep their order.
    fn take_free(&mut self) -> bool {
        let mut waiting = HashSet::new();
        let mut rest = Vec::new();
        let before = self.done.len();
        for step in std::mem::take(&mut self.pending) {
            let key = key_of(&step);
            if waiting.contains(key) || self.blockers(&step).next().is_some() {
                waiting.insert(key.to_owned());
                rest.push(step);
                continue;
            }
            if let Some((key, address)) = given_up(&step, self.running) {
                self.release(&address, &key);
            }
            self.done.push(step);
        }
        self.pending = rest;
        self.done.len() > before
    }

    /// Removes the links that pending steps wait for.
    fn remove_needed(&mut self) -> bool {
        let needed: HashSet<String> =
            self.pending.iter().flat_map(|step| self.blockers(step)).map(str::to_owned).collect();
        let (now, later): (BTreeMap<_, _>, _) = std::mem::take(&mut self.removed)
            .into_iter()
            .partition(|(key, _)| needed.contains(key));
        self.removed = later;
        let any = !now.is_empty();
        for (key, now) in now {
            for resource in holds(&key, &now) {
                self.release(&resource, &key);
            }
            self.done.push(removal(&key, now));
        }
        any
    }

    /// Breaks a cycle of links that pass on their addresses: one of them takes an unused address in
    /// between.
    fn open_circle(&mut self) -> bool {
        let waited_for: HashSet<&str> =
            self.pending.iter().flat_map(|step| self.blockers(step)).collect();
        // A link frees its address only once, so the loop ends.
        let holds = |step: &Step| {
            given_up(step, self.running).is_some_and(|(key, address)| {
                let holders = self.held.get(&address);
                holders.is_some_and(|h| h.contains(&key)) && waited_for.contains(&*key)
            })
        };
        let Some(at) = self.pending.iter().position(holds) else { return false };
        let between = self.unused_address();
        let Some(Step::ChangeLink { key, back, .. }) = self.pending.get_mut(at) else {
            return false;
        };
        let key = key.clone();
        let change = LinkChange { address: Some(between), ..LinkChange::default() };
        let from = std::mem::replace(&mut **back, change.clone());
        let step = Step::ChangeLink { key, change: Box::new(change), back: Box::new(from) };
        if let Some((key, address)) = given_up(&step, self.running) {
            self.release(&address, &key);
        }
        self.done.push(step);
        true
    }

    /// An address that no link has or will have.
    fn unused_address(&self) -> MacAddr {
        let got = self.pending.iter().chain(&self.done).filter_map(|step| match step {
            Step::ChangeLink { change, .. } => change.address,
            Step::AddLink { spec, .. } => spec.address,
            _ => None,
        });
        let had = self.running.links.values().filter_map(|now| now.spec.address);
        let used: HashSet<MacAddr> = got.chain(had).collect();
        let mut candidates = (0..=u16::MAX).map(|number| {
            let [high, low] = number.to_be_bytes();
            MacAddr::new([0x02, b'u', b'm', b'v', high, low])
        });
        // A cycle has fewer links than that; otherwise the kernel refuses the default address.
        candidates.find(|address| !used.contains(address)).unwrap_or_default()
    }

    /// The links that hold a resource of the step.
    fn blockers<'o>(&'o self, step: &'o Step) -> impl Iterator<Item = &'o str> {
        let own = matches!(step, Step::ChangeLink { .. }).then(|| key_of(step));
        takes(step, self.running)
            .into_iter()
            .filter_map(|resource| self.held.get(&resource))
            .flatten()
            .map(String::as_str)
            .filter(move |holder| Some(*holder) != own)
    }
}

fn removal(key: &str, now: RunningLink) -> Step {
    Step::RemoveLink { key: key.to_owned(), name: now.name, spec: now.spec }
}

fn key_of(step: &Step) -> &str {
    match step {
        Step::AddLink { key, .. } | Step::RemoveLink { key, .. } | Step::ChangeLink { key, .. } => {
            key
        }
        _ => "",
    }
}

/// The resources that a link holds until it is removed.
fn holds(key: &str, now: &RunningLink) -> Vec<Resource> {
    let parent = &now.spec.parent;
    let owner = now.spec.settings.mode == Mode::Passthru;
    let place = if owner { Resource::Share(parent.clone()) } else { Resource::Own(parent.clone()) };
    let both = owner.then(|| Resource::Own(parent.clone()));
    let address = now.spec.address.map(|address| Resource::Address(parent.clone(), address));
    let entry = [Resource::Name(now.name.clone()), Resource::EntryKey(key.to_owned()), place];
    entry.into_iter().chain(both).chain(address).collect()
}

/// The address that a change frees, and the entry key of its link.
fn given_up(step: &Step, running: &Running) -> Option<(String, Resource)> {
    let Step::ChangeLink { key, back, .. } = step else { return None };
    let parent = running.links.get(key)?.spec.parent.clone();
    Some((key.clone(), Resource::Address(parent, back.address?)))
}

/// The resources that a step needs.
fn takes(step: &Step, running: &Running) -> Vec<Resource> {
    match step {
        Step::AddLink { key, name, spec } => {
            let parent = || spec.parent.clone();
            let owner = spec.settings.mode == Mode::Passthru;
            let place = if owner { Resource::Own(parent()) } else { Resource::Share(parent()) };
            let entry = [Resource::EntryKey(key.clone()), Resource::Name(name.clone()), place];
            let address = spec.address.map(|address| Resource::Address(parent(), address));
            entry.into_iter().chain(address).collect()
        }
        Step::ChangeLink { key, change, .. } => {
            let Some(now) = running.links.get(key) else { return Vec::new() };
            let LinkChange { name, netns, address, up, .. } = &**change;
            let name = name.as_ref().or_else(|| netns.as_ref().map(|_| &now.name));
            let address = address.or_else(|| now.spec.address.filter(|_| *up == Some(true)));
            let address = address.map(|mac| Resource::Address(now.spec.parent.clone(), mac));
            name.cloned().map(Resource::Name).into_iter().chain(address).collect()
        }
        _ => Vec::new(),
    }
}
