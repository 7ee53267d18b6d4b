//! Re-adopting the links of a former daemon.
//!
//! An interface may have been renamed, moved, or given another address meanwhile, but hardly all of
//! these. It is searched first by place and address, then by address and name, then by address, then
//! by place.
//!
//! A link that is not found is gone only if that is proven ([`Sight::why_unproven`]). Otherwise it waits:
//! its record stays, and the daemon searches again every few seconds.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use nix::libc::ENODEV;
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, SubChange, SubId};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::ethtool::Ethtool;
use umacvlan_sys::netns::{Netns, NetnsId, Search, search};

use super::{Entry, Service};
use crate::ServiceError;
use crate::store::{LinkRecord, ParentRecord, SavedState};
use umacvlan_api::EventKind;

/// An interface that a former daemon may have left: a persistent TAP that no process holds.
#[derive(Debug)]
struct Orphan {
    /// Position of its namespace in the list that was searched.
    place: usize,
    netns: NetnsId,
    link: Link,
}

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

/// What was seen in searches.
#[derive(Debug, Default)]
struct Sight {
    /// The namespaces that were looked through.
    seen: HashSet<NetnsId>,
    /// Those that could not be looked through, each with the error.
    failed: BTreeMap<NetnsId, String>,
    /// Why namespaces may be missing from the last search.
    incomplete: Option<String>,
    /// True if there may be namespaces that this process has no permission to see.
    hidden: bool,
}

impl Sight {
    fn add(&mut self, search: &Search) {
        self.incomplete = search.failed.as_ref().map(ToString::to_string);
    }

    fn looked(&mut self, netns: NetnsId, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.seen.insert(netns);
                self.failed.remove(&netns);
            }
            Err(error) => {
                self.failed.insert(netns, error);
            }
        }
    }

    /// Why a link with this record, which was not found, may exist; `None` if it is gone. It is gone if
    /// all namespaces were looked through, and its own either was among them or cannot be hidden.
    fn why_unproven(&self, record: &LinkRecord) -> Option<String> {
        let failed = self.failed.iter().next();
        if let Some(error) = &self.incomplete {
            Some(error.clone())
        } else if let Some((netns, error)) = failed {
            Some(format!("net:[{}] cannot be looked through: {error}", netns.ino))
        } else if self.hidden && !self.seen.contains(&record.netns()) {
            Some("its namespace may be one that the daemon is not permitted to see".to_owned())
        } else {
            None
        }
    }
}

impl Service {
    /// Re-adopts all links of a former daemon. `first` is the search that was made with all
    /// privileges.
    pub fn recover(&mut self, found: &SavedState, first: &Search) {
        let SavedState { links, parents, .. } = found;
        parents.iter().for_each(restore_offloads);
        if !links.is_empty() {
            let hidden = first.hidden || first.failed.is_some();
            let mut sight = Sight { hidden, ..Sight::default() };
            let all: Vec<_> = links.iter().collect();
            let mut missed = self.adopt(&all, parents, first, &mut sight);
            for _ in 1..LOOKS {
                if missed.is_empty() {
                    break;
                }
                let records: Vec<_> = missed.iter().map(|(record, _)| *record).collect();
                missed = self.adopt(&records, parents, &search(), &mut sight);
            }
            for (record, why) in missed {
                let parent = parents.iter().find(|one| one.name == record.parent);
                self.miss(record, parent, why, &sight);
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
        let mut sight = Sight { hidden: search.hidden, ..Sight::default() };
        let waiting = std::mem::take(&mut self.waiting);
        let records: Vec<_> = waiting.iter().map(|one| &one.record).collect();
        let mut parents: Vec<_> = waiting.iter().filter_map(|one| one.parent.clone()).collect();
        parents.dedup_by(|one, other| one.name == other.name);
        let missed = self.adopt(&records, &parents, &search, &mut sight);
        let mut still = HashSet::new();
        for (record, why) in missed {
            still.insert(record.id);
            let parent = parents.iter().find(|one| one.name == record.parent);
            match why {
                AdoptError::NotFound if sight.why_unproven(record).is_some() => {
                    let parent = parent.cloned();
                    self.waiting.push(Waiting { record: record.clone(), parent, removed: false });
                }
                why => self.miss(record, parent, why, &sight),
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
        sight: &Sight,
    ) {
        match why {
            AdoptError::Failed(problem) => self.defer(record, &problem),
            AdoptError::NotFound => match sight.why_unproven(record) {
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
        let waits = self.waiting.iter().any(|one| one.record.parent == name);
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
        sight: &mut Sight,
    ) -> Vec<(&'r LinkRecord, AdoptError)> {
        sight.add(search);
        let places = &search.namespaces;
        let mut orphans = find_orphans(places, sight);
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
        self.detach_idle(&record.parent);
    }

    fn try_adopt(
        &mut self,
        record: &LinkRecord,
        parent: Option<&ParentRecord>,
        orphan: &Orphan,
        netns: &Netns,
    ) -> Result<(), ServiceError> {
        let (name, number) = (&record.parent, SubId(record.id));
        let fresh = !self.parents.contains_key(name);
        self.attach_again(name, parent, record.mode == Mode::Passthru)?;
        let adopt = Adopt {
            netns: netns
                .try_clone()
                .map_err(|error| super::problem::storage_error(name, &error))?,
            index: orphan.link.index,
            number: Some(number),
            settings: record.settings(),
        };
        let seen = self.engine.adopt_sub(name, adopt)?;
        if let (true, Some(parent)) = (fresh, parent) {
            self.engine.change_sub(number, vec![SubChange::BcCutoff(parent.bc_cutoff)])?;
        }
        let entry = Entry { config: record.config.clone(), owner: record.owner.clone(), seen };
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
        let Ok(Some(link)) = self.rtnl.link(&parent.name) else {
            return;
        };
        if link.mac == Some(record.mac)
            && record.mac != parent.own_mac
            && let Err(error) = self.rtnl.set_mac(link.index, parent.own_mac)
        {
            tracing::error!("{} keeps the address of {}: {error}", parent.name, record.name);
        }
    }
}

/// Restores the receive offloads that a daemon without a proper end has left switched off.
fn restore_offloads(parent: &ParentRecord) {
    let restored = Ethtool::open()
        .and_then(|ethtool| ethtool.restore(&parent.name, parent.switched_off.into()));
    // An interface that is gone needs nothing.
    if let Err(error) = restored
        && error.raw_os_error() != Some(ENODEV)
    {
        tracing::warn!("the receive offloads of {} stay off: {error}", parent.name);
    }
}

/// All interfaces in these namespaces that a former daemon may have left.
fn find_orphans(places: &[Netns], sight: &mut Sight) -> Vec<Orphan> {
    let mut left = Vec::new();
    for (place, netns) in places.iter().enumerate() {
        let id = netns.id();
        let links = Rtnl::open_in(netns).and_then(|mut rtnl| rtnl.links());
        sight.looked(id, links.as_ref().map(drop).map_err(chain));
        let orphans = links.into_iter().flatten().filter(Link::is_own_persistent_tap);
        left.extend(orphans.map(|link| Orphan { place, netns: id, link }));
    }
    left
}

/// The error with its causes, in one line.
fn chain(error: &umacvlan_netlink::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn in_place(record: &LinkRecord, left: &Orphan) -> bool {
    record.netns() == left.netns && record.index == left.link.index
}

fn same_mac(record: &LinkRecord, left: &Orphan) -> bool {
    left.link.mac == Some(record.mac)
}

fn same_name(record: &LinkRecord, left: &Orphan) -> bool {
    left.link.name == record.name
}

/// For each record the index of its interface in `left`; no interface is used twice.
fn match_all(records: &[&LinkRecord], left: &[Orphan]) -> Vec<Option<usize>> {
    let passes: [fn(&LinkRecord, &Orphan) -> bool; 4] = [
        |record, left| in_place(record, left) && same_mac(record, left),
        |record, left| same_mac(record, left) && same_name(record, left),
        same_mac,
        in_place,
    ];
    let mut matches = vec![None; records.len()];
    let mut taken = HashSet::new();
    for fits in passes {
        for (record, found) in records.iter().zip(&mut matches).filter(|(_, f)| f.is_none()) {
            *found = (0..left.len()).find(|at| !taken.contains(at) && fits(record, &left[*at]));
            taken.extend(*found);
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use umacvlan_core::MacAddr;

    use super::*;
    use crate::fixtures::{link_record, sub_status};

    fn left(ino: u64, index: u32, last: u8, name: &str) -> Orphan {
        let mut link = sub_status(0, name).link;
        (link.index, link.mac) = (index, Some(MacAddr::new([2, 0, 0, 0, 0, last])));
        Orphan { place: 0, netns: NetnsId { dev: 4, ino }, link }
    }

    fn record(ino: u64, index: u32, last: u8, name: &str) -> LinkRecord {
        LinkRecord {
            netns: (4, ino),
            index,
            mac: MacAddr::new([2, 0, 0, 0, 0, last]),
            name: name.to_owned(),
            ..link_record(1)
        }
    }

    #[test]
    fn an_interface_is_found_after_a_rename_a_move_or_a_new_address() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 2, "b"), record(1, 9, 3, "c")];
        let left = [left(2, 8, 2, "moved"), left(1, 9, 77, "c"), left(1, 7, 1, "renamed")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn another_interface_in_the_same_place_is_not_mistaken_for_the_link() {
        let records = [record(1, 7, 1, "a"), record(2, 7, 2, "b")];
        let left = [left(1, 7, 2, "b"), left(3, 7, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0)]);
    }

    #[test]
    fn a_link_is_gone_only_if_every_place_where_it_may_be_was_looked_through() {
        let (own, other) = (NetnsId { dev: 4, ino: 1 }, NetnsId { dev: 4, ino: 2 });
        let record = record(1, 7, 1, "a");
        let looks = |at: &[NetnsId]| {
            let mut sight = Sight::default();
            at.iter().for_each(|&netns| sight.looked(netns, Ok(())));
            sight
        };
        let gone = |sight: &Sight| sight.why_unproven(&record).is_none();
        assert!(gone(&looks(&[own, other])));
        assert!(gone(&looks(&[other])), "its namespace has ended");
        let mut sight = looks(&[own, other]);
        sight.looked(other, Err("out of memory".to_owned()));
        assert!(!gone(&sight));
        sight.looked(other, Ok(()));
        assert!(gone(&sight));
        let failed = Some(std::io::ErrorKind::OutOfMemory.into());
        sight.add(&Search { failed, ..Search::default() });
        assert!(!gone(&sight));
        sight.add(&Search::default());
        assert!(gone(&sight));
        assert!(gone(&Sight { hidden: true, ..looks(&[own]) }));
        assert!(!gone(&Sight { hidden: true, ..looks(&[other]) }));
    }

    #[test]
    fn of_two_with_the_same_address_the_name_decides() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 1, "b"), record(1, 9, 1, "c")];
        let left = [left(2, 5, 1, "b"), left(2, 6, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0), None]);
    }
}
