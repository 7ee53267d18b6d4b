//! [`plan`]: what a reload has to do, in an order in which it can be undone.
//!
//! An entry that says the same as before is not touched, whatever has become of its link, except
//! that a link which is gone is made again. What adds and changes comes before what removes,
//! because a link that is removed loses what its users gave it, and no undoing brings that back.
//! Only what stands in the way of another step is removed first.

mod execute;
mod link;
mod step;

use std::collections::BTreeMap;

use umacvlan_core::Mode;

pub(crate) use execute::execute;
pub(crate) use step::Step;

use super::running::{Current, Running};
use super::{Config, DaemonConfig};
use crate::api::LinkChange;
use link::{Rank, changes, is_another, made};

/// What a reload has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is done now, in this order.
    pub(crate) steps: Vec<Step>,
    /// What the file says and no reload can do: one line each, with when it will be so.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// The plan, one line for each step and note.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.steps.iter().map(ToString::to_string).chain(self.notes.iter().cloned()).collect()
    }
}

/// What has to be done to what is `running`, which was made from `applied`, to become `wanted`.
pub(crate) fn plan(applied: &Config, wanted: &Config, running: &Running) -> Plan {
    let mut links = Links::default();
    for (wish, entry) in &wanted.links {
        let parent_mtu = running.parents.get(&entry.spec.parent).copied();
        let target = made(entry, wish, parent_mtu);
        let Some(now) = running.links.get(wish) else {
            links.add(wish, made(entry, wish, None));
            continue;
        };
        // Nobody remembers what the file said before: what runs is what it made.
        let before = applied.links.get(wish).map(|entry| made(entry, wish, parent_mtu));
        let before = before.unwrap_or_else(|| now.clone());
        if is_another(now, &before, &target) {
            links.removed.insert(wish, now);
            links.add(wish, made(entry, wish, None));
        } else {
            links.changes.extend(changes(wish, now, &before, &target));
        }
    }
    let forgotten = running.links.iter().filter(|(wish, _)| !wanted.links.contains_key(*wish));
    links.removed.extend(forgotten.map(|(wish, now)| (wish.as_str(), now)));

    let mut plan = Plan::default();
    plan.steps.extend(attached(applied, wanted));
    plan.steps.extend(links.in_order(running));
    plan.steps.extend(detached(applied, wanted));
    daemon(&applied.daemon, &wanted.daemon, &mut plan);
    parents(applied, wanted, running, &mut plan.notes);
    plan
}

/// What has to be done to links.
#[derive(Debug, Default)]
struct Links<'r> {
    changes: Vec<(Rank, Step)>,
    added: Vec<Step>,
    removed: BTreeMap<&'r str, &'r Current>,
}

impl Links<'_> {
    fn add(&mut self, wish: &str, link: Current) {
        let Current { name, mut spec } = link;
        // The kernel's defaults need not be asked for.
        spec.bclim = spec.bclim.filter(|limit| *limit != umacvlan_core::switch::DEFAULT_BC_CUTOFF);
        self.added.push(Step::AddLink { wish: wish.to_owned(), name, spec });
    }

    /// What nothing stands in the way of; what stands in the way of the rest, and the rest; and
    /// then all else that is to be removed.
    fn in_order(self, running: &Running) -> Vec<Step> {
        let Self { mut changes, added, removed } = self;
        changes.sort_by_key(|(rank, _)| *rank);
        let steps = changes.into_iter().map(|(_, step)| step).chain(added);
        let (mut order, mut rest) = (Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        for step in steps {
            let ways = |removed: &&Current| stands_in_the_way(removed, &step, running);
            let free = !removed.values().any(ways);
            if free { order.push(step) } else { waiting.push(step) }
        }
        for (wish, now) in removed {
            let Current { name, spec } = now.clone();
            let step = Step::RemoveLink { wish: wish.to_owned(), name, spec };
            let needed = waiting.iter().any(|step| stands_in_the_way(now, step, running));
            if needed { order.push(step) } else { rest.push(step) }
        }
        order.extend(waiting);
        order.extend(rest);
        order
    }
}

/// Whether a step has to wait until `removed` is gone: it needs its address, its name, or the
/// parent to itself.
fn stands_in_the_way(removed: &Current, step: &Step, running: &Running) -> bool {
    let owns = |mode| mode == Mode::Passthru;
    match step {
        Step::AddLink { name, spec, .. } => {
            let sibling = spec.parent == removed.spec.parent;
            let owner = owns(spec.mode) || owns(removed.spec.mode);
            let address = spec.address.is_some() && spec.address == removed.spec.address;
            *name == removed.name || (sibling && (owner || address))
        }
        Step::ChangeLink { wish, change, .. } => {
            let Some(now) = running.links.get(wish) else { return false };
            let sibling = now.spec.parent == removed.spec.parent;
            let LinkChange { name, netns, address, up, .. } = &**change;
            let named = name.as_ref() == Some(&removed.name);
            let moved = netns.is_some() && now.name == removed.name;
            let address = address.or(now.spec.address.filter(|_| *up == Some(true)));
            named || moved || (sibling && address.is_some() && address == removed.spec.address)
        }
        _ => false,
    }
}

/// Parents that are in the file for the first time.
fn attached(applied: &Config, wanted: &Config) -> Vec<Step> {
    let names = wanted.parents.keys().filter(|name| !applied.parents.contains_key(*name));
    let step =
        |name: &String| Step::AttachParent { name: name.clone(), settings: wanted.parent(name) };
    names.map(step).collect()
}

/// Parents that are in the file no longer.
fn detached(applied: &Config, wanted: &Config) -> Vec<Step> {
    let names = applied.parents.keys().filter(|name| !wanted.parents.contains_key(*name));
    let step =
        |name: &String| Step::DetachParent { name: name.clone(), settings: applied.parent(name) };
    names.map(step).collect()
}

/// How a parent is served is settled when it is attached.
fn parents(applied: &Config, wanted: &Config, running: &Running, notes: &mut Vec<String>) {
    for name in running.parents.keys() {
        let (before, now) = (applied.parent(name), wanted.parent(name));
        if before != now {
            notes.push(format!(
                "later: parent {name}: {now}; it is attached, so this takes effect when it is \
                 attached again: `systemctl restart umacvlan` does that, and links stay"
            ));
        }
    }
}

/// What the daemon itself does otherwise now, or when it starts again.
fn daemon(before: &DaemonConfig, now: &DaemonConfig, plan: &mut Plan) {
    if before.log != now.log {
        plan.steps.push(Step::Log { from: before.log.clone(), to: now.log.clone() });
    }
    if before.on_exit != now.on_exit {
        plan.steps.push(Step::OnExit { from: before.on_exit, to: now.on_exit });
    }
    let settled = [
        ("socket", &before.socket, &now.socket),
        ("state", &before.state, &now.state),
        ("group", &before.group, &now.group),
        ("admin_group", &before.admin_group, &now.admin_group),
    ];
    for (key, _, now) in settled.into_iter().filter(|(_, before, now)| before != now) {
        let now = now.as_deref().unwrap_or("default");
        plan.notes.push(format!(
            "later: daemon: {key} {now}; this takes effect when the daemon is started again"
        ));
    }
}
