//! The rules that the kernel does not have.

use umacvlan_core::rules::{RuleWord, Rules};
use umacvlan_core::{DropReason, MacAddr, Mode, SubIndex, SwitchError};

use super::{Model, ModelSub, Probe};

/// Rules as their texts say. The probes have no tags and no IP addresses.
fn lists(rules: &Rules, word: RuleWord, value: &str) -> bool {
    let values = rules.values(word);
    values.is_empty() || values.iter().any(|listed| listed == value)
}

fn allows_type(rules: &Rules, ethertype: u16) -> bool {
    lists(rules, RuleWord::AllowEthertype, &format!("{ethertype:#06x}"))
}

fn allows_mac(rules: &Rules, mac: MacAddr) -> bool {
    lists(rules, RuleWord::AllowMac, &mac.to_string())
}

fn group(sub: &ModelSub) -> Option<String> {
    sub.rules.values(RuleWord::Isolation).pop()
}

/// True when two sub-interfaces are isolated, and not in one group.
fn apart(a: &ModelSub, b: &ModelSub) -> bool {
    match (group(a), group(b)) {
        (Some(x), Some(y)) => a.id != b.id && (x == "on" || x != y),
        _ => false,
    }
}

impl Model {
    /// Why the rules of `to` keep a frame from it; without a sender it is from outside.
    pub(super) fn refuses(
        &self,
        to: &ModelSub,
        sender: Option<&ModelSub>,
        probe: Probe,
    ) -> Option<DropReason> {
        if !allows_type(&to.rules, probe.ethertype) {
            return Some(DropReason::NotAllowed);
        }
        match sender {
            Some(sender) => apart(to, sender).then_some(DropReason::Isolated),
            None => (!allows_mac(&to.rules, probe.src)).then_some(DropReason::NotAllowed),
        }
    }

    /// Why the rules of `from` keep it from sending a frame at all.
    pub(super) fn may_not_send(&self, from: &ModelSub, probe: Probe) -> Option<DropReason> {
        if !allows_type(&from.rules, probe.ethertype) {
            return Some(DropReason::NotAllowed);
        }
        if probe.dst.is_group() {
            return None;
        }
        match self.subs.iter().find(|sub| sub.is_up_as(probe.dst)) {
            Some(sibling) => apart(from, sibling).then_some(DropReason::Isolated),
            None => (!allows_mac(&from.rules, probe.dst)).then_some(DropReason::NotAllowed),
        }
    }

    pub(crate) fn set_rules(&mut self, id: SubIndex, rules: Rules) -> Result<(), SwitchError> {
        allowed(self.sub(id)?.mode, &rules)?;
        self.sub(id)?.rules = rules;
        Ok(())
    }
}

/// Mode source receives by its list.
pub(super) fn allowed(mode: Mode, rules: &Rules) -> Result<(), SwitchError> {
    let receives = [RuleWord::AllowEthertype, RuleWord::AllowMac, RuleWord::Isolation];
    match mode == Mode::Source && receives.iter().any(|&word| !rules.values(word).is_empty()) {
        true => Err(SwitchError::RulesInSourceMode),
        false => Ok(()),
    }
}

/// Rules: mostly none.
pub(super) fn rules(byte: u8) -> Rules {
    let mut rules = Rules::default();
    let mut add = |word, text: &str| rules.add(word, text).expect("a value of the rule");
    match byte {
        0..=159 => {}
        160..=199 => {
            add(RuleWord::Isolation, ["on", "a", "b", "off"][usize::from(byte % 4)]);
        }
        _ => {
            add(RuleWord::Isolation, ["off", "a"][usize::from(byte % 2)]);
            let outside = super::ops::unicast(byte / 2 % 8 + 1);
            add(RuleWord::AllowMac, &outside.to_string());
            if byte >= 240 {
                add(RuleWord::AllowEthertype, ["0x88b5", "0x8808"][usize::from(byte / 2 % 2)]);
            }
        }
    }
    rules
}
