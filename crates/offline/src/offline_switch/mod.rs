//! [`Paper`]: a parent with its sub-interfaces on paper. The real switch, and no interface at all.
//!
//! It is made from a configuration or from what a daemon tells. Neither knows everything that a
//! decision depends on; what had to be assumed is kept as notes, to be told with every answer.

mod from_config;
mod from_daemon;
mod outcome;
#[cfg(test)]
mod tests;

use umacvlan_core::{MacAddr, Sub, SubIndex, Switch};

pub(crate) use from_config::{Assumed, described};
pub(crate) use from_daemon::live;
pub(crate) use outcome::{Fate, Said};

/// A parent and its sub-interfaces, without interfaces.
#[derive(Clone, Debug)]
pub(crate) struct Paper {
    /// The parent's name.
    pub parent: String,
    /// The table: the one that the engine uses.
    pub switch: Switch,
    /// What is not known and was assumed, one line each.
    pub notes: Vec<String>,
    /// The names of the sub-interfaces, by [`SubIndex::index`].
    names: Vec<String>,
}

impl Paper {
    fn new(parent: &str, switch: Switch) -> Self {
        Self { parent: parent.to_owned(), switch, notes: Vec::new(), names: Vec::new() }
    }

    /// The name of a sub-interface, as the configuration or the daemon has it.
    pub(crate) fn name(&self, id: SubIndex) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// Every sub-interface with its name, in ascending order of identifier.
    pub(crate) fn subs(&self) -> impl Iterator<Item = (SubIndex, &str, &Sub)> {
        self.switch.subs().map(|(id, sub)| (id, self.name(id), sub))
    }

    /// The sub-interface of this name.
    pub(crate) fn named(&self, name: &str) -> Option<SubIndex> {
        self.subs().find(|&(_, other, _)| other == name).map(|(id, ..)| id)
    }

    /// Who has this address. Of several it is the one that is up.
    pub(crate) fn owner(&self, mac: MacAddr) -> Option<SubIndex> {
        let owners = || self.subs().filter(|(.., sub)| sub.mac() == mac);
        owners().find(|(.., sub)| sub.up()).or_else(|| owners().next()).map(|(id, ..)| id)
    }

    /// The names of all sub-interfaces, for messages.
    pub(crate) fn known(&self) -> String {
        match self.names.is_empty() {
            true => "none".to_owned(),
            false => self.names.join(", "),
        }
    }

    /// The names of these sub-interfaces.
    pub(crate) fn names(&self, ids: &[SubIndex]) -> Vec<&str> {
        ids.iter().map(|&id| self.name(id)).collect()
    }

    /// Enters the name of a sub-interface that was added last.
    fn call(&mut self, id: SubIndex, name: String) {
        debug_assert_eq!(id.index(), self.names.len(), "nothing is ever removed from paper");
        self.names.push(name);
    }
}
