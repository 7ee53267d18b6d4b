//! [`plan`]: the steps of a reload, in an order in which they can be undone.
//!
//! An entry that has not changed in the file is not touched, even if its link differs by now; only
//! a link that is gone is made again. Steps that add and change come before those that remove,
//! because a removed link loses what its users gave it, such as IP addresses, and undoing does not
//! restore that. Only a link that blocks another step is removed earlier.

mod execute;
mod link;
mod schedule;
mod step;

pub use execute::execute;
pub(super) use link::made;
pub use step::Step;

use super::running::Running;
use super::{Config, DaemonConfig, LinkEntry};
use link::{changes, is_another};
use schedule::LinkSteps;

/// The steps of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in this order.
    pub steps: Vec<Step>,
    /// Changes in the file that no reload can make: one line each, with the time when they take
    /// effect.
    pub notes: Vec<String>,
}

impl Plan {
    /// One line for each step and note.
    pub fn lines(&self) -> Vec<String> {
        self.steps.iter().map(ToString::to_string).chain(self.notes.iter().cloned()).collect()
    }
}

/// The steps from what is `running`, which was made from `applied`, to `wanted`.
pub fn plan(applied: &Config, wanted: &Config, running: &Running) -> Plan {
    let mut links = LinkSteps::default();
    for (key, entry) in &wanted.links {
        let parent_mtu = running.parents.get(&entry.spec.parent).copied();
        let target = made(entry, key, parent_mtu);
        let Some(now) = running.links.get(key) else {
            links.added.push(addition(key, entry));
            continue;
        };
        // Without the former entry, the link as it is now counts as what the file said.
        let before = applied.links.get(key).map(|entry| made(entry, key, parent_mtu));
        let before = before.unwrap_or_else(|| now.clone());
        if is_another(now, &before, &target) {
            links.removed.insert(key.clone(), now.clone());
            links.added.push(addition(key, entry));
        } else {
            links.changes.extend(changes(key, now, &before, &target));
        }
    }
    let forgotten = running.links.iter().filter(|(key, _)| !wanted.links.contains_key(*key));
    links.removed.extend(forgotten.map(|(key, now)| (key.clone(), now.clone())));

    let mut plan = Plan::default();
    plan.steps.extend(attached(applied, wanted));
    plan.steps.extend(links.in_order(running));
    plan.steps.extend(detached(applied, wanted));
    daemon(&applied.daemon, &wanted.daemon, &mut plan);
    if applied.docker != wanted.docker {
        plan.notes.push(LATER_DOCKER.to_owned());
    }
    parents(applied, wanted, running, &mut plan.notes);
    plan
}

fn addition(key: &str, entry: &LinkEntry) -> Step {
    let name = entry.interface_name(key).to_owned();
    Step::AddLink { key: key.to_owned(), name, spec: entry.spec.clone() }
}

/// Parents that are new in the file.
fn attached(applied: &Config, wanted: &Config) -> Vec<Step> {
    let names = wanted.parents.keys().filter(|name| !applied.parents.contains_key(*name));
    let step =
        |name: &String| Step::AttachParent { name: name.clone(), settings: wanted.parent(name) };
    names.map(step).collect()
}

/// Parents that are no longer in the file.
fn detached(applied: &Config, wanted: &Config) -> Vec<Step> {
    let names = applied.parents.keys().filter(|name| !wanted.parents.contains_key(*name));
    let step =
        |name: &String| Step::DetachParent { name: name.clone(), settings: applied.parent(name) };
    names.map(step).collect()
}

/// Notes for parents whose settings have changed: they take effect when a parent is attached.
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

/// The note for `[docker]`: sockets are bound once.
const LATER_DOCKER: &str = "later: docker; this takes effect when the daemon is started again";

/// The daemon's own changes: steps for those it can make now, notes for the others.
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
