//! Interfaces that a former daemon may have left, and the links they may be.

use std::collections::{BTreeMap, HashSet};

use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::{Netns, NetnsId, Search};

use crate::link_record::LinkRecord;

/// An interface that a former daemon may have left: a persistent TAP that no process holds.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    /// Position of its namespace in the list that was searched.
    pub(super) place: usize,
    pub(super) netns: NetnsId,
    /// The cookie of its namespace; `None` before Linux 5.14.
    pub(super) cookie: Option<u64>,
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
        let mut cookie = None;
        let links = Rtnl::open_in(netns).and_then(|mut rtnl| {
            cookie = rtnl.netns_cookie();
            rtnl.links()
        });
        coverage.looked(id, links.as_ref().map(drop).map_err(chain));
        let orphans = links.into_iter().flatten().filter(Link::is_own_persistent_tap);
        left.extend(orphans.map(|link| Orphan { place, netns: id, cookie, link }));
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

/// Whether an interface is that of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It has another place and another address.
    Different,
    /// It has the place or the address of the link, but nothing proves that it is that link's: the
    /// reason.
    Refused(&'static str),
    /// It is in the place of the link and has its address. The record has no cookie, because an older
    /// version wrote it.
    Probable,
    /// It is the link's: it has its index in a namespace that is the same one, and its address.
    Certain,
}

/// Compares an interface with a record of this boot. Users choose addresses, names and indexes, and
/// numbers of namespaces are used again: only the cookie of a namespace cannot be had by another one.
/// `home` is the daemon's own namespace, which has not changed.
pub(super) fn prove(record: &LinkRecord, orphan: &Orphan, home: NetnsId) -> Proof {
    let same_netns = record.netns() == orphan.netns;
    let in_place = same_netns && record.index == orphan.link.index;
    let same_mac = orphan.link.mac == Some(record.mac);
    match (record.netns_cookie, orphan.cookie) {
        _ if !in_place && !same_mac => Proof::Different,
        _ if !same_netns => Proof::Refused("it is in another namespace than the link"),
        _ if !in_place => Proof::Refused("it has another index than the link"),
        _ if !same_mac => Proof::Refused("it has another address than the link"),
        (Some(was), Some(is)) if was == is => Proof::Certain,
        (Some(_), _) => Proof::Refused("its namespace is a new one with the number of the link's"),
        (None, None) if orphan.netns == home => Proof::Certain,
        (None, None) => Proof::Refused("this kernel cannot prove it (it has no SO_NETNS_COOKIE)"),
        (None, Some(_)) => Proof::Probable,
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::MacAddr;

    use super::*;
    use crate::fixtures::{link_record, sub_status};

    fn left(ino: u64, index: u32, last: u8, cookie: Option<u64>) -> Orphan {
        let mut link = sub_status(0, "tap").link;
        (link.index, link.mac) = (index, Some(MacAddr::new([2, 0, 0, 0, 0, last])));
        Orphan { place: 0, netns: NetnsId { dev: 4, ino }, cookie, link }
    }

    fn record(ino: u64, index: u32, last: u8, cookie: Option<u64>) -> LinkRecord {
        LinkRecord {
            netns: (4, ino),
            netns_cookie: cookie,
            index,
            mac: MacAddr::new([2, 0, 0, 0, 0, last]),
            ..link_record(1)
        }
    }

    #[test]
    fn an_interface_is_a_links_with_its_index_and_address_in_the_same_namespace_only() {
        let home = NetnsId { dev: 4, ino: 1 };
        let record = record(2, 7, 1, Some(50));
        let prove = |orphan: Orphan| prove(&record, &orphan, home);
        assert_eq!(prove(left(2, 7, 1, Some(50))), Proof::Certain);
        assert_eq!(prove(left(2, 8, 2, Some(50))), Proof::Different);
        for spoofed in [
            left(2, 7, 9, Some(50)),
            left(2, 8, 1, Some(50)),
            left(3, 7, 1, Some(51)),
            left(2, 7, 1, Some(51)),
            left(2, 7, 1, None),
        ] {
            assert!(matches!(prove(spoofed.clone()), Proof::Refused(_)), "{spoofed:?}");
        }
    }

    #[test]
    fn without_a_cookie_only_the_own_namespace_is_certain() {
        let home = NetnsId { dev: 4, ino: 1 };
        let prove = |ino, cookie| prove(&record(ino, 7, 1, None), &left(ino, 7, 1, cookie), home);
        assert_eq!(prove(2, Some(50)), Proof::Probable);
        assert_eq!(prove(1, None), Proof::Certain);
        assert!(matches!(prove(2, None), Proof::Refused(_)));
    }

    #[test]
    fn a_link_is_gone_only_if_every_place_where_it_may_be_was_looked_through() {
        let (own, other) = (NetnsId { dev: 4, ino: 1 }, NetnsId { dev: 4, ino: 2 });
        let record = record(1, 7, 1, None);
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
}
