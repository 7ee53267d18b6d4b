//! Sub-interfaces: made, changed, removed.

use std::sync::Arc;

use umacvlan_core::switch::DEFAULT_BC_QUEUE_LEN;
use umacvlan_core::{MacAddr, Mode, SubConfig, SubId};

use super::Control;
use super::parent::Parent;
use crate::engine::{Change, Event, SubOptions, SubStatus, random_mac};
use crate::error::Error;
use crate::netlink::{Link, Rtnl};
use crate::port::PortLink;
use crate::sys::netns::Netns;
use crate::sys::tap::{QUEUE_LEN, Tap};

/// A sub-interface, by parent and by number in its switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubKey {
    pub(super) parent: u64,
    pub(super) id: SubId,
}

/// A sub-interface as the control thread knows it.
pub(super) struct Sub {
    pub(super) id: SubId,
    pub(super) mode: Mode,
    pub(super) tap: Arc<Tap>,
    /// Where its interface is: the id of the namespace, or `None` for the engine's own.
    pub(super) nsid: Option<i32>,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) seen: Seen,
    /// The groups it has joined, in order.
    pub(super) groups: Vec<MacAddr>,
    /// True when it may have joined others by now.
    pub(super) groups_stale: bool,
}

/// What the interface was last seen to be, as far as it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) promisc: bool,
    pub(super) allmulti: bool,
}

impl Seen {
    pub(super) fn of(link: &Link) -> Self {
        Self {
            mac: link.mac.unwrap_or_default(),
            mtu: link.mtu,
            up: link.is_up(),
            promisc: link.is_promiscuous(),
            allmulti: link.is_allmulti(),
        }
    }
}

impl Sub {
    /// Gives the interface the address that its parent has got.
    pub(super) fn take_mac(&mut self, mac: MacAddr) {
        self.seen.mac = mac;
        // Refused only by a TAP that is gone, of which its own event tells.
        let _ = self.tap.set_mac(mac);
    }

    pub(super) fn status(
        &self,
        parent: &str,
        info: &umacvlan_core::Sub,
        queue_drops: u64,
    ) -> SubStatus {
        SubStatus {
            name: self.name.clone(),
            parent: parent.to_owned(),
            mac: info.mac(),
            mode: info.mode(),
            mtu: info.mtu(),
            up: info.up(),
            index: self.index,
            nsid: self.nsid,
            all_groups: info.filter().is_open(),
            groups: info.filter().groups.clone(),
            sources: info.sources().to_vec(),
            queue_drops,
        }
    }
}

impl Control {
    pub(crate) fn add_sub(
        &mut self,
        parent: &str,
        options: SubOptions,
    ) -> Result<SubStatus, Error> {
        let at = self.parent_at(parent)?;
        let name = options.name.clone();
        check_name(&name)?;
        if self.parents.iter().flat_map(|parent| &parent.subs).any(|sub| sub.name == name) {
            return Err(Error::NameInUse {
                name,
                place: " by another sub-interface of this engine",
            });
        }
        let (tap, link) = self.make_tap(at, &options)?;
        let offloads = tap.accept_offloads().map_err(tap_error(&name))?;
        let config = SubConfig {
            mac: link.mac.unwrap_or_default(),
            mode: options.mode,
            mtu: Some(link.mtu),
            nodst: options.nodst,
            nopromisc: options.nopromisc,
            bc_queue_len: options.bc_queue_len.unwrap_or(DEFAULT_BC_QUEUE_LEN),
            sources: options.sources.clone(),
        };
        let port = PortLink::Tap(Arc::clone(&tap));
        let parent = &mut self.parents[at];
        let id = parent.worker.call(move |worker| worker.add(&config, port, offloads))?;
        let id = id.map_err(|error| Error::add(&name, error))?;
        let key = SubKey { parent: parent.number, id };
        parent.subs.push(Sub {
            id,
            mode: options.mode,
            tap,
            nsid: None,
            index: link.index,
            name,
            seen: Seen { up: false, ..Seen::of(&link) },
            groups: Vec::new(),
            groups_stale: true,
        });
        if let Err(error) = self.settle_in(key, &options) {
            self.remove(key);
            return Err(error);
        }
        self.settle_groups();
        self.sub_status(key).ok_or(Error::Stopped)
    }

    pub(crate) fn remove_sub(&mut self, name: &str) -> Result<(), Error> {
        let key = self.sub_named(name)?;
        self.remove(key);
        Ok(())
    }

    pub(crate) fn change_sub(&mut self, name: &str, change: Change) -> Result<(), Error> {
        let key = self.sub_named(name)?;
        let Some((at, place)) = self.find(key) else {
            return Err(Error::NoSuchSub(name.to_owned()));
        };
        let id = key.id;
        let parent = &mut self.parents[at];
        let mode = parent.worker.call(move |worker| {
            let switch = worker.switch_mut();
            match change {
                Change::AddSource(source) => switch.add_source(id, source)?,
                Change::BcCutoff(cutoff) => switch.set_bc_cutoff(cutoff),
                Change::BcQueueLen(frames) => switch.set_bc_queue_len(id, frames)?,
                Change::Mode(mode) => switch.set_mode(id, mode)?,
                Change::Nodst(on) => switch.set_nodst(id, on)?,
                Change::Nopromisc(on) => switch.set_nopromisc(id, on)?,
                Change::RemoveSource(source) => switch.remove_source(id, source)?,
                Change::Sources(sources) => switch.set_sources(id, &sources)?,
            }
            Ok(switch.sub(id).map(umacvlan_core::Sub::mode))
        })?;
        if let Some(mode) = mode.map_err(Error::refused(name))? {
            parent.subs[place].mode = mode;
        }
        parent.memberships.mark();
        Ok(())
    }

    /// The parent's place in the list, and the sub-interface's in its own.
    pub(super) fn find(&self, key: SubKey) -> Option<(usize, usize)> {
        let at = self.parents.iter().position(|parent| parent.number == key.parent)?;
        let place = self.parents[at].subs.iter().position(|sub| sub.id == key.id)?;
        Some((at, place))
    }

    /// Removes a sub-interface with its interface.
    pub(super) fn remove(&mut self, key: SubKey) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        let sub = self.parents[at].subs.remove(place);
        // Out of the list meanwhile, so that both can be used.
        let mut parent = self.parents.remove(at);
        self.drop_sub(&parent, sub);
        parent.memberships.mark();
        self.parents.insert(at, parent);
    }

    /// Ends a sub-interface that is no longer in the list of its parent. The port goes first, so
    /// that the worker does not find the interface missing.
    pub(super) fn drop_sub(&mut self, parent: &Parent, sub: Sub) {
        let id = sub.id;
        // A worker that has stopped has no port left.
        let _ = parent.worker.call(move |worker| worker.remove(id));
        // Deleted by netlink, because a ring may hold on to the descriptor for some milliseconds.
        if let Some((nsid, link)) = self.locate(&sub.tap) {
            // It goes with its descriptor at the latest.
            let _ = match nsid {
                None => self.rtnl.delete(link.index),
                Some(nsid) => self.rtnl.within(nsid).delete(link.index),
            };
        }
        if sub.mode == Mode::Passthru
            && let Some(index) = parent.index
            && parent.own_mac != sub.seen.mac
            && let Err(error) = self.rtnl.set_mac(index, parent.own_mac)
        {
            self.trouble(format!("{} keeps the address of {}: {error}", parent.name, sub.name));
        }
    }

    /// Where a TAP is now: the id of its namespace, `None` for the engine's own, and its link.
    /// `None` for a TAP that is gone.
    pub(super) fn locate(&mut self, tap: &Tap) -> Option<(Option<i32>, Link)> {
        // It may move or be renamed between two questions.
        for _ in 0..4 {
            let netns = Netns::from(tap.namespace().ok()?);
            let name = tap.name().ok()?;
            let (nsid, link) = match netns.id() == self.home {
                true => (None, self.rtnl.link(&name)),
                false => {
                    let nsid = self.rtnl.nsid(&netns).ok()?;
                    (Some(nsid), self.rtnl.within(nsid).link(&name))
                }
            };
            if let Ok(Some(link)) = link {
                return Some((nsid, link));
            }
        }
        None
    }

    /// Does something to the interface of a sub-interface, wherever it is.
    pub(super) fn visit(
        &mut self,
        tap: &Tap,
        visit: impl FnOnce(&mut Rtnl, u32) -> Result<(), crate::netlink::Error>,
    ) -> Result<(), Error> {
        let netns = tap
            .namespace()
            .map(Netns::from)
            .map_err(Error::system("find the namespace of a TAP"))?;
        let mut rtnl = Rtnl::open_in(&netns)?;
        let name = tap.name().map_err(Error::system("ask a TAP for its name"))?;
        let link = rtnl.link(&name)?.ok_or(Error::NoSuchSub(name))?;
        Ok(visit(&mut rtnl, link.index)?)
    }

    /// What the kernel counts of frames that found the queue of a TAP full.
    pub(super) fn queue_drops(&mut self, at: usize, id: SubId) -> u64 {
        let Some(sub) = self.parents[at].subs.iter().find(|sub| sub.id == id) else {
            return 0;
        };
        let link = match sub.nsid {
            None => self.rtnl.link_by_index(sub.index),
            Some(nsid) => self.rtnl.within(nsid).link_by_index(sub.index),
        };
        link.ok().flatten().map_or(0, |link| link.stats.tx_dropped)
    }

    pub(super) fn sub_status(&mut self, key: SubKey) -> Option<SubStatus> {
        let (at, place) = self.find(key)?;
        let drops = self.queue_drops(at, key.id);
        let parent = &self.parents[at];
        let info =
            parent.worker.call(move |worker| worker.switch().sub(key.id).cloned()).ok()??;
        Some(parent.subs[place].status(&parent.name, &info, drops))
    }

    fn sub_named(&self, name: &str) -> Result<SubKey, Error> {
        let mut keys = self.parents.iter().flat_map(|parent| {
            parent.subs.iter().map(|sub| (SubKey { parent: parent.number, id: sub.id }, &sub.name))
        });
        let found = keys.find(|(_, other)| *other == name);
        found.map(|(key, _)| key).ok_or_else(|| Error::NoSuchSub(name.to_owned()))
    }

    /// A TAP in our own namespace with everything but its final place, and what it looks like.
    fn make_tap(&mut self, at: usize, options: &SubOptions) -> Result<(Arc<Tap>, Link), Error> {
        let moves = self.moves(options);
        let name = &options.name;
        // One that will move must not be in the way of an interface here with the same name.
        let first = if moves { format!("um{}", std::process::id()) } else { name.clone() };
        let tap = Tap::create(&first).map_err(tap_error(name))?;
        let (mac, mtu) = {
            let parent = self.parents[at].worker.call(|worker| *worker.switch().parent())?;
            match options.mode {
                Mode::Passthru => (parent.mac, parent.mtu),
                _ => (options.mac.unwrap_or_else(random_mac), parent.mtu),
            }
        };
        let link = self.rtnl.link(&first)?.ok_or_else(|| Error::NoSuchSub(name.clone()))?;
        check_station(name, mac)?;
        tap.set_mac(mac).map_err(tap_error(name))?;
        tap.set_carrier(self.parents[at].carrier).map_err(tap_error(name))?;
        self.rtnl.set_txqlen(link.index, QUEUE_LEN)?;
        // A parent may carry larger frames than any TAP.
        let mtu = options.mtu.unwrap_or_else(|| mtu.min(link.max_mtu));
        self.check_mtu(at, name, mtu)?;
        if mtu != link.mtu {
            self.rtnl.set_mtu(link.index, mtu)?;
        }
        Ok((Arc::new(tap), Link { mac: Some(mac), mtu, ..link }))
    }

    /// Moves a new sub-interface to its place and sets it up, if that is wanted.
    fn settle_in(&mut self, key: SubKey, options: &SubOptions) -> Result<(), Error> {
        let Some((at, place)) = self.find(key) else {
            return Err(Error::Stopped);
        };
        let sub = &self.parents[at].subs[place];
        let (tap, index) = (Arc::clone(&sub.tap), sub.index);
        if let (true, Some(netns)) = (self.moves(options), &options.netns) {
            self.rtnl.set_netns_as(index, netns, &options.name).map_err(|source| {
                match source.errno() {
                    Some(libc::EEXIST) => {
                        Error::NameInUse { name: options.name.clone(), place: " in its namespace" }
                    }
                    _ => Error::Namespace { name: options.name.clone(), source },
                }
            })?;
        }
        self.find_out(key);
        if !options.up {
            return Ok(());
        }
        self.visit(&tap, |rtnl, index| rtnl.set_up(index, true))?;
        match self.find_out(key) {
            Some(refusal) => Err(Error::refused(&options.name)(refusal)),
            None => Ok(()),
        }
    }

    fn moves(&self, options: &SubOptions) -> bool {
        options.netns.as_ref().is_some_and(|netns| netns.id() != self.home)
    }

    /// The switch's rule, asked before a TAP's own limits can answer with a bare errno.
    fn check_mtu(&self, at: usize, name: &str, mtu: u32) -> Result<(), Error> {
        let parent = self.parents[at].worker.call(|worker| worker.switch().parent().mtu)?;
        let refusal = match mtu {
            _ if mtu > parent => umacvlan_core::Refusal::MtuAboveParent { mtu, parent },
            _ if mtu < umacvlan_core::switch::MIN_MTU => umacvlan_core::Refusal::MtuTooSmall(mtu),
            _ => return Ok(()),
        };
        Err(Error::refused(name)(refusal))
    }

    /// Ends what the engine knows of a sub-interface whose interface is gone.
    pub(super) fn lose_sub(&mut self, key: SubKey) {
        let Some((at, place)) = self.find(key) else {
            return;
        };
        let sub = &self.parents[at].subs[place];
        // A late notice about an earlier owner of the number.
        if sub.tap.name().is_ok() {
            return;
        }
        let name = sub.name.clone();
        self.remove(key);
        self.tell(Event::SubGone { sub: name });
    }
}

/// The rules of `dev_valid_name` in the kernel's `net/core/dev.c`.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = !name.is_empty() && name.len() < libc::IFNAMSIZ && name != "." && name != "..";
    let clean =
        |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':' || !byte.is_ascii();
    match fits && name.bytes().all(clean) && !name.contains('%') {
        true => Ok(()),
        false => Err(Error::NameInvalid(name.to_owned())),
    }
}

fn check_station(name: &str, mac: MacAddr) -> Result<(), Error> {
    match mac.is_station() {
        true => Ok(()),
        false => Err(Error::refused(name)(umacvlan_core::Refusal::NotStation(mac))),
    }
}

fn tap_error(name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let name = name.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::NameInUse { name, place: "" },
        _ => Error::Tap { name, source },
    }
}
