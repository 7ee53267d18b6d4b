//! Events of the engine: saved, logged and published to clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use crossbeam_channel::RecvTimeoutError;
use umacvlan_core::MacvlanFlag;
use umacvlan_engine::engine::{Event, SubId, SubStatus};
use umacvlan_netlink::LinkFlags;

use super::change_words::change_words;
use super::last_events::Kind;
use super::netns::Names;
use super::{Service, Shared, lock_service};
use umacvlan_api::{EventKind, EventView};
use umacvlan_text::log_limit::PERIOD;

/// A kind of log line that users of links can cause; most are about a link, by its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LogKind {
    /// A change was reverted.
    Reverted(u64),
    /// Something else, which is the same text each time.
    Text(String),
    /// Something failed.
    Trouble(u64),
    /// Its state cannot be written.
    Unsaved(u64),
    /// A link is up again.
    Up(u64),
}

/// How much longer the service is left alone than it took to handle events.
const SPARING: u32 = 8;

/// The longest time for which it is left alone.
const PAUSE: Duration = Duration::from_millis(500);

/// The time between two attempts to write the state of links.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// Starts a thread that handles the engine's events, and searches for links that wait to be found,
/// until the service is dropped.
///
/// # Errors The thread cannot be started.
pub fn follow_engine_events(service: &Shared) -> Result<JoinHandle<()>> {
    let (events, first_wait) = {
        let mut service = lock_service(service);
        (service.engine.events().clone(), service.do_due())
    };
    let service = Arc::downgrade(service);
    let follow = move || {
        let mut wait = first_wait;
        loop {
            let first = match wait {
                Some(time) => events.recv_timeout(time),
                None => events.recv().map_err(RecvTimeoutError::from),
            };
            let first = match first {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(shared) = service.upgrade() else {
                return;
            };
            let events_now: Vec<_> = first.into_iter().chain(events.try_iter()).collect();
            let mut locked = lock_service(&shared);
            let begun = Instant::now();
            locked.handle_events(events_now);
            wait = locked.do_due();
            drop(locked);
            drop(shared);
            // Users can cause any number of events. Those that come meanwhile are handled together,
            // and requests have the service for most of the time.
            thread::sleep((SPARING * begun.elapsed()).min(PAUSE));
        }
    };
    let thread = thread::Builder::new().name("events".to_owned()).spawn(follow);
    thread.context("cannot start the thread that handles events")
}

/// True if the sockets of a parent may be others than before the event.
const fn is_about_parent(event: &Event) -> bool {
    matches!(
        event,
        Event::Carrier { .. }
            | Event::LeftOut { .. }
            | Event::ParentBack { .. }
            | Event::ParentGone { .. }
            | Event::Trouble { sub: None, .. }
    )
}

impl Service {
    /// Handles events. A link with several changes is read once.
    pub(super) fn handle_events(&mut self, events: Vec<Event>) {
        let (mut changed, mut neighbours) = (BTreeSet::new(), BTreeSet::new());
        if events.iter().any(is_about_parent) {
            self.keep_uplinks();
        }
        for event in events {
            match event {
                Event::SubChanged(sub) => {
                    changed.insert(sub.number);
                }
                Event::SubGone { number: SubId(id), .. } => self.forget(id),
                Event::LeftOut { count } => {
                    tracing::warn!("{count} events were left out: all links are read again");
                    changed.extend(self.links.keys().copied().map(SubId));
                    neighbours.extend(self.parents.keys().cloned());
                }
                Event::Carrier { parent, on } => {
                    tracing::info!("parent {parent} has {} carrier", if on { "a" } else { "no" });
                    let what = if on { "back: there is one on" } else { "lost: there is none on" };
                    self.note_named(&parent, Kind::Carrier, &format!("{what} {parent}"));
                    self.publish(EventKind::Carrier { parent, on });
                }
                Event::ParentGone { parent, moved } => {
                    if self.links_end_with_parent && !moved {
                        self.remove_links_on(&parent);
                    } else {
                        tracing::warn!("parent {parent} is gone; its links wait without carrier");
                        self.note_named(&parent, Kind::Parent, &format!("{parent} is gone"));
                    }
                    self.publish(EventKind::ParentLost { parent });
                }
                Event::ParentBack { parent } => {
                    tracing::info!("parent {parent} is back");
                    self.note_named(&parent, Kind::Parent, &format!("{parent} is back"));
                    self.next_host_check = None;
                    self.write_parents();
                    self.publish(EventKind::ParentBack { parent });
                }
                Event::Neighbours { parent } => {
                    neighbours.insert(parent);
                }
                Event::ParentRenamed { from, to, .. } => {
                    tracing::info!("parent {from} is {to} now");
                    self.write_parents();
                    self.note_named(&to, Kind::Parent, &format!("{from} is {to} now"));
                    self.publish(EventKind::ParentRenamed { parent: to, from });
                }
                Event::VlanFilter { what, .. } => {
                    tracing::info!("{what}");
                    self.write_parents();
                }
                Event::ConflictEnded { number, sub } => {
                    if self.may_log(LogKind::Up(number.0)) {
                        tracing::info!("link {sub} is up again: its address is free");
                    }
                }
                Event::Reverted { number, sub, why } => {
                    if self.may_log(LogKind::Reverted(number.0)) {
                        tracing::warn!("link {sub}: {why}");
                    }
                    self.note(number.0, Kind::Reverted, &why);
                    self.publish(EventKind::Reverted { ifname: sub, why });
                }
                Event::Trouble { what, sub: None } => {
                    let kind = LogKind::Text(what.clone());
                    self.trouble(kind, what);
                }
                Event::Trouble { what, sub: Some(id) } => {
                    self.trouble(LogKind::Trouble(id.0), what);
                }
            }
        }
        neighbours.iter().for_each(|handle| self.write_parent_or_log(handle));
        self.follow_changes(changed);
    }

    /// Reads links again that may have changed.
    pub(super) fn follow_changes(&mut self, changed: BTreeSet<SubId>) {
        let mut hosts = BTreeSet::new();
        for SubId(id) in changed {
            let known = self.unsaved.contains(&id);
            let before = self.host_relevant(id);
            if let Err(error) = self.refresh(id)
                && !known
            {
                let what = format!(
                    "the state of link number {id} cannot be written: {error}; the daemon tries \
                     again until it can"
                );
                self.trouble(LogKind::Unsaved(id), what);
            }
            let now = self.host_relevant(id);
            if now != before {
                hosts.extend(now.map(|now| now.parent));
            }
        }
        hosts.iter().for_each(|parent| self.sync_host_or_log(parent));
    }

    /// Tries again to write what could not be written. Returns the time until the next attempt, if
    /// one is needed.
    fn save_unsaved(&mut self) -> Option<Duration> {
        for id in self.unsaved.iter().copied().collect::<Vec<_>>() {
            let _ = self.refresh(id);
            if !self.unsaved.contains(&id) {
                tracing::info!("the state of link number {id} is written");
            }
        }
        (!self.unsaved.is_empty()).then_some(SAVE_AGAIN)
    }

    /// What is due without an event. Returns the time until something is.
    fn do_due(&mut self) -> Option<Duration> {
        let waits = [
            self.find_waiting(),
            self.find_namespaces(),
            self.end_ghosts(),
            self.save_unsaved(),
            self.check_hosts(),
            self.log_left_out(),
        ];
        waits.into_iter().flatten().min()
    }

    /// Publishes an event to all subscribers.
    pub(super) fn publish(&self, kind: EventKind) {
        // An error means that there is no subscriber.
        let _ = self.events.send(EventView { time: seconds_now(), kind });
    }

    /// Keeps an event among the last ones of a link.
    pub(super) fn note(&mut self, id: u64, kind: Kind, what: &str) {
        if let Some(link) = self.links.get_mut(&id) {
            link.last_events.note(seconds_now(), kind, what);
        }
    }

    /// Keeps an event among the last ones of each link on a parent that has this name now.
    fn note_named(&mut self, parent: &str, kind: Kind, what: &str) {
        let (parents, time) = (&self.parents, seconds_now());
        let named = |handle: &String| parents.get(handle).is_some_and(|it| it.name == parent);
        for link in self.links.values_mut().filter(|link| named(&link.seen.parent)) {
            link.last_events.note(time, kind, what);
        }
    }

    /// Keeps how a link differs from its former state among its last events.
    fn note_change(&mut self, id: u64, was: &SubStatus) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let time = seconds_now();
        if link.seen.netns != was.netns {
            let names = Names::read(self.home);
            let shown =
                |netns| names.shown(netns).unwrap_or_else(|| "the daemon's namespace".to_owned());
            let what = format!("from {} to {}", shown(was.netns), shown(link.seen.netns));
            link.last_events.note(time, Kind::Moved, &what);
        }
        for (kind, what) in change_words(was, &link.seen) {
            link.last_events.note(time, kind, &what);
        }
    }

    /// Publishes how a link differs from its former state.
    pub(super) fn publish_change(&mut self, id: u64, was: &SubStatus) {
        let Some(entry) = self.links.get(&id) else {
            return;
        };
        let (moved, changed) = (entry.seen.netns != was.netns, changed(was, &entry.seen));
        if !moved && changed.is_empty() {
            return;
        }
        tracing::debug!("link {}, number {id}: changed {changed:?}", entry.seen.name);
        self.note_change(id, was);
        if self.events.receiver_count() == 0 {
            return;
        }
        let from = Names::read(self.home).shown(was.netns);
        // A link that is gone by now has an event of its own.
        let Ok(link) = self.show(id).map(Box::new) else {
            return;
        };
        if moved {
            self.publish(EventKind::LinkMoved { link: link.clone(), from });
        }
        if !changed.is_empty() {
            self.publish(EventKind::LinkChanged { link, changed });
        }
    }

    pub(super) fn trouble(&mut self, kind: LogKind, what: String) {
        if let LogKind::Trouble(id) | LogKind::Unsaved(id) = kind {
            self.note(id, Kind::Trouble, &what);
        }
        if self.may_log(kind) {
            tracing::error!("{what}");
        }
        self.publish(EventKind::Trouble { what });
    }

    /// Whether one more line of this kind may be logged.
    fn may_log(&mut self, kind: LogKind) -> bool {
        self.log_limit.allows(kind, Instant::now())
    }

    /// Logs how many lines were left out, where a period is over. Returns the time until the next one
    /// is.
    fn log_left_out(&mut self) -> Option<Duration> {
        let now = Instant::now();
        for (kind, count) in self.log_limit.end_periods(now) {
            let what = match kind {
                LogKind::Reverted(id) => self.log_name(id, "changes against the rules"),
                LogKind::Trouble(id) => self.log_name(id, "failures"),
                LogKind::Unsaved(id) => self.log_name(id, "failures to write its state"),
                LogKind::Up(id) => self.log_name(id, "ends of a conflict"),
                LogKind::Text(text) => text,
            };
            tracing::warn!("{what}: and {count} more in {} s", PERIOD.as_secs());
        }
        self.log_limit.due(now)
    }

    fn log_name(&self, id: u64, what: &str) -> String {
        match self.links.get(&id) {
            Some(link) => format!("link {}, number {id}, {what}", link.seen.name),
            None => format!("link number {id}, {what}"),
        }
    }
}

/// The time in seconds since 1970.
fn seconds_now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The settings that differ, by the field names of [`LinkView`](umacvlan_api::LinkView).
fn changed(was: &SubStatus, is: &SubStatus) -> Vec<String> {
    // The carrier is the parent's, which has its own event.
    let flags = |sub: &SubStatus| sub.link.flags & !(LinkFlags::Running | LinkFlags::LowerUp);
    let (old, new) = (&was.settings, &is.settings);
    let differs = [
        ("address", was.mac != is.mac),
        ("limits", old.limits != new.limits),
        ("rules", old.rules != new.rules),
        ("bcqueuelen", old.bc_queue_len() != new.bc_queue_len()),
        ("flags", flags(was) != flags(is) || was.up != is.up),
        ("groups", (was.all_groups, &was.groups) != (is.all_groups, &is.groups)),
        ("ifalias", was.link.alias != is.link.alias),
        ("ifindex", was.index != is.index),
        ("ifname", was.name != is.name),
        ("macaddr", old.sources != new.sources),
        ("mode", old.mode != new.mode),
        ("mtu", was.mtu != is.mtu),
        ("port", was.program != is.program),
        ("secondary", was.secondary != is.secondary),
        ("txqlen", was.link.txqlen != is.link.txqlen),
    ];
    let set = |flag: &MacvlanFlag| old.flags.contains(*flag) != new.flags.contains(*flag);
    let set = MacvlanFlag::ALL.into_iter().filter(set).map(MacvlanFlag::name);
    let differs = differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
    let mut names: Vec<_> = differs.chain(set).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::sub_status;

    #[test]
    fn changed_settings_are_listed_by_name() {
        let was = sub_status(1, "mac1");
        assert!(changed(&was, &was.clone()).is_empty());
        let mut is = was.clone();
        is.name = "eth0".to_owned();
        is.mtu = 1400;
        is.link.flags |= LinkFlags::Up;
        assert_eq!(changed(&was, &is), ["flags", "ifname", "mtu"]);
    }

    #[test]
    fn a_carrier_change_is_not_a_change_of_the_link() {
        let was = sub_status(1, "mac1");
        let mut is = was.clone();
        is.link.flags |= LinkFlags::Running | LinkFlags::LowerUp;
        is.link.stats.rx_packets += 1;
        assert!(changed(&was, &is).is_empty());
    }
}
