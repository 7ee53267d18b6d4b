//! [`Switches`]: the switches of one worker: one for untagged frames, and one for each VLAN with a
//! parent of its own.
//!
//! The index of a sub-interface is unique among all of them, so ports and counters need not know to
//! which switch it belongs.

use std::time::Instant;

use umacvlan_core::offload::{VNET_LEN, pop_tag};
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{MacAddr, SubConfig, SubIndex, Switch, SwitchError, Tag, VlanPath, VlanTable};
use umacvlan_sys::wire_form::WireForm;

use crate::translation::Translation;

/// One of a worker's switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwitchId(u16);

impl SwitchId {
    /// The switch of untagged frames, and of frames in a VLAN without a switch.
    pub const UNTAGGED: Self = Self(0);

    /// No switch: what a route says of sub-interfaces that have a limit on what they send.
    pub(crate) const LIMITED: Self = Self(u16::MAX);

    /// No switch: what a route says of sub-interfaces whose addresses are translated.
    pub(crate) const TRANSLATED: Self = Self(u16::MAX - 1);

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The switch of one VLAN or of untagged frames, with its counters.
#[derive(Debug)]
pub(crate) struct VlanSwitch {
    pub(crate) switch: Switch,
    pub(crate) wire: WireStats,
    /// The sum over removed sub-interfaces.
    pub(crate) removed: SubStats,
    /// Its floods in the flood queue.
    pub(crate) pending_floods: usize,
    /// The translation to the one address of its parent; `None` if sub-interfaces have their own.
    pub(crate) nat: Option<Box<Translation>>,
}

impl VlanSwitch {
    fn new(switch: Switch) -> Self {
        let (wire, removed) = Default::default();
        Self { switch, wire, removed, pending_floods: 0, nat: None }
    }
}

/// All switches of a worker.
#[derive(Debug)]
pub(crate) struct Switches {
    /// Exists always, if only to pass untagged frames to the host.
    untagged: VlanSwitch,
    /// By [`SwitchId::index`] less one.
    tagged: Vec<VlanSwitch>,
    /// By [`SubIndex::index`]: the switch of the sub-interface.
    owner: Vec<SwitchId>,
    /// The same, with [`SwitchId::LIMITED`] for sub-interfaces with a limit, and
    /// [`SwitchId::TRANSLATED`] for those of a switch with a translation.
    routes: Vec<SwitchId>,
    /// How many of these are not [`SwitchId::UNTAGGED`].
    other_routes: usize,
    /// By [`SubIndex::index`]: whether the index is in use.
    used: Vec<bool>,
    /// No lower index is free.
    first_free: usize,
    /// A switch has a translation.
    translate: bool,
    /// The time of this turn, if a switch has a translation.
    pub(crate) now: Option<Instant>,
}

impl Switches {
    pub(crate) fn new(untagged: Switch) -> Self {
        let untagged = VlanSwitch::new(untagged);
        let (tagged, owner, routes, used) = Default::default();
        let (other_routes, first_free) = (0, 0);
        let (translate, now) = (false, None);
        Self { untagged, tagged, owner, routes, other_routes, used, first_free, translate, now }
    }

    #[inline]
    pub(crate) fn get(&self, id: SwitchId) -> &VlanSwitch {
        match id.index().checked_sub(1) {
            None => &self.untagged,
            Some(position) => &self.tagged[position],
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SwitchId) -> &mut VlanSwitch {
        match id.index().checked_sub(1) {
            None => &mut self.untagged,
            Some(position) => &mut self.tagged[position],
        }
    }

    /// The switch of a sub-interface; [`SwitchId::UNTAGGED`] if there is no such sub-interface.
    pub(crate) fn switch_of(&self, sub: SubIndex) -> SwitchId {
        self.owner.get(sub.index()).copied().unwrap_or_default()
    }

    /// True if a switch has a translation.
    #[inline]
    pub(crate) const fn translate(&self) -> bool {
        self.translate
    }

    /// Gives a switch without sub-interfaces a translation, or takes it away.
    pub(crate) fn set_nat(&mut self, id: SwitchId, nat: Option<Box<Translation>>) {
        self.get_mut(id).nat = nat;
        self.note_nats();
    }

    fn note_nats(&mut self) {
        let translate = self.untagged.nat.is_some() || self.tagged().any(|it| it.nat.is_some());
        self.translate = translate;
    }

    /// Where a frame of a sub-interface goes: its switch, [`SwitchId::LIMITED`] or
    /// [`SwitchId::TRANSLATED`].
    #[inline]
    pub(crate) fn route_of(&self, sub: SubIndex) -> SwitchId {
        match self.other_routes {
            0 => SwitchId::UNTAGGED,
            _ => self.routes.get(sub.index()).copied().unwrap_or_default(),
        }
    }

    /// Notes whether a sub-interface has a limit on what it sends.
    pub(crate) fn set_limited(&mut self, sub: SubIndex, limited: bool) {
        let route = if limited { SwitchId::LIMITED } else { self.unlimited_route(sub) };
        self.set_route(sub, route);
    }

    fn unlimited_route(&self, sub: SubIndex) -> SwitchId {
        let id = self.switch_of(sub);
        if self.get(id).nat.is_some() { SwitchId::TRANSLATED } else { id }
    }

    fn set_route(&mut self, sub: SubIndex, route: SwitchId) {
        let Some(place) = self.routes.get_mut(sub.index()) else {
            return;
        };
        let former = std::mem::replace(place, route);
        self.other_routes += usize::from(route != SwitchId::UNTAGGED);
        self.other_routes -= usize::from(former != SwitchId::UNTAGGED);
    }

    /// All switches with their ids, those of removed VLANs included.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = (SwitchId, &mut VlanSwitch)> {
        let all = std::iter::once(&mut self.untagged).chain(&mut self.tagged);
        (0..).map(SwitchId).zip(all)
    }

    /// The switches of VLANs, removed ones included.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = &VlanSwitch> {
        self.tagged.iter()
    }

    /// Adds a switch or replaces one, with counters from zero.
    pub(crate) fn replace(&mut self, id: SwitchId, switch: Switch) {
        match id.index() <= self.tagged.len() {
            true => *self.get_mut(id) = VlanSwitch::new(switch),
            false => self.tagged.push(VlanSwitch::new(switch)),
        }
        self.note_nats();
    }

    /// Adds a sub-interface to a switch, with the lowest index that is free in all of them.
    pub(crate) fn add(
        &mut self,
        id: SwitchId,
        config: &SubConfig,
    ) -> Result<SubIndex, SwitchError> {
        let free = |&index: &usize| self.used.get(index) != Some(&true);
        let sub = (self.first_free..).find(free).and_then(SubIndex::from_index);
        let sub = sub.ok_or(SwitchError::TooMany)?;
        self.get_mut(id).switch.add_with_index(sub, config)?;
        self.first_free = sub.index() + 1;
        if self.owner.len() <= sub.index() {
            self.owner.resize(sub.index() + 1, SwitchId::UNTAGGED);
            self.routes.resize(sub.index() + 1, SwitchId::UNTAGGED);
            self.used.resize(sub.index() + 1, false);
        }
        (self.owner[sub.index()], self.used[sub.index()]) = (id, true);
        self.set_route(sub, self.unlimited_route(sub));
        Ok(sub)
    }

    /// Removes a sub-interface; returns the switch that it belonged to.
    pub(crate) fn remove(&mut self, sub: SubIndex) -> Option<SwitchId> {
        let used = self.used.get_mut(sub.index())?;
        if !std::mem::take(used) {
            return None;
        }
        let id = std::mem::take(&mut self.owner[sub.index()]);
        self.set_route(sub, SwitchId::UNTAGGED);
        let VlanSwitch { switch, nat, .. } = self.get_mut(id);
        switch.remove(sub);
        if let Some(nat) = nat {
            nat.remove_link(sub);
        }
        self.first_free = self.first_free.min(sub.index());
        Some(id)
    }
}

/// The VLANs of a wire with a switch of their own.
#[derive(Debug)]
pub(crate) struct Vlans {
    table: VlanTable,
    /// By [`SwitchId::index`]; [`VlanPath::UNTAGGED`] for a removed switch.
    paths: Vec<VlanPath>,
    /// The same with the address that all frames have as their source, if they have one.
    forms: Vec<WireForm>,
}

impl Vlans {
    pub(crate) fn new() -> Self {
        let (table, paths) = (VlanTable::default(), vec![VlanPath::UNTAGGED]);
        Self { table, paths, forms: vec![WireForm::UNCHANGED] }
    }

    /// Returns the switch of a VLAN, a new one if it has none. `None` if there are too many.
    pub(crate) fn add(&mut self, path: VlanPath) -> Option<SwitchId> {
        let find = |wanted| (1..self.paths.len()).find(|&index| self.paths[index] == wanted);
        let index = find(path).or_else(|| find(VlanPath::UNTAGGED)).unwrap_or(self.paths.len());
        let number =
            u16::try_from(index).ok().filter(|&number| SwitchId(number) < SwitchId::TRANSLATED)?;
        match self.paths.get_mut(index) {
            Some(free) => *free = path,
            None => self.paths.push(path),
        }
        self.forms.resize(self.paths.len(), WireForm::UNCHANGED);
        self.forms[index] = WireForm::new(path, None);
        self.table.insert(path, number);
        Some(SwitchId(number))
    }

    pub(crate) fn remove(&mut self, id: SwitchId) {
        if let Some(path) = self.paths.get_mut(id.index()) {
            self.table.remove(std::mem::take(path));
        }
        self.set_source(id, None);
    }

    /// Sets the source address that all frames of a switch have on the wire.
    pub(crate) fn set_source(&mut self, id: SwitchId, source: Option<MacAddr>) {
        if let (Some(form), Some(path)) =
            (self.forms.get_mut(id.index()), self.paths.get(id.index()))
        {
            *form = WireForm::new(*path, source);
        }
    }

    /// What frames of a switch have on the wire: tags, and perhaps a source address.
    #[inline]
    pub(crate) fn form(&self, id: SwitchId) -> &WireForm {
        &self.forms[id.index()]
    }

    /// Finds the switch of a frame whose outer tag the kernel has removed, and whether the tag
    /// behind it has to be removed as well. `None`: it goes to the switch of untagged frames, with
    /// its tag.
    pub(crate) fn find(&self, outer: Tag, rest: &[u8]) -> Option<(SwitchId, bool)> {
        let inner = || umacvlan_core::vlan::tag_after_addresses(rest);
        self.table.find(outer, inner).map(|(number, tags)| (SwitchId(number), tags > 1))
    }

    /// True when no VLAN has a switch of its own.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Finds the switch of a frame with all its tags in it, and removes in place the tags that the
    /// switch does not see. Returns the offset at which the vnet header begins then; `None` instead
    /// for a frame that ends with its tags.
    #[inline(never)]
    pub(crate) fn untag(&self, unit: &mut [u8]) -> (SwitchId, Option<usize>) {
        let found = unit.get(VNET_LEN..).and_then(|frame| self.table.find_in(frame));
        let Some((number, tags)) = found else {
            return (SwitchId::UNTAGGED, Some(0));
        };
        let start = (0..tags).try_fold(0, |start, _| pop_tag(unit, start));
        (SwitchId(number), start)
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::{MacAddr, Mode, ParentInfo, Semantics};

    use super::*;

    fn switch() -> Switch {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        Switch::new(ParentInfo { mac, mtu: 1500, promisc: false }, Semantics::default())
    }

    fn config(n: u8) -> SubConfig {
        let mac = MacAddr::new([2, 0, 0, 0, 1, n]);
        SubConfig::new(mac, Mode::Bridge)
    }

    #[test]
    fn an_index_is_unique_among_all_switches() {
        let (mut switches, mut vlans) = (Switches::new(switch()), Vlans::new());
        let vlan = vlans.add(VlanPath::single(10).unwrap()).unwrap();
        switches.replace(vlan, switch());
        let subs = [SwitchId::UNTAGGED, vlan, vlan, SwitchId::UNTAGGED]
            .map(|id| (id, switches.add(id, &config(1)).unwrap()));
        for (index, (id, sub)) in subs.into_iter().enumerate() {
            assert_eq!((sub.index(), switches.switch_of(sub)), (index, id));
        }
        assert_eq!(switches.remove(subs[1].1), Some(vlan));
        assert_eq!(switches.remove(subs[1].1), None);
        assert_eq!(switches.add(SwitchId::UNTAGGED, &config(2)).unwrap(), subs[1].1);
        assert_eq!(switches.add(vlan, &config(2)).unwrap().index(), 4);
    }

    #[test]
    fn the_number_of_a_removed_switch_is_used_again() {
        let mut vlans = Vlans::new();
        let path = |vid| VlanPath::single(vid).unwrap();
        let [a, b] = [10, 20].map(|vid| vlans.add(path(vid)).unwrap());
        vlans.remove(a);
        let c = vlans.add(path(30)).unwrap();
        assert_eq!((c, a != b, *vlans.form(c).path()), (a, true, path(30)));
        assert_eq!(vlans.add(path(20)), Some(b));
    }

    #[test]
    fn a_vlan_keeps_its_switch_although_a_lower_number_is_free() {
        let mut vlans = Vlans::new();
        let path = |vid| VlanPath::single(vid).unwrap();
        let [a, b] = [10, 20].map(|vid| vlans.add(path(vid)).unwrap());
        vlans.remove(a);
        assert_eq!(vlans.add(path(20)), Some(b));
    }
}
