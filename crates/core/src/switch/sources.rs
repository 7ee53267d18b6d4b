//! [`Sources`]: the source lists of a parent, by source address.

use hashbrown::HashMap;

use crate::MacAddr;

use super::sub::SourcePolicy;
use super::update::unicast;
use super::{Mode, Sub, SubIndex, Switch, SwitchError};

/// The sub-interfaces that list one source address.
#[derive(Clone, Debug, Default)]
struct SourceEntry {
    /// Those that are up, which get copies.
    up: Vec<SubIndex>,
    /// How many have `nodst`, up or down: also one that is down keeps the frame from all others.
    nodst_subs: usize,
}

/// The listed source addresses, by [`MacAddr::to_u64`].
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    entries: HashMap<u64, SourceEntry>,
}

impl Sources {
    /// The copies of a frame with this source address, given as [`MacAddr::to_u64`], and whether
    /// these are all that is delivered.
    #[inline]
    pub(super) fn lookup(&self, key: u64) -> (Copies<'_>, bool) {
        if self.is_empty() {
            return (Copies::NONE, false);
        }
        self.lookup_listed(key)
    }

    /// Kept out of line: most parents have no source list.
    #[inline(never)]
    fn lookup_listed(&self, key: u64) -> (Copies<'_>, bool) {
        match self.entries.get(&key) {
            None => (Copies::NONE, false),
            Some(entry) => (Copies { subs: &entry.up }, entry.nodst_subs != 0),
        }
    }

    /// True when no sub-interface that lists an address is up or has `nodst`.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds addresses that a sub-interface with this policy lists.
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

    /// Removes addresses that were inserted with this policy.
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
    /// Adds an address to the list of a source sub-interface; one that is listed stays.
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`],
    /// [`SwitchError::NoSuchSub`].
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

    /// Removes an address from the list of a source sub-interface; one that is not listed is no
    /// error.
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`],
    /// [`SwitchError::NoSuchSub`].
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

    /// Replaces the list of a source sub-interface. If one of the addresses is not unicast, the old
    /// list stays (as on Linux 6.18, which checks all of them first).
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`], [`SwitchError::SourcesOutsideSourceMode`],
    /// [`SwitchError::NoSuchSub`].
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

/// The addresses in ascending order, each once, if all of them are unicast.
pub(super) fn sorted(sources: &[MacAddr]) -> Result<Vec<MacAddr>, SwitchError> {
    let mut sorted = sources.iter().map(|&mac| unicast(mac)).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted)
}

/// An iterator over the source sub-interfaces that are up and list the source address of a frame.
///
/// They get the frame whatever its destination and their filter.
#[derive(Clone, Debug)]
pub struct Copies<'t> {
    /// Those that remain.
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
