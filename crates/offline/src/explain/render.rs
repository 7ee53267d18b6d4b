//! The steps of a decision as text, with the names of the links.

use umacvlan_core::switch::{
    FloodDecision, FloodRule, GroupListeners, Isolation, LengthCheck, RuleCheck, SourceMatch, Step,
};
use umacvlan_core::{Frame, KernelRelease, Mode, SubIndex};

use crate::offline_switch::OfflineSwitch;

/// One step: its condition and the result.
pub(super) fn step(offline: &OfflineSwitch, frame: Frame<'_>, step: Step) -> String {
    let who = |found: Option<(SubIndex, Mode)>| match found {
        Some((id, mode)) => format!("{}, mode {mode}", offline.name(id)),
        None => "none of the links that are up".to_owned(),
    };
    match step {
        Step::Sources(listed) | Step::LocalSources(listed) => {
            render_sources(offline, frame, listed)
        }
        Step::Passthru(None) => "passthru: no link owns the parent".to_owned(),
        Step::Passthru(Some((id, true))) => {
            format!("passthru: {} owns the parent and gets all unicast", offline.name(id))
        }
        Step::Passthru(Some((id, false))) => {
            format!("passthru: {} owns the parent, is down, and swallows it", offline.name(id))
        }
        Step::Target(found) => {
            let then = match found {
                Some((_, Mode::Source)) => {
                    ", which receives by its source list only: it goes to the host"
                }
                Some(_) => "",
                None => ": it goes to the host",
            };
            format!("destination {} is {}{then}", frame.dst(), who(found))
        }
        Step::Isolation(isolation) => render_isolation(offline, isolation),
        Step::Deliver(id) => format!("nothing is against it: {} gets it", offline.name(id)),
        Step::LocalDeliver(id) => {
            format!("nothing is against it: {} gets it, and the wire does not", offline.name(id))
        }
        Step::Sender(found) => {
            let then = match found {
                Some((_, Mode::Passthru | Mode::Private | Mode::Source)) => {
                    ": it came back through a hairpin, and goes to its sender alone"
                }
                Some((_, Mode::Bridge)) if offline.switch.release() >= KernelRelease::V7_3 => {
                    ": it came back through a hairpin or is from another host with this address, and \
                     bridge links get it, by the rules of Linux 7.3"
                }
                _ => "",
            };
            format!("source {} is {}{then}", frame.src(), who(found))
        }
        Step::Listeners(heard) => render_listeners(frame, heard, "it goes to the host"),
        Step::LocalListeners(heard) => render_listeners(frame, heard, "it goes to the wire only"),
        Step::Flood(rule) if rule.deferred() => {
            "it is flooded, by way of the broadcast queue, and the host gets it".to_owned()
        }
        Step::Flood(_) => "it is flooded at once, and the host gets it".to_owned(),
        Step::LocalFlood(_) => {
            "it is flooded to the other bridge links, then goes to the wire".to_owned()
        }
        Step::Up(true) => "the sender is up".to_owned(),
        Step::Up(false) => "the sender is down: it sends nothing".to_owned(),
        Step::Source(true) => format!("spoofchk: source {} is the sender's", frame.src()),
        Step::Source(false) => {
            format!("spoofchk: source {} is not the sender's: it is dropped", frame.src())
        }
        Step::SenderRules(check) => render_rules(offline, "sender", check),
        Step::ReceiverRules(check) => render_rules(offline, "receiver", check),
        Step::Bridge(true) => "the sender's mode is bridge: siblings are looked at".to_owned(),
        Step::Bridge(false) => {
            "the sender's mode is not bridge: all that it sends goes to the wire".to_owned()
        }
        Step::Sibling(found) => {
            let then = match found {
                Some((_, Mode::Bridge)) => "",
                _ => ", and no bridge link: it goes to the wire",
            };
            format!("destination {} is {}{then}", frame.dst(), who(found))
        }
        Step::Length(length) => render_length(offline, frame, length),
    }
}

/// Whether a link gets a flooded frame, and if not, why.
pub(super) fn flood_decision(
    offline: &OfflineSwitch,
    rule: FloodRule,
    id: SubIndex,
    part: FloodDecision,
) -> String {
    let sub = offline.switch.sub(id);
    match part {
        FloodDecision::Deliver => "gets it".to_owned(),
        FloodDecision::Filter => format!("skipped: has not joined {}", rule.dst()),
        FloodDecision::Mode if sub.is_some_and(|sub| !sub.up()) => "skipped: down".to_owned(),
        FloodDecision::Mode => {
            let mode = sub.map(|sub| sub.mode()).unwrap_or_default();
            format!("skipped: mode {mode} takes no part in this flood")
        }
        FloodDecision::Isolated => "skipped: isolated from the sender".to_owned(),
        FloodDecision::NotAllowed => "skipped: its rules do not allow it".to_owned(),
        FloodDecision::Sender => "skipped: sender".to_owned(),
        FloodDecision::TooLong => {
            format!("skipped: too long for its MTU {}", sub.map_or(0, |sub| sub.mtu()))
        }
    }
}

/// The name of a flood decision in JSON.
pub(super) const fn flood_decision_name(part: FloodDecision) -> &'static str {
    match part {
        FloodDecision::Deliver => "deliver",
        FloodDecision::Filter => "filter",
        FloodDecision::Mode => "mode",
        FloodDecision::Isolated => "isolated",
        FloodDecision::NotAllowed => "not_allowed",
        FloodDecision::Sender => "sender",
        FloodDecision::TooLong => "too_long",
    }
}

fn render_sources(
    offline: &OfflineSwitch,
    frame: Frame<'_>,
    SourceMatch { copies, consumed }: SourceMatch,
) -> String {
    let src = frame.src();
    let listing = |wanted: fn(bool, bool) -> bool| {
        let subs = offline
            .subs()
            .filter(|(.., sub)| sub.sources().contains(&src) && wanted(sub.up(), sub.nodst()));
        subs.map(|(_, name, _)| name).collect::<Vec<_>>().join(", ")
    };
    let gets = match copies {
        0 => format!("source lists: no link that is up lists {src}"),
        _ => format!("source lists: {src} is on the list of {}: a copy", listing(|up, _| up)),
    };
    match consumed {
        true => format!("{gets}; nodst of {} ends it here", listing(|_, nodst| nodst)),
        false => gets,
    }
}

/// What the rules of the sender or the receiver say.
fn render_rules(offline: &OfflineSwitch, end: &str, check: RuleCheck) -> String {
    match check {
        RuleCheck::Allowed => format!("rules of the {end}: nothing is against it"),
        RuleCheck::EtherType(kind) => {
            format!("allow_ethertype of the {end} does not have {kind}: it is dropped")
        }
        RuleCheck::Isolated(sibling) => format!(
            "isolation: {} at the other end is not in the group of the {end}: it is dropped",
            offline.name(sibling)
        ),
        RuleCheck::Mac(mac) => {
            format!("allow_mac of the {end} does not have {mac}: it is dropped")
        }
        RuleCheck::SourceIp => format!(
            "allow_ip of the {end} does not have the source address in IP, ARP or ND: it is dropped"
        ),
    }
}

fn render_isolation(offline: &OfflineSwitch, isolation: Isolation) -> String {
    match isolation {
        Isolation::Blocked(sender) => format!(
            "the source is {}, a sibling, and one of the two is private: it is dropped",
            offline.name(sender)
        ),
        Isolation::KernelSemantics => {
            "private links: not kept apart from reflected unicast, by semantics kernel".to_owned()
        }
        Isolation::NoPrivate => "private links: none is up".to_owned(),
        Isolation::Allowed => {
            "private links: it is not between one of them and a sibling".to_owned()
        }
    }
}

fn render_listeners(frame: Frame<'_>, heard: GroupListeners, then: &str) -> String {
    match heard {
        GroupListeners::MacControl => format!("MAC control (PAUSE) ends at the first hop: {then}"),
        GroupListeners::None => format!("nobody listens to the group {}: {then}", frame.dst()),
        GroupListeners::Possible if frame.dst().is_broadcast() => {
            "broadcast: everybody listens".to_owned()
        }
        GroupListeners::Possible => {
            format!("somebody listens to the group {}, or to all", frame.dst())
        }
    }
}

fn render_length(offline: &OfflineSwitch, frame: Frame<'_>, length: LengthCheck) -> String {
    let (bytes, mtu) = (frame.bytes().len(), offline.switch.parent().mtu);
    match length {
        LengthCheck::Fits => format!("{bytes} bytes fit the parent's MTU {mtu}"),
        LengthCheck::Gso => "a GSO packet is never too long".to_owned(),
        LengthCheck::TooLong => format!(
            "{bytes} bytes do not fit the parent's MTU {mtu}, a header and a tag: it is dropped"
        ),
    }
}
