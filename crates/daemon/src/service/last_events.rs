//! [`LastEvents`]: what has happened to a link lately, kept for those who ask afterwards.
//!
//! Tenants can cause any number of events, so what is kept is bounded: the number of events and the length
//! of each. One event that comes again, also in turn with another one, is counted and not kept twice, and a
//! full list gives up an event of the kind that it has most of. So the last event of each kind stays,
//! whatever a tenant repeats. Nothing is written to disk: a daemon begins with empty lists.

use umacvlan_api::LastEvent;

/// How many events of a link are kept; at least as many as there are kinds.
const EVENTS_MAX: usize = 16;

/// The longest text of an event, in bytes.
const TEXT_MAX: usize = 128;

/// An event that is one of so many last ones is counted there.
const REPEATED_IN: usize = 2;

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Address,
    Adopted,
    Carrier,
    Created,
    Limits,
    Mode,
    Moved,
    Mtu,
    Parent,
    Program,
    Renamed,
    Reverted,
    Rules,
    Settings,
    State,
    Trouble,
}

impl Kind {
    /// The word for clients.
    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Adopted => "adopted",
            Self::Carrier => "carrier",
            Self::Created => "created",
            Self::Limits => "limits",
            Self::Mode => "mode",
            Self::Moved => "moved",
            Self::Mtu => "mtu",
            Self::Parent => "parent",
            Self::Program => "program",
            Self::Renamed => "renamed",
            Self::Reverted => "reverted",
            Self::Rules => "rules",
            Self::Settings => "settings",
            Self::State => "state",
            Self::Trouble => "trouble",
        }
    }
}

/// An event, or equal ones.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    kind: Kind,
    what: Box<str>,
    count: u64,
    /// When it has happened first and last, in seconds since 1970.
    first: f64,
    last: f64,
}

/// The last events of a link, the newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LastEvents(Vec<Kept>);

impl LastEvents {
    /// Adds an event. `time` is in seconds since 1970.
    pub(super) fn note(&mut self, time: f64, kind: Kind, what: &str) {
        let what = shortened(what);
        let recent = self.0.len().saturating_sub(REPEATED_IN);
        let same = |kept: &Kept| kept.kind == kind && *kept.what == *what;
        if let Some(place) = self.0[recent..].iter().position(same) {
            let mut again = self.0.remove(recent + place);
            again.count = again.count.saturating_add(1);
            again.last = time;
            return self.0.push(again);
        }
        self.0.push(Kept { kind, what: what.into(), count: 1, first: time, last: time });
        if self.0.len() > EVENTS_MAX {
            self.give_up_one();
        }
    }

    /// Removes the oldest event of the kind that there are most of. Of a kind that has but one, it stays:
    /// there are more events than kinds.
    fn give_up_one(&mut self) {
        let of_kind = |kind| self.0.iter().filter(|kept| kept.kind == kind).count();
        let most = self.0.iter().map(|kept| of_kind(kept.kind)).max();
        let oldest = self.0.iter().position(|kept| Some(of_kind(kept.kind)) == most);
        if let Some(oldest) = oldest {
            self.0.remove(oldest);
        }
    }

    /// The events as clients see them.
    pub(super) fn views(&self) -> Vec<LastEvent> {
        self.0.iter().map(view).collect()
    }
}

fn view(kept: &Kept) -> LastEvent {
    let &Kept { kind, ref what, count, first, last } = kept;
    LastEvent {
        time: first,
        event: kind.name().to_owned(),
        what: what.to_string(),
        count: (count > 1).then_some(count),
        last_time: (count > 1).then_some(last),
    }
}

/// The beginning of a text, if it is too long.
fn shortened(what: &str) -> String {
    const MORE: &str = "...";
    if what.len() <= TEXT_MAX {
        return what.to_owned();
    }
    format!("{}{MORE}", &what[..what.floor_char_boundary(TEXT_MAX - MORE.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 16] = [
        Kind::Created,
        Kind::Address,
        Kind::Adopted,
        Kind::Carrier,
        Kind::Limits,
        Kind::Mode,
        Kind::Moved,
        Kind::Mtu,
        Kind::Parent,
        Kind::Program,
        Kind::Renamed,
        Kind::Reverted,
        Kind::Rules,
        Kind::Settings,
        Kind::State,
        Kind::Trouble,
    ];

    fn texts(events: &LastEvents) -> Vec<String> {
        events.views().into_iter().map(|event| event.what).collect()
    }

    #[test]
    fn what_comes_again_is_counted_with_its_first_and_last_time() {
        let mut events = LastEvents::default();
        events.note(1.0, Kind::Created, "parent p0");
        events.note(2.0, Kind::Mtu, "from 1500 to 1400");
        assert_eq!(events.views()[1].count, None);
        events.note(5.5, Kind::Mtu, "from 1500 to 1400");
        let views = events.views();
        assert_eq!(views.len(), 2);
        assert_eq!((views[1].time, views[1].count, views[1].last_time), (2.0, Some(2), Some(5.5)));
    }

    #[test]
    fn two_events_in_turn_are_two_however_often_they_come() {
        let mut events = LastEvents::default();
        events.note(0.0, Kind::Created, "parent p0");
        for turn in 0_u32..5000 {
            events.note(f64::from(turn), Kind::State, if turn % 2 == 0 { "down" } else { "up" });
        }
        assert_eq!(texts(&events), ["parent p0", "down", "up"]);
        let views = events.views();
        assert_eq!(views[1].count, Some(2500));
        assert_eq!((views[2].count, views[2].last_time), (Some(2500), Some(4999.0)));
    }

    #[test]
    fn an_older_event_is_not_drawn_into_the_present() {
        let mut events = LastEvents::default();
        for what in ["down", "up", "from a to b", "down"] {
            events.note(0.0, Kind::State, what);
        }
        assert_eq!(texts(&events), ["down", "up", "from a to b", "down"]);
    }

    #[test]
    fn a_full_list_keeps_its_length_and_the_last_event_of_each_kind() {
        let mut events = LastEvents::default();
        KINDS.into_iter().for_each(|kind| events.note(0.0, kind, kind.name()));
        for number in 0..5000 {
            events.note(1.0, Kind::Address, &format!("to {number}"));
            events.note(1.0, Kind::Mtu, &format!("to {number}"));
            assert!(events.0.len() <= EVENTS_MAX, "{}", events.0.len());
        }
        let there = texts(&events);
        for kind in KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Address | Kind::Mtu)) {
            assert!(there.contains(&kind.name().to_owned()), "{kind:?} is gone: {there:?}");
        }
        assert_eq!(there[14..], ["to 4999", "to 4999"]);
    }

    #[test]
    fn the_oldest_of_the_most_frequent_kind_goes_first() {
        let mut events = LastEvents::default();
        events.note(0.0, Kind::Created, "parent p0");
        for number in 0..EVENTS_MAX {
            events.note(1.0, Kind::Mtu, &format!("to {number}"));
        }
        let there = texts(&events);
        assert_eq!((there.len(), &*there[0], &*there[1]), (EVENTS_MAX, "parent p0", "to 1"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut events = LastEvents::default();
        events.note(0.0, Kind::Trouble, &"\u{e9}".repeat(1000));
        let text = &texts(&events)[0];
        assert!(text.len() <= TEXT_MAX && text.ends_with("\u{e9}..."), "{text}");
    }
}
