//! Re-adopting the links of a former daemon.
//!
//! An interface may have been renamed, moved, or given another address meanwhile, but hardly all of
//! these. It is searched first by place and address, then by address and name, then by address, then
//! by place.
//!
//! A link that is not found is gone only if that is proven ([`SearchCoverage::why_unproven`]). Otherwise it waits:
//! its record stays, and the daemon searches again every few seconds.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::libc::ENODEV;
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, SubChange, SubId};
use umacvlan_sys::ethtool::Ethtool;
use umacvlan_sys::netns::{Netns, Search, search};

use super::orphans::{Orphan, SearchCoverage, find_orphans, match_all};
use super::{Entry, Service};
use crate::ServiceError;
use crate::parent_record::{InterfaceRecord, ParentRecord};
use crate::store::{LinkRecord, SavedState};
use umacvlan_api::EventKind;

/// How often to search. An interface that is moved between namespaces during a search, as by a
/// container engine that starts many containers, may be missed in both. Each search makes that less
/// likely; one of hundreds of namespaces takes some milliseconds.
const LOOKS: usize = 4;

/// The time between two searches for links that wait.
const AGAIN: Duration = Duration::from_secs(3);

/// Why a link was not re-adopted.
enum AdoptError {
    /// No interface was found.
    NotFound,
    /// The interface was found, but cannot be served.
    Failed(ServiceError),
}

/// A link whose interface was not found, and that is not proven to be gone.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) record: LinkRecord,
    parent: Option<ParentRecord>,
    /// True if it was removed meanwhile.
    pub(super) removed: bool,
}

impl Service {
    /// Re-adopts all links of a former daemon. `first` is the search that was made with all
    /// privileges.
    pub fn recover(&mut self, found: &SavedState, first: &Search) {
        let SavedState { links, parents, .. } = found;
        parents.iter().for_each(|parent| self.restore_offloads(parent));
        if !links.is_empty() {
            let hidden = first.hidden || first.failed.is_some();
            let mut coverage = SearchCoverage::new(hidden);
            let all: Vec<_> = links.iter().collect();
            let mut missed = self.adopt(&all, parents, first, &mut coverage);
            for _ in 1..LOOKS {
                if missed.is_empty() {
                    break;
                }
                let records: Vec<_> = missed.iter().map(|(record, _)| *record).collect();
                missed = self.adopt(&records, parents, &search(), &mut coverage);
            }
            for (record, why) in missed {
                let parent = parents.iter().find(|one| one.name == record.parent);
                self.miss(record, parent, why, &coverage);
            }
            let (found, of) = (self.links.len(), links.len());
            tracing::info!("{found} of {of} links of a former daemon re-adopted");
        }
        for parent in parents {
            self.drop_unused_parent(&parent.name);
        }
    }

    /// Searches for the links that wait, if it is time. Returns the time until the next search; `None`
    /// if no link waits.
    pub(super) fn find_waiting(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        let now = Instant::now();
        let next = self.next_search.get_or_insert(now + AGAIN);
        if now < *next {
            return Some(*next - now);
        }
        *next = now + AGAIN;
        let search = search();
        let mut coverage = SearchCoverage::new(search.hidden);
        let waiting = std::mem::take(&mut self.waiting);
        let records: Vec<_> = waiting.iter().map(|one| &one.record).collect();
        let mut parents: Vec<_> = waiting.iter().filter_map(|one| one.parent.clone()).collect();
        parents.dedup_by(|one, other| one.name == other.name);
        let missed = self.adopt(&records, &parents, &search, &mut coverage);
        let mut still = HashSet::new();
        for (record, why) in missed {
            still.insert(record.id);
            let parent = parents.iter().find(|one| one.name == record.parent);
            match why {
                AdoptError::NotFound if coverage.why_unproven(record).is_some() => {
                    let parent = parent.cloned();
                    self.waiting.push(Waiting { record: record.clone(), parent, removed: false });
                }
                why => self.miss(record, parent, why, &coverage),
            }
        }
        for one in &waiting {
            if let Some(left) = self.waiting.iter_mut().find(|left| left.record.id == one.record.id)
            {
                left.removed = one.removed;
            } else if !still.contains(&one.record.id) {
                self.found_waiting(one);
            }
            self.drop_unused_parent(&one.record.parent);
        }
        // What the configuration has, and is gone now, is made again.
        if waiting.iter().any(|one| one.record.config.is_some())
            && let Err(problem) = self.complete_config()
        {
            tracing::error!("configuration: {problem}");
        }
        (!self.waiting.is_empty()).then_some(AGAIN)
    }

    /// Logs and publishes a link that has waited and was re-adopted.
    fn found_waiting(&mut self, one: &Waiting) {
        let LinkRecord { id, name, .. } = &one.record;
        tracing::info!("link {name}, number {id}, is found and re-adopted");
        if one.removed {
            if let Err(problem) = self.remove(*id) {
                tracing::error!("link number {id} stays: {problem}");
            }
        } else if let Ok(link) = self.show(*id) {
            self.publish(EventKind::LinkAdded { link: Box::new(link) });
        }
    }

    /// Deals with a link that was not re-adopted.
    fn miss(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        why: AdoptError,
        coverage: &SearchCoverage,
    ) {
        match why {
            AdoptError::Failed(problem) => self.defer(record, &problem),
            AdoptError::NotFound => match coverage.why_unproven(record) {
                None => self.drop_lost(record, parent),
                Some(why) => {
                    tracing::error!(
                        "link {}, number {}, is not found, and may exist: {why}. Its state is kept, \
                         and the daemon searches again every {} seconds",
                        record.name,
                        record.id,
                        AGAIN.as_secs()
                    );
                    let (record, parent) = (record.clone(), parent.cloned());
                    self.waiting.push(Waiting { record, parent, removed: false });
                }
            },
        }
    }

    /// Removes the record of a parent that is not attached and for which no link waits.
    fn drop_unused_parent(&self, name: &str) {
        let waits = self.deferred.contains(name)
            || self.waiting.iter().any(|one| one.record.parent == name);
        if !waits && !self.parents.contains_key(name) {
            self.store.remove_parent(name);
        }
    }

    /// Searches these namespaces for the interfaces of `records` and serves them. Returns the
    /// records for which that failed.
    fn adopt<'r>(
        &mut self,
        records: &[&'r LinkRecord],
        parents: &[ParentRecord],
        search: &Search,
        coverage: &mut SearchCoverage,
    ) -> Vec<(&'r LinkRecord, AdoptError)> {
        coverage.add(search);
        let places = &search.namespaces;
        let mut orphans = find_orphans(places, coverage);
        let served = |left: &Orphan| {
            let mut links = self.links.values().map(|link| &link.seen);
            links.any(|seen| (seen.netns, seen.index) == (left.netns, left.link.index))
        };
        orphans.retain(|orphan| !served(orphan));
        let matches = match_all(records, &orphans);
        let mut missed = Vec::new();
        for (record, found) in records.iter().zip(matches) {
            let Some(orphan) = found.map(|at| &orphans[at]) else {
                missed.push((*record, AdoptError::NotFound));
                continue;
            };
            let parent = parents.iter().find(|parent| parent.name == record.parent);
            if let Err(problem) = self.try_adopt(record, parent, orphan, &places[orphan.place]) {
                missed.push((*record, AdoptError::Failed(problem)));
            }
        }
        missed
    }

    /// Logs a link that cannot be served now. Its record stays for the next start.
    fn defer(&mut self, record: &LinkRecord, problem: &ServiceError) {
        tracing::error!(
            "link {}, number {}, exists but cannot be served: {problem}. The next start \
             tries again",
            record.name,
            record.id
        );
        self.deferred.insert(record.parent.clone());
        self.detach_idle(&record.parent);
    }

    fn try_adopt(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        orphan: &Orphan,
        netns: &Netns,
    ) -> Result<(), ServiceError> {
        let number = SubId(record.id);
        let fresh = !self.parents.contains_key(&record.parent);
        let name = &self.attach_again(&record.parent, parent, record.mode == Mode::Passthru)?;
        let adopt = Adopt {
            netns: netns
                .try_clone()
                .map_err(|error| super::problem::storage_error(name, &error))?,
            index: orphan.link.index,
            number: Some(number),
            settings: record.settings(),
        };
        let seen = self.engine.adopt_sub(name, adopt)?;
        if let (true, Some(parent)) = (fresh && *name == record.parent, parent) {
            self.engine.change_sub(number, vec![SubChange::BcCutoff(parent.bc_cutoff)])?;
        }
        let given_name = record.given_name.as_ref().unwrap_or(&record.name).clone();
        let (config, owner) = (record.config.clone(), record.owner.clone());
        let entry = Entry { config, owner, given_name, seen };
        if entry.record() != *record
            && let Err(error) = self.store.put_link(&entry.record())
        {
            // With the old record it is still found by its address or place.
            tracing::error!("the state of link {} cannot be written: {error}", record.name);
        }
        self.links.insert(record.id, entry);
        Ok(())
    }

    /// Removes the record of a link whose interface is gone.
    fn drop_lost(&mut self, record: &LinkRecord, parent: Option<&ParentRecord>) {
        tracing::warn!(
            "link {}, number {}, is gone: no TAP with its address {} or in its place in any \
             namespace that can be seen from here; one that another container hides is left there",
            record.name,
            record.id,
            record.mac
        );
        self.store.remove_link(record.id);
        self.detach_idle(&record.parent);
        if let (Mode::Passthru, Some(parent)) = (record.mode, parent) {
            self.restore_parent_mac(record, parent);
        }
    }

    /// Restores the address of a parent after its passthru link is gone.
    fn restore_parent_mac(&mut self, record: &LinkRecord, parent: &ParentRecord) {
        let Ok(Some(link)) = self.rtnl.link(&self.interface_of(parent)) else {
            return;
        };
        if link.mac == Some(record.mac)
            && record.mac != parent.own_mac
            && let Err(error) = self.rtnl.set_mac(link.index, parent.own_mac)
        {
            tracing::error!("{} keeps the address of {}: {error}", parent.name, record.name);
        }
    }

    /// Restores the receive offloads that a daemon without a proper end has left switched off.
    fn restore_offloads(&self, parent: &ParentRecord) {
        let name = self.interface_of(parent);
        let restored =
            Ethtool::open().and_then(|ethtool| ethtool.restore(&name, parent.switched_off.into()));
        // An interface that is gone needs nothing.
        if let Err(error) = restored
            && error.raw_os_error() != Some(ENODEV)
        {
            tracing::warn!("the receive offloads of {name} stay off: {error}");
        }
    }

    /// The present name of the interface of a parent of a former daemon.
    fn interface_of(&self, parent: &ParentRecord) -> String {
        let known = parent.interface.as_ref().and_then(InterfaceRecord::known);
        match known.map(|known| self.engine.lower_known(&known)) {
            Some(Ok(found)) => found.link,
            Some(Err(_)) | None => parent.name.clone(),
        }
    }
}
