//! Parents: each is one interface, whatever its name is, and has one daemon.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use umacvlan_testkit::{Daemon, Machine, ask, root_or_skip};

/// Starts a daemon with a state, a socket and a mount namespace of its own.
fn start_another(machine: &Machine, dir: &Path) -> Daemon {
    let dir = dir.display();
    let script = format!(
        "exec unshare --mount \"$0\" daemon --ready-fd 3 --state {dir}/state \
         --socket {dir}/socket --config {} 3>&1",
        machine.file("umacvlan.toml").display()
    );
    machine.start_command(machine.command(&script, &[]))
}

#[test]
fn an_interface_has_one_daemon_and_the_next_one_has_it_after_that() {
    if !root_or_skip() {
        return;
    }
    let machine = Machine::new(env!("CARGO_BIN_EXE_umacvlan"));
    let mut first = machine.start(&[]);
    let dir = machine.file("another");
    let mut second = start_another(&machine, &dir);
    let add = |parent: &str| {
        let body = json!({"name": "mac2", "parent": parent, "mode": "bridge"}).to_string();
        ask(&dir.join("socket"), "POST", "/v1/links", &body)
    };
    first.add("mac1", Value::Null).ok();
    let holder = format!("process {}:", first.id());
    for parent in ["p0", "p0.77"] {
        let refused = add(parent);
        assert_eq!((refused.code().as_str(), refused.json()["errno"].as_i64()), ("refused", Some(16)));
        let message = refused.json()["message"].to_string();
        assert!(message.contains("p0 is served") && message.contains(&holder), "{message}");
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_umacvlan"));
    run.args(["run", "--parent", "p0", "--sub", "mac3"]);
    let refused = machine.netns.run(|| run.output()).unwrap().unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && message.contains(&holder), "{message}");

    first.kill();
    add("p0.77").ok();
    let log = first_refused(&machine);
    assert!(log.contains(&format!("process {}:", second.id())), "{log}");
    assert_eq!(ask(&dir.join("socket"), "DELETE", "/v1/links/mac2", "").status / 100, 2);
    let first = machine.start(&[]);
    assert_eq!(first.links()[0]["operstate"], "UP", "re-adopted once the parent is free");
    second.terminate();
}

/// The log of the first daemon, which starts while another one has its parent.
fn first_refused(machine: &Machine) -> String {
    let mut first = machine.start(&[]);
    assert!(first.links().is_empty());
    assert!(machine.file("state/link-1.json").exists());
    first.terminate()
}
