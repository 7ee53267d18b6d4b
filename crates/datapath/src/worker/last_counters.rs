//! [`LastCounters`]: what a worker had counted when it last answered, for the case that it hangs.
//!
//! Nothing is published on the way of a frame: the control thread asks, once a second and without
//! waiting, and the worker answers between two turns as it answers any request. A worker that has
//! forwarded nothing since and sleeps is not asked, and sleeps on.

use crossbeam_channel::{Receiver, TryRecvError};
use umacvlan_core::SubIndex;

use super::{Remains, Stopped};
use crate::switches::SwitchId;

/// The last answer of one worker, and the question that waits for one.
#[derive(Debug, Default)]
pub(super) struct LastCounters {
    asked: Option<Receiver<Remains>>,
    known: Option<Remains>,
    /// The heartbeat since which nothing was counted, if that is known.
    quiet: Option<u64>,
}

impl LastCounters {
    /// Takes the answer, if it is there. `heartbeat` is the present one, if that matters.
    fn collect(&mut self, heartbeat: Option<u64>) {
        let Some(asked) = &self.asked else {
            return;
        };
        match asked.try_recv() {
            Ok(remains) => {
                let before = self.known.as_ref().map(Remains::frames);
                self.quiet = heartbeat.filter(|_| before == Some(remains.frames()));
                self.known = Some(remains);
                self.asked = None;
            }
            Err(TryRecvError::Disconnected) => self.asked = None,
            Err(TryRecvError::Empty) => {}
        }
    }

    /// Takes the last answer, and asks again unless one is missing or nothing can have changed.
    pub(super) fn note(
        &mut self,
        heartbeat: u64,
        ask: impl FnOnce() -> Result<Receiver<Remains>, Stopped>,
    ) {
        self.collect(Some(heartbeat));
        if self.asked.is_none() && self.quiet != Some(heartbeat) {
            self.asked = ask().ok();
        }
    }

    /// Adds what a sub-interface has counted that was removed to the sum over those: another one may
    /// get its index.
    pub(super) fn remove_sub(&mut self, id: SwitchId, index: SubIndex) {
        self.collect(None);
        let counters = self.known.iter_mut().flat_map(|known| &mut known.counters);
        for (_, snapshot) in counters.filter(|(switch, _)| *switch == id) {
            let gone = snapshot.subs.iter().position(|&(sub, _)| sub == index);
            if let Some(place) = gone {
                snapshot.removed += snapshot.subs.remove(place).1;
            }
        }
    }

    /// Forgets a switch that was removed: another one may get its number.
    pub(super) fn remove_switch(&mut self, id: SwitchId) {
        self.collect(None);
        if let Some(known) = &mut self.known {
            known.counters.retain(|(switch, _)| *switch != id);
        }
    }

    /// The counters of the last answer.
    pub(super) fn take(&mut self) -> Option<Remains> {
        self.collect(None);
        self.known.take()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded};
    use umacvlan_core::WorkerStats;
    use umacvlan_core::stats::SubStats;

    use super::super::Snapshot;
    use super::*;

    const SWITCH: SwitchId = SwitchId::UNTAGGED;

    fn remains(frames: u64) -> Remains {
        let sub = SubIndex::from_index(0).unwrap();
        let stats = SubStats { offered: frames, ..SubStats::default() };
        let turns = WorkerStats { frames, ..WorkerStats::default() };
        let snapshot = Snapshot { subs: vec![(sub, stats)], turns, ..Snapshot::default() };
        Remains { counters: vec![(SWITCH, snapshot)], ring_drops: 0 }
    }

    /// Looks at a worker with that heartbeat. Returns the way to answer, if it was asked.
    fn look(last: &mut LastCounters, heartbeat: u64) -> Option<Sender<Remains>> {
        let mut asked = None;
        last.note(heartbeat, || {
            let (sender, receiver) = bounded(1);
            asked = Some(sender);
            Ok(receiver)
        });
        asked
    }

    #[test]
    fn a_worker_is_asked_until_it_has_counted_nothing_and_sleeps() {
        let mut last = LastCounters::default();
        let first = look(&mut last, 1).unwrap();
        // It has not answered, so it is not asked twice.
        assert!(look(&mut last, 1).is_none());
        first.send(remains(5)).unwrap();
        let second = look(&mut last, 3).unwrap();
        second.send(remains(5)).unwrap();
        assert!(look(&mut last, 5).is_none() && look(&mut last, 5).is_none());
        // A turn, and with it perhaps a frame.
        let third = look(&mut last, 7).unwrap();
        drop(third);
        assert!(look(&mut last, 7).is_some());
        assert_eq!(last.take().unwrap().frames(), 5);
    }

    #[test]
    fn an_answer_that_nobody_has_taken_yet_counts() {
        let mut last = LastCounters::default();
        look(&mut last, 1).unwrap().send(remains(5)).unwrap();
        assert_eq!(last.take().unwrap().frames(), 5);
        assert!(last.take().is_none());
    }

    #[test]
    fn what_was_removed_since_is_not_credited_to_its_successor() {
        let mut last = LastCounters::default();
        look(&mut last, 1).unwrap().send(remains(5)).unwrap();
        last.remove_sub(SWITCH, SubIndex::from_index(0).unwrap());
        let known = last.known.as_ref().unwrap();
        assert!(known.counters[0].1.subs.is_empty());
        assert_eq!(known.counters[0].1.removed.offered, 5);
        last.remove_switch(SWITCH);
        assert!(last.take().unwrap().counters.is_empty());
    }
}
