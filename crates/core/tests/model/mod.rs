//! A reference model of macvlan, slow and obvious: one list, searched in full for every rule.
//!
//! It is written from the description of the kernel's driver and shares only the types of arguments
//! and results with the switch. The property test and the fuzzer run both and compare.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod explain;
mod group_frames;
mod host_filter;
mod kernel_answers;
mod limits;
pub(crate) mod ops;
mod rules;

use umacvlan_core::limit::Limits;
use umacvlan_core::rules::Rules;
use umacvlan_core::switch::MIN_MTU;
use umacvlan_core::{
    DropReason, KernelRelease, MacAddr, MacvlanFlag, Mode, MulticastFilter, ParentInfo, Semantics,
    SubConfig, SubIndex, SwitchError,
};

/// One sub-interface.
#[derive(Clone, Debug)]
pub(crate) struct ModelSub {
    pub(crate) id: SubIndex,
    pub(crate) mac: MacAddr,
    pub(crate) mode: Mode,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) nodst: bool,
    pub(crate) nopromisc: bool,
    pub(crate) spoofchk: bool,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    pub(crate) bc_queue_len: u32,
    pub(crate) sources: Vec<MacAddr>,
    pub(crate) filter: MulticastFilter,
    /// The secondary addresses that it wants.
    pub(crate) wanted: Vec<MacAddr>,
    /// Those that it has.
    pub(crate) secondary: Vec<MacAddr>,
}

impl ModelSub {
    fn is_up_as(&self, mac: MacAddr) -> bool {
        self.up && (self.mac == mac || self.secondary.contains(&mac))
    }

    fn hears(&self, group: MacAddr) -> bool {
        group == MacAddr::BROADCAST
            || self.filter.allmulti
            || self.filter.promisc
            || self.filter.groups.contains(&group)
    }

    /// True when it makes the parent receive every group.
    fn wants_all_multicast(&self) -> bool {
        let passthru = self.mode == Mode::Passthru;
        self.up
            && (self.filter.allmulti
                || (passthru && !self.nopromisc)
                || (!passthru && self.filter.promisc))
    }
}

/// A frame: everything that a decision may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) dst: MacAddr,
    pub(crate) src: MacAddr,
    pub(crate) ethertype: u16,
    pub(crate) len: usize,
    pub(crate) gso: bool,
}

/// Who gets a frame. Sub-interfaces are in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) copies: Vec<SubIndex>,
    pub(crate) subs: Vec<SubIndex>,
    pub(crate) too_long: Vec<SubIndex>,
    pub(crate) host: bool,
    pub(crate) wire: bool,
    pub(crate) drop: Option<DropReason>,
    /// Set only for a flood with receivers: otherwise it makes no difference.
    pub(crate) deferred: bool,
}

/// A parent and its sub-interfaces.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) parent: ParentInfo,
    pub(crate) semantics: Semantics,
    pub(crate) running: KernelRelease,
    pub(crate) bc_cutoff: i32,
    /// In ascending order of index.
    pub(crate) subs: Vec<ModelSub>,
    /// The parent's address after a passthru sub-interface is removed.
    original_mac: MacAddr,
}

/// Frames from the wire, step by step as in the driver.
impl Model {
    pub(crate) fn ingress(&self, probe: Probe) -> Outcome {
        let mut outcome = Outcome::default();
        if self.source_lists(probe.src, &mut outcome) {
            outcome.drop = Some(DropReason::Nodst);
        } else if probe.dst.is_group() {
            self.ingress_group(probe, &mut outcome);
        } else {
            self.ingress_unicast(probe, &mut outcome);
        }
        outcome
    }

    /// Adds the copies; true when these are all that is delivered.
    fn source_lists(&self, src: MacAddr, outcome: &mut Outcome) -> bool {
        let mut consumed = false;
        for sub in &self.subs {
            if sub.sources.contains(&src) {
                consumed |= sub.nodst;
                if sub.up {
                    outcome.copies.push(sub.id);
                }
            }
        }
        consumed
    }

    fn ingress_unicast(&self, probe: Probe, outcome: &mut Outcome) {
        let passthru = self.subs.iter().find(|sub| sub.mode == Mode::Passthru);
        let named = self.subs.iter().find(|sub| sub.is_up_as(probe.dst));
        let Some(target) = passthru.or(named) else {
            outcome.host = true;
            return;
        };
        let sender = self.subs.iter().find(|sub| sub.is_up_as(probe.src));
        if target.mode == Mode::Source {
            outcome.host = true;
        } else if target.mode == Mode::Passthru
            && target.up
            && let Some(reason) = self.refuses(target, sender, probe)
        {
            outcome.drop = Some(reason);
        } else if !target.up {
            outcome.drop = Some(DropReason::Down);
        } else if self.isolated(probe.src, target) {
            outcome.drop = Some(DropReason::PrivateIsolation);
        } else if let Some(reason) = self.refuses(target, sender, probe) {
            outcome.drop = Some(reason);
        } else {
            outcome.subs.push(target.id);
        }
    }

    fn isolated(&self, src: MacAddr, target: &ModelSub) -> bool {
        self.semantics == Semantics::Documented
            && self
                .subs
                .iter()
                .filter(|sub| sub.is_up_as(src) && sub.id != target.id)
                .any(|sender| [sender.mode, target.mode].contains(&Mode::Private))
    }
}

/// Frames from a sub-interface.
impl Model {
    pub(crate) fn egress(&self, from: SubIndex, probe: Probe) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(from) = self.subs.iter().find(|sub| sub.id == from && sub.up) else {
            outcome.drop = Some(DropReason::Down);
            return outcome;
        };
        let own = from.is_up_as(probe.src) || from.sources.contains(&probe.src);
        if from.spoofchk && !own {
            outcome.drop = Some(DropReason::Spoofed);
            return outcome;
        }
        if let Some(reason) = self.may_not_send(from, probe) {
            outcome.drop = Some(reason);
            return outcome;
        }
        let peers = |sub: &&ModelSub| sub.up && sub.mode == Mode::Bridge;
        let fits = |mtu: u32| probe.gso || probe.len <= usize::try_from(mtu).unwrap() + 14 + 4;
        outcome.wire = true;
        if from.mode != Mode::Bridge {
            return outcome;
        }
        if probe.dst.is_group() {
            for sub in self.subs.iter().filter(peers) {
                if sub.id == from.id || !sub.hears(probe.dst) || probe.ethertype == 0x8808 {
                    continue;
                }
                if self.refuses(sub, Some(from), probe).is_some() {
                    continue;
                }
                if fits(sub.mtu) {
                    outcome.subs.push(sub.id);
                } else {
                    outcome.too_long.push(sub.id);
                }
            }
            return outcome;
        }
        let Some(target) = self.subs.iter().filter(peers).find(|sub| sub.is_up_as(probe.dst))
        else {
            return outcome;
        };
        outcome.wire = false;
        if let Some(reason) = self.refuses(target, Some(from), probe) {
            outcome.drop = Some(reason);
        } else if !fits(self.parent.mtu) {
            outcome.drop = Some(DropReason::TooLong);
        } else if self.source_lists(probe.src, &mut outcome) {
            outcome.drop = Some(DropReason::Nodst);
        } else {
            outcome.subs.push(target.id);
        }
        outcome
    }
}

/// Updates. Each returns what the switch should.
impl Model {
    pub(crate) fn new(parent: ParentInfo, semantics: Semantics) -> Self {
        Self {
            parent,
            semantics,
            running: KernelRelease::V6_18,
            bc_cutoff: 1,
            subs: Vec::new(),
            original_mac: parent.mac,
        }
    }

    /// `id` is what the switch returned, if it added the sub-interface.
    pub(crate) fn add(
        &mut self,
        config: &SubConfig,
        id: Option<SubIndex>,
    ) -> Result<(), SwitchError> {
        let settings = &config.settings;
        let passthru = settings.mode == Mode::Passthru;
        if !passthru {
            valid(config.mac)?;
        }
        let mtu = config.mtu.unwrap_or(self.parent.mtu);
        self.valid_mtu(mtu)?;
        if self.subs.iter().any(|sub| sub.mode == Mode::Passthru) {
            return Err(SwitchError::ParentOwned);
        }
        if passthru && !self.subs.is_empty() {
            return Err(SwitchError::ParentShared);
        }
        limits::allowed(settings.limits)?;
        rules::allowed(settings.mode, &settings.rules)?;
        if settings.mode != Mode::Source && !settings.sources.is_empty() {
            return Err(SwitchError::SourcesOutsideSourceMode);
        }
        settings.sources.iter().try_for_each(|&mac| valid(mac))?;
        self.subs.push(ModelSub {
            id: id.expect("the model allows it, so the switch does"),
            mac: if passthru { self.parent.mac } else { config.mac },
            mode: settings.mode,
            up: false,
            mtu,
            nodst: settings.flags.contains(MacvlanFlag::Nodst),
            nopromisc: settings.flags.contains(MacvlanFlag::Nopromisc),
            spoofchk: settings.flags.contains(MacvlanFlag::Spoofchk),
            limits: settings.limits,
            rules: settings.rules.clone(),
            bc_queue_len: settings.bcqueuelen.unwrap_or(1000),
            sources: settings.sources.clone(),
            filter: MulticastFilter::default(),
            wanted: Vec::new(),
            secondary: Vec::new(),
        });
        self.subs.sort_by_key(|sub| sub.id);
        self.bc_cutoff = settings.bclim.unwrap_or(self.bc_cutoff);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: SubIndex) -> bool {
        let Some(place) = self.subs.iter().position(|sub| sub.id == id) else {
            return false;
        };
        if self.subs.remove(place).mode == Mode::Passthru {
            self.parent.mac = self.original_mac;
        }
        true
    }

    pub(crate) fn sub(&mut self, id: SubIndex) -> Result<&mut ModelSub, SwitchError> {
        let sub = self.subs.iter_mut().find(|sub| sub.id == id);
        sub.ok_or(SwitchError::NoSuchSub)
    }

    pub(crate) fn set_up(&mut self, id: SubIndex, up: bool) -> Result<(), SwitchError> {
        let sub = self.sub(id)?.clone();
        if up && !sub.up && sub.mode != Mode::Passthru {
            self.vacant(id, sub.mac)?;
        }
        self.sub(id)?.up = up;
        Ok(())
    }

    pub(crate) fn set_mac(&mut self, id: SubIndex, mac: MacAddr) -> Result<(), SwitchError> {
        let sub = self.sub(id)?.clone();
        valid(mac)?;
        if sub.mac == mac {
            return Ok(());
        }
        if sub.mode == Mode::Passthru {
            self.parent.mac = mac;
        } else {
            self.vacant(id, mac)?;
        }
        self.sub(id)?.mac = mac;
        Ok(())
    }

    pub(crate) fn set_mode(&mut self, id: SubIndex, mode: Mode) -> Result<(), SwitchError> {
        let sub = self.sub(id)?;
        if (sub.mode == Mode::Passthru) != (mode == Mode::Passthru) {
            return Err(SwitchError::FixedPassthru);
        }
        rules::allowed(mode, &sub.rules)?;
        sub.mode = mode;
        if mode != Mode::Source {
            sub.sources.clear();
        }
        Ok(())
    }

    pub(crate) fn set_mtu(&mut self, id: SubIndex, mtu: u32) -> Result<(), SwitchError> {
        self.sub(id)?;
        self.valid_mtu(mtu)?;
        self.sub(id)?.mtu = mtu;
        Ok(())
    }

    /// Applies `edit` to the list if all `named` addresses may be on a list.
    pub(crate) fn edit_sources(
        &mut self,
        id: SubIndex,
        named: &[MacAddr],
        edit: impl FnOnce(&mut Vec<MacAddr>),
    ) -> Result<(), SwitchError> {
        named.iter().try_for_each(|&mac| valid(mac))?;
        let sub = self.sub(id)?;
        if sub.mode != Mode::Source {
            return Err(SwitchError::SourcesOutsideSourceMode);
        }
        edit(&mut sub.sources);
        Ok(())
    }

    /// After each change: whoever has a secondary address keeps it as long as it may; each that is
    /// free then goes to the first one that wants it.
    pub(crate) fn share_secondary(&mut self) {
        let parent = self.parent.mac;
        let may = |sub: &ModelSub, mac: MacAddr| {
            let wants = sub.up && sub.mode != Mode::Passthru && sub.wanted.contains(&mac);
            wants && valid(mac).is_ok() && mac != sub.mac && mac != parent
        };
        for sub in &mut self.subs {
            let before = std::mem::take(&mut sub.secondary);
            sub.secondary = before.into_iter().filter(|&mac| may(sub, mac)).collect();
        }
        for index in 0..self.subs.len() {
            for mac in self.subs[index].wanted.clone() {
                let taken = self.subs.iter().any(|sub| sub.is_up_as(mac));
                if !taken && may(&self.subs[index], mac) {
                    self.subs[index].secondary.push(mac);
                }
            }
        }
    }

    pub(crate) fn set_parent_mac(&mut self, mac: MacAddr) {
        if mac == self.parent.mac {
            return;
        }
        self.parent.mac = mac;
        self.original_mac = mac;
        for sub in &mut self.subs {
            if sub.mode == Mode::Passthru {
                sub.mac = mac;
            }
        }
    }

    pub(crate) fn set_parent_mtu(&mut self, mtu: u32) {
        self.parent.mtu = mtu;
        for sub in &mut self.subs {
            sub.mtu = sub.mtu.min(mtu);
        }
    }

    fn vacant(&self, id: SubIndex, mac: MacAddr) -> Result<(), SwitchError> {
        if mac == self.parent.mac {
            return Err(SwitchError::AddressOfParent(mac));
        }
        match self.subs.iter().any(|sub| sub.id != id && sub.is_up_as(mac)) {
            true => Err(SwitchError::AddressOfSub(mac)),
            false => Ok(()),
        }
    }

    fn valid_mtu(&self, mtu: u32) -> Result<(), SwitchError> {
        let parent = self.parent.mtu;
        match mtu {
            _ if mtu < MIN_MTU => Err(SwitchError::MtuTooSmall(mtu)),
            _ if mtu > parent => Err(SwitchError::MtuAboveParent { mtu, parent }),
            _ => Ok(()),
        }
    }
}

fn valid(mac: MacAddr) -> Result<(), SwitchError> {
    let zero = mac.octets() == [0; 6];
    match zero || mac.octets()[0] % 2 == 1 {
        true => Err(SwitchError::NotUnicast(mac)),
        false => Ok(()),
    }
}
