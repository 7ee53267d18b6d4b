//! [`Judge`]: where a frame of a capture enters the switch, and what becomes of it there.
//!
//! There is no time in a replay, so nothing is ever full but a broadcast queue of length 0.

use std::collections::HashMap;

use umacvlan_core::{DropReason, Frame, MacAddr, SubIndex};

use super::capture::Record;
use crate::offline_switch::{Fate, Paper, Said};

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The parent's own stack, whose frames do not pass the switch.
    Host,
    /// A sub-interface.
    Sub(SubIndex),
    /// Beyond the parent.
    Wire,
}

/// Where frames are taken to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From whose address their source is, else from the wire.
    Auto,
    /// All of them from here.
    Only(Entry),
}

/// Judges frames, one after the other.
#[derive(Debug)]
pub(super) struct Judge<'p> {
    paper: &'p Paper,
    from: Origin,
    /// Frames of sub-interfaces may be super-frames.
    gso: bool,
    entries: HashMap<MacAddr, Entry>,
    /// A cut frame at its full length.
    whole: Vec<u8>,
    /// Of the last frame.
    fate: Fate,
}

impl<'p> Judge<'p> {
    pub(super) fn new(paper: &'p Paper, from: Origin, gso: bool) -> Self {
        let mut entries = HashMap::from([(paper.switch.parent().mac, Entry::Host)]);
        for (_, _, sub) in paper.subs() {
            if let Some(owner) = paper.owner(sub.mac()) {
                entries.insert(sub.mac(), Entry::Sub(owner));
            }
        }
        Self { paper, from, gso, entries, whole: Vec::new(), fate: Fate::default() }
    }

    /// Where a frame enters, and what becomes of it.
    pub(super) fn judge(&mut self, record: &Record<'_>) -> (Entry, &Fate) {
        self.fate.clear();
        let frame = Frame::new(record.bytes);
        let entry = match (self.from, frame) {
            (Origin::Only(entry), _) => entry,
            (Origin::Auto, Some(frame)) => {
                self.entries.get(&frame.src()).copied().unwrap_or(Entry::Wire)
            }
            (Origin::Auto, None) => Entry::Wire,
        };
        match frame {
            None if record.is_cut() => {}
            None => self.fate.said = Said::Drop(DropReason::Runt),
            Some(frame) => self.decide(entry, frame, record),
        }
        (entry, &self.fate)
    }

    fn decide(&mut self, entry: Entry, frame: Frame<'_>, record: &Record<'_>) {
        let Self { paper, fate, whole, .. } = self;
        let switch = &paper.switch;
        match entry {
            Entry::Wire => fate.carry_out(switch.ingress(frame), switch.bc_queue_len()),
            Entry::Sub(from) => {
                // The switch measures what it is given: a cut frame gets its length back, as far
                // as the largest MTU can tell a difference.
                let most = switch.parent().mtu as usize + BEYOND;
                whole.clear();
                if record.is_cut() {
                    whole.extend(record.bytes);
                    whole.resize(record.length.min(most).max(record.bytes.len()), 0);
                }
                let frame = Frame::new(whole).unwrap_or(frame);
                let verdict = switch.egress(from, frame, self.gso);
                fate.carry_out(verdict, switch.bc_queue_len());
            }
            Entry::Host => {
                fate.said = Said::Wire;
                fate.wire = true;
            }
        }
    }
}

/// More than a header and a tag: a frame so much longer than an MTU fits nowhere.
const BEYOND: usize = 64;
