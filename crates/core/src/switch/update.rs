//! Updates of the switch: each follows the kernel's rules or fails without effect.

use std::collections::{BTreeMap, BTreeSet};

use crate::MacAddr;
use crate::limit::Limits;
use crate::rules::Rules;

use super::config::MIN_MTU;
use super::settings::DEFAULT_BC_CUTOFF;
use super::sources;
use super::{
    KernelRelease, MacvlanFlag, MacvlanSettings, Mode, MulticastFilter, ParentInfo, Semantics, Sub,
    SubConfig, SubIndex, Switch, SwitchError,
};

impl Switch {
    /// A switch without sub-interfaces.
    pub fn new(parent: ParentInfo, semantics: Semantics) -> Self {
        Self {
            fast_path: Default::default(),
            table: Default::default(),
            sources: Default::default(),
            passthru: None,
            semantics,
            running: KernelRelease::default(),
            parent,
            bc_cutoff: DEFAULT_BC_CUTOFF,
            subs: Vec::new(),
            vacant_from: 0,
            bc_requests: BTreeMap::new(),
            waiting: BTreeSet::new(),
            replaced_mac: None,
        }
    }

    /// Adds a sub-interface with the lowest free index. It is down at first, and its address may be
    /// in use: that is checked when it comes up.
    ///
    /// # Errors
    /// [`SwitchError::BurstWithoutRate`], [`SwitchError::NotUnicast`] for an address or a source,
    /// [`SwitchError::MtuAboveParent`], [`SwitchError::MtuTooSmall`], [`SwitchError::ParentOwned`],
    /// [`SwitchError::ParentShared`], [`SwitchError::RulesInSourceMode`],
    /// [`SwitchError::SourcesOutsideSourceMode`], [`SwitchError::TooMany`].
    pub fn add(&mut self, config: &SubConfig) -> Result<SubIndex, SwitchError> {
        let sub = self.check_new(config)?;
        let vacant = self.vacant_from;
        let vacant = (vacant..).find(|&at| self.subs.get(at).is_none_or(Option::is_none));
        let id = vacant.and_then(SubIndex::from_index).ok_or(SwitchError::TooMany)?;
        self.vacant_from = id.index() + 1;
        self.insert(id, sub);
        Ok(id)
    }

    /// As [`add`](Self::add), with an index of the caller's choice: several switches of a worker
    /// share one range of indexes.
    ///
    /// # Errors
    /// As [`add`](Self::add); [`SwitchError::TooMany`] if a sub-interface has this index.
    pub fn add_with_index(&mut self, id: SubIndex, config: &SubConfig) -> Result<(), SwitchError> {
        let sub = self.check_new(config)?;
        match self.sub(id) {
            Some(_) => Err(SwitchError::TooMany),
            None => {
                self.insert(id, sub);
                Ok(())
            }
        }
    }

    /// The state of a new sub-interface, if the rules allow it.
    fn check_new(&self, config: &SubConfig) -> Result<Sub, SwitchError> {
        let mtu = config.mtu.unwrap_or(self.parent.mtu);
        let SubConfig { mac, mtu: _, settings } = config;
        let mac = match settings.mode {
            Mode::Passthru => self.parent.mac,
            _ => unicast(*mac)?,
        };
        self.check_mtu(mtu)?;
        if self.passthru.is_some() {
            return Err(SwitchError::ParentOwned);
        }
        if settings.mode == Mode::Passthru && self.subs().next().is_some() {
            return Err(SwitchError::ParentShared);
        }
        check_limits(&settings.limits)?;
        check_rules(settings.mode, &settings.rules)?;
        if settings.mode != Mode::Source && !settings.sources.is_empty() {
            return Err(SwitchError::SourcesOutsideSourceMode);
        }
        Ok(Sub {
            mac,
            up: false,
            mtu,
            settings: MacvlanSettings {
                sources: sources::sorted(&settings.sources)?,
                ..settings.clone()
            },
            filter: MulticastFilter::default(),
            wanted: Vec::new(),
            secondary: Vec::new(),
        })
    }

    fn insert(&mut self, id: SubIndex, sub: Sub) {
        self.table.insert(id, &sub);
        self.sources.insert(id, sub.sources(), sub.source_policy());
        if sub.mode() == Mode::Passthru {
            self.passthru = Some(id);
        }
        self.request_bc_queue(sub.bc_queue_len());
        if let Some(bclim) = sub.settings.bclim {
            self.bc_cutoff = bclim;
        }
        if self.subs.len() <= id.index() {
            self.subs.resize_with(id.index() + 1, || None);
        }
        self.subs[id.index()] = Some(Box::new(sub));
        self.rebuild_fast_path();
    }

    /// Removes a sub-interface and returns its last state, or `None` if there is none. Removal of a
    /// passthru one gives [`parent`](Self::parent) its original address again.
    pub fn remove(&mut self, id: SubIndex) -> Option<Sub> {
        let sub = self.subs.get_mut(id.index())?.take()?;
        self.table.remove(id, &sub);
        self.sources.remove(id, sub.sources(), sub.source_policy());
        self.vacant_from = self.vacant_from.min(id.index());
        if self.passthru == Some(id) {
            self.passthru = None;
            self.parent.mac = self.replaced_mac.take().unwrap_or(self.parent.mac);
        }
        self.release_bc_queue(sub.bc_queue_len());
        self.waiting.remove(&id);
        self.settle_secondary();
        self.rebuild_fast_path();
        Some(*sub)
    }

    /// Sets a sub-interface up or down.
    ///
    /// # Errors
    /// [`SwitchError::AddressOfParent`] or [`SwitchError::AddressOfSub`] when it comes up with an
    /// address in use; [`SwitchError::NoSuchSub`].
    pub fn set_up(&mut self, id: SubIndex, up: bool) -> Result<(), SwitchError> {
        self.check_up(id, up)?;
        self.update_sub(id, |sub| sub.up = up)
    }

    /// Checks whether [`set_up`](Self::set_up) is allowed.
    ///
    /// # Errors
    /// Those of [`set_up`](Self::set_up).
    pub fn check_up(&self, id: SubIndex, up: bool) -> Result<(), SwitchError> {
        let sub = self.existing(id)?;
        match up && !sub.up && sub.mode() != Mode::Passthru {
            true => self.check_address_free(id, sub.mac),
            false => Ok(()),
        }
    }

    /// Sets the address of a sub-interface; that of a passthru one becomes the parent's too. The
    /// current address is always allowed.
    ///
    /// # Errors
    /// [`SwitchError::NotUnicast`]; [`SwitchError::AddressOfParent`] or
    /// [`SwitchError::AddressOfSub`], up or down; [`SwitchError::NoSuchSub`].
    pub fn set_mac(&mut self, id: SubIndex, mac: MacAddr) -> Result<(), SwitchError> {
        self.check_mac(id, mac)?;
        let sub = self.existing(id)?;
        if sub.mac == mac {
            return Ok(());
        }
        if sub.mode() == Mode::Passthru {
            self.replaced_mac.get_or_insert(self.parent.mac);
            self.parent.mac = mac;
        }
        self.update_sub(id, |sub| sub.mac = mac)
    }

    /// Checks whether [`set_mac`](Self::set_mac) is allowed.
    ///
    /// # Errors
    /// Those of [`set_mac`](Self::set_mac).
    pub fn check_mac(&self, id: SubIndex, mac: MacAddr) -> Result<(), SwitchError> {
        let sub = self.existing(id)?;
        let mac = unicast(mac)?;
        match sub.mac == mac || sub.mode() == Mode::Passthru {
            true => Ok(()),
            false => self.check_address_free(id, mac),
        }
    }

    /// Sets the mode of a sub-interface, from the next frame on. Leaving source mode clears the
    /// source list.
    ///
    /// # Errors
    /// [`SwitchError::FixedPassthru`] for a change to or from passthru; [`SwitchError::NoSuchSub`],
    /// [`SwitchError::RulesInSourceMode`].
    pub fn set_mode(&mut self, id: SubIndex, mode: Mode) -> Result<(), SwitchError> {
        let before = self.existing(id)?.mode();
        if (before == Mode::Passthru) != (mode == Mode::Passthru) {
            return Err(SwitchError::FixedPassthru);
        }
        check_rules(mode, self.existing(id)?.rules())?;
        if before == Mode::Source && mode != Mode::Source {
            self.flush_sources(id)?;
        }
        self.update_sub(id, |sub| sub.settings.mode = mode)
    }

    /// Switches a flag on or off. It may be set in any mode, and has an effect in its
    /// [own](MacvlanFlag::mode), if it has one.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchSub`].
    pub fn set_flag(
        &mut self,
        id: SubIndex,
        flag: MacvlanFlag,
        on: bool,
    ) -> Result<(), SwitchError> {
        self.update_sub(id, |sub| sub.settings.flags = sub.settings.flags.with(flag, on))
    }

    /// Sets the MTU of a sub-interface, in bytes.
    ///
    /// # Errors
    /// [`SwitchError::MtuAboveParent`], [`SwitchError::MtuTooSmall`], [`SwitchError::NoSuchSub`].
    pub fn set_mtu(&mut self, id: SubIndex, mtu: u32) -> Result<(), SwitchError> {
        self.existing(id)?;
        self.check_mtu(mtu)?;
        self.update_sub(id, |sub| sub.mtu = mtu)
    }

    /// Sets the length of the broadcast queue that a sub-interface requests, in frames.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchSub`].
    pub fn set_bc_queue_len(&mut self, id: SubIndex, frames: u32) -> Result<(), SwitchError> {
        let before = self.existing(id)?.bc_queue_len();
        self.release_bc_queue(before);
        self.request_bc_queue(frames);
        self.update_sub(id, |sub| sub.settings.bcqueuelen = Some(frames))
    }

    /// Sets how much a sub-interface sends and receives at most. The switch decides about no frame by
    /// that: its worker does, with a [`Limiter`](crate::limit::Limiter).
    ///
    /// # Errors
    /// [`SwitchError::BurstWithoutRate`], [`SwitchError::NoSuchSub`].
    pub fn set_limits(&mut self, id: SubIndex, limits: Limits) -> Result<(), SwitchError> {
        check_limits(&limits)?;
        self.update_sub(id, |sub| sub.settings.limits = limits)
    }

    /// Sets what a sub-interface exchanges frames with, and from where it sends.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchSub`], [`SwitchError::RulesInSourceMode`].
    pub fn set_rules(&mut self, id: SubIndex, rules: Rules) -> Result<(), SwitchError> {
        check_rules(self.existing(id)?.mode(), &rules)?;
        self.update_sub(id, |sub| sub.settings.rules = rules)
    }

    /// Sets the multicast filter of a sub-interface.
    ///
    /// # Errors
    /// [`SwitchError::NoSuchSub`].
    pub fn set_filter(
        &mut self,
        id: SubIndex,
        mut filter: MulticastFilter,
    ) -> Result<(), SwitchError> {
        filter.groups.sort_unstable();
        filter.groups.dedup();
        self.update_sub(id, |sub| sub.filter = filter)
    }

    /// Sets the parent's `bclim`: frames for a group that more than this many sub-interfaces joined
    /// take the broadcast queue; below zero none do, broadcast included.
    pub const fn set_bc_cutoff(&mut self, cutoff: i32) {
        self.bc_cutoff = cutoff;
    }

    /// Sets the parent's address after it changed. A passthru sub-interface follows. A
    /// sub-interface with the same address is not looked for and keeps its frames.
    pub fn set_parent_mac(&mut self, mac: MacAddr) {
        if self.parent.mac == mac {
            return;
        }
        self.parent.mac = mac;
        self.replaced_mac = None;
        if let Some(owner) = self.passthru {
            // It exists: removing it clears the field.
            let _ = self.update_sub(owner, |sub| sub.mac = mac);
        }
        self.release_parent_mac();
        self.settle_secondary();
    }

    /// Sets the parent's MTU after it changed, in bytes. Sub-interfaces with a larger one are
    /// reduced to it and returned; none grows.
    pub fn set_parent_mtu(&mut self, mtu: u32) -> Vec<SubIndex> {
        self.parent.mtu = mtu;
        self.rebuild_fast_path();
        let larger: Vec<_> =
            self.subs().filter(|(_, sub)| sub.mtu > mtu).map(|(id, _)| id).collect();
        for &id in &larger {
            // It exists: it was listed just above.
            let _ = self.update_sub(id, |sub| sub.mtu = mtu);
        }
        larger
    }

    /// Sets whether the parent receives every group, joined or not.
    pub const fn set_parent_promisc(&mut self, promisc: bool) {
        self.parent.promisc = promisc;
    }

    /// Sets the rules where ip-link(8) and releases of the kernel differ.
    pub fn set_semantics(&mut self, semantics: Semantics) {
        self.semantics = semantics;
        self.rebuild_fast_path();
    }

    /// Sets the rules that the running kernel has, which those of Linux 6.18 are at first. They concern
    /// group frames only, which no fast path decides about.
    pub const fn set_running_kernel(&mut self, running: KernelRelease) {
        self.running = running;
    }

    pub(super) fn existing(&self, id: SubIndex) -> Result<&Sub, SwitchError> {
        self.sub(id).ok_or(SwitchError::NoSuchSub)
    }

    /// Checks whether a sub-interface may have this MTU, in bytes.
    ///
    /// # Errors
    /// [`SwitchError::MtuAboveParent`], [`SwitchError::MtuTooSmall`].
    pub const fn check_mtu(&self, mtu: u32) -> Result<(), SwitchError> {
        let parent = self.parent.mtu;
        if mtu < MIN_MTU {
            return Err(SwitchError::MtuTooSmall(mtu));
        }
        if mtu > parent {
            return Err(SwitchError::MtuAboveParent { mtu, parent });
        }
        Ok(())
    }

    /// Checks that neither the parent nor another sub-interface that is up has this address. One that
    /// is down may have it, and then cannot come up.
    fn check_address_free(&self, id: SubIndex, mac: MacAddr) -> Result<(), SwitchError> {
        if mac == self.parent.mac {
            return Err(SwitchError::AddressOfParent(mac));
        }
        match self.table.lookup(mac.to_u64()) {
            Some(other) if other != id => Err(SwitchError::AddressOfSub(mac)),
            _ => Ok(()),
        }
    }

    pub(super) fn update_sub(
        &mut self,
        id: SubIndex,
        update: impl FnOnce(&mut Sub),
    ) -> Result<(), SwitchError> {
        let sub = self.subs.get_mut(id.index()).and_then(Option::as_deref_mut);
        let sub = sub.ok_or(SwitchError::NoSuchSub)?;
        // Removed and inserted again, whatever changes, so the tables cannot be half stale.
        self.table.remove(id, sub);
        let before = sub.source_policy();
        update(sub);
        sub.release_secondary(self.parent.mac);
        self.table.insert(id, sub);
        if sub.source_policy() != before {
            self.sources.remove(id, sub.sources(), before);
            self.sources.insert(id, sub.sources(), sub.source_policy());
        }
        self.note_waiting(id);
        self.settle_secondary();
        self.rebuild_fast_path();
        Ok(())
    }

    fn request_bc_queue(&mut self, frames: u32) {
        *self.bc_requests.entry(frames).or_insert(0) += 1;
    }

    fn release_bc_queue(&mut self, frames: u32) {
        if let Some(requests) = self.bc_requests.get_mut(&frames) {
            *requests -= 1;
            if *requests == 0 {
                self.bc_requests.remove(&frames);
            }
        }
    }
}

fn check_rules(mode: Mode, rules: &Rules) -> Result<(), SwitchError> {
    match rules.restricts_receiving() && mode == Mode::Source {
        true => Err(SwitchError::RulesInSourceMode),
        false => Ok(()),
    }
}

fn check_limits(limits: &Limits) -> Result<(), SwitchError> {
    match limits.lone_burst() {
        Some((burst, rate)) => Err(SwitchError::BurstWithoutRate { burst, rate }),
        None => Ok(()),
    }
}

/// The address, if it is unicast and not zero.
pub(super) const fn unicast(mac: MacAddr) -> Result<MacAddr, SwitchError> {
    if mac.is_valid_unicast() { Ok(mac) } else { Err(SwitchError::NotUnicast(mac)) }
}
