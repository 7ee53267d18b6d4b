//! Links and endpoints that Docker or a former daemon has left behind.

use std::time::{Duration, Instant};

use super::Driver;
use crate::endpoint::{Endpoint, OWNER, Stage};
use umacvlan_daemon::Service;

/// How long a link may wait in the daemon's namespace until Docker takes or deletes it. Docker
/// repeats its calls for half a minute, and a machine that starts many containers is slow.
const PATIENCE: Duration = Duration::from_secs(300);

impl Driver {
    /// Removes what a former daemon or Docker has left behind, after links were re-adopted:
    /// endpoints whose links are gone, and links in the daemon's namespace that Docker has not
    /// joined yet or has brought back. The call that made such a link may have got no response; if
    /// Docker does join the endpoint, the link is made again.
    pub fn reconcile(&mut self, service: &mut Service) {
        let owners = service.owners_with_prefix(OWNER);
        let there = |endpoint: &Endpoint| {
            let owner = endpoint.spec.owner();
            owners.iter().any(|(other, _)| *other == owner)
        };
        let gone = |endpoint: &&Endpoint| !there(endpoint);
        let gone: Vec<String> =
            self.endpoints.values().filter(gone).map(|end| end.spec.id.clone()).collect();
        gone.iter().for_each(|id| self.forget(id));
        for (owner, _) in owners.iter().filter(|(_, home)| *home) {
            let id = owner.trim_start_matches(OWNER);
            let stage = self.endpoints.get(id).map(|endpoint| endpoint.stage);
            if stage == Some(Stage::Joined) {
                continue;
            }
            if let Err(problem) = service.remove_owned(owner) {
                tracing::error!("docker: the link of endpoint {id} stays: {problem}");
            }
            if stage != Some(Stage::Created) {
                self.forget(id);
            }
        }
        let (networks, endpoints) = (self.networks.len(), self.endpoints.len());
        tracing::info!("docker: {networks} networks, {endpoints} endpoints");
    }

    /// Removes endpoints whose links have waited in the daemon's namespace for too long: Docker or
    /// a daemon has ended before it could join or delete them.
    pub(crate) fn sweep(&mut self, service: &mut Service, now: Instant) {
        let mut owners = service.owners_with_prefix(OWNER);
        let known = self.endpoints.values().map(|endpoint| endpoint.spec.owner());
        let without: Vec<_> =
            known.filter(|owner| !owners.iter().any(|(other, _)| other == owner)).collect();
        owners.extend(without.into_iter().map(|owner| (owner, true)));
        for owner in self.overdue(&owners, now) {
            let id = owner.trim_start_matches(OWNER);
            tracing::warn!("docker: endpoint {id} was left behind and is removed");
            if let Err(refused) = self.remove_endpoint(service, id) {
                tracing::error!("docker: the link of endpoint {id} stays: {refused}");
            }
        }
    }

    /// The owners whose links have been in the daemon's namespace, or nowhere, for too long. Each
    /// owner comes with whether that is so now.
    fn overdue(&mut self, owners: &[(String, bool)], now: Instant) -> Vec<String> {
        let home = || owners.iter().filter(|(_, home)| *home).map(|(owner, _)| owner);
        self.waiting.retain(|waits, _| home().any(|owner| owner == waits));
        let waiting = &mut self.waiting;
        let overdue = home().filter(|owner| {
            let since = *waiting.entry((*owner).clone()).or_insert(now);
            now.saturating_duration_since(since) >= PATIENCE
        });
        overdue.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_testkit::Scratch;

    use super::*;

    #[test]
    fn a_link_waits_in_the_daemons_namespace_and_not_for_ever() {
        let dir = Scratch::new();
        let mut driver = Driver::open(dir.path()).unwrap();
        let owners = |home| [("docker a".to_owned(), home), ("docker b".to_owned(), false)];
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(driver.overdue(&owners(true), at(0)).is_empty());
        assert!(driver.overdue(&owners(true), at(299)).is_empty());
        // Docker takes it and brings it back.
        assert!(driver.overdue(&owners(false), at(300)).is_empty());
        assert!(driver.overdue(&owners(true), at(400)).is_empty());
        assert!(driver.overdue(&owners(true), at(699)).is_empty());
        assert_eq!(driver.overdue(&owners(true), at(700)), ["docker a"]);
    }
}
