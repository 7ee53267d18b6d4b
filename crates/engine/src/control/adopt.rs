//! Interfaces that outlive an engine: kept by one, adopted by the next.

use std::io;

use umacvlan_core::SubConfig;
use umacvlan_core::options::{ProgramKind, TAP_QUEUE_LEN};
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::netns::{Netns, NetnsId};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::tap_error;
use super::kernel::Location;
use crate::control::engine::{Adopt, KeptTap, SubId, SubStatus};
use crate::control::error::Error;
use umacvlan_datapath::worker::Worker;

/// How many frames to drop from a queue at most: more than one of the usual length has.
const DRAIN_MAX: u32 = 2 * TAP_QUEUE_LEN;

/// How often an interface may be renamed while the engine attaches to it.
const ATTEMPTS: usize = 4;

impl Control {
    pub(crate) fn keep_sub(&mut self, id: SubId) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent_mut(id)?;
        if sub.veth.is_some() && self.pins.is_none() {
            return Err(Error::VethKept(sub.name.clone()));
        }
        let failed = Error::system(format!("make {} outlive this process", sub.name));
        if let Some(tap) = sub.tap() {
            tap.set_persistent(true).map_err(failed)?;
        }
        // A program with a socket has no interface to keep.
        sub.kept = sub.program_kind().is_none_or(ProgramKind::has_interface);
        Ok(())
    }

    pub(crate) fn adopt_sub(&mut self, parent: &str, adopt: &Adopt) -> Result<SubStatus, Error> {
        let parent = self.inventory.parent_named(parent)?;
        self.check_mode(parent, "a link with passthru", adopt.settings.mode)?;
        let id = self.inventory.claim_sub(adopt.number)?;
        let workers = &self.inventory[parent].workers;
        if self.hold_adopted {
            workers.tell(Worker::hold_rx)?;
        }
        if let Some(veth) = &adopt.veth {
            return self.adopt_veth((id, parent), adopt, veth);
        }
        let workers = workers.count();
        let (queues, netns, mut location) = match &adopt.tap {
            KeptTap::Place { netns, index } => {
                let (queues, link) = attach(netns, *index, workers)?;
                let inside = netns.try_clone().map_err(Error::system("open its namespace"))?;
                (queues, inside, self.kernel.location_in(netns, link)?)
            }
            KeptTap::Queues(queues) => self.take_queues(queues, workers, adopt.netns)?,
        };
        Self::fit_mtu(self.inventory[parent].info.mtu, &netns, &mut location.link)?;
        let link = &location.link;
        let name = link.name.clone();
        let config = adopt.config(link);
        self.open_ports((id, parent), queues, location, config)?;
        if let Some(sub) = self.inventory.sub_mut(id) {
            sub.claims_mac = adopt.claims_mac;
            sub.txqlen_max = adopt.txqlen_max.unwrap_or(sub.txqlen_max);
        }
        if let Err(error) = self.resume(id, &name) {
            self.leave(id);
            return Err(error);
        }
        if adopt.held {
            self.hold_down_again(id);
        }
        self.sub_status(id).ok_or(Error::Stopped)
    }

    pub(crate) fn release_adopted(&mut self) {
        self.hold_adopted = false;
        self.reset_resumed_filters();
        for id in self.inventory.device_ids() {
            // A worker that has stopped reads nothing.
            let _ = self.inventory[id].workers.tell(Worker::release_rx);
        }
    }

    /// Takes over queues of a TAP, wherever it is, and attaches as many more as there are workers. The
    /// frames of a TAP without a carrier have waited for too long: they are dropped.
    pub(super) fn take_queues(
        &mut self,
        kept: &[Tap],
        workers: usize,
        known: Option<(NetnsId, u64)>,
    ) -> Result<(Vec<Tap>, Netns, Location), Error> {
        let copies: io::Result<Vec<_>> = kept.iter().map(Tap::try_clone).collect();
        let mut queues = copies.map_err(Error::system("duplicate the queues of a TAP"))?;
        let first = queues.first().ok_or(Error::TapGone)?;
        let (netns, location) = self.kernel.locate_kept(first, known).ok_or(Error::TapGone)?;
        let failed = |source| Error::Tap { name: location.link.name.clone(), source };
        if queues.len() < workers && first.is_multi_queue().map_err(failed)? {
            let inside = netns.run(|| Tap::add_queues(&mut queues, workers));
            inside.and_then(|added| added).map_err(failed)?;
        }
        if !location.link.is_running() {
            queues.iter().for_each(drain);
        }
        Ok((queues, netns, location))
    }

    /// Continues where the engine before stopped. The groups are set first, then the frames sent
    /// since the TAP was attached are read, and last it gets its carrier, so that its stack sends
    /// only what can be forwarded.
    pub(super) fn resume(&mut self, id: SubId, name: &str) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent_mut(id)?;
        // An engine that was killed may not have come to this.
        sub.tap().map_or(Ok(()), |tap| tap.set_persistent(true)).map_err(tap_error(name))?;
        sub.kept = true;
        self.settle_groups_from_cache(id);
        if let Some(refusal) = self.resync(id)
            && !self.held.contains_key(&id)
        {
            return Err(Error::refused(name)(refusal));
        }
        self.settle_groups_from_cache(id);
        self.settle_memberships();
        let gone = |_| Error::NoSuchSub(name.to_owned());
        let (sub, parent) = self.inventory.sub_and_parent(id).map_err(gone)?;
        if let Some(pair) = sub.veth {
            self.kernel.rtnl.set_up(pair.host_end, parent.carrier)?;
        }
        // The TAP beside a veth pair is not what its user sees.
        let carrier = parent.carrier || sub.veth.is_some();
        sub.tap().map_or(Ok(()), |tap| tap.set_carrier(carrier)).map_err(tap_error(name))
    }

    /// Lowers an MTU that is above the parent's by now, `most`, as an engine would have done.
    pub(super) fn fit_mtu(most: u32, netns: &Netns, link: &mut Link) -> Result<(), Error> {
        if link.mtu > most {
            Rtnl::open_in(netns)?.set_mtu(link.index, most)?;
            link.mtu = most;
        }
        Ok(())
    }
}

impl Adopt {
    /// What the switch gets of a sub-interface with these attributes.
    pub(super) fn config(&self, link: &Link) -> SubConfig {
        SubConfig {
            mac: link.mac.unwrap_or_default(),
            mtu: Some(link.mtu),
            settings: self.settings.clone(),
        }
    }
}

/// Attaches to an interface by its index, with a queue for each worker, or with the only one that
/// it was made for. The kernel attaches by name only.
pub(super) fn attach(netns: &Netns, index: u32, workers: usize) -> Result<(Vec<Tap>, Link), Error> {
    let mut rtnl = Rtnl::open_in(netns)?;
    let mut find = || {
        let link = rtnl.link_by_index(index)?;
        link.filter(Link::is_own_persistent_tap).ok_or(Error::NoTap(index))
    };
    let Link { mut name, multi_queue, queues: attached, .. } = find()?;
    // Only a TAP of one queue refuses another process by itself. With the queues of another process
    // among them, ours would not be in the order of the workers.
    if attached.is_some_and(|queues| queues > 0) {
        return Err(Error::TapBusy(name));
    }
    for _ in 0..ATTEMPTS {
        let inside = || match multi_queue {
            Some(true) => Tap::attach_queues(&name, workers),
            _ => Tap::attach(&name).map(|tap| vec![tap]),
        };
        let queues = netns.run(inside).map_err(Error::system(format!("go to {name}")))?;
        let queues = queues.map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY) => Error::TapBusy(name.clone()),
            _ => Error::Tap { name: name.clone(), source },
        })?;
        let link = find()?;
        // If it was renamed just before, these queues are those of another TAP, or of a new one.
        if queues[0].name().is_ok_and(|name| name == link.name) {
            return match link.queues {
                Some(all) if usize::try_from(all) != Ok(queues.len()) => Err(Error::TapBusy(name)),
                _ => Ok((queues, link)),
            };
        }
        name = link.name;
    }
    Err(Error::TapBusy(name))
}

/// Drops the frames that wait in a queue.
fn drain(queue: &Tap) {
    // The rest of a frame is cut off.
    let mut buffer = [0; 64];
    // An error means that the TAP is gone, which has an event of its own.
    let waits = |_: &u32| matches!(queue.recv(&mut buffer), Ok(Some(_)));
    (0..DRAIN_MAX).take_while(waits).for_each(drop);
}
