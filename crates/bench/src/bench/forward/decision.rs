//! The switch alone: frames that are there already are decided upon, and the verdicts counted.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use umacvlan_core::{Action, Frame, SubIndex, Switch, Verdict};

use super::case::{Case, Destination};
use super::traffic::{TestFrame, Workload};
use super::trial::{HashLookup, Sample, median, per_frame};

/// The head of a frame, which is all that a decision reads.
type Head = [u8; 16];

pub(super) struct Decision {
    case: Case,
    switch: Switch,
    heads: Vec<(Head, SubIndex)>,
    lookup: HashLookup,
    /// What the verdicts on all frames have to come to.
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
        // As many as there are addresses, so that a large table is as cold as it will be in life.
        let floods = case.destination == Destination::All;
        let count = if floods { FLOODS / ids.len() } else { ids.len() }.clamp(1, 65_536);
        let count = if floods { count.min(MANY) } else { count.max(MANY) };
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

    /// One trial: slices of ours and of the bare look-up in turn, and the median of either.
    pub(super) fn trial(&self) -> Result<Sample> {
        let rounds = (MANY * 16 / self.lookup.len()).max(1);
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
        // The one loop is chosen once and not for each frame.
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

/// Carries a verdict out as far as that goes without ports: a number that tells one from another.
// Always, as it is in the engine's only call.
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

/// The number that the right verdict on this frame has.
fn expected_score(case: &Case, ids: &[SubIndex], frame: &TestFrame) -> usize {
    match case.destination {
        Destination::Addressed => TO_SUB + ids[frame.to].index(),
        Destination::All => TO_MANY + case.receivers(),
        Destination::Host => TO_HOST,
        Destination::Listed => TO_SUB + ids[frame.to].index() + TO_HOST,
        Destination::Wire => TO_WIRE,
    }
}

/// What the parts of a verdict are worth; more than any identifier, and no sum of others.
const TO_HOST: usize = 1 << 20;
const TO_WIRE: usize = 1 << 21;
const TO_MANY: usize = 1 << 22;
const TO_SUB: usize = 1 << 23;

/// Frames at least, so that they are out of order.
const MANY: usize = 1024;

/// Copies that the floods of one slice make.
const FLOODS: usize = 65_536;

/// Slices of a trial.
const SLICES: usize = 9;
