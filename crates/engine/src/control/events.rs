//! [`Events`]: what the engine tells its owner.

use std::cell::Cell;

use crossbeam_channel::Sender;

use super::engine::{Event, SubId};

/// Unread events from which on those that tenants can repeat are left out. An owner that reads has a
/// few; one whose output is blocked must not fill the memory.
const UNREAD_MAX: usize = 16_384;

/// The events for the engine's owner. Nobody may be listening.
pub(super) struct Events {
    sender: Sender<Event>,
    /// Events left out since the last [`Event::LeftOut`].
    left_out: Cell<u64>,
}

impl Events {
    pub(super) const fn new(sender: Sender<Event>) -> Self {
        Self { sender, left_out: Cell::new(0) }
    }

    pub(super) fn send(&self, event: Event) {
        let full = self.sender.len() >= UNREAD_MAX;
        if full && event.can_repeat() {
            return self.left_out.set(self.left_out.get() + 1);
        }
        if !full && self.left_out.get() > 0 {
            let _ = self.sender.send(Event::LeftOut { count: self.left_out.take() });
        }
        // An error means that the owner has dropped the other end.
        let _ = self.sender.send(event);
    }

    pub(super) fn trouble(&self, what: String) {
        self.send(Event::Trouble { sub: None, what });
    }

    pub(super) fn trouble_of(&self, sub: SubId, what: String) {
        self.send(Event::Trouble { sub: Some(sub), what });
    }
}

impl Event {
    /// True if tenants can cause any number of such events.
    const fn can_repeat(&self) -> bool {
        matches!(
            self,
            Self::ConflictEnded { .. }
                | Self::Neighbours { .. }
                | Self::Reverted { .. }
                | Self::SubChanged(_)
                | Self::Trouble { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn events_that_nobody_reads_are_left_out_and_counted() {
        let (sender, events) = unbounded();
        let outbox = Events::new(sender);
        for _ in 0..UNREAD_MAX + 5 {
            outbox.trouble("again".to_owned());
        }
        assert_eq!(events.len(), UNREAD_MAX);
        let gone = || Event::SubGone { number: SubId(1), sub: "m1".to_owned() };
        outbox.send(gone());
        assert_eq!(events.len(), UNREAD_MAX + 1, "an end is told in any case");
        assert!(events.try_iter().all(|event| !matches!(event, Event::LeftOut { .. })));
        outbox.send(gone());
        assert!(matches!(events.recv(), Ok(Event::LeftOut { count: 5 })));
        assert!(matches!(events.recv(), Ok(Event::SubGone { .. })));
        outbox.trouble("again".to_owned());
        assert!(matches!(events.recv(), Ok(Event::Trouble { .. })));
    }
}
