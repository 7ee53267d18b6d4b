//! [`Heartbeat`]: whether a worker runs, for other threads.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Looks in a row at a worker that neither runs nor sleeps after which it counts as hanging.
const LOOKS: u32 = 5;

/// A number that a worker changes with every turn. It is odd while the worker sleeps.
///
/// The worker alone writes it, so its turns need no atomic read-modify-write.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// Notes that a turn begins.
    #[inline]
    pub(super) fn beat(&self) {
        let turns = self.0.load(Ordering::Relaxed) | 1;
        self.0.store(turns.wrapping_add(1), Ordering::Relaxed);
    }

    /// The number as it is.
    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that the worker goes to sleep.
    pub(super) fn rest(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }
}

/// What one thread has seen of a heartbeat.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    seen: AtomicU64,
    /// Looks that have found the same turn.
    same: AtomicU32,
}

impl Watcher {
    /// Looks at a heartbeat. True if it has not changed for some looks.
    pub(super) fn finds_hanging(&self, heartbeat: &Heartbeat) -> bool {
        let now = heartbeat.read();
        let before = self.seen.swap(now, Ordering::Relaxed);
        let same = match now == before && now & 1 == 0 {
            true => self.same.load(Ordering::Relaxed) + 1,
            false => 0,
        };
        self.same.store(same, Ordering::Relaxed);
        same >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_hangs_if_it_stays_in_a_turn_and_not_while_it_sleeps_or_runs() {
        let (heartbeat, watcher) = (Heartbeat::default(), Watcher::default());
        let look = || watcher.finds_hanging(&heartbeat);
        for _ in 0..2 * LOOKS {
            heartbeat.beat();
            assert!(!look());
        }
        heartbeat.rest();
        assert!((0..2 * LOOKS).all(|_| !look()));
        heartbeat.beat();
        let found = (0..=LOOKS).position(|_| look());
        assert_eq!(found, Some(LOOKS as usize));
    }
}
