//! Parents: attached, followed, lost, found again.

use std::io;
use std::sync::Arc;

use umacvlan_core::{MacAddr, Mode};

use super::Control;
use super::host_filter::HostSide;
use super::reach::Reach;
use super::sub::{Sub, let_go};
use super::suitable::check_suitable;
use super::uplink::Memberships;
use super::workers::Workers;
use crate::engine::{Absent, Event, ParentOptions, WORKERS_MAX};
use crate::error::Error;
use crate::netlink::{Link, LinkFlags};
use crate::uplink::Uplink;
use crate::worker::{Notifier, Worker, WorkerConfig};

/// Turns in which a worker forwards what waits when it is to stop: more than a full queue takes.
const LAST_TURNS: usize = 64;

/// A parent as the control thread knows it.
pub(super) struct Parent {
    pub(super) number: u64,
    pub(super) name: String,
    /// The index of its interface; `None` while there is none.
    pub(super) index: Option<u32>,
    pub(super) carrier: bool,
    /// True while its workers have their sockets on it. Several cannot be had while it is down.
    attached: bool,
    /// How its workers were asked to run.
    pub(super) configs: Vec<WorkerConfig>,
    /// The address that it was last given by anybody but a passthru sub-interface.
    pub(super) own_mac: MacAddr,
    pub(super) workers: Workers,
    pub(super) subs: Vec<Sub>,
    pub(super) memberships: Memberships,
    pub(super) host: HostSide,
    pub(super) reach: Reach,
    /// Frames that the rings of its uplinks had no slot for.
    pub(super) ring_drops: u64,
}

impl Parent {
    /// Serves those no longer whose interfaces are kept. What they have sent already is forwarded.
    pub(super) fn let_go_kept(&mut self) {
        let (kept, rest): (Vec<Sub>, _) = self.subs.drain(..).partition(|sub| sub.kept);
        self.subs = rest;
        for sub in &kept {
            // Refused only by a TAP that is gone.
            let _ = sub.tap.set_carrier(false);
        }
        if !kept.is_empty() {
            let turns = |worker: &mut Worker| {
                (0..LAST_TURNS)
                    .take_while(|_| worker.turn().is_ok_and(|turn| turn.events > 0))
                    .count()
            };
            // A worker that has stopped forwards nothing any more.
            let _ = self.workers.each(turns);
        }
        for sub in kept {
            let_go(self, sub);
        }
    }
}

impl Control {
    pub(crate) fn add_parent(&mut self, options: ParentOptions) -> Result<(), Error> {
        let name = options.name;
        if self.parents.iter().any(|parent| parent.name == name) {
            return Err(Error::ParentTaken(name));
        }
        let mut configs = options.workers;
        if configs.is_empty() {
            configs.push(WorkerConfig::default());
        }
        let count = configs.len();
        if count > WORKERS_MAX {
            return Err(Error::ParentWorkers { parent: name, count });
        }
        use Error as E;
        let mut reach = Reach::new(options.backend);
        let (state, found) = match (self.look_for(&name, &mut reach, count), options.absent) {
            (Ok(found), _) => (seen(&found.0), Some(found)),
            (
                Err(
                    error @ (E::NoAfXdp { .. }
                    | E::ParentAbsent(_)
                    | E::ParentBusy { .. }
                    | E::ParentRenamed { .. }
                    | E::ParentUnsuitable { .. }),
                ),
                Some(Absent { mac, mtu }),
            ) => {
                // It looks as if it were absent, and is there.
                if let E::NoAfXdp { .. } = &error {
                    self.trouble(error.to_string());
                }
                (umacvlan_core::Parent { mac, mtu, promisc: false }, None)
            }
            (Err(error), _) => return Err(error),
        };
        let (link, uplinks) = found.unzip();
        let uplinks = uplinks.flatten();
        let number = self.next_parent;
        let notifier = Notifier::new(number, self.notify.clone(), Arc::clone(&self.bell));
        let (table, on_worker) = ((state, options.semantics), self.on_worker.as_ref());
        let workers = Workers::spawn(&name, table, &configs, &notifier, on_worker)
            .map_err(Error::system(format!("start the worker of {name}")))?;
        let attached = uplinks.is_some();
        if let Some(uplinks) = uplinks {
            attach(&workers, &name, uplinks)?;
        }
        self.next_parent += 1;
        self.parents.push(Parent {
            number,
            name,
            index: link.as_ref().map(|link| link.index),
            carrier: link.as_ref().is_some_and(has_carrier),
            attached,
            configs,
            own_mac: options.own_mac.unwrap_or(state.mac),
            workers,
            subs: Vec::new(),
            memberships: Memberships::default(),
            host: HostSide::new(options.host_hears_all),
            reach,
            ring_drops: 0,
        });
        Ok(())
    }

    /// The interface of that name, if it can be a parent, and so many sockets on it.
    fn look_for(
        &mut self,
        name: &str,
        reach: &mut Reach,
        count: usize,
    ) -> Result<(Link, Option<Vec<Uplink>>), Error> {
        let absent = || Error::ParentAbsent(name.to_owned());
        let link = self.rtnl.link(name)?.ok_or_else(absent)?;
        self.check_attachable(&link)?;
        let uplinks = reach.open(&link, count)?;
        Ok((link, uplinks))
    }

    pub(crate) fn remove_parent(&mut self, name: &str) -> Result<(), Error> {
        let at = self.parent_at(name)?;
        let parent = self.parents.remove(at);
        self.take_down(parent);
        Ok(())
    }

    /// Removes the sub-interfaces of a parent that is no longer in the list, then its workers.
    pub(super) fn take_down(&mut self, mut parent: Parent) {
        parent.host.end("the parent is detached");
        for sub in std::mem::take(&mut parent.subs) {
            self.drop_sub(&parent, sub);
        }
        let Parent { name, workers, memberships, mut reach, .. } = parent;
        // From now on the host has every frame.
        reach.forget();
        memberships.leave(&workers);
        if let Err(error) = workers.stop() {
            self.trouble(format!("the worker of {name} had failed: {error}"));
        }
    }

    /// A worker has failed. Its sub-interfaces stay, so that nothing is pulled from under their
    /// users, but they are dead until the parent is attached again.
    pub(super) fn mourn(&mut self, number: u64, why: &str) {
        let Some(at) = self.parents.iter().position(|parent| parent.number == number) else {
            return;
        };
        let name = self.parents[at].name.clone();
        self.parents[at].host.end("a worker has failed");
        self.parents[at].workers.halt();
        self.parents[at].reach.forget();
        self.set_carrier(at, false);
        self.trouble(format!(
            "the worker of {name} has failed and forwards no more: {why}; start it again"
        ));
    }

    pub(super) fn parent_at(&self, name: &str) -> Result<usize, Error> {
        let found = self.parents.iter().position(|parent| parent.name == name);
        found.ok_or_else(|| Error::NoSuchParent(name.to_owned()))
    }

    /// Takes note of what the kernel tells about an interface in our namespace, if it is a parent.
    pub(super) fn follow_parent(&mut self, link: &Link) {
        let named = |parent: &Parent| match parent.index {
            Some(index) => index == link.index,
            None => parent.name == link.name,
        };
        let Some(at) = self.parents.iter().position(named) else {
            return;
        };
        if self.parents[at].index.is_none() {
            return self.find_parent(at, link);
        }
        // An event tells what was: what is counts, as for sub-interfaces.
        let Ok(Some(link)) = self.rtnl.link_by_index(link.index) else {
            return;
        };
        let state = seen(&link);
        let asked = self.parents[at].workers.tell(move |worker| {
            let before = *worker.switch().parent();
            let switch = worker.switch_mut();
            switch.set_parent_promisc(state.promisc);
            switch.set_parent_mac(state.mac);
            let clamped = match before.mtu == state.mtu {
                true => Vec::new(),
                false => switch.set_parent_mtu(state.mtu),
            };
            (before.mac != state.mac, before.mtu != state.mtu, clamped)
        });
        // A worker that has stopped has told so.
        let Ok((mac_changed, mtu_changed, clamped)) = asked else {
            return;
        };
        if mtu_changed && self.parents[at].reach.resizes() {
            self.resize(at, &link);
        }
        let parent = &mut self.parents[at];
        if mac_changed {
            // What a passthru sub-interface sets, the switch knows before the parent.
            parent.own_mac = state.mac;
            parent.memberships.mark();
            let mut subs = parent.subs.iter_mut();
            if let Some(owner) = subs.find(|sub| sub.mode == Mode::Passthru) {
                owner.take_mac(state.mac);
            }
        }
        for id in clamped {
            self.impose_mtu(at, id, state.mtu);
        }
        if !self.parents[at].attached
            && link.is_up()
            && let Err(error) = self.reattach(at, &link)
        {
            self.trouble(error.to_string());
        }
        self.set_carrier(at, has_carrier(&link));
    }

    /// A parent's interface is gone: its sub-interfaces stay, without carrier.
    pub(super) fn lose_parent(&mut self, index: u32) {
        let Some(at) = self.parents.iter().position(|parent| parent.index == Some(index)) else {
            return;
        };
        self.collect_ring_drops(at);
        let parent = &mut self.parents[at];
        parent.index = None;
        parent.memberships = Memberships::default();
        parent.host.forget();
        // A worker that has stopped has let go of its socket, too.
        let _ = parent.workers.tell(Worker::detach);
        parent.attached = false;
        parent.reach.forget();
        let name = parent.name.clone();
        self.set_carrier(at, false);
        self.tell(Event::ParentGone { parent: name });
    }

    /// An interface with the name of a lost parent is there.
    fn find_parent(&mut self, at: usize, link: &Link) {
        // It may be unsuitable for a moment only: each event about it is a new try.
        if let Err(error) = self.check_attachable(link).and_then(|()| self.reattach(at, link)) {
            return self.trouble(format!("{} is back, but {error}", link.name));
        }
        self.tell(Event::ParentBack { parent: link.name.clone() });
        self.follow_parent(link);
    }

    /// Opens an uplink for another MTU in place of the one there is.
    fn resize(&mut self, at: usize, link: &Link) {
        self.collect_ring_drops(at);
        // A queue takes one socket at a time.
        let _ = self.parents[at].workers.tell(Worker::detach);
        // Until it is again: each event about the interface is a new try.
        self.parents[at].attached = false;
        if let Err(error) = self.reattach(at, link) {
            self.set_carrier(at, false);
            self.trouble(format!("{} is cut off since its MTU has changed: {error}", link.name));
        }
    }

    fn reattach(&mut self, at: usize, link: &Link) -> Result<(), Error> {
        let parent = &mut self.parents[at];
        let uplinks = parent.reach.open(link, parent.workers.count())?;
        let attached = uplinks.is_some();
        if let Some(uplinks) = uplinks {
            attach(&parent.workers, &link.name, uplinks)?;
        }
        parent.attached = attached;
        parent.index = Some(link.index);
        parent.memberships = Memberships::default();
        parent.memberships.mark();
        Ok(())
    }

    /// Tells every sub-interface of a parent whether there is a carrier.
    fn set_carrier(&mut self, at: usize, on: bool) {
        let parent = &mut self.parents[at];
        if parent.carrier == on {
            return;
        }
        parent.carrier = on;
        for sub in &parent.subs {
            // Refused only by a TAP that is gone, of which its own event tells.
            let _ = sub.tap.set_carrier(on);
        }
        let event = Event::Carrier { parent: parent.name.clone(), on };
        self.tell(event);
    }

    /// Says why an interface cannot be attached: for itself, or because it is already.
    fn check_attachable(&mut self, link: &Link) -> Result<(), Error> {
        check_suitable(&mut self.rtnl, link)?;
        // Two switches on one wire would not know of each other's sub-interfaces.
        match self.parents.iter().find(|other| other.index == Some(link.index)) {
            Some(other) => {
                let (name, parent) = (link.name.clone(), other.name.clone());
                Err(Error::ParentRenamed { name, parent })
            }
            None => Ok(()),
        }
    }
}

fn attach(workers: &Workers, name: &str, uplinks: Vec<Uplink>) -> Result<(), Error> {
    let attached = workers.give(uplinks, |worker, uplink| worker.attach(uplink))?;
    let attached: io::Result<()> = attached.into_iter().collect();
    attached.map_err(Error::system(format!("wait for frames from {name}")))
}

/// What the switch wants to know of a parent.
fn seen(link: &Link) -> umacvlan_core::Parent {
    umacvlan_core::Parent {
        mac: link.mac.unwrap_or_default(),
        mtu: link.mtu,
        promisc: link.is_promiscuous() || link.is_allmulti(),
    }
}

/// Up and with a carrier: the driver's word, `IFF_LOWER_UP`, alone says nothing of a link that
/// the administrator has set down.
fn has_carrier(link: &Link) -> bool {
    link.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}
