//! Changing links.

use umacvlan_engine::engine::{Change, LinkSet, SubId};

use super::problem::storage_error;
use super::{Service, netns};
use crate::ServiceError;
use umacvlan_api::{LinkChange, MacaddrOp, MacvlanChange};

impl Service {
    /// Changes a link, step by step. Steps before one that is refused remain, and are saved.
    pub(super) fn change(
        &mut self,
        id: u64,
        change: &LinkChange,
        caller: Option<u32>,
    ) -> Result<(), ServiceError> {
        let number = SubId(id);
        let sets = sets(change, caller)?;
        let macvlan = change.macvlan.as_ref().map(changes).unwrap_or_default();
        let mut done = Ok(());
        if !macvlan.is_empty() {
            done = self.engine.change_sub(number, macvlan);
        }
        if done.is_ok() && !sets.is_empty() {
            done = self.engine.set_link(number, sets).map(drop);
        }
        let mut saved = self.refresh(id);
        if change.macvlan.as_ref().is_some_and(|macvlan| macvlan.bclim.is_some())
            && let Some(parent) = self.links.get(&id).map(|link| link.seen.parent.clone())
        {
            saved = saved.and_then(|()| self.write_parent(&parent));
        }
        done?;
        saved.map_err(|error| storage_error("the link, which is changed,", &error))
    }
}

/// The steps of the kernel's `macvlan_changelink`, beginning with the one that can be refused.
fn changes(wanted: &MacvlanChange) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(wanted.mode.map(Change::Mode));
    if let Some(flags) = wanted.flags {
        changes.extend([Change::Nodst(flags.nodst), Change::Nopromisc(flags.nopromisc)]);
    }
    changes.extend(wanted.bcqueuelen.map(Change::BcQueueLen));
    changes.extend(wanted.bclim.map(Change::BcCutoff));
    if let Some(list) = &wanted.macaddr {
        let addresses = list.addresses.iter().copied();
        match list.op {
            MacaddrOp::Add => changes.extend(addresses.map(Change::AddSource)),
            MacaddrOp::Del => changes.extend(addresses.map(Change::RemoveSource)),
            MacaddrOp::Set => changes.push(Change::Sources(addresses.collect())),
        }
    }
    changes
}

fn sets(change: &LinkChange, caller: Option<u32>) -> Result<Vec<LinkSet>, ServiceError> {
    let LinkChange {
        macvlan: _,
        netns,
        address,
        mtu,
        txqueuelen,
        name,
        alias,
        promisc,
        allmulticast,
        up,
    } = change;
    let mut sets = Vec::new();
    if let Some(place) = netns {
        sets.push(LinkSet::Netns(netns::open(place, caller)?));
    }
    sets.extend(address.map(LinkSet::Mac));
    sets.extend(mtu.map(LinkSet::Mtu));
    sets.extend(txqueuelen.map(LinkSet::TxQueueLen));
    sets.extend(name.clone().map(LinkSet::Name));
    sets.extend(alias.clone().map(LinkSet::Alias));
    sets.extend(promisc.map(LinkSet::Promisc));
    sets.extend(allmulticast.map(LinkSet::Allmulti));
    sets.extend(up.map(LinkSet::Up));
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use umacvlan_core::{MacAddr, Mode};

    use super::*;
    use umacvlan_api::{Flags, MacaddrChange};

    #[test]
    fn the_mode_comes_first_and_the_source_list_last() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let wanted = MacvlanChange {
            mode: Some(Mode::Source),
            flags: Some(Flags { nodst: true, nopromisc: false }),
            bcqueuelen: Some(7),
            bclim: Some(-1),
            macaddr: Some(MacaddrChange { op: MacaddrOp::Add, addresses: vec![mac] }),
        };
        let steps = [
            Change::Mode(Mode::Source),
            Change::Nodst(true),
            Change::Nopromisc(false),
            Change::BcQueueLen(7),
            Change::BcCutoff(-1),
            Change::AddSource(mac),
        ];
        assert_eq!(changes(&wanted), steps);
        let flush = MacaddrChange { op: MacaddrOp::Set, addresses: Vec::new() };
        let wanted = MacvlanChange { macaddr: Some(flush), ..MacvlanChange::default() };
        assert_eq!(changes(&wanted), [Change::Sources(Vec::new())]);
    }

    #[test]
    fn absent_fields_change_nothing() {
        assert!(changes(&MacvlanChange::default()).is_empty());
        assert!(sets(&LinkChange::default(), None).unwrap().is_empty());
    }
}
