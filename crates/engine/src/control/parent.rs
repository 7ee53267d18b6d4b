//! Parents: attached, followed, detached.

use std::sync::Arc;

use umacvlan_core::{MacAddr, Mode, Switch, VlanPath};
use umacvlan_netlink::{Link, LinkFlags};

use super::Control;
use super::host_filter::{HostSide, vlans_on};
use super::rx_filter::Memberships;
use super::sub::{Sub, let_go};
use super::workers::Workers;
use crate::SwitchId;
use crate::control::engine::{Event, ParentBinding, ParentOptions};
use crate::control::error::Error;
use crate::datapath::worker::Worker;

/// Turns in which a worker forwards what waits when it is to stop: more than a full queue takes.
const LAST_TURNS: usize = 64;

/// A parent as the control thread knows it.
pub(super) struct Parent {
    pub(super) name: String,
    /// The number of the trunk that carries it.
    pub(super) trunk: u64,
    /// The tags of its frames.
    pub(super) path: VlanPath,
    /// Its switch among those of the workers.
    pub(super) at: SwitchId,
    /// The index of the trunk's interface; `None` while there is none.
    pub(super) index: Option<u32>,
    pub(super) carrier: bool,
    /// The address that it was last given by anybody but a passthru sub-interface: that of the
    /// interface.
    pub(super) own_mac: MacAddr,
    /// Those of the trunk.
    pub(super) workers: Arc<Workers>,
    pub(super) subs: Vec<Sub>,
    pub(super) memberships: Memberships,
    pub(super) host: HostSide,
    /// The interface that has come and claims its name or its VLAN as well, once it was told of.
    pub(super) rival: Option<u32>,
}

impl Parent {
    /// The index of the interface that has the parent's address: a VLAN has one of its own, which
    /// no interface has.
    pub(super) fn addressed(&self) -> Option<u32> {
        self.index.filter(|_| self.path.is_untagged())
    }

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
        let name = options.name.clone();
        if self.parents.iter().any(|parent| parent.name == name) {
            return Err(Error::ParentTaken(name));
        }
        let ParentBinding { link, vlan: path, .. } = self.lower(&name)?;
        // Told of the interface that is missing, and not of what was made of the name.
        let absent = |error| match error {
            Error::ParentAbsent(_) => Error::ParentAbsent(name.clone()),
            error => error,
        };
        let trunk = self.trunk_for(&link, &options).map_err(absent)?;
        let number = self.trunks[trunk].number;
        let added = self.add_to(trunk, path, options);
        // Without a parent it goes again.
        self.change_trunk(number, 0);
        added
    }

    fn add_to(
        &mut self,
        trunk: usize,
        path: VlanPath,
        options: ParentOptions,
    ) -> Result<(), Error> {
        let number = self.trunks[trunk].number;
        let same = |other: &&Parent| other.trunk == number && other.path == path;
        if let Some(other) = self.parents.iter().find(same) {
            return Err(Error::ParentRenamed { name: options.name, parent: other.name.clone() });
        }
        let found = self.seen_on(trunk, path);
        let (state, carrier) = match (&found, options.absent) {
            (Some((link, state)), _) => (*state, has_carrier(link)),
            (None, Some(absent)) => {
                let (mac, mtu) = (absent.mac, absent.mtu);
                (umacvlan_core::ParentInfo { mac, mtu, promisc: false }, false)
            }
            (None, None) => return Err(Error::ParentAbsent(options.name)),
        };
        if let Some((link, _)) = &found {
            self.check_rivals(&options.name, link, path)?;
        }
        let workers = Arc::clone(&self.trunks[trunk].workers);
        let switch = Switch::new(state, options.semantics);
        let at = workers
            .tell(move |worker| worker.add_switch(path, switch.clone()))?
            .map_err(Error::refused(&options.name))?;
        self.parents.push(Parent {
            name: options.name,
            trunk: number,
            path,
            at,
            index: self.trunks[trunk].index,
            carrier,
            own_mac: options.own_mac.filter(|_| path.is_untagged()).unwrap_or(state.mac),
            workers,
            subs: Vec::new(),
            memberships: Memberships::default(),
            host: HostSide::new(options.host_hears_all),
            rival: None,
        });
        Ok(())
    }

    /// Refuses a VLAN that the kernel has a device for: that one would take its frames as well.
    fn check_rivals(&mut self, name: &str, link: &Link, path: VlanPath) -> Result<(), Error> {
        let Some(vid) = path.tags().next().map(|tag| tag.vid()) else {
            return Ok(());
        };
        let vlans = vlans_on(&mut self.rtnl, link.index)
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
        let at = self.parent_at(name)?;
        let parent = self.parents.remove(at);
        self.take_down(parent);
        Ok(())
    }

    /// Removes the sub-interfaces of a parent that is no longer in the list, then its switch, and
    /// its trunk with the last one.
    pub(super) fn take_down(&mut self, mut parent: Parent) {
        parent.host.end("the parent is detached");
        for sub in std::mem::take(&mut parent.subs) {
            self.drop_sub(&parent, sub);
        }
        let Parent { trunk, at, workers, memberships, .. } = parent;
        let marks = memberships.marks();
        memberships.leave(&workers);
        // A worker that has stopped serves nobody.
        let _ = workers.tell(move |worker| worker.remove_switch(at));
        drop(workers);
        self.change_trunk(trunk, marks);
    }

    pub(super) fn parent_at(&self, name: &str) -> Result<usize, Error> {
        let found = self.parents.iter().position(|parent| parent.name == name);
        found.ok_or_else(|| Error::NoSuchParent(name.to_owned()))
    }

    /// Has a parent follow its interface; true if that has another MTU than before.
    pub(super) fn follow_parent(&mut self, at: usize, link: &Link) -> bool {
        let Parent { path, at: switch, own_mac, .. } = self.parents[at];
        let state = seen(link, path);
        let asked = self.parents[at].workers.tell(move |worker| {
            let switch = worker.switch_at_mut(switch);
            let before = *switch.parent();
            switch.set_parent_promisc(state.promisc);
            // A VLAN whose address is its passthru sub-interface's own keeps that one.
            if path.is_untagged() || before.mac == own_mac {
                switch.set_parent_mac(state.mac);
            }
            let clamped = match before.mtu == state.mtu {
                true => Vec::new(),
                false => switch.set_parent_mtu(state.mtu),
            };
            (before.mac != switch.parent().mac, before.mtu != state.mtu, clamped)
        });
        // A worker that has stopped has told so.
        let Ok((mac_changed, mtu_changed, clamped)) = asked else {
            return false;
        };
        let parent = &mut self.parents[at];
        if mac_changed {
            // What a passthru sub-interface sets, the switch knows before the parent.
            parent.memberships.mark();
            let mut subs = parent.subs.iter_mut();
            if let Some(owner) = subs.find(|sub| sub.mode == Mode::Passthru) {
                owner.take_mac(state.mac);
            }
        }
        if mac_changed || !path.is_untagged() {
            parent.own_mac = state.mac;
        }
        for id in clamped {
            self.impose_mtu(at, id, state.mtu);
        }
        mtu_changed
    }

    /// Tells every sub-interface of a parent whether there is a carrier.
    pub(super) fn set_carrier(&mut self, at: usize, on: bool) {
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

    /// Tells of an interface that claims the name or the VLAN of a parent that is one without an
    /// interface. Nothing is given up for it: its user knows which of both he wants.
    pub(super) fn note_rival(&mut self, link: &Link) {
        let claims = |parent: &Parent| {
            let vid = parent.path.tags().next().map(|tag| tag.vid());
            let tagged = link.vlan.is_some() && link.vlan == vid;
            vid.is_some() && (parent.name == link.name || tagged && parent.index == link.lower)
        };
        let new = |parent: &&mut Parent| claims(parent) && parent.rival != Some(link.index);
        let rivals: Vec<String> = self
            .parents
            .iter_mut()
            .filter(new)
            .map(|parent| {
                parent.rival = Some(link.index);
                parent.name.clone()
            })
            .collect();
        for name in rivals {
            self.trouble(format!(
                "interface {} has come, and {name} is served in user space already: both get its \
                 frames; detach {name} to use the interface, or delete that",
                link.name
            ));
        }
    }
}

/// What the switch wants to know of a parent with these tags.
pub(super) fn seen(link: &Link, path: VlanPath) -> umacvlan_core::ParentInfo {
    umacvlan_core::ParentInfo {
        mac: link.mac.unwrap_or_default(),
        mtu: path.mtu(link.mtu),
        promisc: link.is_promiscuous() || link.is_allmulti(),
    }
}

/// Up and with a carrier: the driver's word, `IFF_LOWER_UP`, alone says nothing of a link that
/// the administrator has set down.
pub(super) fn has_carrier(link: &Link) -> bool {
    link.flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
}
