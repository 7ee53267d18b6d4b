//! The source lists of a parent, turned round: from a station to the sub-interfaces that list it.

use hashbrown::HashMap;

use crate::MacAddr;

use super::control::station;
use super::table::{Lane, Table};
use super::{Mode, Refusal, Sub, SubId, Switch};

/// Who lists which station. Entries of sub-interfaces that are down are kept: with `nodst` they
/// still take the frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    listeners: HashMap<u64, Vec<SubId>>,
}

impl Sources {
    /// The copies of a frame from this station, and whether the frame ends with them.
    #[inline]
    pub(super) fn consult<'t>(&'t self, station: MacAddr, table: &'t Table) -> (Copies<'t>, bool) {
        if self.listeners.is_empty() {
            return (Copies::none(), false);
        }
        self.look_up(station, table)
    }

    fn look_up<'t>(&'t self, station: MacAddr, table: &'t Table) -> (Copies<'t>, bool) {
        let Some(subs) = self.listeners.get(&station.to_u64()) else {
            return (Copies::none(), false);
        };
        let taken = subs.iter().any(|&id| table.lane(id).takes());
        let lanes = table.lanes();
        (Copies { subs, lanes }, taken)
    }

    /// Notes that a sub-interface lists a station. It must not be noted already.
    pub(super) fn insert(&mut self, station: MacAddr, id: SubId) {
        self.listeners.entry(station.to_u64()).or_default().push(id);
    }

    /// Forgets that a sub-interface lists a station.
    pub(super) fn remove(&mut self, station: MacAddr, id: SubId) {
        let Some(subs) = self.listeners.get_mut(&station.to_u64()) else {
            return;
        };
        subs.retain(|&other| other != id);
        if subs.is_empty() {
            self.listeners.remove(&station.to_u64());
        }
    }
}

impl Switch {
    /// Adds a station to the list of a source sub-interface; one that is there already is fine.
    ///
    /// # Errors
    /// [`Refusal::NotStation`], [`Refusal::SourcesOutsideSourceMode`], [`Refusal::NoSuchSub`].
    pub fn add_source(&mut self, id: SubId, source: MacAddr) -> Result<(), Refusal> {
        let source = station(source)?;
        let list = &mut self.listing(id)?.sources;
        if let Err(place) = list.binary_search(&source) {
            list.insert(place, source);
            self.sources.insert(source, id);
        }
        Ok(())
    }

    /// Takes a station off the list of a source sub-interface; one that is not there is fine.
    ///
    /// # Errors
    /// [`Refusal::NotStation`], [`Refusal::SourcesOutsideSourceMode`], [`Refusal::NoSuchSub`].
    pub fn remove_source(&mut self, id: SubId, source: MacAddr) -> Result<(), Refusal> {
        let source = station(source)?;
        let list = &mut self.listing(id)?.sources;
        if let Ok(place) = list.binary_search(&source) {
            list.remove(place);
            self.sources.remove(source, id);
        }
        Ok(())
    }

    /// Replaces the list of a source sub-interface. An address that cannot be a station's leaves
    /// the old list as it was (so does Linux 6.18, which looks at all of them first).
    ///
    /// # Errors
    /// [`Refusal::NotStation`], [`Refusal::SourcesOutsideSourceMode`], [`Refusal::NoSuchSub`].
    pub fn set_sources(&mut self, id: SubId, sources: &[MacAddr]) -> Result<(), Refusal> {
        let sources = sorted(sources)?;
        let before = std::mem::replace(&mut self.listing(id)?.sources, sources.clone());
        for source in before {
            self.sources.remove(source, id);
        }
        for source in sources {
            self.sources.insert(source, id);
        }
        Ok(())
    }

    /// Empties the list of a source sub-interface.
    ///
    /// # Errors
    /// [`Refusal::SourcesOutsideSourceMode`], [`Refusal::NoSuchSub`].
    pub fn flush_sources(&mut self, id: SubId) -> Result<(), Refusal> {
        self.set_sources(id, &[])
    }

    /// The sub-interface, if it may have a source list.
    fn listing(&mut self, id: SubId) -> Result<&mut Sub, Refusal> {
        let sub = self.subs.get_mut(id.index()).and_then(Option::as_mut);
        match sub.ok_or(Refusal::NoSuchSub)? {
            sub if sub.mode == Mode::Source => Ok(sub),
            _ => Err(Refusal::SourcesOutsideSourceMode),
        }
    }
}

/// The addresses in ascending order, each once, if all of them can be a station's.
pub(super) fn sorted(sources: &[MacAddr]) -> Result<Vec<MacAddr>, Refusal> {
    let mut sorted = sources
        .iter()
        .map(|&mac| station(mac))
        .collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted)
}

/// The source sub-interfaces that are up and list the source of a frame.
///
/// They get the frame whatever its destination and whatever they joined.
#[derive(Clone, Debug)]
pub struct Copies<'t> {
    /// Those not looked at yet, up or down.
    subs: &'t [SubId],
    lanes: &'t [Lane],
}

impl Copies<'_> {
    /// No copies at all.
    #[inline]
    pub(super) const fn none() -> Self {
        Self {
            subs: &[],
            lanes: &[],
        }
    }
}

impl Iterator for Copies<'_> {
    type Item = SubId;

    #[inline]
    fn next(&mut self) -> Option<SubId> {
        while let Some((&id, rest)) = self.subs.split_first() {
            self.subs = rest;
            if self.lanes.get(id.index()).is_some_and(|lane| lane.is_up()) {
                return Some(id);
            }
        }
        None
    }
}
