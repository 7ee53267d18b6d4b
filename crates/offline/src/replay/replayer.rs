//! [`Replayer`]: puts captured frames into the switch, each at its place of entry.
//!
//! A replay has no time, so no queue is ever full, except a broadcast queue of length 0.

use std::collections::HashMap;

use umacvlan_core::{DropReason, Frame, MacAddr, SubIndex};

use super::capture::Record;
use crate::offline_switch::{Decision, OfflineSwitch, Outcome};

/// Where a frame enters the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The host: its frames go to the wire past the switch.
    Host,
    /// A sub-interface.
    Sub(SubIndex),
    /// The parent.
    Wire,
}

/// How the entry of a frame is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The owner of the source address, else the wire.
    Auto,
    /// The same for all frames.
    Only(Entry),
}

/// Puts frames into the switch one after the other, reusing its memory.
#[derive(Debug)]
pub(super) struct Replayer<'p> {
    offline: &'p OfflineSwitch,
    from: Origin,
    /// Frames from sub-interfaces are taken for GSO packets.
    gso: bool,
    entries: HashMap<MacAddr, Entry>,
    /// A truncated frame, padded to its full length.
    whole: Vec<u8>,
    /// The outcome of the last frame.
    outcome: Outcome,
}

impl<'p> Replayer<'p> {
    pub(super) fn new(offline: &'p OfflineSwitch, from: Origin, gso: bool) -> Self {
        let mut entries = HashMap::from([(offline.switch.parent().mac, Entry::Host)]);
        for (_, _, sub) in offline.subs() {
            if let Some(owner) = offline.owner(sub.mac()) {
                entries.insert(sub.mac(), Entry::Sub(owner));
            }
        }
        Self { offline, from, gso, entries, whole: Vec::new(), outcome: Outcome::default() }
    }

    /// Returns where a frame enters, and its outcome.
    pub(super) fn replay(&mut self, record: &Record<'_>) -> (Entry, &Outcome) {
        self.outcome.clear();
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
            None => self.outcome.decision = Decision::Drop(DropReason::Runt),
            Some(frame) => self.decide(entry, frame, record),
        }
        (entry, &self.outcome)
    }

    fn decide(&mut self, entry: Entry, frame: Frame<'_>, record: &Record<'_>) {
        let Self { offline, outcome, whole, .. } = self;
        let switch = &offline.switch;
        match entry {
            Entry::Wire => outcome.apply(switch.ingress(frame), switch.bc_queue_len()),
            Entry::Sub(from) => {
                // The switch measures the slice, so a truncated frame is padded, at most to a
                // length that exceeds every MTU.
                let most = switch.parent().mtu as usize + OVERHEAD;
                whole.clear();
                if record.is_cut() {
                    whole.extend(record.bytes);
                    whole.resize(record.length.min(most).max(record.bytes.len()), 0);
                }
                let frame = Frame::new(whole).unwrap_or(frame);
                let verdict = switch.egress(from, frame, self.gso);
                outcome.apply(verdict, switch.bc_queue_len());
            }
            Entry::Host => {
                outcome.decision = Decision::Wire;
                outcome.wire = true;
            }
        }
    }
}

/// More bytes than a header and a tag: a frame that exceeds the MTU by this is too long.
const OVERHEAD: usize = 64;
