//! Changing links.

use std::io;

use nix::libc::EOPNOTSUPP;
use umacvlan_core::rules::RuleError;
use umacvlan_core::{MacvlanFlag, MacvlanSettings, Mode};
use umacvlan_engine::engine::{LinkAttribute, SubChange, SubId};

use super::problem::{plain, storage_error};
use super::{Entry, Room, Service, netns};
use crate::ServiceError;
use umacvlan_api::{Code, LinkChange, LinkKind, MacaddrOp, MacvlanChange, Problem};

impl Service {
    /// Changes a link, step by step. Steps before one that is refused remain, and are saved. Without
    /// room for its state nothing changes.
    pub(super) fn change(
        &mut self,
        id: u64,
        change: &LinkChange,
        caller: Option<u32>,
    ) -> Result<(), ServiceError> {
        let number = SubId(id);
        self.check_kind(id, change)?;
        self.check_host_stays(id, change)?;
        let sets = sets(change, caller)?;
        let before = self.links.get(&id).map(|link| link.seen.settings.clone()).unwrap_or_default();
        let macvlan = change.macvlan.as_ref().map(|wanted| changes(wanted, before));
        let macvlan = macvlan
            .unwrap_or(Ok(Vec::new()))
            .map_err(|error| plain(Code::Refused, error.to_string()))?;
        let room = match self.links.get(&id).filter(|_| is_recorded(change)) {
            Some(link) => Some(
                self.reserve(link, change)
                    .map_err(|error| storage_error(&link.seen.name, &error))?,
            ),
            None => None,
        };
        let (mut done, mut host_done) = (Ok(()), Ok(()));
        if !macvlan.is_empty() {
            done = self.engine.change_sub(number, macvlan);
        }
        if done.is_ok() && !sets.is_empty() {
            done = self.engine.set_link(number, sets).map(drop);
        }
        if let (true, Some(host)) = (done.is_ok(), &change.host) {
            host_done = self.change_host_access(id, host);
        }
        // Steps before one that was refused remain.
        if let (Some(name), Ok(is)) = (&change.name, self.engine.sub(number))
            && is.name == *name
            && let Some(link) = self.links.get_mut(&id)
        {
            link.given_name.clone_from(name);
        }
        let (room, limit) = match change.macvlan.as_ref().and_then(|macvlan| macvlan.bclim) {
            // The limit is the parent's, and no change of the link's own state.
            Some(_) => room.map(|Room { link, parent }| (Room { link, parent: None }, parent)),
            None => room.map(|room| (room, None)),
        }
        .unzip();
        let mut saved = self.refresh_in(id, room);
        if let (Some(limit), Some(link)) = (limit.flatten(), self.links.get(&id)) {
            let parent = link.seen.parent.clone();
            saved = saved.and_then(|()| self.write_parent(&parent, Some(limit)));
        }
        done?;
        host_done?;
        saved.map_err(|error| storage_error("the link, which is changed,", &error))
    }
}

impl Service {
    /// Refuses a change that is for links of another type.
    fn check_kind(&self, id: u64, change: &LinkChange) -> Result<(), ServiceError> {
        let wanted = change.macvlan.as_ref().and_then(|macvlan| macvlan.kind);
        let (Some(wanted), Some(link)) = (wanted, self.links.get(&id)) else {
            return Ok(());
        };
        let is_program = link.seen.program.is_some();
        if is_program == (wanted == LinkKind::Macvtap) {
            return Ok(());
        }
        let kind = if is_program { "macvtap" } else { "macvlan" };
        Err(ServiceError(Problem {
            code: Code::Refused,
            message: format!("link {} is of type {kind}", link.seen.name),
            errno: Some(EOPNOTSUPP),
            kernel: None,
            device: None,
        }))
    }

    /// Takes the room for the state of a link and its parent after a change.
    fn reserve(&self, link: &Entry, change: &LinkChange) -> io::Result<Room> {
        let more = serde_json::to_vec(change)?.len();
        let parent = self.reserve_parent(&link.seen.parent)?;
        Ok(Room { link: self.store.reserve_link(&link.record(), more)?, parent })
    }
}

/// Whether the change is to a part of a link that is in its record. The rest its interface keeps.
const fn is_recorded(change: &LinkChange) -> bool {
    let LinkChange { macvlan, netns, address, name, host, .. } = change;
    macvlan.is_some() || netns.is_some() || address.is_some() || name.is_some() || host.is_some()
}

/// The steps of the kernel's `macvlan_changelink`, beginning with the one that can be refused.
fn changes(wanted: &MacvlanChange, before: MacvlanSettings) -> Result<Vec<SubChange>, RuleError> {
    let MacvlanSettings { limits, rules, .. } = before;
    let mut changes = Vec::new();
    let change = wanted.rules.as_ref();
    changes.extend(change.map(|change| change.apply(rules).map(SubChange::Rules)).transpose()?);
    // Mode source has fewer rules than others: it begins without them, and others end it first.
    let at = if wanted.mode == Some(Mode::Source) { changes.len() } else { 0 };
    changes.splice(at..at, wanted.mode.map(SubChange::Mode));
    if let Some(flags) = wanted.flags {
        changes.extend(MacvlanFlag::KERNEL.map(|flag| SubChange::Flag(flag, flags.contains(flag))));
    }
    changes.extend(wanted.spoofchk.map(|on| SubChange::Flag(MacvlanFlag::Spoofchk, on)));
    changes.extend(wanted.limits.as_ref().map(|change| SubChange::Limits(change.apply(limits))));
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
    Ok(changes)
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
        host: _,
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
    use umacvlan_core::limit::{LimitKind, Limits, LimitsChange};
    use umacvlan_core::rules::{RuleOp, RuleWord, Rules, RulesChange};
    use umacvlan_core::{MacAddr, MacvlanFlags, Mode};

    use super::*;
    use umacvlan_api::MacaddrChange;

    fn rules(ips: &[&str]) -> Rules {
        let mut rules = Rules::default();
        ips.iter().for_each(|ip| rules.add(RuleWord::AllowIp, ip).unwrap());
        rules
    }

    fn rules_change(op: RuleOp, ip: &str) -> RulesChange {
        let mut change = RulesChange::default();
        change.edit(RuleWord::AllowIp, op, [ip]).unwrap();
        change
    }

    #[test]
    fn the_mode_comes_first_and_the_source_list_last() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let wanted = MacvlanChange {
            mode: Some(Mode::Source),
            flags: Some(MacvlanFlags::default().with(MacvlanFlag::Nodst, true)),
            spoofchk: Some(true),
            limits: Some(LimitsChange::from(Limits::default().with(LimitKind::TxRate, 7))),
            bcqueuelen: Some(7),
            bclim: Some(-1),
            macaddr: Some(MacaddrChange { op: MacaddrOp::Add, addresses: vec![mac] }),
            rules: Some(rules_change(RuleOp::Add, "192.0.2.7")),
            kind: None,
        };
        let before = Limits::default().with(LimitKind::RxPps, 9);
        let steps = [
            SubChange::Rules(rules(&["192.0.2.6", "192.0.2.7"])),
            SubChange::Mode(Mode::Source),
            SubChange::Flag(MacvlanFlag::Nodst, true),
            SubChange::Flag(MacvlanFlag::Nopromisc, false),
            SubChange::Flag(MacvlanFlag::Spoofchk, true),
            SubChange::Limits(before.with(LimitKind::TxRate, 7)),
            SubChange::BcQueueLen(7),
            SubChange::BcCutoff(-1),
            SubChange::AddSource(mac),
        ];
        let before = MacvlanSettings {
            limits: before,
            rules: rules(&["192.0.2.6"]),
            ..MacvlanSettings::default()
        };
        assert_eq!(changes(&wanted, before.clone()).unwrap(), steps);
        let flush = MacaddrChange { op: MacaddrOp::Set, addresses: Vec::new() };
        let wanted = MacvlanChange { macaddr: Some(flush), ..MacvlanChange::default() };
        assert_eq!(changes(&wanted, before.clone()).unwrap(), [SubChange::Sources(Vec::new())]);
        let wanted = MacvlanChange {
            mode: Some(Mode::Bridge),
            rules: Some(rules_change(RuleOp::Del, "192.0.2.6")),
            ..MacvlanChange::default()
        };
        let steps = [SubChange::Mode(Mode::Bridge), SubChange::Rules(rules(&[]))];
        assert_eq!(changes(&wanted, before).unwrap(), steps, "mode source has fewer rules");
    }

    #[test]
    fn absent_fields_change_nothing() {
        assert!(changes(&MacvlanChange::default(), MacvlanSettings::default()).unwrap().is_empty());
        assert!(sets(&LinkChange::default(), None).unwrap().is_empty());
    }
}
