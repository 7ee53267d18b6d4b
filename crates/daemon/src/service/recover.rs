//! Re-adopting the links of a former daemon.
//!
//! An interface may have been renamed, moved, or given another address meanwhile, but hardly all of
//! these. It is searched first by place and address, then by address and name, then by address,
//! then by place.

use std::collections::HashSet;

use nix::libc::ENODEV;
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, SubChange, SubId};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::ethtool::Ethtool;
use umacvlan_sys::netns::{Netns, NetnsId, reachable};

use super::{Entry, Service};
use crate::ServiceError;
use crate::store::{LinkRecord, ParentRecord, SavedState};

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

/// Why a link was not re-adopted.
enum AdoptError {
    /// No interface was found.
    NotFound,
    /// The interface was found, but cannot be served.
    Failed(ServiceError),
}

impl Service {
    /// Re-adopts all links of a former daemon. `places` are the namespaces to search first.
    pub fn recover(&mut self, found: &SavedState, places: &[Netns]) {
        let SavedState { links, parents, .. } = found;
        parents.iter().for_each(restore_offloads);
        let parent = |record: &LinkRecord| parents.iter().find(|one| one.name == record.parent);
        if !links.is_empty() {
            let mut missed = self.adopt(&links.iter().collect::<Vec<_>>(), parents, places);
            for _ in 1..LOOKS {
                if missed.is_empty() {
                    break;
                }
                let records: Vec<_> = missed.iter().map(|(record, _)| *record).collect();
                missed = self.adopt(&records, parents, &reachable());
            }
            for (record, why) in missed {
                match why {
                    AdoptError::NotFound => self.drop_lost(record, parent(record)),
                    AdoptError::Failed(problem) => self.defer(record, &problem),
                }
            }
            let (found, of) = (self.links.len(), links.len());
            tracing::info!("{found} of {of} links of a former daemon re-adopted");
        }
        for parent in parents.iter().filter(|parent| !self.parents.contains_key(&parent.name)) {
            self.store.remove_parent(&parent.name);
        }
    }

    /// Searches these namespaces for the interfaces of `records` and serves them. Returns the
    /// records for which that failed.
    fn adopt<'r>(
        &mut self,
        records: &[&'r LinkRecord],
        parents: &[ParentRecord],
        places: &[Netns],
    ) -> Vec<(&'r LinkRecord, AdoptError)> {
        let mut orphans = find_orphans(places);
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
fn find_orphans(places: &[Netns]) -> Vec<Orphan> {
    let mut left = Vec::new();
    for (place, netns) in places.iter().enumerate() {
        match Rtnl::open_in(netns).and_then(|mut rtnl| rtnl.links()) {
            Ok(links) => left.extend(
                links.into_iter().filter(Link::is_own_persistent_tap).map(|link| Orphan {
                    place,
                    netns: netns.id(),
                    link,
                }),
            ),
            Err(error) => tracing::warn!("net:[{}]: {error}", netns.id().ino),
        }
    }
    left
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
    fn of_two_with_the_same_address_the_name_decides() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 1, "b"), record(1, 9, 1, "c")];
        let left = [left(2, 5, 1, "b"), left(2, 6, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0), None]);
    }
}
