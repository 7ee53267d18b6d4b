//! [`RulesChange`]: edits of rules, as words.

use super::settings::{RuleError, RuleWord, Rules};

/// What is done to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOp {
    /// Values are added.
    Add,
    /// Values are removed; one that is not there is no error.
    Del,
    /// The values replace all others; without any, everything is allowed.
    Set,
}

impl RuleOp {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
            Self::Set => "set",
        }
    }
}

/// Edits of some rules, in order; the others stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesChange(Vec<(RuleWord, RuleOp, Rules)>);

impl RulesChange {
    /// Appends an edit. `none` and empty values are no value.
    ///
    /// # Errors
    /// One of the values is not one of this rule.
    pub fn edit<'t>(
        &mut self,
        word: RuleWord,
        op: RuleOp,
        values: impl IntoIterator<Item = &'t str>,
    ) -> Result<(), RuleError> {
        let mut named = Rules::default();
        for text in values.into_iter().filter(|text| !matches!(*text, "" | "none")) {
            named.add(word, text)?;
        }
        self.0.push((word, op, named));
        Ok(())
    }

    /// Sets a rule to comma-separated values.
    ///
    /// # Errors
    /// One of the values is not one of this rule.
    pub fn set(&mut self, word: RuleWord, values: &str) -> Result<(), RuleError> {
        self.edit(word, RuleOp::Set, values.split(',').map(str::trim))
    }

    /// The change of any rules to exactly these.
    pub fn exactly(rules: &Rules) -> Self {
        Self(RuleWord::ALL.map(|word| (word, RuleOp::Set, rules.clone())).into())
    }

    /// True if it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edits with their values.
    pub fn words(&self) -> impl Iterator<Item = (RuleWord, RuleOp, Vec<String>)> {
        self.0.iter().map(|(word, op, named)| (*word, *op, named.values(*word)))
    }

    /// These rules, changed.
    ///
    /// # Errors
    /// A list becomes too long.
    pub fn apply(&self, mut rules: Rules) -> Result<Rules, RuleError> {
        for (word, op, named) in &self.0 {
            match word {
                RuleWord::Isolation => rules.isolation = named.isolation,
                RuleWord::AllowEthertype => edit(&mut rules.ethertypes, *op, &named.ethertypes),
                RuleWord::AllowIp => edit(&mut rules.ips, *op, &named.ips),
                RuleWord::AllowMac => edit(&mut rules.macs, *op, &named.macs),
            }
            if *op == RuleOp::Add {
                // Sorted again, and the length is checked.
                named.values(*word).iter().try_for_each(|text| rules.add(*word, text))?;
            }
        }
        Ok(rules)
    }
}

impl From<&Rules> for RulesChange {
    /// The change from no rules to these.
    fn from(rules: &Rules) -> Self {
        Self(rules.words().map(|(word, _)| (word, RuleOp::Set, rules.clone())).collect())
    }
}

/// Removes or replaces values; those to be added are left out.
fn edit<T: Copy + PartialEq>(list: &mut Vec<T>, op: RuleOp, values: &[T]) {
    match op {
        RuleOp::Add => {}
        RuleOp::Del => list.retain(|value| !values.contains(value)),
        RuleOp::Set => values.clone_into(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_their_order_and_leave_the_others() {
        let mut change = RulesChange::default();
        change.set(RuleWord::AllowIp, "10.0.0.2, 10.0.0.1").unwrap();
        change.set(RuleWord::Isolation, "web").unwrap();
        let rules = change.apply(Rules::default()).unwrap();
        assert_eq!(rules.to_string(), "allow_ip 10.0.0.2 10.0.0.1 isolation web");

        let mut change = RulesChange::default();
        change.edit(RuleWord::AllowIp, RuleOp::Add, ["10.0.0.3", "10.0.0.1"]).unwrap();
        change.edit(RuleWord::AllowIp, RuleOp::Del, ["10.0.0.2", "10.9.9.9"]).unwrap();
        let rules = change.apply(rules).unwrap();
        assert_eq!(rules.to_string(), "allow_ip 10.0.0.1 10.0.0.3 isolation web");
        assert_eq!(RulesChange::from(&rules).apply(Rules::default()), Ok(rules.clone()));
        assert_eq!(RulesChange::exactly(&Rules::default()).apply(rules), Ok(Rules::default()));
    }

    #[test]
    fn none_and_off_allow_everything() {
        let mut change = RulesChange::default();
        change.set(RuleWord::AllowMac, "none").unwrap();
        change.set(RuleWord::Isolation, "off").unwrap();
        assert!(change.apply(Rules::default()).unwrap().is_empty());
        assert!(change.set(RuleWord::AllowMac, "02:00:00:00:00:01,x").is_err());
    }
}
