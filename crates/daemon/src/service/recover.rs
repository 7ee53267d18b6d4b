//! What a former daemon has left is found again and served on.
//!
//! An interface may have been renamed, moved or given another address meanwhile, but hardly all
//! of it. It is looked for first by everything that is known, then by its address anywhere, then
//! by its place alone.

use std::collections::HashSet;

use nix::libc::ENODEV;
use umacvlan_core::Mode;
use umacvlan_engine::engine::{Adopt, SubChange, SubId};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::ethtool::Ethtool;
use umacvlan_sys::netns::{Netns, NetnsId, reachable};

use super::{Entry, Service};
use crate::error::ServiceError;
use crate::store::{Found, LinkRecord, ParentRecord};

/// An interface that a daemon may have left: a TAP that nothing but itself keeps.
#[derive(Debug)]
struct Left {
    /// The number of its namespace among those that were looked at.
    place: usize,
    netns: NetnsId,
    link: Link,
}

/// How often to look: what is moved to another namespace meanwhile, as by a container runtime that
/// starts a crowd, may be missed where it was and where it goes. With each look that is rarer, and one
/// of hundreds of namespaces takes some milliseconds.
const LOOKS: usize = 4;

/// Why an interface is not served.
enum Missed {
    /// It was not found.
    Gone,
    /// It was found, and this came in between.
    There(ServiceError),
}

impl Service {
    /// Takes up all links of a former daemon. `places` are the namespaces they may be in.
    pub fn recover(&mut self, found: &Found, places: &[Netns]) {
        let Found { links, parents, .. } = found;
        parents.iter().for_each(restore);
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
                    Missed::Gone => self.mourn(record, parent(record)),
                    Missed::There(problem) => self.put_off(record, &problem),
                }
            }
            let (found, of) = (self.links.len(), links.len());
            tracing::info!("{found} of {of} links of a former daemon found again");
        }
        for parent in parents.iter().filter(|parent| !self.parents.contains_key(&parent.name)) {
            self.store.remove_parent(&parent.name);
        }
    }

    /// Looks for interfaces in these namespaces and serves them again. Returns those of the records
    /// for which that did not succeed.
    fn adopt<'r>(
        &mut self,
        records: &[&'r LinkRecord],
        parents: &[ParentRecord],
        places: &[Netns],
    ) -> Vec<(&'r LinkRecord, Missed)> {
        let mut left = look(places);
        let served = |left: &Left| {
            let mut links = self.links.values().map(|link| &link.seen);
            links.any(|seen| (seen.netns, seen.index) == (left.netns, left.link.index))
        };
        left.retain(|left| !served(left));
        let matches = match_all(records, &left);
        let mut missed = Vec::new();
        for (record, found) in records.iter().zip(matches) {
            let Some(left) = found.map(|at| &left[at]) else {
                missed.push((*record, Missed::Gone));
                continue;
            };
            let parent = parents.iter().find(|parent| parent.name == record.parent);
            if let Err(problem) = self.try_adopt(record, parent, left, &places[left.place]) {
                missed.push((*record, Missed::There(problem)));
            }
        }
        missed
    }

    /// What cannot be served now stays written down.
    fn put_off(&mut self, record: &LinkRecord, problem: &ServiceError) {
        tracing::error!(
            "link {}, number {}, is there, but cannot be served: {problem}. The next start \
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
        left: &Left,
        netns: &Netns,
    ) -> Result<(), ServiceError> {
        let (name, number) = (&record.parent, SubId(record.id));
        let fresh = !self.parents.contains_key(name);
        self.attach_again(name, parent, record.mode == Mode::Passthru)?;
        let adopt = Adopt {
            netns: netns.try_clone().map_err(|error| super::problem::storage(name, &error))?,
            index: left.link.index,
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
            // The old file still leads to it by its address or place.
            tracing::error!("the state of link {} cannot be written: {error}", record.name);
        }
        self.links.insert(record.id, entry);
        Ok(())
    }

    /// Gives up a link whose interface is gone.
    fn mourn(&mut self, record: &LinkRecord, parent: Option<&ParentRecord>) {
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
            self.give_back(record, parent);
        }
    }

    /// A parent that has the address of a passthru link that is gone gets its own again.
    fn give_back(&mut self, record: &LinkRecord, parent: &ParentRecord) {
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

/// Has the NIC of a parent do again what it did before a daemon that could not see to that.
fn restore(parent: &ParentRecord) {
    let restored = Ethtool::open()
        .and_then(|ethtool| ethtool.restore(&parent.name, parent.switched_off.into()));
    // An interface that is gone has nothing to be restored.
    if let Err(error) = restored
        && error.raw_os_error() != Some(ENODEV)
    {
        tracing::warn!("the receive offloads of {} stay off: {error}", parent.name);
    }
}

/// Everything in these namespaces that a daemon may have left.
fn look(places: &[Netns]) -> Vec<Left> {
    let mut left = Vec::new();
    for (place, netns) in places.iter().enumerate() {
        match Rtnl::open_in(netns).and_then(|mut rtnl| rtnl.links()) {
            Ok(links) => {
                left.extend(links.into_iter().filter(Link::is_kept_tap).map(|link| Left {
                    place,
                    netns: netns.id(),
                    link,
                }))
            }
            Err(error) => tracing::warn!("net:[{}]: {error}", netns.id().ino),
        }
    }
    left
}

fn in_place(record: &LinkRecord, left: &Left) -> bool {
    record.netns() == left.netns && record.index == left.link.index
}

fn same_mac(record: &LinkRecord, left: &Left) -> bool {
    left.link.mac == Some(record.mac)
}

fn same_name(record: &LinkRecord, left: &Left) -> bool {
    left.link.name == record.name
}

/// For each record the interface that it is about, by its place in the list; each is taken once.
fn match_all(records: &[&LinkRecord], left: &[Left]) -> Vec<Option<usize>> {
    let passes: [fn(&LinkRecord, &Left) -> bool; 4] = [
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
    use crate::testing::{link_record, sub_status};

    fn left(ino: u64, index: u32, last: u8, name: &str) -> Left {
        let mut link = sub_status(0, name).link;
        (link.index, link.mac) = (index, Some(MacAddr::new([2, 0, 0, 0, 0, last])));
        Left { place: 0, netns: NetnsId { dev: 4, ino }, link }
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
    fn an_interface_is_found_renamed_moved_or_with_another_address() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 2, "b"), record(1, 9, 3, "c")];
        let left = [left(2, 8, 2, "moved"), left(1, 9, 77, "c"), left(1, 7, 1, "renamed")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn the_place_of_one_that_moved_away_is_not_taken_for_it() {
        let records = [record(1, 7, 1, "a"), record(2, 7, 2, "b")];
        let left = [left(1, 7, 2, "b"), left(3, 7, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0)]);
    }

    #[test]
    fn of_two_with_one_address_the_name_decides_and_none_is_taken_twice() {
        let records = [record(1, 7, 1, "a"), record(1, 8, 1, "b"), record(1, 9, 1, "c")];
        let left = [left(2, 5, 1, "b"), left(2, 6, 1, "a")];
        assert_eq!(match_all(&records.each_ref(), &left), [Some(1), Some(0), None]);
    }
}
