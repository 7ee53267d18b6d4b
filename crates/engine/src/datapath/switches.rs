//! [`Switches`]: all that one worker decides by: the switch of its wire's untagged frames, and one
//! for each VLAN that is served there.
//!
//! A sub-interface has one number among all of them, so ports and counters need not know of which
//! switch it is.

use umacvlan_core::offload::{VNET_LEN, pop_tag};
use umacvlan_core::stats::{SubStats, WireStats};
use umacvlan_core::{SubConfig, SubIndex, Switch, SwitchError, Tag, VlanPath, VlanTable};

/// One of a worker's switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SwitchId(u16);

impl SwitchId {
    /// That of untagged frames, and of those in a VLAN that nobody serves.
    pub const UNTAGGED: Self = Self(0);

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A switch, and what was counted of it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) switch: Switch,
    pub(crate) wire: WireStats,
    /// The sum over sub-interfaces that were removed.
    pub(crate) removed: SubStats,
    /// Floods of it that wait.
    pub(crate) waiting: usize,
}

impl Served {
    fn new(switch: Switch) -> Self {
        let (wire, removed) = Default::default();
        Self { switch, wire, removed, waiting: 0 }
    }
}

/// All switches of a worker.
#[derive(Debug)]
pub(crate) struct Switches {
    /// That of untagged frames is there always, if only to leave them to the host.
    untagged: Served,
    /// By [`SwitchId::index`] less one.
    tagged: Vec<Served>,
    /// By [`SubIndex::index`]: whose it is.
    of: Vec<SwitchId>,
    /// By [`SubIndex::index`]: whether there is one.
    taken: Vec<bool>,
    /// No number below is free.
    vacant_from: usize,
}

impl Switches {
    pub(crate) fn new(untagged: Switch) -> Self {
        let untagged = Served::new(untagged);
        let (tagged, of, taken) = Default::default();
        Self { untagged, tagged, of, taken, vacant_from: 0 }
    }

    #[inline]
    pub(crate) fn at(&self, at: SwitchId) -> &Served {
        match at.index().checked_sub(1) {
            None => &self.untagged,
            Some(place) => &self.tagged[place],
        }
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, at: SwitchId) -> &mut Served {
        match at.index().checked_sub(1) {
            None => &mut self.untagged,
            Some(place) => &mut self.tagged[place],
        }
    }

    #[inline]
    pub(crate) fn untagged_mut(&mut self) -> &mut Served {
        &mut self.untagged
    }

    /// The switch of a sub-interface; that of untagged frames if there is no such.
    #[inline]
    pub(crate) fn of(&self, sub: SubIndex) -> SwitchId {
        match self.tagged.is_empty() {
            true => SwitchId::UNTAGGED,
            false => self.of.get(sub.index()).copied().unwrap_or_default(),
        }
    }

    /// The switches of VLANs, those that are served no longer among them.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = &Served> {
        self.tagged.iter()
    }

    /// Puts a switch in that place, with counters from zero.
    pub(crate) fn put(&mut self, at: SwitchId, switch: Switch) {
        match at.index() <= self.tagged.len() {
            true => *self.at_mut(at) = Served::new(switch),
            false => self.tagged.push(Served::new(switch)),
        }
    }

    /// Adds a sub-interface to a switch, with the lowest number that none of all has.
    pub(crate) fn add(
        &mut self,
        at: SwitchId,
        config: &SubConfig,
    ) -> Result<SubIndex, SwitchError> {
        let free = |&number: &usize| self.taken.get(number) != Some(&true);
        let id = (self.vacant_from..).find(free).and_then(SubIndex::from_index);
        let id = id.ok_or(SwitchError::TooMany)?;
        self.at_mut(at).switch.add_with_index(id, config)?;
        self.vacant_from = id.index() + 1;
        if self.of.len() <= id.index() {
            self.of.resize(id.index() + 1, SwitchId::UNTAGGED);
            self.taken.resize(id.index() + 1, false);
        }
        (self.of[id.index()], self.taken[id.index()]) = (at, true);
        Ok(id)
    }

    /// Removes a sub-interface; returns whose it was.
    pub(crate) fn remove(&mut self, id: SubIndex) -> Option<SwitchId> {
        let taken = self.taken.get_mut(id.index())?;
        if !std::mem::take(taken) {
            return None;
        }
        let at = std::mem::take(&mut self.of[id.index()]);
        self.at_mut(at).switch.remove(id);
        self.vacant_from = self.vacant_from.min(id.index());
        Some(at)
    }
}

/// The VLANs of a wire that have a switch of their own.
#[derive(Debug)]
pub(crate) struct Vlans {
    table: VlanTable,
    /// By [`SwitchId::index`]; [`VlanPath::UNTAGGED`] for one that is served no longer.
    paths: Vec<VlanPath>,
}

impl Vlans {
    pub(crate) fn new() -> Self {
        Self { table: VlanTable::default(), paths: vec![VlanPath::UNTAGGED] }
    }

    /// A switch for a VLAN; that of before, if it has one. `None` if there are too many.
    pub(crate) fn serve(&mut self, path: VlanPath) -> Option<SwitchId> {
        let find = |wanted| (1..self.paths.len()).find(|&at| self.paths[at] == wanted);
        let at = find(path).or_else(|| find(VlanPath::UNTAGGED)).unwrap_or(self.paths.len());
        let number = u16::try_from(at).ok()?;
        match self.paths.get_mut(at) {
            Some(place) => *place = path,
            None => self.paths.push(path),
        }
        self.table.insert(path, number);
        Some(SwitchId(number))
    }

    pub(crate) fn end(&mut self, at: SwitchId) {
        if let Some(path) = self.paths.get_mut(at.index()) {
            self.table.remove(std::mem::take(path));
        }
    }

    /// The tags that frames of a switch have on the wire.
    #[inline]
    pub(crate) fn path(&self, at: SwitchId) -> &VlanPath {
        &self.paths[at.index()]
    }

    /// Whose a frame is whose outer tag the kernel has taken out, and whether the tag behind it is
    /// to go as well; `None` for that of untagged frames, who gets it with its tag.
    pub(crate) fn find(&self, outer: Tag, rest: &[u8]) -> Option<(SwitchId, bool)> {
        let inner = || umacvlan_core::vlan::tag_after_addresses(rest);
        self.table.find(outer, inner).map(|(number, tags)| (SwitchId(number), tags > 1))
    }

    /// True when there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whose a unit of header and frame is that has all its tags in it. Those that are not for its
    /// switch are taken out in place, and the number of bytes told by which it begins later.
    /// `None` instead for a frame that ends with its tags.
    #[inline(never)]
    pub(crate) fn untag(&self, unit: &mut [u8]) -> (SwitchId, Option<usize>) {
        let found = unit.get(VNET_LEN..).and_then(|frame| self.table.find_in(frame));
        let Some((number, tags)) = found else {
            return (SwitchId::UNTAGGED, Some(0));
        };
        let at = (0..tags).try_fold(0, |at, _| pop_tag(unit, at));
        (SwitchId(number), at)
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
    fn no_two_switches_give_the_same_number() {
        let (mut switches, mut vlans) = (Switches::new(switch()), Vlans::new());
        let vlan = vlans.serve(VlanPath::single(10).unwrap()).unwrap();
        switches.put(vlan, switch());
        let ids = [SwitchId::UNTAGGED, vlan, vlan, SwitchId::UNTAGGED]
            .map(|at| (at, switches.add(at, &config(1)).unwrap()));
        for (number, (at, id)) in ids.into_iter().enumerate() {
            assert_eq!((id.index(), switches.of(id)), (number, at));
        }
        assert_eq!(switches.remove(ids[1].1), Some(vlan));
        assert_eq!(switches.remove(ids[1].1), None);
        assert_eq!(switches.add(SwitchId::UNTAGGED, &config(2)).unwrap(), ids[1].1);
        assert_eq!(switches.add(vlan, &config(2)).unwrap().index(), 4);
    }

    #[test]
    fn a_place_that_is_free_is_used_again() {
        let mut vlans = Vlans::new();
        let path = |vid| VlanPath::single(vid).unwrap();
        let [a, b] = [10, 20].map(|vid| vlans.serve(path(vid)).unwrap());
        vlans.end(a);
        let c = vlans.serve(path(30)).unwrap();
        assert_eq!((c, a != b, *vlans.path(c)), (a, true, path(30)));
        assert_eq!(vlans.serve(path(20)), Some(b));
    }

    #[test]
    fn a_vlan_keeps_its_switch_although_a_lower_number_is_free() {
        let mut vlans = Vlans::new();
        let path = |vid| VlanPath::single(vid).unwrap();
        let [a, b] = [10, 20].map(|vid| vlans.serve(path(vid)).unwrap());
        vlans.end(a);
        assert_eq!(vlans.serve(path(20)), Some(b));
    }
}
