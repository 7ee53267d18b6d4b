//! The requested state of the two networks, and the state that they report.

use std::collections::BTreeMap;
use std::fmt;

use umacvlan_core::options::ProgramKind;
use umacvlan_core::{MacAddr, Mode};

/// A sub-interface to be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// In a namespace of its own, not in the parent's.
    pub(crate) guest: bool,
    /// With our engine its far end is a program. Only the reference is an interface then.
    pub(crate) program: Option<ProgramKind>,
    pub(crate) mac: MacAddr,
    pub(crate) mode: Mode,
    pub(crate) nodst: bool,
    pub(crate) sources: Vec<MacAddr>,
    /// The last byte of the groups 224.0.0.x that it joins.
    pub(crate) groups: Vec<u8>,
}

/// A change to a network. Sub-interfaces are identified by their index in the list.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    AddSource(usize, MacAddr),
    Allmulti(usize, bool),
    Create(Plan),
    Mac(usize, MacAddr),
    Mode(usize, Mode),
    Mtu(usize, u32),
    Nodst(usize, bool),
    ParentMac(MacAddr),
    Promisc(usize, bool),
    /// Removal by its creator.
    Remove(usize),
    RemoveSource(usize, MacAddr),
    Sources(usize, Vec<MacAddr>),
    Up(usize, bool),
    /// Removal by another process, which deletes the interface.
    Vanish(usize),
}

/// The state that a network reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) parent: MacAddr,
    pub(crate) subs: Vec<SubState>,
}

/// The state of one sub-interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubState {
    pub(crate) name: String,
    /// With our engine its far end is a program.
    pub(crate) program: Option<ProgramKind>,
    pub(crate) mac: MacAddr,
    pub(crate) mode: Mode,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) nodst: bool,
    /// The multicast filter is open.
    pub(crate) open: bool,
    /// Sorted.
    pub(crate) sources: Vec<MacAddr>,
    /// Sorted; empty while the sub-interface is down.
    pub(crate) groups: Vec<MacAddr>,
}

impl State {
    /// The sub-interface that is up and has this address.
    pub(crate) fn owner(&self, mac: MacAddr) -> Option<(usize, &SubState)> {
        let mut all = self.subs.iter().enumerate();
        all.find(|(_, sub)| sub.up && sub.mac == mac)
    }

    /// True when source mode consumes frames from this host: they go to source sub-interfaces only.
    pub(crate) fn is_taken_by_list(&self, src: MacAddr) -> bool {
        let mut subs = self.subs.iter();
        subs.any(|sub| sub.nodst && sub.sources.contains(&src))
    }

    /// The owner of an address, as text for the report.
    pub(crate) fn whose(&self, mac: MacAddr) -> String {
        let names: BTreeMap<MacAddr, String> = self
            .subs
            .iter()
            .rev()
            .map(|sub| (sub.mac, format!("{}, {}", sub.name, sub.mode)))
            .collect();
        match names.get(&mac) {
            Some(name) => format!("{mac} ({name})"),
            None if mac == self.parent => format!("{mac} (the parent)"),
            None => mac.to_string(),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "parent {}", self.parent)?;
        for sub in &self.subs {
            write!(f, "{} {} {} mtu {}", sub.name, sub.mac, sub.mode, sub.mtu)?;
            if let Some(kind) = sub.program {
                write!(f, ", {kind},")?;
            }
            f.write_str(if sub.up { " up" } else { " down" })?;
            if sub.open {
                f.write_str(", all groups")?;
            }
            if sub.nodst {
                f.write_str(", nodst")?;
            }
            writeln!(f, ", sources {:?}, groups {:?}", sub.sources, sub.groups)?;
        }
        Ok(())
    }
}
