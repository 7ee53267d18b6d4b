//! Making sub-interfaces.

use std::sync::Arc;

use umacvlan_core::ifname::{self, IfNameError};
use umacvlan_core::limit::Limiter;
use umacvlan_core::options::{PortKind, TAP_QUEUE_LEN};
use umacvlan_core::stats::SubStats;
use umacvlan_core::{MacAddr, MacvlanSettings, Mode, ParentInfo, SubConfig, SubIndex, SwitchError};
use umacvlan_netlink::{Link, OperState, Rtnl};
use umacvlan_sys::tap::Tap;

use super::Control;
use super::inventory::ParentId;
use super::kernel::Location;
use super::sub::{FarEnd, Seen, Sub, VethPair};
use super::workers::Workers;
use crate::control::engine::{LinkAttribute, SubId, SubOptions, SubStatus, random_mac};
use crate::control::error::Error;
use umacvlan_datapath::port::PortLink;
use umacvlan_datapath::worker::{AddError, Worker};

/// A new interface for a sub-interface.
pub(super) struct Made {
    /// The queues of the TAP to the engine.
    pub(super) queues: Vec<Tap>,
    /// The interface.
    pub(super) location: Location,
    /// The pair that it is one end of, if it is not the TAP.
    pub(super) veth: Option<VethPair>,
}

impl Control {
    pub(crate) fn add_sub(
        &mut self,
        parent: &str,
        options: SubOptions,
    ) -> Result<SubStatus, Error> {
        let parent = self.inventory.parent_named(parent)?;
        check_name(&options.name)?;
        self.check_mode(parent, &options.name, options.settings.mode)?;
        let id = self.inventory.claim_sub(options.number)?;
        let (veth, instead_of_veth) = match &options.program {
            Some(program) => {
                self.open_program((id, parent), program, &options)?;
                (None, String::new())
            }
            None => self.open_interface((id, parent), &options)?,
        };
        if let Some(sub) = self.inventory.sub_mut(id) {
            sub.veth = veth;
            sub.instead_of_veth = instead_of_veth;
            sub.claims_mac = options.claims_mac;
            sub.txqlen_max = options.txqlen.unwrap_or(sub.txqlen_max);
        }
        if let Err(error) = self.move_and_bring_up(id, &options) {
            self.remove(id);
            return Err(error);
        }
        self.settle_groups_of(id);
        self.sub_status(id).ok_or(Error::Stopped)
    }

    /// Makes an interface and adds the sub-interface, down and without groups. Returns the pair that it
    /// is one end of, or why it is none.
    fn open_interface(
        &mut self,
        (id, parent): (SubId, ParentId),
        options: &SubOptions,
    ) -> Result<(Option<VethPair>, String), Error> {
        if !self.moves(options) && self.has_program_named(&options.name) {
            return Err(Error::NameInUse { name: options.name.clone(), place: "" });
        }
        let made = self.make(parent, options);
        if made.is_err() {
            self.inventory[parent].kernel.drop_unused();
        }
        let (made, instead_of_veth) = made?;
        let Made { queues, mut location, veth } = made;
        location.link.name.clone_from(&options.name);
        let link = &location.link;
        let config = SubConfig {
            mac: link.mac.unwrap_or_default(),
            mtu: Some(link.mtu),
            // The limit is the parent's, and set when nothing can be refused any more.
            settings: MacvlanSettings { bclim: None, ..options.settings.clone() },
        };
        let opened = self.open_ports((id, parent), queues, location, config);
        if let (Err(_), Some(veth)) = (&opened, veth) {
            self.inventory[parent].kernel.remove_port(veth.slot);
            // Both ends go. The TAP has gone with its queues.
            let _ = self.kernel.rtnl.delete(veth.host_end);
        }
        opened.map(|()| (veth, instead_of_veth))
    }

    /// Gives the workers the queues of a TAP and adds the sub-interface, down and without groups.
    /// There is a queue for each worker; or only one, which the first worker reads and all write.
    /// Frames are in order then, too, but the first worker alone does what the TAP sends.
    pub(super) fn open_ports(
        &mut self,
        (id, parent): (SubId, ParentId),
        queues: Vec<Tap>,
        location: Location,
        config: SubConfig,
    ) -> Result<(), Error> {
        let interface = location.interface();
        let Location { netns, netns_cookie, parent_nsid, link, .. } = location;
        let queues: Vec<Arc<Tap>> = queues.into_iter().map(Arc::new).collect();
        let pins = self.kernel.pins(&queues);
        let settings = config.settings.clone();
        let (index, mac) = self.add_ports(parent, &link.name, &queues, config)?;
        self.inventory.add_sub(Sub {
            id,
            parent,
            index,
            settings,
            far: FarEnd::tap(&queues),
            veth: None,
            instead_of_veth: String::new(),
            extra_queues: 0,
            pins,
            carried: SubStats::default(),
            kept: false,
            claims_mac: false,
            txqlen_max: TAP_QUEUE_LEN,
            interface,
            netns,
            netns_cookie,
            parent_nsid,
            name: link.name.clone(),
            seen: Seen { mac, mtu: link.mtu, up: false, promisc: false, allmulti: false },
            link,
            groups: Vec::new(),
            secondary: Vec::new(),
            groups_known: true,
        });
        self.groups.mark_stale([id]);
        Ok(())
    }

    /// Adds a sub-interface, down and without groups, to all workers of its parent. Returns its index
    /// and its address.
    pub(super) fn add_ports(
        &self,
        parent: ParentId,
        name: &str,
        queues: &[Arc<Tap>],
        config: SubConfig,
    ) -> Result<(SubIndex, MacAddr), Error> {
        let parent = &self.inventory[parent];
        let (switch, tap) = (parent.switch, &queues[0]);
        let offloads = tap.enable_offloads().map_err(tap_error(name))?;
        let others = std::iter::repeat_with(|| PortLink::Writer(Arc::clone(tap)));
        let ports = queues.iter().cloned().map(PortLink::Tap).chain(others);
        // A limit is one for all workers.
        let limiter = Arc::new(Limiter::new(config.settings.limits));
        let added = parent.workers.give(ports, move |worker, port| {
            let index = worker.add_to(switch, &config, port, offloads)?;
            worker.limit(index, &limiter)?;
            let sub = worker.switch_at(switch).sub(index);
            Ok((index, sub.map_or(config.mac, umacvlan_core::Sub::mac)))
        })?;
        agree(&parent.workers, added).map_err(|error| Error::add(name, error))
    }

    /// Makes the interface of a sub-interface of the kind that is wanted. If that is left open and a veth
    /// pair cannot be, returns why, too.
    fn make(&mut self, parent: ParentId, options: &SubOptions) -> Result<(Made, String), Error> {
        let made = match options.port {
            PortKind::Tap => self.make_tap(parent, options),
            PortKind::Veth => self.make_veth(parent, options),
            PortKind::Auto => match self.make_veth(parent, options) {
                Err(Error::NoVeth { why, .. }) => {
                    return Ok((self.make_tap(parent, options)?, why));
                }
                made => made,
            },
        };
        Ok((made?, String::new()))
    }

    /// The address of a new sub-interface, and its parent.
    pub(super) fn new_address(
        &self,
        parent: ParentId,
        options: &SubOptions,
    ) -> Result<(MacAddr, ParentInfo), Error> {
        let parent = &self.inventory[parent];
        let switch = parent.switch;
        let info = parent.workers.ask(move |it: &mut Worker| *it.switch_at(switch).parent())?;
        let mac = match options.settings.mode {
            Mode::Passthru => info.mac,
            _ => options.mac.unwrap_or_else(random_mac),
        };
        check_unicast(&options.name, mac)?;
        Ok((mac, info))
    }

    /// Checks the MTU of a new sub-interface by the rules of the switch: the limits of an interface give
    /// a bare errno.
    pub(super) fn check_new_mtu(
        &self,
        parent: ParentId,
        name: &str,
        mtu: u32,
    ) -> Result<(), Error> {
        let parent = &self.inventory[parent];
        let switch = parent.switch;
        let allowed = parent.workers.ask(move |it| it.switch_at(switch).check_mtu(mtu))?;
        allowed.map_err(Error::refused(name))
    }

    /// Makes a TAP in the engine's own namespace with everything but its final place.
    fn make_tap(&mut self, parent: ParentId, options: &SubOptions) -> Result<Made, Error> {
        let name = &options.name;
        // One that will move must not be in the way of an interface here with the same name.
        let first = match self.moves(options) {
            true => format!("um{}", std::process::id()),
            false => name.clone(),
        };
        let count = self.inventory[parent].workers.count();
        let queues = Tap::create_queues(&first, count).map_err(tap_error(name))?;
        let tap = &queues[0];
        let (mac, info) = self.new_address(parent, options)?;
        let link = self.kernel.rtnl.link(&first)?.ok_or_else(|| Error::NoSuchSub(name.clone()))?;
        tap.set_mac(mac).map_err(tap_error(name))?;
        tap.set_carrier(self.inventory[parent].carrier).map_err(tap_error(name))?;
        // A parent may carry larger frames than any TAP.
        let mtu = options.mtu.unwrap_or_else(|| info.mtu.min(link.max_mtu));
        self.check_new_mtu(parent, name, mtu)?;
        if mtu != link.mtu {
            self.kernel.rtnl.set_mtu(link.index, mtu)?;
        }
        if count > 1 {
            // The kernel makes a discipline for each queue that the TAP might have: 256, with room
            // for `txqlen` frames each, which is 25 MB. A TAP needs none: it has a queue itself.
            // A kernel that refuses this makes no disciplines.
            let _ = self.kernel.rtnl.set_noqueue(link.index);
        }
        self.set_attributes(link.index, options)?;
        let location = self.kernel.at_home(Link { mac: Some(mac), mtu, ..link });
        Ok(Made { queues, location, veth: None })
    }

    /// Sets the attributes that a TAP keeps wherever it moves.
    fn set_attributes(&mut self, index: u32, options: &SubOptions) -> Result<(), Error> {
        let rtnl = &mut self.kernel.rtnl;
        rtnl.set_txqlen(index, options.txqlen.unwrap_or(TAP_QUEUE_LEN))?;
        // It would stay "unknown" until its carrier changes for the first time.
        rtnl.set_operstate(index, OperState::Up)?;
        Ok(own_attributes(rtnl, index, options)?)
    }

    /// Moves a new sub-interface to its namespace and sets it up, if that is wanted.
    fn move_and_bring_up(&mut self, id: SubId, options: &SubOptions) -> Result<(), Error> {
        let (sub, _) = self.inventory.sub_and_parent(id)?;
        let (handle, index, made_there) = (sub.handle(), sub.interface.index, sub.veth.is_some());
        if let (true, Some(netns)) = (self.moves(options) && !made_there, &options.netns) {
            let moved = self.kernel.rtnl.set_netns_as(index, netns, &options.name);
            moved.map_err(|source| match source.errno() {
                Some(libc::EEXIST) => {
                    Error::NameInUse { name: options.name.clone(), place: " in its namespace" }
                }
                _ => Error::Namespace { name: options.name.clone(), source },
            })?;
        }
        self.resync(id);
        match handle {
            Some(handle) if options.up => {
                self.kernel.visit(&handle, |rtnl, index| rtnl.set_up(index, true))?;
                if let Some(refusal) = self.resync(id) {
                    return Err(Error::refused(&options.name)(refusal));
                }
            }
            None if options.up => self.set_program_attribute(id, LinkAttribute::Up(true))?,
            _ => {}
        }
        if let Some(bclim) = options.settings.bclim {
            let (_, parent) = self.inventory.sub_and_parent_mut(id)?;
            let switch = parent.switch;
            parent.workers.tell(move |it| it.switch_at_mut(switch).set_bc_cutoff(bclim))?;
            parent.bc_cutoff = Some(bclim);
        }
        Ok(())
    }

    pub(super) fn moves(&self, options: &SubOptions) -> bool {
        options.netns.as_ref().is_some_and(|netns| !self.kernel.is_home(netns.id()))
    }
}

/// Sets the attributes of an interface of any kind, with a socket in its namespace.
pub(super) fn own_attributes(
    rtnl: &mut Rtnl,
    index: u32,
    options: &SubOptions,
) -> umacvlan_netlink::Result<()> {
    if let Some(text) = &options.alias {
        rtnl.set_alias(index, text)?;
    }
    if options.promisc {
        rtnl.set_promisc(index, true)?;
    }
    if options.allmulti {
        rtnl.set_allmulti(index, true)?;
    }
    Ok(())
}

/// The outcome of adding a sub-interface to all workers. The kernel may have had room for the port
/// of one and not of another: then it is removed from all.
pub(super) fn agree<T>(
    workers: &Workers,
    added: Vec<Result<(SubIndex, T), AddError>>,
) -> Result<(SubIndex, T), AddError> {
    let index = added.iter().find_map(|added| added.as_ref().ok().map(|(index, _)| *index));
    let all: Result<Vec<_>, AddError> = added.into_iter().collect();
    if let (Err(_), Some(index)) = (&all, index) {
        // One that has stopped meanwhile has no port left.
        let _ = workers.tell(move |worker| worker.remove(index));
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

/// Refuses names that the kernel takes and nobody means: the empty one, which changes nothing, and
/// control characters, which a terminal obeys.
pub(super) fn check_printable(name: &str) -> Result<(), Error> {
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(Error::NameInvalid(name.to_owned())),
        false => Ok(()),
    }
}

pub(super) fn check_unicast(name: &str, mac: MacAddr) -> Result<(), Error> {
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
