//! The switch alone: it decides on prepared frames, and the verdicts are summed up and checked.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use umacvlan_core::{Action, Frame, SubIndex, Switch, Verdict};

use super::case::{Case, Destination};
use super::traffic::{TestFrame, Workload};
use super::trial::{HashLookup, Sample, median, per_frame};

/// The start of a frame, the only part that a decision reads.
type Head = [u8; 16];

pub(super) struct Decision {
    case: Case,
    switch: Switch,
    heads: Vec<(Head, SubIndex)>,
    lookup: HashLookup,
    /// The expected sum of the scores of all verdicts.
    expected: usize,
}

impl Decision {
    pub(super) fn new(case: Case, seed: u64) -> Result<Self> {
        let mut workload = Workload::new(&case, seed);
        let mut switch = workload.switch(case.mode);
        let mut ids = Vec::with_capacity(workload.macs.len());
        for place in 0..workload.macs.len() {
            let id = switch.add(&workload.config(place, case.mode))?;
            switch.set_up(id, true)?;
            ids.push(id);
        }
        // One frame for each address, so that a large table is as cold as in practice.
        let floods = case.destination == Destination::All;
        let count = if floods { FLOOD_COPIES / ids.len() } else { ids.len() }.clamp(1, 65_536);
        let count = if floods { count.min(FRAMES_MIN) } else { count.max(FRAMES_MIN) };
        let frames = workload.frames(&case, count);
        let expected = frames.iter().map(|frame| expected_score(&case, &ids, frame)).sum();
        let lookup = HashLookup::new(workload.table(&case), &frames);
        let heads = frames.iter().map(|frame| {
            let head = frame.bytes.first_chunk().context("a frame is longer than its head")?;
            Ok((*head, ids[frame.from]))
        });
        let heads = heads.collect::<Result<_>>()?;
        Ok(Self { case, switch, heads, lookup, expected })
    }

    /// One trial: alternating slices of the switch and of the hash lookup, and the median of each.
    pub(super) fn trial(&self) -> Result<Sample> {
        let rounds = (FRAMES_MIN * 16 / self.lookup.len()).max(1);
        let rounds = if self.case.destination == Destination::All { 1 } else { rounds };
        let (mut engine, mut lookup) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            let mut sum = 0;
            engine.push(per_frame(rounds * self.heads.len(), || sum = self.decide(rounds)));
            ensure!(sum == rounds * self.expected, "the switch decided wrongly");
            lookup.push(self.lookup.slice());
        }
        Ok(Sample { engine: median(engine)?, lookup: median(lookup)? })
    }

    fn decide(&self, rounds: usize) -> usize {
        let Self { switch, heads, .. } = self;
        let mut sum = 0;
        // The loop is chosen once and not for each frame.
        match self.case.traffic.is_egress() {
            true => (0..rounds).for_each(|_| {
                for (head, from) in heads {
                    let frame = Frame::new(black_box(head));
                    sum += frame.map_or(0, |frame| score(switch.egress(*from, frame, false)));
                }
            }),
            false => (0..rounds).for_each(|_| {
                for (head, _) in heads {
                    let frame = Frame::new(black_box(head));
                    sum += frame.map_or(0, |frame| score(switch.ingress(frame)));
                }
            }),
        }
        sum
    }
}

/// The score of a verdict, which distinguishes it from other verdicts.
// Inlined always, as the engine's only call is.
#[inline(always)]
fn score(verdict: Verdict<'_>) -> usize {
    let copies: usize = verdict.copies.map(|id| TO_SUB + id.index()).sum();
    copies
        + match verdict.action {
            Action::Deliver(id) => TO_SUB + id.index(),
            Action::Flood(flood) => TO_MANY + flood.count(),
            Action::Host => TO_HOST,
            Action::Wire => TO_WIRE,
            Action::Drop(_) => 0,
        }
}

/// The score of the correct verdict on this frame.
fn expected_score(case: &Case, ids: &[SubIndex], frame: &TestFrame) -> usize {
    match case.destination {
        Destination::Addressed => TO_SUB + ids[frame.to].index(),
        Destination::All => TO_MANY + case.receivers(),
        Destination::Host => TO_HOST,
        Destination::Listed => TO_SUB + ids[frame.to].index() + TO_HOST,
        Destination::Wire => TO_WIRE,
    }
}

/// The scores of the parts of a verdict. Each is larger than any index and not a sum of others.
const TO_HOST: usize = 1 << 20;
const TO_WIRE: usize = 1 << 21;
const TO_MANY: usize = 1 << 22;
const TO_SUB: usize = 1 << 23;

/// The lowest number of frames, so that the processor cannot predict their order.
const FRAMES_MIN: usize = 1024;

/// Copies made by the floods of one slice.
const FLOOD_COPIES: usize = 65_536;

/// The number of slices in a trial.
const SLICES: usize = 9;
