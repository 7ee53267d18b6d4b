//! What the owner changes of a sub-interface, and of its interface.

use std::sync::Arc;

use umacvlan_core::{Mode, SubIndex, Switch, SwitchError};
use umacvlan_netlink::Rtnl;

use super::Control;
use super::create::check_printable;
use super::host_filter::gives_to_host;
use super::sub::Sub;
use crate::control::engine::{LinkAttribute, SubChange, SubId, SubStatus};
use crate::control::error::Error;

impl Control {
    pub(crate) fn change_sub(
        &mut self,
        number: SubId,
        changes: Vec<SubChange>,
    ) -> Result<(), Error> {
        let key = self.numbered(number)?;
        let Some((at, place)) = self.find(key) else {
            return Err(Error::Stopped);
        };
        let id = key.id;
        if changes.iter().any(gives_to_host) {
            self.release_to_host(at, id);
        }
        let parent = &mut self.parents[at];
        let switch = parent.at;
        let (done, mode) = parent.workers.tell(move |worker| {
            let switch = worker.switch_at_mut(switch);
            let done = changes.iter().try_for_each(|change| apply(switch, id, change));
            (done, switch.sub(id).map(umacvlan_core::Sub::mode))
        })?;
        let sub = &mut parent.subs[place];
        sub.mode = mode.unwrap_or(sub.mode);
        parent.memberships.mark();
        done.map_err(Error::refused(&parent.subs[place].name))
    }

    pub(crate) fn set_link(
        &mut self,
        number: SubId,
        sets: Vec<LinkAttribute>,
    ) -> Result<SubStatus, Error> {
        let key = self.numbered(number)?;
        for set in &sets {
            if let LinkAttribute::Name(name) = set {
                check_printable(name)?;
            }
        }
        // What a user has just done there counts already.
        self.resync(key);
        let mut sets = sets.into_iter();
        while let Some(set) = sets.next() {
            let name = sets.as_slice().iter().find_map(|set| match set {
                LinkAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            self.set_one(number, set, name)?;
        }
        self.settle_groups_of(key);
        self.sub_status(key).ok_or_else(|| Error::NoSuchSub(format!("number {number}")))
    }

    /// Sets one thing. `name` is the one that the interface will have, if it will have another: a
    /// move needs that one to be free, and not the present one.
    fn set_one(
        &mut self,
        number: SubId,
        set: LinkAttribute,
        name: Option<&str>,
    ) -> Result<(), Error> {
        // It may have gone with the change before.
        let key = self.numbered(number)?;
        let Some((at, place)) = self.find(key) else {
            return Err(Error::Stopped);
        };
        self.check(at, place, &set)?;
        if let LinkAttribute::Up(false) = set {
            self.release_to_host(at, key.id);
        }
        let parent = &self.parents[at];
        let sub = &parent.subs[place];
        let (tap, before) = (Arc::clone(&sub.tap), sub.name.clone());
        if let (LinkAttribute::Mac(mac), Mode::Passthru, Some(index)) =
            (&set, sub.mode, parent.addressed())
        {
            // It may refuse, and then nothing has changed.
            self.rtnl.set_mac(index, *mac)?;
        }
        self.visit(&tap, |rtnl, index| perform(rtnl, index, &set, name))?;
        match self.resync(key) {
            Some(refusal) => Err(Error::refused(&before)(refusal)),
            None => Ok(()),
        }
    }

    /// The rules of macvlan, which a TAP knows nothing of.
    fn check(&self, at: usize, place: usize, set: &LinkAttribute) -> Result<(), Error> {
        let parent = &self.parents[at];
        let Sub { id, name, .. } = &parent.subs[place];
        let (id, at) = (*id, parent.at);
        let allowed = match *set {
            LinkAttribute::Mac(mac) => {
                parent.workers.ask(move |it| it.switch_at(at).check_mac(id, mac))?
            }
            LinkAttribute::Mtu(mtu) => {
                parent.workers.ask(move |it| it.switch_at(at).check_mtu(mtu))?
            }
            LinkAttribute::Up(up) => {
                parent.workers.ask(move |it| it.switch_at(at).check_up(id, up))?
            }
            _ => Ok(()),
        };
        allowed.map_err(Error::refused(name))
    }
}

fn perform(
    rtnl: &mut Rtnl,
    index: u32,
    set: &LinkAttribute,
    name: Option<&str>,
) -> Result<(), umacvlan_netlink::Error> {
    match set {
        LinkAttribute::Alias(text) => rtnl.set_alias(index, text),
        LinkAttribute::Allmulti(on) => rtnl.set_allmulti(index, *on),
        LinkAttribute::Mac(mac) => rtnl.set_mac(index, *mac),
        LinkAttribute::Mtu(mtu) => rtnl.set_mtu(index, *mtu),
        LinkAttribute::Name(name) => rtnl.set_name(index, name),
        LinkAttribute::Netns(netns) => match name {
            Some(name) => rtnl.set_netns_as(index, netns, name),
            None => rtnl.set_netns(index, netns),
        },
        LinkAttribute::Promisc(on) => rtnl.set_promisc(index, *on),
        LinkAttribute::TxQueueLen(frames) => rtnl.set_txqlen(index, *frames),
        LinkAttribute::Up(on) => rtnl.set_up(index, *on),
    }
}

fn apply(switch: &mut Switch, id: SubIndex, change: &SubChange) -> Result<(), SwitchError> {
    match *change {
        SubChange::AddSource(source) => switch.add_source(id, source),
        SubChange::BcCutoff(cutoff) => {
            switch.set_bc_cutoff(cutoff);
            Ok(())
        }
        SubChange::BcQueueLen(frames) => switch.set_bc_queue_len(id, frames),
        SubChange::Flag(flag, on) => switch.set_flag(id, flag, on),
        SubChange::Mode(mode) => switch.set_mode(id, mode),
        SubChange::RemoveSource(source) => switch.remove_source(id, source),
        SubChange::Sources(ref sources) => switch.set_sources(id, sources),
    }
}
