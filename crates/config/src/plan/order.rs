//! The order of the steps that are about links: nothing is asked for that is not free yet, and
//! nothing is removed before it must be.

use std::collections::{BTreeMap, HashMap, HashSet};

use umacvlan_core::{MacAddr, Mode};

use super::super::running::{Current, Running};
use super::link::Rank;
use super::step::Step;
use umacvlan_api::LinkChange;

/// What has to be done to links.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) changes: Vec<(Rank, Step)>,
    pub(super) added: Vec<Step>,
    /// Those that are removed, also to be made anew, by wish.
    pub(super) removed: BTreeMap<String, Current>,
}

/// What one link may have to give up before another can have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Resource {
    /// An address on a parent.
    Address(String, MacAddr),
    /// The name of an interface, wherever it is: namespaces have too many names to compare them.
    Name(String),
    /// A parent for itself.
    Own(String),
    /// A parent with others.
    Share(String),
    /// The entry of the configuration.
    Wish(String),
}

impl Links {
    /// All steps, in order.
    pub(super) fn in_order(self, running: &Running) -> Vec<Step> {
        let Self { mut changes, added, removed } = self;
        changes.sort_by_key(|(rank, _)| *rank);
        let pending: Vec<Step> = changes.into_iter().map(|(_, step)| step).chain(added).collect();
        let mut order = Order { running, held: HashMap::new(), pending, removed, done: Vec::new() };
        order.hold();
        while !order.pending.is_empty() {
            if !(order.take_free() || order.remove_needed() || order.open_circle()) {
                // Whatever it is, the kernel has the last word on it.
                let rest = std::mem::take(&mut order.pending);
                order.done.extend(rest);
            }
        }
        let Order { removed, mut done, .. } = order;
        done.extend(removed.into_iter().map(|(wish, now)| removal(&wish, now)));
        done
    }
}

struct Order<'r> {
    running: &'r Running,
    /// Who has what somebody may wait for, by wish.
    held: HashMap<Resource, Vec<String>>,
    pending: Vec<Step>,
    removed: BTreeMap<String, Current>,
    done: Vec<Step>,
}

impl Order<'_> {
    /// Notes everything that pending steps give up.
    fn hold(&mut self) {
        let changed = self.pending.iter().filter_map(|step| {
            let (wish, address) = given_up(step, self.running)?;
            Some((address, wish))
        });
        let removed = self.removed.iter().flat_map(|(wish, now)| {
            let held = holds(wish, now);
            held.into_iter().map(move |resource| (resource, wish.clone()))
        });
        let all: Vec<_> = changed.chain(removed).collect();
        for (resource, wish) in all {
            self.held.entry(resource).or_default().push(wish);
        }
    }

    fn release(&mut self, resource: &Resource, wish: &str) {
        if let Some(holders) = self.held.get_mut(resource) {
            holders.retain(|holder| holder != wish);
        }
    }

    /// Takes every step that need not wait; of one link, none before an earlier one.
    fn take_free(&mut self) -> bool {
        let mut waiting = HashSet::new();
        let mut rest = Vec::new();
        let before = self.done.len();
        for step in std::mem::take(&mut self.pending) {
            let wish = wish_of(&step);
            if waiting.contains(wish) || self.blockers(&step).next().is_some() {
                waiting.insert(wish.to_owned());
                rest.push(step);
                continue;
            }
            if let Some((wish, address)) = given_up(&step, self.running) {
                self.release(&address, &wish);
            }
            self.done.push(step);
        }
        self.pending = rest;
        self.done.len() > before
    }

    /// Removes what pending steps wait for.
    fn remove_needed(&mut self) -> bool {
        let needed: HashSet<String> =
            self.pending.iter().flat_map(|step| self.blockers(step)).map(str::to_owned).collect();
        let (now, later): (BTreeMap<_, _>, _) = std::mem::take(&mut self.removed)
            .into_iter()
            .partition(|(wish, _)| needed.contains(wish));
        self.removed = later;
        let any = !now.is_empty();
        for (wish, now) in now {
            for resource in holds(&wish, &now) {
                self.release(&resource, &wish);
            }
            self.done.push(removal(&wish, now));
        }
        any
    }

    /// Links that pass their addresses around in a circle: one of them takes another address in
    /// between.
    fn open_circle(&mut self) -> bool {
        let waited_for: HashSet<&str> =
            self.pending.iter().flat_map(|step| self.blockers(step)).collect();
        // It gives its address up only once, so that this comes to an end.
        let holds = |step: &Step| {
            given_up(step, self.running).is_some_and(|(wish, address)| {
                let holders = self.held.get(&address);
                holders.is_some_and(|h| h.contains(&wish)) && waited_for.contains(&*wish)
            })
        };
        let Some(at) = self.pending.iter().position(holds) else { return false };
        let between = self.unused_address();
        let Some(Step::ChangeLink { wish, back, .. }) = self.pending.get_mut(at) else {
            return false;
        };
        let wish = wish.clone();
        let change = LinkChange { address: Some(between), ..LinkChange::default() };
        let from = std::mem::replace(&mut **back, change.clone());
        let step = Step::ChangeLink { wish, change: Box::new(change), back: Box::new(from) };
        if let Some((wish, address)) = given_up(&step, self.running) {
            self.release(&address, &wish);
        }
        self.done.push(step);
        true
    }

    /// An address that no link has or gets.
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
        // There are fewer links in a circle than that; if not, it is refused when it is tried.
        candidates.find(|address| !used.contains(address)).unwrap_or_default()
    }

    /// Who has what the step takes.
    fn blockers<'o>(&'o self, step: &'o Step) -> impl Iterator<Item = &'o str> {
        let own = matches!(step, Step::ChangeLink { .. }).then(|| wish_of(step));
        takes(step, self.running)
            .into_iter()
            .filter_map(|resource| self.held.get(&resource))
            .flatten()
            .map(String::as_str)
            .filter(move |holder| Some(*holder) != own)
    }
}

fn removal(wish: &str, now: Current) -> Step {
    Step::RemoveLink { wish: wish.to_owned(), name: now.name, spec: now.spec }
}

fn wish_of(step: &Step) -> &str {
    match step {
        Step::AddLink { wish, .. }
        | Step::RemoveLink { wish, .. }
        | Step::ChangeLink { wish, .. } => wish,
        _ => "",
    }
}

/// What a link that is to be removed has until then.
fn holds(wish: &str, now: &Current) -> Vec<Resource> {
    let parent = &now.spec.parent;
    let owner = now.spec.settings.mode == Mode::Passthru;
    let place = if owner { Resource::Share(parent.clone()) } else { Resource::Own(parent.clone()) };
    let both = owner.then(|| Resource::Own(parent.clone()));
    let address = now.spec.address.map(|address| Resource::Address(parent.clone(), address));
    let entry = [Resource::Name(now.name.clone()), Resource::Wish(wish.to_owned()), place];
    entry.into_iter().chain(both).chain(address).collect()
}

/// The address that a change gives up, and whose it is.
fn given_up(step: &Step, running: &Running) -> Option<(String, Resource)> {
    let Step::ChangeLink { wish, back, .. } = step else { return None };
    let parent = running.links.get(wish)?.spec.parent.clone();
    Some((wish.clone(), Resource::Address(parent, back.address?)))
}

/// What has to be free for a step.
fn takes(step: &Step, running: &Running) -> Vec<Resource> {
    match step {
        Step::AddLink { wish, name, spec } => {
            let parent = || spec.parent.clone();
            let owner = spec.settings.mode == Mode::Passthru;
            let place = if owner { Resource::Own(parent()) } else { Resource::Share(parent()) };
            let entry = [Resource::Wish(wish.clone()), Resource::Name(name.clone()), place];
            let address = spec.address.map(|address| Resource::Address(parent(), address));
            entry.into_iter().chain(address).collect()
        }
        Step::ChangeLink { wish, change, .. } => {
            let Some(now) = running.links.get(wish) else { return Vec::new() };
            let LinkChange { name, netns, address, up, .. } = &**change;
            let name = name.as_ref().or_else(|| netns.as_ref().map(|_| &now.name));
            let address = address.or_else(|| now.spec.address.filter(|_| *up == Some(true)));
            let address = address.map(|mac| Resource::Address(now.spec.parent.clone(), mac));
            name.cloned().map(Resource::Name).into_iter().chain(address).collect()
        }
        _ => Vec::new(),
    }
}
