//! Interfaces that a former daemon may have left, and the links they may be.

use std::collections::{BTreeMap, HashSet};

use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::{Netns, NetnsId, Search};

use crate::store::LinkRecord;

/// An interface that a former daemon may have left: a persistent TAP that no process holds.
#[derive(Debug)]
pub(super) struct Orphan {
    /// Position of its namespace in the list that was searched.
    pub(super) place: usize,
    pub(super) netns: NetnsId,
    pub(super) link: Link,
}

/// Which namespaces the searches have looked through.
#[derive(Debug, Default)]
pub(super) struct SearchCoverage {
    /// The namespaces that were looked through.
    seen: HashSet<NetnsId>,
    /// Those that could not be looked through, each with the error.
    failed: BTreeMap<NetnsId, String>,
    /// Why namespaces may be missing from the last search.
    incomplete: Option<String>,
    /// True if there may be namespaces that this process has no permission to see.
    hidden: bool,
}

impl SearchCoverage {
    /// Nothing was searched yet; `hidden` is true if namespaces may be hidden from this process.
    pub(super) fn new(hidden: bool) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// Notes whether a search has listed every namespace.
    pub(super) fn add(&mut self, search: &Search) {
        self.incomplete = search.failed.as_ref().map(ToString::to_string);
    }

    /// Notes whether one namespace was looked through.
    pub(super) fn looked(&mut self, netns: NetnsId, result: Result<(), String>) {
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
    pub(super) fn why_unproven(&self, record: &LinkRecord) -> Option<String> {
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

/// All interfaces in these namespaces that a former daemon may have left.
pub(super) fn find_orphans(places: &[Netns], coverage: &mut SearchCoverage) -> Vec<Orphan> {
    let mut left = Vec::new();
    for (place, netns) in places.iter().enumerate() {
        let id = netns.id();
        let links = Rtnl::open_in(netns).and_then(|mut rtnl| rtnl.links());
        coverage.looked(id, links.as_ref().map(drop).map_err(chain));
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
pub(super) fn match_all(records: &[&LinkRecord], left: &[Orphan]) -> Vec<Option<usize>> {
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
            let mut coverage = SearchCoverage::default();
            at.iter().for_each(|&netns| coverage.looked(netns, Ok(())));
            coverage
        };
        let gone = |coverage: &SearchCoverage| coverage.why_unproven(&record).is_none();
        assert!(gone(&looks(&[own, other])));
        assert!(gone(&looks(&[other])), "its namespace has ended");
        let mut coverage = looks(&[own, other]);
        coverage.looked(other, Err("out of memory".to_owned()));
        assert!(!gone(&coverage));
        coverage.looked(other, Ok(()));
        assert!(gone(&coverage));
        let failed = Some(std::io::ErrorKind::OutOfMemory.into());
        coverage.add(&Search { failed, ..Search::default() });
        assert!(!gone(&coverage));
        coverage.add(&Search::default());
        assert!(gone(&coverage));
        assert!(gone(&SearchCoverage { hidden: true, ..looks(&[own]) }));
        assert!(!gone(&SearchCoverage { hidden: true, ..looks(&[other]) }));
    }

    #[test]
    fn of_two_with_the_same_address_the_name_decides() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 1, "b"), record(1, 9, 1, "c")];
        let left = [left(2, 5, 1, "b"), left(2, 6, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0), None]);
    }
}
