//! Changes that the owner makes: of the settings of a sub-interface, and of its interface.

use std::sync::Arc;

use umacvlan_core::limit::Limiter;
use umacvlan_core::{Mode, SubIndex, Switch, SwitchError};
use umacvlan_netlink::Rtnl;

use super::Control;
use super::create::check_printable;
use super::host_filter::gives_to_host;
use crate::control::engine::{LinkAttribute, SubChange, SubId, SubStatus};
use crate::control::error::Error;

impl Control {
    pub(crate) fn change_sub(&mut self, id: SubId, changes: Vec<SubChange>) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        for change in &changes {
            if let SubChange::Mode(mode) = change {
                self.check_mode(sub.parent, &sub.name, *mode)?;
            }
        }
        if changes.iter().any(gives_to_host) {
            self.release_to_host(id);
        }
        let (sub, parent) = self.inventory.sub_and_parent_mut(id)?;
        let (switch, index) = (parent.switch, sub.index);
        // A limit is one for all workers.
        let limits = changes.iter().rev().find_map(SubChange::limits);
        let limiter = limits.map(|limits| Arc::new(Limiter::new(limits)));
        let (done, settings, cutoff) = parent.workers.tell(move |worker| {
            let done = changes.iter().try_for_each(|change| match (change, &limiter) {
                (SubChange::Limits(_), Some(limiter)) => worker.limit(index, limiter),
                _ => apply(worker.switch_at_mut(switch), index, change),
            });
            let switch = worker.switch_at(switch);
            (done, switch.sub(index).map(|sub| sub.settings().clone()), switch.bc_cutoff())
        })?;
        parent.bc_cutoff = Some(cutoff);
        if let Some(settings) = settings {
            sub.settings = settings;
        }
        parent.memberships.mark_stale();
        done.map_err(Error::refused(&sub.name))
    }

    pub(crate) fn set_link(
        &mut self,
        id: SubId,
        attributes: Vec<LinkAttribute>,
    ) -> Result<SubStatus, Error> {
        self.inventory.sub_and_parent(id)?;
        for attribute in &attributes {
            if let LinkAttribute::Name(name) = attribute {
                check_printable(name)?;
            }
        }
        // A change that a user has just made there counts already.
        self.resync(id);
        let mut attributes = attributes.into_iter();
        while let Some(attribute) = attributes.next() {
            let name = attributes.as_slice().iter().find_map(|next| match next {
                LinkAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            self.set_attribute(id, attribute, name)?;
        }
        self.settle_groups_of(id);
        self.sub_status(id).ok_or_else(|| Error::NoSuchSub(format!("number {id}")))
    }

    /// Sets one attribute. `name` is the one that the interface will get later, if it will: a move
    /// needs that name to be free, and not the present one.
    fn set_attribute(
        &mut self,
        id: SubId,
        attribute: LinkAttribute,
        name: Option<&str>,
    ) -> Result<(), Error> {
        // The change before may have ended it.
        self.check(id, &attribute)?;
        if let LinkAttribute::Up(false) = attribute {
            self.held.remove(&id);
            self.release_to_host(id);
        }
        let (sub, parent) = self.inventory.sub_and_parent_mut(id)?;
        if let LinkAttribute::TxQueueLen(frames) = attribute {
            sub.txqlen_max = frames;
        }
        let (handle, before) = (sub.handle(), sub.name.clone());
        if let (LinkAttribute::Mac(mac), Mode::Passthru, Some(index)) =
            (&attribute, sub.settings.mode, parent.addressed())
        {
            // It may refuse, and then nothing has changed.
            self.kernel.rtnl.set_mac(index, *mac)?;
        }
        let Some(handle) = handle else {
            return self.set_program_attribute(id, attribute);
        };
        self.kernel.visit(&handle, |rtnl, index| perform(rtnl, index, &attribute, name))?;
        match self.resync(id) {
            Some(refusal) => Err(Error::refused(&before)(refusal)),
            None => Ok(()),
        }
    }

    /// Checks the rules of macvlan, which a TAP does not have.
    fn check(&self, id: SubId, attribute: &LinkAttribute) -> Result<(), Error> {
        let (sub, parent) = self.inventory.sub_and_parent(id)?;
        let (switch, index, workers) = (parent.switch, sub.index, &parent.workers);
        let allowed = match *attribute {
            LinkAttribute::Mac(mac) => {
                workers.ask(move |it| it.switch_at(switch).check_mac(index, mac))?
            }
            LinkAttribute::Mtu(mtu) => {
                workers.ask(move |it| it.switch_at(switch).check_mtu(mtu))?
            }
            LinkAttribute::Up(up) => {
                workers.ask(move |it| it.switch_at(switch).check_up(index, up))?
            }
            _ => Ok(()),
        };
        allowed.map_err(Error::refused(&sub.name))
    }
}

fn perform(
    rtnl: &mut Rtnl,
    index: u32,
    attribute: &LinkAttribute,
    name: Option<&str>,
) -> Result<(), umacvlan_netlink::Error> {
    match attribute {
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

fn apply(switch: &mut Switch, index: SubIndex, change: &SubChange) -> Result<(), SwitchError> {
    match *change {
        SubChange::AddSource(source) => switch.add_source(index, source),
        SubChange::BcCutoff(cutoff) => {
            switch.set_bc_cutoff(cutoff);
            Ok(())
        }
        SubChange::BcQueueLen(frames) => switch.set_bc_queue_len(index, frames),
        SubChange::Flag(flag, on) => switch.set_flag(index, flag, on),
        SubChange::Rules(ref rules) => switch.set_rules(index, rules.clone()),
        SubChange::Limits(limits) => switch.set_limits(index, limits),
        SubChange::Mode(mode) => switch.set_mode(index, mode),
        SubChange::RemoveSource(source) => switch.remove_source(index, source),
        SubChange::Sources(ref sources) => switch.set_sources(index, sources),
    }
}
