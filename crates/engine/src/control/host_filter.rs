//! The host filter: it hides from the host of a parent the frames that the kernel's macvlan would
//! have consumed.
//!
//! The switch has the rules, and a program in the kernel applies them where that is possible. The
//! filter follows the switch in an order in which no frame is lost to both: the host gets a frame
//! again before the switch stops taking it, and no longer after the switch takes it. A user who
//! sets his interface down is only followed: frames for it that come meanwhile are lost, as they
//! would have been a moment before.

use std::io;

use umacvlan_core::MacvlanFlag;
use umacvlan_core::switch::HostFilterRules;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::bpf::SharedAddresses;
use umacvlan_sys::bpf::host::HostFilter;

use super::Control;
use super::inventory::ParentId;
use super::neighbours::share;
use super::parent::Parent;
#[cfg(doc)]
use super::rx_filter::Memberships;
use crate::control::engine::{HostFilterStatus, SubChange, SubId};
use umacvlan_datapath::worker::Worker;

/// The filter of one parent.
#[derive(Debug, Default)]
pub(super) struct HostSide {
    state: State,
    /// The host is to get every frame.
    gets_all: bool,
    /// It hides less than the rules of the switch say.
    stale: bool,
    /// The changes of sub-interfaces that it has, as [`Memberships::marks`] counts them.
    known: u64,
    /// VLANs of the host have come or gone.
    vlans_stale: bool,
}

#[derive(Debug, Default)]
enum State {
    /// There is no sub-interface, so nothing is hidden.
    #[default]
    Idle,
    On(Box<HostFilter>),
    /// There is no filter, and why.
    Off(String),
}

impl HostSide {
    /// For a parent whose host gets every frame, or only its own.
    pub(super) fn new(gets_all: bool) -> Self {
        let state = match gets_all {
            true => State::Off("the host is to get every frame".to_owned()),
            false => State::Idle,
        };
        Self { state, gets_all, stale: false, known: 0, vlans_stale: true }
    }

    /// True if the host is to get every frame, as its owner wants.
    pub(super) fn gets_all(&self) -> bool {
        self.gets_all
    }

    /// Gives the host everything from now on, for this reason.
    pub(super) fn end(&mut self, why: &str) {
        self.state = State::Off(why.to_owned());
    }

    /// The IP addresses that a new filter hides, for the worker that knows them.
    pub(super) fn take_shared(&mut self) -> Option<SharedAddresses> {
        match &mut self.state {
            State::On(filter) => filter.take_shared(),
            State::Idle | State::Off(_) => None,
        }
    }

    /// Notes that the interface has gone, and the filter with it. Another one may get one again.
    pub(super) fn forget(&mut self) {
        if let State::On(_) = self.state {
            self.state = State::Idle;
        }
        (self.stale, self.vlans_stale) = (true, true);
    }

    pub(super) fn status(&self) -> HostFilterStatus {
        match &self.state {
            State::Idle => HostFilterStatus::Idle,
            State::On(filter) => HostFilterStatus::On(filter.attachment()),
            State::Off(why) => HostFilterStatus::Off(why.clone()),
        }
    }

    /// Hides what the rules say, with the filter there is or a new one.
    fn show(&mut self, name: &str, rules: &HostFilterRules) -> io::Result<()> {
        match &mut self.state {
            State::On(filter) => filter.set_rules(rules),
            State::Idle => {
                match HostFilter::attach(name, rules) {
                    Ok(filter) => self.state = State::On(Box::new(filter)),
                    Err(error) => self.end(&reason(&error)),
                }
                Ok(())
            }
            State::Off(_) => Ok(()),
        }
    }

    /// Has the filter run after a program that was attached since.
    pub(super) fn move_last(&mut self, name: &str) -> io::Result<()> {
        match &mut self.state {
            State::On(filter) => filter.move_last(name),
            State::Idle | State::Off(_) => Ok(()),
        }
    }

    /// Leaves to the host the VLANs that it has devices for, if they may have changed.
    fn settle_vlans(&mut self, vlans: impl FnOnce() -> io::Result<Vec<u16>>) -> io::Result<()> {
        match &mut self.state {
            State::On(filter) if std::mem::take(&mut self.vlans_stale) => {
                filter.set_vlans(&vlans()?)
            }
            _ => Ok(()),
        }
    }
}

impl Control {
    /// Updates the filter of every parent whose sub-interfaces have changed.
    pub(super) fn settle_host_filters(&mut self) {
        for id in self.inventory.parent_ids() {
            let Parent { host, memberships, index, subs, workers, path, translation, info, .. } =
                &mut self.inventory[id];
            if !path.is_untagged() {
                // A host without a device for the VLAN does not use its frames.
                continue;
            }
            let changed = host.known != memberships.marks();
            host.known = memberships.marks();
            let stale = match host.state {
                // Attached before the first of them is up: to load a program takes milliseconds.
                State::Idle => !subs.is_empty(),
                State::On(_) => host.stale || host.vlans_stale || changed,
                State::Off(_) => false,
            };
            let (true, Some(index)) = (stale, *index) else {
                continue;
            };
            // A worker that has stopped has reported it.
            if let Ok(mut rules) = workers.ask(|worker| worker.switch().host_filter_rules()) {
                share(&mut rules, translation.as_ref(), info.mac);
                self.show_host(id, index, &rules);
            }
        }
    }

    fn show_host(&mut self, id: ParentId, index: u32, rules: &HostFilterRules) {
        // By its name of now. One that is gone has an event of its own.
        let Ok(Some(link)) = self.kernel.rtnl.link_by_index(index) else {
            return;
        };
        let host = &mut self.inventory[id].host;
        host.stale = false;
        let shown = host.show(&link.name, rules);
        let shown =
            shown.and_then(|()| host.settle_vlans(|| vlans_on(&mut self.kernel.rtnl, index)));
        if let Err(error) = shown {
            host.end(&error.to_string());
            self.events.trouble(gets_everything(&link.name, &error));
        }
        self.hide_neighbours(id);
    }

    /// Gives the host the frames of a sub-interface, before the switch stops taking them.
    pub(super) fn release_to_host(&mut self, id: SubId) {
        let Ok((sub, parent)) = self.inventory.sub_and_parent_mut(id) else {
            return;
        };
        let (Parent { host, workers, name, translation, info, .. }, index) = (parent, sub.index);
        host.stale = true;
        let rules = move |it: &mut Worker| it.switch().host_filter_rules_without(Some(index));
        if let State::On(filter) = &mut host.state
            // A worker that has stopped has reported it.
            && let Ok(mut rules) = workers.ask(rules)
        {
            share(&mut rules, translation.as_ref(), info.mac);
            let Err(error) = filter.set_rules(&rules) else {
                return;
            };
            host.end(&error.to_string());
            self.events.trouble(gets_everything(name, &error));
        }
    }

    /// Notes that a VLAN device of the host has come, on one of the parents or not.
    pub(super) fn follow_vlan(&mut self, link: &Link) {
        if link.vlan.is_some() {
            let below = |index: Option<u32>| index.is_some() && index == link.lower;
            for parent in self.inventory.parents_mut().filter(|parent| below(parent.index)) {
                parent.host.vlans_stale = true;
            }
            for device in self.inventory.devices_mut().filter(|device| below(device.index)) {
                device.uplink.mark_vlans(true);
            }
        }
    }

    /// Notes that an interface of the host has gone, which may have been a VLAN device.
    pub(super) fn lose_vlan(&mut self) {
        for device in self.inventory.devices_mut() {
            device.uplink.mark_vlans(false);
        }
        for parent in self.inventory.parents_mut() {
            if let State::On(filter) = &parent.host.state {
                parent.host.vlans_stale |= filter.has_vlans();
            }
        }
    }
}

fn gets_everything(parent: &str, error: &io::Error) -> String {
    format!("the host of {parent} gets the frames of sub-interfaces, too, from now on: {error}")
}

/// True for a change after which the host may get more frames than before. A flag counts unless it
/// is known not to.
pub(super) fn gives_to_host(change: &SubChange) -> bool {
    use MacvlanFlag::{Nodst, Nopromisc};
    match change {
        SubChange::Mode(_) | SubChange::RemoveSource(_) | SubChange::Sources(_) => true,
        SubChange::Flag(flag, on) => !matches!((flag, on), (Nodst, true) | (Nopromisc, _)),
        SubChange::AddSource(_)
        | SubChange::BcCutoff(_)
        | SubChange::BcQueueLen(_)
        | SubChange::Limits(_)
        | SubChange::Rules(_) => false,
    }
}

/// The VLANs that the host has devices for on an interface.
pub(super) fn vlans_on(rtnl: &mut Rtnl, index: u32) -> io::Result<Vec<u16>> {
    let links = rtnl.links().map_err(io::Error::other)?;
    Ok(links.iter().filter_map(|link| vlan_on(link, index)).collect())
}

/// The VLAN of an interface that is one on top of this.
fn vlan_on(link: &Link, index: u32) -> Option<u16> {
    link.vlan.filter(|_| link.lower == Some(index) && link.link_netnsid.is_none())
}

/// Why there is no filter.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("CAP_BPF and CAP_NET_ADMIN are needed ({error})")
        }
        _ => error.to_string(),
    }
}
