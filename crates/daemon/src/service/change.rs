//! Changing links.

use umacvlan_core::MacvlanFlag;
use umacvlan_engine::engine::{LinkAttribute, SubChange, SubId};

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
fn changes(wanted: &MacvlanChange) -> Vec<SubChange> {
    let mut changes = Vec::new();
    changes.extend(wanted.mode.map(SubChange::Mode));
    if let Some(flags) = wanted.flags {
        changes.extend(MacvlanFlag::ALL.map(|flag| SubChange::Flag(flag, flags.contains(flag))));
    }
    changes.extend(wanted.bcqueuelen.map(SubChange::BcQueueLen));
    changes.extend(wanted.bclim.map(SubChange::BcCutoff));
    if let Some(list) = &wanted.macaddr {
        let addresses = list.addresses.iter().copied();
        match list.op {
            MacaddrOp::Add => changes.extend(addresses.map(SubChange::AddSource)),
            MacaddrOp::Del => changes.extend(addresses.map(SubChange::RemoveSource)),
            MacaddrOp::Set => changes.push(SubChange::Sources(addresses.collect())),
        }
    }
    changes
}

fn sets(change: &LinkChange, caller: Option<u32>) -> Result<Vec<LinkAttribute>, ServiceError> {
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
        sets.push(LinkAttribute::Netns(netns::open(place, caller)?));
    }
    sets.extend(address.map(LinkAttribute::Mac));
    sets.extend(mtu.map(LinkAttribute::Mtu));
    sets.extend(txqueuelen.map(LinkAttribute::TxQueueLen));
    sets.extend(name.clone().map(LinkAttribute::Name));
    sets.extend(alias.clone().map(LinkAttribute::Alias));
    sets.extend(promisc.map(LinkAttribute::Promisc));
    sets.extend(allmulticast.map(LinkAttribute::Allmulti));
    sets.extend(up.map(LinkAttribute::Up));
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use umacvlan_core::{MacAddr, MacvlanFlags, Mode};

    use super::*;
    use umacvlan_api::MacaddrChange;

    #[test]
    fn the_mode_comes_first_and_the_source_list_last() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let wanted = MacvlanChange {
            mode: Some(Mode::Source),
            flags: Some(MacvlanFlags::default().with(MacvlanFlag::Nodst, true)),
            bcqueuelen: Some(7),
            bclim: Some(-1),
            macaddr: Some(MacaddrChange { op: MacaddrOp::Add, addresses: vec![mac] }),
        };
        let steps = [
            SubChange::Mode(Mode::Source),
            SubChange::Flag(MacvlanFlag::Nodst, true),
            SubChange::Flag(MacvlanFlag::Nopromisc, false),
            SubChange::BcQueueLen(7),
            SubChange::BcCutoff(-1),
            SubChange::AddSource(mac),
        ];
        assert_eq!(changes(&wanted), steps);
        let flush = MacaddrChange { op: MacaddrOp::Set, addresses: Vec::new() };
        let wanted = MacvlanChange { macaddr: Some(flush), ..MacvlanChange::default() };
        assert_eq!(changes(&wanted), [SubChange::Sources(Vec::new())]);
    }

    #[test]
    fn absent_fields_change_nothing() {
        assert!(changes(&MacvlanChange::default()).is_empty());
        assert!(sets(&LinkChange::default(), None).unwrap().is_empty());
    }
}
