//! Re-adopting the links of a former daemon.
//!
//! A user may have renamed and moved an interface or given it another address meanwhile, and a user may
//! have made another interface to be taken for it. So a link is re-adopted only with proof: by the
//! queues of its TAP that the [keeper](crate::keeper) has held, or else where it was, by the cookie of
//! its namespace, its index and its address ([`prove`]).
//!
//! A link that is not found is gone only if that is proven ([`SearchCoverage::why_unproven`]). Otherwise it waits:
//! its record stays, and the daemon searches again every few seconds.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::libc::ENODEV;
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, KeptTap, KeptVeth, SubChange, SubId, SubStatus};
use umacvlan_sys::ethtool::Ethtool;
use umacvlan_sys::netns::{NetnsId, Search, search};

use super::last_events::{Kind, LastEvents};
use super::orphans::{Orphan, Proof, SearchCoverage, find_orphans, prove};
use super::{Entry, Service};
use crate::ServiceError;
use crate::keeper::{Kept, take_uplinks};
use crate::link_record::{LinkRecord, VethRecord};
use crate::parent_record::{InterfaceRecord, ParentRecord};
use crate::store::SavedState;
use umacvlan_api::EventKind;

/// How often to search. An interface that is moved between namespaces during a search, as by a
/// container engine that starts many containers, may be missed in both. Each search makes that less
/// likely; one of hundreds of namespaces takes some milliseconds.
const LOOKS: usize = 4;

/// The time between two searches for links that wait.
const AGAIN: Duration = Duration::from_secs(3);

/// Why a link was not re-adopted.
enum AdoptError {
    /// No interface was found. The interfaces that may be taken for it, each with the reason why it is
    /// not.
    NotFound(Vec<String>),
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
    /// Re-adopts all links of a former daemon: those of which the keeper has held the queues, `kept`,
    /// and then the others. `first` is the search for these that was made with all privileges, if
    /// there are any.
    pub fn recover(&mut self, found: &SavedState, mut kept: Kept, first: &Search) {
        let SavedState { links, parents, .. } = found;
        parents.iter().for_each(|parent| self.restore_offloads(parent));
        let (programs, links): (Vec<_>, Vec<_>) =
            links.iter().partition(|record| record.program.is_some());
        self.offer_uplinks(take_uplinks(&mut kept));
        // Without an engine every link fails, too.
        let _ = self.engine.hold_adopted();
        let links = self.living_pairs(links, parents, &mut kept);
        let mut all = self.recover_kept(&links, parents, kept);
        self.adopt_pairs(&mut all, parents);
        if !all.is_empty() {
            let _ = self.engine.hold_adopted();
            let hidden = first.hidden || first.failed.is_some();
            let mut coverage = SearchCoverage::new(hidden);
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
            let _ = self.engine.release_adopted();
        }
        // Without an engine every link has failed.
        let _ = self.engine.end_takeover();
        for record in &programs {
            self.recover_program(record, parents);
        }
        if links.len() + programs.len() > 0 {
            let (found, of) = (self.links.len(), links.len() + programs.len());
            tracing::info!("{found} of {of} links of a former daemon re-adopted");
        }
        for parent in parents {
            self.drop_unused_parent(&parent.name);
        }
        self.keep_uplinks();
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
                AdoptError::NotFound(_) if coverage.why_unproven(record).is_some() => {
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
            AdoptError::NotFound(refused) => match coverage.why_unproven(record) {
                None => self.drop_lost(record, parent, &refused),
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
        let mut missed = Vec::new();
        for record in records {
            let parent = parents.iter().find(|parent| parent.name == record.parent);
            let adopted = find_proven(record, &orphans, self.home).and_then(|orphan| {
                let netns = places[orphan.place].try_clone().map_err(|error| {
                    AdoptError::Failed(super::problem::storage_error(&record.name, &error))
                })?;
                let tap = KeptTap::Place { netns, index: orphan.link.index };
                self.try_adopt(record, parent, tap).map_err(AdoptError::Failed)
            });
            if let Err(why) = adopted {
                missed.push((*record, why));
            }
        }
        missed
    }

    /// Logs a link that cannot be served now. Its record stays for the next start.
    pub(super) fn defer(&mut self, record: &LinkRecord, problem: &ServiceError) {
        tracing::error!(
            "link {}, number {}, exists but cannot be served: {problem}. The next start \
             tries again",
            record.name,
            record.id
        );
        self.deferred.insert(record.parent.clone());
        self.detach_idle(&record.parent);
    }

    pub(super) fn try_adopt(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        tap: KeptTap,
    ) -> Result<(), ServiceError> {
        let number = SubId(record.id);
        let fresh = !self.parents.contains_key(&record.parent);
        let name = &self.attach_again(&record.parent, parent, record.mode == Mode::Passthru)?;
        let adopt = adoption(record, tap);
        let seen = self.engine.adopt_sub(name, adopt)?;
        self.keeper.put(record.id, &self.engine.queues(number)?);
        self.note_adopted(record, parent.filter(|_| fresh), seen)
    }

    /// Notes a link that the engine has adopted. `parent`: its parent was attached for it.
    pub(super) fn note_adopted(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        seen: SubStatus,
    ) -> Result<(), ServiceError> {
        if let Some(parent) = parent.filter(|_| seen.parent == record.parent) {
            self.engine.change_sub(seen.number, vec![SubChange::BcCutoff(parent.bc_cutoff)])?;
        }
        let given_name = record.given_name.as_ref().unwrap_or(&record.name).clone();
        let (config, owner) = (record.config.clone(), record.owner.clone());
        let (dhcp, host) = (record.dhcp.clone(), record.host.clone());
        let last_events = LastEvents::default();
        let entry = Entry { config, owner, given_name, dhcp, host, seen, last_events };
        if entry.record() != *record
            && let Err(error) = self.store.put_link(&entry.record())
        {
            // The keeper finds it all the same.
            tracing::error!("the state of link {} cannot be written: {error}", record.name);
        }
        self.links.insert(record.id, entry);
        self.note(record.id, Kind::Adopted, "by a daemon that has started");
        self.follow_lease(record.id);
        self.watch_ghosts();
        Ok(())
    }

    /// Removes the record of a link whose interface is gone.
    pub(super) fn drop_lost(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        refused: &[String],
    ) {
        let LinkRecord { name, id, mac, .. } = record;
        tracing::warn!(
            "link {name}, number {id}, is gone: no TAP in its place has its address {mac}. One that was \
             moved or changed while neither a daemon nor the keeper ran is left as it is"
        );
        for why in refused {
            tracing::warn!("link {name}, number {id}: {why}");
        }
        self.drop_record(record, parent);
    }

    /// Removes the record of a link that is gone.
    pub(super) fn drop_record(&mut self, record: &LinkRecord, parent: Option<&ParentRecord>) {
        self.keeper.release(record.id);
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

/// What the engine is asked to adopt for a record.
pub(super) fn adoption(record: &LinkRecord, tap: KeptTap) -> Adopt {
    let place = |veth: &VethRecord| KeptVeth {
        host_end: veth.host_end,
        index: record.index,
        mac: record.mac,
    };
    Adopt {
        tap,
        veth: record.veth.as_ref().map(place),
        netns: record.netns_cookie.map(|cookie| (record.netns(), cookie)),
        number: Some(SubId(record.id)),
        settings: record.settings(),
        txqlen_max: record.txqueuelen,
        groups: record.groups.clone(),
        claims_mac: record.owner.is_some(),
        held: record.held,
    }
}

/// The interface that is proven to be a link's.
fn find_proven<'o>(
    record: &LinkRecord,
    orphans: &'o [Orphan],
    home: NetnsId,
) -> Result<&'o Orphan, AdoptError> {
    let mut refused = Vec::new();
    for orphan in orphans {
        let Orphan { netns, link, .. } = orphan;
        let shown = || format!("TAP {}, index {}, in net:[{}]", link.name, link.index, netns.ino);
        match prove(record, orphan, home) {
            Proof::Certain => return Ok(orphan),
            Proof::Probable => {
                tracing::warn!(
                    "{} is attached as link {}, number {}, though nothing proves it: an older version \
                     wrote the state",
                    shown(),
                    record.name,
                    record.id
                );
                return Ok(orphan);
            }
            Proof::Refused(why) => refused.push(format!("{} is not attached: {why}", shown())),
            Proof::Different => {}
        }
    }
    Err(AdoptError::NotFound(refused))
}
