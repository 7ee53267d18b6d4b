//! The source lists of a parent, turned round: from a station to the sub-interfaces that list it.

use hashbrown::HashMap;

use crate::MacAddr;

use super::sub::SourcePolicy;
use super::update::unicast;
use super::{Mode, Sub, SubIndex, Switch, SwitchError};

/// What becomes of the frames from one station.
#[derive(Clone, Debug, Default)]
struct SourceEntry {
    /// Those that list it and are up.
    up: Vec<SubIndex>,
    /// How many list it and have `nodst`, up or down: even a sub-interface that is down takes
    /// the frame from all others.
    nodst_subs: usize,
}

/// Who lists which station, by address as a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    entries: HashMap<u64, SourceEntry>,
}

impl Sources {
    /// The copies of a frame from this station, given as a number, and whether it ends with them.
    #[inline]
    pub(super) fn lookup(&self, key: u64) -> (Copies<'_>, bool) {
        if self.is_empty() {
            return (Copies::NONE, false);
        }
        self.lookup_listed(key)
    }

    /// Out of line, as most parents have no source list: the way of their frames stays short.
    #[inline(never)]
    fn lookup_listed(&self, key: u64) -> (Copies<'_>, bool) {
        match self.entries.get(&key) {
            None => (Copies::NONE, false),
            Some(entry) => (Copies { subs: &entry.up }, entry.nodst_subs != 0),
        }
    }

    /// True when no station is listed by a sub-interface that would do anything about it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Enters stations that a sub-interface lists, for as long as it stands so.
    pub(super) fn insert(&mut self, id: SubIndex, sources: &[MacAddr], policy: SourcePolicy) {
        for source in sources {
            if policy == SourcePolicy::default() {
                return;
            }
            let entry = self.entries.entry(source.to_u64()).or_default();
            entry.nodst_subs += usize::from(policy.nodst);
            if policy.up {
                entry.up.push(id);
            }
        }
    }

    /// Takes out stations that were published so.
    pub(super) fn remove(&mut self, id: SubIndex, sources: &[MacAddr], policy: SourcePolicy) {
        for source in sources {
            let Some(entry) = self.entries.get_mut(&source.to_u64()) else {
                continue;
            };
            entry.nodst_subs -= usize::from(policy.nodst);
            entry.up.retain(|&other| other != id);
            if entry.nodst_subs == 0 && entry.up.is_empty() {
                self.entries.remove(&source.to_u64());
            }
        }
    }
}

impl Switch {
    /// Adds a station to the list of a source sub-interface; one that is there already is fine.
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`], [`SwitchError::NoSuchSub`].
    pub fn add_source(&mut self, id: SubIndex, source: MacAddr) -> Result<(), SwitchError> {
        let source = unicast(source)?;
        let sub = self.source_mode_sub(id)?;
        if let Err(place) = sub.settings.sources.binary_search(&source) {
            sub.settings.sources.insert(place, source);
            let policy = sub.source_policy();
            self.sources.insert(id, &[source], policy);
            self.rebuild_fast_path();
        }
        Ok(())
    }

    /// Takes a station off the list of a source sub-interface; one that is not there is fine.
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`], [`SwitchError::NoSuchSub`].
    pub fn remove_source(&mut self, id: SubIndex, source: MacAddr) -> Result<(), SwitchError> {
        let source = unicast(source)?;
        let sub = self.source_mode_sub(id)?;
        if let Ok(place) = sub.settings.sources.binary_search(&source) {
            sub.settings.sources.remove(place);
            let policy = sub.source_policy();
            self.sources.remove(id, &[source], policy);
            self.rebuild_fast_path();
        }
        Ok(())
    }

    /// Replaces the list of a source sub-interface. An address that cannot be a station's leaves
    /// the old list as it was (so does Linux 6.18, which looks at all of them first).
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`], [`SwitchError::NoSuchSub`].
    pub fn set_sources(&mut self, id: SubIndex, sources: &[MacAddr]) -> Result<(), SwitchError> {
        let sources = sorted(sources)?;
        let sub = self.source_mode_sub(id)?;
        let policy = sub.source_policy();
        let before = std::mem::replace(&mut sub.settings.sources, sources.clone());
        self.sources.remove(id, &before, policy);
        self.sources.insert(id, &sources, policy);
        self.rebuild_fast_path();
        Ok(())
    }

    /// Empties the list of a source sub-interface.
    ///
    /// # Errors
    /// [`SwitchError::SourcesOutsideSourceMode`], [`SwitchError::NoSuchSub`].
    pub fn flush_sources(&mut self, id: SubIndex) -> Result<(), SwitchError> {
        self.set_sources(id, &[])
    }

    /// The sub-interface, if it may have a source list.
    fn source_mode_sub(&mut self, id: SubIndex) -> Result<&mut Sub, SwitchError> {
        let sub = self.subs.get_mut(id.index()).and_then(Option::as_mut);
        match sub.ok_or(SwitchError::NoSuchSub)? {
            sub if sub.mode() == Mode::Source => Ok(sub),
            _ => Err(SwitchError::SourcesOutsideSourceMode),
        }
    }
}

/// The addresses in ascending order, each once, if all of them can be a station's.
pub(super) fn sorted(sources: &[MacAddr]) -> Result<Vec<MacAddr>, SwitchError> {
    let mut sorted = sources.iter().map(|&mac| unicast(mac)).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted)
}

/// The source sub-interfaces that are up and list the source of a frame.
///
/// They get the frame whatever its destination and whatever they joined.
#[derive(Clone, Debug)]
pub struct Copies<'t> {
    /// Those not served yet.
    subs: &'t [SubIndex],
}

impl Copies<'_> {
    /// No copies at all.
    pub(super) const NONE: Self = Self { subs: &[] };
}

impl Iterator for Copies<'_> {
    type Item = SubIndex;

    #[inline]
    fn next(&mut self) -> Option<SubIndex> {
        let (&id, rest) = self.subs.split_first()?;
        self.subs = rest;
        Some(id)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.subs.len(), Some(self.subs.len()))
    }
}

impl ExactSizeIterator for Copies<'_> {}
