//! What has changed about a link, in words, for its last events.

use umacvlan_core::MacvlanFlag;
use umacvlan_core::limit::Limits;
use umacvlan_core::rules::Rules;
use umacvlan_engine::engine::{ProgramStatus, SubStatus};

use super::last_events::Kind;

/// The differences between two states of a link, but for its namespace, which has a name elsewhere. Groups
/// and secondary addresses are left out: they come and go with every program, and are shown as they are.
pub(super) fn change_words(was: &SubStatus, is: &SubStatus) -> Vec<(Kind, String)> {
    let mut changes = Vec::new();
    let mut note = |differs: bool, kind, what: &dyn Fn() -> String| {
        if differs {
            changes.push((kind, what()));
        }
    };
    let (old, new) = (&was.settings, &is.settings);
    note(was.name != is.name, Kind::Renamed, &|| from_to(&was.name, &is.name));
    note(was.mac != is.mac, Kind::Address, &|| from_to(was.mac, is.mac));
    note(was.mtu != is.mtu, Kind::Mtu, &|| from_to(was.mtu, is.mtu));
    note(old.mode != new.mode, Kind::Mode, &|| from_to(old.mode, new.mode));
    note(old.limits != new.limits, Kind::Limits, &|| limits(new.limits));
    note(old.rules != new.rules, Kind::Rules, &|| rules(&new.rules));
    for flag in MacvlanFlag::ALL {
        let (before, now) = (old.flags.contains(flag), new.flags.contains(flag));
        let word = if now { "on" } else { "off" };
        note(before != now, Kind::Settings, &|| format!("{} {word}", flag.name()));
    }
    let lens = (old.bc_queue_len(), new.bc_queue_len());
    note(lens.0 != lens.1, Kind::Settings, &|| format!("bcqueuelen {}", from_to(lens.0, lens.1)));
    note(old.sources != new.sources, Kind::Settings, &|| {
        format!("source list, now of {} addresses", new.sources.len())
    });
    let lens = (was.link.txqlen, is.link.txqlen);
    note(lens.0 != lens.1, Kind::Settings, &|| format!("txqueuelen {}", from_to(lens.0, lens.1)));
    note(was.link.alias != is.link.alias, Kind::Settings, &|| "alias".to_owned());
    if let (Some(was), Some(is)) = (&was.program, &is.program)
        && let Some(what) = program(was, is)
    {
        note(true, Kind::Program, &|| what.clone());
    }
    note(was.up != is.up, Kind::State, &|| state(was, is));
    changes
}

fn from_to(was: impl ToString, is: impl ToString) -> String {
    format!("from {} to {}", was.to_string(), is.to_string())
}

fn limits(limits: Limits) -> String {
    if limits.is_empty() { "none any more".to_owned() } else { format!("now {limits}") }
}

fn rules(rules: &Rules) -> String {
    let words =
        rules.words().map(|(word, values)| format!(" {} {}", word.name(), values.join(" ")));
    if rules.is_empty() {
        "none any more".to_owned()
    } else {
        format!("now{}", words.collect::<String>())
    }
}

/// Up or down, and why, as far as that is known: it is the engine that knows of conflicts.
fn state(was: &SubStatus, is: &SubStatus) -> String {
    match (is.up, was.held, is.held) {
        (true, true, _) => "up again: its address is free".to_owned(),
        (true, false, _) => "set up".to_owned(),
        (false, _, true) => {
            let why = is.conflict.as_ref().map(|conflict| format!(": {conflict}"));
            format!("down until its address is free{}", why.unwrap_or_default())
        }
        (false, _, false) => "set down".to_owned(),
    }
}

/// What a program at the far end has begun or ended.
fn program(was: &ProgramStatus, is: &ProgramStatus) -> Option<String> {
    let connected = |status: &ProgramStatus| status.program.is_some() || status.interface > 0;
    let process = is.program.as_ref().map(|program| program.pid).filter(|&pid| pid > 0);
    let who = process.map_or_else(String::new, |pid| format!(" by process {pid}"));
    match (connected(was), connected(is)) {
        (true, false) => {
            let why = is.ended.as_ref().map(|why| format!(": {why}"));
            Some(format!("disconnected{}", why.unwrap_or_default()))
        }
        (false, true) => Some(format!("connected{who}")),
        (true, true) if was.connections != is.connections => Some(format!("connected again{who}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use umacvlan_core::limit::LimitKind;
    use umacvlan_core::options::ProgramKind;
    use umacvlan_core::rules::RuleWord;
    use umacvlan_core::{MacAddr, Mode, SwitchError};
    use umacvlan_engine::engine::{ProgramPlace, ProgramPort};
    use umacvlan_sys::port_socket::{Program, SocketOwner};

    use super::*;
    use crate::fixtures::sub_status;

    fn words(was: &SubStatus, change: impl FnOnce(&mut SubStatus)) -> Vec<(Kind, String)> {
        let mut is = was.clone();
        change(&mut is);
        change_words(was, &is)
    }

    #[test]
    fn changes_are_told_with_both_values() {
        let was = sub_status(1, "mac1");
        assert_eq!(change_words(&was, &was), []);
        let changes = words(&was, |is| {
            is.name = "eth0".to_owned();
            is.mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
            is.mtu = 1400;
            is.link.txqlen = 7;
            is.settings.mode = Mode::Bridge;
            is.settings.flags = is.settings.flags.with(MacvlanFlag::Spoofchk, true);
        });
        let wanted = [
            (Kind::Renamed, "from mac1 to eth0"),
            (Kind::Address, "from 02:00:00:00:00:01 to 02:00:00:00:00:09"),
            (Kind::Mtu, "from 1500 to 1400"),
            (Kind::Mode, "from vepa to bridge"),
            (Kind::Settings, "spoofchk on"),
            (Kind::Settings, "txqueuelen from 0 to 7"),
        ];
        assert_eq!(changes, wanted.map(|(kind, what)| (kind, what.to_owned())));
    }

    #[test]
    fn what_programs_change_all_the_time_is_left_out() {
        let was = sub_status(1, "mac1");
        let changes = words(&was, |is| {
            is.groups = vec![MacAddr::new([1, 0, 0x5e, 0, 0, 1])];
            is.link.stats.rx_packets = 7;
            is.queue_drops = 1;
        });
        assert_eq!(changes, []);
    }

    #[test]
    fn limits_and_rules_are_told_as_they_are_now() {
        let was = sub_status(1, "mac1");
        let mut limited = was.clone();
        limited.settings.limits = limited.settings.limits.with(LimitKind::TxPps, 9);
        limited.settings.rules.add(RuleWord::AllowIp, "192.0.2.7").unwrap();
        let changes = change_words(&was, &limited);
        let pps = LimitKind::TxPps.name();
        assert_eq!(changes[0], (Kind::Limits, format!("now {pps} 9")));
        let rule = format!("now {} 192.0.2.7", RuleWord::AllowIp.name());
        assert_eq!(changes[1], (Kind::Rules, rule));
        let ended = change_words(&limited, &was);
        assert!(ended.iter().all(|(_, what)| what == "none any more"), "{ended:?}");
    }

    #[test]
    fn a_state_has_its_reason() {
        let down = sub_status(1, "mac1");
        let mut up = down.clone();
        up.up = true;
        let mut held = down.clone();
        held.held = true;
        held.conflict = Some(SwitchError::AddressOfSub(held.mac));
        let told = |was, is| change_words(was, is).remove(0).1;
        assert_eq!(told(&down, &up), "set up");
        assert_eq!(told(&up, &down), "set down");
        assert_eq!(told(&held, &up), "up again: its address is free");
        let why = told(&up, &held);
        assert!(why.starts_with("down until its address is free: address already in use"), "{why}");
    }

    #[test]
    fn programs_come_and_go_with_their_process_and_reason() {
        let port = ProgramPort {
            kind: ProgramKind::Stream,
            place: ProgramPlace::Listen("/run/a.sock".into()),
            owner: SocketOwner { user: None, group: None },
        };
        let gone = ProgramStatus {
            port,
            program: None,
            peer: None,
            connections: 0,
            ended: None,
            interface: 0,
            vhost: None,
        };
        let there = ProgramStatus {
            program: Some(Program { pid: 7, uid: 0 }),
            connections: 1,
            ..gone.clone()
        };
        let ended = ProgramStatus { ended: Some("it has closed".to_owned()), ..gone.clone() };
        let again = ProgramStatus { connections: 2, ..there.clone() };
        assert_eq!(program(&gone, &there).as_deref(), Some("connected by process 7"));
        assert_eq!(program(&there, &again).as_deref(), Some("connected again by process 7"));
        assert_eq!(program(&there, &ended).as_deref(), Some("disconnected: it has closed"));
        assert_eq!(program(&there, &there), None);
    }
}
