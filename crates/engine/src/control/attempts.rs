//! [`Attempts`]: when to attach to an interface, or to start its workers, again after that has failed.
//!
//! An attempt loads a program, changes offloads and joins groups, and each of these is an event about
//! the interface. If every event were a new attempt, one that fails for a while would follow the other
//! without end, and requests would wait for all of them. The kernel refuses memory for AF_XDP as long as
//! that of a killed process is not given back (`ENOBUFS`).

use std::time::{Duration, Instant};

use super::Control;
use super::inventory::DeviceId;

/// The pause after the first failure. Each further one doubles it.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// The failed attempts of one device since it was attached last.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The pause after the next failure; zero if none has failed.
    pause: Duration,
    /// When to try again.
    next: Option<Instant>,
    /// What was reported last.
    reported: String,
}

impl Attempts {
    /// True if one has failed a moment ago: an event is no reason to try again.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| now < next)
    }

    /// The time to try again, if the last one has failed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Notes one that has failed.
    pub(super) fn fail(&mut self, now: Instant) {
        self.next = Some(now + self.pause.max(FIRST));
        self.pause = (self.pause.max(FIRST) * 2).min(LONGEST);
    }

    /// Begins the one that is due. If nothing is tried, the next event about the interface is the next
    /// one.
    fn begin(&mut self) {
        self.next = None;
    }

    /// True if this is another report than the last one.
    pub(super) fn is_news(&mut self, report: &str) -> bool {
        let news = self.reported != report;
        if news {
            report.clone_into(&mut self.reported);
        }
        news
    }
}

impl Control {
    /// Attaches to the interfaces again of which that has failed some time ago.
    pub(super) fn retry_attempts(&mut self) {
        let now = Instant::now();
        for id in self.inventory.device_ids() {
            let device = &mut self.inventory[id];
            if device.attempts.due().is_none_or(|due| now < due) {
                continue;
            }
            device.attempts.begin();
            let had = device.index.or_else(|| Some(device.identity.as_ref()?.index));
            let name = device.name.clone();
            let rtnl = &mut self.kernel.rtnl;
            let link = had.and_then(|index| rtnl.link_by_index(index).ok()?);
            // One that is gone, or cannot be read, has an event when it is back.
            let Some(link) = link.or_else(|| rtnl.link(&name).ok()?) else {
                continue;
            };
            match self.inventory[id].index {
                Some(_) => self.follow_device(&link),
                None => self.offer(&link),
            }
        }
    }

    /// The time until [`retry_attempts`](Self::retry_attempts) has something to do.
    pub(super) fn attempts_due(&self) -> Option<Duration> {
        let devices = self.inventory.device_ids().into_iter();
        let due = devices.filter_map(|id| self.inventory[id].attempts.due()).min();
        due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Reports a failed attempt, if the last report was another one.
    pub(super) fn report_attempt(&mut self, id: DeviceId, report: String) {
        if self.inventory[id].attempts.is_news(&report) {
            self.events.trouble(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_an_event_within_one_is_no_attempt() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        assert!(!attempts.is_paused(now) && attempts.due().is_none());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            attempts.fail(now);
            let due = attempts.due().unwrap();
            assert!(attempts.is_paused(now) && !attempts.is_paused(due));
            pauses.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        attempts.begin();
        assert!(attempts.due().is_none() && !attempts.is_paused(now));
    }

    #[test]
    fn the_same_report_is_made_once() {
        let mut attempts = Attempts::default();
        assert!(attempts.is_news("no memory") && !attempts.is_news("no memory"));
        attempts.fail(Instant::now());
        assert!(!attempts.is_news("no memory") && attempts.is_news("no queue"));
    }
}
