//! [`Looks`]: which sub-interfaces are to be read again, and when.
//!
//! An event of the kernel says that an interface has changed, and anybody can cause thousands of these
//! in a second, in a namespace of his own. So the events of an interface are merged into one look, and
//! the looks of a namespace may take a bounded share of the control thread's time, all of them
//! together another one. The first changes are followed at once. No clock is read here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::control::engine::SubId;

/// What a namespace may take in the long run: this part of the time, and this much at once.
const NAMESPACE: Allowance = Allowance { part: 20, burst: Duration::from_millis(250) };

/// What all namespaces may take together.
const TOGETHER: Allowance = Allowance { part: 5, burst: Duration::from_secs(1) };

/// What a search of everything may take, after events were lost.
const LOST: Allowance = Allowance { part: 10, burst: Duration::from_millis(250) };

/// How an interface is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// Where it was.
    Read,
    /// Wherever it is now.
    Locate,
}

/// Whose looks these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Events of a namespace, by its id. Those of the engine's own are not bounded, since its owner
    /// rules there.
    Namespace(Option<i32>),
    /// Events were lost, or are not there, as of sub-interfaces that were just adopted.
    Lost,
}

/// A part of the time, and how much of it may be taken in advance.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    part: u32,
    burst: Duration,
}

/// The time taken, less what the allowance has given since.
#[derive(Clone, Copy, Debug)]
struct Budget {
    allowance: Allowance,
    taken: Duration,
    at: Instant,
}

impl Budget {
    const fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, taken: Duration::ZERO, at: now }
    }

    fn taken(&self, now: Instant) -> Duration {
        let given = now.saturating_duration_since(self.at) / self.allowance.part;
        self.taken.saturating_sub(given)
    }

    fn take(&mut self, time: Duration, now: Instant) {
        self.taken = self.taken(now) + time;
        self.at = now;
    }

    /// The time until it may be taken from.
    fn wait(&self, now: Instant) -> Duration {
        self.taken(now).saturating_sub(self.allowance.burst) * self.allowance.part
    }
}

/// The looks of one cause, the first one first.
#[derive(Debug)]
struct Queue {
    order: VecDeque<SubId>,
    looks: HashMap<SubId, Look>,
    budget: Budget,
}

/// All looks that are due, now or later.
#[derive(Debug)]
pub(super) struct Looks {
    queues: BTreeMap<Cause, Queue>,
    together: Budget,
    /// The cause that was served last; the next one comes after it.
    last: Cause,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Self {
        let together = Budget::new(TOGETHER, now);
        Self { queues: BTreeMap::new(), together, last: Cause::Lost }
    }

    /// Notes that a sub-interface is to be read again. Nothing changes if that is known.
    pub(super) fn add(&mut self, cause: Cause, id: SubId, look: Look, now: Instant) {
        let allowance = match cause {
            Cause::Namespace(_) => NAMESPACE,
            Cause::Lost => LOST,
        };
        let queue = self.queues.entry(cause).or_insert_with(|| Queue {
            order: VecDeque::new(),
            looks: HashMap::new(),
            budget: Budget::new(allowance, now),
        });
        let known = queue.looks.entry(id).or_insert_with(|| {
            queue.order.push_back(id);
            look
        });
        *known = look.max(*known);
    }

    /// The next look that may be taken now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Cause, SubId, Look)> {
        let together = self.together.wait(now).is_zero();
        let after = self.queues.range((Bound::Excluded(self.last), Bound::Unbounded));
        let mut all = after.chain(self.queues.range(..=self.last));
        let may = |(cause, queue): &(&Cause, &Queue)| {
            let free = **cause == Cause::Namespace(None);
            !queue.order.is_empty() && (free || together && queue.budget.wait(now).is_zero())
        };
        let cause = all.find(may).map(|(&cause, _)| cause)?;
        self.last = cause;
        let queue = self.queues.get_mut(&cause)?;
        let id = queue.order.pop_front()?;
        Some((cause, id, queue.looks.remove(&id)?))
    }

    /// Notes that looks of a cause have taken that much time.
    pub(super) fn take(&mut self, cause: Cause, time: Duration, now: Instant) {
        if cause == Cause::Namespace(None) {
            return;
        }
        self.together.take(time, now);
        if let Some(queue) = self.queues.get_mut(&cause) {
            queue.budget.take(time, now);
        }
    }

    /// The time until [`Self::next`] has something; `None` if nothing waits.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        let together = self.together.wait(now);
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.order.is_empty());
        let due = waiting.map(|(cause, queue)| match cause {
            Cause::Namespace(None) => Duration::ZERO,
            _ => together.max(queue.budget.wait(now)),
        });
        due.min()
    }

    /// Forgets the causes that have nothing waiting, and have taken nothing that counts.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.queues
            .retain(|_, queue| !queue.order.is_empty() || !queue.budget.taken(now).is_zero());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Cause = Cause::Namespace(Some(1));
    const GOOD: Cause = Cause::Namespace(Some(2));

    /// Plays some seconds in which `events` of each millisecond are added, and looks cost `cost`.
    /// Returns how many looks each cause got, and the longest wait of a look of `GOOD`.
    fn play(
        seconds: u32,
        cost: Duration,
        mut events: impl FnMut(u32, &mut Looks, Instant),
    ) -> (usize, usize, Duration) {
        let start = Instant::now();
        let (mut looks, mut now) = (Looks::new(start), start);
        let (mut bad, mut good, mut longest) = (0, 0, Duration::ZERO);
        let mut asked: HashMap<SubId, Instant> = HashMap::new();
        for millisecond in 0..seconds * 1000 {
            now = now.max(start + Duration::from_millis(millisecond.into()));
            events(millisecond, &mut looks, now);
            if let Some(queue) = looks.queues.get(&GOOD) {
                for &id in &queue.order {
                    asked.entry(id).or_insert(now);
                }
            }
            while let Some((cause, id, _)) = looks.next(now) {
                now += cost;
                looks.take(cause, cost, now);
                match cause {
                    GOOD => {
                        good += 1;
                        longest = longest.max(now - asked.remove(&id).unwrap());
                    }
                    _ => bad += 1,
                }
                if now >= start + Duration::from_millis((millisecond + 1).into()) {
                    break;
                }
            }
            looks.tidy(now);
        }
        (bad, good, longest)
    }

    #[test]
    fn the_looks_of_a_storm_take_a_bounded_time_and_nobody_else_waits() {
        let cost = Duration::from_micros(200);
        let (bad, good, longest) = play(10, cost, |millisecond, looks, now| {
            for number in 0..5 {
                looks.add(BAD, SubId(number % 3), Look::Read, now);
            }
            if millisecond % 100 == 0 {
                looks.add(GOOD, SubId(100), Look::Read, now);
            }
        });
        // 50 000 events; a twentieth of ten seconds, and what may be taken in advance.
        let most = (Duration::from_millis(500) + NAMESPACE.burst).as_micros() / cost.as_micros();
        assert!(bad as u128 <= most + 1 && bad > 1000, "{bad} looks");
        assert_eq!(good, 100);
        assert!(longest <= 4 * cost, "{longest:?}");
    }

    #[test]
    fn storms_in_many_namespaces_are_bounded_together() {
        let cost = Duration::from_millis(1);
        let (bad, _, _) = play(10, cost, |_, looks, now| {
            for number in 0..50 {
                let cause = Cause::Namespace(Some(10 + number));
                looks.add(cause, SubId(u64::from(number.unsigned_abs())), Look::Read, now);
            }
        });
        assert!(bad <= 3001, "{bad} ms of 10 s");
    }

    #[test]
    fn the_first_change_is_followed_at_once_and_the_last_one_soon() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        looks.add(BAD, SubId(1), Look::Read, now);
        assert_eq!(looks.due(now), Some(Duration::ZERO));
        assert_eq!(looks.next(now), Some((BAD, SubId(1), Look::Read)));
        assert_eq!((looks.next(now), looks.due(now)), (None, None));
        looks.take(BAD, NAMESPACE.burst + Duration::from_millis(1), now);
        looks.add(BAD, SubId(1), Look::Read, now);
        assert_eq!(looks.next(now), None);
        let due = looks.due(now).unwrap();
        assert_eq!(due, Duration::from_millis(20));
        assert_eq!(looks.next(now + due), Some((BAD, SubId(1), Look::Read)));
    }

    #[test]
    fn the_events_of_an_interface_are_one_look() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        for look in [Look::Read, Look::Locate, Look::Read] {
            looks.add(BAD, SubId(1), look, now);
        }
        looks.add(BAD, SubId(2), Look::Read, now);
        assert_eq!(looks.next(now), Some((BAD, SubId(1), Look::Locate)));
        assert_eq!(looks.next(now), Some((BAD, SubId(2), Look::Read)));
        assert_eq!(looks.next(now), None);
    }

    #[test]
    fn the_engines_own_namespace_never_waits() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        let home = Cause::Namespace(None);
        looks.take(BAD, Duration::from_secs(60), now);
        for _ in 0..3 {
            looks.add(home, SubId(1), Look::Read, now);
            assert_eq!(looks.next(now), Some((home, SubId(1), Look::Read)));
            looks.take(home, Duration::from_secs(60), now);
        }
    }

    #[test]
    fn causes_that_rest_are_forgotten() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        looks.add(BAD, SubId(1), Look::Read, now);
        let _ = looks.next(now);
        looks.take(BAD, Duration::from_millis(10), now);
        looks.tidy(now);
        assert_eq!(looks.queues.len(), 1);
        looks.tidy(now + Duration::from_secs(1));
        assert!(looks.queues.is_empty());
    }
}
