//! [`OfflineSwitch`]: the real switch of one parent with its sub-interfaces, but no interface.
//!
//! It is built from a configuration ([`from_config()`]) or from the daemon's views
//! ([`from_daemon()`]). Neither has everything that a decision depends on; each assumption becomes
//! a note, and every answer shows the notes.

mod from_config;
mod from_daemon;
mod outcome;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use umacvlan_core::{MacAddr, Sub, SubIndex, Switch};

pub(crate) use from_config::{Assumptions, from_config};
pub(crate) use from_daemon::from_daemon;
pub(crate) use outcome::{Decision, Outcome, OutcomeJson};

/// A parent and its sub-interfaces, without interfaces.
#[derive(Clone, Debug)]
pub(crate) struct OfflineSwitch {
    /// The parent's name.
    pub parent: String,
    /// The same switch as the engine's.
    pub switch: Switch,
    /// The assumptions, one line each.
    pub notes: Vec<String>,
    /// The names of the sub-interfaces, by [`SubIndex::index`].
    names: Vec<String>,
}

/// What a translation does around the decision.
const MACNAT: &str = "macnat: what goes to the wire leaves with the parent's address, or is dropped \
                      (macnat_untranslated) if it is neither ARP nor IP; what comes from the wire for \
                      that address goes to the link that has its IP address, as `umacvlan -d parent` \
                      shows, else to the host";

impl OfflineSwitch {
    fn new(parent: &str, switch: Switch) -> Self {
        Self { parent: parent.to_owned(), switch, notes: Vec::new(), names: Vec::new() }
    }

    /// Notes that links share the address of their parent, which is not the switch's to decide.
    fn note_macnat(&mut self) {
        self.notes.push(MACNAT.to_owned());
    }

    /// The name of a sub-interface in the configuration or in the daemon's view.
    pub(crate) fn name(&self, id: SubIndex) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// Every sub-interface with its name, in ascending order of index.
    pub(crate) fn subs(&self) -> impl Iterator<Item = (SubIndex, &str, &Sub)> {
        self.switch.subs().map(|(id, sub)| (id, self.name(id), sub))
    }

    /// The sub-interface of this name.
    pub(crate) fn find(&self, name: &str) -> Option<SubIndex> {
        self.subs().find(|&(_, other, _)| other == name).map(|(id, ..)| id)
    }

    /// The address of the sub-interface of this name, or of the parent.
    ///
    /// # Errors
    /// Neither has that name.
    pub(crate) fn address_of(&self, name: &str) -> Result<MacAddr> {
        if name == self.parent {
            return Ok(self.switch.parent().mac);
        }
        let sub = self.find(name).and_then(|id| self.switch.sub(id));
        sub.map(Sub::mac).with_context(|| {
            let (parent, names) = (&self.parent, self.name_list());
            format!(
                "\"{name}\" is not a MAC address, and {parent} has no link of that name: it has {names}"
            )
        })
    }

    /// The sub-interface with this address; one that is up is preferred.
    pub(crate) fn owner(&self, mac: MacAddr) -> Option<SubIndex> {
        let owners = || self.subs().filter(|(.., sub)| sub.mac() == mac);
        owners().find(|(.., sub)| sub.up()).or_else(|| owners().next()).map(|(id, ..)| id)
    }

    /// The names of all sub-interfaces, for messages.
    pub(crate) fn name_list(&self) -> String {
        match self.names.is_empty() {
            true => "none".to_owned(),
            false => self.names.join(", "),
        }
    }

    /// The names of these sub-interfaces.
    pub(crate) fn names(&self, ids: &[SubIndex]) -> Vec<&str> {
        ids.iter().map(|&id| self.name(id)).collect()
    }

    /// Names the sub-interface that was added last.
    fn push_name(&mut self, id: SubIndex, name: String) {
        debug_assert_eq!(id.index(), self.names.len(), "sub-interfaces are never removed");
        self.names.push(name);
    }
}
