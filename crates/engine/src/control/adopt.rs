//! Interfaces that outlive an engine: kept by one, adopted by the next.

use umacvlan_core::SubConfig;
use umacvlan_netlink::{Link, Rtnl};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::create::tap_error;
use super::locate::Location;
use super::sub::SubKey;
use crate::control::engine::{Adopt, SubId, SubStatus};
use crate::control::error::Error;
use crate::datapath::worker::Worker;

/// How often an interface may be renamed while the engine attaches to it.
const ATTEMPTS: usize = 4;

impl Control {
    pub(crate) fn keep_sub(&mut self, number: SubId) -> Result<(), Error> {
        let key = self.numbered(number)?;
        let Some((at, place)) = self.find(key) else {
            return Err(Error::Stopped);
        };
        let sub = &mut self.parents[at].subs[place];
        let keep = || Error::system(format!("make {} outlive this process", sub.name));
        sub.tap.set_persistent(true).map_err(keep())?;
        sub.kept = true;
        Ok(())
    }

    pub(crate) fn adopt_sub(&mut self, parent: &str, adopt: &Adopt) -> Result<SubStatus, Error> {
        let at = self.parent_at(parent)?;
        let number = self.claim(adopt.number)?;
        let (queues, link) = attach(adopt, self.parents[at].workers.count())?;
        let link = self.fit_mtu(at, adopt, link)?;
        let name = link.name.clone();
        let config = SubConfig {
            mac: link.mac.unwrap_or_default(),
            mtu: Some(link.mtu),
            settings: adopt.settings.clone(),
        };
        let place = self.place_of(adopt, link)?;
        let key = self.enlist(at, number, queues, place, config)?;
        if let Err(error) = self.resume(key, &name) {
            self.leave(key);
            return Err(error);
        }
        self.sub_status(key).ok_or(Error::Stopped)
    }

    /// Goes on where the engine before stopped. What the interface hears is known first, then what
    /// it sent since it was attached to is read, and last it has a carrier again, so that its
    /// stack sends only what can be forwarded.
    fn resume(&mut self, key: SubKey, name: &str) -> Result<(), Error> {
        let Some((at, place)) = self.find(key) else {
            return Err(Error::Stopped);
        };
        self.parents[at].subs[place].kept = true;
        self.glance_at_groups(key);
        if let Some(refusal) = self.resync(key) {
            return Err(Error::refused(name)(refusal));
        }
        self.glance_at_groups(key);
        self.settle_memberships();
        let Some((at, place)) = self.find(key) else {
            return Err(Error::NoSuchSub(name.to_owned()));
        };
        let parent = &self.parents[at];
        parent.subs[place].tap.set_carrier(parent.carrier).map_err(tap_error(name))
    }

    /// Lowers an MTU that is above the parent's by now, as it would have been by an engine.
    fn fit_mtu(&mut self, at: usize, adopt: &Adopt, link: Link) -> Result<Link, Error> {
        let switch = self.parents[at].at;
        let ask = move |worker: &mut Worker| worker.switch_at(switch).parent().mtu;
        let most = self.parents[at].workers.ask(ask)?;
        if link.mtu <= most {
            return Ok(link);
        }
        Rtnl::open_in(&adopt.netns)?.set_mtu(link.index, most)?;
        Ok(Link { mtu: most, ..link })
    }

    fn place_of(&mut self, adopt: &Adopt, link: Link) -> Result<Location, Error> {
        let netns = adopt.netns.id();
        let nsid = match netns == self.home.id() {
            true => None,
            false => Some(self.rtnl.nsid(&adopt.netns)?),
        };
        Ok(Location { nsid, netns, parent_nsid: self.nsid_in(&adopt.netns), link })
    }
}

/// Attaches to an interface by its index, with a queue for each worker, or with the only one that
/// it was made for; the kernel knows it by name only.
fn attach(adopt: &Adopt, workers: usize) -> Result<(Vec<Tap>, Link), Error> {
    let mut rtnl = Rtnl::open_in(&adopt.netns)?;
    let mut find = || {
        let link = rtnl.link_by_index(adopt.index)?;
        link.filter(Link::is_own_persistent_tap).ok_or(Error::NoTap(adopt.index))
    };
    let Link { mut name, multi_queue, queues: served, .. } = find()?;
    // Only a TAP of one queue refuses another process by itself. With those of another one among
    // them, ours would not be in the order of the workers.
    if served.is_some_and(|queues| queues > 0) {
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
        // Renamed just before, it is another one that we have got, or a new one.
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
