//! Links in namespaces that nothing but the daemon keeps alive.
//!
//! A queue that was opened in a namespace, to attach to a TAP there by name, keeps that namespace
//! alive, and with it a link whose container has ended: a ghost, which still answers ARP and ping. Only
//! a daemon that found no keeper has such queues. It looks who else holds these namespaces, and ends
//! the links in one that nobody holds any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use umacvlan_sys::netns::{Holders, NetnsId, holders};

use super::Service;

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(2);

/// How many times as long as a look the pause after it is at least: looking takes 2 % of a CPU at most,
/// whatever the number of processes.
const PAUSE: u32 = 50;

/// How many looks in a row must find no holder. A descriptor on its way from one process to another is
/// in neither.
const LOOKS: u32 = 2;

/// The namespaces that queues of the daemon keep alive.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// When to look next; `None` if no queue keeps a namespace alive.
    due: Option<Instant>,
    seen: BTreeMap<NetnsId, Seen>,
}

/// What was seen of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// True if it had a name or a mount in an earlier look.
    mounted: bool,
    /// How many looks in a row have found no holder.
    unheld: u32,
}

impl Seen {
    /// The state after one more look. Where not every process can be looked at, as in a pod, only the
    /// end of a mount that was there proves anything: a runtime unmounts a namespace after its
    /// processes have ended.
    fn after(self, netns: NetnsId, found: &Holders) -> Self {
        let (mounted, used) = (found.mounted.contains(&netns), found.used.contains(&netns));
        let proven = self.mounted || sees_everything(found);
        let unheld = if !mounted && !used && proven { self.unheld + 1 } else { 0 };
        Self { mounted: self.mounted || mounted, unheld }
    }
}

impl Service {
    /// Starts to look for links in namespaces that only the daemon holds.
    pub(super) fn watch_ghosts(&mut self) {
        self.ghosts.due.get_or_insert_with(Instant::now);
    }

    /// Looks for such links if it is time, and ends them. Returns the time until the next look; `None`
    /// if no queue keeps a namespace alive.
    pub(super) fn end_ghosts(&mut self) -> Option<Duration> {
        let (due, now) = (self.ghosts.due?, Instant::now());
        if now < due {
            return Some(due - now);
        }
        let pinned = self.engine.pinned_namespaces().unwrap_or_default();
        self.ghosts.due = None;
        if pinned.is_empty() {
            self.ghosts.seen.clear();
            return None;
        }
        let found = holders(&pinned);
        let unknown = pinned.difference(&found.mounted).count();
        if self.ghosts.seen.is_empty() && unknown > 0 && !sees_everything(&found) {
            tracing::warn!(
                "{unknown} namespaces without a mount, where links were attached by name, end with the \
                 daemon only: it cannot see every process that may hold them"
            );
        }
        let before = std::mem::take(&mut self.ghosts.seen);
        for netns in pinned {
            let seen = before.get(&netns).copied().unwrap_or_default().after(netns, &found);
            if seen.unheld >= LOOKS {
                self.end_links_in(netns);
            }
            self.ghosts.seen.insert(netns, seen);
        }
        let pause = PERIOD.max(now.elapsed() * PAUSE);
        self.ghosts.due = Some(Instant::now() + pause);
        Some(pause)
    }

    fn end_links_in(&mut self, netns: NetnsId) {
        let links = self.links.iter().filter(|(_, link)| link.seen.netns == netns);
        let links: Vec<_> = links.map(|(&id, link)| (id, link.seen.name.clone())).collect();
        for (id, name) in links {
            tracing::warn!(
                "link {name}, number {id}, is removed: nothing but the daemon holds its namespace \
                 net:[{}] any more",
                netns.ino
            );
            if let Err(problem) = self.remove_at_any_rate(id) {
                tracing::error!("link number {id} stays: {problem}");
            }
        }
    }
}

fn sees_everything(found: &Holders) -> bool {
    found.sees_all && found.failed.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETNS: NetnsId = NetnsId { dev: 4, ino: 7 };

    fn unheld(looks: impl IntoIterator<Item = Holders>) -> u32 {
        looks.into_iter().fold(Seen::default(), |seen, found| seen.after(NETNS, &found)).unheld
    }

    fn nobody(sees_all: bool) -> Holders {
        Holders { sees_all, ..Holders::default() }
    }

    #[test]
    fn a_namespace_is_unheld_if_every_process_was_looked_at() {
        assert_eq!(unheld([nobody(true), nobody(true)]), 2);
        let used = Holders { used: [NETNS].into(), ..nobody(true) };
        assert_eq!(unheld([nobody(true), used, nobody(true)]), 1);
        let failed = || Holders {
            failed: Some(std::io::ErrorKind::PermissionDenied.into()),
            ..nobody(true)
        };
        assert_eq!(unheld([failed(), failed(), failed()]), 0);
    }

    #[test]
    fn where_processes_are_hidden_the_mount_must_have_been_there() {
        assert_eq!(unheld([nobody(false), nobody(false)]), 0);
        let mounted = Holders { mounted: [NETNS].into(), ..nobody(false) };
        assert_eq!(unheld([mounted, nobody(false), nobody(false)]), 2);
    }
}
