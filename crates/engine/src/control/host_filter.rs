//! What the host of a parent does not get, because a macvlan in the kernel would have consumed it.
//!
//! The switch says what that is, a program in the kernel does it where there may be one. The
//! filter follows the switch, in an order in which no frame is lost to both: what the host gets
//! again it gets before the switch lets go of it, and what it no longer gets it loses after the
//! switch has taken it. A user who sets his interface down is only followed: frames for it that
//! come meanwhile are lost, as they would have been a moment before.

use std::io;

use umacvlan_core::switch::HostFilterRules;
use umacvlan_core::{MacvlanFlag, SubIndex};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::bpf::host::HostFilter;

use super::Control;
use super::parent::Parent;
#[cfg(doc)]
use super::rx_filter::Memberships;
use crate::control::engine::{HostFilterStatus, SubChange};

/// The filter of one parent.
#[derive(Debug, Default)]
pub(super) struct HostSide {
    state: State,
    /// It hides less than the switch says.
    stale: bool,
    /// The changes of sub-interfaces that it knows, as [`Memberships::marks`] counts them.
    known: u64,
    /// VLANs of the host have come or gone.
    vlans_stale: bool,
}

#[derive(Debug, Default)]
enum State {
    /// There is nobody for whom something could be hidden.
    #[default]
    Idle,
    On(Box<HostFilter>),
    /// There is none, and why.
    Off(String),
}

impl HostSide {
    /// For a parent whose host is to hear everything, or only what is its own.
    pub(super) fn new(hears_all: bool) -> Self {
        let state = match hears_all {
            true => State::Off("the host is to hear everything".to_owned()),
            false => State::Idle,
        };
        Self { state, stale: false, known: 0, vlans_stale: true }
    }

    /// Gives the host everything, and says why from now on.
    pub(super) fn end(&mut self, why: &str) {
        self.state = State::Off(why.to_owned());
    }

    /// The interface has gone, and the filter with it; another one may take one again.
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

    /// Hides what the view says, with the filter there is or a new one.
    fn show(&mut self, name: &str, view: &HostFilterRules) -> io::Result<()> {
        match &mut self.state {
            State::On(filter) => filter.set_rules(view),
            State::Idle => {
                match HostFilter::attach(name, view) {
                    Ok(filter) => self.state = State::On(Box::new(filter)),
                    Err(error) => self.end(&reason(&error)),
                }
                Ok(())
            }
            State::Off(_) => Ok(()),
        }
    }
}

impl Control {
    /// Brings every filter up to date with its switch, where sub-interfaces have changed.
    pub(super) fn settle_host_filters(&mut self) {
        for at in 0..self.parents.len() {
            let Parent { host, memberships, index, subs, workers, path, .. } =
                &mut self.parents[at];
            if !path.is_untagged() {
                // A host without a device for the VLAN has no use for its frames.
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
            // A worker that has stopped has told so.
            if let Ok(view) = workers.ask(|worker| worker.switch().host_filter_rules()) {
                self.show_host(at, index, &view);
            }
        }
    }

    fn show_host(&mut self, at: usize, index: u32, view: &HostFilterRules) {
        // By its name of now. One that is gone is told of by an event.
        let Ok(Some(link)) = self.rtnl.link_by_index(index) else {
            return;
        };
        let host = &mut self.parents[at].host;
        host.stale = false;
        let shown = host.show(&link.name, view);
        let shown = shown.and_then(|()| self.settle_vlans(at, index));
        if let Err(error) = shown {
            self.parents[at].host.end(&error.to_string());
            self.trouble(format!(
                "the host of {} hears what is not its own from now on: {error}",
                link.name
            ));
        }
    }

    /// Leaves to the host the VLANs that it has devices for.
    fn settle_vlans(&mut self, at: usize, index: u32) -> io::Result<()> {
        let HostSide { state: State::On(filter), vlans_stale, .. } = &mut self.parents[at].host
        else {
            return Ok(());
        };
        if !std::mem::take(vlans_stale) {
            return Ok(());
        }
        filter.set_vlans(&vlans_on(&mut self.rtnl, index)?)
    }

    /// Gives the host what a sub-interface takes from it, before the switch lets go of it.
    pub(super) fn release_to_host(&mut self, at: usize, id: SubIndex) {
        let Parent { host, workers, name, .. } = &mut self.parents[at];
        host.stale = true;
        if let State::On(filter) = &mut host.state
            // A worker that has stopped has told so.
            && let Ok(view) = workers.ask(move |worker| worker.switch().host_filter_rules_without(Some(id)))
            && let Err(error) = filter.set_rules(&view)
        {
            host.end(&error.to_string());
            let what = format!("the host of {name} hears what is not its own from now on: {error}");
            self.trouble(what);
        }
    }

    /// A VLAN of the host has come, on one of the parents or not.
    pub(super) fn follow_vlan(&mut self, link: &Link) {
        if link.vlan.is_some() {
            let below = |index: Option<u32>| index.is_some() && index == link.lower;
            for parent in self.parents.iter_mut().filter(|parent| below(parent.index)) {
                parent.host.vlans_stale = true;
            }
            for trunk in self.trunks.iter_mut().filter(|trunk| below(trunk.index)) {
                trunk.reach.mark_vlans(true);
            }
        }
    }

    /// An interface of ours has gone, and may have been a VLAN.
    pub(super) fn lose_vlan(&mut self) {
        for trunk in &mut self.trunks {
            trunk.reach.mark_vlans(false);
        }
        for parent in &mut self.parents {
            if let State::On(filter) = &parent.host.state {
                parent.host.vlans_stale |= filter.has_vlans();
            }
        }
    }
}

/// True for a change after which the host may get more frames than before. A flag counts unless it
/// is known not to.
pub(super) fn gives_to_host(change: &SubChange) -> bool {
    use MacvlanFlag::{Nodst, Nopromisc};
    match change {
        SubChange::Mode(_) | SubChange::RemoveSource(_) | SubChange::Sources(_) => true,
        SubChange::Flag(flag, on) => !matches!((flag, on), (Nodst, true) | (Nopromisc, _)),
        SubChange::AddSource(_) | SubChange::BcCutoff(_) | SubChange::BcQueueLen(_) => false,
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
