//! `umacvlan monitor`: events of the daemon in the format of `ip monitor link`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::error::{CommandError, FAILED, USAGE};
use super::options::Timestamp;
use super::session::{Session, command_error};
use super::show::{self, Scene, Style};
use super::time;
use umacvlan_api::{EventKind, EventView};

/// Prints every event until a signal, a closed pipe or the end of the daemon.
pub(super) fn run(session: &mut Session) -> Result<(), CommandError> {
    if session.options().netns.is_some() {
        return Err(CommandError::own(
            USAGE,
            "monitor tells of links in all namespaces: leave out -n",
        ));
    }
    exit_on_signal()?;
    let (json, style) = (session.options().json, session.style);
    let timestamp = session.options().timestamp;
    let mut failure = None;
    let ended = session.client()?.stream("/v1/events", |line| {
        let text = if json { Ok(format!("{line}\n")) } else { text(line, style, timestamp) };
        let written = text.and_then(|text| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        });
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error).filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
                ControlFlow::Break(())
            }
        }
    });
    ended.map_err(|failure| command_error(failure, None))?;
    failure.map_or(Ok(()), |error| Err(CommandError::own(FAILED, format!("cannot go on: {error}"))))
}

/// Exits at the first signal. Events are written under the lock of standard output, so none is cut.
fn exit_on_signal() -> Result<(), CommandError> {
    let failed = |error| CommandError::own(FAILED, format!("cannot wait for signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let wait = move || {
        if signals.forever().next().is_some() {
            let _between = io::stdout().lock();
            process::exit(0);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop).map_err(failed)
}

/// An event as text.
fn text(line: &str, style: Style, timestamp: Timestamp) -> io::Result<String> {
    let event: EventView = serde_json::from_str(line)?;
    let time = match timestamp {
        Timestamp::Long => format!("Timestamp: {}\n", time::long(event.time)),
        Timestamp::None => String::new(),
        Timestamp::Short => format!("[{}] ", time::short(event.time)),
    };
    Ok(format!("{time}{}", happening_text(&event.kind, style)))
}

fn happening_text(kind: &EventKind, style: Style) -> String {
    let link = |link| show::link(link, style, Scene::Event);
    match kind {
        EventKind::Carrier { parent, on } => {
            format!("Parent {parent} carrier {}\n", if *on { "on" } else { "off" })
        }
        EventKind::Lease { ifname, dhcp, .. } => match &dhcp.address {
            Some(address) => {
                format!(
                    "Link {ifname} has {address} by DHCP from {}\n",
                    dhcp.server.as_deref().unwrap_or("?")
                )
            }
            None => format!("Link {ifname} has no address by DHCP: {}\n", dhcp.state),
        },
        EventKind::LinkAdded { link: added } => link(added),
        EventKind::LinkChanged { link: changed, .. } => link(changed),
        EventKind::LinkDeleted { id, ifname, parent } => {
            format!("Deleted {ifname}@{parent} id {id}\n")
        }
        EventKind::LinkMoved { link: moved, from } => {
            let from = from.as_deref().unwrap_or("the namespace of the daemon");
            format!("Moved from {from} {}", link(moved))
        }
        EventKind::Lost { count } => format!("Lost {count} events: read too slowly\n"),
        EventKind::ParentBack { parent } => format!("Parent {parent} back\n"),
        EventKind::ParentRenamed { parent, from } => format!("Parent {from} renamed {parent}\n"),
        EventKind::ParentLost { parent } => format!("Parent {parent} lost\n"),
        EventKind::Reloaded { changes } => format!("Configuration applied, changes {changes}\n"),
        EventKind::Reverted { ifname, why } => format!("Reverted {ifname}: {why}\n"),
        EventKind::Trouble { what } => format!("Trouble: {what}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: &str, timestamp: Timestamp) -> String {
        let line = format!("{{\"time\":1795260189.591405,{kind}}}");
        text(&line, Style::default(), timestamp).unwrap()
    }

    #[test]
    fn an_event_is_a_line_with_an_optional_time() {
        let deleted = r#""event":"link_deleted","id":7,"ifname":"m1","parent":"eth0""#;
        assert_eq!(shown(deleted, Timestamp::None), "Deleted m1@eth0 id 7\n");
        let (short, long) = (time::short(1_795_260_189.591_405), time::long(1_795_260_189.591_405));
        let line = format!("[{short}] Deleted m1@eth0 id 7\n");
        assert_eq!(shown(deleted, Timestamp::Short), line);
        let lines = format!("Timestamp: {long}\nDeleted m1@eth0 id 7\n");
        assert_eq!(shown(deleted, Timestamp::Long), lines);
        for (kind, line) in [
            (r#""event":"carrier","parent":"eth0","on":false"#, "Parent eth0 carrier off\n"),
            (r#""event":"parent_lost","parent":"eth0""#, "Parent eth0 lost\n"),
            (r#""event":"parent_back","parent":"eth0""#, "Parent eth0 back\n"),
            (
                r#""event":"parent_renamed","parent":"lan0","from":"eth0""#,
                "Parent eth0 renamed lan0\n",
            ),
            (r#""event":"lost","count":3"#, "Lost 3 events: read too slowly\n"),
            (r#""event":"reloaded","changes":2"#, "Configuration applied, changes 2\n"),
        ] {
            assert_eq!(shown(kind, Timestamp::None), line);
        }
    }

    #[test]
    fn malformed_events_are_errors() {
        text("{}", Style::default(), Timestamp::None).unwrap_err();
    }
}
