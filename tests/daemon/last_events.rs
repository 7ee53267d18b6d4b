//! The last events of a link, for those who ask afterwards.

use serde_json::{Value, json};
use umacvlan_testkit::{Daemon, Machine, events, root_or_skip};

/// Kinds and texts of the last events of a link.
fn told(daemon: &Daemon, name: &str) -> Vec<(String, String)> {
    let link = daemon.ask("GET", &format!("/v1/links/{name}"), Value::Null).ok();
    let events = link["umacvlan"]["last_events"].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    events.iter().map(|event| (word(&event["event"]), word(&event["what"]))).collect()
}

#[test]
fn what_a_user_did_while_nobody_listened_is_told() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let daemon = machine.start(&[]);
    let made = daemon.add("mac1", Value::Null).ok();
    let at = machine.interface("mac1").unwrap().index;
    for up in [false, true] {
        daemon.ask("PATCH", "/v1/links/mac1", json!({"up": up})).ok();
    }
    // By its user, without a request.
    machine.rtnl.set_name(at, "mac9").unwrap();
    daemon.ask("PATCH", "/v1/links/mac9", json!({"mtu": 1400})).ok();

    let events = told(&daemon, "mac9");
    let made = format!("parent p0, mode bridge, {}", made["address"].as_str().unwrap());
    let wanted = [
        ("created", made.as_str()),
        ("state", "set down"),
        ("state", "set up"),
        ("renamed", "from mac1 to mac9"),
        ("mtu", "from 1500 to 1400"),
    ];
    assert_eq!(events, wanted.map(|(kind, what)| (kind.to_owned(), what.to_owned())));
    let listed = &daemon.links()[0];
    assert_eq!(listed["umacvlan"].get("last_events"), None, "a list of links has none");
}

#[test]
fn the_carrier_of_the_parent_is_told_and_a_restart_too() {
    if !root_or_skip() {
        return;
    }
    let mut machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut daemon = machine.start(&[]);
    daemon.add("mac1", Value::Null).ok();
    let parent = machine.interface("p0").unwrap().index;
    let mut heard = events(&machine.socket());
    for (up, text) in [(false, "lost: there is none on p0"), (true, "back: there is one on p0")] {
        machine.rtnl.set_up(parent, up).unwrap();
        heard.find(|event| event["event"] == "carrier" && event["on"] == up).unwrap();
        let events = told(&daemon, "mac1");
        assert!(events.contains(&("carrier".to_owned(), text.to_owned())), "{events:?}");
    }
    daemon.terminate();
    let daemon = machine.start(&[]);
    let first = told(&daemon, "mac1").remove(0);
    assert_eq!(first, ("adopted".to_owned(), "by a daemon that has started".to_owned()));
}
