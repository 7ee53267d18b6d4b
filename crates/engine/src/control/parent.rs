//! Parents: attached, followed, detached.

use std::collections::BTreeSet;
use std::sync::Arc;

use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics, VlanPath, WorkerStats};
use umacvlan_netlink::{Link, LinkFlags, Rtnl};

use super::Control;
use super::host_filter::{HostSide, vlans_on};
use super::inventory::{DeviceId, ParentId};
use super::kernel::Handle;
use super::kernel_side::KernelSide;
use super::neighbours::{Translation, several_workers};
use super::rx_filter::Memberships;
use super::sub::close_port;
use super::workers::Workers;
use crate::control::engine::{Event, ParentBinding, ParentOptions, SubId};
use crate::control::error::Error;
use umacvlan_datapath::SwitchId;
use umacvlan_datapath::worker::Worker;

/// Turns in which a worker forwards waiting frames before it stops: more than a full queue takes.
pub(super) const LAST_TURNS: usize = 64;

/// A parent.
pub(super) struct Parent {
    /// The name by which requests mean it. It stays when the interface is renamed.
    pub(super) handle: String,
    /// The present name: that of its interface, with the tags behind it.
    pub(super) name: String,
    /// The device that carries it.
    pub(super) device: DeviceId,
    /// The tags of its frames.
    pub(super) path: VlanPath,
    /// Its switch among those of the workers.
    pub(super) switch: SwitchId,
    /// The index of the device's interface; `None` while there is none.
    pub(super) index: Option<u32>,
    pub(super) carrier: bool,
    /// The last address that the interface got from anybody but a passthru sub-interface.
    pub(super) own_mac: MacAddr,
    /// What its switch was made with, or has got from its interface since.
    pub(super) info: ParentInfo,
    /// How private sub-interfaces are isolated.
    pub(super) semantics: Semantics,
    /// The port-wide `bclim`, once it was set.
    pub(super) bc_cutoff: Option<i32>,
    /// The workers of the device.
    pub(super) workers: Arc<Workers>,
    /// What workers have counted that were replaced.
    pub(super) carried: Carried,
    pub(super) subs: BTreeSet<SubId>,
    pub(super) memberships: Memberships,
    pub(super) host: HostSide,
    pub(super) kernel: KernelSide,
    /// How its links share its address; `None` if they have their own.
    pub(super) translation: Option<Translation>,
    /// An interface that claims the parent's name or VLAN as well, once that was reported.
    pub(super) rival: Option<u32>,
}

/// Counters of workers that were replaced, but for those of sub-interfaces.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// For each worker.
    pub(super) workers: Vec<(WireStats, WorkerStats)>,
    /// The sum over removed sub-interfaces.
    pub(super) removed: SubStats,
}

impl Parent {
    /// The index of the interface that has the parent's address. A VLAN has an address of its own,
    /// which no interface has.
    pub(super) fn addressed(&self) -> Option<u32> {
        self.index.filter(|_| self.path.is_untagged())
    }
}

impl Control {
    pub(crate) fn add_parent(&mut self, options: ParentOptions) -> Result<(), Error> {
        let name = options.name.clone();
        if self.inventory.parent_named(&name).is_ok() {
            return Err(Error::ParentTaken(name));
        }
        let binding = match &options.known {
            Some(known) => self.lower_known(known)?,
            None => self.lower(options.interface.as_deref().unwrap_or(&name))?,
        };
        // The error names the interface that is missing, and not the one that the name leads to.
        let absent = |error| match error {
            Error::ParentAbsent(_) => Error::ParentAbsent(name.clone()),
            error => error,
        };
        if options.macnat && options.workers.len() > 1 {
            return Err(several_workers(&name));
        }
        let device = self.device_for(&binding, &options).map_err(absent)?;
        let added = self.add_to(device, binding, options);
        // Without a parent it goes again.
        self.note_parents_changed(device, 0);
        added
    }

    fn add_to(
        &mut self,
        device: DeviceId,
        binding: ParentBinding,
        options: ParentOptions,
    ) -> Result<(), Error> {
        let ParentBinding { link, vlan: path, .. } = binding;
        let called = match &options.known {
            Some(_) if path.is_untagged() => link,
            Some(_) => format!("{link}.{path}"),
            None => options.interface.clone().unwrap_or_else(|| options.name.clone()),
        };
        for other in self.inventory.parents_on(device) {
            let other = &self.inventory[other];
            if other.path == path {
                let parent = other.handle.clone();
                return Err(Error::ParentRenamed { name: options.name, parent });
            }
        }
        let found = self.info_on(device, path);
        let (info, carrier) = match (&found, options.absent) {
            (Some((link, info)), _) => (*info, has_carrier(link)),
            (None, Some(absent)) => {
                let (mac, mtu) = (absent.mac, absent.mtu);
                (ParentInfo { mac, mtu, promisc: false }, false)
            }
            (None, None) => return Err(Error::ParentAbsent(options.name)),
        };
        if let Some((link, _)) = &found {
            self.check_rivals(&called, link, path)?;
        }
        let workers = Arc::clone(&self.inventory[device].workers);
        if options.macnat && workers.count() > 1 {
            return Err(several_workers(&options.name));
        }
        let translation = Translation::new(&options);
        let switch = self.new_switch(info, options.semantics);
        let switch = workers
            .tell(move |worker| worker.add_switch(path, switch.clone()))?
            .map_err(Error::refused(&options.name))?;
        let id = self.inventory.add_parent(Parent {
            handle: options.name,
            name: called,
            device,
            path,
            switch,
            index: self.inventory[device].index,
            carrier,
            own_mac: options.own_mac.filter(|_| path.is_untagged()).unwrap_or(info.mac),
            info,
            semantics: options.semantics,
            bc_cutoff: None,
            workers,
            carried: Carried::default(),
            subs: BTreeSet::new(),
            memberships: Memberships::default(),
            host: HostSide::new(options.host_gets_all),
            kernel: KernelSide::default(),
            translation,
            rival: None,
        });
        self.translate(id)
    }

    /// Refuses a VLAN for which the kernel has a device, which would take its frames as well.
    fn check_rivals(&mut self, name: &str, link: &Link, path: VlanPath) -> Result<(), Error> {
        let Some(vid) = path.tags().next().map(|tag| tag.vid()) else {
            return Ok(());
        };
        let vlans = vlans_on(&mut self.kernel.rtnl, link.index)
            .map_err(Error::system(format!("look for the VLANs of {}", link.name)))?;
        match vlans.contains(&vid) {
            true => {
                let (parent, link) = (name.to_owned(), link.name.clone());
                Err(Error::ParentRival { parent, link, vid })
            }
            false => Ok(()),
        }
    }

    pub(crate) fn remove_parent(&mut self, name: &str) -> Result<(), Error> {
        let id = self.inventory.parent_named(name)?;
        self.detach(id);
        Ok(())
    }

    /// Removes the sub-interfaces of a parent, then its switch, and its device with the last parent
    /// there.
    pub(super) fn detach(&mut self, id: ParentId) {
        self.inventory[id].host.end("the parent is detached");
        for sub in self.inventory[id].subs.clone() {
            self.remove(sub);
        }
        let Some(parent) = self.inventory.remove_parent(id) else {
            return;
        };
        let Parent { device, switch, workers, memberships, .. } = parent;
        let marks = memberships.marks();
        memberships.leave(self.inventory[device].filter.as_ref());
        // A worker that has stopped has no switch left.
        let _ = workers.tell(move |worker| worker.remove_switch(switch));
        workers.forget_switch(switch);
        drop(workers);
        self.note_parents_changed(device, marks);
    }

    /// Stops serving the sub-interfaces whose interfaces are kept, after forwarding the frames that
    /// they have sent. If the sockets on the parent are kept, too, what comes from the wire waits from now
    /// on, and what the sub-interfaces send; else they lose their carrier.
    pub(super) fn release_kept(&mut self, id: ParentId) {
        let kept = self.inventory.subs_of(id).filter(|sub| sub.kept);
        let kept: Vec<SubId> = kept
            .map(|sub| {
                if !self.uplinks_kept {
                    // Refused only by a TAP that is gone.
                    let _ = sub.tap().map(|tap| tap.set_carrier(false));
                }
                sub.id
            })
            .collect();
        if kept.is_empty() {
            return;
        }
        let waits = self.uplinks_kept;
        let turns = move |worker: &mut Worker| {
            if waits {
                worker.hold_uplink();
            }
            (0..LAST_TURNS).take_while(|_| worker.turn().is_ok_and(|turn| turn.events > 0)).count()
        };
        // A worker that has stopped forwards nothing any more.
        let _ = self.inventory[id].workers.each(turns);
        for sub in kept {
            if let Some(sub) = self.inventory.remove_sub(sub) {
                close_port(&self.inventory[id], &sub);
            }
        }
    }

    /// Has a parent follow its interface. Returns true if that has another MTU than before.
    pub(super) fn follow_parent(&mut self, id: ParentId, link: &Link) -> bool {
        let parent = &self.inventory[id];
        let (path, switch, own_mac) = (parent.path, parent.switch, parent.own_mac);
        let info = parent_info(link, path);
        let asked = parent.workers.tell(move |worker| {
            let switch = worker.switch_at_mut(switch);
            let before = *switch.parent();
            switch.set_parent_promisc(info.promisc);
            // A VLAN that has the address of its passthru sub-interface keeps it.
            if path.is_untagged() || before.mac == own_mac {
                switch.set_parent_mac(info.mac);
            }
            let clamped = match before.mtu == info.mtu {
                true => Vec::new(),
                false => switch.set_parent_mtu(info.mtu),
            };
            let now = *switch.parent();
            (now, before.mac != now.mac, before.mtu != info.mtu, clamped)
        });
        // A worker that has stopped has reported it.
        let Ok((now, mac_changed, mtu_changed, clamped)) = asked else {
            return false;
        };
        self.inventory[id].info = now;
        if mac_changed {
            // An address that a passthru sub-interface sets, the switch has before the parent.
            self.inventory[id].memberships.mark_stale();
            let mut subs = self.inventory.subs_of(id);
            let owner = subs.find(|sub| sub.settings.mode == Mode::Passthru).map(|sub| sub.id);
            drop(subs);
            if let Some(owner) = owner.and_then(|owner| self.inventory.sub_mut(owner)) {
                owner.seen.mac = info.mac;
                // Refused only by an interface that is gone, which has an event of its own.
                match (owner.tap(), owner.veth) {
                    (Some(tap), None) => _ = tap.set_mac(info.mac),
                    (_, Some(pair)) => {
                        let set = |rtnl: &mut Rtnl, index| rtnl.set_mac(index, info.mac);
                        let _ = self.kernel.visit(&Handle::VethPeer(pair.host_end), set);
                    }
                    (None, None) => owner.show_accepted(),
                }
            }
        }
        if mac_changed || !path.is_untagged() {
            self.inventory[id].own_mac = info.mac;
        }
        for index in clamped {
            self.impose_mtu(id, index, info.mtu);
        }
        mtu_changed
    }

    /// Gives every sub-interface of a parent a carrier, or takes it away.
    pub(super) fn set_carrier(&mut self, id: ParentId, on: bool) {
        let parent = &mut self.inventory[id];
        if parent.carrier == on {
            return;
        }
        parent.carrier = on;
        let event = Event::Carrier { parent: parent.name.clone(), on };
        let mut programs = Vec::new();
        for sub in self.inventory.subs_of(id) {
            // Refused only by an interface that is gone, which has an event of its own. The carrier of a
            // veth interface is that its peer is up.
            match (sub.tap(), sub.veth) {
                (_, Some(pair)) => _ = self.kernel.rtnl.set_up(pair.host_end, on),
                (Some(tap), None) => _ = tap.set_carrier(on),
                (None, None) => programs.push(sub.id),
            }
        }
        programs.into_iter().for_each(|sub| self.show_program_carrier(sub));
        self.events.send(event);
    }

    /// Reports an interface that claims the name or the VLAN of a parent without an interface of
    /// its own. The parent stays: the user knows which of both he wants.
    pub(super) fn note_rival(&mut self, link: &Link) {
        for parent in self.inventory.parents_mut() {
            let vid = parent.path.tags().next().map(|tag| tag.vid());
            let tagged = link.vlan.is_some() && link.vlan == vid;
            let claims =
                vid.is_some() && (parent.name == link.name || tagged && parent.index == link.lower);
            if !claims || parent.rival == Some(link.index) {
                continue;
            }
            parent.rival = Some(link.index);
            self.events.trouble(format!(
                "interface {} has come, and {name} is served in user space already: both get its \
                 frames; detach {name} to use the interface, or delete that",
                link.name,
                name = parent.name
            ));
        }
    }
}

/// The properties of a parent with these tags that its switch needs.
pub(super) fn parent_info(link: &Link, path: VlanPath) -> ParentInfo {
    ParentInfo {
        mac: link.mac.unwrap_or_default(),
        mtu: path.mtu(link.mtu),
        promisc: link.is_promiscuous() || link.is_allmulti(),
    }
}

/// True when it is up and has a carrier. `IFF_LOWER_UP` of the driver alone says nothing about a
/// link that the administrator has set down.
pub(super) fn has_carrier(link: &Link) -> bool {
    link.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}
