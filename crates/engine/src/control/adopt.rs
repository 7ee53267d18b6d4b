//! Interfaces that outlive an engine: kept by one, adopted by the next.

use umacvlan_core::SubConfig;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::tap_error;
use super::inventory::ParentId;
use crate::control::engine::{Adopt, SubId, SubStatus};
use crate::control::error::Error;
use crate::datapath::worker::Worker;

/// How often an interface may be renamed while the engine attaches to it.
const ATTEMPTS: usize = 4;

impl Control {
    pub(crate) fn keep_sub(&mut self, id: SubId) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent_mut(id)?;
        let failed = Error::system(format!("make {} outlive this process", sub.name));
        sub.tap.set_persistent(true).map_err(failed)?;
        sub.kept = true;
        Ok(())
    }

    pub(crate) fn adopt_sub(&mut self, parent: &str, adopt: &Adopt) -> Result<SubStatus, Error> {
        let parent = self.inventory.parent_named(parent)?;
        let id = self.inventory.claim_sub(adopt.number)?;
        let (queues, link) = attach(adopt, self.inventory[parent].workers.count())?;
        let link = self.fit_mtu(parent, adopt, link)?;
        let name = link.name.clone();
        let config = SubConfig {
            mac: link.mac.unwrap_or_default(),
            mtu: Some(link.mtu),
            settings: adopt.settings.clone(),
        };
        let location = self.kernel.location_in(&adopt.netns, link)?;
        self.open_ports((id, parent), queues, location, config)?;
        if let Err(error) = self.resume(id, &name) {
            self.leave(id);
            return Err(error);
        }
        self.sub_status(id).ok_or(Error::Stopped)
    }

    /// Continues where the engine before stopped. The groups are set first, then the frames sent
    /// since the TAP was attached are read, and last it gets its carrier, so that its stack sends
    /// only what can be forwarded.
    fn resume(&mut self, id: SubId, name: &str) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent_mut(id)?;
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
        sub.tap.set_carrier(parent.carrier).map_err(tap_error(name))
    }

    /// Lowers an MTU that is above the parent's by now, as an engine would have done.
    fn fit_mtu(&self, parent: ParentId, adopt: &Adopt, link: Link) -> Result<Link, Error> {
        let parent = &self.inventory[parent];
        let switch = parent.switch;
        let mtu = move |worker: &mut Worker| worker.switch_at(switch).parent().mtu;
        let most = parent.workers.ask(mtu)?;
        if link.mtu <= most {
            return Ok(link);
        }
        Rtnl::open_in(&adopt.netns)?.set_mtu(link.index, most)?;
        Ok(Link { mtu: most, ..link })
    }
}

/// Attaches to an interface by its index, with a queue for each worker, or with the only one that
/// it was made for. The kernel attaches by name only.
fn attach(adopt: &Adopt, workers: usize) -> Result<(Vec<Tap>, Link), Error> {
    let mut rtnl = Rtnl::open_in(&adopt.netns)?;
    let mut find = || {
        let link = rtnl.link_by_index(adopt.index)?;
        link.filter(Link::is_own_persistent_tap).ok_or(Error::NoTap(adopt.index))
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
        let queues = adopt.netns.run(inside).map_err(Error::system(format!("go to {name}")))?;
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
