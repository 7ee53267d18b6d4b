//! Sub-interfaces are made.

use std::sync::Arc;

use umacvlan_core::ifname::{self, IfNameError};
use umacvlan_core::options::TAP_QUEUE_LEN;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, SubConfig, SubIndex, SwitchError};
use umacvlan_netlink::{Link, OperState};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::locate::Location;
use super::parent::Parent;
use super::sub::{Seen, Sub, SubKey};
use super::workers::Workers;
use crate::control::engine::{SubId, SubOptions, SubStatus, random_mac};
use crate::control::error::Error;
use crate::datapath::port::PortLink;
use crate::datapath::worker::{AddError, Worker};

impl Control {
    pub(crate) fn add_sub(
        &mut self,
        parent: &str,
        options: SubOptions,
    ) -> Result<SubStatus, Error> {
        let at = self.parent_at(parent)?;
        check_name(&options.name)?;
        let number = self.claim(options.number)?;
        let (queues, link) = self.make_tap(at, &options)?;
        let config = SubConfig {
            mac: link.mac.unwrap_or_default(),
            mtu: Some(link.mtu),
            // The limit is the parent's, and set when nothing can be refused any more.
            settings: MacvlanSettings { bclim: None, ..options.settings.clone() },
        };
        let home = self.home.id();
        let link = Link { name: options.name.clone(), ..link };
        let place = Location { nsid: None, netns: home, parent_nsid: None, link };
        let key = self.enlist(at, number, queues, place, config)?;
        if let Err(error) = self.move_and_bring_up(key, &options) {
            self.remove(key);
            return Err(error);
        }
        self.settle_groups_of(key);
        self.sub_status(key).ok_or(Error::Stopped)
    }

    /// Has the workers serve a TAP, down at first and without groups. There is a queue for each of
    /// them; or only one, then the first worker reads it and all write to it. That is in order as
    /// well, but what it sends is the first one's work alone.
    pub(super) fn enlist(
        &mut self,
        at: usize,
        number: SubId,
        queues: Vec<Tap>,
        place: Location,
        config: SubConfig,
    ) -> Result<SubKey, Error> {
        let Location { nsid, netns, parent_nsid, link } = place;
        let queues: Vec<Arc<Tap>> = queues.into_iter().map(Arc::new).collect();
        let tap = Arc::clone(&queues[0]);
        let offloads = tap.enable_offloads().map_err(tap_error(&link.name))?;
        let mode = config.settings.mode;
        let parent = &mut self.parents[at];
        let others = std::iter::repeat_with(|| PortLink::Writer(Arc::clone(&tap)));
        let ports = queues.into_iter().map(PortLink::Tap).chain(others);
        let at = parent.at;
        let added = parent.workers.give(ports, move |worker, port| {
            let id = worker.add_to(at, &config, port, offloads)?;
            Ok((id, worker.switch_at(at).sub(id).map_or(config.mac, umacvlan_core::Sub::mac)))
        })?;
        let (id, mac) = agree(&parent.workers, added).map_err(|e| Error::add(&link.name, e))?;
        parent.subs.push(Sub {
            number,
            id,
            mode,
            tap,
            kept: false,
            nsid,
            netns,
            parent_nsid,
            index: link.index,
            name: link.name.clone(),
            seen: Seen { mac, mtu: link.mtu, up: false, promisc: false, allmulti: false },
            link,
            groups: Vec::new(),
            groups_stale: true,
        });
        Ok(SubKey { trunk: parent.trunk, id })
    }

    /// A TAP in our own namespace with everything but its final place, and what it looks like.
    fn make_tap(&mut self, at: usize, options: &SubOptions) -> Result<(Vec<Tap>, Link), Error> {
        let moves = self.moves(options);
        let name = &options.name;
        // One that will move must not be in the way of an interface here with the same name.
        let first = if moves { format!("um{}", std::process::id()) } else { name.clone() };
        let count = self.parents[at].workers.count();
        let queues = Tap::create_queues(&first, count).map_err(tap_error(name))?;
        let tap = &queues[0];
        let (mac, mtu) = {
            let switch = self.parents[at].at;
            let ask = move |worker: &mut Worker| *worker.switch_at(switch).parent();
            let parent = self.parents[at].workers.ask(ask)?;
            match options.settings.mode {
                Mode::Passthru => (parent.mac, parent.mtu),
                _ => (options.mac.unwrap_or_else(random_mac), parent.mtu),
            }
        };
        let link = self.rtnl.link(&first)?.ok_or_else(|| Error::NoSuchSub(name.clone()))?;
        check_station(name, mac)?;
        tap.set_mac(mac).map_err(tap_error(name))?;
        tap.set_carrier(self.parents[at].carrier).map_err(tap_error(name))?;
        // A parent may carry larger frames than any TAP.
        let mtu = options.mtu.unwrap_or_else(|| mtu.min(link.max_mtu));
        self.check_mtu(at, name, mtu)?;
        if mtu != link.mtu {
            self.rtnl.set_mtu(link.index, mtu)?;
        }
        if count > 1 {
            // The kernel makes a discipline for each queue that the TAP might have: 256, with room
            // for `txqlen` frames each, which is 25 MB. It needs none: a TAP's queue is its own.
            // A kernel without them does without already.
            let _ = self.rtnl.set_noqueue(link.index);
        }
        self.set_attributes(link.index, options)?;
        Ok((queues, Link { mac: Some(mac), mtu, ..link }))
    }

    /// What a TAP takes along wherever it goes.
    fn set_attributes(&mut self, index: u32, options: &SubOptions) -> Result<(), Error> {
        self.rtnl.set_txqlen(index, options.txqlen.unwrap_or(TAP_QUEUE_LEN))?;
        // Where it would stay "unknown" until its carrier has changed once.
        self.rtnl.set_operstate(index, OperState::Up)?;
        if let Some(text) = &options.alias {
            self.rtnl.set_alias(index, text)?;
        }
        if options.promisc {
            self.rtnl.set_promisc(index, true)?;
        }
        if options.allmulti {
            self.rtnl.set_allmulti(index, true)?;
        }
        Ok(())
    }

    /// Moves a new sub-interface to its place and sets it up, if that is wanted.
    fn move_and_bring_up(&mut self, key: SubKey, options: &SubOptions) -> Result<(), Error> {
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
        self.resync(key);
        if options.up {
            self.visit(&tap, |rtnl, index| rtnl.set_up(index, true))?;
            if let Some(refusal) = self.resync(key) {
                return Err(Error::refused(&options.name)(refusal));
            }
        }
        if let Some(cutoff) = options.settings.bclim {
            let Parent { workers, at, .. } = &self.parents[at];
            let at = *at;
            workers.tell(move |worker| worker.switch_at_mut(at).set_bc_cutoff(cutoff))?;
        }
        Ok(())
    }

    fn moves(&self, options: &SubOptions) -> bool {
        options.netns.as_ref().is_some_and(|netns| netns.id() != self.home.id())
    }

    /// The switch's rule, asked before a TAP's own limits can answer with a bare errno.
    fn check_mtu(&self, at: usize, name: &str, mtu: u32) -> Result<(), Error> {
        let Parent { workers, at, .. } = &self.parents[at];
        let at = *at;
        let allowed = workers.ask(move |worker| worker.switch_at(at).check_mtu(mtu))?;
        allowed.map_err(Error::refused(name))
    }
}

/// What all workers say of a new sub-interface. The kernel may have had room for the port of one
/// and not of another: then none has it.
fn agree(
    workers: &Workers,
    added: Vec<Result<(SubIndex, MacAddr), AddError>>,
) -> Result<(SubIndex, MacAddr), AddError> {
    let id = added.iter().find_map(|added| added.as_ref().ok().map(|&(id, _)| id));
    let all: Result<Vec<_>, AddError> = added.into_iter().collect();
    if let (Err(_), Some(id)) = (&all, id) {
        // One that has stopped meanwhile has no port left.
        let _ = workers.tell(move |worker| worker.remove(id));
    }
    all.map(|mut all| all.swap_remove(0))
}

/// Checks the name of a new sub-interface. The kernel accepts a reserved name, so this does.
fn check_name(name: &str) -> Result<(), Error> {
    match ifname::check(name) {
        Ok(()) | Err(IfNameError::Reserved) => Ok(()),
        Err(_) => Err(Error::NameInvalid(name.to_owned())),
    }
}

/// What the kernel takes for a name and nobody can mean: nothing at all, which changes nothing, and
/// control characters, which a terminal obeys.
pub(super) fn check_printable(name: &str) -> Result<(), Error> {
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(Error::NameInvalid(name.to_owned())),
        false => Ok(()),
    }
}

fn check_station(name: &str, mac: MacAddr) -> Result<(), Error> {
    match mac.is_valid_unicast() {
        true => Ok(()),
        false => Err(Error::refused(name)(SwitchError::NotUnicast(mac))),
    }
}

pub(super) fn tap_error(name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let name = name.to_owned();
    move |source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::NameInUse { name, place: "" },
        _ => Error::Tap { name, source },
    }
}
